//! The relay's own certificate authority: it names hosts to the hosts' listener, and that listener to hosts. Made once,
//! kept in the state folder.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::digest;
use couplet_protocol::RelayName;
use couplet_protocol::relay::{CERTIFICATE_SECONDS, HOST_URI};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use crate::host::{HostId, HostKey};
use crate::state::{read_private, write_file};

const KEY: &str = "ca.key";
/// The CA's certificate in the state folder, for those who are to trust it.
pub(crate) const CERTIFICATE: &str = "ca.pem";
/// How long the CA is good for. Hosts pin it, so it outlives what they are.
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long the listeners' certificates are good for; they are renewed long before.
const SERVER_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// A clock may be behind by so much and certificates are valid nevertheless.
const SKEW: Duration = Duration::from_secs(86_400);

/// The request is no usable certificate signing request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate signing request")]
pub(crate) struct NotARequest;

/// A host's request for a certificate; its signature was checked.
pub(crate) struct Request(rcgen::PublicKey);

impl Request {
    /// Reads PEM. Only the key counts: names and extensions are the relay's to give.
    pub(crate) fn parse(pem: &str) -> Result<Self, NotARequest> {
        // The reader takes PEM of any name.
        if !pem.trim_start().starts_with("-----BEGIN CERTIFICATE REQUEST-----") {
            return Err(NotARequest);
        }
        let request = CertificateSigningRequestParams::from_pem(pem).map_err(|_| NotARequest)?;
        Ok(Request(request.public_key))
    }

    /// By what the host is known again.
    pub(crate) fn key(&self) -> HostKey {
        HostKey::new(sha_256(&self.0.subject_public_key_info()))
    }
}

/// The authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// Reads the one in the folder, or makes it. One that cannot be read is never replaced here: every host would have
    /// to enrol anew.
    pub(crate) fn open(folder: &Path, now: Timestamp) -> io::Result<Self> {
        let (key, pem) = (read_private(&folder.join(KEY))?, read_private(&folder.join(CERTIFICATE))?);
        let (key, pem) = match (key, pem) {
            (Some(key), Some(pem)) => (key, pem),
            (Some(key), None) => {
                let pem = certify(&key, now).map_err(unusable)?;
                write_file(&folder.join(CERTIFICATE), &pem, 0o644)?;
                (key, pem.into())
            }
            (None, Some(_)) => {
                let why = "ca.pem is there without ca.key: restore the key from a backup, or remove both and let \
                           every host enrol anew";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            (None, None) => {
                let key = zeroize::Zeroizing::new(KeyPair::generate().map_err(unusable)?.serialize_pem());
                write_file(&folder.join(KEY), &key, 0o600)?;
                let pem = certify(&key, now).map_err(unusable)?;
                write_file(&folder.join(CERTIFICATE), &pem, 0o644)?;
                (key, pem.into())
            }
        };
        Self::read(&key, &pem).ok_or_else(|| {
            let why = "ca.key and ca.pem cannot be read: restore both from a backup. Without them every host must \
                       enrol anew: then delete both, and the next start makes new ones";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }

    fn read(key: &str, pem: &str) -> Option<Self> {
        let key = KeyPair::from_pem(key).ok()?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        // Of another key it would sign what nobody can verify.
        if certificate.public_key().raw != key.subject_public_key_info() {
            return None;
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).ok()?;
        Some(Authority { issuer, pem: pem.to_owned(), der: der.into_owned() })
    }

    /// The CA's certificate, in PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// What hosts pin: SHA-256 of the CA's certificate (DER).
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        sha_256(&self.der)
    }

    /// A host's certificate, in PEM.
    pub(crate) fn certify_host(&self, request: &Request, host: HostId, now: Timestamp) -> Result<String, rcgen::Error> {
        let mut params = params("Couplet host", now, Duration::from_secs(CERTIFICATE_SECONDS))?;
        params.subject_alt_names = vec![SanType::URI(format!("{HOST_URI}{host}").try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Ok(params.signed_by(&request.0, &self.issuer)?.pem())
    }

    /// A new certificate of one of the relay's listeners, with its key.
    pub(crate) fn certify_listener(
        &self,
        names: &[&RelayName],
        apps: Option<&str>,
        now: Timestamp,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), rcgen::Error> {
        let mut params = params("Couplet relay", now, SERVER_LIFE)?;
        let mut hosts: Vec<&str> = names.iter().map(|name| host_of(name)).collect();
        hosts.extend(["localhost", "127.0.0.1", "::1"]);
        let every_app = apps.map(|domain| format!("*.{domain}"));
        hosts.extend(every_app.as_deref());
        hosts.dedup();
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(host.try_into()?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![certificate.der().clone(), self.der.clone()], key.into()))
    }
}

/// Which host a certificate of the hosts' listener's peer names, and when it ends. That it is the CA's was checked by
/// TLS.
pub(crate) fn host_in(certificate: &CertificateDer<'_>) -> Option<(HostId, Timestamp)> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
    let names = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    })?;
    let mut hosts = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => uri.strip_prefix(HOST_URI).and_then(HostId::parse),
        _ => None,
    });
    let host = hosts.next()?;
    hosts.next().is_none().then_some((host, end))
}

/// The name or address without the port.
pub(crate) fn host_of(name: &RelayName) -> &str {
    name.as_str().split(':').next().unwrap_or_default()
}

fn certify(key: &str, now: Timestamp) -> Result<String, rcgen::Error> {
    let key = KeyPair::from_pem(key)?;
    let mut params = params("Couplet relay CA", now, CA_LIFE)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(&key)?.pem())
}

fn params(name: &str, now: Timestamp, life: Duration) -> Result<CertificateParams, rcgen::Error> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive, and never shorter than it looks (RFC 5280, 4.1.2.2).
    serial[0] = (serial[0] & 0x7f) | 0x40;
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(now.as_second()).unwrap_or_default());
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (now - SKEW, now + life);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn unusable(error: rcgen::Error) -> io::Error {
    io::Error::other(error.to_string())
}

fn sha_256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: &KeyPair) -> String {
        CertificateParams::default().serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn the_authority_stays_and_names_a_host_whatever_its_request_says() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        let first = Authority::open(folder.path(), now).unwrap();
        let again = Authority::open(folder.path(), now).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        let key = KeyPair::generate().unwrap();
        let mut asked = CertificateParams::new(vec!["relay.example".to_owned()]).unwrap();
        asked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let asked = asked.serialize_request(&key).unwrap().pem().unwrap();
        let (asked, host) = (Request::parse(&asked).unwrap(), HostId::random());
        assert_eq!(asked.key(), Request::parse(&request(&key)).unwrap().key());
        let pem = again.certify_host(&asked, host, now).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (named, end) = host_in(&der).unwrap();
        assert_eq!(named, host);
        assert_eq!(end.as_second(), now.as_second() + i64::try_from(CERTIFICATE_SECONDS).unwrap());
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        assert!(!parsed.is_ca());
        assert!(!format!("{parsed:?}").contains("relay.example"), "the host names nothing");
        assert!(host_in(first.der()).is_none(), "the CA is no host");
    }

    #[test]
    fn a_request_that_is_changed_or_none_is_refused() {
        let pem = request(&KeyPair::generate().unwrap());
        let other = request(&KeyPair::generate().unwrap());
        let lines: Vec<&str> = pem.lines().collect();
        let others: Vec<&str> = other.lines().collect();
        // The other one's signature.
        let mixed = [&lines[..lines.len() - 2], &others[others.len() - 2..]].concat().join("\n");
        for bad in ["", "x", &mixed, &pem.replace("REQUEST", "REQUESTS")] {
            assert_eq!(Request::parse(bad).err(), Some(NotARequest), "{bad}");
        }
    }

    #[test]
    fn a_key_that_is_broken_or_lost_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path(), Timestamp::now()).unwrap();
        let key = std::fs::read_to_string(folder.path().join(KEY)).unwrap();
        for broken in ["", "not PEM", &KeyPair::generate().unwrap().serialize_pem()] {
            std::fs::write(folder.path().join(KEY), broken).unwrap();
            assert!(Authority::open(folder.path(), Timestamp::now()).is_err());
            assert_eq!(std::fs::read_to_string(folder.path().join(KEY)).unwrap(), broken);
        }
        std::fs::remove_file(folder.path().join(KEY)).unwrap();
        assert!(Authority::open(folder.path(), Timestamp::now()).is_err());
        std::fs::write(folder.path().join(KEY), key).unwrap();
        assert!(Authority::open(folder.path(), Timestamp::now()).is_ok());
    }
}
