//! Upgrades: WebSockets and other protocols over one stream (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::body::Body;
use super::request::{broken, prepare};
use super::upload::reset;
use super::{Failed, Http};
use crate::error::RequestError;

/// How much is handed to the stream at once.
const CHUNK: usize = 16 * 1024;

/// What the app said to an upgrade.
#[derive(Debug)]
pub enum Upgrade {
    /// The other protocol is spoken from here on.
    Switched(Response<()>, Upgraded),
    /// It was not upgraded; this is an answer like any other.
    Refused(Response<Body>),
}

/// The stream of an upgrade: bytes, both ways, each way ending on its own. Dropped before both have ended, it breaks.
#[derive(Debug)]
pub struct Upgraded {
    send: SendStream<Bytes>,
    recv: RecvStream,
    ahead: Bytes,
    we_ended: bool,
    they_ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Http {
    /// Asks for an upgrade to this protocol, by extended CONNECT.
    pub(crate) async fn upgrade(
        &self,
        request: Request<()>,
        protocol: &str,
        within: Duration,
    ) -> Result<Upgrade, Failed<()>> {
        if !self.takes_upgrades(within).await {
            return Err(match self.send.clone().ready().await {
                Ok(_) => Failed::Error(RequestError::NoUpgrades),
                Err(_) => Failed::Unsent(request),
            });
        }
        let permit = self.permit(within).await.map_err(Failed::Error)?;
        let (head, ()) = request.into_parts();
        let mut wire = Request::new(());
        *wire.method_mut() = Method::CONNECT;
        *wire.uri_mut() = head.uri.clone();
        *wire.headers_mut() = head.headers.clone();
        prepare(wire.headers_mut(), None);
        // There is no body to have one (RFC 9110, 9.3.6), and a host's hyper ends the whole session over it.
        wire.headers_mut().remove(header::CONTENT_LENGTH);
        wire.extensions_mut().insert(Protocol::from(protocol));
        let (answer, send) = match self.send(wire, false).await {
            Ok(sent) => sent,
            Err(None) => return Err(Failed::Unsent(Request::from_parts(head, ()))),
            Err(Some(error)) => return Err(Failed::Error(error)),
        };
        let answer = answer.await.map_err(|error| Failed::Error(broken(&error)))?;
        Ok(match answer.status().is_success() {
            true => {
                let (parts, recv) = answer.into_parts();
                let upgraded =
                    Upgraded { send, recv, ahead: Bytes::new(), we_ended: false, they_ended: false, _permit: permit };
                Upgrade::Switched(Response::from_parts(parts, ()), upgraded)
            }
            false => {
                let mut send = send;
                // Nothing will come on this side.
                let _ = send.send_data(Bytes::new(), true);
                Upgrade::Refused(super::request::with_body(answer, None, permit))
            }
        })
    }
}

impl AsyncRead for Upgraded {
    /// Reads to the end only when the app has ended its side; a reset is an error.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ahead.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.ahead = data,
                Some(Err(error)) => return Poll::Ready(Err(cut(&error))),
                None => {
                    this.they_ended = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let len = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead.split_to(len));
        let _ = this.recv.flow_control().release_capacity(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.we_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(buf.len().min(CHUNK));
        match ready!(self.send.poll_capacity(cx)) {
            Some(Ok(room)) => {
                let len = room.min(buf.len());
                self.send.send_data(Bytes::copy_from_slice(&buf[..len]), false).map_err(|error| cut(&error))?;
                Poll::Ready(Ok(len))
            }
            Some(Err(error)) => Poll::Ready(Err(cut(&error))),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver sends what was handed over.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.we_ended, true) {
            self.send.send_data(Bytes::new(), true).map_err(|error| cut(&error))?;
        }
        Poll::Ready(Ok(()))
    }
}

fn cut(error: &h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error.to_string())
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        if !(self.we_ended && self.they_ended) {
            reset(&mut self.send);
        }
    }
}
