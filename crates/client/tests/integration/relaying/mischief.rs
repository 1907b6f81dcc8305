//! What an evil relay does with the messages that it should hand on.

use std::time::Duration;

use couplet_client::sealed::{Side, config};
use couplet_protocol::RelayName;
use futures_util::{SinkExt, StreamExt};
use tokio::io::duplex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::double::{Double, Reply, Tls};
use super::{grant, serve};
use crate::responder::{Host, Wire};

/// In which direction a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toward {
    Host,
    Device,
}

/// What happens to a message; the number is its place in its direction, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: a relay as it should be.
    None,
    Drop(Toward, usize),
    Duplicate(Toward, usize),
    /// It comes after the next one.
    Swap(Toward, usize),
    /// The first message comes instead.
    Replay(Toward, usize),
    /// One bit is another.
    Flip(Toward, usize),
    /// It comes back to its sender as well.
    Reflect(Toward, usize),
    /// Text comes instead.
    Text(Toward, usize),
    /// It breaks off before this one.
    Cut(Toward, usize),
    /// It comes after this long.
    Delay(Toward, usize, Duration),
}

impl Fault {
    fn hits(self) -> Option<(Toward, usize)> {
        match self {
            Fault::None => None,
            Fault::Drop(to, at)
            | Fault::Duplicate(to, at)
            | Fault::Swap(to, at)
            | Fault::Replay(to, at)
            | Fault::Flip(to, at)
            | Fault::Reflect(to, at)
            | Fault::Text(to, at)
            | Fault::Cut(to, at)
            | Fault::Delay(to, at, _) => Some((to, at)),
        }
    }
}

/// One direction.
struct Line {
    toward: Toward,
    fault: Fault,
    passed: usize,
    first: Option<Message>,
    held: Option<Message>,
}

/// What comes of a message: what goes on, what goes back, and whether it breaks off.
#[derive(Default)]
struct Outcome {
    on: Vec<Message>,
    back: Vec<Message>,
    cut: bool,
    after: Duration,
}

impl Line {
    fn new(toward: Toward, fault: Fault) -> Self {
        Line { toward, fault, passed: 0, first: None, held: None }
    }

    fn take(&mut self, message: Message) -> Outcome {
        let at = self.passed;
        self.passed += 1;
        self.first.get_or_insert_with(|| message.clone());
        let mut outcome = Outcome::default();
        if self.fault.hits() != Some((self.toward, at)) {
            outcome.on = std::iter::once(message).chain(self.held.take()).collect();
            return outcome;
        }
        match self.fault {
            Fault::None => {}
            Fault::Drop(..) => {}
            Fault::Duplicate(..) => outcome.on = vec![message.clone(), message],
            Fault::Swap(..) => self.held = Some(message),
            Fault::Replay(..) => outcome.on.extend(self.first.clone()),
            Fault::Flip(..) => {
                let mut bytes = message.into_data().to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1;
                outcome.on.push(Message::binary(bytes));
            }
            Fault::Reflect(..) => (outcome.on, outcome.back) = (vec![message.clone()], vec![message]),
            Fault::Text(..) => outcome.on.push(Message::text("hello")),
            Fault::Cut(..) => outcome.cut = true,
            Fault::Delay(_, _, after) => (outcome.on, outcome.after) = (vec![message], after),
        }
        outcome
    }
}

/// A relay with this fault in front of a host that grants what devices come for.
pub(crate) async fn evil(host: &Host, fault: Fault) -> Double {
    let host = host.clone();
    Double::with(
        |_| {},
        Reply::honest,
        move |device| {
            let host = host.clone();
            async move {
                let (ours, theirs) = duplex(256 * 1024);
                let ours = WebSocketStream::from_raw_socket(ours, Role::Client, Some(config(Side::Device))).await;
                let theirs: Wire = Box::new(theirs);
                let theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, Some(config(Side::Host))).await;
                let answering = async move {
                    if let Some(session) = host.meet(theirs, 1).await {
                        // Which relay a grant names is no matter here: the credentials are the test's to change.
                        serve(session, grant(&host, &RelayName::parse("relay.invalid").unwrap(), &[])).await;
                    }
                };
                tokio::join!(answering, carry(device, ours, fault));
            }
        },
    )
    .await
}

/// Hands messages on, but for the fault.
async fn carry<S>(device: WebSocketStream<Tls>, host: WebSocketStream<S>, fault: Fault)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut to_device, mut from_device) = device.split();
    let (mut to_host, mut from_host) = host.split();
    let (mut up, mut down) = (Line::new(Toward::Host, fault), Line::new(Toward::Device, fault));
    loop {
        let (outcome, toward) = tokio::select! {
            Some(Ok(message)) = from_device.next() => (up.take(message), Toward::Host),
            Some(Ok(message)) = from_host.next() => (down.take(message), Toward::Device),
            else => return,
        };
        if outcome.cut {
            return;
        }
        tokio::time::sleep(outcome.after).await;
        let back = if toward == Toward::Host { Toward::Device } else { Toward::Host };
        let all = outcome.on.into_iter().map(|m| (toward, m)).chain(outcome.back.into_iter().map(|m| (back, m)));
        for (toward, message) in all {
            // Who is gone gets nothing.
            let _ = match toward {
                Toward::Host => to_host.send(message).await,
                Toward::Device => to_device.send(message).await,
            };
        }
    }
}
