//! An image whose name-service module, also preloaded, wants out: it runs with the runtime, behind the walls.

use axiom_hive_core::record::ContainmentLevel;
use axiom_hive_e2e::Release;
use axiom_hive_e2e::pods::{Pods, pod};
use axiom_hive_operator::api::task::Outcome;
use serde_json::json;

use super::observed;

/// Says whether the module was asked for a name, and whether it ever got through.
const PROGRAM: &str = r"
import ctypes, socket
module = ctypes.CDLL('libnss_hostile.so.2')
try:
    socket.getaddrinfo('anything.example', 80)
except OSError:
    pass
print('asked' if module.hostile_lookups() else 'not asked', 'through' if module.hostile_connected() else 'stopped')
";

#[tokio::test]
async fn a_hostile_module_of_the_image_runs_behind_the_walls_alone() {
    let Some(release) = Release::shared().await else {
        return;
    };
    let namespace = release.namespace("modules").await;
    let pods = Pods::of(release, &namespace).await;
    let other = pods.serve("web-unlisted", 8080, &json!({})).await;
    let image = release.image("hostile-runtime");
    let spec = json!({
        "meta": {"name": namespace.name(), "version": "1.0.0", "catalogue": 1},
        "namespaces": {},
        "supervisor": {"maxBranches": 2, "minConsensusRatio": "0.75", "taskTimeoutSeconds": 90},
        "cluster": {"images": [image.name], "requireImageDigest": true},
    });
    release.constitution(spec).await;
    let target = json!({"name": "HOSTILE_TARGET", "value": format!("{other}:8080")});
    let preload = json!({"name": "LD_PRELOAD", "value": "/usr/lib/libnss_hostile.so.2"});
    let command = ["python3", "-c", PROGRAM];
    let tasks = release.tasks(&namespace).await;
    let task = json!({
        "constitutionRef": {"name": namespace.name()},
        "prompt": "try",
        "retryLimit": 0,
        "runtime": {"process": {
            "image": image.reference(),
            "command": command,
            "env": [target, preload],
            "protocol": "text",
        }},
    });
    let mut bare = pod("bare", &image.reference(), &command, &json!({}), &json!({}));
    bare["spec"]["containers"][0]["env"] = json!([target]);
    let bare = pods.create(bare).await;
    let task = tasks.run("modules", task).await;
    let status = task.status.unwrap();
    let report = tasks.report("modules").await;
    assert_eq!(status.outcome, Some(Outcome::Answered), "{report}");
    let observed = observed(release, &task.metadata.uid.unwrap()).await;
    assert_eq!(observed.containment.reached, ContainmentLevel::Strict);
    let walled = status.answer.unwrap();
    let bare = pods.end(&bare).await;
    eprintln!(
        "in a runner pod: {}; in a bare pod: {}",
        walled.trim(),
        bare.trim()
    );
    assert_eq!(walled.trim(), "asked stopped");
    // Preloaded by the image's own variable, which a bare pod obeys, and asked for a name.
    assert_eq!(bare.trim(), "asked through");
}
