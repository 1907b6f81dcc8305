//! What a relay says, or does, instead of leading to the host.

use std::fmt;
use std::time::Duration;

use couplet_protocol::{Code, RelayName};
use rustls::CertificateError;

/// Clocks that differ by less are alike, in seconds.
const SKEW: i64 = 60;

/// Why a relay did not lead to the host. Its text is ours: nothing that the relay wrote is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayFailure {
    code: Code,
    why: String,
    retry_after: Option<Duration>,
    /// By how many seconds the relay's clock is ahead of this machine's.
    ahead: i64,
}

impl RelayFailure {
    pub(super) fn new(code: Code, why: impl Into<String>) -> Self {
        RelayFailure { code, why: why.into(), retry_after: None, ahead: 0 }
    }

    /// The relay's own answer.
    pub(super) fn answered(code: Code, retry_after: Option<Duration>) -> Self {
        RelayFailure { retry_after, ..RelayFailure::new(code, code.title()) }
    }

    /// No connection.
    pub(super) fn unreachable(why: impl fmt::Display) -> Self {
        RelayFailure::new(Code::RelayUnreachable, format!("no connection ({why})"))
    }

    /// It took the connection, and then too long.
    pub(super) fn silent() -> Self {
        RelayFailure::new(Code::RelayUnreachable, "no answer in time")
    }

    /// It says what no relay says.
    pub(super) fn broken(what: &str) -> Self {
        RelayFailure::new(Code::RelayBroken, format!("it answers what no relay answers: {what}"))
    }

    pub(super) fn internal() -> Self {
        RelayFailure::new(Code::Internal, "a key could not be derived, or TLS does not start")
    }

    /// A TLS handshake that failed.
    pub(super) fn of_tls(error: &std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(wrong)) = inner else {
            return RelayFailure::new(Code::RelayUnreachable, format!("no TLS ({error})"));
        };
        let untrusted = |what: &str| RelayFailure::new(Code::RelayUntrusted, format!("its certificate {what}"));
        let clock = |what: &str| {
            let why = format!("its certificate {what} by this machine's clock");
            RelayFailure::new(Code::ClockDiffers, why)
        };
        match wrong {
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => clock("is not valid yet"),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => clock("has expired"),
            CertificateError::UnknownIssuer => untrusted("comes from an authority that this machine does not trust"),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                untrusted("is for another name")
            }
            other => untrusted(&format!("cannot be verified ({other:?})")),
        }
    }

    /// Remembers what the relay's clock said.
    pub(super) fn with_clock(mut self, ahead: Option<i64>) -> Self {
        self.ahead = ahead.unwrap_or(0);
        self
    }

    /// The code with the page about it.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// When the relay said to come back.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(super) fn is_locked(&self) -> bool {
        self.code == Code::RoomLocked
    }

    pub(super) fn is_unknown_room(&self) -> bool {
        self.code == Code::RoomRefused
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(&self, relay: &RelayName) -> String {
        match self.code {
            Code::RelayUnreachable | Code::UpgradeBlocked | Code::RelayBroken => {
                format!("Which step fails, and what to do about it: couplet relay check {relay}")
            }
            Code::RelayUntrusted => format!(
                "Somebody may be in between. If {relay} has a certificate of its own, get its CA from the operator: \
                 --relay-ca FILE."
            ),
            Code::ClockDiffers => "Set the clock that is wrong: timedatectl set-ntp true, where systemd keeps this \
                                   machine's. If it is right, tell the relay's operator."
                .to_owned(),
            Code::HostOffline => "Is the host running, and on the Internet?".to_owned(),
            Code::RoomRefused => "The host has revoked this device, or lost its pairings: ask its owner, and pair \
                                  anew with a link."
                .to_owned(),
            Code::RelayBusy => "End a session of another device, or try again in a moment.".to_owned(),
            Code::OfferOver => "Ask for a new link: couplet pair, on the host.".to_owned(),
            Code::AccountMismatch | Code::AccountInvalid => {
                "Hosts and devices of this room must have the same account at the relay.".to_owned()
            }
            Code::RoomLocked | Code::TooManyFailures => match self.retry_after {
                Some(wait) => format!("Try again in {} s, or from another network.", wait.as_secs()),
                None => "Try again in a quarter of an hour, or from another network.".to_owned(),
            },
            _ => "Try again in a moment.".to_owned(),
        }
    }
}

impl fmt::Display for RelayFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.why, self.code)?;
        let (by, which) = (self.ahead.unsigned_abs(), if self.ahead > 0 { "behind" } else { "ahead of" });
        if self.ahead.abs() > SKEW {
            write!(f, "; this machine's clock is {by} s {which} the relay's")?;
        }
        Ok(())
    }
}

impl std::error::Error for RelayFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_differs_is_said() {
        let late = RelayFailure::answered(Code::OfferOver, None);
        assert_eq!(late.to_string(), "The pairing link was already used (CPL-1804)");
        let behind = late.clone().with_clock(Some(300)).to_string();
        assert!(behind.ends_with("this machine's clock is 300 s behind the relay's"), "{behind}");
        assert!(late.clone().with_clock(Some(-300)).to_string().contains("300 s ahead of the relay's"));
        assert_eq!(late.clone().with_clock(Some(60)).to_string(), late.to_string());
    }

    #[test]
    fn certificates_are_told_apart() {
        let of = |wrong| RelayFailure::of_tls(&std::io::Error::other(rustls::Error::InvalidCertificate(wrong)));
        assert_eq!(of(CertificateError::Expired).code(), Code::ClockDiffers);
        assert_eq!(of(CertificateError::NotValidYet).code(), Code::ClockDiffers);
        let name = RelayName::parse("relay.example").unwrap();
        for wrong in [CertificateError::UnknownIssuer, CertificateError::NotValidForName, CertificateError::BadEncoding]
        {
            assert!(of(wrong).next_step(&name).contains("--relay-ca FILE"));
        }
        let alert = RelayFailure::of_tls(&std::io::Error::other(rustls::Error::HandshakeNotComplete));
        assert_eq!(alert.code(), Code::RelayUnreachable);
    }
}
