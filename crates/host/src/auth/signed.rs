//! Devices that sign each request with their key, as watches do (spec/protocol.md, 8).
//!
//! The order matters. The signature is checked before the nonce is remembered, so that strangers cannot fill the memory;
//! and the nonce is remembered before anything else is refused, so that a signed request that was turned away, be it for
//! want of a challenge, is not good for another time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::NetworkPath;
use couplet_protocol::signature::{CHALLENGE, ContentDigest, Covered, SignatureError, SignedHead, is_ours};
use data_encoding::BASE64URL_NOPAD;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::headers::{presented, single};
use super::nonces::{Refused, millis};
use super::{Authenticator, Key, unknown};
use crate::clock::Timestamp;
use crate::problem::Failure;
use crate::session::Session;
use crate::store::devices;

pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const DEVICE_ID: HeaderName = HeaderName::from_static("x-device-id");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const COUPLET_CHALLENGE: HeaderName = HeaderName::from_static(CHALLENGE);

/// What a signature takes, and an app need not see.
pub(crate) const SIGNATURE_HEADERS: [HeaderName; 3] = [SIGNATURE, SIGNATURE_INPUT, DEVICE_ID];

/// How many bodies of signed requests may be held at a time, of 1 MiB at most: others wait for their turn.
pub(super) const BODIES_MAX: usize = 64;
/// How far the time of a signature may be from the host's, either way, in seconds.
const CREATED_WITHIN: u64 = 60;
/// How long after a start the challenge is wanted: as long as a nonce from before it could be taken.
const CHALLENGED_FOR: Duration = Duration::from_secs(120);
/// For how long a device's coming may not be written down yet: when the process before ended in disorder, devices may have
/// come so much later than it says.
const WRITTEN_LATE: Duration = Duration::from_secs(15);

/// A request as its receiver has checked it, of which the signature covers these.
#[derive(Clone, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    /// As [`authority`] makes it.
    pub(crate) authority: String,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}

/// What a signed request has proven.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The device that signed it.
    pub(crate) session: Arc<Session>,
    /// What its body must be.
    pub(crate) body: ContentDigest,
}

/// Random for each start, so that what was signed before it can be told from what is signed since.
#[derive(Debug)]
pub(super) struct Challenge {
    value: HeaderValue,
    /// Until then, in milliseconds since the epoch, it is wanted of every request.
    until: AtomicI64,
}

impl Challenge {
    pub(super) fn new(now: Timestamp) -> Self {
        let text = BASE64URL_NOPAD.encode(&crate::random::bytes::<16>());
        let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("-"));
        Challenge { value, until: AtomicI64::new(now.after(CHALLENGED_FOR).millis()) }
    }

    /// 401 with the challenge, unless the request has signed it, or needs not.
    fn check(&self, signed: Option<&str>, now: Timestamp) -> Result<(), Failure> {
        let is_right = match signed {
            Some(signed) => signed.as_bytes() == self.value.as_bytes(),
            None => now.millis() >= self.until.load(Ordering::Relaxed),
        };
        if is_right {
            return Ok(());
        }
        let next = "Sign the request again, with a new nonce and the header X-Couplet-Challenge of this answer as the last \
                    component, and send that header along. The host wants it for a while after each start.";
        Err(Failure::new(Code::ChallengeWanted, next).with_header(COUPLET_CHALLENGE, self.value.clone()))
    }
}

/// Whether the request's credential is a signature of ours. A device's token outranks it.
pub(crate) fn is_signed(headers: &HeaderMap) -> bool {
    headers.get_all(SIGNATURE_INPUT).iter().any(|value| is_ours(value.as_bytes()))
        && presented(headers).is_err_and(|failure| failure.code() != Code::DuplicateHeader)
}

/// The authority as it is signed: lower case, without the scheme's own port. None when it is no authority.
pub(crate) fn authority(host: &str, default_port: u16) -> Option<String> {
    let parsed: Authority = host.parse().ok().filter(|_| !host.contains('@'))?;
    let (name, rest) = (parsed.host().to_ascii_lowercase(), host.get(parsed.host().len()..)?);
    // What the crate reads as no port may be one out of range, or an empty one.
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(digits.parse::<u16>().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    match port.filter(|port| *port != default_port) {
        _ if name.is_empty() => None,
        Some(port) => Some(format!("{name}:{port}")),
        None => Some(name),
    }
}

impl Authenticator {
    /// The watch that signed the request, which counts as sent from now on: the same one is refused a second time.
    ///
    /// # Errors
    /// 401 when it is not signed as it must be, 400 when a header stands twice, 429 when it sends too much.
    pub(crate) async fn verify(&self, asked: &Asked<'_>) -> Result<Signed, Failure> {
        let invalid = |error: SignatureError| invalid(&format!("Sign as spec/protocol.md, 8, says: {error}."));
        let text = |name: &HeaderName| Ok::<_, Failure>(single(asked.headers, name)?.unwrap_or_default());
        let head = SignedHead::parse(text(&SIGNATURE_INPUT)?, text(&SIGNATURE)?).map_err(invalid)?;
        let content_digest = text(&CONTENT_DIGEST)?;
        let body = ContentDigest::parse(content_digest).map_err(invalid)?;
        // A proxy may set it to nothing.
        let challenge = single(asked.headers, &COUPLET_CHALLENGE)?.filter(|challenge| !challenge.is_empty());
        let covered = Covered {
            method: asked.method,
            authority: &asked.authority,
            path: asked.path,
            query: asked.query,
            content_digest,
            device_id: text(&DEVICE_ID)?,
            challenge,
        };
        in_time(&head, self.now())?;
        let session = self.signer(head.device).await?;
        let key = session.signing_key().ok_or_else(unknown)?;
        head.verify(key, &covered).map_err(invalid)?;
        self.0.nonces.take(head.device, head.nonce, || self.now()).map_err(refused)?;
        self.0.challenge.check(challenge, self.now())?;
        session.seen(self.now());
        Ok(Signed { session, body })
    }

    /// The session of a watch, from memory or from the store.
    async fn signer(&self, device: Uuid) -> Result<Arc<Session>, Failure> {
        loop {
            let known = self.read().sessions.get(&Key::Signed(device)).cloned();
            if let Some(session) = known {
                return Ok(session);
            }
            let generation = self.generation();
            let found = self.0.store.read(move |tx| devices::by_id(tx, device)).await?;
            let row = found.filter(|row| row.revoked_at.is_none() && row.signing_key.is_some()).ok_or_else(unknown)?;
            if self.is_over(&row) {
                return Err(Failure::of_device(Code::DeviceExpired));
            }
            if let Some(session) = self.remember(Key::Signed(device), generation, row, NetworkPath::Lan) {
                return Ok(session);
            }
            // Something about the devices changed meanwhile: look again.
        }
    }

    /// Wants the challenge for two minutes, and longer when the clock is behind what was written down before: nonces from
    /// then would be taken once more when it comes there again.
    pub(crate) fn ask_for_challenge(&self, latest: Option<Timestamp>) {
        let now = self.now();
        let from = latest.map_or(now, |latest| now.max(latest.after(WRITTEN_LATE)));
        self.0.challenge.until.store(from.after(CHALLENGED_FOR).millis(), Ordering::Relaxed);
    }

    /// Forgets nonces whose time is over.
    pub(crate) fn forget_nonces(&self) {
        self.0.nonces.forget(|| self.now());
    }

    /// A place in memory for the body of a signed request.
    pub(crate) async fn place_for_body(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.0.bodies).acquire_owned().await.map_err(Failure::internal)
    }
}

pub(crate) fn invalid(next: &str) -> Failure {
    Failure::new(Code::SignatureInvalid, next)
}

fn in_time(head: &SignedHead, now: Timestamp) -> Result<(), Failure> {
    let ahead = head.created.saturating_sub(now.millis() / 1000);
    if ahead.unsigned_abs() > CREATED_WITHIN {
        return Err(stale(ahead));
    }
    head.nonce.within(millis(now)).map(drop).map_err(|ahead| stale(ahead / 1000))
}

/// So many seconds ahead of the clock, or behind it.
fn stale(ahead: i64) -> Failure {
    let (seconds, way) = (ahead.unsigned_abs(), if ahead < 0 { "behind" } else { "ahead of" });
    let next = format!(
        "The request's time is {seconds} seconds {way} the host's clock, and 60 are the most. Set the clock that is wrong \
         (a watch takes its time from its phone), then sign a new request."
    );
    Failure::new(Code::SignatureStale, next)
}

fn refused(why: Refused) -> Failure {
    match why {
        Refused::Stale(ahead) => stale(ahead / 1000),
        Refused::Used => Failure::new(
            Code::SignatureUsed,
            "Sign every request anew, with a new nonce. If you did, somebody has recorded a request and sent it again; it was \
             not carried out again.",
        ),
        Refused::Full(wait) => Failure::new(
            Code::RateLimited,
            "The host remembers as many signed requests of the last two minutes as it may. Send fewer.",
        )
        .retry_after(wait.as_secs() + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_written_one_way() {
        for (host, port, wanted) in [
            ("NAS.local:7879", 80, Some("nas.local:7879")),
            ("nas.local", 80, Some("nas.local")),
            ("nas.local:80", 80, Some("nas.local")),
            ("nas.local:080", 80, Some("nas.local")),
            ("nas.local:80", 443, Some("nas.local:80")),
            ("[FD00::1]:7879", 80, Some("[fd00::1]:7879")),
            ("user@nas.local", 80, None),
            ("nas.local:", 80, None),
            ("nas.local:99999", 80, None),
            ("", 80, None),
        ] {
            assert_eq!(authority(host, port).as_deref(), wanted, "{host}");
        }
    }

    #[test]
    fn a_challenge_is_wanted_for_a_while_and_another_one_never_counts() {
        let start = Timestamp::from_millis(1_800_000_000_000);
        let challenge = Challenge::new(start);
        let value = challenge.value.to_str().unwrap().to_owned();
        assert_eq!(value.len(), 22);
        let code = |signed: Option<&str>, seconds| {
            challenge.check(signed, start.after(Duration::from_secs(seconds))).map_err(|failure| failure.code())
        };
        assert_eq!([0, 119, 120].map(|s| code(None, s).is_ok()), [false, false, true]);
        assert_eq!([0, 119, 120, 9999].map(|s| code(Some(&value), s)), [Ok(()); 4]);
        let other = Challenge::new(start).value;
        assert_eq!(code(Some(other.to_str().unwrap()), 9999), Err(Code::ChallengeWanted));
    }

    #[tokio::test]
    async fn a_clock_that_was_set_back_prolongs_the_challenge() {
        let auth = Authenticator::fixed([]);
        let left = |latest: Option<i64>| {
            let now = auth.now();
            auth.ask_for_challenge(latest.map(|ahead| Timestamp::from_millis(now.millis() + ahead * 1000)));
            (auth.0.challenge.until.load(Ordering::Relaxed) - now.millis() + 500) / 1000
        };
        assert_eq!([None, Some(-3600), Some(600)].map(left), [120, 120, 735]);
    }
}
