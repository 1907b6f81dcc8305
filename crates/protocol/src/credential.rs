//! Credentials: newtypes that zeroize when dropped, print `[redacted]`, and compare in constant time.
//!
//! Random bytes come in as an argument; the caller takes them from the operating system's generator.

use std::fmt;

use aws_lc_rs::digest;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// SHA-256 of a credential: what is kept at rest for those that live a minute, and what rows are found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// SHA-256 of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.as_ref());
        Digest(bytes)
    }

    /// All 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// All 32 bytes in lower-case hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// The first 8 bytes in lower-case hex: by these a salted hash is found without trying them all.
    #[must_use]
    pub fn selector(&self) -> String {
        HEXLOWER.encode(&self.0[..8])
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([redacted])")
    }
}

fn is_b64u(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// The text has not the form of the credential. Says nothing about what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a credential of this kind")]
pub struct NotACredential;

macro_rules! credential {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $make:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// How many random bytes one takes.
            pub const ENTROPY: usize = $bytes;

            /// Makes one from random bytes of the operating system's generator.
            #[must_use]
            pub fn from_entropy(bytes: [u8; $bytes]) -> Self {
                let make: fn(&[u8]) -> String = $make;
                $name(make(&bytes))
            }

            /// Takes text of the right form.
            ///
            /// # Errors
            /// The form (prefix, length, alphabet) is another.
            pub fn parse(text: &str) -> Result<Self, NotACredential> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.to_owned())) } else { Err(NotACredential) }
            }

            /// The secret itself, for the one place that hands it over.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }

            /// SHA-256 of it.
            #[must_use]
            pub fn digest(&self) -> Digest {
                Digest::of(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[redacted]")
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
            }
        }
        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl TryFrom<String> for $name {
            type Error = NotACredential;
            fn try_from(mut text: String) -> Result<Self, NotACredential> {
                let parsed = Self::parse(&text);
                text.zeroize();
                parsed
            }
        }

        impl From<$name> for String {
            fn from(secret: $name) -> String {
                secret.0.clone()
            }
        }
    };
}

credential! {
    /// One-time pairing token `otp_…`: 128 random bits in 22 characters of base64url.
    PairToken, 16, |b| format!("otp_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("otp_").is_some_and(|t| is_b64u(t, 22))
}
credential! {
    /// Device token `dev_…`: 192 random bits in 32 characters of base64url.
    DeviceToken, 24, |b| format!("dev_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("dev_").is_some_and(|t| is_b64u(t, 32))
}
credential! {
    /// Client credential of `GET /pair`: 128 random bits in 32 lower-case hex characters.
    BearerToken, 16, |b| HEXLOWER.encode(b), |t| is_lower_hex(t, 32)
}
credential! {
    /// The owner's token `adm_…`: 256 random bits in 43 characters of base64url.
    AdminToken, 32, |b| format!("adm_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("adm_").is_some_and(|t| is_b64u(t, 43))
}
credential! {
    /// One-time token that signs the owner in to the dashboard: `log_…`, 128 random bits.
    LoginToken, 16, |b| format!("log_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("log_").is_some_and(|t| is_b64u(t, 22))
}
credential! {
    /// The cookie of a dashboard's session: `ses_…`, 256 random bits.
    SessionToken, 32, |b| format!("ses_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("ses_").is_some_and(|t| is_b64u(t, 43))
}
credential! {
    /// What a dashboard's page sends beside the cookie: `pag_…`, 128 random bits.
    PageKey, 16, |b| format!("pag_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("pag_").is_some_and(|t| is_b64u(t, 22))
}
credential! {
    /// What a device that waits for approval collects its answer with: `clm_…`, 128 random bits.
    ClaimToken, 16, |b| format!("clm_{}", BASE64URL_NOPAD.encode(b)),
    |t| t.strip_prefix("clm_").is_some_and(|t| is_b64u(t, 22))
}

/// Whether the text has the form of a credential that devices present: `dev_…` or 32 hex characters.
#[must_use]
pub fn is_device_credential(text: &str) -> bool {
    text.strip_prefix("dev_").is_some_and(|t| is_b64u(t, 32)) || is_lower_hex(text, 32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_the_documented_ones() {
        assert_eq!(PairToken::from_entropy([0; 16]).expose(), "otp_AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(DeviceToken::from_entropy([0xff; 24]).expose(), format!("dev_{}", "_".repeat(32)));
        assert_eq!(BearerToken::from_entropy([0xab; 16]).expose(), "ab".repeat(16));
        assert_eq!(AdminToken::from_entropy([0; 32]).expose().len(), 47);
    }

    #[test]
    fn nothing_prints_a_secret() {
        let token = DeviceToken::from_entropy([7; 24]);
        assert_eq!(format!("{token:?} {token}"), "DeviceToken([redacted]) [redacted]");
        assert_eq!(format!("{:?}", token.digest()), "Digest([redacted])");
        let error = serde_json::from_str::<DeviceToken>("\"dev_secret\"").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn wrong_forms_are_refused() {
        for text in [
            "",
            "dev_",
            "dev_short",
            "DEV_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==",
            "dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\u{e9}",
        ] {
            assert!(DeviceToken::parse(text).is_err(), "{text}");
            assert!(!is_device_credential(text), "{text}");
        }
        assert!(BearerToken::parse(&"AB".repeat(16)).is_err(), "upper case");
    }

    proptest! {
        #[test]
        fn what_is_made_reads_back(bytes: [u8; 24], half: [u8; 16], full: [u8; 32]) {
            let device = DeviceToken::from_entropy(bytes);
            prop_assert!(DeviceToken::parse(device.expose()).unwrap() == device);
            prop_assert!(is_device_credential(device.expose()));
            prop_assert!(is_device_credential(BearerToken::from_entropy(half).expose()));
            prop_assert!(PairToken::parse(PairToken::from_entropy(half).expose()).is_ok());
            prop_assert!(ClaimToken::parse(ClaimToken::from_entropy(half).expose()).is_ok());
            prop_assert!(LoginToken::parse(LoginToken::from_entropy(half).expose()).is_ok());
            prop_assert!(SessionToken::parse(SessionToken::from_entropy(full).expose()).is_ok());
            prop_assert!(PageKey::parse(PageKey::from_entropy(half).expose()).is_ok());
            prop_assert!(AdminToken::parse(AdminToken::from_entropy(full).expose()).is_ok());
            prop_assert_eq!(device.digest().to_hex()[..16].to_owned(), device.digest().selector());
        }
    }
}
