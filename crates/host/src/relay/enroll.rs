//! Enrolment: a host makes a key, shows the relay its operator's token, and is given a certificate; later ones it gets
//! by its key alone (spec/protocol.md, 6).

use std::path::Path;

use aws_lc_rs::digest;
use couplet_client::relay::{self, Authorities, RelayFailure, SKEW, TlsUnusable, certificates};
use couplet_protocol::relay::{EnrollRequest, Enrolled as Answered};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{Code, EnrollmentToken, RelayName};
use http::{Method, StatusCode};
use rcgen::{CertificateParams, KeyPair};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::dial::{self, connect, refusal};
use super::enrolment::Enrolment;
use crate::clock::Timestamp;
use crate::start::{self, StartError};

/// What enrolling came to.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The relay's name, `name[:port]`: what devices use.
    pub relay: RelayName,
    /// Who this host is at the relay.
    pub host_id: String,
    /// The relay that this host was enrolled with before.
    pub before: Option<RelayName>,
    /// How many seconds the relay's clock is ahead of this one, when that is worth a word.
    pub clock_ahead: Option<i64>,
    /// Whether a host runs on the folder; it uses the relay from its next start.
    pub running: bool,
}

/// Enrols the host of this state folder with the relay of an enrolment token, and writes `relay.json`. `relay_ca` is a PEM
/// file with what to trust the relay by besides the system's roots. Needs a Tokio runtime.
///
/// # Errors
/// Says what stands in the way and what to do.
pub async fn enroll(state_dir: &Path, token: &str, relay_ca: Option<&Path>) -> Result<Enrolled, StartError> {
    let parsed = EnrollmentToken::parse(token).map_err(|error| {
        let next = format!("{error}.\nThe relay's operator makes one: couplet relay invite.");
        StartError::new(Code::EnrollmentInvalid, next)
    })?;
    let running = start::prepare(state_dir)?;
    let relay_ca = relay_ca.map(read_ca).transpose()?;
    // One that cannot be read is replaced all the same.
    let before = Enrolment::load(state_dir).ok().flatten();
    // Who has the same key is the same host there, and keeps its rooms: by another the devices would not be found.
    let known = before.as_ref().filter(|it| it.relay == parsed.relay).map(|it| it.key.clone());
    let tls = relay::tls(Authorities::System(relay_ca.as_deref()), None);
    let tls = tls.map_err(|error| StartError::new(Code::ConfigInvalid, error.0))?;
    let token = SecretText::new(token.trim().to_owned());
    let failed = |failure: RelayFailure| StartError::new(failure.code(), failure.detail(&parsed.relay));
    let mut key = known.clone().map_or_else(new_key, Ok)?;
    let mut asked = redeem(&parsed.relay, &tls, &token, &key).await;
    if known.is_some() && asked.as_ref().is_err_and(|failure| failure.code() == Code::HostRevoked) {
        key = new_key()?;
        asked = redeem(&parsed.relay, &tls, &token, &key).await;
    }
    let (answer, ahead) = asked.map_err(failed)?;
    let enrolment = check(&parsed, answer, key, relay_ca)?;
    enrolment.save(state_dir)?;
    let clock_ahead = ahead.filter(|ahead| ahead.abs() > SKEW);
    let before = before.map(|enrolment| enrolment.relay);
    Ok(Enrolled { relay: enrolment.relay, host_id: enrolment.host_id, before, clock_ahead, running })
}

fn new_key() -> Result<Zeroizing<String>, StartError> {
    let key = KeyPair::generate().map_err(|error| StartError::new(Code::Internal, error.to_string()))?;
    Ok(Zeroizing::new(key.serialize_pem()))
}

/// Shows the token. Where the answer does not arrive the token may be used: the same key may show it once more.
async fn redeem(
    relay: &RelayName,
    tls: &TlsConnector,
    token: &SecretText,
    key: &str,
) -> Result<(Answered, Option<i64>), RelayFailure> {
    match ask(relay, tls, Some(token.clone()), key).await {
        Err(failure) if failure.code() == Code::RelayUnreachable => {
            ask(relay, tls, Some(token.clone()), key).await.map_err(|again| match again.code() {
                // The first failure says what stands in the way.
                Code::RelayUnreachable => failure,
                _ => again,
            })
        }
        answered => answered,
    }
}

/// Asks for the next certificate, by the key alone.
pub(super) async fn renew(enrolment: &Enrolment) -> Result<Enrolment, RelayFailure> {
    let unusable = |error: TlsUnusable| RelayFailure::new(Code::RelayBroken, error.0);
    let tls = enrolment.devices_tls().map_err(unusable)?;
    let (answer, ahead) = ask(&enrolment.relay, &tls, None, &enrolment.key).await?;
    if let Some(ahead) = ahead.filter(|ahead| ahead.abs() > SKEW) {
        tracing::warn!(target: "couplet::relay", ahead, "the relay's clock and this one's differ by so many seconds");
    }
    enrolment.renewed(answer.certificate).map_err(unusable)
}

async fn ask(
    relay: &RelayName,
    tls: &TlsConnector,
    token: Option<SecretText>,
    key: &str,
) -> Result<(Answered, Option<i64>), RelayFailure> {
    let request = || {
        let key = KeyPair::from_pem(key)?;
        CertificateParams::default().serialize_request(&key)?.pem()
    };
    let csr = request().map_err(|error: rcgen::Error| RelayFailure::new(Code::Internal, error.to_string()))?;
    let body = EnrollRequest { token, csr };
    let answer = dial::ask(&mut connect(tls, relay).await?, Method::POST, "/enroll", Some(&body)).await?;
    if answer.status != StatusCode::OK {
        return Err(refusal(&answer));
    }
    let enrolled = serde_json::from_slice(answer.body.as_deref().unwrap_or_default());
    Ok((enrolled.map_err(|_| RelayFailure::broken("its body is no enrolment"))?, answer.ahead()))
}

/// Goes on only with the CA that the token names.
fn check(
    token: &EnrollmentToken,
    answer: Answered,
    key: Zeroizing<String>,
    relay_ca: Option<String>,
) -> Result<Enrolment, StartError> {
    let broken = |what: &str| StartError::new(Code::RelayBroken, format!("{what}\nNothing was written."));
    let ca = certificates(&answer.ca).map_err(|_| broken("Its CA is no certificate."))?;
    let is_named = |der: &[u8]| digest::digest(&digest::SHA256, der).as_ref() == token.ca;
    if ca.len() != 1 || !is_named(&ca[0]) {
        let next = "Its CA is not the one that the token names: something between this host and the relay answers in its \
                    place, or the relay's state was replaced. Ask its operator for a new token.\nNothing was written.";
        return Err(StartError::new(Code::RelayUntrusted, next));
    }
    let hosts = answer.hosts_url.strip_prefix("https://").and_then(RelayName::parse);
    // The token is the operator's word; the answer may only repeat it.
    if hosts.as_ref() != Some(&token.hosts) {
        return Err(broken("It names another hosts' listener than the token does."));
    }
    let form = Enrolment {
        relay: token.relay.clone(),
        hosts: token.hosts.clone(),
        host_id: answer.host_id,
        ca: answer.ca,
        certificate: String::new(),
        key,
        relay_ca,
        end: Timestamp::from_millis(0),
    };
    form.renewed(answer.certificate).map_err(|error| broken(&format!("Its certificate cannot be used: {error}.")))
}

/// The file of `--relay-ca`.
fn read_ca(path: &Path) -> Result<String, StartError> {
    let wrong = |error: String| {
        let next = format!("--relay-ca {}: {error}. Name a file with certificates in PEM.", path.display());
        StartError::new(Code::ConfigInvalid, next)
    };
    let pem = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    certificates(&pem).map_err(|error| wrong(error.to_string()))?;
    Ok(pem)
}
