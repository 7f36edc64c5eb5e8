//! `docs/LEDGER-FORMAT.md` names every field and every value of a record, and its examples hold.
#![allow(clippy::unwrap_used, missing_docs)]

mod record_support;
mod seal_support;

use std::collections::BTreeSet;

use axiom_hive_core::record::{Body, Commitment, Label, Payload, Reason, Record, Salt};
use record_support::{constitution, intent, largest_outcome, smallest_outcome};
use seal_support::{sealed, succession};
use serde_json::Value;

const DOCS: &str = include_str!("../../docs/LEDGER-FORMAT.md");

fn collect_keys(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                keys.insert(key.clone());
                collect_keys(value, keys);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, keys)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let records = [
        Record::new(Body::Constitution {
            constitution: constitution(),
            text: Commitment([1; 32]),
        }),
        intent(),
        Record::new(Body::Answered(largest_outcome())),
        Record::new(Body::Deleted {
            task: largest_outcome().task,
            ended_index: 0,
            at_unix_ms: 0,
        }),
        sealed(),
        succession(),
        Record::new(Body::Erasure {
            erased_index: 0,
            commitments: vec![],
            at_unix_ms: 0,
        }),
    ];
    let mut keys = BTreeSet::new();
    for record in &records {
        collect_keys(&serde_json::to_value(record).unwrap(), &mut keys);
    }
    // An answer has no error.
    keys.insert("error".to_owned());
    assert!(keys.len() > 50);
    for key in keys {
        assert!(
            DOCS.contains(&format!("`{key}`")),
            "{key} is not documented"
        );
    }
}

#[test]
fn every_reason_is_documented_with_its_kinds() {
    let reasons: Vec<&str> = DOCS
        .lines()
        .skip_while(|line| !line.starts_with("| `reason` | of the kind"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| `"))
        .collect();
    assert_eq!(reasons.len(), 15);
    for line in reasons {
        let (name, rest) = line.split_once("` | ").unwrap();
        let (kinds, _) = rest.split_once(" | ").unwrap();
        let reason: Reason = serde_json::from_value(Value::from(name)).unwrap();
        let outcome = || smallest_outcome(reason);
        let bodies = [
            ("attempt", Body::Attempt(outcome())),
            ("withheld", Body::Withheld(outcome())),
            ("refused", Body::Refused(outcome())),
            ("failed", Body::Failed(outcome())),
            ("cancelled", Body::Cancelled(outcome())),
        ];
        for (kind, body) in bodies {
            let documented = kinds.contains(&format!("`{kind}`"));
            let accepted = Record::new(body).to_canonical().is_ok();
            assert_eq!(accepted, documented, "{name} of {kind}");
        }
    }
}

#[test]
fn the_example_of_a_commitment_holds() {
    let payload = Payload {
        label: Label::PROMPT,
        salt: Salt([7; 32]),
        bytes: b"hello".to_vec(),
    };
    assert!(DOCS.contains(&format!("`{}`", payload.commitment())));
    let preimage = DOCS
        .lines()
        .find(|line| line.starts_with("0006 "))
        .unwrap()
        .replace(' ', "");
    assert_eq!(preimage, axiom_hive_core::digest::to_hex(&payload.encode()));
}
