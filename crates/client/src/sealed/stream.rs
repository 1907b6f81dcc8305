//! The stream itself.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use couplet_protocol::Session;
use couplet_protocol::frame::{CloseCode, Content, DATA_MAX, Kind};
use couplet_protocol::message::Control;
use couplet_protocol::session::{Opener, Sealer};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use zeroize::Zeroizing;

use super::link::{Order, Orders};
use super::{Ending, Link, SealedError, Side};

/// How often the host asks whether the device is still there, and how long it waits for the answer.
const PING: Duration = Duration::from_secs(25);
const PONG: Duration = Duration::from_secs(10);
/// How long a device waits for any sign of its host.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the peer is given to take the CLOSE.
const CLOSING: Duration = Duration::from_secs(1);
/// How many messages of the peer may wait to be heard; further ones are lost.
const HEARD: usize = 8;

/// A sealed byte stream over a WebSocket. One task polls it: it wakes the last that asked.
pub struct SealedStream<S> {
    socket: WebSocketStream<S>,
    sealer: Sealer,
    opener: Opener,
    began: Instant,
    /// Opened and not yet read.
    ahead: Bytes,
    orders: Orders,
    /// Boxed, as a channel has room for 32 from the start.
    heard: mpsc::Sender<Box<Control>>,
    watch: Watch,
    /// Set once the CLOSE has been sealed: until when the peer may take it.
    closing: Option<(CloseCode, Instant)>,
    over: Option<SealedError>,
}

/// Whether the peer is still there.
struct Watch {
    side: Side,
    alarm: Pin<Box<Sleep>>,
    awaits_pong: bool,
    /// Whether the socket had room since the last alarm, and whether a frame was sent.
    took: bool,
    sent: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SealedStream<S> {
    /// Takes the socket over which the handshake went. Messages of the peer that come once HTTP runs are heard on the
    /// receiver.
    #[must_use]
    pub fn new(socket: WebSocketStream<S>, session: Session, side: Side) -> (Self, Link, mpsc::Receiver<Box<Control>>) {
        let (orders, link) = Orders::new();
        let (heard, hear) = mpsc::channel(HEARD);
        let began = Instant::now();
        let first = match side {
            Side::Host => PING,
            Side::Device => SILENCE,
        };
        let stream = SealedStream {
            socket,
            sealer: session.sealer,
            opener: session.opener,
            began,
            ahead: Bytes::new(),
            orders,
            heard,
            watch: Watch {
                side,
                alarm: Box::pin(sleep_until(began + first)),
                awaits_pong: false,
                took: true,
                sent: false,
            },
            closing: None,
            over: None,
        };
        (stream, link, hear)
    }

    /// The peer's next message, before HTTP begins. Unknown ones are passed over.
    ///
    /// # Errors
    /// The session is over, or the peer sent data, for which it is too early: that ends it.
    pub async fn control(&mut self) -> Result<Control, SealedError> {
        poll_fn(|cx| {
            self.poll_orders(cx)?;
            loop {
                match ready!(self.poll_frame(cx))? {
                    Some((Kind::Control, message)) => match Control::decode(&message) {
                        Ok(Some(message)) => return Poll::Ready(Ok(message)),
                        Ok(None) => {}
                        Err(_) => return Poll::Ready(Err(self.fail(SealedError::Broken))),
                    },
                    Some((Kind::Data, _)) => return Poll::Ready(Err(self.fail(SealedError::Broken))),
                    Some(_) => {}
                    None => return Poll::Ready(Err(self.over.clone().unwrap_or(SealedError::Truncated))),
                }
            }
        })
        .await
    }

    /// Sends a message, before HTTP begins.
    ///
    /// # Errors
    /// The session is over, or the message is too long for a frame.
    pub async fn send(&mut self, message: &Control) -> Result<(), SealedError> {
        poll_fn(|cx| {
            self.poll_orders(cx)?;
            self.poll_room(cx)?.map(Ok)
        })
        .await?;
        self.say(message)?;
        poll_fn(|cx| {
            self.poll_orders(cx)?;
            self.poll_flushed(cx)?.map(Ok)
        })
        .await
    }

    /// Closes the session, before HTTP begins: says why, for at most a second.
    pub async fn close(mut self, code: CloseCode) {
        poll_fn(|cx| self.poll_close(code, cx)).await;
    }

    /// The next frame that carries something; None once the peer has closed the session.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Kind, Bytes)>, SealedError>> {
        loop {
            if let Some(over) = &self.over {
                let closed = matches!(over, SealedError::Closed(_));
                return Poll::Ready(if closed { Ok(None) } else { Err(over.clone()) });
            }
            self.poll_watch(cx)?;
            let frame = match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(message)) => {
                    self.watch.noticed();
                    match message {
                        Message::Binary(frame) => frame,
                        Message::Ping(_) | Message::Pong(_) => continue,
                        Message::Close(_) => return Poll::Ready(Err(self.fail(SealedError::Truncated))),
                        Message::Text(_) | Message::Frame(_) => {
                            return Poll::Ready(Err(self.fail(SealedError::Broken)));
                        }
                    }
                }
                Some(Err(_)) | None => return Poll::Ready(Err(self.fail(SealedError::Truncated))),
            };
            let mut frame = BytesMut::from(frame);
            let Ok(opened) = self.opener.open(&mut frame) else {
                return Poll::Ready(Err(self.fail(SealedError::Broken)));
            };
            match opened.kind {
                Kind::Data | Kind::Control => {
                    frame.truncate(opened.data.end);
                    frame.advance(opened.data.start);
                    return Poll::Ready(Ok(Some((opened.kind, frame.freeze()))));
                }
                Kind::Pad | Kind::KeyUpdate => {}
                Kind::Close => {
                    let code = self.opener.closed().unwrap_or(CloseCode::Done);
                    self.fail(SealedError::Closed(code));
                }
            }
        }
    }

    /// Pings, and gives a silent peer up.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Result<(), SealedError> {
        while self.closing.is_none() && self.watch.alarm.as_mut().poll(cx).is_ready() {
            let has_room = self.poll_room(cx)?.is_ready();
            if self.watch.side == Side::Device || self.watch.awaits_pong || !self.watch.took {
                return Err(self.fail(SealedError::Silent));
            }
            self.watch.took = has_room;
            if std::mem::take(&mut self.watch.sent) || !has_room {
                // A ping would wait behind what the peer is still taking; that it takes it is sign enough.
                self.watch.alarm.as_mut().reset(Instant::now() + PING);
                continue;
            }
            self.push(Message::Ping(Bytes::new()))?;
            let _ = self.poll_flushed(cx)?;
            self.watch.awaits_pong = true;
            self.watch.alarm.as_mut().reset(Instant::now() + PONG);
        }
        Ok(())
    }

    /// Does what the link asks for.
    fn poll_orders(&mut self, cx: &mut Context<'_>) -> Result<(), SealedError> {
        loop {
            if let Some(over) = &self.over {
                return Err(over.clone());
            }
            let has_room = self.poll_room(cx)?.is_ready();
            match self.orders.poll_next(has_room, cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Order::Close(code)) if self.poll_close(code, cx).is_pending() => return Ok(()),
                Poll::Ready(Order::Close(_)) => {}
                Poll::Ready(Order::Say(message)) => {
                    self.say(&message)?;
                    let _ = self.poll_flushed(cx)?;
                }
            }
        }
    }

    /// Seals the CLOSE and gives the peer its time to take it. Ready: it is over.
    fn poll_close(&mut self, code: CloseCode, cx: &mut Context<'_>) -> Poll<()> {
        if self.over.is_some() {
            return Poll::Ready(());
        }
        let until = match self.closing {
            Some((_, until)) => until,
            None => {
                let until = Instant::now() + CLOSING;
                self.closing = Some((code, until));
                self.watch.alarm.as_mut().reset(until);
                let mut frame = Vec::new();
                if self.sealer.seal_close(code, &mut frame).is_ok() {
                    // When this fails the stream is over, which the next line sees.
                    let _ = self.push(Message::binary(frame));
                }
                until
            }
        };
        while self.over.is_none() {
            let is_taken = match self.poll_flushed(cx) {
                Ok(Poll::Ready(())) => self.poll_gone(cx).is_ready(),
                Ok(Poll::Pending) => false,
                Err(_) => true,
            };
            if is_taken || Instant::now() >= until {
                self.fail(SealedError::ClosedByUs);
            } else if self.watch.alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    /// Whether the peer has taken the CLOSE: it is gone. A host waits for that and drops what comes meanwhile, since a
    /// connection that is closed over unread bytes is reset, and what is on its way there is lost (RFC 1122, 4.2.2.13):
    /// a revoked device would not learn that it is. A device has no such news.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if matches!(self.watch.side, Side::Host) {
            while let Some(Ok(_)) = ready!(Pin::new(&mut self.socket).poll_next(cx)) {}
        }
        Poll::Ready(())
    }

    fn say(&mut self, message: &Control) -> Result<(), SealedError> {
        let message = Zeroizing::new(message.encode().map_err(|_| self.fail(SealedError::Broken))?);
        self.seal(Content::Control(&message))
    }

    /// Seals a frame, with a new key when it is time for one, and hands it to the socket.
    fn seal(&mut self, content: Content<'_>) -> Result<(), SealedError> {
        if self.closing.is_some() {
            return Err(SealedError::ClosedByUs);
        }
        let now = self.began.elapsed();
        let mut frame = Vec::new();
        if self.sealer.key_update_due(now) {
            self.sealer.seal_key_update(now, &mut frame).map_err(|_| self.fail(SealedError::Broken))?;
            self.push(Message::binary(std::mem::take(&mut frame)))?;
        }
        self.sealer.seal(content, &mut frame).map_err(|_| self.fail(SealedError::Broken))?;
        self.watch.sent = true;
        self.push(Message::binary(frame))
    }

    /// Hands a message to the socket, whose buffer has room for what may be pushed without asking.
    fn push(&mut self, message: Message) -> Result<(), SealedError> {
        Pin::new(&mut self.socket).start_send(message).map_err(|_| self.fail(SealedError::Truncated))
    }

    /// Whether the socket takes another frame.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SealedError> {
        match Pin::new(&mut self.socket).poll_ready(cx) {
            Poll::Ready(Err(_)) => Err(self.fail(SealedError::Truncated)),
            Poll::Ready(Ok(())) => {
                self.watch.took = true;
                Ok(Poll::Ready(()))
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Whether all that was handed to the socket is on its way.
    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, SealedError> {
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(self.fail(SealedError::Truncated)),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// The session is over; the first reason counts.
    fn fail(&mut self, error: SealedError) -> SealedError {
        let over = self.over.get_or_insert(error).clone();
        self.orders.end(match (&over, self.closing) {
            (SealedError::Closed(code), _) => Ending::Closed(*code),
            (SealedError::Broken, _) => Ending::Broken,
            (SealedError::Silent, _) => Ending::Silent,
            (SealedError::ClosedByUs | SealedError::Truncated, Some((code, _))) => Ending::ClosedByUs(code),
            (SealedError::ClosedByUs | SealedError::Truncated, None) => Ending::Truncated,
        });
        over
    }

    /// A message of the peer while HTTP runs. Only the news of its addresses has a place there.
    fn hear(&mut self, message: &[u8]) -> Result<(), SealedError> {
        match Control::decode(message) {
            Ok(Some(message @ Control::Endpoints { .. })) => {
                // Who sends more than anybody reads is not listened to.
                let _ = self.heard.try_send(Box::new(message));
                Ok(())
            }
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(self.fail(SealedError::Broken)),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SealedStream<S> {
    /// Reads to the end only when the peer has closed the session; else its end is an error.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.poll_orders(cx) {
            Ok(()) => {}
            Err(SealedError::Closed(_)) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(error.into())),
        }
        // Nothing more comes of it; an error would have the stream dropped before the CLOSE is gone.
        if this.closing.is_some() {
            return Poll::Pending;
        }
        while this.ahead.is_empty() {
            match ready!(this.poll_frame(cx))? {
                Some((Kind::Control, message)) => this.hear(&message)?,
                Some((_, data)) => this.ahead = data,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = this.ahead.len().min(buf.remaining());
        buf.put_slice(&this.ahead.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for SealedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_orders(cx) {
            // The peer wants no more of it.
            Err(SealedError::Closed(_)) => return Poll::Ready(Ok(())),
            other => other?,
        }
        ready!(self.poll_flushed(cx)?);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(CloseCode::Done, cx).map(Ok)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What belongs together goes into one frame: the first two buffers, which is all that h2 writes at a time.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_orders(cx)?;
        if self.closing.is_some() {
            return Poll::Pending;
        }
        ready!(self.poll_room(cx)?);
        let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
        let first = filled.next().map_or(&[][..], |buf| &buf[..buf.len().min(DATA_MAX)]);
        let second = filled.next().map_or(&[][..], |buf| &buf[..buf.len().min(DATA_MAX - first.len())]);
        self.seal(Content::Joined([first, second]))?;
        Poll::Ready(Ok(first.len() + second.len()))
    }
}

impl Watch {
    /// The peer gave a sign: any will do, as a pong may wait behind much that is under way.
    fn noticed(&mut self) {
        match self.side {
            Side::Device => self.alarm.as_mut().reset(Instant::now() + SILENCE),
            Side::Host if self.awaits_pong => {
                self.awaits_pong = false;
                self.alarm.as_mut().reset(Instant::now() + PING);
            }
            Side::Host => {}
        }
    }
}

impl<S> std::fmt::Debug for SealedStream<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedStream").field("over", &self.over).finish_non_exhaustive()
    }
}
