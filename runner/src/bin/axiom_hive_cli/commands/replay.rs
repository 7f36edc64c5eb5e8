//! `replay`: a recorded decision, computed again.

use std::path::Path;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::record::{Body, Commitment, PayloadKind, Record, Slot};
use axiom_hive_core::supervisor::{ReplayError, replay as recompute};
use axiom_hive_runner::exit::{Exit, Failure};
use axiom_hive_runner::ledger::{LedgerError, LedgerReader};
use serde_json::json;

use crate::output::Printer;

pub(crate) fn replay(dir: &Path, index: u64, printer: &Printer) -> Result<Exit, Failure> {
    let ledger = LedgerReader::open(dir).map_err(Failure::with(Exit::Ledger))?;
    let record = ledger.record(index).map_err(Failure::with(Exit::Input))?;
    let Some(outcome) = record.outcome() else {
        return Err(Failure::new(Exit::Input, ReplayError::NotAnOutcome));
    };
    let intent = find(&ledger, &Slot::Intent(outcome.task.clone()), "intent")?;
    let constitution = constitution(&ledger, outcome.decided.constitution.clone())?;
    let payload = |commitment: &_| ledger.payload(commitment).ok().flatten();
    match recompute(&record, &intent, &constitution, payload) {
        Ok(decided) => printer.result(
            &format!(
                "record {index}: the same decision ({:?}), byte for byte",
                decided.reason
            ),
            &json!({"index": index, "same": true, "reason": decided.reason}),
        ),
        Err(error) => {
            let message = match &error {
                ReplayError::Differs(decided) => {
                    let recorded = json!(outcome.decided);
                    format!(
                        "record {index}: {error}\nrecorded {recorded}\nnow      {}",
                        json!(decided)
                    )
                }
                ReplayError::Missing(_, commitment) => {
                    let records = [&intent, &record];
                    let why = why_missing(&ledger, records, &constitution, commitment)
                        .map_err(Failure::with(Exit::Verification))?;
                    format!("record {index}: {error}: {why}")
                }
                _ => format!("record {index}: {error}"),
            };
            Err(Failure::new(Exit::Verification, message))
        }
    }
}

/// Erased by a record, not kept by the constitution, or lost.
fn why_missing(
    ledger: &LedgerReader,
    records: [&Record; 2],
    constitution: &Constitution,
    commitment: &Commitment,
) -> Result<String, LedgerError> {
    for index in 0..ledger.size() {
        if let Body::Erasure { commitments, .. } = ledger.record(index)?.body
            && commitments.contains(commitment)
        {
            return Ok(format!("erased by record {index}"));
        }
    }
    let is_kept = |(kind, payload): (PayloadKind, Commitment)| {
        payload == *commitment && kind.is_kept_by(&constitution.ledger)
    };
    let mut payloads = records.into_iter().flat_map(Record::payloads);
    if payloads.any(is_kept) {
        return Ok("lost: the constitution has it kept, and no record erased it".to_owned());
    }
    Ok("not kept, as the constitution has it".to_owned())
}

fn find(ledger: &LedgerReader, slot: &Slot, what: &str) -> Result<Record, Failure> {
    let found = ledger.find(slot).map_err(Failure::with(Exit::Ledger))?;
    let index = found.ok_or_else(|| {
        Failure::new(
            Exit::Verification,
            format!("the ledger must hold the {what} ({slot})"),
        )
    })?;
    ledger
        .record(index)
        .map_err(Failure::with(Exit::Verification))
}

/// The canonical text that the ledger keeps with the first use.
fn constitution(
    ledger: &LedgerReader,
    reference: axiom_hive_core::record::ConstitutionRef,
) -> Result<Constitution, Failure> {
    let slot = Slot::Constitution {
        name: reference.name,
        version: reference.version,
    };
    let record = find(ledger, &slot, "constitution")?;
    let missing = || {
        Failure::new(
            Exit::Verification,
            "the ledger must hold the constitution's text",
        )
    };
    let Body::Constitution { text, .. } = record.body else {
        return Err(missing());
    };
    let payload = ledger
        .payload(&text)
        .map_err(Failure::with(Exit::Verification))?;
    Constitution::from_canonical(&payload.ok_or_else(missing)?.bytes)
        .map_err(Failure::with(Exit::Verification))
}
