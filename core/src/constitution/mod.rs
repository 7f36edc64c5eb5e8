//! The constitution: a versioned policy, identified by name, version and digest.
//!
//! # The TOML file
//!
//! `snake_case` keys in eight tables; only `[meta] name` and `version` must be given. The fields, their
//! bounds and their defaults are those of [`Constitution`] and the structures below it. Three fields
//! have a form of their own in TOML, of which the last is that of `cluster.containment` too:
//!
//! | field | forms |
//! |---|---|
//! | `supervisor.min_consensus_ratio` | `0.75`, `"0.75"` or `1`: read as it is written, never as a float |
//! | `supervisor.equivalence` | `"text"`, `"bytes"`, `"json"`, or a table such as `{ kind = "number", decimals = 2 }` |
//! | `supervisor.on_no_agreement` | `"fail"`, or `{ kind = "fallback", text = "…" }` |
//!
//! Every error of a file is reported at once, each with line, column and path:
//!
//! ```
//! use axiom_hive_core::constitution::Constitution;
//! let text = "[meta]\nname = \"default\"\nversion = \"1\"\n[supervisor]\nmax_branch = 4\n";
//! let errors = Constitution::parse("c.toml", text).unwrap_err();
//! assert_eq!(errors.0.len(), 2);
//! assert_eq!(
//!     errors.0[1].to_string(),
//!     "c.toml:5:1: supervisor.max_branch: must be a known key; did you mean max_branches?",
//! );
//! ```
//!
//! # The canonical form
//!
//! RFC 8785 JSON with `camelCase` keys, in which every field at its default is left out, so that a
//! new optional field never changes an old digest. `meta.catalogue` is always there, resolved. The
//! digest is the SHA-256 of these bytes.
//!
//! ```
//! use axiom_hive_core::constitution::Constitution;
//! let text = "[meta]\nversion = \"1.0.0\"\nname = \"default\"\n[supervisor]\nmax_branches = 4\n";
//! let constitution = Constitution::parse("c.toml", text).unwrap();
//! assert_eq!(
//!     constitution.canonical_json(),
//!     br#"{"meta":{"catalogue":1,"name":"default","version":"1.0.0"}}"#,
//! );
//! ```

mod canonical;
mod diagnostic;
mod model;
mod object;
mod parse;
mod ratio;
mod reader;
mod validate;

pub use canonical::{CanonicalError, Outline};
pub use diagnostic::{ConstitutionErrors, Diagnostic, MAX_DIAGNOSTICS, Violation};
pub use model::*;
pub use object::OBJECT_API_VERSION;
pub use ratio::{ParseRatioError, Ratio};

use crate::digest::Digest;
use crate::interceptor::RuleSet;
use crate::record::ConstitutionRef;

/// Upper bound of a TOML file and of a canonical form: 1 MiB.
pub const MAX_CONSTITUTION_BYTES: usize = 1_048_576;

impl Constitution {
    /// Reads and validates a TOML file of at most [`MAX_CONSTITUTION_BYTES`]. `file` is only used to
    /// name the file in errors.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConstitutionErrors> {
        parse::parse(file, text)
    }

    /// [`Constitution::parse`] for bytes that may not be UTF-8.
    pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Self, ConstitutionErrors> {
        parse::parse_bytes(file, bytes)
    }

    /// Checks every bound and compiles every rule, as reading a file does; all violations at once.
    pub fn validate(&self) -> Result<RuleSet, Vec<Violation>> {
        validate::validate(self, &std::collections::BTreeSet::new())
    }

    /// The canonical form: RFC 8785 JSON with fields at their default left out.
    #[must_use]
    pub fn canonical_json(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical form and validates it; refuses every other way to write the same.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes)
    }

    /// SHA-256 of the canonical form.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical_json())
    }

    /// The object that a cluster takes: the same fields, the same digest. Its `namespaces`, which are no
    /// part of the digest, select every namespace.
    #[must_use]
    pub fn to_object(&self) -> serde_json::Value {
        object::render(self)
    }

    /// How a record names this constitution.
    #[must_use]
    pub fn reference(&self) -> ConstitutionRef {
        ConstitutionRef {
            name: self.meta.name.clone(),
            version: self.meta.version.clone(),
            digest: self.digest(),
            catalogue: self.meta.catalogue,
        }
    }
}
