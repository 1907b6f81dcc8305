//! The hosts' listener, up to where a host would show its certificate.

use std::time::Duration;

use couplet_client::{RelayFailure, relay};
use couplet_protocol::{Code, RelayName};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{AlertDescription, Error};

use super::{Report, Tls, beneath, connect, millis};
use crate::failure::{Exit, Failure};

/// How long that word may take: the way there and back, and little more.
const WORD: Duration = Duration::from_secs(3);
/// The next step where it is something else.
const PORT: &str = "Is this the hosts' port of the relay (`couplet relay serve` says where it is)? Nothing on the way may \
                    open TLS.";

/// Goes there. `has_ca`: whether the relay's own CA may be among those that count.
pub(super) async fn steps(
    name: &RelayName,
    tls: &TlsConnector,
    has_ca: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let said = |_| Failure::said(Exit::Failure);
    let addresses = relay::lookup(name).await.map_err(|failure| {
        beneath(&failure, "Is the hosts' name spelt right, and does the DNS have an A or AAAA record for it?")
    })?;
    let (stream, at, took) = connect(name, &addresses).await?;
    report.ok("hosts' port", &format!("{at} in {}", millis(took))).map_err(said)?;
    let found = match relay::secure(tls, name, stream).await {
        Ok(stream) => {
            asks(stream).await?;
            "trusted, and asks for the host's"
        }
        // Each host knows the CA by its enrolment token; who has none cannot tell.
        Err(failure) if failure.code() == Code::RelayUntrusted && !has_ca => "there; whose, --relay-ca would tell",
        Err(failure) if failure.code() == Code::RelayUntrusted => {
            let next =
                "Its CA is ca.pem in the relay's state folder; --relay-ca takes several certificates in one file.";
            return Err(beneath(&failure, next));
        }
        Err(failure) if failure.code() == Code::RelayUnreachable => return Err(beneath(&failure, PORT)),
        Err(failure) => return Err(Failure::of(failure.code(), failure.detail(name))),
    };
    report.ok("hosts' TLS", found).map_err(said)
}

/// Whether it wants a certificate. It says so when there is none, behind the handshake (RFC 8446, 4.4.2.4); nothing is sent
/// meanwhile, for which it could reset the connection.
async fn asks(mut stream: Tls) -> Result<(), Failure> {
    let wants = |error: &std::io::Error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        matches!(inner, Some(Error::AlertReceived(AlertDescription::CertificateRequired)))
    };
    match timeout(WORD, stream.read(&mut [0; 1])).await {
        Ok(Err(error)) if wants(&error) => Ok(()),
        _ => Err(beneath(&RelayFailure::broken("it asks for no certificate"), PORT)),
    }
}
