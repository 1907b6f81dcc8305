//! The other hand on a sealed stream, while an HTTP connection holds the stream itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::Control;
use futures_util::task::AtomicWaker;
use tokio::sync::watch;

/// How many messages may wait to be sent.
const WAITING: usize = 8;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The peer closed it.
    Closed(CloseCode),
    /// This end closed it.
    ClosedByUs(CloseCode),
    /// The connection ended without a CLOSE.
    Truncated,
    /// A frame could not be opened, or the peer broke the protocol.
    Broken,
    /// The peer did not answer in time.
    Silent,
}

/// What the stream is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order {
    Say(Control),
    Close(CloseCode),
}

#[derive(Debug, Default)]
struct Asked {
    messages: VecDeque<Control>,
    close: Option<CloseCode>,
}

#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<Asked>,
    stream: AtomicWaker,
}

/// Closes the session, sends messages, and tells how it ended. Clones are the same link.
#[derive(Clone, Debug)]
pub struct Link {
    shared: Arc<Shared>,
    ended: watch::Receiver<Option<Ending>>,
}

impl Link {
    /// Closes the session: everything over it breaks off at once. The peer is told why, for at most a second; the first
    /// code counts. Works as long as somebody polls the stream.
    pub fn close(&self, code: CloseCode) {
        self.asked().close.get_or_insert(code);
        self.shared.stream.wake();
    }

    /// Sends a message between the bytes of the stream. False when too many wait already.
    #[must_use]
    pub fn say(&self, message: Control) -> bool {
        let mut asked = self.asked();
        let has_room = asked.messages.len() < WAITING;
        if has_room {
            asked.messages.push_back(message);
            drop(asked);
            self.shared.stream.wake();
        }
        has_room
    }

    /// Waits until the session is over and says how it ended: [`Ending::Truncated`] when the stream was dropped before.
    pub async fn ended(&self) -> Ending {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.unwrap_or(Ending::Truncated),
            Err(_) => Ending::Truncated,
        }
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream's end of the link.
#[derive(Debug)]
pub(super) struct Orders {
    shared: Arc<Shared>,
    ended: watch::Sender<Option<Ending>>,
}

impl Orders {
    pub(super) fn new() -> (Self, Link) {
        let shared = Arc::new(Shared::default());
        let (ended, told) = watch::channel(None);
        (Orders { shared: shared.clone(), ended }, Link { shared, ended: told })
    }

    /// The next order; closing comes before what is still to be said, for which there must be room.
    pub(super) fn poll_next(&self, has_room: bool, cx: &mut Context<'_>) -> Poll<Order> {
        self.shared.stream.register(cx.waker());
        let mut asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(code) = asked.close {
            return Poll::Ready(Order::Close(code));
        }
        let message = if has_room { asked.messages.pop_front() } else { None };
        message.map_or(Poll::Pending, |message| Poll::Ready(Order::Say(message)))
    }

    /// Tells how the session ended; the first word counts.
    pub(super) fn end(&self, ending: Ending) {
        self.ended.send_if_modified(|ended| ended.is_none() && ended.replace(ending).is_none());
    }
}
