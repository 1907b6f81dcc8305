//! What the two doors have in common: reading a first message, the writing half, the last words.

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::message::Refusal;
use super::seats::{Delivery, SeatId};
use super::{BINARY_MAX, Incoming, Outgoing, PATIENCE, TEXT_MAX};

/// Why a socket is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The other side has closed it, or it broke.
    Gone,
    /// The door ends it, and says why.
    Refused(Refusal),
}

impl<R: Into<Refusal>> From<R> for Over {
    fn from(refusal: R) -> Self {
        Over::Refused(refusal.into())
    }
}

/// The next message, if it is no larger than it may be.
pub(super) async fn next(from: &mut (impl Stream<Item = Incoming> + Unpin)) -> Result<Incoming, Over> {
    match from.next().await.ok_or(Over::Gone)? {
        Incoming::Text(text) if text.len() > TEXT_MAX => Err(Refusal::TooLarge.into()),
        Incoming::Binary(bytes) if bytes.len() > BINARY_MAX => Err(Refusal::TooLarge.into()),
        Incoming::TooLarge => Err(Refusal::TooLarge.into()),
        message => Ok(message),
    }
}

/// The message with which a socket begins.
pub(super) async fn first<T: DeserializeOwned>(from: &mut (impl Stream<Item = Incoming> + Unpin)) -> Result<T, Over> {
    match tokio::time::timeout(PATIENCE, next(from)).await.map_err(|_| Refusal::Silent)?? {
        Incoming::Text(text) => read(&text),
        _ => Err(Refusal::Message.into()),
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
    while let Some(delivery) = mail.recv().await {
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
    // The seat was taken away; who took it has said why.
    std::future::pending().await
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
