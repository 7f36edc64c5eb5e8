//! Events (events.k8s.io/v1), for those who do not look at the status.

use std::time::Duration;

use kube::Resource as _;
use kube::runtime::events::{Event, EventType};

use super::Context;
use crate::api::SupervisedTask;
use crate::plan::notice::Notice;

/// Upper bound of one announcement: it is worth less than the look that it delays.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(5);

impl Context {
    /// Announces it, or says in the log why not: the status holds the same, so that no look fails for it.
    pub(super) async fn announce(&self, task: &SupervisedTask, notice: Notice) {
        let event = Event {
            type_: EventType::Warning,
            reason: notice.reason,
            note: Some(notice.note),
            action: notice.action.to_owned(),
            secondary: None,
        };
        let regarding = task.object_ref(&());
        let publishing = self.recorder.publish(&event, &regarding);
        let uid = task.metadata.uid.as_deref();
        match tokio::time::timeout(ANNOUNCE_TIMEOUT, publishing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(uid, %error, "an event could not be published"),
            Err(_) => tracing::warn!(uid, "an event could not be published in time"),
        }
    }
}
