//! Pairing by PIN, the device's side: it asks a host nearby, a person carries a PIN over, and a link comes back
//! with which [`crate::pair_invited()`] goes on. Until there is a session, nothing proves who answers; the check code does then,
//! once the person at the device has confirmed that the host took it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::api::{LinkAnswer, PinPairingAnswer, TypedPin, VerifyPinRequest};
use couplet_protocol::{ClaimToken, Code, MatchNumber, Offer, Pin, Problem};
use http::header::RETRY_AFTER;
use http::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::plain::{self, NoAnswer};
use crate::random::{self, NoRandomness};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// A device's request that waits at a host.
#[derive(Debug)]
pub struct PinPairing {
    at: SocketAddr,
    id: ClaimToken,
    number: MatchNumber,
}

/// What the host answered.
pub enum PinAnswer {
    /// The device may pair by this link, which is for it alone.
    Link(Zeroizing<String>),
    /// The owner has not said anything yet.
    Waits,
}

impl std::fmt::Debug for PinAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PinAnswer::Link(_) => "Link([redacted])",
            PinAnswer::Waits => "Waits",
        })
    }
}

/// Why there is no answer to go on with.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No connection, or it broke off.
    #[error("{at} does not answer ({why})")]
    Unreachable {
        /// Where.
        at: SocketAddr,
        /// What the system says.
        why: String,
    },
    /// Something answers, and it is no Couplet host that pairs by PIN.
    #[error("what answers at {0} is no Couplet host that pairs by PIN")]
    NotCouplet(SocketAddr),
    /// The host says no. Nothing proves that it is the host.
    #[error("{}", .problem.title)]
    Refused {
        /// What it said.
        problem: Box<Problem>,
        /// When it says to come back, in seconds.
        retry_after: Option<u64>,
    },
    /// The PIN is that of a device that pairs without encryption. This one did not ask for that: it was not sent.
    #[error("this PIN is for a device that pairs without encryption")]
    PlainPin,
    /// There are no random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl PinError {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            PinError::Unreachable { .. } => Code::HostUnreachable,
            PinError::NotCouplet(_) => Code::NotCouplet,
            PinError::Refused { problem, .. } => Code::parse(&problem.code).unwrap_or(Code::NotCouplet),
            PinError::PlainPin => Code::PinWrong,
            PinError::NoRandomness(_) => Code::Internal,
        }
    }
}

impl PinPairing {
    /// Asks the host at this address, which shows the PIN to its owner from now on.
    ///
    /// # Errors
    /// See [`PinError`].
    pub async fn ask(at: SocketAddr, name: &str, platform: &str) -> Result<Self, PinError> {
        // Who else speaks from this address is not taken for this device.
        let key = Zeroizing::new(format!("{}{}", random::tag()?, random::tag()?));
        let body = serde_json::json!({ "device_name": name, "platform": platform, "sealed": true,
            "request_key": key.as_str() });
        let answer = send(at, Method::POST, "/mobile/pairing", body.to_string().into()).await?;
        let asked: PinPairingAnswer = read(at, StatusCode::OK, &answer)?;
        Ok(PinPairing { at, id: asked.id, number: asked.match_number })
    }

    /// What this device is to show: the host's owner sees the same beside its request, and beside no other.
    #[must_use]
    pub fn number(&self) -> MatchNumber {
        self.number
    }

    /// Takes the request back: another one from this address need not wait for its end.
    ///
    /// # Errors
    /// See [`PinError`]; what is over already is [`PinError::Refused`].
    pub async fn withdraw(&self) -> Result<(), PinError> {
        let answer =
            send(self.at, Method::DELETE, &format!("/mobile/pairing/{}", self.id.expose()), Bytes::new()).await?;
        if answer.status() == StatusCode::NO_CONTENT { Ok(()) } else { read(self.at, StatusCode::NO_CONTENT, &answer) }
    }

    /// Sends the PIN, or asks without one whether the owner has let this device in.
    ///
    /// # Errors
    /// See [`PinError`]. With [`Code::PinWrong`] there are tries left.
    pub async fn verify(&self, pin: Option<&Pin>) -> Result<PinAnswer, PinError> {
        // Who answers in the host's place may have asked there for a token, which such a PIN would give it.
        if pin.is_some_and(|pin| !pin.is_sealed()) {
            return Err(PinError::PlainPin);
        }
        let body = VerifyPinRequest { pin: pin.map(|pin| TypedPin::new(pin.expose())) };
        let body = serde_json::to_vec(&body).map_err(|_| PinError::NotCouplet(self.at))?;
        let answer =
            send(self.at, Method::POST, &format!("/mobile/pairing/{}/verify", self.id.expose()), body.into()).await?;
        if answer.status() == StatusCode::ACCEPTED {
            return Ok(PinAnswer::Waits);
        }
        let LinkAnswer { link, .. } = read(self.at, StatusCode::OK, &answer)?;
        let link = Zeroizing::new(link);
        match Offer::from_link(&link) {
            Ok(_) => Ok(PinAnswer::Link(link)),
            Err(_) => Err(PinError::NotCouplet(self.at)),
        }
    }
}

async fn send(at: SocketAddr, method: Method, path: &str, body: Bytes) -> Result<Response<Bytes>, PinError> {
    plain::exchange(at, method, path, body, ANSWER).await.map_err(|error| match error {
        NoAnswer::Unreachable(why) => PinError::Unreachable { at, why },
        NoAnswer::NotHttp => PinError::NotCouplet(at),
    })
}

/// Reads an answer of this status, or what it says instead.
fn read<T: DeserializeOwned>(at: SocketAddr, wanted: StatusCode, answer: &Response<Bytes>) -> Result<T, PinError> {
    if answer.status() == wanted {
        return serde_json::from_slice(answer.body()).map_err(|_| PinError::NotCouplet(at));
    }
    let problem: Problem = serde_json::from_slice(answer.body()).map_err(|_| PinError::NotCouplet(at))?;
    match Code::parse(&problem.code) {
        // A host without this door.
        None | Some(Code::NoSuchRoute) => Err(PinError::NotCouplet(at)),
        Some(_) => {
            let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Err(PinError::Refused { problem: Box::new(problem), retry_after })
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::plain::ANSWER_MAX;

    /// What comes of asking somebody who answers with this.
    async fn asked(answer: String) -> PinError {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"POST /mobile/pairing HTTP/1.1\r\n"));
            // Who has heard enough hangs up.
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let error = PinPairing::ask(at, "Laptop", "Linux").await.unwrap_err();
        server.await.unwrap();
        error
    }

    fn http(status: u16, body: &str) -> String {
        format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn who_is_no_host_is_told_from_one() {
        let large = format!("{{\"id\":\"{}\"}}", "x".repeat(2 * ANSWER_MAX));
        let other = serde_json::to_string(&Problem::new(Code::NoSuchRoute, "")).unwrap();
        let strange = r#"{"type":"x","title":"t","status":400,"detail":"d","code":"CPL-9999"}"#;
        for answer in [
            "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(),
            http(200, "<html>"),
            http(200, "{}"),
            http(200, &large),
            http(302, ""),
            http(404, &other),
            http(400, strange),
        ] {
            let error = asked(answer.clone()).await;
            assert_eq!(error.code(), Code::NotCouplet, "{error:?} {answer:.99}");
        }
        let refused =
            asked(http(429, &serde_json::to_string(&Problem::new(Code::RateLimited, "Wait.")).unwrap())).await;
        assert!(matches!(&refused, PinError::Refused { .. }) && refused.code() == Code::RateLimited, "{refused:?}");
        assert_eq!(asked(String::new()).await.code(), Code::HostUnreachable);
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = PinPairing::ask(gone, "Laptop", "Linux").await.unwrap_err();
        assert!(error.code() == Code::HostUnreachable && error.to_string().contains(&gone.to_string()), "{error}");
    }

    #[test]
    fn a_link_is_not_printed() {
        assert!(!format!("{:?}", PinAnswer::Link(Zeroizing::new("COUPLET:AEBA".into()))).contains("AEBA"));
    }
}
