//! Which logs to believe, and how many witnesses must have seen what they say: C2SP tlog-policy.
//!
//! One item a line; white space separates its words. Empty lines, and lines that begin with `#`, say nothing.
//!
//! ```text
//! log     <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group   <name> any|all|<k> <member>…      k of the members, which are witnesses and groups
//! quorum  <name>|none                       exactly one
//! ```
//!
//! A name is defined before it is used, and is a member of at most one group, so that nobody counts twice.
//! For the same reason two witnesses have two keys.
//!
//! ```
//! use axiom_hive_core::tlog::{Checkpoint, KeyType, Policy, SigningKey, EMPTY_ROOT, cosign};
//! let log = SigningKey::new("example.com/log", &[1; 32]).unwrap();
//! let keys = [2, 3].map(|n| SigningKey::with_type("w.example", KeyType::Cosignature, &[n; 32]).unwrap());
//! let policy: Policy = format!(
//!     "log {}\nwitness a {} https://a.example/\nwitness b {}\ngroup both all a b\nquorum both\n",
//!     log.verifying_key(), keys[0].verifying_key(), keys[1].verifying_key(),
//! ).parse().unwrap();
//! let note = Checkpoint::new("example.com/log", 0, EMPTY_ROOT).sign(&log).unwrap();
//! let one = cosign(&note, &keys[0], 1_700_000_000).unwrap();
//! assert!(policy.check(&one).is_err());
//! let both = cosign(&one, &keys[1], 1_700_000_001).unwrap();
//! assert_eq!(policy.check(&both).unwrap().witnesses.len(), 2);
//! ```

use std::collections::BTreeMap;
use std::str::FromStr;

use super::checkpoint::{Checkpoint, CheckpointError};
use super::key::{KeyError, KeyType, VerifyingKey};
use super::note::{Note, NoteError};

/// Upper bound of a policy's text: 256 KiB. Room for as many ML-DSA-44 keys as it may have.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;
/// Upper bound of the logs, of the witnesses, and of the groups of one policy.
pub const MAX_POLICY_ITEMS: usize = 32;
/// Upper bound of a name, key or URL, in bytes: an ML-DSA-44 vkey takes up to 2016.
const MAX_WORD_BYTES: usize = 2048;

/// A log that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key, of type Ed25519.
    pub key: VerifyingKey,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// In the policy only; its key has a name of its own.
    pub name: String,
    /// Its key, of type cosignature or ML-DSA-44.
    pub key: VerifyingKey,
    /// What its requests begin with.
    pub url: Option<String>,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// In the order of the text.
    pub logs: Vec<PolicyLog>,
    /// In the order of the text.
    pub witnesses: Vec<PolicyWitness>,
    /// Each after its members.
    groups: Vec<Group>,
    quorum: Member,
}

/// So many of these.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    needs: usize,
    members: Vec<Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// Position among the witnesses.
    Witness(usize),
    /// Position among the groups.
    Group(usize),
}

/// A checkpoint that the policy believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witnessed {
    /// What the log says.
    pub checkpoint: Checkpoint,
    /// Who cosigned it: position among the witnesses, and when, in seconds since the Unix epoch.
    pub witnesses: Vec<(usize, u64)>,
}

/// Why a policy's text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {what}")]
pub struct ParsePolicyError {
    /// Counted from 1; 0 for the whole text.
    pub line: usize,
    /// What must hold.
    pub what: String,
}

/// Why a policy does not believe a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Malformed, or a signature of a known key is wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// No log of the policy signed it.
    #[error("a checkpoint must be signed by a log of the policy")]
    UnknownLog,
    /// Too few witnesses.
    #[error(
        "a checkpoint must have the cosignatures of the policy's quorum; {cosigned} witnesses cosigned this one"
    )]
    NoQuorum {
        /// How many did.
        cosigned: usize,
    },
}

impl From<NoteError> for PolicyError {
    fn from(error: NoteError) -> Self {
        Self::Checkpoint(error.into())
    }
}

impl Policy {
    /// Whether these witnesses, by their positions, are enough.
    #[must_use]
    pub fn is_met_by(&self, witnesses: &[usize]) -> bool {
        let mut groups: Vec<bool> = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            let members = group.members.iter();
            let met = members.filter(|member| is_met(**member, witnesses, &groups));
            groups.push(met.count() >= group.needs);
        }
        is_met(self.quorum, witnesses, &groups)
    }

    /// Reads a checkpoint that a log of the policy signed and its quorum of witnesses cosigned.
    pub fn check(&self, note: &str) -> Result<Witnessed, PolicyError> {
        let note = Note::parse(note)?;
        let checkpoint = Checkpoint::parse(&note.text)?;
        let is_of = |log: &&PolicyLog| log.key.name() == checkpoint.origin;
        let logs = self.logs.iter().filter(is_of);
        let keys: Vec<VerifyingKey> = logs.map(|log| log.key.clone()).collect();
        match note.verify(&keys) {
            Ok(_) => {}
            Err(NoteError::Unverified) => return Err(PolicyError::UnknownLog),
            Err(error) => return Err(error.into()),
        }
        let witnesses = self.cosigners(&note)?;
        let positions: Vec<usize> = witnesses.iter().map(|(position, _)| *position).collect();
        if self.is_met_by(&positions) {
            Ok(Witnessed {
                checkpoint,
                witnesses,
            })
        } else {
            let cosigned = positions.len();
            Err(PolicyError::NoQuorum { cosigned })
        }
    }

    /// The witnesses that cosigned a note, by position, and when.
    pub fn cosigners(&self, note: &Note) -> Result<Vec<(usize, u64)>, NoteError> {
        let keys: Vec<VerifyingKey> = self.witnesses.iter().map(|it| it.key.clone()).collect();
        match note.verify(&keys) {
            Ok(signers) => Ok(signers.iter().map(|it| (it.key, it.time)).collect()),
            Err(NoteError::Unverified) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn is_met(member: Member, witnesses: &[usize], groups: &[bool]) -> bool {
    match member {
        Member::Witness(position) => witnesses.contains(&position),
        // Groups come after their members, so this one is known.
        Member::Group(position) => groups.get(position).is_some_and(|met| *met),
    }
}

/// The policy as far as it is read.
#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    groups: Vec<Group>,
    /// By name: what it is, and whether a group has it as a member.
    names: BTreeMap<String, (Member, bool)>,
    quorum: Option<Member>,
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let no = |line, what: &str| ParsePolicyError {
            line,
            what: what.to_owned(),
        };
        if text.len() > MAX_POLICY_BYTES {
            return Err(no(0, "a policy must be at most 262144 bytes"));
        }
        let mut parser = Parser::default();
        for (line, words) in (1..).zip(text.lines()) {
            if words.chars().any(|c| c.is_control() && c != '\t') {
                return Err(no(line, "a policy must hold no control characters"));
            }
            let words: Vec<&str> = words.split_ascii_whitespace().collect();
            if words.first().is_none_or(|first| first.starts_with('#')) {
                continue;
            }
            let item = parser.item(&words);
            item.map_err(|what| ParsePolicyError { line, what })?;
        }
        let quorum = parser.quorum;
        let quorum = quorum.ok_or_else(|| no(0, "a policy must have one quorum line"))?;
        Ok(Self {
            logs: parser.logs,
            witnesses: parser.witnesses,
            groups: parser.groups,
            quorum,
        })
    }
}

impl Parser {
    fn item(&mut self, words: &[&str]) -> Result<(), String> {
        if words.iter().any(|word| word.len() > MAX_WORD_BYTES) {
            return Err("a word must be at most 2048 bytes".to_owned());
        }
        match *words {
            ["log", key, ref url @ ..] if url.len() < 2 => {
                has_room(self.logs.len())?;
                let must = "a log's key must be of type 1";
                let key = key_of(key, |it| it == KeyType::Ed25519, must)?;
                if self.logs.iter().any(|log| log.key.is_same_key(&key)) {
                    return Err("two logs must have two keys".to_owned());
                }
                let url = url.first().map(|url| (*url).to_owned());
                self.logs.push(PolicyLog { key, url });
            }
            ["witness", name, key, ref url @ ..] if url.len() < 2 => {
                has_room(self.witnesses.len())?;
                let must = "a witness's key must be of type 4 or 6";
                let key = key_of(key, KeyType::is_cosignature, must)?;
                if self.witnesses.iter().any(|it| it.key.is_same_key(&key)) {
                    return Err("two witnesses must have two keys".to_owned());
                }
                self.define(name, Member::Witness(self.witnesses.len()))?;
                let (name, url) = (name.to_owned(), url.first().map(|url| (*url).to_owned()));
                self.witnesses.push(PolicyWitness { name, key, url });
            }
            ["group", name, needs, ref members @ ..] if !members.is_empty() => {
                has_room(self.groups.len())?;
                let group = self.group(needs, members)?;
                self.define(name, Member::Group(self.groups.len()))?;
                self.groups.push(group);
            }
            ["quorum", name] if self.quorum.is_none() => {
                self.quorum = Some(if name == "none" {
                    // A group that needs nobody.
                    let (needs, members) = (0, Vec::new());
                    self.groups.push(Group { needs, members });
                    Member::Group(self.groups.len() - 1)
                } else {
                    self.known(name)?.0
                });
            }
            ["quorum", _] => return Err("a policy must have one quorum line".to_owned()),
            _ => {
                let must = "a line must be log VKEY [URL], witness NAME VKEY [URL], \
                            group NAME any|all|K MEMBER…, or quorum NAME|none";
                return Err(must.to_owned());
            }
        }
        Ok(())
    }

    fn group(&mut self, needs: &str, members: &[&str]) -> Result<Group, String> {
        let count = members.len();
        let needs = match needs {
            "any" => Some(1),
            "all" => Some(count),
            number => super::checkpoint::parse_decimal(number)
                .and_then(|number| usize::try_from(number).ok()),
        };
        let needs = needs.filter(|needs| (1..=count).contains(needs));
        let needs =
            needs.ok_or("a group must need any, all, or 1 to as many as its members are")?;
        let mut found = Vec::with_capacity(count);
        for name in members {
            let (member, is_member) = self.known(name)?;
            if is_member {
                return Err(format!("{name} must be a member of one group, once"));
            }
            self.names.insert((*name).to_owned(), (member, true));
            found.push(member);
        }
        Ok(Group {
            needs,
            members: found,
        })
    }

    fn known(&self, name: &str) -> Result<(Member, bool), String> {
        let known = self.names.get(name).copied();
        known.ok_or_else(|| format!("{name} must be defined in a line before"))
    }

    fn define(&mut self, name: &str, member: Member) -> Result<(), String> {
        if name == "none" || self.names.contains_key(name) {
            return Err(format!("{name} must be a name that is not taken"));
        }
        self.names.insert(name.to_owned(), (member, false));
        Ok(())
    }
}

fn has_room(items: usize) -> Result<(), String> {
    if items < MAX_POLICY_ITEMS {
        return Ok(());
    }
    Err("a policy must have at most 32 logs, 32 witnesses and 32 groups".to_owned())
}

fn key_of(text: &str, is_fit: fn(KeyType) -> bool, must: &str) -> Result<VerifyingKey, String> {
    let key: VerifyingKey = text.parse().map_err(|error: KeyError| error.to_string())?;
    if is_fit(key.key_type()) {
        Ok(key)
    } else {
        Err(must.to_owned())
    }
}
