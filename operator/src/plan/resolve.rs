//! Which constitution a task's reference means.
//!
//! [`Constitutions`] is what the operator remembers: of each object who may use it and which version
//! is in force, of each version that the ledger holds its digest. The ledger is the archive; contents
//! are here only as far as they are at hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use axiom_hive_core::constitution::{Constitution, Violation};
use axiom_hive_core::digest::Digest;

use crate::api::constitution::{LabelOperator, NamespaceSelector};
use crate::api::task::ConstitutionRef;

/// What is known of every constitution.
#[derive(Debug, Clone, Default)]
pub struct Constitutions {
    by_name: BTreeMap<String, Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    /// Of the object; `None` without one.
    object: Option<Object>,
    /// Every version that the ledger holds.
    versions: BTreeMap<String, Version>,
}

#[derive(Debug, Clone)]
struct Object {
    namespaces: NamespaceSelector,
    in_force: Option<String>,
}

/// A version that the ledger holds.
#[derive(Debug, Clone)]
pub struct Version {
    /// SHA-256 of its canonical form.
    pub digest: Digest,
    /// The index of its record.
    pub index: u64,
    /// Its content, where it is at hand.
    pub content: Option<Arc<Constitution>>,
}

/// What a reference means.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// `[meta] version`.
    pub version: String,
    /// SHA-256 of the canonical form.
    pub digest: Digest,
    /// The content, where it is at hand; else it is in the ledger, under the digest.
    pub content: Option<Arc<Constitution>>,
}

/// Why a reference means nothing, or nothing that the task may use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is no such object.
    #[error("spec.constitutionRef.name: constitution {0} must exist")]
    Name(String),
    /// There is one, but no version of it is in force.
    #[error("spec.constitutionRef.name: a version of constitution {0} must be in force")]
    NotInForce(String),
    /// The ledger does not hold this version.
    #[error(
        "spec.constitutionRef.version: version {version} of constitution {name} must be in the ledger"
    )]
    Version {
        /// The constitution.
        name: String,
        /// The version that is not there.
        version: String,
    },
    /// The ledger does not hold this digest.
    #[error(
        "spec.constitutionRef.digest: a version of constitution {name} with digest {digest} must be in the ledger"
    )]
    Digest {
        /// The constitution.
        name: String,
        /// The digest that is not there.
        digest: String,
    },
    /// Version and digest contradict each other, for ever.
    #[error(
        "spec.constitutionRef.digest: must be {is}, which is that of constitution {name} {version}"
    )]
    Mismatch {
        /// The constitution.
        name: String,
        /// The version that was asked for.
        version: String,
        /// Its digest.
        is: Digest,
    },
    /// The object does not select the task's namespace.
    #[error(
        "spec.constitutionRef.name: constitution {name} must select namespace {namespace} with its `spec.namespaces`"
    )]
    Namespace {
        /// The constitution.
        name: String,
        /// The task's namespace.
        namespace: String,
    },
}

impl Unresolved {
    /// Whether it may be there later, so that the task waits: a task may come before its constitution.
    #[must_use]
    pub fn may_come(&self) -> bool {
        !matches!(self, Self::Mismatch { .. } | Self::Namespace { .. })
    }
}

/// A namespace, as far as selectors look at it.
#[derive(Debug, Clone, Copy)]
pub struct NamespaceLabels<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl Constitutions {
    /// An object was applied or changed: who may use it, and which version is in force.
    pub fn set_object(
        &mut self,
        name: &str,
        namespaces: NamespaceSelector,
        in_force: Option<String>,
    ) {
        self.by_name.entry(name.to_owned()).or_default().object = Some(Object {
            namespaces,
            in_force,
        });
    }

    /// An object is gone. Its versions are still used up.
    pub fn remove_object(&mut self, name: &str) {
        if let Some(known) = self.by_name.get_mut(name) {
            known.object = None;
        }
    }

    /// The ledger holds this version.
    pub fn set_version(&mut self, name: &str, version: &str, held: Version) {
        let known = self.by_name.entry(name.to_owned()).or_default();
        known.versions.insert(version.to_owned(), held);
    }

    /// What `reference` means to a task in `namespace`.
    pub fn resolve(
        &self,
        reference: &ConstitutionRef,
        namespace: NamespaceLabels<'_>,
    ) -> Result<Resolved, Unresolved> {
        let name = &reference.name;
        let found = self
            .by_name
            .get(name)
            .and_then(|known| Some((known, known.object.as_ref()?)));
        let Some((known, object)) = found else {
            return Err(Unresolved::Name(name.clone()));
        };
        if !selects(&object.namespaces, namespace.labels) {
            return Err(Unresolved::Namespace {
                name: name.clone(),
                namespace: namespace.name.to_owned(),
            });
        }
        let (version, held) = known.find(name, reference, object.in_force.as_ref())?;
        Ok(Resolved {
            version: version.clone(),
            digest: held.digest,
            content: held.content.clone(),
        })
    }

    /// The version with this digest, for a task that began under it: whatever became of the object.
    #[must_use]
    pub fn held(&self, name: &str, digest: &Digest) -> Option<Resolved> {
        let mut versions = self.by_name.get(name)?.versions.iter();
        let (version, held) = versions.find(|(_, held)| held.digest == *digest)?;
        Some(Resolved {
            version: version.clone(),
            digest: held.digest,
            content: held.content.clone(),
        })
    }

    /// A version number never comes back with other content.
    pub fn check_version(&self, constitution: &Constitution) -> Result<(), Violation> {
        let meta = &constitution.meta;
        let held = self
            .by_name
            .get(&meta.name)
            .and_then(|known| known.versions.get(&meta.version));
        match held {
            Some(held) if held.digest != constitution.digest() => Err(Violation {
                path: "spec.meta.version".to_owned(),
                message: format!(
                    "must be raised: {} {} was {} at index {} of the ledger",
                    meta.name, meta.version, held.digest, held.index
                ),
            }),
            _ => Ok(()),
        }
    }
}

impl Known {
    fn find<'k>(
        &'k self,
        name: &str,
        reference: &ConstitutionRef,
        in_force: Option<&String>,
    ) -> Result<(&'k String, &'k Version), Unresolved> {
        let by_version = |version: &String| {
            self.versions
                .get_key_value(version)
                .ok_or_else(|| Unresolved::Version {
                    name: name.to_owned(),
                    version: version.clone(),
                })
        };
        let digest = reference.digest.as_ref();
        let is_it = |held: &Version| digest.is_none_or(|it| *it == held.digest.to_string());
        match (&reference.version, digest) {
            (Some(version), _) => {
                let found = by_version(version)?;
                if is_it(found.1) {
                    Ok(found)
                } else {
                    Err(Unresolved::Mismatch {
                        name: name.to_owned(),
                        version: version.clone(),
                        is: found.1.digest,
                    })
                }
            }
            (None, Some(digest)) => {
                let mut versions = self.versions.iter();
                versions
                    .find(|(_, held)| is_it(held))
                    .ok_or_else(|| Unresolved::Digest {
                        name: name.to_owned(),
                        digest: digest.clone(),
                    })
            }
            (None, None) => {
                let version = in_force.ok_or_else(|| Unresolved::NotInForce(name.to_owned()))?;
                by_version(version)
            }
        }
    }
}

/// Whether a selector holds for these labels; all of its parts must.
#[must_use]
pub fn selects(selector: &NamespaceSelector, labels: &BTreeMap<String, String>) -> bool {
    let mut pairs = selector.match_labels.iter();
    let mut requirements = selector.match_expressions.iter();
    pairs.all(|(key, value)| labels.get(key) == Some(value))
        && requirements.all(|requirement| {
            let value = labels.get(&requirement.key);
            let is_listed = value.is_some_and(|value| requirement.values.contains(value));
            match requirement.operator {
                LabelOperator::In => is_listed,
                LabelOperator::NotIn => !is_listed,
                LabelOperator::Exists => value.is_some(),
                LabelOperator::DoesNotExist => value.is_none(),
            }
        })
}
