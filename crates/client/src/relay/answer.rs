//! What a relay answers to `POST /pair`, read with suspicion.

use couplet_protocol::relay::PairAnswer;
use couplet_protocol::{Code, RelayName};
use http::StatusCode;

use super::connection::Answer;
use super::failure::RelayFailure;
use super::join::Joined;

/// What a relay answers to a device (spec/protocol.md, 6).
pub(super) const CODES: &[Code] = &[
    Code::RoomRefused,
    Code::AccountMismatch,
    Code::RelayBusy,
    Code::OfferOver,
    Code::RoomLocked,
    Code::TooManyFailures,
    Code::AskedTooOften,
    Code::HostOffline,
    Code::RelayDraining,
    Code::NoSuchSession,
    Code::AccountInvalid,
    Code::AccountExpired,
    Code::AccountsUnavailable,
    Code::TooManyRequests,
    Code::TooManyConnections,
    Code::StoreUnavailable,
    Code::Internal,
];

/// Reads the session that this relay has opened.
pub(super) fn joined(relay: &RelayName, answer: &Answer) -> Result<Joined, RelayFailure> {
    let Some(body) = &answer.body else { return Err(RelayFailure::broken("its body has no end")) };
    if answer.status != StatusCode::OK {
        return Err(answer.refusal(CODES));
    }
    let opened: PairAnswer =
        serde_json::from_slice(body).map_err(|_| RelayFailure::broken("its body names no session"))?;
    let node = node(&opened.relay_url).filter(|node| node.is_within(relay));
    let node = node.ok_or_else(|| RelayFailure::broken("its node is not at https:// and its own name"))?;
    Ok(Joined { sid: opened.sid, node })
}

/// `https://name[:port]`, and nothing else.
fn node(url: &str) -> Option<RelayName> {
    RelayName::parse(url.strip_prefix("https://")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(body: Option<&str>) -> Result<Joined, RelayFailure> {
        let body = body.map(|body| bytes::Bytes::copy_from_slice(body.as_bytes()));
        let relay = RelayName::parse("relay.example").unwrap();
        joined(&relay, &Answer { status: StatusCode::OK, headers: http::HeaderMap::new(), body })
    }

    #[test]
    fn a_session_is_named_wholly_or_not_at_all() {
        let answer = |sid: &str, url: &str| {
            let body = format!(r#"{{"sid":"{sid}","relay_url":"{url}","expires_at":"x","more":1}}"#);
            ok(Some(&body))
        };
        let sid = "ab".repeat(16);
        let node = answer(&sid, "https://N2.relay.example:8443").unwrap().node;
        assert_eq!(node.as_str(), "n2.relay.example:8443");
        for url in
            ["http://relay.example", "https://relay.example/", "https://u@relay.example", "https://", "wss://r", ""]
                .into_iter()
                .chain([
                    "https://elsewhere.example",
                    "https://example",
                    "https://evilrelay.example",
                    "https://127.0.0.1",
                ])
        {
            assert_eq!(answer(&sid, url).unwrap_err().code(), Code::RelayBroken, "{url}");
        }
        for sid in ["", "ab", &"zz".repeat(16), &"AB".repeat(16), &format!("{}/../x", &sid[..27])] {
            assert_eq!(answer(sid, "https://relay.example").unwrap_err().code(), Code::RelayBroken, "{sid}");
        }
        assert_eq!(ok(None).unwrap_err().code(), Code::RelayBroken);
        assert_eq!(ok(Some("[]")).unwrap_err().code(), Code::RelayBroken);
    }
}
