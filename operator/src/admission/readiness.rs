//! What must be there before the webhook answers.

use tokio::sync::watch;

/// Something that must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Constitutions and their versions in the ledger were read once.
    Constitutions,
    /// Namespaces were read once.
    Namespaces,
    /// There is a certificate, and the API server was told its authority.
    Certificate,
    /// The webhook has judged a good and a bad object over its own port.
    SelfReview,
}

const PARTS: [(Part, &str); 4] = [
    (Part::Constitutions, "constitutions"),
    (Part::Namespaces, "namespaces"),
    (Part::Certificate, "certificate"),
    (Part::SelfReview, "self-review"),
];

/// What is there; its clones are one.
#[derive(Debug, Clone)]
pub struct Readiness(watch::Sender<[bool; PARTS.len()]>);

impl Default for Readiness {
    fn default() -> Self {
        Self(watch::Sender::new([false; PARTS.len()]))
    }
}

impl Readiness {
    /// A part is there.
    pub fn set(&self, part: Part) {
        self.0.send_modify(|parts| parts[part as usize] = true);
    }

    /// The names of what is missing, for `/readyz`; empty: ready.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = *self.0.borrow();
        let missing = PARTS.iter().filter(|(part, _)| !parts[*part as usize]);
        missing.map(|(_, name)| *name).collect()
    }

    /// Whether what is judged with is there.
    #[must_use]
    pub(super) fn can_judge(&self) -> bool {
        has_caches(*self.0.borrow())
    }

    /// Waits until what is judged with is there.
    pub(super) async fn caches(&self) {
        // The sender is here, so this ends only when it holds.
        let _ = self
            .0
            .subscribe()
            .wait_for(|parts| has_caches(*parts))
            .await;
    }

    /// Waits until all is there.
    pub async fn ready(&self) {
        let _ = self
            .0
            .subscribe()
            .wait_for(|parts| !parts.contains(&false))
            .await;
    }
}

fn has_caches(parts: [bool; PARTS.len()]) -> bool {
    parts[Part::Constitutions as usize] && parts[Part::Namespaces as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_has_a_name() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing().len(), 4);
        for (part, name) in PARTS {
            assert!(readiness.missing().contains(&name));
            readiness.clone().set(part);
            assert!(!readiness.missing().contains(&name));
        }
        assert!(readiness.missing().is_empty());
    }
}
