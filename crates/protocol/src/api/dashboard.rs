//! Bodies of the owner's dashboard: signing in, how the host stands, QR codes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::credential::PageKey;

/// Answer of `POST /api/owner/links`: one-time links that sign the owner in to the dashboard.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LoginLinks {
    /// The same link at each address of the dashboard, those that other machines reach first. One of them signs in,
    /// once. The token stands behind `#`, which browsers send to nobody.
    pub urls: Vec<String>,
    /// When it ends.
    pub expires_at: String,
}

impl std::fmt::Debug for LoginLinks {
    /// Leaves out the links, which hold a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoginLinks").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Body of `POST /api/owner/login`.
#[derive(Clone, Deserialize, ToSchema)]
pub struct LoginRequest {
    /// The token of the link: `log_` and 22 characters.
    pub token: String,
}

impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoginRequest([redacted])")
    }
}

/// Answer of `POST /api/owner/login`. The session's cookie comes with it, in `Set-Cookie`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginAnswer {
    /// What the page sends as `Couplet-Page` with every request: the cookie alone opens nothing, because browsers send
    /// it to every port of the address.
    #[schema(value_type = String, pattern = "^pag_[A-Za-z0-9_-]{22}$")]
    pub page_key: PageKey,
    /// When the session ends.
    pub expires_at: String,
}

/// Answer of `GET /api/owner`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerStatus {
    /// What the owner calls this host.
    pub server_name: String,
    /// The host's version.
    pub version: String,
    /// The host's time, by which its countdowns run.
    pub now: String,
    /// When the session that asks ends; null for the owner's token.
    pub session_expires_at: Option<String>,
    /// The relay by which devices elsewhere reach this host; null when it is enrolled with none.
    pub relay: Option<RelayStatus>,
}

/// A browser that is signed in to the dashboard.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerSessionInfo {
    /// Names it in `DELETE /api/owner/sessions/{id}`. It opens nothing.
    pub id: Uuid,
    /// What the browser calls itself, `Firefox on Android`; null when it says nothing that is known. A hint, no proof.
    pub browser: Option<String>,
    /// The address that its page asked from last.
    pub network: String,
    /// When it signed in.
    pub created_at: String,
    /// When somebody used it last: what its page asks for by itself does not count.
    pub last_used: String,
    /// When it ends, unless somebody uses it before.
    pub expires_at: String,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// Answer of `GET /api/owner/sessions`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct OwnerSessionList {
    /// In the order in which they signed in.
    pub sessions: Vec<OwnerSessionInfo>,
}

/// How the link to the relay stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayStatus {
    /// The relay, `name[:port]`.
    pub name: String,
    /// Where it stands.
    pub state: RelayState,
    /// Since when; null while the first link is made.
    pub since: Option<String>,
    /// Why it is not there: `CPL-1819`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Where the link to the relay stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// It is made for the first time.
    Linking,
    /// It is there.
    Connected,
    /// It is not there, and tried again and again.
    Lost,
    /// The relay does not want this host, and is not asked again.
    Refused,
}

/// Body of `POST /api/qr`.
#[derive(Clone, Deserialize, ToSchema)]
pub struct QrRequest {
    /// What the code says: 1 to 1024 bytes.
    pub text: String,
}

impl std::fmt::Debug for QrRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QrRequest([redacted])")
    }
}

/// Answer of `POST /api/qr`: a code without its quiet zone, to be drawn dark on white.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct QrAnswer {
    /// How many modules each side has.
    pub size: usize,
    /// The dark modules as an SVG path, a unit each.
    pub path: String,
}

impl std::fmt::Debug for QrAnswer {
    /// Leaves out the path, which says what the code says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QrAnswer").field("size", &self.size).finish_non_exhaustive()
    }
}
