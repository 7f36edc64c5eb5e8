//! `hive_smoke`, which `helm test` runs, against the webhook of this process. The test plays the
//! operator: it ends the task.

use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::PoisonError;

use axiom_hive_core::constitution::Constitution;
use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::api::SupervisedTask;
use axiom_hive_testcluster::{Namespace, Size, TestCluster, eventually};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::process::Command;

use crate::support::{Running, every_namespace, put_in_force};

/// What `hive_smoke` says when its task ends like this.
async fn ends(client: &Client, namespace: &Namespace<'_>, home: &Path, succeeded: &str) -> Output {
    let child = Command::new(env!("CARGO_BIN_EXE_hive_smoke"))
        .args([namespace.name(), "small"])
        .env("KUBECONFIG", home.join("config"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let tasks: Api<SupervisedTask> = Api::namespaced(client.clone(), namespace.name());
    let name = eventually("the good task", 60, async || {
        let all = tasks.list(&ListParams::default()).await.ok()?;
        all.items.into_iter().next()?.metadata.name
    });
    let (name, status) = (
        name.await.unwrap(),
        json!({
            "conditions": [{"type": "Succeeded", "status": succeeded, "reason": "Answered", "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "ledger": {"origin": "o", "index": 41, "leafHash": "0".repeat(64)},
        }),
    );
    let patch = Patch::Merge(json!({"status": status}));
    tasks
        .patch_status(&name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    let said = child.wait_with_output().await.unwrap();
    assert!(
        tasks.get_opt(&name).await.unwrap().is_none(),
        "the task was left behind"
    );
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn helm_test_tells_a_release_that_works_from_one_that_does_not() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(_) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("smoke").await.unwrap();
    let running = Running::start(cluster, namespace.name(), Periods::default()).await;
    let text = "[meta]\nname = \"small\"\nversion = \"1.0.0\"\n[supervisor]\nmax_branches = 1\n";
    let small = Constitution::parse("small.toml", text).unwrap();
    put_in_force(
        &mut running
            .constitutions
            .write()
            .unwrap_or_else(PoisonError::into_inner),
        &small,
        every_namespace(),
    );
    let client = cluster.client().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = serde_json::to_string(&cluster.kubeconfig().unwrap()).unwrap();
    std::fs::write(home.path().join("config"), kubeconfig).unwrap();

    let said = ends(&client, &namespace, home.path(), "True").await;
    let out = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.status.success(),
        "{out}{}",
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(
        out.contains("spec.branches: must be from 1 to 1, not 64"),
        "{out}"
    );
    assert!(out.contains("record 41 of the ledger"), "{out}");

    let said = ends(&client, &namespace, home.path(), "False").await;
    let err = String::from_utf8(said.stderr).unwrap();
    assert!(
        !said.status.success() && err.contains("must be answered, but: "),
        "{err}"
    );
    running.stop().await;
}
