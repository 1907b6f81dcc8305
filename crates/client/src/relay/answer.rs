//! What a relay answers, read with suspicion.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use couplet_protocol::relay::{BODY_MAX, PairAnswer};
use couplet_protocol::{Code, Problem, RelayName};
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::fmt::rfc2822;
use tokio::time::timeout;

use super::failure::RelayFailure;
use super::join::Joined;

/// How long a body may take.
const BODY: Duration = Duration::from_secs(5);
/// What a relay answers to a device (spec/protocol.md, 6).
const CODES: [Code; 14] = [
    Code::RoomRefused,
    Code::AccountMismatch,
    Code::RelayBusy,
    Code::OfferOver,
    Code::RoomLocked,
    Code::TooManyFailures,
    Code::HostOffline,
    Code::RelayDraining,
    Code::NoSuchSession,
    Code::AccountInvalid,
    Code::AccountsUnavailable,
    Code::TooManyRequests,
    Code::TooManyConnections,
    Code::Internal,
];

/// The whole answer; None for a body that is too long or too slow.
pub(super) async fn whole(answer: Response<Incoming>) -> (Parts, Option<Bytes>) {
    let (head, body) = answer.into_parts();
    let body = timeout(BODY, Limited::new(body, BODY_MAX).collect()).await;
    let body = body.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes);
    (head, body)
}

/// Reads the answer to `POST /pair`.
pub(super) fn joined(head: &Parts, body: Option<&[u8]>) -> Result<Joined, RelayFailure> {
    let Some(body) = body else { return Err(RelayFailure::broken("its body has no end")) };
    if head.status != StatusCode::OK {
        return Err(refusal(head, body));
    }
    let answer: PairAnswer =
        serde_json::from_slice(body).map_err(|_| RelayFailure::broken("its body names no session"))?;
    let node = node(&answer.relay_url).ok_or_else(|| RelayFailure::broken("its node is not at https://name"))?;
    Ok(Joined { sid: answer.sid, node })
}

/// `https://name[:port]`, and nothing else.
fn node(url: &str) -> Option<RelayName> {
    RelayName::parse(url.strip_prefix("https://")?)
}

/// What an answer other than the wanted one means.
pub(super) fn refusal(head: &Parts, body: &[u8]) -> RelayFailure {
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let code = problem.and_then(|problem| Code::parse(&problem.code)).filter(|code| CODES.contains(code));
    let failure = match code {
        Some(code) => RelayFailure::answered(code, retry_after(&head.headers)),
        None if head.status.is_redirection() => RelayFailure::broken("it sends this device elsewhere"),
        None => RelayFailure::broken(&format!("status {}", head.status.as_u16())),
    };
    failure.with_clock(ahead(&head.headers, SystemTime::now()))
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3); our relays write no dates.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

/// By how many seconds the relay's clock is ahead, from its `Date` (RFC 9110, 6.6.1).
fn ahead(headers: &HeaderMap, now: SystemTime) -> Option<i64> {
    let theirs = rfc2822::parse(headers.get(header::DATE)?.to_str().ok()?).ok()?.timestamp().as_second();
    let ours = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(theirs - i64::try_from(ours).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Parts {
        let builder =
            headers.iter().fold(Response::builder().status(status), |b, (name, value)| b.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    fn problem(code: Code) -> Vec<u8> {
        serde_json::to_vec(&Problem::new(code, "\x1b[2J the relay's own words")).unwrap()
    }

    #[test]
    fn a_session_is_named_wholly_or_not_at_all() {
        let answer = |sid: &str, url: &str| {
            let body = format!(r#"{{"sid":"{sid}","relay_url":"{url}","expires_at":"x","more":1}}"#);
            joined(&head(200, &[]), Some(body.as_bytes()))
        };
        let sid = "ab".repeat(16);
        let node = answer(&sid, "https://N2.relay.example:8443").unwrap().node;
        assert_eq!(node.as_str(), "n2.relay.example:8443");
        for url in
            ["http://relay.example", "https://relay.example/", "https://u@relay.example", "https://", "wss://r", ""]
        {
            assert_eq!(answer(&sid, url).unwrap_err().code(), Code::RelayBroken, "{url}");
        }
        for sid in ["", "ab", &"zz".repeat(16), &"AB".repeat(16), &format!("{}/../x", &sid[..27])] {
            assert_eq!(answer(sid, "https://r").unwrap_err().code(), Code::RelayBroken, "{sid}");
        }
        assert_eq!(joined(&head(200, &[]), None).unwrap_err().code(), Code::RelayBroken);
        assert_eq!(joined(&head(200, &[]), Some(b"[]")).unwrap_err().code(), Code::RelayBroken);
    }

    #[test]
    fn a_refusal_is_one_of_those_that_a_relay_gives_in_our_words() {
        let locked = refusal(&head(423, &[("retry-after", "900")]), &problem(Code::RoomLocked));
        assert_eq!((locked.code(), locked.retry_after()), (Code::RoomLocked, Some(Duration::from_secs(900))));
        assert!(!locked.to_string().contains("own words"));
        // Not its to say.
        for code in [Code::HostKeyDiffers, Code::PairTokenUsed, Code::RelayUntrusted] {
            assert_eq!(refusal(&head(403, &[]), &problem(code)).code(), Code::RelayBroken);
        }
        for (status, body) in [(302, &b""[..]), (404, b"<html>"), (200, b"{}")] {
            assert_eq!(refusal(&head(status, &[("location", "http://x")]), body).code(), Code::RelayBroken);
        }
        let odd =
            refusal(&head(429, &[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), &problem(Code::TooManyFailures));
        assert_eq!(odd.retry_after(), None);
    }

    #[test]
    fn the_relays_clock_is_read_from_its_date() {
        let at = |date| ahead(&head(200, &[("date", date)]).headers, UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(at("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(at("Sun, 06 Nov 1994 08:54:37 GMT"), Some(300));
        assert_eq!(at("nonsense"), None);
    }
}
