//! The cluster, as its user may see it.

use std::future::Future;
use std::time::Duration;

use axiom_hive_api::SupervisedTask;
use axiom_hive_api::condition::{ConditionType, find};
use axiom_hive_runner::exit::{Exit, Failure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config};

use crate::args::ClusterArgs;

/// Upper bound of one request, the client's own retries included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A namespace of a cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Cluster {
    /// By the kubeconfig of `KUBECONFIG` or `~/.kube/config`; in a pod without one, by its service account.
    pub(super) async fn open(args: &ClusterArgs) -> Result<Self, Failure> {
        let config = match &args.context {
            Some(_) => {
                let options = KubeConfigOptions {
                    context: args.context.clone(),
                    ..KubeConfigOptions::default()
                };
                let config = Config::from_kubeconfig(&options).await;
                config.map_err(|error| unusable(&error))?
            }
            None => Config::infer().await.map_err(|error| unusable(&error))?,
        };
        let namespace = args.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self {
            client: Client::try_from(config).map_err(|error| unusable(&error))?,
            namespace,
        })
    }

    pub(super) fn tasks(&self) -> Api<SupervisedTask> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The task; a refusal that names it where there is none.
    pub(super) async fn task(&self, name: &str) -> Result<SupervisedTask, Failure> {
        let api = self.tasks();
        let task = bounded(api.get_opt(name)).await?;
        task.ok_or_else(|| self.absent(name))
    }

    pub(super) fn absent(&self, name: &str) -> Failure {
        let namespace = &self.namespace;
        let message = format!("task {name} must be in namespace {namespace}; it is not there");
        Failure::new(Exit::Input, message)
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Failure {
    let message = format!("a kubeconfig must name a cluster that can be used: {error}");
    Failure::new(Exit::Constitution, message)
}

/// The answer of the API server, in time.
pub(super) async fn bounded<T>(
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    let answer = tokio::time::timeout(REQUEST_TIMEOUT, request).await;
    let answer = answer.map_err(|_| {
        let seconds = REQUEST_TIMEOUT.as_secs();
        let message = format!("the API server must answer within {seconds} s");
        Failure::new(Exit::Constitution, message)
    })?;
    answer.map_err(|error| refusal(&error))
}

/// What the API server refuses is the user's input, unless it is about who the user is.
pub(super) fn refusal(error: &kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) if status.code == 401 || status.code == 403 => {
            Failure::new(Exit::Constitution, &status.message)
        }
        kube::Error::Api(status) => Failure::new(Exit::Input, &status.message),
        other => {
            let message = format!("the API server must be reachable: {}", causes(other));
            Failure::new(Exit::Constitution, message)
        }
    }
}

/// An error with what it comes from.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// What `Succeeded` says of a task.
pub(super) fn succeeded(task: &SupervisedTask) -> Option<&Condition> {
    let status = task.status.as_ref()?;
    find(&status.conditions, ConditionType::Succeeded)
}
