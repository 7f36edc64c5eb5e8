//! Where the ledger is, from the service that it is behind.

use k8s_openapi::api::core::v1::Service;

use super::network::LedgerPods;
use super::pod::LedgerEndpoint;

impl LedgerEndpoint {
    /// Behind a service: what its spec says, and how the ledger is known. Says what must hold.
    pub fn behind(service: &Service, (ca, vkey): (String, String)) -> Result<Self, String> {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let namespace = service.metadata.namespace.clone().unwrap_or_default();
        let spec = service.spec.clone().unwrap_or_default();
        let address = spec.cluster_ip.filter(|ip| ip != "None");
        let ports = spec.ports.unwrap_or_default();
        let port = |wanted: &str| {
            let found = ports
                .iter()
                .find(|port| port.name.as_deref() == Some(wanted));
            let port = found.and_then(|port| u16::try_from(port.port).ok());
            port.ok_or_else(|| format!("Service {name} must have a port {wanted}"))
        };
        Ok(Self {
            host: format!("{name}.{namespace}.svc"),
            address: address.ok_or_else(|| format!("Service {name} must have a cluster IP"))?,
            canary_port: port("canary")?,
            pods: LedgerPods {
                namespace,
                labels: spec.selector.unwrap_or_default(),
                port: port("https")?,
            },
            ca,
            vkey,
        })
    }

    /// The log's origin: the name in its key.
    #[must_use]
    pub fn origin(&self) -> String {
        self.vkey.split('+').next().unwrap_or_default().to_owned()
    }
}
