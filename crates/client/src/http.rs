//! HTTP/2 over a sealed stream: the device's end (spec/protocol.md, 5).
//!
//! On h2 itself rather than on hyper's client: hyper takes a response that the host cut with `CANCEL` for a finished
//! one, queues requests without bound, and leaves `100 Continue` out.

mod body;
mod driver;
mod request;
mod upgrade;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, watch};

pub use body::{Body, BodyError};
pub(crate) use driver::Driver;
pub(crate) use request::Failed;
pub use upgrade::{Upgrade, Upgraded};

/// The most streams at a time (spec/protocol.md, 5).
pub(crate) const STREAMS: usize = 64;
/// The most bytes of headers that are taken.
const HEADERS_MAX: u32 = 16 * 1024;
/// How much of one answer may be under way and unread, and of all of them together.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How much of a request's body may wait in memory to be sent.
const SEND_BUFFER: usize = 128 * 1024;

/// Sends requests through one session. Clones share it.
#[derive(Clone)]
pub(crate) struct Http {
    send: SendRequest<Bytes>,
    streams: Arc<Semaphore>,
    /// Told when a stream opens, so that the driver watches over the link.
    opened: Arc<Notify>,
    /// True once the host's settings are known.
    settled: watch::Receiver<bool>,
}

/// Speaks HTTP/2 over this stream. Nothing moves unless the driver runs.
///
/// # Errors
/// The stream is over.
pub(crate) async fn open<S>(stream: S) -> Result<(Http, Driver<S>), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (stream, heard) = driver::listen(stream);
    let (send, connection) = h2::client::Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADERS_MAX)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(STREAMS)
        .handshake(stream)
        .await?;
    let streams = Arc::new(Semaphore::new(STREAMS));
    let opened = Arc::new(Notify::new());
    let (settle, settled) = watch::channel(false);
    let driver = Driver::new(connection, heard, streams.clone(), opened.clone(), settle);
    Ok((Http { send, streams, opened, settled }, driver))
}

impl Http {
    /// Waits until the host has spoken: what it says of itself has come, and the answer to a ping.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + use<> {
        let mut settled = self.settled.clone();
        async move {
            if settled.wait_for(|settled| *settled).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether an upgrade can be sent, once that is known.
    async fn takes_upgrades(&self, within: Duration) -> bool {
        let mut settled = self.settled.clone();
        let known = tokio::time::timeout(within, settled.wait_for(|settled| *settled)).await;
        matches!(known, Ok(Ok(_))) && self.send.is_extended_connect_protocol_enabled()
    }
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("streams", &self.streams.available_permits()).finish_non_exhaustive()
    }
}
