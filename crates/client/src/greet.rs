//! The handshake over an open WebSocket, up to the first sealed frame.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::handshake::{Confirmed, Initiator, PairingKeys};
use couplet_protocol::message::{Claim, Control, RoomNumbers};
use couplet_protocol::{Endpoint, Offer, StaticSecret};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::attempt::{AttemptError, Hint};
use crate::path::{Io, Opening, Socket, Ways};
use crate::plain::has_weak_random;
use crate::random;
use crate::relay::Door;
use crate::sealed::{Link, SealedStream, Side};

/// How long a host may take to answer M1, and one that must first hear of it from its relay and dial.
const ANSWER: Duration = Duration::from_secs(5);
const RELAYED: Duration = Duration::from_secs(10);

/// A host that has proved who it is. Nothing is confirmed yet, so it may still be left without a trace.
pub(crate) struct Met {
    pub(crate) endpoint: Endpoint,
    pub(crate) confirmed: Confirmed,
    opening: Opening,
}

/// An open session.
pub(crate) struct Opened {
    pub(crate) endpoint: Endpoint,
    /// The machine at the other end of the connection, and the room at a relay.
    pub(crate) peer: SocketAddr,
    pub(crate) room: Option<u32>,
    /// What the host calls itself now.
    pub(crate) host_name: String,
    pub(crate) stream: SealedStream<Box<dyn Io>>,
    pub(crate) link: Link,
    pub(crate) heard: mpsc::Receiver<Box<Control>>,
}

impl Met {
    /// Meets the host that makes this offer.
    pub(crate) async fn to_pair(
        (ways, endpoint): (&Ways<'_>, &Endpoint),
        offer: &Offer,
        ours: &StaticSecret,
        claim: Claim,
    ) -> Result<Self, AttemptError> {
        let opening = match endpoint {
            Endpoint::Relay(_) => ways.open(endpoint).await?,
            Endpoint::Lan(address) => {
                let health = async { Ok(has_weak_random(*address).await) };
                let (opening, is_weak) = tokio::try_join!(ways.open(endpoint), health)?;
                if is_weak {
                    return Err(AttemptError::WeakRandom);
                }
                opening
            }
        };
        let (ephemeral, nonce) = (entropy()?, entropy()?);
        Met::meet(endpoint, opening, Initiator::pair(offer, ours, claim, ephemeral, nonce)?).await
    }

    /// Meets the host that this device is paired with.
    pub(crate) async fn again(
        (ways, endpoint): (&Ways<'_>, &Endpoint),
        keys: &PairingKeys,
        ours: &StaticSecret,
    ) -> Result<Self, AttemptError> {
        let opening = ways.open(endpoint).await?;
        let opened = opening.room;
        let mut met = Met::meet(endpoint, opening, Initiator::reconnect(keys, ours, entropy()?)?).await?;
        if let Some(Door::Paired(_, kept)) = ways.door {
            met.confirmed.come_by(RoomNumbers { kept, opened: opened.unwrap_or(kept) });
        }
        Ok(met)
    }

    async fn meet(
        endpoint: &Endpoint,
        mut opening: Opening,
        (initiator, m1): (Initiator, Vec<u8>),
    ) -> Result<Self, AttemptError> {
        let within = match endpoint {
            Endpoint::Lan(_) => ANSWER,
            Endpoint::Relay(_) => RELAYED,
        };
        let m2 = async {
            opening.socket.send(Message::binary(m1)).await.map_err(|_| AttemptError::HungUp)?;
            answer(&mut opening.socket).await
        };
        let m2 = timeout(within, m2).await.map_err(|_| AttemptError::TimedOut)??;
        Ok(Met { endpoint: endpoint.clone(), confirmed: initiator.finish(&m2)?, opening })
    }

    /// Confirms: sends the first sealed frame.
    pub(crate) async fn confirm(self) -> Result<Opened, AttemptError> {
        let Met { endpoint, confirmed, opening: Opening { mut socket, peer, room } } = self;
        let host_name = confirmed.host_name.clone();
        let (session, first) = confirmed.begin()?;
        let sent = timeout(ANSWER, socket.send(Message::binary(first))).await.map_err(|_| AttemptError::TimedOut)?;
        sent.map_err(|_| AttemptError::HungUp)?;
        let (stream, link, heard) = SealedStream::new(socket, session, Side::Device);
        Ok(Opened { endpoint, peer, room, host_name, stream, link, heard })
    }
}

/// With which code a host closes that says why (spec/protocol.md, 3).
const REFUSED: u16 = 4000;

/// M2, or what the host says instead.
async fn answer(socket: &mut Socket) -> Result<Bytes, AttemptError> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(message))) => return Ok(message),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == REFUSED => {
                return Err(Hint::before_keys(&frame.reason).map_or(AttemptError::HungUp, AttemptError::Refused));
            }
            Some(Ok(_) | Err(_)) | None => return Err(AttemptError::HungUp),
        }
    }
}

fn entropy() -> Result<couplet_protocol::secret::Entropy, AttemptError> {
    random::entropy().map_err(|error| AttemptError::NoConnection(error.to_string()))
}
