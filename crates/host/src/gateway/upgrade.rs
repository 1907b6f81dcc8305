//! What follows a `101 Switching Protocols`: bytes, both ways, each way ending on its own.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::TcpStream;

use std::sync::Arc;

use crate::session::Session;

/// The app's end of a connection that has left HTTP.
pub struct Tunnel {
    app: TcpStream,
    read_ahead: Bytes,
    session: Arc<Session>,
}

impl Tunnel {
    pub(super) fn new((app, read_ahead): (TcpStream, Bytes), session: Arc<Session>) -> Self {
        Tunnel { app, read_ahead, session }
    }

    /// Joins the client's end, of which `read_ahead` was already read, until both sides have finished.
    ///
    /// # Errors
    /// Either side broke, or the device's access ended; both ends must then be cut.
    pub async fn join<C>(mut self, client: &mut C, read_ahead: Bytes) -> io::Result<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let session = self.session;
        let (from_app, to_app) = self.app.split();
        let (from_client, to_client) = tokio::io::split(client);
        let both = async {
            tokio::try_join!(pump(read_ahead, from_client, to_app), pump(self.read_ahead, from_app, to_client))
        };
        let result = tokio::select! {
            biased;
            () = session.ended().cancelled() => Err(io::Error::other("the device's access has ended")),
            done = both => done.map(|_| ()),
        };
        if result.is_err() {
            // So that the app, too, sees a break and not an end.
            let _ = self.app.set_zero_linger();
        }
        result
    }
}

async fn pump(first: Bytes, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    to.write_all(&first).await?;
    copy(&mut from, &mut to).await?;
    to.shutdown().await
}
