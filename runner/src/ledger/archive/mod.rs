//! The archive of a ledger: its public tree with everything that a verifier needs, and checksums.

mod check;

use std::fmt::Write as _;

use axiom_hive_core::record::{Body, Record};

use super::error::LedgerError;
use super::reader::LedgerReader;

pub use check::{ArchiveReport, verify_archive, verify_archive_on};

pub(super) const CHECKPOINT_FILE: &str = "checkpoint";
/// The key that the ledger names as its own. Who trusts it has it from elsewhere.
pub(super) const KEY_FILE: &str = "vkey";
pub(super) const README_FILE: &str = "README.txt";
pub(super) const CONSTITUTIONS_FOLDER: &str = "constitutions/";

/// Where the canonical text of a constitution stands. Name and version have no slash, and neither can
/// name another folder.
fn constitution_path(record: &Record) -> Option<String> {
    let Body::Constitution { constitution, .. } = &record.body else {
        return None;
    };
    let (name, version) = (&constitution.name, &constitution.version);
    Some(format!("{CONSTITUTIONS_FOLDER}{name}/{version}.json"))
}

/// The texts of the constitutions that the ledger has, by path.
pub(super) fn constitutions(ledger: &LedgerReader) -> Result<Vec<(String, Vec<u8>)>, LedgerError> {
    let mut texts = Vec::new();
    for index in 0..ledger.size() {
        let entry = ledger.record_bytes(index)?;
        // The other records begin with another key, but for intents.
        if !entry.starts_with(br#"{"constitution":"#) {
            continue;
        }
        let record = Record::from_canonical(&entry)?;
        if let Some(path) = constitution_path(&record) {
            let kept = ledger.payloads(index)?.into_iter();
            texts.extend(kept.map(|text| (path.clone(), text.bytes)));
        }
    }
    Ok(texts)
}

/// What whoever finds the archive in ten years reads first.
pub(super) fn readme(ledger: &LedgerReader, checkpoint: &str) -> String {
    let key = ledger.verifying_key();
    let mut lines = checkpoint.lines();
    let [origin, size, root] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let mut text = format!("The ledger {origin}: {size} records, root {root}\n\n");
    text.push_str(
        "checkpoint          the signed head (C2SP tlog-checkpoint)\n\
         tile/               hash tiles and entry bundles (C2SP tlog-tiles, RFC 6962 with SHA-256)\n\
         vkey                the key that the ledger names as its own (C2SP signed-note)\n\
         constitutions/      canonical texts of the policies, where they were exported\n\
         SHA256SUMS          of every file but itself\n\n\
         No prompt, answer or salt is in here. Each entry of a bundle is one record: two bytes of length,\n\
         big-endian, and canonical JSON (RFC 8785, schema axiomhive.io/record/v1).\n\n\
         To verify it, take the key from a source other than this archive, and expect this one:\n\n",
    );
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "    {key}\n\n\
         1. Every file is whole:       sha256sum -c SHA256SUMS\n\
         2. With Axiom Hive:           axiom_hive_cli verify --archive . --key VKEY\n\
         3. Without it, by Tessera:    fsck --storage_url=file://$PWD/ --public_key=vkey --origin={origin}\n\n\
         Any web server or object store can serve this folder as it is.\n"
    );
    text
}
