//! Succession: a ledger is sealed, and a new one with a new key goes on.
//!
//! Each names the other under its own signature: the seal the key of the new ledger, the first record of
//! the new one the head of the old. So whoever trusts one key learns of the next, and nobody can put
//! another past before a ledger. A crash between the steps leaves a sealed ledger whose successor has not
//! begun; the same call goes on from there.

use std::path::Path;
use std::sync::Arc;

use axiom_hive_core::record::{Body, LedgerHead, Record, RotationReason, Slot};
use axiom_hive_core::tlog::{VerifyingKey, root_at};

use super::engine::Ledger;
use super::error::{LedgerError, Problem, Problems, io_error};
use super::keys::KeyStore;
use super::log::segment_paths;
use super::nodes::Nodes;
use super::reader::LedgerReader;
use super::storage::{Disk, Storage};
use super::verify::{Trust, verify};

/// What a rotation made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The sealed ledger, as the new one names it.
    pub predecessor: LedgerHead,
    /// The key of the new ledger.
    pub key: VerifyingKey,
}

/// Seals the ledger in `dir` and begins its successor in `new_dir`, which must be empty or missing.
///
/// Both keys lie in `keys`. Refused while a task has not ended. What a crash interrupted is finished by
/// the same call.
pub fn rotate(
    dir: &Path,
    new_dir: &Path,
    keys: &KeyStore,
    reason: RotationReason,
    at_unix_ms: u64,
) -> Result<Rotated, LedgerError> {
    drop(LedgerReader::open(dir)?);
    let [old, new] = [dir, new_dir].map(|dir| Arc::new(Disk::new(dir, 0o600)));
    let old = Ledger::open_on(old, keys, &dir.display().to_string())?;
    rotate_to(old, new, keys, (reason, at_unix_ms), new_dir)
}

/// The same from an open ledger to any storage; `name` is for messages.
pub fn rotate_to(
    mut old: Ledger,
    new: Arc<dyn Storage>,
    keys: &KeyStore,
    (reason, at_unix_ms): (RotationReason, u64),
    name: &Path,
) -> Result<Rotated, LedgerError> {
    old.writable()?;
    let successor = match old.find(&Slot::Sealed)? {
        Some(index) => successor_of(&old.record(index)?),
        None => Some(seal(&mut old, &*new, keys, at_unix_ms, name)?),
    };
    let keys = match successor {
        Some(key) => {
            // Two ledgers under one key would be a fork.
            let has_begun = keys.pin(key.name())?.newest().is_some();
            if has_begun && segment_paths(&*new)?.is_empty() {
                return Err(LedgerError::NotSuccessor("that one has begun elsewhere"));
            }
            let key = keys.signing_key(&key);
            keys.with_key(key.map_err(|no| LedgerError::ReadOnly(Problems(vec![no])))?)
        }
        // Sealed by itself; the successor's key is made with it.
        None => keys.clone(),
    };
    let mut ledger = Ledger::open_on(new, &keys, &name.display().to_string())?;
    if ledger.find(&Slot::Succession)?.is_none() {
        let record = Record::new(Body::Succession {
            at_unix_ms,
            predecessor: head_of(old.view()),
            reason,
        });
        ledger.append(&record, &[])?;
    }
    let predecessor = check_succession(old.view(), ledger.view())?;
    Ok(Rotated {
        predecessor,
        key: ledger.view().verifying_key().clone(),
    })
}

/// Makes the successor's key, and seals the ledger with it.
fn seal(
    old: &mut Ledger,
    new: &dyn Storage,
    keys: &KeyStore,
    at_unix_ms: u64,
    name: &Path,
) -> Result<VerifyingKey, LedgerError> {
    let names = new.list("");
    let names = names.map_err(io_error(format!("list {}", name.display())))?;
    if !names.is_empty() || !segment_paths(new)?.is_empty() {
        return Err(LedgerError::OutputNotEmpty(name.to_owned()));
    }
    if keys.is_of_key() {
        let why = "a key that is given cannot be that of a new ledger too";
        return Err(LedgerError::NotSuccessor(why));
    }
    // Before a key is made for nothing.
    let open = old.open_intents()?;
    if !open.is_empty() {
        return Err(LedgerError::OpenTasks(open));
    }
    let key = keys.create()?.verifying_key().clone();
    old.seal(Some(&key), at_unix_ms)?;
    Ok(key)
}

fn successor_of(seal: &Record) -> Option<VerifyingKey> {
    match &seal.body {
        Body::Sealed { successor, .. } => successor.clone(),
        _ => None,
    }
}

fn predecessor_of(ledger: &LedgerReader) -> Result<LedgerHead, LedgerError> {
    match ledger.record(0)?.body {
        Body::Succession { predecessor, .. } => Ok(predecessor),
        _ => Err(LedgerError::NotSuccessor("its first record names none")),
    }
}

fn head_of(ledger: &LedgerReader) -> LedgerHead {
    let log = ledger.log();
    let size = log.size();
    LedgerHead {
        key: log.key.clone(),
        size,
        root: log.tree.root(),
    }
}

/// Whether `new` goes on where `old` was sealed; the head that it names.
fn check_succession(old: &LedgerReader, new: &LedgerReader) -> Result<LedgerHead, LedgerError> {
    let named = predecessor_of(new)?;
    let root = root_at(named.size, &Nodes(old)).ok();
    if named.key != *old.verifying_key() || named.size > old.size() || root != Some(named.root) {
        return Err(LedgerError::NotSuccessor("it names another one"));
    }
    let sealed = old.find(&Slot::Sealed)?.filter(|index| *index < named.size);
    let sealed = sealed.ok_or(LedgerError::NotSuccessor("that one was not sealed"))?;
    match successor_of(&old.record(sealed)?) {
        Some(key) if key != *new.verifying_key() => Err(LedgerError::NotSuccessor(
            "the seal of that one names another key",
        )),
        _ => Ok(named),
    }
}

/// Holds the ledger in `dir` against the one in `predecessor`, which is verified whole under the key that
/// the succession names. What does not hold.
pub fn verify_predecessor(dir: &Path, predecessor: &Path) -> Result<Vec<Problem>, LedgerError> {
    let (new, old) = (LedgerReader::open(dir)?, LedgerReader::open(predecessor)?);
    let named = match check_succession(&old, &new) {
        Ok(named) => named,
        Err(error @ LedgerError::NotSuccessor(_)) => {
            return Ok(vec![Problem::of_file("predecessor", error.to_string())]);
        }
        Err(error) => return Err(error),
    };
    let report = verify(predecessor, Trust::Key(&named.key))?;
    let mut problems = report.problems;
    for problem in &mut problems {
        problem.file.insert_str(0, "predecessor/");
    }
    Ok(problems)
}
