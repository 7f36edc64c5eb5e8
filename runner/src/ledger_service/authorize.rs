//! Who may append and read what: pure.
//!
//! A runner speaks for one attempt: the one whose intent, written by the operator, names its pod. It
//! alone can answer or withhold; the operator, who never saw the branches, cannot.

use axiom_hive_core::record::{Body, Record};

/// What an identity may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Starts and closes tasks.
    Operator,
    /// Reads everything.
    Auditor,
    /// Ends the attempts that name its pod.
    Runner {
        /// Vouched for by the API server or a certificate.
        pod_uid: String,
    },
}

/// Whether `role` may append `record`; `intent` is the stored intent of the record's attempt. The
/// error says what must hold.
pub(super) fn may_append(
    role: &Role,
    record: &Record,
    intent: Option<&Record>,
) -> Result<(), &'static str> {
    match (role, &record.body) {
        (Role::Auditor, _) => Err("an auditor must not append"),
        (_, Body::Erasure { .. }) => Err("an erasure must be recorded by the service that erases"),
        (_, Body::Sealed { .. } | Body::Succession { .. }) => {
            Err("a seal or a succession must be recorded by whoever keeps the ledger's key")
        }
        (Role::Operator, Body::Answered(_) | Body::Withheld(_)) => Err(
            "an answer must be recorded, or withheld, by the pod that the attempt's intent names",
        ),
        (Role::Operator, _) => Ok(()),
        (
            Role::Runner { .. },
            Body::Constitution { .. } | Body::Intent { .. } | Body::Deleted { .. },
        ) => Err("a constitution, an intent or a deletion must be recorded by the operator"),
        (Role::Runner { pod_uid }, _) => {
            if intent.is_some_and(|intent| names(intent, pod_uid)) {
                Ok(())
            } else {
                Err("an outcome must come from the pod that the intent of its attempt names")
            }
        }
    }
}

/// Whether `role` may read a payload that `holder` brought; `intents` are those of the holder's task.
pub(super) fn may_read(role: &Role, holder: &Record, intents: &[Record]) -> bool {
    match (role, &holder.body) {
        (Role::Operator | Role::Auditor, _) | (_, Body::Constitution { .. }) => true,
        (Role::Runner { pod_uid }, _) => intents.iter().any(|intent| names(intent, pod_uid)),
    }
}

fn names(intent: &Record, pod: &str) -> bool {
    match &intent.body {
        Body::Intent { observed, .. } => observed.pod_uid.as_deref() == Some(pod),
        _ => false,
    }
}
