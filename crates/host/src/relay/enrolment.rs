//! `relay.json` in the state folder: which relay this host is enrolled with, and who it is there.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use couplet_client::relay::{self, Authorities, Identity, TlsUnusable};
use couplet_protocol::relay::CERTIFICATE_SECONDS;
use couplet_protocol::{Code, RelayName};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::start::{self, StartError};

/// The file's name.
pub(crate) const FILE: &str = "relay.json";
const VERSION: u32 = 1;
/// What whoever writes it locks.
pub(crate) const TURN: &str = "relay.lock";

/// An enrolment that can be used.
#[derive(Clone)]
pub(crate) struct Enrolment {
    /// The devices' listener.
    pub(crate) relay: RelayName,
    /// The hosts' listener.
    pub(crate) hosts: RelayName,
    pub(super) host_id: String,
    /// The relay's own CA, in PEM.
    pub(super) ca: String,
    /// This host's certificate, in PEM.
    pub(super) certificate: String,
    /// Its key: PKCS#8 in PEM.
    pub(super) key: Zeroizing<String>,
    /// What the owner trusts the devices' listener by, besides the system's roots; PEM.
    pub(super) relay_ca: Option<String>,
    /// When the certificate ends.
    pub(super) end: Timestamp,
}

/// As it is written.
#[derive(Serialize, Deserialize)]
struct Form {
    version: u32,
    relay: String,
    hosts: String,
    host_id: String,
    ca: String,
    certificate: String,
    #[serde(serialize_with = "write_key", deserialize_with = "read_key")]
    key: Zeroizing<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    relay_ca: Option<String>,
}

fn write_key<S: Serializer>(key: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key)
}

fn read_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl std::fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enrolment").field("relay", &self.relay).field("host_id", &self.host_id).finish_non_exhaustive()
    }
}

impl Enrolment {
    /// One that TLS takes, with a relay that is not there.
    #[cfg(test)]
    pub(super) fn of_test() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let relay = RelayName::parse("localhost:1").unwrap();
        Enrolment {
            hosts: relay.clone(),
            relay,
            host_id: "00000000-0000-0000-0000-000000000000".to_owned(),
            ca: certificate.clone(),
            key: Zeroizing::new(key.serialize_pem()),
            relay_ca: None,
            end: end(&certificate).unwrap(),
            certificate,
        }
    }

    /// Reads the folder's. None: this host is enrolled with no relay.
    ///
    /// # Errors
    /// The file is there and cannot be used.
    pub(crate) fn load(folder: &Path) -> Result<Option<Self>, StartError> {
        let unusable = |why: String| {
            let next = "Restore it from a backup, or enrol anew: couplet enroll TOKEN. To go on without the relay: \
                        --no-relay.";
            StartError::new(Code::StateFolderUnusable, format!("{FILE}: {why}.\n{next}"))
        };
        let text = match std::fs::read_to_string(folder.join(FILE)).map(Zeroizing::new) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(error.to_string())),
        };
        // What serde would say quotes the text.
        let form: Form = serde_json::from_str(&text).map_err(|_| unusable("it is no enrolment".to_owned()))?;
        if form.version != VERSION {
            return Err(unusable(format!("it is of version {}, this one knows {VERSION}", form.version)));
        }
        Self::of(form).map(Some).map_err(|error| unusable(error.to_string()))
    }

    fn of(form: Form) -> Result<Self, TlsUnusable> {
        let name = |text: &str| RelayName::parse(text).ok_or_else(|| TlsUnusable("a name in it is none".to_owned()));
        let enrolment = Enrolment {
            relay: name(&form.relay)?,
            hosts: name(&form.hosts)?,
            host_id: form.host_id,
            end: end(&form.certificate)?,
            ca: form.ca,
            certificate: form.certificate,
            key: form.key,
            relay_ca: form.relay_ca,
        };
        enrolment.hosts_tls().and(enrolment.devices_tls()).map(|_| enrolment)
    }

    /// Writes it (0600), whole or not at all.
    pub(super) fn save(&self, folder: &Path) -> Result<(), StartError> {
        let _turn = turn(folder)?;
        self.write(folder)
    }

    /// The same for a later certificate, unless the owner has enrolled this host anew meanwhile. Whether it was written.
    pub(super) fn save_in_place_of_itself(&self, folder: &Path) -> Result<bool, StartError> {
        let _turn = turn(folder)?;
        let is_same = |there: &Enrolment| there.host_id == self.host_id && there.key == self.key;
        match Enrolment::load(folder) {
            Ok(Some(there)) if is_same(&there) => self.write(folder).map(|()| true),
            Ok(Some(_)) => Ok(false),
            // Lost or broken: what there is here is the better one.
            Ok(None) | Err(_) => self.write(folder).map(|()| true),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), StartError> {
        let form = Form {
            version: VERSION,
            relay: self.relay.to_string(),
            hosts: self.hosts.to_string(),
            host_id: self.host_id.clone(),
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            relay_ca: self.relay_ca.clone(),
        };
        let text = serde_json::to_string_pretty(&form).map(Zeroizing::new).map_err(|error| unwritable(&error))?;
        start::write_private(&folder.join(FILE), &text).map_err(|error| unwritable(&error))
    }

    /// With a certificate that came later.
    pub(super) fn renewed(&self, certificate: String) -> Result<Self, TlsUnusable> {
        let renewed = Enrolment { end: end(&certificate)?, certificate, ..self.clone() };
        renewed.hosts_tls().map(|_| renewed)
    }

    /// When the certificate ends, and when it is to be renewed.
    pub(crate) fn lasts(&self) -> (Timestamp, Timestamp) {
        (self.end, self.renew_at())
    }

    /// The authorities by which the relay is trusted, and when each of their certificates ends.
    pub(crate) fn authorities(&self) -> Vec<(String, Timestamp)> {
        let ca = [("The relay's own CA", Some(&self.ca)), ("The certificate of --relay-ca", self.relay_ca.as_ref())];
        let ends = ca.into_iter().filter_map(|(what, pem)| Some((what.to_owned(), end(pem?).ok()?)));
        ends.collect()
    }

    /// When to ask for the next certificate: after two thirds of its time.
    pub(super) fn renew_at(&self) -> Timestamp {
        self.end.before(Duration::from_secs(CERTIFICATE_SECONDS / 3))
    }

    pub(crate) fn hosts_tls(&self) -> Result<TlsConnector, TlsUnusable> {
        relay::tls(Authorities::Only(&self.ca), Some(Identity { certificate: &self.certificate, key: &self.key }))
    }

    pub(crate) fn devices_tls(&self) -> Result<TlsConnector, TlsUnusable> {
        relay::tls(Authorities::System(self.relay_ca.as_deref()), None)
    }
}

/// Held while the file is looked at and written: by `couplet enroll` and by a host that renews.
fn turn(folder: &Path) -> Result<File, StartError> {
    let open = || {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join(TURN))?;
        file.lock().map(|()| file)
    };
    open().map_err(|error: io::Error| unwritable(&error))
}

fn unwritable(error: &dyn std::error::Error) -> StartError {
    let next = "See that the disk has room and that the folder is yours. The token may be used up: ask the relay's \
                operator for another (couplet relay invite).";
    StartError::new(Code::StateFolderUnusable, format!("{FILE}: {error}.\n{next}"))
}

/// When a certificate ends.
fn end(pem: &str) -> Result<Timestamp, TlsUnusable> {
    let none = || TlsUnusable("its certificate is none".to_owned());
    let certificate = relay::certificates(pem)?.into_iter().next().ok_or_else(none)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).map_err(|_| none())?;
    Ok(Timestamp::from_millis(certificate.validity().not_after.timestamp().saturating_mul(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_prints_no_key() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Enrolment::load(folder.path()).unwrap().is_none());
        let enrolment = Enrolment::of_test();
        enrolment.save(folder.path()).unwrap();
        let read = Enrolment::load(folder.path()).unwrap().unwrap();
        assert_eq!(
            (&read.relay, &read.certificate, &*read.key),
            (&enrolment.relay, &enrolment.certificate, &*enrolment.key)
        );
        assert!(!format!("{read:?}").contains("PRIVATE"));
        for broken in [
            "",
            "{}",
            &std::fs::read_to_string(folder.path().join(FILE)).unwrap().replace("\"version\": 1", "\"version\": 2"),
        ] {
            std::fs::write(folder.path().join(FILE), broken).unwrap();
            let error = Enrolment::load(folder.path()).unwrap_err();
            assert!(error.detail().contains("couplet enroll TOKEN") && !error.detail().contains("PRIVATE"), "{error}");
        }
    }
}
