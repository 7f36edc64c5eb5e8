//! What the ledger is made to do, on a disk that writes it down, and what must then be found.

use std::collections::BTreeMap;
use std::sync::Arc;

use axiom_hive_core::record::{Body, Label, Payload, Record};
use axiom_hive_core::supervisor::Entry;
use axiom_hive_core::tlog::{Hash, MemTree, leaf_hash};
use axiom_hive_runner::ledger::storage::Memory;
use axiom_hive_runner::ledger::{
    Depth, KeyStore, Ledger, LedgerError, LedgerReader, Trust, repair_on, verify_on,
};

use super::super::fixture::{World, constitution, entry, intent, interrupted};
use super::disk::{Files, Journal, Journaled, Op};

/// One thing that a caller asks for, and then knows that it was done.
#[derive(Clone)]
pub(super) enum Step {
    /// One group.
    Append(Arc<Vec<Entry>>),
    /// The payloads of these records.
    Erase(&'static [u64]),
    Repair,
    Seal,
}

pub(super) struct Script {
    pub(super) name: &'static str,
    /// How long a segment is before it gets a successor.
    pub(super) segment_bytes: u64,
    /// Where it begins.
    pub(super) start: World,
    /// What is done, in this order; what comes after that are appends of one record, or the seal again.
    pub(super) steps: Vec<Step>,
    /// The ledger verifies once so many steps are done.
    pub(super) settled: usize,
}

/// What a ledger must hold.
pub(super) struct Expected {
    /// By number of steps done: the records there are.
    sizes: Vec<u64>,
    /// By index.
    records: Vec<ExpectedRecord>,
    /// By number of records.
    roots: Vec<Hash>,
}

struct ExpectedRecord {
    bytes: Vec<u8>,
    payloads: Vec<Payload>,
    /// So many steps later they are erased.
    erased_after: Option<usize>,
}

/// The first use of the constitution of all records here.
pub(super) fn first_use() -> Entry {
    let (constitution, text) = constitution(0);
    let body = Body::Constitution {
        constitution,
        text: text.commitment(),
    };
    Entry {
        record: Record::new(body),
        payloads: vec![text],
    }
}

/// The beginning of a task.
pub(super) fn begin(uid: &str) -> Entry {
    let (record, payloads) = intent(uid, 0);
    Entry { record, payloads }
}

/// The end of a task.
pub(super) fn end(uid: &str) -> Entry {
    Entry {
        record: Record::new(Body::Failed(interrupted(uid, 0))),
        payloads: Vec::new(),
    }
}

/// A ledger of `count` small records, appended at once.
pub(super) fn filled(count: u64) -> World {
    let world = World::default();
    let entries: Vec<Entry> = (0..count).map(entry).collect();
    for reply in world.open().unwrap().append_group(&entries) {
        reply.unwrap();
    }
    world
}

impl Step {
    pub(super) fn append(entries: Vec<Entry>) -> Self {
        Self::Append(Arc::new(entries))
    }
}

impl Script {
    fn step(&self, number: usize) -> Step {
        let is_sealed = self.steps.iter().any(|step| matches!(step, Step::Seal));
        let next = || {
            if is_sealed {
                // It takes erasures only, and those have no slot that makes them safe to repeat.
                return Step::Seal;
            }
            Step::append(vec![begin(&format!("next-{number}"))])
        };
        self.steps.get(number).cloned().unwrap_or_else(next)
    }

    /// What the ledger holds after each step and `more`, when nothing crashes.
    pub(super) fn expected(&self, more: usize) -> Expected {
        let mut opened = self.open(&files_of(&self.start)).unwrap();
        let mut expected = Expected {
            sizes: Vec::new(),
            records: Vec::new(),
            roots: Vec::new(),
        };
        expected.note(opened.ledger().view(), 0);
        for number in 0..=self.steps.len() + more {
            opened.perform(&self.step(number)).unwrap();
            expected.note(opened.ledger().view(), number + 1);
        }
        let mut tree = MemTree::new();
        expected.roots.push(tree.root());
        for record in &expected.records {
            tree.push(leaf_hash(&record.bytes));
            expected.roots.push(tree.root());
        }
        expected
    }

    /// Where the script begins, and every operation until its end.
    pub(super) fn first_run(&self) -> (Files, Vec<Op>) {
        let start = files_of(&self.start);
        let mut opened = self.open(&start).unwrap();
        for number in 0..self.steps.len() {
            opened.perform_noted(number, &self.step(number)).unwrap();
        }
        (start, opened.ops())
    }

    /// Opens what is on a disk.
    fn open(&self, files: &Files) -> Result<Opened, String> {
        let mut opened = self.load(files);
        opened.reopen()?;
        Ok(opened)
    }

    fn load(&self, files: &Files) -> Opened {
        let journal = Journal::default();
        let storage = |prefix: &'static str| {
            let part = files.iter().filter_map(|(path, bytes)| {
                let path = path.strip_prefix(prefix)?.strip_prefix('/')?;
                Some((path.to_owned(), bytes.to_vec()))
            });
            let memory = Memory::from_files(part.collect());
            Arc::new(Journaled {
                memory,
                prefix,
                journal: Arc::clone(&journal),
            })
        };
        Opened {
            dir: storage("dir"),
            keys: storage("keys"),
            segment_bytes: self.segment_bytes,
            ledger: None,
        }
    }

    /// Opens what a crash left, and says whether everything is there that must be, and how many steps
    /// are done.
    pub(super) fn recover(
        &self,
        files: &Files,
        (started, acknowledged): (usize, usize),
        expected: &Expected,
    ) -> Result<(Opened, usize), String> {
        let mut opened = self.load(files);
        let [least, most] = [acknowledged, started].map(|steps| expected.sizes[steps]);
        let must_be = |size| {
            let what = || format!("{least} records acknowledged, {most} begun: {size} are there");
            (size == least || size == most)
                .then_some(())
                .ok_or_else(what)
        };
        // Who only reads comes before whoever repairs.
        match LedgerReader::on(opened.dir.clone()) {
            Ok(view) => must_be(view.size())?,
            Err(LedgerError::NotALedger { .. }) => must_be(0)?,
            Err(error) => return Err(format!("it cannot be read: {error}")),
        }
        opened.reopen()?;
        let ledger = opened.ledger();
        let size = ledger.view().size();
        must_be(size)?;
        let released = ledger.view().checkpoint();
        let root = released.and_then(|text| Some(text.lines().nth(2)?.to_owned()));
        if size > 0 && root != Some(expected.roots[size as usize].to_string()) {
            return Err(format!(
                "the head over {size} records is not the one that was signed"
            ));
        }
        let steps = if size == least { acknowledged } else { started };
        Ok((opened, steps))
    }

    /// With `done` steps all must be in order. Then does again what was not acknowledged, and one step
    /// more; then all must be in order again.
    pub(super) fn go_on(
        &self,
        opened: &mut Opened,
        done: usize,
        (started, acknowledged): (usize, usize),
        expected: &Expected,
    ) -> Result<(), String> {
        if done >= self.settled {
            opened.check(expected, done)?;
        }
        let steps = (started + 1).max(self.settled);
        for number in acknowledged..steps {
            opened.perform_noted(number, &self.step(number))?;
        }
        opened.check(expected, steps)
    }
}

impl Expected {
    /// Writes down what there is after `steps`.
    fn note(&mut self, view: &LedgerReader, steps: usize) {
        self.sizes.push(view.size());
        for index in 0..view.size() {
            let payloads = view.payloads(index).unwrap();
            match self.records.get_mut(index as usize) {
                Some(known) if payloads.is_empty() && !known.payloads.is_empty() => {
                    known.erased_after.get_or_insert(steps);
                }
                Some(_) => {}
                None => self.records.push(ExpectedRecord {
                    bytes: view.record_bytes(index).unwrap(),
                    payloads,
                    erased_after: None,
                }),
            }
        }
    }
}

/// Every file of a world, by its path on the whole disk.
fn files_of(world: &World) -> Files {
    let parts = [("dir", &world.dir), ("keys", &world.keys)];
    let files = parts.into_iter().flat_map(|(prefix, memory)| {
        let files = memory.files().into_iter();
        files.map(move |(path, bytes)| (format!("{prefix}/{path}"), Arc::new(bytes)))
    });
    files.collect()
}

/// An open ledger whose operations are written down.
pub(super) struct Opened {
    dir: Arc<Journaled>,
    keys: Arc<Journaled>,
    segment_bytes: u64,
    /// `None` while something else has the lock.
    ledger: Option<Ledger>,
}

impl Opened {
    fn key_store(&self) -> KeyStore {
        KeyStore::on(self.keys.clone())
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    /// Every operation since the opening.
    pub(super) fn ops(&self) -> Vec<Op> {
        self.dir.journal.lock().unwrap().clone()
    }

    /// What stands in the files now.
    pub(super) fn files(&self) -> [BTreeMap<String, Vec<u8>>; 2] {
        [&self.dir, &self.keys].map(|storage| storage.memory.files())
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.ledger = None;
        let ledger = Ledger::open_on(self.dir.clone(), &self.key_store(), "disk");
        let mut ledger = ledger.map_err(|error| format!("it does not open: {error}"))?;
        if !ledger.read_only().is_empty() {
            return Err(format!("it is read-only: {:?}", ledger.read_only()));
        }
        ledger.set_segment_bytes(self.segment_bytes);
        self.ledger = Some(ledger);
        Ok(())
    }

    fn perform_noted(&mut self, number: usize, step: &Step) -> Result<(), String> {
        let note = |op| self.dir.journal.lock().unwrap().push(op);
        note(Op::Started(number + 1));
        let done = self.perform(step);
        self.dir
            .journal
            .lock()
            .unwrap()
            .push(Op::Acknowledged(number + 1));
        done
    }

    fn perform(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Append(entries) => {
                let ledger = self.ledger.as_mut().unwrap();
                let replies = ledger.append_group(entries).into_iter();
                replies
                    .zip(&**entries)
                    .try_for_each(|(reply, entry)| match reply {
                        Ok(reply) if reply.record == entry.record => Ok(()),
                        Ok(_) => Err("another record fills the slot".to_owned()),
                        Err(error) => Err(format!("an append fails: {error}")),
                    })
            }
            Step::Erase(indices) => {
                let ledger = self.ledger.as_mut().unwrap();
                let erased = ledger.erase(indices, 7).map(|_| ());
                erased.map_err(|error| format!("an erasure fails: {error}"))
            }
            Step::Seal => {
                let ledger = self.ledger.as_mut().unwrap();
                let sealed = ledger.seal(None, 7).map(|_| ());
                sealed.map_err(|error| format!("the seal fails: {error}"))
            }
            Step::Repair => {
                self.ledger = None;
                let keys = self.key_store();
                let repaired = repair_on(self.dir.clone(), Trust::Pin(&keys), "disk");
                repaired.map_err(|error| format!("the repair fails: {error}"))?;
                self.reopen()
            }
        }
    }

    /// Whether the ledger is what it is after so many steps, each record once.
    fn check(&self, expected: &Expected, steps: usize) -> Result<(), String> {
        let size = self.ledger().view().size();
        if size != expected.sizes[steps] {
            return Err(format!(
                "{size} records after {steps} steps, not {}",
                expected.sizes[steps]
            ));
        }
        let view = LedgerReader::on(self.dir.clone()).map_err(|error| error.to_string())?;
        for (index, record) in (0..size).zip(&expected.records) {
            let found = view
                .record_bytes(index)
                .and_then(|found| Ok((found, view.payloads(index)?)));
            let (bytes, payloads) = found.map_err(|error| format!("record {index}: {error}"))?;
            let is_erased = record.erased_after.is_some_and(|after| after <= steps);
            let kept = if is_erased { &[] } else { &*record.payloads };
            if bytes != record.bytes || payloads != kept {
                return Err(format!("record {index} is not what it was"));
            }
            if is_erased {
                self.check_erased(&record.payloads)?;
            }
        }
        let report = verify_on(&*self.dir, Trust::Pin(&self.key_store()), Depth::Records);
        let report = report.map_err(|error| error.to_string())?;
        if report.is_ok() && report.tail.is_none() && report.size == size {
            Ok(())
        } else {
            Err(format!("it does not verify: {report:?}"))
        }
    }

    /// No file holds the prompt any more, under whatever name.
    fn check_erased(&self, payloads: &[Payload]) -> Result<(), String> {
        let prompts = payloads
            .iter()
            .filter(|payload| payload.label == Label::PROMPT);
        let files = self.files();
        for prompt in prompts.map(Payload::encode) {
            let holds = |bytes: &[u8]| bytes.windows(prompt.len()).any(|found| found == prompt);
            if let Some((path, _)) = files.iter().flatten().find(|(_, bytes)| holds(bytes)) {
                return Err(format!("{path} still holds a payload that was erased"));
            }
        }
        Ok(())
    }
}
