//! `config/samples`: what is good passes, what is bad is refused with the message at its head, all of it
//! by `kubectl apply --dry-run=server`.

use std::path::PathBuf;
use std::sync::PoisonError;

use axiom_hive_operator::admission::authority::Periods;
use axiom_hive_operator::api::Constitution;
use axiom_hive_testcluster::{Size, TestCluster};

use crate::support::{Running, put_in_force};
use axiom_hive_testcluster::tool::{Tool, root};

/// What a bad sample's head says that it must hear.
const REFUSED: &str = "# Refused: ";

fn samples(directory: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(directory)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "yaml"));
    // Constitutions come before tasks.
    files.sort();
    files
}

fn apply(kubectl: &Tool, path: &std::path::Path, namespace: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut arguments = vec!["apply", "--dry-run=server", "-f", path.to_str().unwrap()];
    if !text.contains("\n  namespace: ") && text.contains("kind: SupervisedTask") {
        arguments.extend(["-n", namespace]);
    }
    let said = kubectl.run(&arguments);
    if said.ok {
        Ok(format!("{}{}", said.out, said.err))
    } else {
        Err(said.err)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn good_samples_pass_and_bad_ones_hear_what_must_hold() {
    let Some(cluster) = TestCluster::shared(Size::Api).await else {
        return;
    };
    let Ok(_) = cluster.host_address() else {
        return;
    };
    let namespace = cluster.namespace("samples-run").await.unwrap();
    let running = Running::start(cluster, namespace.name(), Periods::default()).await;
    let kubectl = Tool::kubectl(cluster);
    for name in ["samples", "elsewhere"] {
        kubectl.run(&["create", "namespace", name]).unwrap();
    }
    let mut warnings = 0;
    for path in samples("config/samples") {
        let said = apply(&kubectl, &path, "samples")
            .unwrap_or_else(|it| panic!("{}: {it}", path.display()));
        warnings += said.matches("Warning: ").count();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("constitution-")
        {
            let object: Constitution =
                serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let content = object.spec.to_core().unwrap();
            let mut known = running
                .constitutions
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            put_in_force(&mut known, &content, object.spec.namespaces);
        }
    }
    assert_eq!(warnings, 1, "only the task that waits gets a warning");
    let mut wrong = Vec::new();
    let bad = samples("config/samples/invalid");
    assert!(bad.len() > 20);
    for path in bad {
        let text = std::fs::read_to_string(&path).unwrap();
        let expected: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(REFUSED))
            .collect();
        assert!(
            !expected.is_empty(),
            "{} does not say what it must hear",
            path.display()
        );
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        match apply(&kubectl, &path, "samples") {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(said) => {
                for message in expected.iter().filter(|message| !said.contains(**message)) {
                    wrong.push(format!("{name}: no {message:?} in\n    {said}"));
                }
            }
        }
    }
    for name in ["samples", "elsewhere"] {
        kubectl
            .run(&["delete", "namespace", name, "--wait=false"])
            .unwrap();
    }
    running.stop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
