//! `make bench-ledger`: the ledger under many callers, in process, next to Tessera's POSIX driver.
//!
//! Every append is acknowledged durable, integrated, signed and proven; callers are asynchronous
//! tasks of the same process, so their work (building, encoding and hashing records) is in all
//! numbers. Latencies at half load are counted from when a request was due, not from when it was
//! sent.

use std::fs::{self, File, create_dir_all};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axiom_hive_core::digest::Digest;
use axiom_hive_core::record::{Body, Commitment, ConstitutionRef, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_runner::ledger::{Handle, KeyStore, Ledger};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::measure::{hundredths, percent, percentile, time};
use crate::peer::{Peer, PeerLoad};
use crate::table::Table;
use crate::{Bar, BenchError, machine};

/// Callers at once.
const CALLERS: u64 = 1024;
/// Those of the peer: as many, those at which it was fastest, and one.
const PEER_CALLERS: [u64; 3] = [CALLERS, 4 * CALLERS, 1];
/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(5);
/// Rounds of the full load and of the single caller, in alternation.
const ROUNDS: usize = 3;
/// Appends of the single caller in one round.
const SINGLE: u64 = 300;
/// Bytes of each record.
const RECORD_BYTES: u64 = 256;
/// Entries of the ledger that is opened again, unless the environment says otherwise.
const ENTRIES: u64 = 1_000_000;
/// Entries of the ledger that grows by one at a time.
const TRICKLE: u64 = 3_000;
/// Entries appended at once while a ledger is built.
const GROUP: u64 = 4096;
/// On the disk of the work tree.
const DISK: &str = ".cache/bench";

/// A ledger in a directory that vanishes.
pub(crate) struct Scratch {
    directory: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, BenchError> {
        create_dir_all(DISK)?;
        let directory = tempfile::tempdir_in(DISK)?;
        Ok(Self { directory })
    }

    pub(crate) fn open(&self) -> Result<Ledger, BenchError> {
        let keys = KeyStore::at(&self.path("keys"));
        Ok(Ledger::open(&self.path("ledger"), &keys)?)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Bytes of the files below each folder of the ledger.
    fn usage(&self) -> io::Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.path("ledger"))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "tile" {
                let entries = bytes_below(&entry.path().join("entries"))?;
                all.push(("bundles".to_owned(), entries));
                all.push(("tiles".to_owned(), bytes_below(&entry.path())? - entries));
            } else {
                all.push((name, bytes_below(&entry.path())?));
            }
        }
        all.sort();
        Ok(all)
    }
}

/// Bytes of the files below a path, as their lengths say.
fn bytes_below(path: &Path) -> io::Result<u64> {
    let Ok(metadata) = fs::metadata(path) else {
        return Ok(0);
    };
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        bytes += bytes_below(&entry?.path())?;
    }
    Ok(bytes)
}

/// Constitution number `number`, below 2^24: a record of 256 B in a slot of its own.
fn record(number: u64) -> Record {
    Record::new(Body::Constitution {
        constitution: ConstitutionRef {
            name: "nn".to_owned(),
            version: format!("{number:06x}"),
            digest: Digest([number as u8; 32]),
            catalogue: 1,
        },
        text: Commitment([7; 32]),
    })
}

/// What a load came to.
#[derive(Default)]
struct Load {
    appends: u64,
    groups: u64,
    nanos: u64,
    cpu_nanos: u64,
    latencies: Vec<u64>,
}

impl Load {
    fn per_second(&self) -> u64 {
        self.appends * 1_000_000_000 / self.nanos.max(1)
    }
}

/// Processor time of this process so far, from the kernel's hundredths of a second.
fn cpu_nanos() -> io::Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program may hold spaces, but no field after it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks * 10_000_000)
}

/// Runs callers for [`LOAD`]; with `interval`, each appends at fixed times whatever came before.
async fn load(
    handle: &Handle,
    numbers: &Arc<AtomicU64>,
    interval: Option<Duration>,
) -> Result<Load, BenchError> {
    let (start, cpu) = (Instant::now(), cpu_nanos()?);
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (handle, numbers) = (handle.clone(), Arc::clone(numbers));
        let stop = Arc::clone(&stop);
        callers.spawn(async move {
            let (mut latencies, mut sizes) = (Vec::new(), Vec::new());
            // Spread evenly over the first interval.
            let first = interval.unwrap_or_default() * caller as u32 / CALLERS as u32;
            let mut due = start + first;
            while !stop.load(Ordering::Relaxed) {
                if let Some(interval) = interval {
                    tokio::time::sleep_until(due.into()).await;
                    due += interval;
                } else {
                    due = Instant::now();
                }
                let from =
                    interval.map_or(due, |interval| due.checked_sub(interval).unwrap_or(due));
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                let appended = handle.append(record(number), Vec::new()).await?;
                latencies.push(from.elapsed().as_nanos() as u64);
                let checkpoint = &appended.receipt.proof().checkpoint;
                sizes.push(size_of(checkpoint));
            }
            Ok::<_, BenchError>((latencies, sizes))
        });
    }
    tokio::time::sleep(LOAD).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Load::default();
    let mut sizes = Vec::new();
    while let Some(done) = callers.join_next().await {
        let (latencies, seen) = done.map_err(|error| BenchError::Setup(error.to_string()))??;
        all.latencies.extend(latencies);
        sizes.extend(seen);
    }
    all.nanos = start.elapsed().as_nanos() as u64;
    all.cpu_nanos = cpu_nanos()? - cpu;
    all.appends = all.latencies.len() as u64;
    sizes.sort_unstable();
    sizes.dedup();
    all.groups = sizes.len() as u64;
    Ok(all)
}

/// The size line of a checkpoint: one group, one size.
fn size_of(checkpoint: &str) -> u64 {
    let line = checkpoint.lines().nth(1);
    line.and_then(|line| line.parse().ok()).unwrap_or(0)
}

/// One caller, each append next to a bare `fdatasync` of as many bytes.
async fn single(
    handle: &Handle,
    numbers: &AtomicU64,
    bare: &File,
) -> Result<(Vec<u64>, Vec<u64>), BenchError> {
    let (mut appends, mut syncs) = (Vec::new(), Vec::new());
    let frame = vec![7_u8; RECORD_BYTES as usize + 104];
    for _ in 0..SINGLE {
        let record = record(numbers.fetch_add(1, Ordering::Relaxed));
        let start = Instant::now();
        handle.append(record, Vec::new()).await?;
        appends.push(start.elapsed().as_nanos() as u64);
        let mut result = Ok(());
        syncs.push(time(&mut || {
            let mut bare = bare;
            result = bare.write_all(&frame).and_then(|()| bare.sync_data());
            0
        }));
        result?;
    }
    Ok((appends, syncs))
}

/// Prints all tables of the load.
pub(crate) fn run(out: &mut dyn Write) -> Result<Vec<Bar>, BenchError> {
    writeln!(out, "{}\n", machine::describe())?;
    let length = record(0)
        .to_canonical()
        .map_err(crate::ledger::setup)?
        .len() as u64;
    if length != RECORD_BYTES {
        return Err(crate::ledger::setup(format!("a record has {length} B")));
    }
    let peer = Peer::new(DISK)?;
    let runtime = Runtime::new()?;
    let mut bars = runtime.block_on(appends(out, &peer))?;
    bars.push(peer.verify(out)?);
    bars.extend(disk(out)?);
    bars.push(restart(out)?);
    Ok(bars)
}

/// What the rounds came to.
struct Appends {
    full: Load,
    half: Load,
    /// One caller, and a bare `fdatasync` after each of its appends, in nanoseconds.
    singles: Vec<u64>,
    syncs: Vec<u64>,
    /// Under [`PEER_CALLERS`].
    peers: Vec<PeerLoad>,
}

async fn appends(out: &mut dyn Write, peer: &Peer) -> Result<Vec<Bar>, BenchError> {
    let scratch = Scratch::new()?;
    let handle = Handle::new(scratch.open()?);
    let bare = File::create(scratch.path("bare"))?;
    let numbers = Arc::new(AtomicU64::new(0));
    let (mut full, mut singles, mut syncs) = (Vec::new(), Vec::new(), Vec::new());
    let mut peers = [const { Vec::new() }; PEER_CALLERS.len()];
    for _ in 0..ROUNDS {
        full.push(load(&handle, &numbers, None).await?);
        for (loads, callers) in peers.iter_mut().zip(PEER_CALLERS) {
            loads.push(peer.load(callers, LOAD)?);
        }
        let (single, sync) = single(&handle, &numbers, &bare).await?;
        singles.extend(single);
        syncs.extend(sync);
    }
    let full = median(full, Load::per_second);
    let interval = Duration::from_nanos(2 * CALLERS * 1_000_000_000 / full.per_second().max(1));
    let half = load(&handle, &numbers, Some(interval)).await?;
    handle.close().await;
    let peers = peers.map(|loads| median(loads, PeerLoad::per_second));
    let appends = Appends {
        full,
        half,
        singles,
        syncs,
        peers: peers.into(),
    };
    appends.print(out)?;
    Ok(appends.bars())
}

/// The round in the middle.
fn median<T>(mut rounds: Vec<T>, rate: impl Fn(&T) -> u64) -> T {
    rounds.sort_by_key(rate);
    rounds.swap_remove(ROUNDS / 2)
}

impl Appends {
    fn print(&self, out: &mut dyn Write) -> Result<(), BenchError> {
        writeln!(
            out,
            "{CALLERS} callers, records of {RECORD_BYTES} B, {LOAD:?} each; median of {ROUNDS}"
        )?;
        let mut table = Table::new(&[
            "",
            "appends/s",
            "CPU us each",
            "of a group",
            "p50 us",
            "p99 us",
            "max us",
        ]);
        for (name, load) in [("full load", &self.full), ("half load", &self.half)] {
            let rank = |rank| (percentile(load.latencies.clone(), rank) / 1_000).to_string();
            table.row([
                name.to_owned(),
                load.per_second().to_string(),
                hundredths(load.cpu_nanos / 10 / load.appends.max(1)),
                (load.appends / load.groups.max(1)).to_string(),
                rank(50),
                rank(99),
                rank(100),
            ]);
        }
        for (callers, load) in PEER_CALLERS.iter().zip(&self.peers) {
            table.row([
                format!("Tessera, {callers} callers, not yet signed"),
                load.per_second().to_string(),
                hundredths(load.cpu_nanos / 10 / load.appends.max(1)),
                "-".to_owned(),
                (load.p50 / 1_000).to_string(),
                (load.p99 / 1_000).to_string(),
                (load.max / 1_000).to_string(),
            ]);
        }
        table.print(out)?;
        writeln!(
            out,
            "One caller, each append next to a bare fdatasync of as many bytes"
        )?;
        let mut table = Table::new(&[
            "",
            "append us",
            "fdatasync us",
            "ratio",
            "Tessera us, signed",
        ]);
        let signed = self
            .peers
            .last()
            .map(|load| [load.signed_p50, load.signed_p99]);
        let [signed_p50, signed_p99] = signed.unwrap_or_default();
        for (name, rank, signed) in [("p50", 50, signed_p50), ("p99", 99, signed_p99)] {
            let append = percentile(self.singles.clone(), rank);
            let sync = percentile(self.syncs.clone(), rank);
            table.row([
                name.to_owned(),
                (append / 1_000).to_string(),
                (sync / 1_000).to_string(),
                hundredths(percent(append, sync)),
                (signed / 1_000).to_string(),
            ]);
        }
        table.print(out)?;
        Ok(())
    }

    fn bars(&self) -> Vec<Bar> {
        let middle = |values: &Vec<u64>| percentile(values.clone(), 50);
        let ratio = percent(middle(&self.singles), middle(&self.syncs));
        let p99 = percentile(self.half.latencies.clone(), 99);
        let rate = self.full.per_second();
        let times = |peer: Option<u64>| percent(rate, peer.unwrap_or(0));
        let as_many = times(self.peers.first().map(PeerLoad::per_second));
        let best = times(self.peers.iter().map(PeerLoad::per_second).max());
        vec![
            Bar {
                what: "appends: at least 100000/s",
                measured: format!("{rate}/s"),
                is_met: rate >= 100_000,
            },
            Bar {
                what: "appends: at least 10x Tessera's with as many callers",
                measured: format!("{}x; {}x its best", hundredths(as_many), hundredths(best)),
                is_met: as_many >= 1_000,
            },
            Bar {
                what: "one caller p50: at most 3x fdatasync",
                measured: format!("{}x", hundredths(ratio)),
                is_met: ratio <= 300,
            },
            Bar {
                what: "p99 at half load: at most 10 ms",
                measured: format!("{} us", p99 / 1_000),
                is_met: p99 <= 10_000_000,
            },
        ]
    }
}

/// Appends records up to this number, `group` at once.
pub(crate) fn fill(ledger: &mut Ledger, entries: u64, group: u64) -> Result<(), BenchError> {
    while ledger.view().size() < entries {
        let first = ledger.view().size();
        let last = entries.min(first + group);
        let entries: Vec<Entry> = (first..last)
            .map(|number| Entry {
                record: record(number),
                payloads: Vec::new(),
            })
            .collect();
        for reply in ledger.append_group(&entries) {
            reply?;
        }
    }
    Ok(())
}

/// Bytes on the disk for each entry, beyond its own.
fn disk(out: &mut dyn Write) -> Result<Vec<Bar>, BenchError> {
    let mut bars = Vec::new();
    for (name, entries, group, what) in [
        (
            "in bulk",
            200_000,
            GROUP,
            "bulk: at most 37 B an entry beside index and log",
        ),
        (
            "one at a time",
            TRICKLE,
            1,
            "trickle: at most 37 B an entry beside index and log",
        ),
    ] {
        let scratch = Scratch::new()?;
        let mut ledger = scratch.open()?;
        fill(&mut ledger, entries, group)?;
        drop(ledger);
        let mut table = Table::new(&["", "B an entry"]);
        let usage = scratch.usage()?;
        for (folder, bytes) in &usage {
            table.row([folder.clone(), hundredths(bytes * 100 / entries)]);
        }
        writeln!(out, "Disk, {entries} entries of {RECORD_BYTES} B {name}")?;
        table.print(out)?;
        let of = |folders: &[&str]| {
            let all = usage
                .iter()
                .filter(|(folder, _)| folders.contains(&folder.as_str()));
            all.map(|(_, bytes)| bytes).sum::<u64>()
        };
        let overhead = of(&["bundles", "tiles"]).saturating_sub(entries * RECORD_BYTES);
        bars.push(Bar {
            what,
            measured: format!("{} B", hundredths(overhead * 100 / entries)),
            is_met: overhead <= 37 * entries,
        });
    }
    Ok(bars)
}

/// How long a ledger takes to open for writing.
fn restart(out: &mut dyn Write) -> Result<Bar, BenchError> {
    let entries = std::env::var("AXIOM_HIVE_BENCH_ENTRIES");
    let entries = entries.ok().and_then(|text| text.parse().ok());
    let entries = entries.unwrap_or(ENTRIES);
    let scratch = Scratch::new()?;
    let mut ledger = scratch.open()?;
    fill(&mut ledger, entries, GROUP)?;
    drop(ledger);
    let mut times: Vec<u64> = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let ledger = scratch.open()?;
        times.push(start.elapsed().as_nanos() as u64);
        if ledger.view().size() != entries || ledger.writable().is_err() {
            return Err(crate::ledger::setup("the ledger did not open again"));
        }
    }
    let median = percentile(times, 50);
    writeln!(
        out,
        "Restart with {entries} entries: {} ms\n",
        median / 1_000_000
    )?;
    Ok(Bar {
        what: "restart: below 1 s",
        measured: format!("{} ms", median / 1_000_000),
        is_met: median < 1_000_000_000,
    })
}
