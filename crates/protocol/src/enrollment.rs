//! The enrolment token: what a relay's operator hands to the owner of a host (spec/protocol.md, 6).
//!
//! It names the relay's two listeners, the certificate authority that the host is to trust for one of them, and a secret
//! that is good for one host.

use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

use crate::offer::RelayName;
use crate::secret::EnrollmentSecret;

const PREFIX: &str = "enr_";
const VERSION: u8 = 1;
/// The longest text: two names of 255 bytes.
const TEXT_MAX: usize = PREFIX.len() + (1 + 2 * 256 + 32 + 16) * 4 / 3 + 2;

/// Why an enrolment token cannot be read. Says nothing of what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrollmentError {
    /// It does not begin as one.
    #[error("this is no enrolment token: it begins with {PREFIX}")]
    NotAToken,
    /// Part of it is missing or changed.
    #[error("the enrolment token is damaged: copy it whole")]
    Damaged,
    /// A newer form.
    #[error("the enrolment token is of version {0}, this program knows version {VERSION}: update it")]
    Version(u8),
}

/// An enrolment token: `enr_` and base64url of
/// `01 ‖ len u8 ‖ relay ‖ len u8 ‖ hosts ‖ ca[32] ‖ secret[16]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrollmentToken {
    /// The devices' listener, where the host enrols: `name[:port]`, by TLS.
    pub relay: RelayName,
    /// The hosts' listener: `name[:port]`, by TLS with a certificate on both sides.
    pub hosts: RelayName,
    /// SHA-256 of the relay's own CA certificate (DER): the one that the host trusts for the hosts' listener.
    pub ca: [u8; 32],
    /// What the host is let in by, once.
    pub secret: EnrollmentSecret,
}

impl EnrollmentToken {
    /// The text. A secret.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(TEXT_MAX));
        bytes.push(VERSION);
        for name in [&self.relay, &self.hosts] {
            let name = name.as_str().as_bytes();
            // Names are at most 255 bytes.
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name);
        }
        bytes.extend_from_slice(&self.ca);
        bytes.extend_from_slice(self.secret.expose());
        let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX));
        text.push_str(PREFIX);
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        text
    }

    /// Reads the text; blanks around it are no matter.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(text: &str) -> Result<Self, EnrollmentError> {
        let text = text.trim();
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() <= TEXT_MAX).ok_or(EnrollmentError::NotAToken)?;
        let bytes = BASE64URL_NOPAD.decode(rest.as_bytes()).map(Zeroizing::new);
        let bytes = bytes.map_err(|_| EnrollmentError::Damaged)?;
        match bytes.split_first() {
            Some((&VERSION, rest)) => read(rest).ok_or(EnrollmentError::Damaged),
            Some((version, _)) => Err(EnrollmentError::Version(*version)),
            None => Err(EnrollmentError::Damaged),
        }
    }
}

fn read(bytes: &[u8]) -> Option<EnrollmentToken> {
    let (relay, rest) = name(bytes)?;
    let (hosts, rest) = name(rest)?;
    let (ca, secret) = rest.split_first_chunk()?;
    Some(EnrollmentToken { relay, hosts, ca: *ca, secret: EnrollmentSecret::from_slice(secret)? })
}

fn name(bytes: &[u8]) -> Option<(RelayName, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked((*len).into())?;
    let text = std::str::from_utf8(name).ok()?;
    // One token has one text.
    let name = RelayName::parse(text).filter(|name| name.as_str() == text)?;
    Some((name, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token() -> EnrollmentToken {
        EnrollmentToken {
            relay: RelayName::parse("relay.example").unwrap(),
            hosts: RelayName::parse("relay.example:8443").unwrap(),
            ca: [7; 32],
            secret: EnrollmentSecret::new([9; 16]),
        }
    }

    #[test]
    fn the_text_comes_back_and_its_form_stays() {
        let text = token().to_text();
        assert_eq!(
            text.as_str(),
            "enr_AQ1yZWxheS5leGFtcGxlEnJlbGF5LmV4YW1wbGU6ODQ0MwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHCQkJCQkJCQkJCQkJCQkJCQ"
        );
        assert_eq!(EnrollmentToken::parse(&format!(" {}\n", text.as_str())), Ok(token()));
        let longest = RelayName::parse(&format!("{}:65535", ["a".repeat(61).as_str(); 4].join("."))).unwrap();
        let token = EnrollmentToken { relay: longest.clone(), hosts: longest, ..token() };
        assert_eq!(EnrollmentToken::parse(&token.to_text()), Ok(token));
    }

    #[test]
    fn what_is_wrong_is_said_and_the_secret_is_not() {
        let text = token().to_text();
        for (bad, why) in [
            ("", EnrollmentError::NotAToken),
            ("otp_AAAA", EnrollmentError::NotAToken),
            ("enr_", EnrollmentError::Damaged),
            ("enr_é", EnrollmentError::Damaged),
            ("enr_Ag", EnrollmentError::Version(2)),
            (&text[..text.len() - 2], EnrollmentError::Damaged),
            (&format!("{}AA", text.as_str()), EnrollmentError::Damaged),
            (&format!("enr_{}", "A".repeat(TEXT_MAX)), EnrollmentError::NotAToken),
        ] {
            assert_eq!(EnrollmentToken::parse(bad), Err(why), "{bad}");
        }
        let shown = format!("{:?}", token());
        assert!(shown.contains("[redacted]") && !shown.contains("9, 9"), "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(at in 0_usize..256, byte in any::<u8>(), cut in 0_usize..8) {
            let text = token().to_text();
            let mut bytes = BASE64URL_NOPAD.decode(&text.as_bytes()[PREFIX.len()..]).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut / 7);
            let text = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes));
            if let Ok(token) = EnrollmentToken::parse(&text) {
                let again = token.to_text();
                prop_assert_eq!(again.as_str(), text);
            }
        }
    }
}
