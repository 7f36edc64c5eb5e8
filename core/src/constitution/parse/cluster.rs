//! `[egress]` and `[cluster]`.

use std::collections::BTreeMap;

use crate::constitution::model::{
    ClusterPolicy, Containment, EgressPolicy, EgressTarget, ServiceTarget, TaintEffect,
    TolerationRule, UserNamespaces,
};
use crate::constitution::reader::{Reader, Section, TextOrTable};

const TARGET_KEYS: &[&str] = &["host", "cidr", "port", "service"];
const SERVICE_KEYS: &[&str] = &["namespace", "name", "port", "target_port", "pod_labels"];
const CLUSTER_KEYS: &[&str] = &[
    "containment",
    "user_namespaces",
    "images",
    "require_image_digest",
    "max_cpu_millis",
    "max_memory_mib",
    "max_ephemeral_storage_mib",
    "max_extended_resources",
    "max_retry_limit",
    "priority_classes",
    "node_selector",
    "tolerations",
    "image_pull_secrets",
];
const TOLERATION_KEYS: &[&str] = &["key", "value", "effect"];
const EFFECTS: &[(&str, TaintEffect)] = &[
    ("NoSchedule", TaintEffect::NoSchedule),
    ("PreferNoSchedule", TaintEffect::PreferNoSchedule),
    ("NoExecute", TaintEffect::NoExecute),
];

#[derive(Clone, Copy)]
enum ContainmentKind {
    Strict,
    NoNetwork,
    Sandboxed,
}

const CONTAINMENT_KINDS: &[(&str, ContainmentKind)] = &[
    ("strict", ContainmentKind::Strict),
    ("no_network", ContainmentKind::NoNetwork),
    ("sandboxed", ContainmentKind::Sandboxed),
];

pub(super) fn read_egress(reader: &mut Reader, root: &Section<'_, '_>) -> EgressPolicy {
    let section = reader.section(root, "egress", &["allow"]);
    let mut allow = Vec::new();
    for (index, table) in reader
        .tables(&section, "allow", TARGET_KEYS)
        .iter()
        .enumerate()
    {
        let target = read_target(reader, table);
        if target.is_none() {
            reader.report_broken(
                &format!("egress.allow[{index}]"),
                "must have exactly one of host (with port), cidr (with port) and service",
            );
        }
        // A placeholder keeps the places of those that follow.
        allow.push(target.unwrap_or(EgressTarget::Host {
            host: String::new(),
            port: 0,
        }));
    }
    EgressPolicy { allow }
}

/// The target; `None` if the table does not name exactly one.
fn read_target(reader: &mut Reader, table: &Section<'_, '_>) -> Option<EgressTarget> {
    let has = |key: &str| table.keys().contains(&key);
    let target = match (has("host"), has("cidr"), has("service")) {
        (true, false, false) => EgressTarget::Host {
            host: reader.required_string(table, "host"),
            port: required_port(reader, table),
        },
        (false, true, false) => EgressTarget::Cidr {
            cidr: reader.required_string(table, "cidr"),
            port: required_port(reader, table),
        },
        (false, false, true) if !has("port") => {
            let service = reader.section(table, "service", SERVICE_KEYS);
            let labels = reader.open_section(&service, "pod_labels");
            EgressTarget::Service {
                service: ServiceTarget {
                    namespace: reader.required_string(&service, "namespace"),
                    name: reader.required_string(&service, "name"),
                    port: required_port(reader, &service),
                    target_port: reader.port(&service, "target_port"),
                    pod_labels: read_map(&labels, |key| reader.string(&labels, key)),
                },
            }
        }
        _ => return None,
    };
    Some(target)
}

fn required_port(reader: &mut Reader, table: &Section<'_, '_>) -> u16 {
    let port = reader.port(table, "port");
    reader.require(table, "port", port.is_some());
    port.unwrap_or_default()
}

fn read_map<T>(
    table: &Section<'_, '_>,
    mut read: impl FnMut(&str) -> Option<T>,
) -> BTreeMap<String, T> {
    let keys = table.keys().into_iter();
    keys.filter_map(|key| Some((key.to_owned(), read(key)?)))
        .collect()
}

pub(super) fn read_cluster(reader: &mut Reader, root: &Section<'_, '_>) -> ClusterPolicy {
    let section = reader.section(root, "cluster", CLUSTER_KEYS);
    let mut policy = ClusterPolicy::default();
    let integers = [
        ("max_cpu_millis", &mut policy.max_cpu_millis),
        ("max_memory_mib", &mut policy.max_memory_mib),
        (
            "max_ephemeral_storage_mib",
            &mut policy.max_ephemeral_storage_mib,
        ),
        ("max_retry_limit", &mut policy.max_retry_limit),
    ];
    for (key, field) in integers {
        *field = reader.integer(&section, key).unwrap_or(*field);
    }
    policy.containment = read_containment(reader, &section).unwrap_or_default();
    let user_namespaces = [
        ("off", UserNamespaces::Off),
        ("required", UserNamespaces::Required),
    ];
    policy.user_namespaces = reader
        .one_of(&section, "user_namespaces", &user_namespaces)
        .unwrap_or_default();
    policy.images = reader.strings(&section, "images");
    policy.require_image_digest = reader.boolean(
        &section,
        "require_image_digest",
        policy.require_image_digest,
    );
    policy.priority_classes = reader.strings(&section, "priority_classes");
    policy.image_pull_secrets = reader.strings(&section, "image_pull_secrets");
    let resources = reader.open_section(&section, "max_extended_resources");
    policy.max_extended_resources = read_map(&resources, |key| reader.integer(&resources, key));
    let labels = reader.open_section(&section, "node_selector");
    policy.node_selector = read_map(&labels, |key| Some(reader.strings(&labels, key)));
    for table in reader.tables(&section, "tolerations", TOLERATION_KEYS) {
        policy.tolerations.push(TolerationRule {
            key: reader.required_string(&table, "key"),
            value: reader.string(&table, "value"),
            effect: reader.one_of(&table, "effect", EFFECTS),
        });
    }
    policy
}

fn read_containment(reader: &mut Reader, section: &Section<'_, '_>) -> Option<Containment> {
    let path = section.path_of("containment");
    let (kind, table) = match reader.text_or_table(section, "containment")? {
        TextOrTable::Text(text) => (reader.name(&path, text, CONTAINMENT_KINDS)?, None),
        TextOrTable::Table(table) => {
            let kind = reader.required_one_of(&table, "kind", CONTAINMENT_KINDS)?;
            (kind, Some(table))
        }
    };
    match (kind, table) {
        (ContainmentKind::Sandboxed, Some(table)) => {
            reader.check_keys(&table, &["kind", "runtime_class_name"]);
            Some(Containment::Sandboxed {
                runtime_class_name: reader.required_string(&table, "runtime_class_name"),
            })
        }
        (ContainmentKind::Sandboxed, None) => {
            reader.report_broken(
                &path,
                "must be a table for this kind: \
                 { kind = \"sandboxed\", runtime_class_name = \"…\" }",
            );
            None
        }
        (kind, table) => {
            if let Some(table) = table {
                reader.check_keys(&table, &["kind"]);
            }
            Some(match kind {
                ContainmentKind::NoNetwork => Containment::NoNetwork,
                _ => Containment::Strict,
            })
        }
    }
}
