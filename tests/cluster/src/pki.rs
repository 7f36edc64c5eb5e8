//! Certificates and kubeconfigs of one cluster.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::{Value, json};

use crate::Error;

/// A certificate with its private key, both PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

/// The certificate authority of one cluster; it lives in a directory as `ca.crt` and `ca.key`.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority and the key that signs service-account tokens (`sa.key`, `sa.pub`).
    pub fn create(directory: &Path) -> Result<Self, Error> {
        fs::create_dir_all(directory).map_err(Error::file(directory))?;
        let key = KeyPair::generate()?;
        let certificate = authority_parameters().self_signed(&key)?.pem();
        write_private(&directory.join("ca.crt"), &certificate)?;
        write_private(&directory.join("ca.key"), &key.serialize_pem())?;
        let tokens = KeyPair::generate()?;
        write_private(&directory.join("sa.key"), &tokens.serialize_pem())?;
        write_private(&directory.join("sa.pub"), &tokens.public_key_pem())?;
        Self::open(directory)
    }

    /// Reads an authority that [`Authority::create`] made.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(Error::file(&path))
        };
        let key = KeyPair::from_pem(&read("ca.key")?)?;
        Ok(Self {
            directory: directory.to_owned(),
            certificate: read("ca.crt")?,
            issuer: Issuer::new(authority_parameters(), key),
        })
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A client certificate: `user` becomes the user's name, `group` a group.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, Error> {
        self.sign(user, group, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A serving certificate for names and addresses.
    pub fn server(
        &self,
        user: &str,
        names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Identity, Error> {
        let mut alternatives = names
            .iter()
            .map(|name| Ok(SanType::DnsName((*name).try_into()?)))
            .collect::<Result<Vec<_>, rcgen::Error>>()?;
        alternatives.extend(addresses.iter().copied().map(SanType::IpAddress));
        self.sign(
            user,
            None,
            alternatives,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// Writes `NAME.crt` and `NAME.key` beside the authority.
    pub(crate) fn write(&self, name: &str, identity: &Identity) -> Result<(), Error> {
        write_private(
            &self.directory.join(format!("{name}.crt")),
            &identity.certificate,
        )?;
        write_private(&self.directory.join(format!("{name}.key")), &identity.key)
    }

    /// Writes `NAME.kubeconfig` beside the authority, for a component or a person.
    pub(crate) fn write_kubeconfig(
        &self,
        name: &str,
        server: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<PathBuf, Error> {
        let path = self.directory.join(format!("{name}.kubeconfig"));
        let text = kubeconfig(
            server,
            &self.certificate,
            &certificate_user(&self.client(user, group)?),
        );
        write_private(&path, &text)?;
        Ok(path)
    }

    fn sign(
        &self,
        user: &str,
        group: Option<&str>,
        alternatives: Vec<SanType>,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, Error> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            parameters
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        parameters.subject_alt_names = alternatives;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Identity {
            certificate: parameters.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }
}

fn authority_parameters() -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters
        .distinguished_name
        .push(DnType::CommonName, "axiom-hive-testcluster");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    parameters
}

/// The `user` of a kubeconfig that shows a client certificate.
pub(crate) fn certificate_user(identity: &Identity) -> Value {
    json!({
        "client-certificate-data": BASE64.encode(&identity.certificate),
        "client-key-data": BASE64.encode(&identity.key),
    })
}

/// A kubeconfig with one cluster and one user, as JSON (which is YAML).
pub(crate) fn kubeconfig(server: &str, authority: &str, user: &Value) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": BASE64.encode(authority)}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    })
    .to_string()
}

pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::file(path))
}
