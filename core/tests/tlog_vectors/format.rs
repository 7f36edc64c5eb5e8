//! The files of `tests/conformance/vectors`: one case a line, so that a change reads well.

use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What a reader must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// A reader that refuses it is wrong.
    Valid,
    /// A reader that accepts it is wrong.
    Invalid,
    /// The specification leaves it open, or has a SHOULD; this project refuses it.
    Acceptable,
}

/// A leaf or a node of RFC 6962.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HashCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    /// Of a leaf, else null.
    pub(crate) entry: Option<String>,
    /// Of a node, else null: left and right.
    pub(crate) children: Option<[String; 2]>,
    pub(crate) hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RootCase {
    pub(crate) size: u64,
    pub(crate) root: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InclusionCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    /// Decimal texts, here and below: some are over 2^53.
    pub(crate) index: String,
    pub(crate) size: String,
    pub(crate) leaf: String,
    pub(crate) root: String,
    pub(crate) proof: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsistencyCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) old_size: String,
    pub(crate) new_size: String,
    pub(crate) old_root: String,
    pub(crate) new_root: String,
    pub(crate) proof: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PathCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) path: String,
    /// `"entries"` or a level, null unless valid.
    pub(crate) level: Option<String>,
    pub(crate) index: Option<String>,
    pub(crate) width: Option<u16>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TileCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) size: u64,
    pub(crate) path: String,
    /// Hexadecimal, of the content.
    pub(crate) sha256: String,
    /// The content, where it is short or wrong.
    pub(crate) content: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BundleCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) width: u16,
    pub(crate) content: String,
    /// Null unless valid.
    pub(crate) entries: Option<Vec<String>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) vkey: String,
    /// Null unless valid, here and below.
    pub(crate) name: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) signature_type: Option<u8>,
    pub(crate) public_key: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoteCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    /// Whether it is a note at all, whoever signed it.
    pub(crate) well_formed: bool,
    pub(crate) keys: Vec<String>,
    pub(crate) note: String,
    /// Null unless valid.
    pub(crate) text: Option<String>,
    /// Null unless valid; by position in `keys`.
    pub(crate) signers: Option<Vec<SignerOf>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignerOf {
    pub(crate) key: usize,
    /// Seconds since the Unix epoch, of a cosignature; else null.
    pub(crate) timestamp: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) vkey: String,
    pub(crate) note: String,
    /// Null unless valid, here and below.
    pub(crate) origin: Option<String>,
    pub(crate) size: Option<String>,
    pub(crate) root: Option<String>,
    pub(crate) extensions: Option<Vec<String>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProofFileCase {
    pub(crate) comment: String,
    pub(crate) section: String,
    pub(crate) result: Verdict,
    pub(crate) vkey: String,
    pub(crate) entry: String,
    pub(crate) file: String,
    /// Null unless valid, here and below.
    pub(crate) index: Option<String>,
    pub(crate) size: Option<String>,
    pub(crate) extra: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File<Case> {
    pub(crate) about: String,
    pub(crate) specification: String,
    pub(crate) cases: Vec<Case>,
}

/// The text of a file.
pub(crate) fn write<Case: Serialize>(about: &str, specification: &str, cases: &[Case]) -> String {
    let quote = |text: &str| serde_json::to_string(text).unwrap();
    let lines: Vec<String> = cases
        .iter()
        .map(|case| serde_json::to_string(case).unwrap())
        .collect();
    format!(
        "{{\n\"about\": {},\n\"specification\": {},\n\"cases\": [\n{}\n]\n}}\n",
        quote(about),
        quote(specification),
        lines.join(",\n")
    )
}

pub(crate) fn path(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("../tests/conformance/vectors").join(name)
}

pub(crate) fn read<Case: DeserializeOwned>(name: &str) -> Vec<Case> {
    let text = fs::read_to_string(path(name)).unwrap();
    let file: File<Case> = serde_json::from_str(&text).unwrap();
    assert!(!file.about.is_empty() && file.specification.contains("://"));
    file.cases
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

/// The rule of `README.md`: the entry with a number is that number in decimal digits.
pub(crate) fn entry(index: u64) -> Vec<u8> {
    index.to_string().into_bytes()
}
