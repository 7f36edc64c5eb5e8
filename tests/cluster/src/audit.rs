//! Who wrote what, from the API server's audit log.

use serde_json::Value;

use crate::{Error, TestCluster};

/// One request that was to change something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The user's name.
    pub user: String,
    /// What its client calls itself.
    pub agent: String,
    /// `create`, `patch` and the like.
    pub verb: String,
    /// In the plural, with `/SUBRESOURCE` where there is one.
    pub resource: String,
    /// Empty where there is none.
    pub namespace: String,
    /// Empty where the API server was to choose it.
    pub name: String,
}

impl Write {
    /// `None` for a request that only reads.
    fn of(line: &str) -> Option<Self> {
        // The last line may not be whole yet.
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let verb = text(&event["verb"]);
        if matches!(verb.as_str(), "get" | "list" | "watch") {
            return None;
        }
        let object = &event["objectRef"];
        let mut resource = text(&object["resource"]);
        if let Some(sub) = object["subresource"].as_str() {
            resource = format!("{resource}/{sub}");
        }
        Some(Self {
            user: text(&event["user"]["username"]),
            agent: text(&event["userAgent"]),
            verb,
            resource,
            namespace: text(&object["namespace"]),
            name: text(&object["name"]),
        })
    }

    /// Such as `create pods`.
    #[must_use]
    pub fn what(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

impl TestCluster {
    /// Every write so far, as far as the log goes back: 64 to 128 MB.
    pub fn writes(&self) -> Result<Vec<Write>, Error> {
        let path = self.audit_log()?;
        let log = std::fs::read_to_string(&path).map_err(Error::file(&path))?;
        Ok(log.lines().filter_map(Write::of).collect())
    }
}
