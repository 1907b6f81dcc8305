//! Watches: devices that sign with a P-256 key (spec/protocol.md, 8).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::signature::KeyForm;

/// Answer of `GET /watch/pairing-info`: what a watch's pairing begins with.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct WatchPairingInfo {
    /// Names the offer in events and in `DELETE /api/pair/offers/{id}`.
    pub offer_id: Uuid,
    /// What the watch signs, its ASCII characters as they are: 8 bytes of time and 16 random ones in base64url. Good once,
    /// and for a minute.
    pub nonce: String,
    /// Which host this is: the fingerprint of its key.
    pub machine_id: String,
    /// Where the host is: `http://ip:port`.
    pub url: String,
    /// Where the watch registers there.
    pub endpoint: String,
    /// All of that for a QR code: `couplet://ip:port/watch/devices?nonce=…&machine_id=…`.
    pub qr_url: String,
    /// When the nonce ends.
    pub expires_at: String,
}

impl std::fmt::Debug for WatchPairingInfo {
    /// Leaves out the nonce, which pairs whoever has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchPairingInfo").field("offer_id", &self.offer_id).finish_non_exhaustive()
    }
}

/// Body of `POST /watch/devices`.
#[derive(Clone, Deserialize, ToSchema)]
pub struct RegisterWatchRequest {
    /// The watch's public key.
    pub public_key: KeyForm,
    /// Its signature over the nonce, ECDSA with SHA-256, as DER or as r and s; base64 or base64url.
    pub signature: String,
    /// The nonce of `GET /watch/pairing-info`.
    pub nonce: String,
    /// What the user calls the watch: 1 to 64 characters.
    pub device_name: String,
    /// Its model: 1 to 64 characters.
    #[serde(default)]
    pub device_model: Option<String>,
    /// Its system: 1 to 64 characters.
    #[serde(default)]
    pub platform: Option<String>,
    /// The claim of an earlier 202 answer, when the owner's approval is awaited.
    #[serde(default)]
    pub claim: Option<String>,
}

impl std::fmt::Debug for RegisterWatchRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegisterWatchRequest").field("device_name", &self.device_name).finish_non_exhaustive()
    }
}

/// Answer of `POST /watch/devices`: the watch is paired, and signs from now on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct WatchPaired {
    /// The watch's id: its `keyid` and `X-Device-Id`.
    pub device_id: Uuid,
    /// What the owner calls this host.
    pub server_name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_nonce_or_a_claim() {
        let info = serde_json::json!({ "offer_id": Uuid::nil(), "nonce": "AAAA", "machine_id": "m", "url": "u",
            "endpoint": "e", "qr_url": "q?nonce=AAAA", "expires_at": "" });
        let text = format!("{:?}", serde_json::from_value::<WatchPairingInfo>(info).unwrap());
        assert!(text.contains("offer_id") && !text.contains("AAAA"), "{text}");
        let request = serde_json::json!({ "public_key": "k", "signature": "s", "nonce": "AAAA", "device_name": "n",
            "claim": "clm_x" });
        let text = format!("{:?}", serde_json::from_value::<RegisterWatchRequest>(request).unwrap());
        assert!(text.contains('n') && !text.contains("AAAA") && !text.contains("clm_"), "{text}");
    }
}
