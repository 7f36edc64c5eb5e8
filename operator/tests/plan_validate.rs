//! Tasks against constitutions: what is accepted gets its defaults, what is refused is refused with
//! every reason at once.
#![allow(clippy::unwrap_used)]

use axiom_hive_core::constitution::Constitution;
use axiom_hive_operator::api::SupervisedTaskSpec;
use axiom_hive_operator::plan::validate::{Validated, validate};
use serde_json::{Value, json};

const META: &str = "[meta]\nname = \"c\"\nversion = \"1.2.3\"\n";
const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn constitution(rest: &str) -> Constitution {
    Constitution::parse("c.toml", &format!("{META}{rest}")).unwrap_or_else(|it| panic!("{it}"))
}

/// A task for the `echo` runtime, with these fields.
fn task(fields: &Value) -> SupervisedTaskSpec {
    let mut spec = json!({
        "constitutionRef": {"name": "c"},
        "prompt": "Hello",
        "runtime": {"echo": {}},
    });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

fn process(image: &str) -> Value {
    json!({"runtime": {"process": {"image": image, "command": ["run"]}}})
}

fn accepts(rest: &str, fields: &Value) -> Validated {
    validate(&task(fields), &constitution(rest)).unwrap_or_else(|it| panic!("{it:?}"))
}

/// The reasons, one a line.
fn rejects(rest: &str, fields: &Value) -> String {
    let violations = validate(&task(fields), &constitution(rest)).unwrap_err();
    let texts: Vec<String> = violations.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

#[test]
fn defaults_are_the_constitutions() {
    let validated = accepts("", &json!({}));
    assert_eq!((validated.branches, validated.timeout_seconds), (4, 300));
    assert_eq!(validated.retry_limit, 2);
    let limits = validated.limits;
    assert_eq!((limits.cpu_millis, limits.memory_mib), (500, 512));
    assert_eq!(limits.ephemeral_storage_mib, 256);
    let small = "[supervisor]\nmax_branches = 2\ntask_timeout_seconds = 20\n\
        [cluster]\nmax_cpu_millis = 100\nmax_memory_mib = 64\nmax_retry_limit = 0\n";
    let validated = accepts(small, &json!({}));
    assert_eq!((validated.branches, validated.timeout_seconds), (2, 20));
    assert_eq!(validated.retry_limit, 0);
    assert_eq!(
        (validated.limits.cpu_millis, validated.limits.memory_mib),
        (100, 64)
    );
}

#[test]
fn rejects_more_than_the_constitution_allows() {
    let fields = json!({"branches": 5, "timeoutSeconds": 301, "retryLimit": 4});
    assert_eq!(
        rejects("", &fields),
        "spec.branches: must be from 1 to 4, not 5 (constitution c 1.2.3)\n\
         spec.timeoutSeconds: must be at most 300, not 301 (constitution c 1.2.3)\n\
         spec.retryLimit: must be at most 3, not 4 (constitution c 1.2.3)"
    );
    let quorum = "[supervisor]\nquorum = \"valid\"\nmin_valid_branches = 3\n";
    assert_eq!(
        rejects(quorum, &json!({"branches": 2})),
        "spec.branches: must be from 3 to 4, not 2 (constitution c 1.2.3)"
    );
}

#[test]
fn rejects_prompts_that_are_blank_or_too_long() {
    let short = "[supervisor]\nmax_prompt_bytes = 4\n";
    // Three characters, five bytes.
    assert_eq!(
        rejects(short, &json!({"prompt": "éé!"})),
        "spec.prompt: must have at most 4 bytes, not 5 (constitution c 1.2.3)"
    );
    let long = "[supervisor]\nmax_prompt_bytes = 1048576\n";
    assert_eq!(
        rejects(long, &json!({"prompt": "é".repeat(65_537)})),
        "spec.prompt: must have at most 131072 bytes, not 131074 (constitution c 1.2.3)"
    );
    accepts(long, &json!({"prompt": "é".repeat(65_536)}));
    assert_eq!(
        rejects("", &json!({"prompt": " \n"})),
        "spec.prompt: must not be blank"
    );
}

#[test]
fn rejects_runtimes_that_are_not_listed() {
    let kinds = "[runtime]\nkinds = [\"http\", \"openai\"]\n";
    assert_eq!(
        rejects(kinds, &json!({})),
        "spec.runtime: must be one of http, openAI (constitution c 1.2.3)"
    );
}

#[test]
fn images_must_be_listed_and_pinned() {
    let listed = "[cluster]\nimages = [\"registry.example.com/team/*\"]\n";
    let pinned = format!("registry.example.com/team/runtime@{DIGEST}");
    accepts(listed, &process(&pinned));
    assert_eq!(
        rejects(listed, &process("python:3.13")),
        "spec.runtime.process.image: must be of a repository in `cluster.images` \
         (registry.example.com/team/*), not docker.io/library/python (constitution c 1.2.3)\n\
         spec.runtime.process.image: must be pinned by digest (@sha256:…) (constitution c 1.2.3)"
    );
    let unpinned = format!("{listed}require_image_digest = false\n");
    accepts(&unpinned, &process("registry.example.com/team/runtime:1"));
    assert_eq!(
        rejects("", &process(&pinned)),
        "spec.runtime.process.image: must be listed in `cluster.images`, which is empty \
         (constitution c 1.2.3)"
    );
    assert_eq!(
        rejects(listed, &process("UPPER")),
        "spec.runtime.process.image: must be an image reference, such as \
         \"registry.example.com/team/runtime@sha256:…\""
    );
}

#[test]
fn endpoints_and_models_must_be_listed() {
    let policy = "[runtime]\nmodels = [\"small\"]\n\
        [[egress.allow]]\nhost = \"api.example.com\"\nport = 443\n";
    let endpoint =
        |url: &str, model: &str| json!({"runtime": {"openAI": {"baseURL": url, "model": model}}});
    accepts(policy, &endpoint("https://api.example.com/v1", "small"));
    assert_eq!(
        rejects(policy, &endpoint("http://api.example.com/v1", "large")),
        "spec.runtime.openAI.model: must be one of the listed models: small (constitution c 1.2.3)\n\
         spec.runtime.openAI.baseURL: must name a host and port that `egress.allow` lists \
         (constitution c 1.2.3)"
    );
    let service = json!({"runtime": {"http": {"url": "https://other.example.com/"}}});
    assert_eq!(
        rejects(policy, &service),
        "spec.runtime.http.url: must name a host and port that `egress.allow` lists \
         (constitution c 1.2.3)"
    );
}

#[test]
fn resources_are_bounded_by_name() {
    let policy = "[cluster]\nmax_extended_resources = { \"nvidia.com/gpu\" = 2 }\n";
    let limits = |limits: Value| json!({"resources": {"limits": limits}});
    let all = json!({"cpu": 1, "memory": "4Gi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "2"});
    let accepted = accepts(policy, &limits(all)).limits;
    assert_eq!((accepted.cpu_millis, accepted.memory_mib), (1000, 4096));
    assert_eq!(accepted.ephemeral_storage_mib, 1024);
    assert_eq!(accepted.extended["nvidia.com/gpu"], 2);
    let refused = json!({
        "cpu": "1001m", "memory": "4097Mi", "ephemeral-storage": 0,
        "nvidia.com/gpu": "1500m", "hugepages-2Mi": "2Mi",
    });
    assert_eq!(
        rejects(policy, &limits(refused)),
        "spec.resources.limits[cpu]: must be above 0 and at most 1000m (constitution c 1.2.3)\n\
         spec.resources.limits[ephemeral-storage]: must be above 0 and at most 1024Mi (constitution c 1.2.3)\n\
         spec.resources.limits[hugepages-2Mi]: must be listed in `cluster.maxExtendedResources` (constitution c 1.2.3)\n\
         spec.resources.limits[memory]: must be above 0 and at most 4096Mi (constitution c 1.2.3)\n\
         spec.resources.limits[nvidia.com/gpu]: must be above 0 and at most 2 (constitution c 1.2.3)"
    );
}

#[test]
fn scheduling_is_closed_unless_listed() {
    let fields = json!({
        "priorityClassName": "high",
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "imagePullSecrets": [{"name": "registry"}],
    });
    assert_eq!(
        rejects("", &fields),
        "spec.priorityClassName: must be listed in `cluster.priorityClasses` (constitution c 1.2.3)\n\
         spec.nodeSelector[kubernetes.io/arch]: must have a value that `cluster.nodeSelector` lists (constitution c 1.2.3)\n\
         spec.tolerations[0]: must tolerate no more than `cluster.tolerations` lists (constitution c 1.2.3)\n\
         spec.imagePullSecrets[0].name: must be listed in `cluster.imagePullSecrets` (constitution c 1.2.3)"
    );
    let policy = "[cluster]\npriority_classes = [\"high\"]\nimage_pull_secrets = [\"registry\"]\n\
        node_selector = { \"kubernetes.io/arch\" = [\"amd64\", \"arm64\"] }\n\
        tolerations = [{ key = \"gpu\" }]\n";
    accepts(policy, &fields);
}

#[test]
fn a_toleration_tolerates_no_more_than_its_rule() {
    let policy =
        "[cluster]\ntolerations = [{ key = \"a\", value = \"1\", effect = \"NoSchedule\" }]\n";
    let one = |toleration: Value| json!({"tolerations": [toleration]});
    accepts(
        policy,
        &one(json!({"key": "a", "value": "1", "effect": "NoSchedule"})),
    );
    for wider in [
        json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"}),
        json!({"key": "a", "value": "1"}),
        json!({"key": "a", "value": "2", "effect": "NoSchedule"}),
        json!({"key": "b", "value": "1", "effect": "NoSchedule"}),
    ] {
        rejects(policy, &one(wider));
    }
}

#[test]
fn an_object_older_than_the_schema_is_refused_too() {
    let two = json!({"runtime": {"echo": {}, "http": {"url": "http://a"}}});
    assert_eq!(
        rejects("", &two),
        "spec.runtime: must have exactly one of `process`, `openAI`, `http` and `echo`"
    );
    assert_eq!(
        rejects("", &json!({"branches": -1})),
        "spec.branches: must not be negative"
    );
}
