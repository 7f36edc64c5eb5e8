//! Tessera's POSIX driver and its `fsck`, built from `tests/bench/tessera` at the version pinned there: the peer of the
//! same field, under the same load in the same run.

use std::fs::create_dir_all;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axiom_hive_runner::ledger::storage::Disk;
use axiom_hive_runner::ledger::{Constitutions, Depth, Trust, export, verify_on};
use serde::Deserialize;
use tempfile::TempDir;

use crate::load::{Scratch, fill};
use crate::measure::{medians, percent};
use crate::table::Table;
use crate::{Bar, BenchError};

/// Where its sources are, and where its programs go.
const SOURCES: &str = "tests/bench/tessera";
const PROGRAMS: &str = ".cache/tools/bench";
/// Entries of the log that both verify.
const ENTRIES: u64 = 100_000;

/// What a load on the peer came to; percentiles in nanoseconds.
#[derive(Debug, Deserialize)]
pub(crate) struct PeerLoad {
    pub(crate) appends: u64,
    pub(crate) nanos: u64,
    pub(crate) cpu_nanos: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
    /// Until a signed checkpoint has it; of one caller alone.
    pub(crate) signed_p50: u64,
    pub(crate) signed_p99: u64,
}

impl PeerLoad {
    pub(crate) fn per_second(&self) -> u64 {
        self.appends * 1_000_000_000 / self.nanos.max(1)
    }
}

/// The peer, with a log of its own on the same disk.
pub(crate) struct Peer {
    programs: PathBuf,
    directory: TempDir,
}

impl Peer {
    pub(crate) fn new(disk: &str) -> Result<Self, BenchError> {
        let programs = std::env::current_dir()?.join(PROGRAMS);
        create_dir_all(&programs)?;
        for (program, package) in [
            ("load", "."),
            ("fsck", "github.com/transparency-dev/tessera/cmd/fsck"),
        ] {
            let mut go = Command::new("go");
            go.args(["build", "-o"])
                .arg(programs.join(program))
                .arg(package);
            said(go.current_dir(SOURCES))?;
        }
        let directory = tempfile::tempdir_in(disk)?;
        Ok(Self {
            programs,
            directory,
        })
    }

    /// Callers that append 256 B each, as fast as they can.
    pub(crate) fn load(&self, callers: u64, duration: Duration) -> Result<PeerLoad, BenchError> {
        let mut program = Command::new(self.programs.join("load"));
        program
            .arg("-directory")
            .arg(self.directory.path())
            .args(["-callers", &callers.to_string()])
            .args(["-seconds", &duration.as_secs().to_string()]);
        let line = said(&mut program)?;
        serde_json::from_str(&line).map_err(crate::ledger::setup)
    }

    /// Our `verify` beside the peer's `fsck`, on one ledger and its export.
    pub(crate) fn verify(&self, out: &mut dyn Write) -> Result<Bar, BenchError> {
        let scratch = Scratch::new()?;
        let mut ledger = scratch.open()?;
        fill(&mut ledger, ENTRIES, 4096)?;
        let key = ledger.view().verifying_key().clone();
        drop(ledger);
        let tree = std::path::absolute(scratch.path("tree"))?;
        export(&scratch.path("ledger"), &tree, Constitutions::Omitted)?;
        let vkey = scratch.path("vkey");
        std::fs::write(&vkey, key.to_string())?;
        let disk = Disk::new(&scratch.path("ledger"), 0o600);
        let ours = || {
            let report = verify_on(&disk, Trust::Key(&key), Depth::Log);
            u64::from(report.is_ok_and(|report| report.is_ok()))
        };
        let fsck = || self.fsck(&tree, &vkey, key.name());
        if fsck() != 1 || ours() != 1 {
            let what = "a ledger in order must verify for both";
            return Err(BenchError::Setup(what.to_owned()));
        }
        let nanos = medians(vec![Box::new(ours), Box::new(fsck)]);
        writeln!(out, "Verify, {ENTRIES} entries of 256 B, all cores")?;
        let mut table = Table::new(&["", "entries/s"]);
        let names = ["every byte, hash and head", "Tessera's fsck of the export"];
        for (name, nanos) in names.iter().zip(&nanos) {
            let rate = ENTRIES * 1_000_000_000 / nanos;
            table.row([(*name).to_owned(), rate.to_string()]);
        }
        table.print(out)?;
        let times = percent(nanos[1], nanos[0]);
        Ok(Bar {
            what: "verify: at least 5x Tessera's fsck",
            measured: format!("{}x", crate::measure::hundredths(times)),
            is_met: times >= 500,
        })
    }

    /// 1 when it accepts. Its exit code says nothing; its last word does.
    fn fsck(&self, tree: &Path, vkey: &Path, origin: &str) -> u64 {
        let output = Command::new(self.programs.join("fsck"))
            .arg(format!("--storage_url=file://{}/", tree.display()))
            .arg(format!("--public_key={}", vkey.display()))
            .arg(format!("--origin={origin}"))
            .args([&format!("--N={}", crate::machine::cores()), "--ui=false"])
            .output();
        let is_accepted = |output: std::process::Output| {
            String::from_utf8_lossy(&output.stderr).contains("Successfully fsck'd log")
        };
        u64::from(output.is_ok_and(is_accepted))
    }
}

/// What a program writes to its standard output, or why it failed.
fn said(program: &mut Command) -> Result<String, BenchError> {
    let output = program
        .stdin(Stdio::null())
        .output()
        .map_err(|error| crate::ledger::setup(format!("{program:?}: {error}")))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(crate::ledger::setup(format!("{program:?}: {error}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
