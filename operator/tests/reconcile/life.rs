//! A task from its application to its end, and what its user sees.

use axiom_hive_core::record::Receipt;
use axiom_hive_operator::api::SupervisedTask;
use axiom_hive_operator::api::condition::ConditionType;
use axiom_hive_operator::api::task::Outcome;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use crate::world::{RELEASE, World, condition, reason, uid};
use axiom_hive_testcluster::tool::Tool;

#[tokio::test]
async fn a_task_is_answered_by_the_pod_that_its_intent_names() {
    let Some(world) = World::new("answered").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 0);
    let task = world.ended(&task).await;
    let status = task.status.clone().unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered), "{status:?}");
    assert_eq!(
        status.answer.as_deref(),
        Some("What is the capital of France?")
    );
    assert_eq!(status.reason.as_deref(), Some("agreed"));
    assert_eq!(status.agreement.unwrap().asked, 3);
    assert_eq!(
        (status.attempt, status.observed_generation),
        (Some(0), Some(1))
    );
    assert_eq!(status.pod.unwrap().uid, pod.uid().unwrap());
    let constitution = status.constitution.unwrap();
    assert_eq!(constitution.version, "1.0.0");
    for (about, expected) in [
        (ConditionType::Succeeded, ("True", "Answered")),
        (ConditionType::Ready, ("True", "Answered")),
        (ConditionType::Stalled, ("False", "Answered")),
        (ConditionType::Recorded, ("True", "Recorded")),
    ] {
        assert_eq!(condition(&task, about), expected, "{about:?}");
    }
    assert_eq!(world.history(&task).await, ["intent", "answered"]);
    // The pointer is that of the terminal record.
    let proven = world.ledger.proven(&uid(&task)).await;
    let ledger = status.ledger.unwrap();
    assert_eq!(
        ledger.index,
        i64::try_from(proven[1].verified.index).unwrap()
    );
    assert_eq!(ledger.origin, proven[1].verified.checkpoint.origin);
    // And the status holds all that its user needs to prove it elsewhere.
    let receipt = Receipt::parse(&status.receipt.unwrap()).unwrap();
    let verified = receipt.verify(&ledger.vkey.unwrap().parse().unwrap());
    assert_eq!(verified.unwrap().record, proven[1].verified.record);
    world.end().await;
}

#[tokio::test]
async fn a_namespace_gets_what_a_runner_pod_needs() {
    let Some(world) = World::new("namespace").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    world.pod(&task, 0).await;
    let name = world.namespace.name();
    let accounts: Api<ServiceAccount> = Api::namespaced(world.client.clone(), name);
    let account = accounts.get("axh-runner").await.unwrap();
    assert_eq!(account.automount_service_account_token, Some(false));
    let policies: Api<NetworkPolicy> = Api::namespaced(world.client.clone(), name);
    let policy = policies.get("axh-runner").await.unwrap().spec.unwrap();
    assert_eq!(policy.policy_types.unwrap(), ["Ingress", "Egress"]);
    assert!(policy.ingress.is_none_or(|rules| rules.is_empty()));
    world.end().await;
}

#[tokio::test]
async fn a_task_may_come_before_its_constitution() {
    let Some(mut world) = World::bare("early").await else {
        return;
    };
    world.operate();
    let task = world.task("hello", json!({})).await;
    let waiting = world.because(&task, "ConstitutionNotFound").await;
    assert_eq!(condition(&waiting, ConditionType::Succeeded).0, "Unknown");
    assert_eq!(condition(&waiting, ConditionType::Stalled).0, "False");
    assert!(world.history(&task).await.is_empty());
    world.constitute("1.0.0", json!({})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 0);
    assert_eq!(reason(&world.ended(&task).await), "Answered");
    world.end().await;
}

#[tokio::test]
async fn a_task_stays_with_the_constitution_that_it_began_under() {
    let Some(world) = World::new("pinned").await else {
        return;
    };
    let task = world.task("hello", json!({})).await;
    let pod = world.intended(&task, 0).await;
    world
        .constitute("2.0.0", json!({"supervisor": {"maxBranches": 1}}))
        .await;
    world.in_force().await;
    world.exits(&pod, 137).await;
    let pod = world.intended(&task, 1).await;
    assert_eq!(world.run(&pod).await, 0);
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.constitution.unwrap().version, "1.0.0");
    assert_eq!(status.agreement.unwrap().asked, 3);
    // A new task gets the new one, and may ask for the old one.
    let new = world.task("new", json!({})).await;
    let pod = world.intended(&new, 0).await;
    world.run(&pod).await;
    let status = world.ended(&new).await.status.unwrap();
    assert_eq!(status.constitution.unwrap().version, "2.0.0");
    let reference = json!({"name": world.constitution, "version": "1.0.0"});
    let old = world
        .task("old", json!({"constitutionRef": reference}))
        .await;
    let pod = world.intended(&old, 0).await;
    world.run(&pod).await;
    let status = world.ended(&old).await.status.unwrap();
    assert_eq!(status.constitution.unwrap().version, "1.0.0");
    world.end().await;
}

#[tokio::test]
async fn a_version_never_comes_back_with_other_content() {
    let Some(world) = World::new("reused").await else {
        return;
    };
    let api = world.constitutions();
    api.delete(&world.constitution, &DeleteParams::default())
        .await
        .unwrap();
    world
        .constitute("1.0.0", json!({"supervisor": {"maxBranches": 1}}))
        .await;
    let object = world
        .until("a constitution that is refused", async || {
            let object = api.get(&world.constitution).await.ok()?;
            let conditions = &object.status.as_ref()?.conditions;
            let stalled = conditions.iter().find(|it| it.type_ == "Stalled")?;
            (stalled.reason == "VersionReused").then(|| (stalled.clone(), object.clone()))
        })
        .await;
    let (stalled, object) = object;
    assert_eq!(stalled.status, "True");
    assert!(
        stalled.message.contains("must be raised"),
        "{}",
        stalled.message
    );
    assert!(object.status.unwrap().in_force.is_none());
    world
        .constitute("1.0.1", json!({"supervisor": {"maxBranches": 1}}))
        .await;
    world.in_force().await;
    world.end().await;
}

#[tokio::test]
async fn suspended_runs_nothing_and_resumed_costs_no_retry() {
    let Some(world) = World::new("suspend").await else {
        return;
    };
    let task = world
        .task("hello", json!({"suspend": true, "retryLimit": 0}))
        .await;
    world.because(&task, "Suspended").await;
    assert!(world.history(&task).await.is_empty());
    world.change("hello", json!({"suspend": false})).await;
    world.intended(&task, 0).await;
    world.change("hello", json!({"suspend": true})).await;
    let task = world
        .task_that(&task, |task| {
            let attempt = task.status.as_ref().and_then(|it| it.attempt);
            reason(task) == "Suspended" && attempt == Some(1)
        })
        .await;
    assert_eq!(task.status.as_ref().unwrap().retries, Some(0));
    let none = world.all_pods().await;
    assert!(none.is_empty());
    world.change("hello", json!({"suspend": false})).await;
    let pod = world.intended(&task, 1).await;
    assert_eq!(world.run(&pod).await, 0);
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Answered));
    assert!(status.suspend_time.is_none(), "{status:?}");
    assert_eq!(world.history(&task).await, ["intent", "intent", "answered"]);
    world.end().await;
}

#[tokio::test]
async fn a_long_answer_is_in_a_secret_of_the_task() {
    let longer = json!({"supervisor": {"maxBranches": 1, "maxAnswerBytes": 131_072}});
    let Some(world) = World::with("long", longer).await else {
        return;
    };
    let prompt = "All work and no play. ".repeat(2000);
    let task = world.task("long", json!({"prompt": prompt.trim()})).await;
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 0);
    let status = world.ended(&task).await.status.unwrap();
    assert_eq!(status.answer, None);
    let name = status.answer_secret_ref.unwrap().name;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), world.namespace.name());
    let secret = secrets.get(&name).await.unwrap();
    assert_eq!(secret.immutable, Some(true));
    assert_eq!(secret.owner_references()[0].uid, uid(&task));
    assert_eq!(secret.data.unwrap()["answer"].0, prompt.trim().as_bytes());
    world.end().await;
}

#[tokio::test]
async fn a_task_goes_when_its_time_is_over_and_its_record_stays() {
    let Some(world) = World::new("ttl").await else {
        return;
    };
    let task = world
        .task("short", json!({"ttlSecondsAfterFinished": 0}))
        .await;
    let pod = world.intended(&task, 0).await;
    world.run(&pod).await;
    world
        .until("a task that is gone", async || {
            world
                .tasks()
                .get_opt("short")
                .await
                .ok()?
                .is_none()
                .then_some(())
        })
        .await;
    world
        .until("the record of its deletion", async || {
            (world.history(&task).await == ["intent", "answered", "deleted"]).then_some(())
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn an_operator_for_one_namespace_needs_no_rights_in_another() {
    let Some(mut world) = World::bare("narrow").await else {
        return;
    };
    let (user, own) = ("narrow", world.namespace.name().to_owned());
    let admin = Tool::kubectl(world.cluster);
    for arguments in [
        &[
            "clusterrolebinding",
            user,
            "--clusterrole=axiom-hive-operator",
        ][..],
        &[
            "rolebinding",
            user,
            "--clusterrole=axiom-hive-operator-tasks",
            "-n",
            &own,
        ],
        &[
            "rolebinding",
            user,
            "--role=axiom-hive-operator",
            "-n",
            RELEASE,
        ],
    ] {
        let create = [&["create"], arguments, &["--user", user]].concat();
        admin.run(&create).unwrap();
    }
    let other = world.cluster.namespace("other").await.unwrap();
    let elsewhere: Api<SupervisedTask> = Api::namespaced(world.client.clone(), other.name());
    world.operate_here(user).await;
    world.constitute("1.0.0", json!({})).await;
    let task = world.task("hello", json!({})).await;
    let stranger = SupervisedTask::new("hello", task.spec.clone());
    elsewhere
        .create(&PostParams::default(), &stranger)
        .await
        .unwrap();
    let pod = world.intended(&task, 0).await;
    assert_eq!(world.run(&pod).await, 0);
    assert_eq!(reason(&world.ended(&task).await), "Answered");
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), other.name());
    assert!(
        pods.list(&ListParams::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    // Deleted ones are seen there too.
    let gone = world.task("gone", json!({})).await;
    world.intended(&gone, 0).await;
    world
        .tasks()
        .delete("gone", &DeleteParams::default())
        .await
        .unwrap();
    world
        .until("a cancelled task", async || {
            (world.history(&gone).await == ["intent", "cancelled"]).then_some(())
        })
        .await;
    elsewhere
        .delete("hello", &DeleteParams::default())
        .await
        .unwrap();
    world.end().await;
}
