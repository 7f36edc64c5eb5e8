//! The ledger's head, off the ledger's volume.

use axiom_hive_core::tlog::Checkpoint;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use serde_json::json;

use crate::ledger::LedgerService;
use crate::world::{RELEASE, World};

async fn anchored(api: &Api<ConfigMap>) -> Option<String> {
    let data = api.get_opt("axh-ledger-head").await.unwrap()?.data?;
    data.get("checkpoint").cloned()
}

#[tokio::test]
async fn the_head_is_anchored_and_no_other_history_is_taken_for_it() {
    let Some(mut world) = World::bare("anchor").await else {
        return;
    };
    let api: Api<ConfigMap> = Api::namespaced(world.client.clone(), RELEASE);
    // That of another test's ledger.
    drop(
        api.delete("axh-ledger-head", &DeleteParams::default())
            .await,
    );
    world.operate();
    world.constitute("1.0.0", json!({})).await;
    world.in_force().await;
    world.kill().await;
    // It looks when it starts, and every minute.
    world.operate();
    let note = world
        .until("an anchor", async || anchored(&api).await)
        .await;
    let key = world.ledger.endpoint().vkey.parse().unwrap();
    let checkpoint = Checkpoint::open(&note, &key).unwrap();
    assert!(checkpoint.size >= 1);
    let entries = format!("axiom_hive_ledger_head_entries {}", checkpoint.size);
    assert!(world.metrics.text().contains(&entries));
    world.halt().await;

    // The same key, and none of the records.
    world.ledger.halt().await;
    world.ledger = LedgerService::start(world.cluster).await;
    world.operate();
    world
        .until("a head that is refused", async || {
            let refused = "axiom_hive_ledger_head_refused_total 1";
            world.metrics.text().contains(refused).then_some(())
        })
        .await;
    assert_eq!(anchored(&api).await, Some(note));
    world.end().await;
}
