//! Reads a record's canonical bytes in one pass: each byte is compared with the only one that may
//! stand there, so that nothing has to be encoded again to know that the form is canonical.
//!
//! RFC 8785 sorts the keys of an object, so each type below lists its fields in that order; a field
//! that is absent, out of order, doubled or unknown is not the one expected. No string of a record
//! needs an escape: none is accepted. Bounds of the values are checked afterwards.

use std::str::{FromStr, from_utf8};

use serde::Deserialize;
use serde::de::IntoDeserializer as _;
use serde::de::value::{Error as WordError, StrDeserializer};

use super::{
    AnswerRecord, AnswerSource, Body, BranchError, BranchRecord, BranchResultKind, BuildRef,
    Commitment, ConstitutionRef, ContainmentLevel, ContainmentRecord, ContainmentRequest, Decided,
    EgressCounts, EgressRecord, EgressRefusals, Findings, LedgerHead, MAX_INTEGER, Observed,
    ObservedIntent, Outcome, Reason, Record, RecordError, RotationReason, RuntimeRef, StopEvent,
    TaskRef, Usage, VoteRecord,
};
use crate::constitution::{Ratio, RuntimeKind};
use crate::digest::Digest;
use crate::tlog::{Hash, VerifyingKey};

/// Characters of `sha256:` and 64 hexadecimal digits.
const DIGEST_CHARACTERS: usize = 71;
/// Characters of 32 bytes in base64.
const COMMITMENT_CHARACTERS: usize = 44;

type Read<T> = Result<T, RecordError>;

/// How a field's key stands before its value.
macro_rules! key {
    ($key:literal) => {
        concat!("\"", $key, "\":")
    };
}

/// What is read, and how far.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn no(&self, expected: &'static str) -> RecordError {
        RecordError::NotCanonical {
            at: self.at,
            expected,
        }
    }

    fn skips(&mut self, literal: &str) -> bool {
        let is_there = self.rest().starts_with(literal.as_bytes());
        if is_there {
            self.at += literal.len();
        }
        is_there
    }

    fn literal(&mut self, literal: &'static str) -> Read<()> {
        if self.skips(literal) {
            return Ok(());
        }
        Err(self.no(literal))
    }

    /// Whether the next field of the object is this one; its value is next then.
    fn is_at(&mut self, key: &'static str) -> bool {
        // No value ends in a brace that opens, so it is that of this object.
        let is_first = self.bytes[..self.at].ends_with(b"{");
        let rest = self.rest();
        let rest = if is_first {
            Some(rest)
        } else {
            rest.strip_prefix(b",")
        };
        let value = rest.and_then(|rest| rest.strip_prefix(key.as_bytes()));
        if let Some(value) = value {
            self.at = self.bytes.len() - value.len();
        }
        value.is_some()
    }

    fn required<T: Value>(&mut self, key: &'static str) -> Read<T> {
        if self.is_at(key) {
            return T::read(self);
        }
        Err(self.no(key))
    }

    fn optional<T: Value>(&mut self, key: &'static str) -> Read<Option<T>> {
        self.is_at(key).then(|| T::read(self)).transpose()
    }

    /// What is between two quotes.
    fn text(&mut self) -> Read<&'a str> {
        self.literal("\"")?;
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let rest = self.rest();
        let length = rest.iter().position(|byte| !is_plain(byte));
        let text = length.and_then(|length| from_utf8(&rest[..length]).ok());
        let text = text.ok_or_else(|| self.no("a string that ends"))?;
        self.at += text.len();
        self.literal("\"")?;
        Ok(text)
    }

    /// A value with one text of one length.
    fn fixed<T: FromStr>(&mut self, characters: usize, expected: &'static str) -> Read<T> {
        self.literal("\"")?;
        let text = self.rest().get(..characters);
        let text = text.and_then(|text| from_utf8(text).ok());
        let value = text.and_then(|text| text.parse().ok());
        let value = value.ok_or_else(|| self.no(expected))?;
        self.at += characters;
        self.literal("\"")?;
        Ok(value)
    }

    /// One of the words of an enum.
    fn word<T: Deserialize<'a>>(&mut self) -> Read<T> {
        let text = self.text()?;
        let word: StrDeserializer<'a, WordError> = text.into_deserializer();
        T::deserialize(word).map_err(|_| self.no("a word of the schema before this byte"))
    }

    fn integer<T: TryFrom<u64>>(&mut self) -> Read<T> {
        let rest = self.rest();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let has_one_text = match digits {
            1 => true,
            // 2^53 − 1 has 16 digits.
            2..=16 => rest[0] != b'0',
            _ => false,
        };
        let value = rest[..digits.min(16)]
            .iter()
            .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        let fits = has_one_text && value <= MAX_INTEGER;
        let value = fits.then(|| T::try_from(value).ok()).flatten();
        let value = value.ok_or_else(|| self.no("an integer within its bounds"))?;
        self.at += digits;
        Ok(value)
    }

    /// The whole input.
    pub(super) fn record(mut self) -> Read<Record> {
        self.literal("{")?;
        let body = self.body()?;
        self.literal("}")?;
        if !self.rest().is_empty() {
            return Err(self.no("the end"));
        }
        Ok(Record::new(body))
    }

    fn body(&mut self) -> Read<Body> {
        if self.is_at(key!("atUnixMs")) {
            return self.dated();
        }
        if self.is_at(key!("decided")) {
            return self.outcome();
        }
        let constitution = self.required(key!("constitution"))?;
        self.literal(concat!(",", key!("kind")))?;
        if self.skips("\"constitution\"") {
            self.schema()?;
            let text = self.required(key!("text"))?;
            return Ok(Body::Constitution { constitution, text });
        }
        self.literal("\"intent\"")?;
        let observed = self.required(key!("observed"))?;
        let prompt = self.required(key!("prompt"))?;
        let runtime = self.required(key!("runtime"))?;
        self.schema()?;
        Ok(Body::Intent {
            constitution,
            observed,
            prompt,
            runtime,
            spec: self.required(key!("spec"))?,
            task: self.required(key!("task"))?,
            task_text: self.required(key!("taskText"))?,
        })
    }

    /// The kinds whose first key is their time.
    fn dated(&mut self) -> Read<Body> {
        let at_unix_ms = u64::read(self)?;
        if self.skips(concat!(",", key!("endedIndex"))) {
            let ended_index = u64::read(self)?;
            self.literal(concat!(",", key!("kind"), "\"deleted\""))?;
            self.schema()?;
            let task = self.required(key!("task"))?;
            return Ok(Body::Deleted {
                task,
                ended_index,
                at_unix_ms,
            });
        }
        if self.skips(concat!(",", key!("kind"))) {
            return self.seal_or_succession(at_unix_ms);
        }
        let body = Body::Erasure {
            at_unix_ms,
            commitments: self.required(key!("commitments"))?,
            erased_index: self.required(key!("erasedIndex"))?,
        };
        self.literal(concat!(",", key!("kind"), "\"erasure\""))?;
        self.schema()?;
        Ok(body)
    }

    /// The kinds that are about the ledger itself.
    fn seal_or_succession(&mut self, at_unix_ms: u64) -> Read<Body> {
        if self.skips("\"sealed\"") {
            self.schema()?;
            let successor = self.optional(key!("successor"))?;
            return Ok(Body::Sealed {
                at_unix_ms,
                successor,
            });
        }
        self.literal("\"succession\"")?;
        let predecessor = self.required(key!("predecessor"))?;
        let reason = self.required(key!("reason"))?;
        self.schema()?;
        Ok(Body::Succession {
            at_unix_ms,
            predecessor,
            reason,
        })
    }

    fn outcome(&mut self) -> Read<Body> {
        let decided = Decided::read(self)?;
        self.literal(concat!(",", key!("kind")))?;
        let body = match self.text()? {
            "attempt" => Body::Attempt,
            "answered" => Body::Answered,
            "withheld" => Body::Withheld,
            "refused" => Body::Refused,
            "failed" => Body::Failed,
            "cancelled" => Body::Cancelled,
            _ => return Err(self.no("the kind of an outcome before this byte")),
        };
        let observed = self.required(key!("observed"))?;
        self.schema()?;
        let task = self.required(key!("task"))?;
        Ok(body(Outcome {
            task,
            decided,
            observed,
        }))
    }

    fn schema(&mut self) -> Read<()> {
        self.literal(concat!(",", key!("schema"), "\"axiomhive.io/record/v1\""))
    }
}

/// What can stand as a value in a record.
trait Value: Sized {
    fn read(from: &mut Scanner<'_>) -> Read<Self>;
}

impl Value for String {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        from.text().map(str::to_owned)
    }
}

impl Value for Digest {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        from.fixed(DIGEST_CHARACTERS, "a digest")
    }
}

impl Value for Commitment {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        from.fixed(COMMITMENT_CHARACTERS, "a commitment")
    }
}

impl Value for Hash {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        from.fixed(COMMITMENT_CHARACTERS, "a hash")
    }
}

impl Value for VerifyingKey {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        let key = from.text()?.parse();
        key.map_err(|_| from.no("a verifier key before this byte"))
    }
}

impl Value for Ratio {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        let text = from.text()?;
        let ratio = text
            .parse()
            .ok()
            .filter(|ratio: &Self| ratio.to_string() == text);
        ratio.ok_or_else(|| from.no("the shortest text of a ratio before this byte"))
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(from: &mut Scanner<'_>) -> Read<Self> {
        let mut items = Self::new();
        from.literal("[")?;
        while !from.skips("]") {
            if !items.is_empty() {
                from.literal(",")?;
            }
            items.push(T::read(from)?);
        }
        Ok(items)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(from: &mut Scanner<'_>) -> Read<Self> {
                from.integer()
            }
        }
    )*};
}
integers!(u16, u32, u64);

macro_rules! words {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(from: &mut Scanner<'_>) -> Read<Self> {
                from.word()
            }
        }
    )*};
}
words!(
    AnswerSource,
    BranchError,
    BranchResultKind,
    ContainmentLevel,
    ContainmentRequest,
    Reason,
    RotationReason,
    RuntimeKind,
    StopEvent
);

/// The fields of each object, in the order in which they stand.
macro_rules! objects {
    ($($type:ident { $($field:ident: $how:ident $key:literal),* $(,)? })*) => {$(
        impl Value for $type {
            fn read(from: &mut Scanner<'_>) -> Read<Self> {
                from.literal("{")?;
                let object = Self { $($field: from.$how(key!($key))?),* };
                from.literal("}")?;
                Ok(object)
            }
        }
    )*};
}
objects! {
    TaskRef { attempt: required "attempt", uid: required "uid" }
    ConstitutionRef {
        catalogue: required "catalogue",
        digest: required "digest",
        name: required "name",
        version: required "version",
    }
    LedgerHead { key: required "key", root: required "root", size: required "size" }
    RuntimeRef { kind: required "kind", spec: required "spec" }
    Decided {
        answer: optional "answer",
        branches: required "branches",
        constitution: required "constitution",
        prompt: required "prompt",
        prompt_findings: optional "promptFindings",
        reason: required "reason",
        runtime: required "runtime",
        spec: required "spec",
        vote: optional "vote",
    }
    BranchRecord {
        bytes: optional "bytes",
        class: optional "class",
        error: optional "error",
        result: required "result",
        text: optional "text",
    }
    VoteRecord {
        asked: required "asked",
        committed: required "committed",
        leader: required "leader",
        leader_class: optional "leaderClass",
        ratio: required "ratio",
        runner_up: required "runnerUp",
        valid: required "valid",
    }
    AnswerRecord {
        bytes: required "bytes",
        hash_key: required "hashKey",
        removed: required "removed",
        source: required "source",
        text: required "text",
    }
    Findings {
        bytes: required "bytes",
        invisible_cut: required "invisibleCut",
        spans: required "spans",
        words: required "words",
    }
    ObservedIntent {
        at_unix_ms: required "atUnixMs",
        build: required "build",
        pod_uid: optional "podUid",
    }
    BuildRef { executable: required "executable", version: required "version" }
    Observed {
        build: required "build",
        containment: required "containment",
        detail: optional "detail",
        egress: optional "egress",
        ended_unix_ms: required "endedUnixMs",
        started_unix_ms: required "startedUnixMs",
        stopped_by: optional "stoppedBy",
        surplus_branches: required "surplusBranches",
        usage: optional "usage",
    }
    EgressRecord { refused: required "refused", targets: required "targets" }
    EgressCounts {
        connections: required "connections",
        received_bytes: required "receivedBytes",
        sent_bytes: required "sentBytes",
        unreachable: required "unreachable",
    }
    EgressRefusals {
        address: required "address",
        limit: required "limit",
        malformed: required "malformed",
        server_name: required "serverName",
        unlisted: required "unlisted",
    }
    ContainmentRecord {
        landlock_abi: required "landlockAbi",
        loopback_port: required "loopbackPort",
        reached: required "reached",
        requested: required "requested",
    }
    Usage {
        branch_ms: required "branchMs",
        completion_tokens: required "completionTokens",
        prompt_tokens: required "promptTokens",
    }
}
