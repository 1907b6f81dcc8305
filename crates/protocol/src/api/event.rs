//! What the host tells its owner as it happens: of pairings, devices, sessions, the relay and the dashboard.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Door, NetworkPath};
use crate::pin::{MatchNumber, Pin};

/// What the host tells its owner as it happens, one `event: <kind>` of `GET /api/pair/events` each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Rises by one with each event since the host started.
    pub id: u64,
    /// When it happened.
    pub at: String,
    /// What happened.
    pub event: EventKind,
    /// The offer or pairing that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing_id: Option<Uuid>,
    /// The door of that pairing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<Door>,
    /// The device that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<Uuid>,
    /// What that device is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_model: Option<String>,
    /// Its system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The address that the device, or the owner, came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The path that its session takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<NetworkPath>,
    /// The relay that it is about, or that the device came through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<String>,
    /// Why a pairing came to nothing, or why the relay is not there: `CPL-1221`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether the owner must type the check code that the device shows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check_code: bool,
    /// The digits that the owner has typed on the device, when that asks to pair by PIN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pin: Option<Pin>,
    /// The three digits that such a device shows, and no other that waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^[1-9][0-9]{2}$")]
    pub match_number: Option<MatchNumber>,
    /// Whether such a device pairs in a sealed session; otherwise its token passes by plain HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum EventKind {
    /// An offer was opened.
    #[serde(rename = "offer.created")]
    OfferCreated,
    /// A device presented the offer's credential.
    #[serde(rename = "offer.claimed")]
    OfferClaimed,
    /// The owner is asked.
    #[serde(rename = "approval.wanted")]
    ApprovalWanted,
    /// The owner said yes to a device that comes back for its credential. One that waits in a session is paired at once.
    #[serde(rename = "pairing.approved")]
    PairingApproved,
    /// The device that claimed an offer went away before it was let in: the offer is open again.
    #[serde(rename = "offer.released")]
    OfferReleased,
    /// A device has its credential.
    #[serde(rename = "device.paired")]
    DevicePaired,
    /// An offer or a claim ran out of time.
    #[serde(rename = "offer.expired")]
    OfferExpired,
    /// The owner said no, or withdrew the offer.
    #[serde(rename = "pairing.rejected")]
    PairingRejected,
    /// A device's name, scope or expiry was changed.
    #[serde(rename = "device.updated")]
    DeviceUpdated,
    /// A device was revoked or unpaired itself.
    #[serde(rename = "device.revoked")]
    DeviceRevoked,
    /// A device has opened a sealed session.
    #[serde(rename = "session.opened")]
    SessionOpened,
    /// A device's sealed session has ended.
    #[serde(rename = "session.closed")]
    SessionClosed,
    /// The link to the relay is there: devices elsewhere reach this host.
    #[serde(rename = "relay.connected")]
    RelayConnected,
    /// The link to the relay is not there; it is tried again and again.
    #[serde(rename = "relay.lost")]
    RelayLost,
    /// The relay does not want this host any more, and is not asked again; or it does not take its owner's account
    /// (`CPL-1817`, `CPL-1818`, `CPL-1827`, `CPL-1828`), and new devices wait for a token that counts.
    #[serde(rename = "relay.refused")]
    RelayRefused,
    /// A browser has signed in to the dashboard.
    #[serde(rename = "owner.login")]
    OwnerLogin,
    /// Browsers are signed out of the dashboard: one, or several at once.
    #[serde(rename = "owner.logout")]
    OwnerLogout,
}

impl EventKind {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::OfferCreated => "offer.created",
            EventKind::OfferClaimed => "offer.claimed",
            EventKind::ApprovalWanted => "approval.wanted",
            EventKind::PairingApproved => "pairing.approved",
            EventKind::OfferReleased => "offer.released",
            EventKind::DevicePaired => "device.paired",
            EventKind::OfferExpired => "offer.expired",
            EventKind::PairingRejected => "pairing.rejected",
            EventKind::DeviceUpdated => "device.updated",
            EventKind::DeviceRevoked => "device.revoked",
            EventKind::SessionOpened => "session.opened",
            EventKind::SessionClosed => "session.closed",
            EventKind::RelayConnected => "relay.connected",
            EventKind::RelayLost => "relay.lost",
            EventKind::RelayRefused => "relay.refused",
            EventKind::OwnerLogin => "owner.login",
            EventKind::OwnerLogout => "owner.logout",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_those_on_the_wire() {
        for kind in [
            EventKind::OfferCreated,
            EventKind::OfferClaimed,
            EventKind::ApprovalWanted,
            EventKind::PairingApproved,
            EventKind::OfferReleased,
            EventKind::DevicePaired,
            EventKind::OfferExpired,
            EventKind::PairingRejected,
            EventKind::DeviceUpdated,
            EventKind::DeviceRevoked,
            EventKind::SessionOpened,
            EventKind::SessionClosed,
            EventKind::RelayConnected,
            EventKind::RelayLost,
            EventKind::RelayRefused,
            EventKind::OwnerLogin,
            EventKind::OwnerLogout,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
