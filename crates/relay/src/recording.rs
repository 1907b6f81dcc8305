//! Only in builds for tests (feature `failpoints`): keeps everything that the relay reads and writes inside TLS, so that
//! a test can look through what an operator could have seen; each read and write is a [`failpoint::step`].
//!
//! `COUPLET_RELAY_RECORDING=FOLDER` turns it on. Each connection has a file of its own for each direction, so that
//! nothing that is looked for is cut in two by something else.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::failpoint;

static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// A connection that is written down.
#[derive(Debug)]
pub(crate) struct Recorded {
    tls: TlsStream<TcpStream>,
    files: Option<(File, File)>,
}

impl From<TlsStream<TcpStream>> for Recorded {
    fn from(tls: TlsStream<TcpStream>) -> Self {
        failpoint::step();
        let folder = std::env::var_os("COUPLET_RELAY_RECORDING").map(PathBuf::from);
        let files = folder.map(|folder| {
            let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
            let create = |direction: &str| File::create(folder.join(format!("{number}.{direction}")));
            // A test that looks through less than all would prove nothing.
            create("read").and_then(|read| Ok((read, create("written")?))).unwrap_or_else(|_| std::process::abort())
        });
        Recorded { tls, files }
    }
}

impl Recorded {
    pub(crate) fn get_ref(&self) -> (&TcpStream, &ServerConnection) {
        self.tls.get_ref()
    }

    pub(crate) fn get_mut(&mut self) -> (&mut TcpStream, &mut ServerConnection) {
        self.tls.get_mut()
    }
}

fn keep(file: Option<&mut File>, bytes: &[u8]) {
    if file.is_some_and(|file| file.write_all(bytes).is_err()) {
        std::process::abort();
    }
}

impl AsyncRead for Recorded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tls).poll_read(cx, buf);
        keep(self.files.as_mut().map(|files| &mut files.0), &buf.filled()[before..]);
        if buf.filled().len() > before {
            failpoint::step();
        }
        read
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tls).poll_write(cx, buf);
        if let Poll::Ready(Ok(len)) = &written {
            keep(self.files.as_mut().map(|files| &mut files.1), &buf[..*len]);
            failpoint::step();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}
