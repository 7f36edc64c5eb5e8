//! One append next to a bare `fdatasync`, and verification next to bare SHA-256.

use std::fs::{File, create_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, ConstitutionRef, Label, MAX_ERASED, Payload, Record, Salts};
use axiom_hive_core::tlog::VerifyingKey;
use axiom_hive_runner::ledger::storage::Disk;
use axiom_hive_runner::ledger::{Depth, KeyStore, Ledger, Trust, verify_on};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::measure::{ROUNDS, hundredths, medians, percent, percentile, time};
use crate::records::{answered, constitution, constitution_record, intent};
use crate::table::Table;
use crate::{Bar, BenchError, machine};

/// Appends of one round; each is timed alone.
const APPENDS: u32 = 100;
/// Short records of a ledger that is verified.
const RECORDS: u32 = 50_000;
/// Bytes of each of them. For one, SHA-256 takes in 448 B: the padded leaf (5 blocks of 64 B) and
/// one padded inner node (2 blocks).
const RECORD_BYTES: usize = 256;
/// Tasks of a ledger that is verified.
const TASKS: u32 = 10_000;
/// Bytes hashed in one piece for the bare number; longer than any cache.
const BARE_BYTES: usize = 32 << 20;
/// Where appends are measured: on the disk of the work tree.
const DISK: &str = ".cache/bench";
/// Where a ledger that is verified is built, if there is such a directory: in memory, because its
/// many appends are not what is measured.
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
    let constitution = constitution("bench".to_owned(), 0);
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

/// Prints how many records a second `verify` checks, and how many bare SHA-256 would allow: of the
/// shortest records, and of tasks as a run writes them.
pub(crate) fn verify(out: &mut dyn Write) -> Result<Bar, BenchError> {
    let short = Verified::of(short_records)?;
    let tasks = Verified::of(tasks)?;
    let times = medians(vec![
        Box::new(|| short.verify(Depth::Log)),
        Box::new(|| short.verify(Depth::Records)),
        Box::new(|| tasks.verify(Depth::Log)),
        Box::new(|| tasks.verify(Depth::Records)),
        Box::new(bare_sha256),
    ]);
    let bare_bytes = (BARE_BYTES * machine::cores()) as u64;
    let mut table = Table::new(&["", "records/s", "SHA-256 MB/s", "of bare"]);
    let shares = [
        ("256 B: every byte, hash and head", &short, times[0]),
        ("256 B: and what the records say", &short, times[1]),
        ("tasks: every byte, hash and head", &tasks, times[2]),
        ("tasks: and what the records say", &tasks, times[3]),
    ]
    .map(|(name, ledger, nanos)| {
        let allowed = ledger.hashed_bytes * times[4] / bare_bytes;
        let share = percent(allowed, nanos);
        table.row([
            name.to_owned(),
            (ledger.records * 1_000_000_000 / nanos).to_string(),
            (ledger.hashed_bytes * 1_000 / nanos).to_string(),
            format!("{share} %"),
        ]);
        share
    });
    table.row([
        "bare SHA-256".to_owned(),
        String::new(),
        (bare_bytes * 1_000 / times[4]).to_string(),
        "100 %".to_owned(),
    ]);
    writeln!(
        out,
        "Verify, {} records of 256 B, {} of tasks ({} B hashed for each), {} cores",
        short.records,
        tasks.records,
        tasks.hashed_bytes / tasks.records,
        machine::cores()
    )?;
    table.print(out)?;
    Ok(Bar {
        what: "verify of 256 B, every byte, hash and head: at least 60 % of bare SHA-256",
        measured: format!("{} %; and what the records say: {} %", shares[0], shares[1]),
        is_met: shares[0] >= 60,
    })
}

/// A ledger to be verified.
struct Verified {
    directory: TempDir,
    key: VerifyingKey,
    records: u64,
    /// What SHA-256 takes in for it: padded leaves, inner nodes, payloads.
    hashed_bytes: u64,
}

impl Verified {
    fn of(fill: fn(&mut Writer) -> Result<(), BenchError>) -> Result<Self, BenchError> {
        let memory = Path::new(MEMORY).is_dir().then_some(MEMORY);
        let Scratch { ledger, directory } = scratch(memory.unwrap_or(DISK))?;
        let mut writer = Writer {
            ledger,
            hashed_bytes: 0,
        };
        fill(&mut writer)?;
        let Writer {
            ledger,
            hashed_bytes,
        } = writer;
        let (key, records) = (ledger.view().verifying_key().clone(), ledger.view().size());
        drop(ledger);
        let verified = Self {
            directory: copied_to_disk(&directory)?,
            key,
            records,
            hashed_bytes,
        };
        if verified.verify(Depth::Records) == 0 {
            return Err(setup("the ledger that was just written does not verify"));
        }
        Ok(verified)
    }

    /// 1 for a ledger in order, 0 for one that is not.
    fn verify(&self, depth: Depth) -> u64 {
        let path = self.directory.path().join("ledger");
        let report = verify_on(&Disk::new(&path, 0o600), Trust::Key(&self.key), depth);
        u64::from(report.is_ok_and(|report| report.is_ok()))
    }
}

/// Counts what SHA-256 will take in.
struct Writer {
    ledger: Ledger,
    hashed_bytes: u64,
}

impl Writer {
    fn append(&mut self, record: &Record, payloads: &[Payload]) -> Result<(), BenchError> {
        // One bit and the length make a message longer by 9 bytes at least.
        let padded = |bytes: usize| (bytes + 9).next_multiple_of(64) as u64;
        let leaf = padded(1 + record.to_canonical().map_err(setup)?.len());
        let node = padded(65);
        let payload = |payload: &Payload| padded(payload.encode().len());
        self.hashed_bytes += leaf + node + payloads.iter().map(payload).sum::<u64>();
        self.ledger.append(record, payloads)?;
        Ok(())
    }
}

/// Constitution records of [`RECORD_BYTES`], and the erasures of their texts.
fn short_records(writer: &mut Writer) -> Result<(), BenchError> {
    let shortest = constitution_record(constitution("n".to_owned(), 0));
    let missing = RECORD_BYTES.checked_sub(shortest.to_canonical().map_err(setup)?.len());
    let missing = missing.ok_or_else(|| setup("the shortest record is too long"))?;
    let name = "n".repeat(1 + missing);
    let mut texts = Vec::new();
    for number in 0..RECORDS {
        let constitution = constitution(name.clone(), number);
        let record = constitution_record(constitution);
        texts.extend(record.commitments());
        writer.append(&record, &[])?;
    }
    for (erased_index, commitments) in (0..).zip(texts.chunks(MAX_ERASED)) {
        let erasure = Record::new(Body::Erasure {
            erased_index,
            commitments: commitments.to_vec(),
            at_unix_ms: 0,
        });
        writer.append(&erasure, &[])?;
    }
    Ok(())
}

/// Intents and answers.
fn tasks(writer: &mut Writer) -> Result<(), BenchError> {
    let text = br#"{"meta":{"catalogue":1,"name":"bench","version":"1.0.0"}}"#;
    let constitution = ConstitutionRef {
        name: "bench".to_owned(),
        version: "1.0.0".to_owned(),
        digest: Digest::of(text),
        catalogue: 1,
    };
    let salts = Salts::Seed([0; 32]);
    let payload = Payload::new(Label::CONSTITUTION, &salts, text.to_vec()).map_err(setup)?;
    let record = Record::new(Body::Constitution {
        constitution: constitution.clone(),
        text: payload.commitment(),
    });
    writer.append(&record, &[payload])?;
    for number in 0..TASKS {
        let (record, payloads) = intent(&constitution, number)?;
        let (end, texts) = answered(&record, number)?;
        writer.append(&record, &payloads)?;
        writer.append(&end, &texts)?;
    }
    Ok(())
}

/// The files of a ledger that was built in memory, on the disk where ledgers are.
fn copied_to_disk(from: &TempDir) -> Result<TempDir, BenchError> {
    create_dir_all(DISK)?;
    let to = tempfile::tempdir_in(DISK)?;
    let mut folders = vec![PathBuf::from("ledger")];
    while let Some(folder) = folders.pop() {
        create_dir_all(to.path().join(&folder))?;
        for entry in std::fs::read_dir(from.path().join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                std::fs::copy(entry.path(), to.path().join(path))?;
            }
        }
    }
    Ok(to)
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

pub(crate) fn setup(error: impl std::fmt::Display) -> BenchError {
    BenchError::Setup(error.to_string())
}
