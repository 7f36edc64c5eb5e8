//! A ledger in memory and a driver that picks the order of events, for the supervisor's tests.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_core::digest::Digest;
use axiom_hive_core::interceptor::HashKey;
use axiom_hive_core::record::{
    AnswerSource, Body, BranchResultKind, BuildRef, Commitment, ContainmentLevel,
    ContainmentRecord, ContainmentRequest, ObservedIntent, Payload, Reason, Record, Salts, Slot,
    TaskRef,
};
use axiom_hive_core::supervisor::{
    Acknowledged, BranchResult, Command, Done, Entry, Event, IntentBy, ObservedParts, OutOfTurn,
    Prepared, Supervisor, Task,
};
use axiom_hive_core::task::{RuntimeSpec, TaskSpec};

/// The value of `AXIOM_HIVE_BUDGET_<NAME>`, or `default`. `tests/budget.toml` gathers them.
pub(crate) fn budget(name: &str, default: u32) -> u32 {
    let variable = format!("AXIOM_HIVE_BUDGET_{}", name.to_ascii_uppercase());
    std::env::var(&variable).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} must be a count, not {text:?}"))
    })
}

/// `supervisor` and `rest` are lines of the policy file. "zebra" withholds, "secretword" is redacted.
pub(crate) fn policy(supervisor: &str, rest: &str) -> Prepared {
    let text = format!(
        r#"
[meta]
name = "test"
version = "1.0.0"
{rest}
[supervisor]
{supervisor}
[[interceptor.terms]]
id = "forbidden"
terms = ["zebra"]
action = "withhold"
[[interceptor.terms]]
id = "hidden"
terms = ["secretword"]
[[interceptor.terms]]
id = "hashed"
terms = ["plainname"]
action = "hash"
"#
    );
    let constitution = Constitution::parse("test.toml", &text);
    let constitution = constitution.unwrap_or_else(|errors| panic!("{errors}"));
    Prepared::new(constitution).unwrap()
}

pub(crate) fn task(prompt: &str) -> Task {
    Task {
        spec: TaskSpec {
            prompt: prompt.to_owned(),
            prompt_from: None,
            runtime: RuntimeSpec::Echo,
            branches: None,
        },
        reference: TaskRef {
            uid: "task-1".to_owned(),
            attempt: 0,
        },
        salts: Salts::Seed([7; 32]),
        hash_key: HashKey([9; 32]),
    }
}

pub(crate) fn build() -> BuildRef {
    BuildRef {
        version: "1.0.0".to_owned(),
        executable: Digest::of(b"build"),
    }
}

pub(crate) fn observed_intent() -> ObservedIntent {
    ObservedIntent {
        at_unix_ms: 1,
        build: build(),
        pod_uid: None,
    }
}

pub(crate) fn by_machine() -> IntentBy {
    IntentBy::Machine(observed_intent())
}

pub(crate) fn observation() -> ObservedParts {
    ObservedParts {
        build: build(),
        started_unix_ms: 2,
        ended_unix_ms: 3,
        containment: ContainmentRecord {
            requested: ContainmentRequest::Required,
            reached: ContainmentLevel::Strict,
            landlock_abi: 6,
            loopback_port: 0,
        },
        usage: None,
        egress: None,
        detail: Some(b"stderr".to_vec()),
    }
}

/// Slots and payloads, as a ledger keeps them.
#[derive(Default)]
pub(crate) struct MemoryLedger {
    pub(crate) records: Vec<Record>,
    slots: BTreeMap<Slot, usize>,
    pub(crate) payloads: BTreeMap<Commitment, Payload>,
}

impl MemoryLedger {
    /// Appends as the contract says. What cannot be written or is no payload of the record panics.
    pub(crate) fn append(&mut self, entry: &Entry) -> Acknowledged {
        let record = &entry.record;
        record.to_canonical().unwrap();
        let slot = record.slot().unwrap();
        if let Some(index) = self.slots.get(&slot) {
            let record = self.records[*index].clone();
            let answer = record.answer();
            return Acknowledged {
                answer: answer.and_then(|commitment| self.payload(&commitment)),
                record,
                existing: true,
            };
        }
        let commitments = record.commitments();
        for payload in &entry.payloads {
            assert!(commitments.contains(&payload.commitment()), "{payload:?}");
            self.payloads.insert(payload.commitment(), payload.clone());
        }
        self.slots.insert(slot, self.records.len());
        self.records.push(record.clone());
        Acknowledged {
            record: record.clone(),
            existing: false,
            answer: None,
        }
    }

    pub(crate) fn payload(&self, commitment: &Commitment) -> Option<Payload> {
        self.payloads.get(commitment).cloned()
    }

    pub(crate) fn intent(&self) -> &Record {
        let is_intent = |record: &&Record| matches!(record.body, Body::Intent { .. });
        self.records.iter().find(is_intent).unwrap()
    }
}

/// What a driver does next, when it has a choice.
pub(crate) trait Schedule {
    /// An event that comes now, instead of the end of a branch; `step` counts the choices.
    fn interruption(&mut self, step: usize) -> Option<Event>;
    /// Which of `running` ends next.
    fn next(&mut self, running: &[u32]) -> usize;
}

/// Branches end in the order in which they were started.
pub(crate) struct InOrder;

impl Schedule for InOrder {
    fn interruption(&mut self, _: usize) -> Option<Event> {
        None
    }

    fn next(&mut self, _: &[u32]) -> usize {
        0
    }
}

/// Any order, from a list of numbers, and perhaps one event before the choice number `.1`.
pub(crate) struct Any(pub(crate) Vec<usize>, pub(crate) Option<(usize, Event)>);

impl Schedule for Any {
    fn interruption(&mut self, step: usize) -> Option<Event> {
        self.1
            .take_if(|(at, _)| *at <= step)
            .map(|(_, event)| event)
    }

    fn next(&mut self, running: &[u32]) -> usize {
        self.0.pop().unwrap_or(0) % running.len()
    }
}

/// The protocol as the driver saw it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) intents: usize,
    pub(crate) ends: usize,
    pub(crate) started: Vec<u32>,
    pub(crate) prompts: Vec<String>,
    pub(crate) most_running: usize,
}

/// Drives one attempt to its end and checks the protocol on the way.
pub(crate) fn drive(
    ledger: &mut MemoryLedger,
    prepared: &Prepared,
    task: &Task,
    results: &[BranchResult],
    schedule: &mut dyn Schedule,
) -> Result<(Done, Seen), OutOfTurn> {
    let (mut machine, first) = Supervisor::new(prepared, task, by_machine(), true)?;
    let mut seen = Seen::default();
    let mut commands = std::collections::VecDeque::from(first);
    let mut running: Vec<u32> = Vec::new();
    let mut step = 0;
    let mut done = None;
    loop {
        // Before every command that takes time, and whenever there is nothing to do.
        if let Some(event) = schedule.interruption(step) {
            commands.extend(machine.handle(event)?);
        }
        step += 1;
        let Some(command) = commands.pop_front() else {
            if let Some(done) = done {
                return Ok((done, seen));
            }
            assert!(!running.is_empty(), "the machine waits for nothing");
            let index = running.remove(schedule.next(&running));
            let result = results[index as usize].clone();
            commands.extend(machine.handle(Event::BranchFinished { index, result })?);
            continue;
        };
        assert!(done.is_none(), "{command:?} after the end");
        match command {
            Command::Append(entry) => {
                let is_intent = matches!(entry.record.body, Body::Intent { .. });
                seen.intents += usize::from(is_intent);
                seen.ends += usize::from(!is_intent);
                let acknowledged = ledger.append(&entry);
                commands.extend(machine.handle(Event::Acknowledged(acknowledged))?);
            }
            Command::StartBranch { index, prompt, .. } => {
                assert!(!ledger.records.is_empty(), "a branch before its intent");
                assert_eq!(index as usize, seen.started.len());
                seen.started.push(index);
                seen.prompts.push(prompt.to_string());
                running.push(index);
                seen.most_running = seen.most_running.max(running.len());
            }
            Command::StopBranches => running.clear(),
            Command::Observe => {
                assert!(running.is_empty(), "branches run on");
                commands.extend(machine.handle(Event::Observed(observation()))?);
            }
            Command::Done(end) => {
                assert!(
                    ledger.records.contains(&end.record),
                    "an end without a record"
                );
                done = Some(end);
            }
        }
    }
}

/// Drives with a new ledger, branches ending in order.
pub(crate) fn run(
    prepared: &Prepared,
    task: &Task,
    results: &[BranchResult],
) -> (Done, Seen, MemoryLedger) {
    let mut ledger = MemoryLedger::default();
    let (done, seen) = drive(&mut ledger, prepared, task, results, &mut InOrder).unwrap();
    (done, seen, ledger)
}

pub(crate) fn texts(texts: &[&str]) -> Vec<BranchResult> {
    let text = |text: &&str| BranchResult::Text((*text).to_owned());
    texts.iter().map(text).collect()
}

pub(crate) fn reason(done: &Done) -> Reason {
    done.record.outcome().unwrap().decided.reason
}

pub(crate) fn released(done: &Done) -> Option<(&str, AnswerSource)> {
    done.released
        .as_ref()
        .map(|text| (text.text(), text.source()))
}

pub(crate) fn kinds(done: &Done) -> Vec<BranchResultKind> {
    let decided = &done.record.outcome().unwrap().decided;
    decided
        .branches
        .iter()
        .map(|branch| branch.result)
        .collect()
}
