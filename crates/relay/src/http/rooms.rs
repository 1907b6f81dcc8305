//! `GET /rooms`: the door of [`crate::rooms_door`], on axum's WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, Extension, State};
use axum::response::Response;
use futures_util::{Sink, SinkExt, Stream, StreamExt, future};

use super::Shared;
use crate::live::Connection;
use crate::problem::Failure;
use crate::rooms_door::{BINARY_MAX, Incoming, Outgoing};
use crate::sockets::Socket;

/// A device's.
pub(super) async fn device(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(place): Extension<Arc<Socket>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let rooms = Arc::clone(&shared.rooms);
    upgraded(&shared, place, upgrade, async move |socket| {
        let (to, from) = split(socket);
        rooms.serve_device(peer.ip(), from, to).await;
    })
}

/// A host's.
pub(super) async fn host(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Arc<Connection>>,
    Extension(place): Extension<Arc<Socket>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let rooms = Arc::clone(&shared.rooms);
    upgraded(&shared, place, upgrade, async move |socket| {
        let (to, from) = split(socket);
        connection.cut.run_until_cancelled(rooms.serve_host(connection.host, from, to)).await;
    })
}

/// Serves the WebSocket within the door's bounds until the relay ends. `place` is held as long as that takes.
fn upgraded<S: Future<Output = ()> + Send>(
    shared: &Shared,
    place: Arc<Socket>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    serve: impl FnOnce(WebSocket) -> S + Send + 'static,
) -> Result<Response, Failure> {
    let cut = shared.tasks.cut.clone();
    let upgrade = bounded(upgrade.map_err(|_| super::upgrade::required())?);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _place = place;
        cut.run_until_cancelled(serve(socket)).await;
    }))
}

fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.max_message_size(BINARY_MAX).max_frame_size(BINARY_MAX).max_write_buffer_size(4 * BINARY_MAX)
}

fn split(
    socket: WebSocket,
) -> (impl Sink<Outgoing, Error = axum::Error> + Send + Unpin, impl Stream<Item = Incoming> + Send + Unpin) {
    let (to, from) = socket.split();
    let to = to.with(|message: Outgoing| future::ready(Ok(outgoing(message))));
    // What is no message of the door's is passed over; an error is the end, but for one that is too large.
    let from = from.filter_map(|message| future::ready(incoming(message).transpose()));
    let from = from.scan(false, |over, message| {
        let ended = std::mem::replace(over, !matches!(message, Ok(Incoming::Text(_) | Incoming::Binary(_))));
        future::ready(if ended { None } else { message.ok() })
    });
    (to, from)
}

fn incoming(message: Result<Message, axum::Error>) -> Result<Option<Incoming>, ()> {
    match message {
        Ok(Message::Text(text)) => Ok(Some(Incoming::Text(text.to_string()))),
        Ok(Message::Binary(bytes)) => Ok(Some(Incoming::Binary(bytes))),
        Ok(Message::Ping(_) | Message::Pong(_)) => Ok(None),
        Ok(Message::Close(_)) => Err(()),
        Err(error) => match error.into_inner().downcast_ref() {
            Some(tokio_tungstenite::tungstenite::Error::Capacity(_)) => Ok(Some(Incoming::TooLarge)),
            _ => Err(()),
        },
    }
}

fn outgoing(message: Outgoing) -> Message {
    match message {
        Outgoing::Text(text) => Message::Text(text.into()),
        Outgoing::Binary(bytes) => Message::Binary(bytes),
        Outgoing::Close { code, reason } => Message::Close(Some(CloseFrame { code, reason: reason.into() })),
    }
}
