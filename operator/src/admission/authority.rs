//! A certificate authority of our own and how it is followed by the next one. The clock is passed in.
//!
//! | age of the newest authority | what happens |
//! |---|---|
//! | 0 | it is published beside the older one, which still signs |
//! | `overlap_seconds` | it signs: every API server has read the bundle by now |
//! | `overlap_seconds` + `leaf_seconds` | the older one is dropped: nothing that it signed is valid any more |
//! | 2/3 of `authority_seconds` | the next one is made |
//!
//! Its private key is in a Secret. The ledger's serving certificate is in that Secret too, since another
//! process serves with it; the webhook's never leaves its process.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};

/// Upper bound of the authorities that are published at once.
const MAX_AUTHORITIES: usize = 3;
/// How far the clocks of a cluster may be apart.
const SKEW_SECONDS: i64 = 300;

/// How long certificates live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    /// Validity of an authority; the next one comes at two thirds of it.
    pub authority_seconds: i64,
    /// Validity of a serving certificate; the next one comes at half of it.
    pub leaf_seconds: i64,
    /// How long an authority is published before it signs.
    pub overlap_seconds: i64,
    /// How often all of this is looked at.
    pub check_seconds: u32,
}

impl Default for Periods {
    fn default() -> Self {
        Self {
            authority_seconds: 365 * 24 * 3600,
            leaf_seconds: 7 * 24 * 3600,
            overlap_seconds: 3600,
            check_seconds: 30,
        }
    }
}

/// Why a certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The Secret holds something else.
    #[error("the stored certificate authorities must be readable: {0}")]
    Stored(#[from] serde_json::Error),
    /// The library refuses.
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// One authority.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Authority {
    /// PEM.
    certificate: String,
    /// PKCS#8 as PEM: a secret.
    key: String,
    /// When it was made, in seconds since 1970.
    created_seconds: i64,
    /// When it ends, in seconds since 1970.
    end_seconds: i64,
}

/// Every authority that is published, the oldest first.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Authorities(Vec<Authority>);

/// A serving certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaf {
    /// PEM.
    pub certificate: String,
    /// PKCS#8 as PEM: a secret.
    pub key: String,
    /// The authority that signed it, as PEM.
    pub signer: String,
    /// When the next one is due, in seconds since 1970.
    pub renew_seconds: i64,
}

impl Authorities {
    /// Reads what [`Authorities::to_json`] wrote.
    pub fn parse(json: &[u8]) -> Result<Self, AuthorityError> {
        Ok(serde_json::from_slice(json)?)
    }

    /// For the Secret.
    pub fn to_json(&self) -> Result<Vec<u8>, AuthorityError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// What API servers must trust: PEM, one certificate after the other.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.0.iter().map(|it| it.certificate.as_str()).collect()
    }

    /// What shall be published now; equal to `self` where nothing changes.
    pub fn advance(&self, now_seconds: i64, periods: &Periods) -> Result<Self, AuthorityError> {
        let mut all = self.0.clone();
        all.retain(|it| it.end_seconds > now_seconds);
        let retired = periods.overlap_seconds + periods.leaf_seconds;
        let is_retired = |by: &Authority| by.created_seconds + retired <= now_seconds;
        if let Some(last) = all.iter().rposition(is_retired) {
            all.drain(..last);
        }
        let due = all.last().is_none_or(|newest| {
            newest.created_seconds + periods.authority_seconds / 3 * 2 <= now_seconds
        });
        if due && all.len() < MAX_AUTHORITIES {
            all.push(Authority::make(now_seconds, periods)?);
        }
        Ok(Self(all))
    }

    /// The authority that signs now.
    fn signer(&self, now_seconds: i64, periods: &Periods) -> Option<&Authority> {
        let is_known =
            |it: &&Authority| it.created_seconds + periods.overlap_seconds <= now_seconds;
        self.0.iter().rfind(is_known).or(self.0.first())
    }

    /// Whether a serving certificate must be replaced.
    #[must_use]
    pub fn is_due(&self, leaf: &Leaf, now_seconds: i64, periods: &Periods) -> bool {
        leaf.renew_seconds <= now_seconds
            || self
                .signer(now_seconds, periods)
                .is_some_and(|signer| signer.certificate != leaf.signer)
    }

    /// A serving certificate for names and addresses; `None` where there is no authority.
    pub fn leaf(
        &self,
        names: &[String],
        now_seconds: i64,
        periods: &Periods,
    ) -> Result<Option<Leaf>, AuthorityError> {
        let signer = self.signer(now_seconds, periods);
        signer
            .map(|it| it.leaf(names, now_seconds, periods))
            .transpose()
    }
}

impl Authority {
    fn make(now_seconds: i64, periods: &Periods) -> Result<Self, AuthorityError> {
        let end_seconds = now_seconds + periods.authority_seconds;
        let key = KeyPair::generate()?;
        let certificate = authority(now_seconds, end_seconds).self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            created_seconds: now_seconds,
            end_seconds,
        })
    }

    fn leaf(
        &self,
        names: &[String],
        now_seconds: i64,
        periods: &Periods,
    ) -> Result<Leaf, AuthorityError> {
        let own = authority(self.created_seconds, self.end_seconds);
        let issuer = Issuer::new(own, KeyPair::from_pem(&self.key)?);
        let end = self.end_seconds.min(now_seconds + periods.leaf_seconds);
        let mut parameters = parameters(now_seconds, end);
        let alternatives = names.iter().map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        });
        parameters.subject_alt_names = alternatives.collect::<Result<_, rcgen::Error>>()?;
        parameters
            .distinguished_name
            .push(DnType::CommonName, "axiom-hive");
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok(Leaf {
            certificate: parameters.signed_by(&key, &issuer)?.pem(),
            key: key.serialize_pem(),
            signer: self.certificate.clone(),
            renew_seconds: now_seconds + periods.leaf_seconds / 2,
        })
    }
}

/// What stands in an authority's certificate: a function of its times, so that it need not be parsed.
fn authority(created_seconds: i64, end_seconds: i64) -> CertificateParams {
    let mut parameters = parameters(created_seconds, end_seconds);
    // Two authorities must not be taken for one.
    let name = format!("axiom-hive-{created_seconds}");
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters
}

fn parameters(from_seconds: i64, end_seconds: i64) -> CertificateParams {
    let at = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs());
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.not_before = at(from_seconds - SKEW_SECONDS).into();
    parameters.not_after = at(end_seconds).into();
    parameters
}
