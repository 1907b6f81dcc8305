//! Pairing by PIN: the host shows digits, and the person with the device types them there.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::DeviceCredential;
use crate::credential::ClaimToken;
use crate::pin::{MatchNumber, Pin};
use crate::secret::SecretText;

/// Body of `POST /mobile/pairing`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinPairingRequest {
    /// What the user calls the device: 1 to 64 characters.
    pub device_name: String,
    /// The device's model: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_model: Option<String>,
    /// Its system: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// A random text of 16 to 128 bytes that the device makes up, and sends again when it sends the request again: so
    /// nobody else who speaks from its address is taken for it. Without it, the address and the rest must be the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, min_length = 16, max_length = 128)]
    pub request_key: Option<SecretText>,
    /// Whether the device speaks sealed sessions: it is given a link, in place of a token that passes by plain HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// Answer of `POST /mobile/pairing`. The PIN is not in it: the host shows that to its owner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinPairingAnswer {
    /// Names the request in `POST /mobile/pairing/{id}/verify`. The same request sent again has the same. Who has it can
    /// collect the credential once the owner has said yes.
    #[schema(value_type = String, pattern = "^clm_[A-Za-z0-9_-]{22}$")]
    pub id: ClaimToken,
    /// Three digits for the device to show. The owner sees them beside its request, and beside no other that waits: who
    /// lets a device in without the PIN compares them.
    #[schema(value_type = String, pattern = "^[1-9][0-9]{2}$")]
    pub match_number: MatchNumber,
    /// When the request ends.
    pub expires_at: String,
}

/// Body of `POST /mobile/pairing/{id}/verify`; an empty body is the same as `{}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct VerifyPinRequest {
    /// The digits that the host shows: six, or eight for a device that asked for a sealed session, which must not send
    /// six. Without them, the device asks whether its owner has said yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^([0-9]{6}|[0-9]{8})$")]
    pub pin: Option<TypedPin>,
}

/// What came as a PIN, whatever it is. Never printed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TypedPin(String);

impl TypedPin {
    /// Takes what was typed.
    #[must_use]
    pub fn new(text: String) -> Self {
        TypedPin(text)
    }

    /// The PIN, if it is one.
    #[must_use]
    pub fn read(&self) -> Option<Pin> {
        Pin::parse(&self.0).ok()
    }
}

impl std::fmt::Debug for TypedPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TypedPin([redacted])")
    }
}

impl Drop for TypedPin {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

/// Answer 200 of `POST /mobile/pairing/{id}/verify`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum PinAccepted {
    /// The device is paired.
    Paired(DeviceCredential),
    /// The device pairs by this link, in a sealed session.
    Link(LinkAnswer),
}

/// A link for one device, shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LinkAnswer {
    /// As a QR code carries it (spec/protocol.md, 2).
    pub link: String,
    /// When it ends.
    pub link_expires_at: String,
}

impl std::fmt::Debug for LinkAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkAnswer([redacted])")
    }
}

/// Answer 202 of `POST /mobile/pairing/{id}/verify` without a PIN: the owner has not said anything yet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinPending {
    /// When the request ends.
    pub expires_at: String,
    /// What happens now, for a person.
    pub instructions: String,
}

/// A device that asks to pair by PIN, as the owner sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinRequest {
    /// Names it in `accept` and `reject`, and in events.
    pub id: Uuid,
    /// The digits to type on the device: eight if it pairs in a sealed session, else six.
    #[schema(value_type = String, pattern = "^([0-9]{6}|[0-9]{8})$")]
    pub pin: Pin,
    /// The three digits that the device shows if the request is its own; no other that waits has the same.
    #[schema(value_type = String, pattern = "^[1-9][0-9]{2}$")]
    pub match_number: MatchNumber,
    /// Whether it pairs in a sealed session, whose check code the owner types. Otherwise it is given a token, and all that
    /// it says and hears passes by plain HTTP.
    pub sealed: bool,
    /// What the device calls itself.
    pub device_name: String,
    /// Its model as it told it.
    pub device_model: Option<String>,
    /// Its system as it told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The address it came from.
    pub network: Option<String>,
    /// When it came.
    pub created_at: String,
    /// When the request ends.
    pub expires_at: String,
}

/// Answer of `GET /mobile/pairing`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PinRequestList {
    /// Oldest first.
    pub requests: Vec<PinRequest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_pin_or_a_link() {
        let verify: VerifyPinRequest = serde_json::from_str(r#"{"pin":"123456"}"#).unwrap();
        assert!(verify.pin.as_ref().unwrap().read().is_some());
        let link = LinkAnswer { link: "COUPLET:AEBA".into(), link_expires_at: String::new() };
        let text = format!("{verify:?} {link:?}");
        assert!(!text.contains("123") && !text.contains("AEBA"), "{text}");
    }

    #[test]
    fn the_two_answers_are_told_apart() {
        let paired = format!(r#"{{"device_token":"dev_x","device_id":"{}","server_name":"nas"}}"#, Uuid::nil());
        assert!(matches!(serde_json::from_str(&paired).unwrap(), PinAccepted::Paired(_)));
        let link = r#"{"link":"COUPLET:AEBA","link_expires_at":""}"#;
        assert!(matches!(serde_json::from_str(link).unwrap(), PinAccepted::Link(_)));
    }
}
