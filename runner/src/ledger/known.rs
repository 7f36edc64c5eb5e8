//! What is known of the records of one segment: from the segment itself, or from its index.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axiom_hive_core::record::{Body, Commitment, Record, TaskRef};

use super::index::Summary;
use super::log::Place;

/// What is known of one task, from one segment.
#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    /// Of every kind, ascending.
    pub records: Vec<u64>,
    /// Index and attempt of its intents.
    pub intents: Vec<(u64, TaskRef)>,
    pub is_ended: bool,
}

/// What is known of the records of one segment that was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// The index of the first.
    pub first: u64,
    pub places: Vec<Place>,
    pub slots: HashMap<String, u64>,
    pub payloads: HashMap<Commitment, u64>,
    pub tasks: BTreeMap<String, Task>,
}

/// The records of one segment.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// In memory. Only the last one still grows.
    Read(Arc<Known>),
    /// In its index.
    Indexed(Arc<Summary>),
}

impl Known {
    /// Of a segment that begins with record `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, place: Place, record: &Record, commitments: &[Commitment]) {
        let index = self.first + self.places.len() as u64;
        self.places.push(place);
        if let Some(slot) = record.slot() {
            self.slots.entry(slot.to_string()).or_insert(index);
        }
        for commitment in commitments {
            self.payloads.entry(*commitment).or_insert(index);
        }
        if let Some(task) = record.task() {
            let known = self.tasks.entry(task.uid.clone()).or_default();
            known.records.push(index);
            if matches!(record.body, Body::Intent { .. }) {
                known.intents.push((index, task.clone()));
            }
            known.is_ended |= record.is_terminal();
        }
    }
}

impl Part {
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Read(known) => known.first,
            Self::Indexed(summary) => summary.first,
        }
    }
}
