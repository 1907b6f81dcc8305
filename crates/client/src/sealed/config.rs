//! The WebSocket beneath: small buffers, and nothing larger than a frame.

use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::frame::FRAME_MAX;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{SealedError, Side};

/// How much is read at once. An idle session holds this much, of which a host has many and a device has one.
const HOST_READ: usize = 8 * 1024;
const DEVICE_READ: usize = 64 * 1024;
/// How much may wait to be sent: a few frames, and a pong.
const WRITE_MAX: usize = 4 * FRAME_MAX;

/// What an end configures its WebSocket with.
#[must_use]
pub fn config(side: Side) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(match side {
            Side::Host => HOST_READ,
            Side::Device => DEVICE_READ,
        })
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_MAX)
        .max_message_size(Some(FRAME_MAX))
        .max_frame_size(Some(FRAME_MAX))
}

/// The server's end of a connection whose upgrade has been answered. `ahead` was read behind the request.
pub async fn accepted<S: AsyncRead + AsyncWrite + Unpin>(io: S, ahead: Bytes) -> WebSocketStream<S> {
    WebSocketStream::from_partially_read(io, ahead.to_vec(), Role::Server, Some(config(Side::Host))).await
}

/// The next binary message of a device, before the host has a session: M1, or the first frame. A device looks for
/// its M2 elsewhere, as what comes instead may say why.
///
/// # Errors
/// [`SealedError::Silent`] when none comes within that time, [`SealedError::Truncated`] when the connection ends,
/// [`SealedError::Broken`] for anything else that comes.
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    within: Duration,
) -> Result<Bytes, SealedError> {
    let message = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Binary(message))) => return Ok(message),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) => return Err(SealedError::Broken),
                Some(Err(_)) | None => return Err(SealedError::Truncated),
            }
        }
    };
    timeout(within, message).await.unwrap_or(Err(SealedError::Silent))
}
