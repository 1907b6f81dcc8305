//! The signals that end a command in good order.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From the moment that it is made, these signals no longer end the process by themselves.
pub(crate) struct Signals(Vec<(SignalKind, Signal)>);

impl Signals {
    /// SIGINT, SIGTERM and SIGHUP: for what a person runs on a terminal.
    ///
    /// # Errors
    /// The system does not let us listen for them.
    pub(crate) fn new() -> io::Result<Self> {
        Signals::of(&[SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()])
    }

    /// SIGINT and SIGTERM: SIGHUP stays what it was, so that `nohup` works.
    ///
    /// # Errors
    /// The system does not let us listen for them.
    pub(crate) fn without_hangup() -> io::Result<Self> {
        Signals::of(&[SignalKind::interrupt(), SignalKind::terminate()])
    }

    fn of(kinds: &[SignalKind]) -> io::Result<Self> {
        kinds.iter().map(|kind| Ok((*kind, signal(*kind)?))).collect::<io::Result<_>>().map(Signals)
    }

    /// The number of the next one.
    pub(crate) async fn next(&mut self) -> i32 {
        poll_fn(|cx| {
            let mut came =
                self.0.iter_mut().filter_map(|(kind, signal)| signal.poll_recv(cx).is_ready().then_some(*kind));
            came.next().map_or(Poll::Pending, |kind| Poll::Ready(kind.as_raw_value()))
        })
        .await
    }
}
