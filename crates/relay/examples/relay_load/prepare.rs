//! Many hosts in a short time: written into the store that a stopped relay has left, with certificates of its CA. They share
//! a key, which is the same work for who checks it. Besides, a certificate for the peers' listeners.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use couplet_relay::registry::Limits;
use couplet_relay::store::embedded::Embedded;
use couplet_relay::{Clock, HostKey, Registry};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};

/// Enrols them.
pub(crate) async fn run(state: &Path, hosts: u32, folder: &Path) {
    let store = Arc::new(Embedded::open(&state.join("relay.redb")).unwrap());
    let registry = Arc::new(Registry::new(store, Clock::system(), Limits { rooms_per_host: 512 }));
    let read = |name: &str| std::fs::read_to_string(state.join(name)).unwrap();
    let (ca, ca_key) = (read("ca.pem"), KeyPair::from_pem(&read("ca.key")).unwrap());
    let issuer = Issuer::from_ca_cert_pem(&ca, ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut certificates = String::new();
    for n in 0..hosts {
        let invitation = registry.invite(Duration::from_secs(60)).await.unwrap();
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&n.to_be_bytes());
        let host = registry.redeem(&invitation, HostKey::new(hash)).await.unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(format!("couplet:host:{host}").try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        certificates += &params.signed_by(&key, &issuer).unwrap().pem();
    }
    let server_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = params.signed_by(&server_key, &issuer).unwrap().pem();
    let both = server.clone() + &server_key.serialize_pem();
    for (name, text) in [
        ("ca.pem", ca),
        ("hosts.pem", certificates),
        ("hosts.key", key.serialize_pem()),
        ("server.pem", server),
        ("server.key", server_key.serialize_pem()),
        // As haproxy takes them.
        ("both.pem", both),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}
