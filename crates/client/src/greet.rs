//! The handshake over an open WebSocket, up to the first sealed frame.

use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::handshake::{Confirmed, Initiator, PairingKeys};
use couplet_protocol::message::{Claim, Control};
use couplet_protocol::{Endpoint, Offer, StaticSecret};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::attempt::{AttemptError, Hint};
use crate::path::{Io, Path, Socket};
use crate::random;
use crate::sealed::{Link, SealedStream, Side};

/// How long a host may take to answer M1.
const ANSWER: Duration = Duration::from_secs(5);

/// A host that has proved who it is. Nothing is confirmed yet, so it may still be left without a trace.
pub(crate) struct Met {
    pub(crate) endpoint: Endpoint,
    pub(crate) confirmed: Confirmed,
    socket: Socket,
}

/// An open session.
pub(crate) struct Opened {
    pub(crate) endpoint: Endpoint,
    /// What the host calls itself now.
    pub(crate) host_name: String,
    pub(crate) stream: SealedStream<Box<dyn Io>>,
    pub(crate) link: Link,
    pub(crate) heard: mpsc::Receiver<Box<Control>>,
}

impl Met {
    /// Meets the host that makes this offer.
    pub(crate) async fn to_pair(
        path: &Path,
        offer: &Offer,
        ours: &StaticSecret,
        claim: Claim,
    ) -> Result<Self, AttemptError> {
        let socket = path.open().await?;
        let (ephemeral, nonce) = (entropy()?, entropy()?);
        Met::meet(path, socket, Initiator::pair(offer, ours, claim, ephemeral, nonce)?).await
    }

    /// Meets the host that this device is paired with.
    pub(crate) async fn again(path: &Path, keys: &PairingKeys, ours: &StaticSecret) -> Result<Self, AttemptError> {
        let socket = path.open().await?;
        Met::meet(path, socket, Initiator::reconnect(keys, ours, entropy()?)?).await
    }

    async fn meet(
        path: &Path,
        mut socket: Socket,
        (initiator, m1): (Initiator, Vec<u8>),
    ) -> Result<Self, AttemptError> {
        socket.send(Message::binary(m1)).await.map_err(|_| AttemptError::HungUp)?;
        let m2 = timeout(ANSWER, answer(&mut socket)).await.map_err(|_| AttemptError::TimedOut)??;
        Ok(Met { endpoint: path.endpoint(), confirmed: initiator.finish(&m2)?, socket })
    }

    /// Confirms: sends the first sealed frame.
    pub(crate) async fn confirm(self) -> Result<Opened, AttemptError> {
        let Met { endpoint, confirmed, mut socket } = self;
        let host_name = confirmed.host_name.clone();
        let (session, first) = confirmed.begin()?;
        let sent = timeout(ANSWER, socket.send(Message::binary(first))).await.map_err(|_| AttemptError::TimedOut)?;
        sent.map_err(|_| AttemptError::HungUp)?;
        let (stream, link, heard) = SealedStream::new(socket, session, Side::Device);
        Ok(Opened { endpoint, host_name, stream, link, heard })
    }
}

/// M2, or what the host says instead.
async fn answer(socket: &mut Socket) -> Result<Bytes, AttemptError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(message))) => return Ok(message),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(Some(frame)))) => {
                return Err(Hint::parse(&frame.reason).map_or(AttemptError::HungUp, AttemptError::Refused));
            }
            Some(Ok(_) | Err(_)) | None => return Err(AttemptError::HungUp),
        }
    }
}

fn entropy() -> Result<couplet_protocol::secret::Entropy, AttemptError> {
    random::entropy().map_err(|error| AttemptError::NoConnection(error.to_string()))
}
