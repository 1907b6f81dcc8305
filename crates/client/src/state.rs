//! How things stand between a device and its host.

use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use couplet_protocol::frame::CloseCode;
use couplet_protocol::{Endpoint, RelayName};

use crate::attempt::{Attempt, AttemptError, lines};
use crate::relay::RelayFailure;

/// The state of a connection to a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// A session is being opened.
    Connecting,
    /// A session is open, straight over the local network.
    Direct {
        /// With this address.
        endpoint: SocketAddr,
    },
    /// A session is open through a relay.
    Relay {
        /// Which.
        relay: RelayName,
    },
    /// There is no session. It is tried again and again.
    Offline {
        /// Since when.
        since: SystemTime,
        /// Why.
        reason: Reason,
    },
    /// The owner revoked this device: over, until it is paired anew.
    Revoked,
    /// This device's access has ended: over, until the owner extends it.
    Expired,
}

impl State {
    /// Whether a session is open.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, State::Direct { .. } | State::Relay { .. })
    }

    /// Whether nothing but a new pairing, or the owner, can change it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, State::Revoked | State::Expired)
    }

    /// One word for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Direct { .. } => "direct",
            State::Relay { .. } => "relay",
            State::Offline { .. } => "offline",
            State::Revoked => "revoked",
            State::Expired => "expired",
        }
    }
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No address that is known was of use.
    Unreachable(Vec<Attempt>),
    /// None is known that this version can use.
    NoAddress,
    /// The host closed the session.
    Closed(CloseCode),
    /// The connection broke.
    Lost,
    /// What came could not be opened: it was changed on the way, or one of the two programs is faulty.
    Broken,
    /// One of these, on a connection through this relay.
    Relayed(RelayName, Box<Reason>),
    /// This machine has another way to the network now.
    Moved,
}

impl Reason {
    /// The same on a connection through this relay. What the host itself said stays as it is.
    pub(crate) fn through(self, relay: Option<&RelayName>) -> Self {
        match (self, relay) {
            (reason @ (Reason::Lost | Reason::Broken), Some(relay)) => Reason::Relayed(relay.clone(), Box::new(reason)),
            (reason, _) => reason,
        }
    }

    /// The relay that failed last, and how.
    #[must_use]
    pub fn relay(&self) -> Option<(&RelayName, &RelayFailure)> {
        let Reason::Unreachable(attempts) = self else { return None };
        attempts.iter().rev().find_map(|tried| match (&tried.endpoint, &tried.failure) {
            (Endpoint::Relay(relay), AttemptError::Relay(failure)) => Some((relay, &**failure)),
            _ => None,
        })
    }

    /// Whether something answered that does not have the host's key.
    #[must_use]
    pub fn is_wrong_key(&self) -> bool {
        match self {
            Reason::Unreachable(attempts) => attempts.iter().any(|tried| tried.failure == AttemptError::WrongKey),
            _ => false,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Unreachable(attempts) => write!(f, "no address leads to it:{}", lines(attempts)),
            Reason::NoAddress => f.write_str("no address of it is known"),
            Reason::Closed(CloseCode::Busy) => f.write_str("it has as many sessions as it may have"),
            Reason::Closed(CloseCode::Leaving) => f.write_str("it stopped"),
            Reason::Closed(CloseCode::Replaced) => f.write_str("a newer session of this device took the place"),
            Reason::Closed(_) => f.write_str("it closed the session"),
            Reason::Broken => f.write_str("what came from it could not be opened: it was changed on the way"),
            Reason::Lost => f.write_str("the connection broke"),
            Reason::Relayed(relay, reason) => write!(f, "through the relay {relay}: {reason}"),
            Reason::Moved => f.write_str("this machine is in another network now"),
        }
    }
}
