//! The bodies of the HTTP API. Times are RFC 3339 in UTC. Unknown members are ignored.

mod dashboard;
mod doctor;
mod event;
mod mobile;
mod watches;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub use self::doctor::{DoctorReport, Finding, FindingState, Part};
pub use self::event::{Event, EventKind};
pub use self::mobile::{
    LinkAnswer, PinAccepted, PinPairingAnswer, PinPairingRequest, PinPending, PinRequest, PinRequestList, TypedPin,
    VerifyPinRequest,
};
pub use self::watches::{RegisterWatchRequest, WatchPaired, WatchPairingInfo};
use crate::credential::{ClaimToken, PairToken};
use crate::name::{DeviceModel, DeviceName, DevicePlatform};
use crate::scope::Scope;

pub use dashboard::{
    LoginAnswer, LoginLinks, LoginRequest, OwnerSessionInfo, OwnerSessionList, OwnerStatus, QrAnswer, QrRequest,
    RelayState, RelayStatus,
};

/// Body of `POST /api/pair/generate`; an empty body is the same as `{}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct GenerateRequest {
    /// How long the token lives, in seconds: 10 to 600; 60 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
    /// How long the link of sealed sessions lives, in seconds: 10 to 600; 300 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_ttl: Option<u64>,
}

/// Answer of `POST /api/pair/generate`: two credentials of one offer, which the first grant of either uses up.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct GenerateAnswer {
    /// Names the offer in events and in `DELETE /api/pair/offers/{id}`.
    pub offer_id: Uuid,
    /// One-time pairing token: `otp_` and 22 characters.
    #[schema(value_type = String, pattern = "^otp_[A-Za-z0-9_-]{22}$")]
    pub pair_token: PairToken,
    /// What the QR of a device without sealed sessions carries: `couplet://ip:port?pair=otp_…`.
    pub qr_url: String,
    /// When the token ends.
    pub expires_at: String,
    /// What the QR of a device with sealed sessions carries: `COUPLET:…` (spec/protocol.md, 2).
    pub link: String,
    /// When the link ends.
    pub link_expires_at: String,
}

impl std::fmt::Debug for GenerateAnswer {
    /// Leaves out the credentials; both links hold one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GenerateAnswer").field("offer_id", &self.offer_id).finish_non_exhaustive()
    }
}

/// Body of `POST /api/pair/exchange`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExchangeRequest {
    /// The one-time token from the QR.
    pub pair_token: String,
    /// What the user calls the device: 1 to 64 characters.
    pub device_name: String,
    /// The device's model: 1 to 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_model: Option<String>,
    /// The claim of an earlier 202 answer, when the owner's approval is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
}

/// A device's credential, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceCredential {
    /// Persistent bearer credential: `dev_` and 32 characters.
    pub device_token: String,
    /// The device's id.
    pub device_id: Uuid,
    /// What the owner calls this host.
    pub server_name: String,
}

/// Answer 202 of a door that waits for the owner: repeat the request with this claim.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClaimAnswer {
    /// What the answer is collected with.
    #[schema(value_type = String, pattern = "^clm_[A-Za-z0-9_-]{22}$")]
    pub claim: ClaimToken,
    /// When the host stops waiting for its owner.
    pub expires_at: String,
    /// What the owner is shown as this device's name: the person with the device can tell it to them.
    pub shown_as: String,
    /// What happens now, for a person.
    pub instructions: String,
}

/// Answer of `GET /pair`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairUrlAnswer {
    /// What a person types or opens: `http://ip:port/pair?token=…`.
    pub url: String,
    /// The credential: 32 lower-case hex characters.
    pub token: String,
    /// What to do with them.
    pub instructions: String,
}

/// How a device came to be paired and what it authenticates with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A phone or tablet: exchanged a one-time token, or says so itself.
    Mobile,
    /// Holds a credential of `GET /pair` or of the owner's pre-fill: editors, agents, second shells.
    Bearer,
    /// A computer, as it says itself.
    Desktop,
    /// A browser, as it says itself.
    Browser,
    /// Signs each request with a P-256 key, which never leaves it.
    Watch,
    /// Calls itself something else.
    Other,
}

/// The network path that a device last came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPath {
    /// The same network.
    Lan,
    /// Through a relay.
    Relay,
}

/// One paired device, as the owner sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceInfo {
    /// The device's id.
    pub device_id: Uuid,
    /// What the user calls it.
    #[schema(value_type = String)]
    pub device_name: DeviceName,
    /// Its model as it told it.
    #[schema(value_type = Option<String>)]
    pub device_model: Option<DeviceModel>,
    /// Its system as it told it: `iOS 19`, `Linux`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub platform: Option<DevicePlatform>,
    /// How it was paired.
    pub kind: DeviceKind,
    /// When it was paired.
    pub paired_at: String,
    /// When it last called; null when it never did ("never used").
    pub last_seen: Option<String>,
    /// When it was revoked; null while it is active.
    pub revoked_at: Option<String>,
    /// Where it last came from.
    pub path: Option<NetworkPath>,
    /// The path of the sealed session that it has open now; the newest when there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<NetworkPath>,
    /// What it may do in the apps.
    pub scope: Scope,
    /// When its access ends; null: never.
    pub expires_at: Option<String>,
}

/// Answer of `GET /api/pair/devices`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Newest first; revoked ones stay 30 days.
    pub devices: Vec<DeviceInfo>,
}

/// Body of `POST /api/pair/devices`: the owner's bearer pre-fill.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AddDeviceRequest {
    /// What the device will be called.
    pub device_name: String,
    /// What it authenticates with; `bearer` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DeviceKind>,
}

/// Body of `PATCH /api/pair/devices/{id}`. Absent members stay as they are.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct UpdateDeviceRequest {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// A new scope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// When access ends (RFC 3339); null: never.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<String>>,
}

/// Tells an explicit null from an absent member.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Where a pairing stands. One machine for every door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PairingState {
    /// An offer is open; no device has come.
    Waiting,
    /// A device has presented the offer's credential.
    Claimed,
    /// The owner is asked.
    Approval,
    /// The owner's answer is yes; the device has not collected its credential.
    Granted,
    /// The device has its credential.
    Paired,
    /// The owner said no, or withdrew the offer.
    Rejected,
    /// Time ran out.
    Expired,
}

/// By which door a pairing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Door {
    /// `POST /api/pair/generate` and `/exchange`.
    Otp,
    /// `GET /pair` by the owner.
    Url,
    /// `GET /pair` by anyone, with `lan_pairing = "open"`.
    Lan,
    /// The owner's pre-fill.
    Prefill,
    /// `POST /api/pair/generate` and its link, claimed through a sealed session.
    Offer,
    /// A nonce of `GET /watch/pairing-info` that the owner asked for.
    Watch,
    /// One that anyone asked for, with `lan_pairing = "open"`.
    #[serde(rename = "watch_lan")]
    WatchLan,
    /// `POST /mobile/pairing`: the host shows a PIN for the device.
    Pin,
}

/// A pairing that waits for its owner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingInfo {
    /// Names it in `approve` and `reject`.
    pub id: Uuid,
    /// By which door.
    pub door: Door,
    /// Where it stands.
    pub state: PairingState,
    /// What the device calls itself.
    pub device_name: Option<String>,
    /// Its model as it told it.
    pub device_model: Option<String>,
    /// Its system as it told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The address it came from.
    pub network: Option<String>,
    /// The relay that it came through, whose word the address is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Whether the device shows a check code that `approve` must be given.
    #[serde(default)]
    pub check_code: bool,
    /// When it was made.
    pub created_at: String,
    /// When it ends by itself.
    pub expires_at: String,
}

/// Body of `POST /api/pair/pairings/{id}/approve` and of `POST /mobile/pairing/{id}/accept`; an empty body is the same as `{}`.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ApproveRequest {
    /// The six digits that the device shows, where [`PairingInfo::check_code`] is true; for no other device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_code: Option<String>,
    /// The three digits that the device shows, where it asks to pair by PIN: then the answer is for that device, whatever
    /// others call themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_number: Option<String>,
}

impl std::fmt::Debug for ApproveRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = self.check_code.as_ref().map(|_| "[redacted]");
        f.debug_struct("ApproveRequest").field("check_code", &given).field("match_number", &self.match_number).finish()
    }
}

/// Answer of `GET /api/pair/pairings`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PairingList {
    /// Oldest first.
    pub pairings: Vec<PairingInfo>,
}

/// Answer of `GET /api/pair/me`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeAnswer {
    /// The device's id.
    pub device_id: Uuid,
    /// What it is called here.
    #[schema(value_type = String)]
    pub device_name: DeviceName,
    /// Its model.
    #[schema(value_type = Option<String>)]
    pub device_model: Option<DeviceModel>,
    /// What it may do.
    pub scope: Scope,
    /// When its access ends; null: never.
    pub expires_at: Option<String>,
    /// What the owner calls this host.
    pub server_name: String,
    /// The apps that a session leads to, the first one by itself, the others by the header `couplet-app`.
    #[serde(default)]
    pub apps: Vec<AppInfo>,
}

/// An app behind a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppInfo {
    /// What the owner calls it.
    pub name: String,
}

/// One line of the audit log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Rises with each entry.
    pub id: i64,
    /// When.
    pub at: String,
    /// What: `device.paired`, `device.revoked`, `pairing.approved`, …
    pub action: String,
    /// Who did it: `owner`, `device`, `anyone` or `host`.
    pub actor: String,
    /// The pairing that it is about.
    pub pairing_id: Option<Uuid>,
    /// The device that it is about.
    pub device_id: Option<Uuid>,
    /// The address that the request came from.
    pub network: Option<String>,
    /// What else is known: a name, a reason.
    pub detail: Option<String>,
}

/// Answer of `GET /api/audit`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// Newest first.
    pub entries: Vec<AuditEntry>,
}

/// Answer of `GET /health`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `degraded` when the store cannot be used.
    pub status: String,
    /// The host's version.
    pub version: String,
    /// What this host can do.
    pub features: Features,
}

/// What a host can do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Features {
    /// Pairing.
    pub pairing: PairingFeature,
    /// The relay.
    pub relay: RelayFeature,
}

/// Whether devices elsewhere reach this host. It names no relay: anyone may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayFeature {
    /// Whether this host uses a relay.
    pub available: bool,
    /// Whether the link to it is there now.
    pub connected: bool,
}

/// How pairing is done here. A client refuses to pair when `rng` is not `os-csprng`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PairingFeature {
    /// Whether devices can pair now.
    pub available: bool,
    /// `daemon-http`.
    pub transport: String,
    /// `/pair`.
    pub endpoint: String,
    /// 128.
    pub token_bits: u16,
    /// `os-csprng`.
    pub rng: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_null_is_not_an_absent_member() {
        let absent: UpdateDeviceRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(absent.expires_at, None);
        let never: UpdateDeviceRequest = serde_json::from_str(r#"{"expires_at":null}"#).unwrap();
        assert_eq!(never.expires_at, Some(None));
    }

    #[test]
    fn an_offer_is_printed_without_its_credentials() {
        let token = "otp_AAAAAAAAAAAAAAAAAAAAAA";
        let answer = serde_json::json!({"offer_id": Uuid::nil(), "pair_token": token, "expires_at": "", "link_expires_at": "",
            "qr_url": format!("couplet://192.0.2.1:7878?pair={token}"), "link": "COUPLET:AEBA"});
        let text = format!("{:?}", serde_json::from_value::<GenerateAnswer>(answer).unwrap());
        assert!(text.contains("offer_id") && !text.contains("otp_") && !text.contains("AEBA"), "{text}");
    }
}
