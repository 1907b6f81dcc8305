//! What the two doors have in common: reading a first message, the writing half, the last words.

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::message::Refusal;
use super::seats::{Delivery, SeatId};
use super::{BINARY_MAX, Incoming, Outgoing, PATIENCE, PING_EVERY, SILENCE, TEXT_MAX};

/// Why a socket is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The other side has closed it, or it broke.
    Gone,
    /// The door ends it, and says why.
    Refused(Refusal),
}

/// A message that is no larger than it may be.
#[derive(Debug)]
pub(super) enum Said {
    Text(String),
    Binary(Bytes),
}

impl<R: Into<Refusal>> From<R> for Over {
    fn from(refusal: R) -> Self {
        Over::Refused(refusal.into())
    }
}

/// The next message, if it is no larger than it may be. Who does not even answer pings has gone.
pub(super) async fn next(from: &mut (impl Stream<Item = Incoming> + Unpin)) -> Result<Said, Over> {
    loop {
        let incoming = tokio::time::timeout(SILENCE, from.next()).await;
        match incoming.ok().flatten().ok_or(Over::Gone)? {
            Incoming::Text(text) if text.len() <= TEXT_MAX => return Ok(Said::Text(text)),
            Incoming::Binary(bytes) if bytes.len() <= BINARY_MAX => return Ok(Said::Binary(bytes)),
            Incoming::Text(_) | Incoming::Binary(_) | Incoming::TooLarge => return Err(Refusal::TooLarge.into()),
            Incoming::Alive => {}
        }
    }
}

/// The message with which a socket begins.
pub(super) async fn first<T: DeserializeOwned>(from: &mut (impl Stream<Item = Incoming> + Unpin)) -> Result<T, Over> {
    match tokio::time::timeout(PATIENCE, next(from)).await.map_err(|_| Refusal::Silent)?? {
        Said::Text(text) => read(&text),
        Said::Binary(_) => Err(Refusal::Message.into()),
    }
}

pub(super) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Over> {
    serde_json::from_str(text).map_err(|_| Refusal::Message.into())
}

/// Writes what is delivered until the socket breaks. Bytes of a seat other than the peer's are of one that has left.
pub(super) async fn write(
    mail: &mut mpsc::Receiver<Delivery>,
    to: &mut (impl Sink<Outgoing> + Unpin),
    mut peer: Option<SeatId>,
) -> Over {
    let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let delivery = tokio::select! {
            // However much there is to send.
            biased;
            _ = pings.tick() => Delivery::Own(Outgoing::Ping),
            delivery = mail.recv() => match delivery {
                Some(delivery) => delivery,
                // The seat was taken away; who took it has said why.
                None => return std::future::pending().await,
            },
        };
        let message = match delivery {
            Delivery::Own(message) => message,
            Delivery::Peer(seat, message) => {
                peer = Some(seat);
                message
            }
            Delivery::Bytes(seat, bytes) if peer.is_none_or(|peer| peer == seat) => Outgoing::Binary(bytes),
            Delivery::Bytes(..) => continue,
        };
        if to.send(message).await.is_err() {
            return Over::Gone;
        }
    }
}

/// Says why it is over, to a socket that still listens.
pub(super) async fn farewell(to: &mut (impl Sink<Outgoing> + Unpin), over: Over) {
    let Over::Refused(refusal) = over else { return };
    let words = async {
        for message in refusal.to_messages() {
            if to.send(message).await.is_err() {
                return;
            }
        }
        // Who does not close in turn is let go by its listener.
        let _ = to.close().await;
    };
    // One that does not take the last words goes without.
    let _ = tokio::time::timeout(PATIENCE, words).await;
}
