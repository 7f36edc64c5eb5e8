//! Valid `[egress]` and `[cluster]`.

use axiom_hive_core::constitution::{
    ClusterPolicy, Containment, EgressPolicy, EgressTarget, ServiceTarget, TaintEffect,
    TolerationRule, UserNamespaces,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![1..39_128_u16, 39_129..=u16::MAX]
}

fn any_target() -> impl Strategy<Value = EgressTarget> {
    let host = "[a-z]{1,8}(\\.[a-z]{2,5}){0,3}";
    let network = prop_oneof![
        (0..=32_u32, any::<u32>()).prop_map(|(length, bits)| {
            let kept = bits.checked_shr(32 - length).unwrap_or_default();
            let network = kept.checked_shl(32 - length).unwrap_or_default();
            format!("{}/{length}", std::net::Ipv4Addr::from_bits(network))
        }),
        Just("2001:db8::/32".to_owned()),
    ];
    let service = (
        ("[a-z]{1,9}", "[a-z]{1,9}"),
        (any_port(), option::of(any_port())),
        btree_map(any_label(), "[a-zA-Z0-9]{0,9}", 1..4),
    );
    prop_oneof![
        (host, any_port()).prop_map(|(host, port)| EgressTarget::Host { host, port }),
        (network, any_port()).prop_map(|(cidr, port)| EgressTarget::Cidr { cidr, port }),
        service.prop_map(|((namespace, name), (port, target_port), pod_labels)| {
            EgressTarget::Service {
                service: ServiceTarget {
                    namespace,
                    name,
                    port,
                    target_port,
                    pod_labels,
                },
            }
        }),
    ]
}

fn any_label() -> impl Strategy<Value = String> {
    "([a-z]{1,5}\\.io/)?[a-zA-Z]{1,9}"
}

pub(super) fn any_egress() -> impl Strategy<Value = EgressPolicy> {
    vec(any_target(), 0..4).prop_map(|mut allow| {
        allow.sort();
        allow.dedup();
        EgressPolicy { allow }
    })
}

fn any_containment() -> impl Strategy<Value = Containment> {
    prop_oneof![
        Just(Containment::Strict),
        Just(Containment::NoNetwork),
        "[a-z]{1,9}".prop_map(|runtime_class_name| Containment::Sandboxed { runtime_class_name }),
    ]
}

fn any_toleration() -> impl Strategy<Value = TolerationRule> {
    let effect = select(vec![
        TaintEffect::NoSchedule,
        TaintEffect::PreferNoSchedule,
        TaintEffect::NoExecute,
    ]);
    (any_label(), option::of("[a-z]{0,9}"), option::of(effect))
        .prop_map(|(key, value, effect)| TolerationRule { key, value, effect })
}

pub(super) fn any_cluster() -> impl Strategy<Value = ClusterPolicy> {
    let numbers = (
        select(vec![1_u32, 1000, 256_000]),
        select(vec![16_u32, 4096, 1_048_576]),
        select(vec![1_u32, 1024, 1_048_576]),
        0..=10_u32,
        btree_map("[a-z]{1,9}\\.io/[a-z]{1,9}", 1..=64_u32, 0..3),
    );
    let lists = (
        vec("[a-z]{1,9}\\.io(:5000)?(/[a-z]{1,9}){1,3}(/\\*)?", 0..3),
        vec("[a-z]{1,9}", 0..3),
        btree_map(any_label(), vec("[a-z0-9]{1,9}", 1..4), 0..3),
        vec(any_toleration(), 0..3),
        vec("[a-z]{1,9}", 0..3),
    );
    let modes = (
        any_containment(),
        select(vec![UserNamespaces::Off, UserNamespaces::Required]),
        any::<bool>(),
    );
    (numbers, lists, modes).prop_map(|(numbers, lists, modes)| ClusterPolicy {
        containment: modes.0,
        user_namespaces: modes.1,
        require_image_digest: modes.2,
        images: lists.0,
        max_cpu_millis: numbers.0,
        max_memory_mib: numbers.1,
        max_ephemeral_storage_mib: numbers.2,
        max_retry_limit: numbers.3,
        max_extended_resources: numbers.4,
        priority_classes: lists.1,
        node_selector: lists.2,
        tolerations: lists.3,
        image_pull_secrets: lists.4,
    })
}
