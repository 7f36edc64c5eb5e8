//! Authorities follow each other so that at every moment whatever signs is trusted, and so is whatever
//! signed what is still in use.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use axiom_hive_operator::admission::authority::{Authorities, Leaf, Periods};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

const PERIODS: Periods = Periods {
    authority_seconds: 90_000,
    leaf_seconds: 9_000,
    overlap_seconds: 900,
    check_seconds: 30,
};
const START: i64 = 1_800_000_000;
const NAME: &str = "hook.ns.svc";

fn count(authorities: &Authorities) -> usize {
    authorities.bundle().matches("BEGIN CERTIFICATE").count()
}

fn leaf(authorities: &Authorities, now: i64) -> Leaf {
    let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
    authorities.leaf(&names, now, &PERIODS).unwrap().unwrap()
}

fn trusts(bundle: &str, leaf: &Leaf, name: &str, now: i64) -> bool {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now.unsigned_abs()));
    let checked = verifier
        .build()
        .unwrap()
        .verify_server_cert(&certificate, &[], &name, &[], now);
    checked.is_ok()
}

#[test]
fn the_first_authority_signs_at_once() {
    let none = Authorities::default();
    assert!(
        none.leaf(&[NAME.to_owned()], START, &PERIODS)
            .unwrap()
            .is_none()
    );
    let first = none.advance(START, &PERIODS).unwrap();
    let leaf = leaf(&first, START);
    assert!(trusts(&first.bundle(), &leaf, NAME, START));
    assert!(trusts(&first.bundle(), &leaf, "127.0.0.1", START));
    assert!(!trusts(&first.bundle(), &leaf, "other.ns.svc", START));
    assert!(!trusts(
        &first.bundle(),
        &leaf,
        NAME,
        START + PERIODS.leaf_seconds + 1
    ));
    // Nothing changes without a reason, and what is stored is what was made.
    assert!(first.advance(START + 1, &PERIODS).unwrap() == first);
    assert!(Authorities::parse(&first.to_json().unwrap()).unwrap() == first);
}

#[test]
fn a_leaf_is_replaced_at_half_of_its_life() {
    let first = Authorities::default().advance(START, &PERIODS).unwrap();
    let leaf = leaf(&first, START);
    assert!(!first.is_due(&leaf, START + PERIODS.leaf_seconds / 2 - 1, &PERIODS));
    assert!(first.is_due(&leaf, START + PERIODS.leaf_seconds / 2, &PERIODS));
}

/// API servers and replicas that lag: a bundle as old as the overlap must trust a new certificate, and
/// a new bundle every certificate that is still valid.
#[test]
fn nobody_meets_a_certificate_that_is_not_trusted() {
    let step = 300;
    let mut authorities = Authorities::default();
    let mut bundles: Vec<String> = Vec::new();
    let mut leaves: Vec<(i64, Leaf)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for now in (START..START + 4 * PERIODS.authority_seconds).step_by(step) {
        authorities = authorities.advance(now, &PERIODS).unwrap();
        assert!((1..=3).contains(&count(&authorities)));
        let due = leaves
            .last()
            .is_none_or(|(_, leaf)| authorities.is_due(leaf, now, &PERIODS));
        if due {
            let leaf = leaf(&authorities, now);
            seen.insert(leaf.signer.clone());
            leaves.push((now, leaf));
        }
        bundles.push(authorities.bundle());
        let lag = usize::try_from(PERIODS.overlap_seconds).unwrap() / step;
        let late = &bundles[(bundles.len() - 1).saturating_sub(lag)];
        assert!(
            trusts(late, &leaves.last().unwrap().1, NAME, now),
            "a late bundle at {now}"
        );
        leaves.retain(|(made, _)| now <= made + PERIODS.leaf_seconds);
        for (made, leaf) in &leaves {
            assert!(
                trusts(bundles.last().unwrap(), leaf, NAME, now),
                "one of {made} at {now}"
            );
        }
    }
    assert!(seen.len() >= 5, "only {} authorities signed", seen.len());
}
