//! A session over a WebSocket, as a byte stream (spec/protocol.md, 4).
//!
//! [`SealedStream`] seals what is written to it and opens what it reads. It has no task of its own: who polls it, as an
//! HTTP connection does, drives it. What is not a byte of the stream goes through its [`Link`]: closing, and the
//! messages of either end.

mod config;
mod link;
mod stream;

pub use config::{accepted, config, receive};
pub use link::{Ending, Link};
pub use stream::SealedStream;

use couplet_protocol::frame::CloseCode;

/// Which end this is: they watch over each other in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Sends a ping every 25 s, and ends when none is answered within 10 s.
    Host,
    /// Ends when nothing at all came for 60 s.
    Device,
}

/// Why a sealed stream is over before its time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// The peer closed the session.
    #[error("the peer closed the session ({0:?})")]
    Closed(CloseCode),
    /// The connection ended without a CLOSE: whatever was under way is not whole.
    #[error("the connection ended before the session was closed")]
    Truncated,
    /// A frame could not be opened, or the peer broke the protocol.
    #[error("the session broke: a frame could not be opened or was out of place")]
    Broken,
    /// The peer did not answer in time.
    #[error("the peer has been silent for too long")]
    Silent,
    /// This end closed the session.
    #[error("the session was closed")]
    ClosedByUs,
}

impl From<SealedError> for std::io::Error {
    fn from(error: SealedError) -> Self {
        use std::io::ErrorKind;
        let kind = match error {
            SealedError::Truncated => ErrorKind::UnexpectedEof,
            SealedError::Closed(_) => ErrorKind::ConnectionAborted,
            SealedError::Broken => ErrorKind::InvalidData,
            SealedError::Silent => ErrorKind::TimedOut,
            SealedError::ClosedByUs => ErrorKind::BrokenPipe,
        };
        std::io::Error::new(kind, error)
    }
}
