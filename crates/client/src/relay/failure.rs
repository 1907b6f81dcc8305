//! What a relay says, or does, instead of leading to the host.

use std::fmt;
use std::time::Duration;

use couplet_protocol::relay::Addresses;
use couplet_protocol::{Code, RelayName};
use rustls::CertificateError;

/// Clocks that differ by no more are alike, in seconds.
pub const SKEW: i64 = 60;

/// Why a relay could not be used, or did not lead to the host. Its text is ours: nothing that the relay wrote is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayFailure {
    code: Code,
    why: String,
    retry_after: Option<Duration>,
    /// By how many seconds the relay's clock is ahead of this machine's.
    ahead: i64,
    hung_up: bool,
}

impl RelayFailure {
    /// A failure of this kind; `why` says what was met, as in "no connection (…)".
    pub fn new(code: Code, why: impl Into<String>) -> Self {
        RelayFailure { code, why: why.into(), retry_after: None, ahead: 0, hung_up: false }
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

    /// It ended the connection.
    pub(super) fn hung_up(why: impl fmt::Display) -> Self {
        let why = format!("it ended the connection ({why})");
        RelayFailure { hung_up: true, ..RelayFailure::new(Code::RelayUnreachable, why) }
    }

    /// It says what no relay says.
    #[must_use]
    pub fn broken(what: &str) -> Self {
        RelayFailure::new(Code::RelayBroken, format!("it answers what no relay answers: {what}"))
    }

    pub(super) fn internal() -> Self {
        RelayFailure::new(Code::Internal, "a key could not be derived, or TLS does not start")
    }

    /// A TLS handshake that failed.
    pub(super) fn of_tls(error: &std::io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let wrong = match inner {
            Some(rustls::Error::InvalidCertificate(wrong)) => wrong,
            Some(rustls::Error::AlertReceived(_)) | None => return RelayFailure::hung_up(error),
            Some(_) => return RelayFailure::new(Code::RelayUnreachable, format!("no TLS ({error})")),
        };
        let untrusted = |what: &str| RelayFailure::new(Code::RelayUntrusted, format!("its certificate {what}"));
        let clock = |what: &str| {
            let why = format!("its certificate {what} by this machine's clock");
            RelayFailure::new(Code::ClockDiffers, why)
        };
        match wrong {
            CertificateError::NotValidYetContext { time, not_before } => {
                let wait = not_before.as_secs().saturating_sub(time.as_secs());
                clock(&format!("is not valid for another {wait} s"))
            }
            CertificateError::ExpiredContext { time, not_after } => {
                let past = time.as_secs().saturating_sub(not_after.as_secs());
                clock(&format!("has expired {past} s ago"))
            }
            CertificateError::NotValidYet => clock("is not valid yet"),
            CertificateError::Expired => clock("has expired"),
            // The second is one of the same name, as when a relay was set up anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                untrusted("comes from an authority that this machine does not trust")
            }
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

    /// Whether it ended the connection without a word, as it does with a host that it does not let in.
    #[must_use]
    pub fn is_hung_up(&self) -> bool {
        self.hung_up
    }

    /// What was met, and what to do next: what goes below the code's title.
    #[must_use]
    pub fn detail(&self, relay: &RelayName) -> String {
        let met = if self.why == self.code.title() { String::new() } else { format!("{relay}: {}.\n", self.why) };
        let clock = skew(self.ahead).map(|said| format!("{said}.\n")).unwrap_or_default();
        format!("{met}{clock}{}", self.next_step(relay))
    }

    /// Whether it is about the account alone, so that another token may do.
    #[must_use]
    pub fn is_of_account(&self) -> bool {
        matches!(
            self.code,
            Code::AccountMismatch | Code::AccountInvalid | Code::AccountExpired | Code::AccountUnreadable
        )
    }

    /// The room is of another account.
    pub(super) fn mismatch(addresses: &Addresses) -> Self {
        let host = shown(addresses.host_email.as_deref(), "somebody else");
        let device = shown(addresses.device_email.as_deref(), "nobody that the relay knows");
        let title = Code::AccountMismatch.title();
        let why = format!("{title}: the host is signed in as {host}, this device as {device}");
        RelayFailure::new(Code::AccountMismatch, why)
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
            Code::EnrollmentInvalid | Code::EnrollmentUsed => {
                "Ask the relay's operator for a new one: couplet relay invite.".to_owned()
            }
            Code::HostRevoked => "Ask the relay's operator for an enrolment token, and enrol anew: couplet enroll \
                                  TOKEN."
                .to_owned(),
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
            Code::AccountMismatch => "Host and device must have the same account at the relay: a token of it belongs \
                                      into the file that --relay-account-token-file names, and this relay behind \
                                      --relay-account-at."
                .to_owned(),
            Code::AccountInvalid | Code::AccountExpired => "Write a fresh token into the file that \
                                                            --relay-account-token-file names. It is read anew at \
                                                            every try."
                .to_owned(),
            Code::AccountUnreadable => {
                "Write a token of the relay's identity provider there, and nothing else.".to_owned()
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
        skew(self.ahead).map_or(Ok(()), |said| write!(f, "; {said}"))
    }
}

/// An address that cannot do any harm where it is shown. It is the one thing of a relay that is.
fn shown<'a>(address: Option<&'a str>, instead: &'a str) -> &'a str {
    let is_plain = |address: &&str| {
        let fits = (3..=255).contains(&address.len()) && address.contains('@');
        fits && address.chars().all(|c| c.is_alphanumeric() || "@.+-_=%!#$&'*/?^`{|}~".contains(c))
    };
    address.filter(is_plain).unwrap_or(instead)
}

/// How a relay's clock that is so many seconds ahead of this machine's is spoken of, when it is worth a word.
#[must_use]
pub fn skew(ahead: i64) -> Option<String> {
    let (by, which) = (ahead.unsigned_abs(), if ahead > 0 { "behind" } else { "ahead of" });
    (ahead.abs() > SKEW).then(|| format!("this machine's clock is {by} s {which} the relay's"))
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
    fn both_addresses_are_shown_unless_they_could_do_harm() {
        let of = |host: &str, device: &str| {
            let [host_email, device_email] = [host, device].map(|text| (!text.is_empty()).then(|| text.to_owned()));
            RelayFailure::mismatch(&Addresses { host_email, device_email }).to_string()
        };
        let both = of("ann@example.org", "bøb+x@example.org");
        assert!(both.contains("as ann@example.org, this device as bøb+x@example.org (CPL-1802)"), "{both}");
        for odd in ["", "ann", "a@b\u{1b}[2J", "a@b\nOwner: pay", "a@\u{202e}b", &format!("a@{}", "b".repeat(300))] {
            let said = of(odd, odd);
            assert!(said.contains("as somebody else, this device as nobody that the relay knows"), "{said}");
        }
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
