//! Stable error codes and the RFC 9457 problem document that carries them.
//!
//! A code never changes its meaning and is never reused. Each has a page in `docs/errors/`, which
//! `couplet explain CODE` prints offline.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $status:literal, $title:literal;)*) => {
        /// Every error that Couplet can answer with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Code { $(#[doc = $title] $variant = $number,)* }

        impl Code {
            /// All codes in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The HTTP status that goes with the code; 500 for those that only a command line shows.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// What happened, in one line.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    // 10xx: the request itself
    MalformedBody = 1001, 400, "The body is not the JSON that this route takes";
    UnsupportedMediaType = 1002, 415, "The body is not sent as application/json";
    BodyTooLarge = 1003, 413, "The body is larger than 64 KiB";
    BodyTooSlow = 1004, 408, "The body did not arrive in time";
    HostNotAllowed = 1005, 421, "The Host header names no address of this host";
    OriginNotAllowed = 1006, 403, "A web page of another origin sent this request";
    PeerNotPrivate = 1007, 403, "The request came from outside the private network";
    DuplicateHeader = 1008, 400, "A header that may stand once was sent several times";
    NoSuchRoute = 1009, 404, "There is nothing at this path";
    MethodNotAllowed = 1010, 405, "This path does not take this method";
    CrossSite = 1011, 403, "A web page of another site asked for an owner's page";
    MalformedQuery = 1012, 400, "The query string is not what this route takes";
    TooManyConnections = 1013, 503, "Too many connections are open";
    UpgradeRequired = 1014, 426, "This path takes a WebSocket";
    // 11xx: who may call
    OwnerRequired = 1101, 401, "Only the owner of this host may do this";
    DeviceRequired = 1102, 401, "This needs a paired device's credential";
    DeviceUnknown = 1103, 401, "The device credential is not valid, or was revoked";
    DeviceExpired = 1104, 401, "The device's access has ended";
    MethodOutOfScope = 1105, 403, "This device may only read";
    PathOutOfScope = 1106, 403, "This device may not use this path";
    PathAmbiguous = 1107, 400, "The path can be read in more than one way";
    GatewayRequired = 1108, 401, "This device can be judged by the gateway only";
    OwnerIsNoDevice = 1109, 401, "The owner's token does not open apps";
    SignatureInvalid = 1110, 401, "The request's signature is not valid";
    SignatureStale = 1111, 401, "The signed request is too old, or the clocks differ";
    SignatureUsed = 1112, 401, "This signed request was already made";
    ChallengeWanted = 1113, 401, "The host's challenge must be signed";
    SignedBodyTooLarge = 1114, 413, "The body of the signed request is larger than 1 MiB";
    LoginLinkInvalid = 1115, 401, "The login link is unknown or has expired";
    LoginLinkUsed = 1116, 410, "The login link was already used";
    OwnerSessionOver = 1117, 401, "The dashboard's session has ended";
    LoginNameUnsafe = 1118, 403, "Nobody signs in under a name that others can claim";
    NoSuchOwnerSession = 1119, 404, "No such browser is signed in to the dashboard";
    // 12xx: pairing
    PairTokenInvalid = 1201, 400, "The pairing token is unknown or has expired";
    PairTokenUsed = 1203, 410, "The pairing token was already used";
    TooManyDevices = 1204, 409, "The host has as many devices as it may have";
    DeviceNameInvalid = 1205, 422, "The device name or model cannot be used";
    TooManyOffers = 1206, 409, "Too many pairing offers are open";
    RateLimited = 1207, 429, "Too many requests";
    PairingRejected = 1208, 403, "The owner rejected this device";
    ClaimExpired = 1209, 410, "The owner did not answer in time";
    AlreadyDecided = 1210, 409, "This pairing was already decided";
    NoSuchPairing = 1211, 404, "There is no such pairing";
    NoSuchDevice = 1212, 404, "There is no such device";
    LifetimeOutOfRange = 1213, 422, "The lifetime is out of range";
    LanPairingClosed = 1214, 401, "Only the owner may ask for a pairing URL";
    ScopeInvalid = 1215, 422, "The scope or expiry cannot be used";
    ClaimInvalid = 1216, 400, "The claim is unknown";
    ClaimCollected = 1217, 410, "The credential of this claim was already collected";
    OfferBusy = 1218, 409, "Another device is claiming this offer";
    CheckCodeWanted = 1219, 422, "This device is let in by its check code";
    CheckCodeWrong = 1220, 403, "The check code is another one";
    CheckCodesSpent = 1221, 403, "The third check code was wrong: the device was turned away";
    WatchNonceInvalid = 1222, 400, "The pairing nonce is unknown or stale";
    WatchNonceUsed = 1223, 409, "The pairing nonce was already used";
    WatchSignatureInvalid = 1224, 401, "The signature over the pairing nonce is not valid";
    WatchKeyInvalid = 1225, 400, "The public key is no P-256 key";
    PinWrong = 1226, 400, "The PIN is another one";
    PinsSpent = 1227, 410, "The third PIN was wrong: the request has ended";
    PinRejected = 1228, 410, "The owner rejected the request to pair by PIN";
    PinExpired = 1229, 410, "The request to pair by PIN has ended";
    PinPending = 1230, 409, "Another request to pair by PIN waits from this address";
    PinNamesAlike = 1231, 409, "Another device that waits has the same name";
    NotCollected = 1232, 410, "The device did not come for its credential in time";
    MatchNumberWrong = 1233, 403, "The number is not that of this device";
    PinTurnedAway = 1234, 429, "The owner turned away what came from this address";
    // 13xx: the store
    StoreUnavailable = 1301, 503, "The database cannot be used right now";
    DiskFull = 1302, 503, "The disk is full";
    StoreReadOnly = 1303, 503, "The database is read-only";
    SchemaTooNew = 1304, 500, "The database was written by a newer Couplet";
    // 14xx: starting and talking to the host
    PortInUse = 1401, 500, "The port is in use";
    AddressUnusable = 1402, 500, "The host cannot listen on this address";
    AlreadyRunning = 1403, 500, "The state folder is in use by another host or relay";
    HostNotRunning = 1404, 500, "No host is running on this state folder";
    ConfigInvalid = 1405, 500, "The configuration cannot be used";
    StateFolderUnusable = 1406, 500, "The state folder cannot be used";
    AddressesLocal = 1407, 500, "No other machine can reach this host's addresses";
    // 15xx: the gateway
    UpstreamDown = 1501, 502, "The app does not answer";
    UpstreamSlow = 1502, 504, "The app took too long to answer";
    UpstreamBroken = 1503, 502, "The app broke off its answer";
    RequestNotForwardable = 1504, 400, "The request cannot be forwarded";
    NoSuchApp = 1505, 404, "This host has no such app";
    UpstreamLocal = 1506, 502, "The app sends devices to localhost";
    // 16xx: a device, and its forwarder
    HostUnreachable = 1601, 503, "The host cannot be reached";
    SessionLost = 1602, 502, "The connection to the host broke off";
    AccessOver = 1603, 403, "This device may not use the host any more";
    HostKeyDiffers = 1604, 502, "The host does not have the key that it should have";
    LinkUnusable = 1605, 400, "The pairing link cannot be used";
    VersionsDiffer = 1606, 502, "Host and device do not speak the same version";
    CredentialsUnusable = 1607, 500, "The stored credentials cannot be used";
    NoSuchHost = 1608, 404, "This device is not paired with such a host";
    ForeignPage = 1609, 403, "A web page of another site sent this request";
    TooManyRequests = 1610, 503, "Too many requests to the host are under way";
    NotCouplet = 1611, 502, "What answers there is no Couplet host that pairs by PIN";
    NobodyNearby = 1612, 404, "No host nearby can be seen";
    NotConfirmed = 1613, 403, "Nobody confirmed that the host took the check code";
    // 17xx: the host\'s end of sealed sessions
    HandshakeFailed = 1701, 400, "The handshake of a sealed session failed";
    // 18xx: the relay
    RoomRefused = 1801, 401, "The room or its credential is not valid";
    AccountMismatch = 1802, 403, "The room belongs to another account";
    RelayBusy = 1803, 409, "The host has as many sessions through the relay as it may have";
    OfferOver = 1804, 410, "The pairing link was already used";
    RoomLocked = 1805, 423, "The room is locked after wrong credentials";
    TooManyFailures = 1806, 429, "Too many wrong credentials came from this network";
    HostOffline = 1807, 503, "The host is not connected to the relay";
    RelayDraining = 1808, 503, "The relay is about to stop";
    EnrollmentInvalid = 1809, 401, "The enrolment token is not valid";
    EnrollmentUsed = 1810, 410, "The enrolment token was already used";
    HostRevoked = 1811, 403, "The relay has revoked this host";
    CsrInvalid = 1812, 400, "The certificate request cannot be used";
    RoomNotYours = 1813, 403, "The room belongs to another host";
    TooManyRooms = 1814, 409, "The host has as many rooms at the relay as it may have";
    NoSuchSession = 1815, 404, "There is no such session at the relay";
    RelayNotRunning = 1816, 500, "No relay is running on this state folder";
    AccountInvalid = 1817, 401, "The account token is not valid";
    AccountsUnavailable = 1818, 503, "The identity provider cannot be reached";
    RelayUnreachable = 1819, 502, "The relay cannot be reached";
    RelayUntrusted = 1820, 502, "The relay's certificate is not trusted";
    UpgradeBlocked = 1821, 502, "Something on the way to the relay does not let WebSockets through";
    ClockDiffers = 1822, 502, "The clocks of this machine and of the relay differ";
    RelayBroken = 1823, 502, "The relay answers what no relay answers";
    NotEnrolledHere = 1824, 404, "The relay knows no such host";
    NotEnrolled = 1825, 500, "This host is not enrolled with a relay";
    AskedTooOften = 1826, 429, "Requests come too often";
    AccountExpired = 1827, 401, "The account token has expired";
    AccountUnreadable = 1828, 500, "The account token cannot be read";
    HostCertificateOver = 1829, 500, "This host's certificate for the relay has expired";
    // 19xx: ours
    Internal = 1900, 500, "Something went wrong on the host";
}

impl Code {
    /// The number behind `CPL-`.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Reads `CPL-1203`, `cpl-1203` or `1203`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Code> {
        let digits = match text.get(..4) {
            Some(prefix) if prefix.eq_ignore_ascii_case("CPL-") => &text[4..],
            _ => text,
        };
        let number: u16 = digits.parse().ok()?;
        Code::ALL.iter().copied().find(|code| code.number() == number)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPL-{}", self.number())
    }
}

/// The body of every error answer: RFC 9457 `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:couplet:error:CPL-1203`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What happened. The same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What to do next.
    pub detail: String,
    /// The stable code: `CPL-1203`. `couplet explain` prints its page.
    pub code: String,
    /// The id under which the host's log has the cause; on 5xx answers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
}

impl Problem {
    /// A problem with this code, whose `detail` says what to do next.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("urn:couplet:error:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code: code.to_string(),
            request_id: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_ordered_and_read_back() {
        for pair in Code::ALL.windows(2) {
            assert!(pair[0].number() < pair[1].number(), "{} before {}", pair[0], pair[1]);
        }
        for code in Code::ALL {
            assert_eq!(Code::parse(&code.to_string()), Some(*code));
            assert_eq!(Code::parse(&code.number().to_string()), Some(*code));
            assert!((400..600).contains(&code.status()), "{code}");
        }
        assert_eq!(Code::parse("cpl-1203"), Some(Code::PairTokenUsed));
        for nonsense in ["", "CPL-", "CPL-0", "CPL-99999", "é1203", "CPL-1202"] {
            assert_eq!(Code::parse(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_problem_is_rfc_9457() {
        let body = serde_json::to_value(Problem::new(Code::PairTokenUsed, "Ask for a new QR.")).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "urn:couplet:error:CPL-1203", "title": "The pairing token was already used",
                "status": 410, "detail": "Ask for a new QR.", "code": "CPL-1203",
            })
        );
    }
}
