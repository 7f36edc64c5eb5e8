//! Registers a webhook with the API server.

use kube::Client;

/// Has a webhook asked about the `ConfigMap`s of one namespace, as long as that exists.
pub(crate) async fn register_webhook(
    client: &Client,
    namespace: &str,
    client_config: &serde_json::Value,
) {
    use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
    let owner = kube::Api::<k8s_openapi::api::core::v1::Namespace>::all(client.clone())
        .get(namespace)
        .await
        .unwrap();
    let configuration: ValidatingWebhookConfiguration = serde_json::from_value(serde_json::json!({
        "metadata": {
            "name": namespace,
            // Goes with the namespace.
            "ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": owner.metadata.uid}],
        },
        "webhooks": [{
            "name": "refuse.test.axiom-hive.dev",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "timeoutSeconds": 5,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
            "clientConfig": client_config,
        }],
    }))
    .unwrap();
    kube::Api::all(client.clone())
        .create(&kube::api::PostParams::default(), &configuration)
        .await
        .unwrap();
}
