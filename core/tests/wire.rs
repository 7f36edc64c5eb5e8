//! The shapes of the ledger's interface: strict where something is hashed, bounded, documented.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

mod record_support;

use axiom_hive_core::record::{Body, Label, Payload, Receipt, Record, Salt, TaskRef};
use axiom_hive_core::tlog::{Checkpoint, Hash, SigningKey, leaf_hash};
use axiom_hive_core::wire::{
    AppendEntry, AppendReply, AppendRequest, AppendResult, ConsistencyReply, ErrorCode,
    MAX_POINTER_BYTES, MAX_REQUEST_BYTES, OpenIntentRef, OpenIntentsReply, Pointer, RecordKind,
    StoredRecord, StoredRecordError, TaskReply,
};
use record_support::{constitution, intent, largest_outcome};
use serde_json::{Value, json};

const DOCS: &str = include_str!("../../docs/LEDGER-API.md");

fn request() -> AppendRequest {
    let text = Payload {
        label: Label::CONSTITUTION,
        salt: Salt([7; 32]),
        bytes: b"{}".to_vec(),
    };
    let record = Record::new(Body::Constitution {
        constitution: constitution(),
        text: text.commitment(),
    });
    AppendRequest {
        entries: vec![AppendEntry {
            record,
            payloads: vec![text],
        }],
    }
}

fn stored(key: &SigningKey, record: Record) -> StoredRecord {
    let entry = record.to_canonical().unwrap();
    let name = key.verifying_key().name();
    let checkpoint = Checkpoint::new(name, 1, leaf_hash(&entry)).sign(key);
    let receipt = Receipt::new(entry, 0, vec![], checkpoint.unwrap());
    StoredRecord::new(0, record, &receipt)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::new("example.com/log", &[seed; 32]).unwrap()
}

#[test]
fn a_request_holds_the_record_byte_for_byte() {
    let request = request();
    let body = serde_json::to_string(&request).unwrap();
    let leaf = request.entries[0].record.to_canonical().unwrap();
    assert!(body.contains(std::str::from_utf8(&leaf).unwrap()));
    assert_eq!(
        serde_json::from_str::<AppendRequest>(&body).unwrap(),
        request
    );
}

#[test]
fn a_record_in_another_spelling_is_refused() {
    let body = serde_json::to_string(&request()).unwrap();
    for (from, to) in [
        (r#""kind":"constitution""#, r#""kind": "constitution""#),
        (
            r#""kind":"constitution""#,
            r#""kind":"constitution","kind":"constitution""#,
        ),
        (
            r#""kind":"constitution""#,
            r#""kind":"constitution","kinds":1"#,
        ),
        (r#""kind":"constitution""#, r#""kind":"\u0063onstitution""#),
        (r#"{"entries""#, r#"{"more":1,"entries""#),
        (r#""payloads":["#, r#""payloads":["AA","#),
        (r#""payloads":["#, r#""payloads":["AAAB","#),
    ] {
        let changed = body.replacen(from, to, 1);
        assert_ne!(changed, body);
        let read = serde_json::from_str::<AppendRequest>(&changed);
        assert!(read.is_err(), "{to} was accepted");
    }
}

#[test]
fn the_largest_append_fits_a_request() {
    // 40 MiB of payloads as base64, and 64 records.
    let payloads = (40 * 1024 * 1024_usize).div_ceil(3) * 4;
    assert!(payloads + 64 * 2 * 16 * 1024 < MAX_REQUEST_BYTES);
}

#[test]
fn a_stored_record_must_be_the_one_in_its_receipt() {
    let stored_record = stored(&key(1), intent());
    let (_, verified) = stored_record.verify(key(1).verifying_key()).unwrap();
    assert_eq!(verified.record, intent());
    assert!(matches!(
        stored_record.verify(key(2).verifying_key()),
        Err(StoredRecordError::Receipt(_))
    ));
    let mut other = stored_record.clone();
    other.record = request().entries.remove(0).record;
    let mut moved = stored_record;
    moved.index = 1;
    for changed in [other, moved] {
        assert!(matches!(
            changed.verify(key(1).verifying_key()),
            Err(StoredRecordError::Differs { .. })
        ));
    }
}

#[test]
fn replies_survive_the_way() {
    let reply = AppendReply {
        results: vec![AppendResult {
            existing: true,
            stored: stored(&key(1), Record::new(Body::Answered(largest_outcome()))),
        }],
    };
    let body = serde_json::to_string(&reply).unwrap();
    assert_eq!(serde_json::from_str::<AppendReply>(&body).unwrap(), reply);
}

fn pointer(uid: usize, origin: usize) -> Pointer {
    Pointer {
        task_uid: "u".repeat(uid),
        attempt: 1000,
        outcome: RecordKind::Cancelled,
        exit_code: 255,
        origin: "o".repeat(origin),
        index: (1 << 53) - 1,
        leaf: Hash([255; 32]),
    }
}

#[test]
fn the_largest_pointer_fits_its_bound() {
    let text = pointer(64, 200).to_string();
    assert!(text.len() <= MAX_POINTER_BYTES, "{} bytes", text.len());
    assert_eq!(text.parse(), Ok(pointer(64, 200)));
    assert!(pointer(64, 201).to_string().parse::<Pointer>().is_err());
    assert!(pointer(65, 1).to_string().parse::<Pointer>().is_err());
}

#[test]
fn a_pointer_has_one_text() {
    let text = pointer(8, 8).to_string();
    for (from, to) in [
        ("{", "{ "),
        ("pointer/v1", "pointer/v2"),
        ("1000", "1001"),
        ("cancelled", "intent"),
        (r#""exitCode":255"#, r#""exitCode":256"#),
        (r#""exitCode":255"#, r#""exitCode":255,"exitCode":255"#),
        ("}", r#","x":1}"#),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert!(changed.parse::<Pointer>().is_err(), "{changed}");
    }
}

#[test]
fn every_error_is_documented_with_its_status() {
    for code in [
        ErrorCode::Malformed,
        ErrorCode::Unauthenticated,
        ErrorCode::Forbidden,
        ErrorCode::NotFound,
        ErrorCode::ConstitutionChanged,
        ErrorCode::ConstitutionUnknown,
        ErrorCode::Gone,
        ErrorCode::LengthRequired,
        ErrorCode::TooLarge,
        ErrorCode::RateLimited,
        ErrorCode::Internal,
        ErrorCode::Unavailable,
        ErrorCode::ReadOnly,
    ] {
        let name = serde_json::to_value(code).unwrap();
        let row = format!("| `{}` | {} |", name.as_str().unwrap(), code.status());
        assert!(DOCS.contains(&row), "no row {row}");
    }
}

#[test]
fn every_field_is_documented() {
    let stored = stored(&key(1), intent());
    let task = TaskRef {
        uid: "u".to_owned(),
        attempt: 0,
    };
    let shapes: [Value; 6] = [
        json!(request()),
        json!(AppendReply {
            results: vec![AppendResult {
                existing: false,
                stored: stored.clone(),
            }],
        }),
        json!(TaskReply {
            records: vec![stored],
            next: Some(1),
        }),
        json!(OpenIntentsReply {
            intents: vec![OpenIntentRef { task, index: 1 }],
            next: Some(2),
        }),
        json!(ConsistencyReply {
            from: 1,
            to: 2,
            hashes: vec![Hash([0; 32])],
        }),
        serde_json::from_str(&pointer(1, 1).to_string()).unwrap(),
    ];
    for shape in &shapes {
        check_documented(shape);
    }
}

fn check_documented(value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(DOCS.contains(&format!("`{name}`")), "{name}");
                // What is in a record is documented with the format.
                if name != "record" {
                    check_documented(value);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(check_documented),
        _ => {}
    }
}
