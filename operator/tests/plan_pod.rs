//! Whatever a task or a constitution says, the pod stays behind its walls.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use axiom_hive_core::constitution::{
    Constitution, Containment, EgressPolicy, EgressTarget, ServiceTarget, UserNamespaces,
};
use axiom_hive_core::digest::Digest;
use axiom_hive_core::tlog::SigningKey;
use axiom_hive_operator::api::names::{PREFIX, ROLE_LABEL, RUNNER_SERVICE_ACCOUNT};
use axiom_hive_operator::api::{SupervisedTask, SupervisedTaskSpec};
use axiom_hive_operator::plan::network::{LedgerPods, policies};
use axiom_hive_operator::plan::pod::{
    Attempt, LedgerEndpoint, RUNTIME_UIDS, RunnerSettings, SUPERVISOR_UID, pod, runtime_uid,
};
use axiom_hive_operator::plan::resources::Limits;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Volume};
use kube::ResourceExt as _;
use proptest::prelude::*;
use serde_json::json;

const UID: &str = "6f0b2c1e-8a44-4f0e-9d3b-1c2d3e4f5a6b";
const TRUSTED_IMAGE: &str = "registry.example.com/axiom-hive/runner@sha256:00";

fn budget(name: &str, default: u32) -> u32 {
    let set = std::env::var(format!("AXIOM_HIVE_BUDGET_{}", name.to_uppercase()));
    set.ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn settings() -> RunnerSettings {
    RunnerSettings {
        image: TRUSTED_IMAGE.to_owned(),
        ledger: LedgerEndpoint {
            host: "axh-ledger.axiom-hive.svc".to_owned(),
            address: "10.96.7.7".to_owned(),
            canary_port: 8444,
            pods: LedgerPods {
                namespace: "axiom-hive".to_owned(),
                labels: [(
                    "app.kubernetes.io/name".to_owned(),
                    "axiom-hive-ledger".to_owned(),
                )]
                .into(),
                port: 8443,
            },
            ca: "-----BEGIN CERTIFICATE-----\nAA$(X)==\n-----END CERTIFICATE-----\n".to_owned(),
            vkey: vkey(),
        },
    }
}

fn vkey() -> String {
    let key = SigningKey::new("axiom-hive.local/1", &[7; 32]).unwrap();
    key.verifying_key().to_string()
}

fn limits() -> Limits {
    Limits {
        cpu_millis: 500,
        memory_mib: 512,
        ephemeral_storage_mib: 256,
        extended: BTreeMap::new(),
    }
}

fn build(task: &SupervisedTask, constitution: &Constitution) -> Pod {
    let attempt = Attempt {
        task,
        constitution,
        number: 0,
        spec_digest: Digest::of(b"spec"),
        deadline_seconds: 300,
    };
    pod(&attempt, &limits(), &settings())
}

fn constitution() -> Constitution {
    Constitution::parse("c.toml", "[meta]\nname = \"c\"\nversion = \"1.0.0\"\n").unwrap()
}

fn task(spec: serde_json::Value) -> SupervisedTask {
    let spec: SupervisedTaskSpec = serde_json::from_value(spec).unwrap();
    let mut task = SupervisedTask::new("hello", spec);
    task.metadata.namespace = Some("team".to_owned());
    task.metadata.uid = Some(UID.to_owned());
    task
}

/// Text that somebody might hope is expanded, escaped badly or taken for something else.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,40}",
        Just("$(POD_IP)".to_owned()),
        Just("--ledger-key=evil".to_owned()),
        Just("host.docker.internal".to_owned()),
        Just("/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned()),
        Just("\u{0}\n\"]}".to_owned()),
    ]
}

fn any_runtime() -> impl Strategy<Value = serde_json::Value> {
    let text = hostile;
    prop_oneof![
        Just(json!({"echo": {}})),
        text().prop_map(|url| json!({"http": {"url": url}})),
        (text(), text(), proptest::option::of(text())).prop_map(|(url, model, secret)| {
            let mut runtime = json!({"baseURL": url, "model": model});
            if let Some(name) = secret {
                runtime["apiKeySecretRef"] = json!({"name": name});
            }
            json!({"openAI": runtime})
        }),
        (text(), proptest::collection::vec(text(), 1..5), proptest::collection::vec(text(), 0..5), text(), text())
            .prop_map(|(image, command, args, name, value)| json!({"process": {
                "image": image, "command": command, "args": args, "env": [{"name": name, "value": value}],
            }})),
    ]
}

fn any_task() -> impl Strategy<Value = SupervisedTask> {
    let labels = proptest::collection::btree_map(
        prop_oneof![
            hostile(),
            Just(ROLE_LABEL.to_owned()),
            Just("axiomhive.io/egress".to_owned()),
            Just("kueue.x-k8s.io/queue-name".to_owned()),
            Just("app".to_owned()),
        ],
        hostile(),
        0..6,
    );
    let from = prop_oneof![
        Just(None),
        (hostile(), hostile())
            .prop_map(|(name, key)| Some(json!({"secretKeyRef": {"name": name, "key": key}}))),
        (hostile(), hostile())
            .prop_map(|(name, key)| Some(json!({"configMapKeyRef": {"name": name, "key": key}}))),
    ];
    let scheduling = (hostile(), hostile(), hostile(), hostile());
    (hostile(), any_runtime(), from, labels, scheduling).prop_map(|(prompt, runtime, from, labels, more)| {
        let (priority, key, value, secret) = more;
        let mut spec = json!({
            "constitutionRef": {"name": "c"},
            "runtime": runtime,
            "priorityClassName": priority,
            "nodeSelector": {key.clone(): value.clone()},
            "tolerations": [{"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}],
            "imagePullSecrets": [{"name": secret}],
        });
        match from {
            Some(from) => spec["promptFrom"] = from,
            None => spec["prompt"] = json!(prompt),
        }
        let mut task = task(spec);
        task.metadata.labels = Some(labels);
        task
    })
}

fn any_constitution() -> impl Strategy<Value = Constitution> {
    let targets = prop_oneof![
        (1..=u16::MAX).prop_map(|port| EgressTarget::Host {
            host: "api.example.com".to_owned(),
            port
        }),
        (1..=u16::MAX).prop_map(|port| EgressTarget::Cidr {
            cidr: "10.0.0.0/8".to_owned(),
            port
        }),
        (1..=u16::MAX, proptest::option::of(1..=u16::MAX)).prop_map(|(port, target_port)| {
            EgressTarget::Service {
                service: ServiceTarget {
                    namespace: "models".to_owned(),
                    name: "llm".to_owned(),
                    port,
                    target_port,
                    pod_labels: [("app".to_owned(), "llm".to_owned())].into(),
                },
            }
        }),
    ];
    let containment = prop_oneof![
        Just(Containment::Strict),
        Just(Containment::NoNetwork),
        hostile().prop_map(|runtime_class_name| Containment::Sandboxed { runtime_class_name }),
    ];
    (
        proptest::collection::vec(targets, 0..4),
        containment,
        any::<bool>(),
    )
        .prop_map(|(allow, containment, users)| {
            let mut constitution = constitution();
            constitution.egress = EgressPolicy { allow };
            constitution.cluster.containment = containment;
            if users {
                constitution.cluster.user_namespaces = UserNamespaces::Required;
            }
            constitution
        })
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
}

/// What the restricted Pod Security Standard and this project ask of every container, written from the
/// standard and not from the builder.
fn weaknesses(spec: &PodSpec) -> Vec<String> {
    let mut found = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            found.push(what.to_owned());
        }
    };
    must(!spec.host_network.unwrap_or(false), "host network");
    must(
        !spec.host_pid.unwrap_or(false) && !spec.host_ipc.unwrap_or(false),
        "host namespaces",
    );
    must(spec.host_users != Some(true), "host users by demand");
    must(
        spec.automount_service_account_token == Some(false),
        "service account token",
    );
    must(
        spec.service_account_name.as_deref() == Some(RUNNER_SERVICE_ACCOUNT),
        "service account",
    );
    must(
        spec.share_process_namespace != Some(true),
        "shared processes",
    );
    must(spec.ephemeral_containers.is_none(), "ephemeral container");
    must(
        spec.restart_policy.as_deref() == Some("Never"),
        "restart policy",
    );
    let pod = spec.security_context.as_ref().unwrap();
    must(
        pod.run_as_non_root == Some(true) && pod.sysctls.is_none(),
        "pod security context",
    );
    for container in containers(spec) {
        let context = container.security_context.as_ref().unwrap();
        must(context.privileged != Some(true), "privileged");
        must(
            context.allow_privilege_escalation == Some(false),
            "privilege escalation",
        );
        must(
            context.read_only_root_filesystem == Some(true),
            "writable root",
        );
        must(
            context.run_as_non_root == Some(true) && context.run_as_user > Some(0),
            "root user",
        );
        let capabilities = context.capabilities.as_ref().unwrap();
        must(
            capabilities.drop == Some(vec!["ALL".to_owned()]),
            "capabilities kept",
        );
        must(capabilities.add.is_none(), "capabilities added");
        must(
            context.seccomp_profile.as_ref().unwrap().type_ == "RuntimeDefault",
            "seccomp",
        );
        must(context.proc_mount.is_none(), "proc mount");
        must(
            container.ports.is_none() && container.env.is_none() && container.env_from.is_none(),
            "ports or environment",
        );
        must(
            container.volume_devices.is_none() && container.lifecycle.is_none(),
            "devices or hooks",
        );
        let resources = container.resources.as_ref().unwrap();
        let limits = resources.limits.as_ref().unwrap();
        for name in ["cpu", "memory", "ephemeral-storage"] {
            must(limits.contains_key(name), "a limit");
        }
        must(
            resources.requests.as_ref() == Some(limits),
            "requests below limits",
        );
        let mut mounts = container.volume_mounts.iter().flatten();
        must(
            mounts.all(|mount| mount.sub_path.is_none() && mount.mount_propagation.is_none()),
            "mount options",
        );
    }
    must(spec.volumes.iter().flatten().all(is_plain), "volume type");
    found
}

/// Memory or disk of the pod's own, a projected token, or one named object.
fn is_plain(volume: &Volume) -> bool {
    let mut value = serde_json::to_value(volume).unwrap();
    value.as_object_mut().unwrap().remove("name");
    let kinds: Vec<&String> = value.as_object().unwrap().keys().collect();
    matches!(kinds.as_slice(), [kind] if ["emptyDir", "projected", "secret", "configMap"].contains(&kind.as_str()))
}

fn mounts<'a>(spec: &'a PodSpec, name: &str) -> Vec<&'a str> {
    let container = containers(spec).find(|container| container.name == name);
    let all = container
        .into_iter()
        .flat_map(|container| container.volume_mounts.iter().flatten());
    all.map(|mount| mount.name.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(budget("plan_pods", 512)))]

    #[test]
    fn no_pod_is_weaker_than_restricted(task in any_task(), constitution in any_constitution()) {
        let pod = build(&task, &constitution);
        let spec = pod.spec.as_ref().unwrap();
        prop_assert_eq!(weaknesses(spec), Vec::<String>::new());
        // The user's image runs in one container only, which has neither token nor key nor prompt.
        let runtime = mounts(spec, "runtime");
        prop_assert!(runtime.iter().all(|mount| ["bin", "socket", "scratch"].contains(mount)), "{:?}", runtime);
        for container in containers(spec).filter(|container| container.name != "runtime") {
            prop_assert_eq!(container.image.as_deref(), Some(TRUSTED_IMAGE));
            let first = container.command.as_ref().unwrap().first().unwrap();
            prop_assert_eq!(first.as_str(), "/bin/hive_supervisor");
        }
        let user = |name: &str| containers(spec).find(|it| it.name == name)
            .and_then(|it| it.security_context.as_ref()?.run_as_user);
        prop_assert_eq!(user("supervisor"), Some(SUPERVISOR_UID));
        prop_assert_ne!(user("runtime"), Some(SUPERVISOR_UID));
    }

    #[test]
    fn nothing_a_user_wrote_is_an_argument(task in any_task(), constitution in any_constitution()) {
        let spec = build(&task, &constitution).spec.unwrap();
        for container in containers(&spec) {
            for argument in container.command.iter().flatten().chain(container.args.iter().flatten()) {
                prop_assert!(!argument.contains("evil") && !argument.contains("POD_IP"), "{}", argument);
                // Kubernetes expands $(NAME) and turns $$ into $: no single dollar sign may be left.
                prop_assert!(!argument.replace("$$", "").contains('$'), "{}", argument);
            }
        }
    }

    #[test]
    fn labels_are_ours_and_kueues(task in any_task(), constitution in any_constitution()) {
        let pod = build(&task, &constitution);
        prop_assert_eq!(&pod.labels()[ROLE_LABEL], "runner");
        for key in pod.labels().keys() {
            let is_known = ["axiomhive.io/", "app.kubernetes.io/", "kueue.x-k8s.io/"].iter().any(|it| key.starts_with(it));
            prop_assert!(is_known, "{}", key);
        }
        prop_assert!(pod.name_any().starts_with(PREFIX));
        prop_assert!(pod.name_any().len() <= 63);
    }

    #[test]
    fn no_policy_opens_the_brokers_port_or_the_canary(constitution in any_constitution()) {
        let ledger = settings().ledger;
        let Ok(all) = policies("team", &ledger.pods, &constitution.egress) else {
            // Refused: then a target names the broker's port.
            let text = serde_json::to_string(&constitution.egress).unwrap();
            prop_assert!(text.contains("39128"), "{}", text);
            return Ok(());
        };
        for policy in all {
            let spec = policy.spec.unwrap();
            prop_assert!(spec.ingress.is_none());
            prop_assert_eq!(spec.policy_types.unwrap(), ["Ingress", "Egress"]);
            prop_assert!(spec.pod_selector.unwrap().match_labels.unwrap().contains_key(ROLE_LABEL));
            for rule in spec.egress.unwrap() {
                prop_assert!(rule.to.is_some_and(|to| !to.is_empty()), "a rule to anywhere");
                let ports = rule.ports.unwrap();
                prop_assert!(!ports.is_empty(), "a rule for every port");
                for port in ports {
                    prop_assert!(port.end_port.is_none());
                    let text = serde_json::to_string(&port.port.unwrap()).unwrap();
                    prop_assert_ne!(&text, "39128");
                }
            }
        }
    }
}

#[test]
fn the_runtimes_user_is_its_tasks() {
    let (first, count) = RUNTIME_UIDS;
    assert_eq!(runtime_uid(UID), runtime_uid(UID));
    assert_ne!(runtime_uid(UID), runtime_uid("another"));
    for index in 0..1_000 {
        let uid = runtime_uid(&index.to_string());
        assert!((first..first + count).contains(&uid) && uid <= i64::from(i32::MAX));
    }
}

#[test]
fn a_pod_without_a_process_has_one_container_and_one_token() {
    let task =
        task(json!({"constitutionRef": {"name": "c"}, "prompt": "x", "runtime": {"echo": {}}}));
    let spec = build(&task, &constitution()).spec.unwrap();
    assert!(spec.init_containers.is_none());
    assert_eq!(spec.containers.len(), 1);
    let volumes: Vec<String> = spec
        .volumes
        .unwrap()
        .into_iter()
        .map(|volume| volume.name)
        .collect();
    assert_eq!(volumes, ["token"]);
}

#[test]
fn secrets_are_mounted_key_by_key() {
    let task = task(json!({
        "constitutionRef": {"name": "c"},
        "promptFrom": {"secretKeyRef": {"name": "prompts", "key": "axiomhive-prompt-1"}},
        "runtime": {"openAI": {"baseURL": "https://api.example.com/v1", "model": "m",
            "apiKeySecretRef": {"name": "keys"}}},
    }));
    let spec = build(&task, &constitution()).spec.unwrap();
    let volumes = spec.volumes.unwrap();
    let secret = |name: &str| {
        volumes
            .iter()
            .find(|it| it.name == name)
            .unwrap()
            .secret
            .clone()
            .unwrap()
    };
    let keys = |name: &str| -> Vec<String> {
        secret(name)
            .items
            .unwrap()
            .into_iter()
            .map(|item| item.key)
            .collect()
    };
    assert_eq!(secret("prompt").secret_name.as_deref(), Some("prompts"));
    assert_eq!(keys("prompt"), ["axiomhive-prompt-1"]);
    assert_eq!(
        keys("api-key"),
        ["axiomhive-api-key", "axiomhive-allowed-hosts"]
    );
}

/// Whoever changes what is asked of the supervisor changes `data/pod-commands.json`, and the supervisor,
/// whose own test reads that file, must understand it.
#[test]
fn containers_are_started_with_what_the_supervisor_understands() {
    let process = json!({
        "constitutionRef": {"name": "c"}, "prompt": "x",
        "runtime": {"process": {"image": "i@sha256:00", "command": ["x"]}},
    });
    let from_secrets = json!({
        "constitutionRef": {"name": "c"},
        "promptFrom": {"secretKeyRef": {"name": "prompts", "key": "axiomhive-prompt-1"}},
        "runtime": {"openAI": {"baseURL": "https://api.example.com/v1", "model": "m",
            "apiKeySecretRef": {"name": "keys"}}},
    });
    let constitution = constitution();
    // Another catalogue must not change what this is about.
    let digest = constitution.digest().to_string();
    let any_digest = Digest([0; 32]).to_string();
    let started = [process, from_secrets].map(|spec| {
        let spec = build(&task(spec), &constitution).spec.unwrap();
        let lines = containers(&spec).map(|container| {
            let line = [container.command.clone(), container.args.clone()];
            let line: Vec<String> = line.into_iter().flatten().flatten().collect();
            let line: Vec<String> = line
                .iter()
                .map(|item| item.replace(&digest, &any_digest))
                .collect();
            (container.name.clone(), line)
        });
        lines.collect::<BTreeMap<_, _>>()
    });
    let started = serde_json::to_string_pretty(&started).unwrap();
    let file = include_str!("data/pod-commands.json");
    assert_eq!(
        started,
        file.trim_end(),
        "data/pod-commands.json must be:\n{started}"
    );
}
