//! The owner in a browser: one-time links that sign in, and the sessions that they open. All in memory: a restart of
//! the host ends them.
//!
//! A session needs two secrets. Its cookie is out of reach of scripts, but browsers send it to every port of the
//! address, so to other servers of the same machine. Its page key is in the storage of the dashboard's origin, which
//! no other port reads, and pages of other origins cannot send it as a header. Neither alone opens anything.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use couplet_protocol::{Code, Digest, LoginToken, PageKey, SessionToken};
use http::uri::Authority;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::problem::Failure;

/// How long a link waits to be opened.
const LINK: Duration = Duration::from_secs(600);
/// How long a session lasts.
pub(crate) const SESSION: Duration = Duration::from_secs(12 * 3600);
/// How long a session lasts that nobody uses: what its page asks for by itself is no use of it.
const IDLE: Duration = Duration::from_secs(3600);
/// Links that are kept, used ones too, so that they are told from unknown ones; the oldest goes.
const LINKS: usize = 8;
/// Sessions at once; the oldest goes.
const SESSIONS: usize = 16;

/// Links and sessions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logins(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    links: VecDeque<Link>,
    sessions: VecDeque<Arc<OwnerSession>>,
}

#[derive(Debug)]
struct Link {
    token: Digest,
    expires_at: Timestamp,
    is_used: bool,
}

/// An owner's session in a browser.
#[derive(Debug)]
pub(crate) struct OwnerSession {
    cookie: Digest,
    page_key: Digest,
    /// The name under which it was opened, `host:port` in lower case.
    authority: String,
    expires_at: Timestamp,
    /// When somebody used it last, in milliseconds.
    used_at: AtomicI64,
    /// Fires when the session ends before its time.
    pub(crate) ended: CancellationToken,
}

impl OwnerSession {
    fn is(&self, cookie: &Digest, page_key: &Digest) -> bool {
        let same = |ours: &Digest, theirs: &Digest| ours.as_bytes().ct_eq(theirs.as_bytes());
        (same(&self.cookie, cookie) & same(&self.page_key, page_key)).into()
    }

    /// Somebody is there.
    pub(crate) fn used(&self, now: Timestamp) {
        self.used_at.fetch_max(now.millis(), Ordering::Relaxed);
    }

    /// When it ends, unless somebody uses it before.
    pub(crate) fn ends_at(&self) -> Timestamp {
        let unused = Timestamp::from_millis(self.used_at.load(Ordering::Relaxed)).after(IDLE);
        unused.min(self.expires_at)
    }

    /// When it ends whatever happens.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// What a browser is given when it signs in.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) cookie: SessionToken,
    pub(crate) page_key: PageKey,
    pub(crate) expires_at: Timestamp,
}

impl Logins {
    /// Makes a link's token, and tells when it ends.
    pub(crate) fn link(&self, now: Timestamp) -> (LoginToken, Timestamp) {
        let token = LoginToken::from_entropy(crate::random::bytes());
        let expires_at = now.after(LINK);
        let mut memory = self.memory();
        memory.links.retain(|link| link.expires_at > now);
        if memory.links.len() == LINKS {
            memory.links.pop_front();
        }
        memory.links.push_back(Link { token: token.digest(), expires_at, is_used: false });
        (token, expires_at)
    }

    /// Uses a link up and opens a session.
    ///
    /// # Errors
    /// The link is unknown, over or used; or the session would be under a name that others can claim: that uses
    /// nothing up.
    pub(crate) fn login(
        &self,
        token: &str,
        (authority, by_tls): (&Authority, bool),
        now: Timestamp,
    ) -> Result<Opened, Failure> {
        if !by_tls && is_claimable(authority) {
            return Err(Failure::new(
                Code::LoginNameUnsafe,
                "Open the link at one of the host's addresses: `couplet dashboard` prints them.",
            ));
        }
        let again = "Run `couplet dashboard` on the host for a new one.";
        let digest = LoginToken::parse(token).map(|token| token.digest());
        let mut memory = self.memory();
        let found = memory.links.iter_mut().find(|link| digest == Ok(link.token) && link.expires_at > now);
        let link = found.ok_or_else(|| Failure::new(Code::LoginLinkInvalid, again))?;
        if std::mem::replace(&mut link.is_used, true) {
            return Err(Failure::new(Code::LoginLinkUsed, again));
        }
        let opened = Opened {
            cookie: SessionToken::from_entropy(crate::random::bytes()),
            page_key: PageKey::from_entropy(crate::random::bytes()),
            expires_at: now.after(SESSION),
        };
        memory.end_where(|session| session.ends_at() <= now);
        if memory.sessions.len() == SESSIONS
            && let Some(oldest) = memory.sessions.pop_front()
        {
            oldest.ended.cancel();
        }
        memory.sessions.push_back(Arc::new(OwnerSession {
            cookie: opened.cookie.digest(),
            page_key: opened.page_key.digest(),
            authority: authority.as_str().to_ascii_lowercase(),
            expires_at: opened.expires_at,
            used_at: AtomicI64::new(now.millis()),
            ended: CancellationToken::new(),
        }));
        Ok(opened)
    }

    /// The session of a cookie and its page's key, under the name that it was opened under.
    pub(crate) fn session(
        &self,
        cookie: &str,
        page_key: &str,
        authority: &Authority,
        now: Timestamp,
    ) -> Option<Arc<OwnerSession>> {
        let (cookie, page_key) = (SessionToken::parse(cookie).ok()?.digest(), PageKey::parse(page_key).ok()?.digest());
        let memory = self.memory();
        let mut live = memory.sessions.iter().filter(|session| session.ends_at() > now);
        let found = live.find(|session| session.is(&cookie, &page_key))?;
        found.authority.eq_ignore_ascii_case(authority.as_str()).then(|| Arc::clone(found))
    }

    /// Ends a session, and what it has open.
    pub(crate) fn end(&self, session: &OwnerSession) {
        self.memory().end_where(|other| other.cookie == session.cookie);
    }

    /// Ends every session, what they have open, and the links that nobody has opened yet.
    pub(crate) fn end_all(&self) {
        let mut memory = self.memory();
        memory.links.clear();
        memory.end_where(|_| true);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn end_where(&mut self, over: impl Fn(&OwnerSession) -> bool) {
        self.sessions.retain(|session| {
            let is_over = over(session);
            if is_over {
                session.ended.cancel();
            }
            !is_over
        });
    }
}

/// Whether somebody of the network could say that this name is their own (RFC 6762, LLMNR, a router that gives names to
/// who asks for them): without TLS the browser would give them the session. What is no address is one, but for the
/// machine's own name for itself.
fn is_claimable(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_own = host.eq_ignore_ascii_case("localhost");
    !is_own && host.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn at(text: &str) -> Authority {
        text.parse().unwrap()
    }

    fn home() -> Authority {
        at("192.168.1.42:7878")
    }

    fn opened(logins: &Logins) -> Opened {
        logins.login(logins.link(NOW).0.expose(), (&home(), false), NOW).unwrap()
    }

    fn is_open(logins: &Logins, opened: &Opened, now: Timestamp) -> bool {
        logins.session(opened.cookie.expose(), opened.page_key.expose(), &home(), now).is_some()
    }

    #[test]
    fn a_link_signs_in_once_and_in_time() {
        let logins = Logins::default();
        let code = |token: &str, now| logins.login(token, (&home(), false), now).unwrap_err().code();
        let (late, end) = logins.link(NOW);
        assert_eq!(code(late.expose(), end), Code::LoginLinkInvalid);
        let (token, _) = logins.link(NOW);
        assert_eq!(code("log_", NOW), Code::LoginLinkInvalid);
        for name in ["Nas.Local.:7878", "nas:7878", "nas.home:7878", "pair.example", "127.0.0.1.example:7878"] {
            let refused = logins.login(token.expose(), (&at(name), false), NOW).unwrap_err().code();
            assert_eq!(refused, Code::LoginNameUnsafe, "{name}");
        }
        assert!(logins.login(token.expose(), (&home(), false), NOW).is_ok(), "what was refused used nothing up");
        for (name, by_tls) in [("[fd00::1]:7878", false), ("LOCALHOST:7878", false), ("nas.home", true)] {
            let token = logins.link(NOW).0;
            assert!(logins.login(token.expose(), (&at(name), by_tls), NOW).is_ok(), "{name}");
        }
        assert_eq!(code(token.expose(), NOW), Code::LoginLinkUsed);
    }

    #[test]
    fn a_session_needs_both_secrets_of_its_own_its_name_and_its_time() {
        let logins = Logins::default();
        let (one, other) = (opened(&logins), opened(&logins));
        assert!(is_open(&logins, &one, NOW) && !is_open(&logins, &one, NOW.after(IDLE)));
        let session = logins.session(one.cookie.expose(), one.page_key.expose(), &home(), NOW).unwrap();
        let last = Timestamp::from_millis(one.expires_at.millis() - 1);
        session.used(last);
        session.used(NOW);
        assert!(is_open(&logins, &one, last) && !is_open(&logins, &one, one.expires_at), "used to its end");
        let session = |cookie: &str, key: &str, name: &str| logins.session(cookie, key, &at(name), NOW).is_some();
        let (cookie, key) = (one.cookie.expose(), one.page_key.expose());
        assert!(!session(cookie, other.page_key.expose(), "192.168.1.42:7878"));
        assert!(!session(cookie, "", "192.168.1.42:7878") && !session("", key, "192.168.1.42:7878"));
        assert!(!session(cookie, key, "192.168.1.42:7879") && !session(cookie, key, "nas.local:7878"));
    }

    #[test]
    fn the_end_of_a_session_ends_what_it_has_open_and_no_other() {
        let logins = Logins::default();
        let (one, other) = (opened(&logins), opened(&logins));
        let session = logins.session(one.cookie.expose(), one.page_key.expose(), &home(), NOW).unwrap();
        logins.end(&session);
        assert!(session.ended.is_cancelled() && !is_open(&logins, &one, NOW));
        assert!(is_open(&logins, &other, NOW));
    }

    #[test]
    fn all_can_be_ended() {
        let logins = Logins::default();
        let (one, other, unused) = (opened(&logins), opened(&logins), logins.link(NOW).0);
        logins.end_all();
        assert!(!is_open(&logins, &one, NOW) && !is_open(&logins, &other, NOW));
        let refused = logins.login(unused.expose(), (&home(), false), NOW).unwrap_err();
        assert_eq!(refused.code(), Code::LoginLinkInvalid);
    }

    #[test]
    fn the_memory_is_bounded() {
        let logins = Logins::default();
        let first_link = logins.link(NOW).0;
        let first = opened(&logins);
        let all: Vec<_> = (0..SESSIONS).map(|_| opened(&logins)).collect();
        assert_eq!(
            logins.login(first_link.expose(), (&home(), false), NOW).unwrap_err().code(),
            Code::LoginLinkInvalid
        );
        assert!(!is_open(&logins, &first, NOW), "the oldest went");
        assert!(all.iter().all(|session| is_open(&logins, session, NOW)));
        assert_eq!(logins.memory().links.len(), LINKS);
    }
}
