//! What came of trying to reach a host over one of its addresses.

use std::fmt;

use couplet_protocol::handshake::HandshakeError;
use couplet_protocol::{Code, Endpoint};

use crate::relay::RelayFailure;

/// One address that was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where.
    pub endpoint: Endpoint,
    /// Why it came to nothing.
    pub failure: AttemptError,
}

/// Why an address was tried in vain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// No connection: refused, no route, name unknown.
    #[error("no connection ({0})")]
    NoConnection(String),
    /// Nobody answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// Something answers there, but not with Couplet's sealed sessions.
    #[error("what answers there has no sealed sessions (status {0})")]
    NotCouplet(u16),
    /// It said no before there were keys, so that anyone could have said it: a hint, never a proof.
    #[error("it refused ({0})")]
    Refused(Hint),
    /// It ended the connection without a word.
    #[error("it hung up")]
    HungUp,
    /// It answered, but not with the key that it must have.
    #[error("what answers there does not have the host's key")]
    WrongKey,
    /// It says of itself that its secrets can be guessed.
    #[error("its secrets do not come from its operating system's generator")]
    WeakRandom,
    /// The relay did not lead to the host.
    #[error(transparent)]
    Relay(Box<RelayFailure>),
    /// It does not speak this version of the protocol.
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl AttemptError {
    /// What the relay said, when it did not lead to the host.
    pub(crate) fn of_relay(&self) -> Option<&RelayFailure> {
        match self {
            AttemptError::Relay(failure) => Some(failure),
            _ => None,
        }
    }
}

/// What a host said before there were keys. Nothing proves that it was the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint(u16);

impl Hint {
    /// Reads the reason of a close frame, or the code of an error answer: `CPL-1203`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("CPL-")?;
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        if is_number { number.parse().ok().map(Hint) } else { None }
    }

    /// Reads a close frame's reason as what a host may say before there are keys (spec/protocol.md, 3): other codes are not
    /// its to say.
    pub(crate) fn before_keys(text: &str) -> Option<Self> {
        const SAID: [u16; 9] = [1013, 1103, 1201, 1203, 1207, 1208, 1218, 1606, 1701];
        Self::parse(text).filter(|hint| SAID.contains(&hint.0))
    }

    /// Whether it is a device's own: what it says of itself, and of what it has stored.
    pub(crate) fn is_of_devices(self) -> bool {
        self.0 / 100 == 16
    }

    /// The code, when this version knows it.
    #[must_use]
    pub fn code(self) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.number() == self.0)
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{code}: {}", code.title()),
            None => write!(f, "CPL-{}", self.0),
        }
    }
}

impl From<HandshakeError> for AttemptError {
    fn from(error: HandshakeError) -> Self {
        match error {
            // With a key that is not the host's nobody can make an answer that opens, nor change one that did.
            HandshakeError::Failed => AttemptError::WrongKey,
            other => AttemptError::Handshake(other),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", Shown(&self.endpoint), self.failure)
    }
}

/// An endpoint as people read it.
pub(crate) struct Shown<'a>(pub(crate) &'a Endpoint);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Endpoint::Lan(address) => address.fmt(f),
            Endpoint::Relay(name) => write!(f, "relay {name}"),
        }
    }
}

/// Several attempts, one a line.
pub(crate) fn lines(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n{attempt}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_a_code_and_nothing_else() {
        assert_eq!(Hint::parse("CPL-1203").and_then(Hint::code), Some(Code::PairTokenUsed));
        assert_eq!(Hint::parse("CPL-9999").unwrap().to_string(), "CPL-9999");
        for other in ["", "1203", "CPL-", "CPL-12031", "CPL-+203", "CPL-12 3", "cpl-1203"] {
            assert_eq!(Hint::parse(other), None, "{other}");
        }
    }

    #[test]
    fn before_there_are_keys_nobody_says_what_this_device_has() {
        for said in ["CPL-1201", "CPL-1103", "CPL-1606"] {
            assert_eq!(Hint::before_keys(said), Hint::parse(said), "{said}");
        }
        for other in ["CPL-1607", "CPL-1603", "CPL-1604", "CPL-9999", ""] {
            assert_eq!(Hint::before_keys(other), None, "{other}");
        }
        assert!(Hint::parse("CPL-1607").is_some_and(Hint::is_of_devices));
        assert!(!Hint::parse("CPL-1208").is_some_and(Hint::is_of_devices));
    }
}
