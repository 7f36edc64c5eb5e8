//! One append next to a bare `fdatasync`, and verification next to bare SHA-256.

use std::fs::{File, create_dir_all};
use std::io::Write;
use std::path::Path;
use std::thread;

use axiom_hive_core::constitution::RuntimeKind;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{
    Body, BuildRef, Commitment, ConstitutionRef, Label, ObservedIntent, Payload, Record,
    RuntimeRef, Salts, TaskRef,
};
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::ledger::storage::Disk;
use axiom_hive_runner::ledger::{Depth, KeyStore, Ledger, Trust, verify_on};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::measure::{ROUNDS, hundredths, medians, percent, percentile, time};
use crate::table::Table;
use crate::{Bar, BenchError, machine};

/// Appends of one round; each is timed alone.
const APPENDS: u32 = 100;
/// Entries of the ledger that is verified.
const ENTRIES: u32 = 50_000;
/// Bytes of each of its entries.
const ENTRY_BYTES: usize = 256;
/// Bytes that SHA-256 takes in for one entry of 256 B: the padded leaf (5 blocks of 64 B) and one
/// padded inner node (2 blocks).
const HASHED_BYTES: u64 = 448;
/// Bytes hashed in one piece for the bare number; longer than any cache.
const BARE_BYTES: usize = 32 << 20;
/// Where appends are measured: on the disk of the work tree.
const DISK: &str = ".cache/bench";
/// Where the ledger that is verified is built, if there is such a directory: in memory, because
/// its many appends are not what is measured, and what is verified is in the page cache anyway.
const MEMORY: &str = "/dev/shm";

/// A ledger in a directory that vanishes.
struct Scratch {
    ledger: Ledger,
    directory: TempDir,
}

fn scratch(parent: &str) -> Result<Scratch, BenchError> {
    create_dir_all(parent)?;
    let directory = tempfile::tempdir_in(parent)?;
    let keys = KeyStore::at(&directory.path().join("keys"));
    let ledger = Ledger::open(&directory.path().join("ledger"), &keys)?;
    Ok(Scratch { ledger, directory })
}

/// Prints the latency of one append, durable, signed and proven, and of a bare `fdatasync` of as
/// many bytes, call by call in alternation.
pub(crate) fn append(out: &mut dyn Write) -> Result<Bar, BenchError> {
    let Scratch {
        mut ledger,
        directory,
    } = scratch(DISK)?;
    let constitution = constitution("bench".to_owned(), "", 0);
    ledger.append(&constitution_record(constitution.clone()), &[])?;
    let bare = File::create(directory.path().join("bare"))?;
    let mut frame_bytes = 0;
    let (mut appends, mut syncs) = (Vec::new(), Vec::new());
    let total = APPENDS * ROUNDS as u32;
    for number in 0..total {
        let (record, payloads) = intent(&constitution, number)?;
        frame_bytes = record.to_canonical().map_err(setup)?.len()
            + payloads
                .iter()
                .map(|payload| payload.encode().len())
                .sum::<usize>();
        let frame = vec![7_u8; frame_bytes];
        let mut result = Ok(());
        appends.push(time(&mut || match ledger.append(&record, &payloads) {
            Ok(appended) => appended.index,
            Err(error) => {
                result = Err(error);
                0
            }
        }));
        result?;
        let mut result = Ok(());
        syncs.push(time(&mut || {
            result = (&bare).write_all(&frame).and_then(|()| bare.sync_data());
            0
        }));
        result?;
    }
    let mut table = Table::new(&["", "append us", "fdatasync us", "ratio"]);
    for (name, rank) in [("p50", 50), ("p90", 90), ("p99", 99)] {
        let append = percentile(appends.clone(), rank);
        let sync = percentile(syncs.clone(), rank);
        table.row([
            name.to_owned(),
            (append / 1_000).to_string(),
            (sync / 1_000).to_string(),
            hundredths(percent(append, sync)),
        ]);
    }
    writeln!(
        out,
        "Append, {total} intents of {frame_bytes} B with their payloads, one after the other"
    )?;
    table.print(out)?;
    let ratio = percent(percentile(appends, 50), percentile(syncs, 50));
    Ok(Bar {
        what: "append p50: at most 3x fdatasync",
        measured: format!("{}x", hundredths(ratio)),
        is_met: ratio <= 300,
    })
}

/// Prints how many entries a second `verify` checks, and how many bare SHA-256 would allow.
pub(crate) fn verify(out: &mut dyn Write) -> Result<Bar, BenchError> {
    let parent = if Path::new(MEMORY).is_dir() {
        MEMORY
    } else {
        DISK
    };
    let Scratch {
        mut ledger,
        directory,
    } = scratch(parent)?;
    let shortest = constitution_record(constitution("n".to_owned(), "", 0));
    let missing = ENTRY_BYTES.saturating_sub(shortest.to_canonical().map_err(setup)?.len());
    // A name has at most 63 bytes; the version takes the rest.
    let in_name = missing.min(62);
    let (name, suffix) = ("n".repeat(1 + in_name), "0".repeat(missing - in_name));
    for number in 0..ENTRIES {
        ledger.append(
            &constitution_record(constitution(name.clone(), &suffix, number)),
            &[],
        )?;
    }
    let key = ledger.view().verifying_key().clone();
    drop(ledger);
    let path = directory.path().join("ledger");
    if verify_once(&path, &key, Depth::Records) == 0 {
        return Err(setup("the ledger that was just written does not verify"));
    }
    let times = medians(vec![
        Box::new(|| verify_once(&path, &key, Depth::Log)),
        Box::new(|| verify_once(&path, &key, Depth::Records)),
        Box::new(bare_sha256),
    ]);
    let hashed = (BARE_BYTES * machine::cores()) as u64;
    let allowed = hashed * 1_000_000_000 / times[2] / HASHED_BYTES;
    let per_second = |nanos: u64| u64::from(ENTRIES) * 1_000_000_000 / nanos;
    let mut table = Table::new(&["", "entries/s", "SHA-256 MB/s", "of bare"]);
    for (name, entries) in [
        ("every byte, hash and head", per_second(times[0])),
        ("and what the records say", per_second(times[1])),
        ("bare SHA-256", allowed),
    ] {
        table.row([
            name.to_owned(),
            entries.to_string(),
            (entries * HASHED_BYTES / 1_000_000).to_string(),
            format!("{} %", percent(entries, allowed)),
        ]);
    }
    writeln!(
        out,
        "Verify, {ENTRIES} entries of {ENTRY_BYTES} B ({HASHED_BYTES} B hashed for each), {} cores",
        machine::cores()
    )?;
    table.print(out)?;
    let share = percent(per_second(times[0]), allowed);
    Ok(Bar {
        what: "verify: at least 60 % of bare SHA-256",
        measured: format!("{share} %"),
        is_met: share >= 60,
    })
}

/// 1 for a ledger in order, 0 for one that is not.
fn verify_once(path: &Path, key: &VerifyingKey, depth: Depth) -> u64 {
    let report = verify_on(&Disk::new(path, 0o600), Trust::Key(key), depth);
    u64::from(report.is_ok_and(|report| report.is_ok()))
}

/// Hashes [`BARE_BYTES`] on every core at once.
fn bare_sha256() -> u64 {
    let hash = |core: usize| {
        let block = vec![core as u8; BARE_BYTES / 64];
        let mut hasher = Sha256::new();
        for _ in 0..64 {
            hasher.update(&block);
        }
        u64::from(hasher.finalize()[0])
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..machine::cores())
            .map(|core| scope.spawn(move || hash(core)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum()
    })
}

fn constitution(name: String, version_suffix: &str, number: u32) -> ConstitutionRef {
    ConstitutionRef {
        name,
        // Five digits, so that all entries have one length.
        version: format!("1.0.{}{version_suffix}", 10_000 + number),
        digest: Digest::of(&number.to_be_bytes()),
        catalogue: 1,
    }
}

fn constitution_record(constitution: ConstitutionRef) -> Record {
    let text = Commitment(constitution.digest.0);
    Record::new(Body::Constitution { constitution, text })
}

/// An intent as a run writes it, with a short prompt.
fn intent(
    constitution: &ConstitutionRef,
    number: u32,
) -> Result<(Record, Vec<Payload>), BenchError> {
    let salts = Salts::Seed(Digest::of(&number.to_be_bytes()).0);
    let payloads = [
        (Label::PROMPT, b"What is the capital of France?".to_vec()),
        (Label::TASK, br#"{"runtime":{"kind":"echo"}}"#.to_vec()),
        (Label::RUNTIME, br#"{"kind":"echo"}"#.to_vec()),
    ]
    .into_iter()
    .map(|(label, bytes)| Payload::new(label, &salts, bytes))
    .collect::<Result<Vec<_>, _>>()
    .map_err(setup)?;
    let record = Record::new(Body::Intent {
        task: TaskRef {
            uid: format!("bench-{number}"),
            attempt: 0,
        },
        constitution: constitution.clone(),
        spec: Digest::of(b"spec"),
        task_text: payloads[1].commitment(),
        prompt: payloads[0].commitment(),
        runtime: RuntimeRef {
            kind: RuntimeKind::Echo,
            spec: payloads[2].commitment(),
        },
        observed: ObservedIntent {
            at_unix_ms: 1_700_000_000_000,
            build: BuildRef {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                executable: Digest::of(b"bench"),
            },
            pod_uid: None,
        },
    });
    Ok((record, payloads))
}

fn setup(error: impl std::fmt::Display) -> BenchError {
    BenchError::Setup(error.to_string())
}
