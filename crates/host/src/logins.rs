//! The owner in a browser: one-time links that sign in, and the sessions that they open. All in memory: a restart of
//! the host ends them.
//!
//! A session needs two secrets. Its cookie is out of reach of scripts, but browsers send it to every port of the
//! address, so to other servers of the same machine. Its page key is in the storage of the dashboard's origin, which
//! no other port reads, and pages of other origins cannot send it as a header. Neither alone opens anything.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use couplet_protocol::{Code, Digest, LoginToken, PageKey, SessionToken};
use http::uri::Authority;
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
/// Sessions at once; the oldest goes. As many that are over are kept, so that their pages can be told why.
const SESSIONS: usize = 16;

/// Links and sessions. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logins(Arc<Mutex<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    links: VecDeque<Link>,
    sessions: VecDeque<Arc<OwnerSession>>,
    past: VecDeque<Arc<OwnerSession>>,
}

#[derive(Debug)]
struct Link {
    token: Digest,
    expires_at: Timestamp,
    is_used: bool,
}

/// Who signs in.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    pub(crate) address: IpAddr,
    /// What the browser calls itself.
    pub(crate) browser: Option<String>,
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nobody has used it for long.
    Unused,
    /// It has lasted as long as a session may.
    Old,
    /// Its own page has signed out.
    SignedOut,
    /// The owner has ended it, from elsewhere.
    Ended,
    /// More browsers have signed in than there is room for.
    Replaced,
    /// There is none such: it is forgotten, or was never here.
    Unknown,
}

/// An owner's session in a browser.
#[derive(Debug)]
pub(crate) struct OwnerSession {
    /// Names it; opens nothing.
    pub(crate) id: Uuid,
    cookie: Digest,
    page_key: Digest,
    /// The name under which it was opened, `host:port` in lower case.
    authority: String,
    /// What its browser calls itself.
    pub(crate) browser: Option<String>,
    pub(crate) opened_at: Timestamp,
    expires_at: Timestamp,
    /// When somebody used it last, in milliseconds.
    used_at: AtomicI64,
    /// Where its page asked from last.
    address: Mutex<IpAddr>,
    why_over: OnceLock<Ending>,
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

    /// When somebody used it last.
    pub(crate) fn used_at(&self) -> Timestamp {
        Timestamp::from_millis(self.used_at.load(Ordering::Relaxed))
    }

    /// Where its page asked from last.
    pub(crate) fn address(&self) -> IpAddr {
        *self.address.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it ends, unless somebody uses it before.
    pub(crate) fn ends_at(&self) -> Timestamp {
        self.used_at().after(IDLE).min(self.expires_at)
    }

    /// Why it is over, if it is.
    fn over(&self, now: Timestamp) -> Option<Ending> {
        let by_time = || match now {
            _ if now >= self.expires_at => Some(Ending::Old),
            _ if now >= self.ends_at() => Some(Ending::Unused),
            _ => None,
        };
        self.why_over.get().copied().or_else(by_time)
    }

    /// When it ends whatever happens.
    pub(crate) fn expires_at(&self) -> Timestamp {
        self.expires_at
    }
}

/// What a browser is given when it signs in.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: Uuid,
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
        visitor: &Visitor,
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
            id: crate::random::uuid(),
            cookie: SessionToken::from_entropy(crate::random::bytes()),
            page_key: PageKey::from_entropy(crate::random::bytes()),
            expires_at: now.after(SESSION),
        };
        memory.end_where(|session| session.over(now));
        if memory.sessions.len() == SESSIONS
            && let Some(oldest) = memory.sessions.front().map(|session| session.id)
        {
            memory.end_where(|session| (session.id == oldest).then_some(Ending::Replaced));
        }
        memory.sessions.push_back(Arc::new(OwnerSession {
            id: opened.id,
            cookie: opened.cookie.digest(),
            page_key: opened.page_key.digest(),
            authority: authority.as_str().to_ascii_lowercase(),
            browser: visitor.browser.clone(),
            opened_at: now,
            expires_at: opened.expires_at,
            used_at: AtomicI64::new(now.millis()),
            address: Mutex::new(visitor.address),
            why_over: OnceLock::new(),
            ended: CancellationToken::new(),
        }));
        Ok(opened)
    }

    /// The session of a cookie and its page's key, under the name that it was opened under; it is asked for from this
    /// address.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn session(
        &self,
        (cookie, page_key): (&str, &str),
        (authority, source): (&Authority, IpAddr),
        now: Timestamp,
    ) -> Result<Arc<OwnerSession>, Ending> {
        let cookie = SessionToken::parse(cookie).map_err(|_| Ending::Unknown)?.digest();
        let page_key = PageKey::parse(page_key).map_err(|_| Ending::Unknown)?.digest();
        let memory = self.memory();
        let mut all = memory.sessions.iter().chain(&memory.past);
        let found = all.find(|session| session.is(&cookie, &page_key)).ok_or(Ending::Unknown)?;
        if !found.authority.eq_ignore_ascii_case(authority.as_str()) {
            return Err(Ending::Unknown);
        }
        if let Some(ending) = found.over(now) {
            return Err(ending);
        }
        *found.address.lock().unwrap_or_else(PoisonError::into_inner) = source;
        Ok(Arc::clone(found))
    }

    /// Those that are open, in the order in which they were opened.
    pub(crate) fn sessions(&self, now: Timestamp) -> Vec<Arc<OwnerSession>> {
        self.memory().sessions.iter().filter(|session| session.over(now).is_none()).cloned().collect()
    }

    /// Ends a session, and what it has open: the session, if it was open.
    pub(crate) fn end(&self, id: Uuid, why: Ending, now: Timestamp) -> Option<Arc<OwnerSession>> {
        let mut memory = self.memory();
        memory.end_where(|session| session.over(now));
        let found = memory.sessions.iter().find(|session| session.id == id).cloned()?;
        memory.end_where(|session| (session.id == id).then_some(why));
        Some(found)
    }

    /// Ends every session, `except` one, what they have open, and the links that nobody has opened yet.
    pub(crate) fn end_all(&self, except: Option<Uuid>) {
        let mut memory = self.memory();
        memory.links.clear();
        memory.end_where(|session| (Some(session.id) != except).then_some(Ending::Ended));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn end_where(&mut self, why: impl Fn(&OwnerSession) -> Option<Ending>) {
        let Memory { sessions, past, .. } = self;
        sessions.retain(|session| {
            let Some(why) = why(session) else { return true };
            session.why_over.get_or_init(|| why);
            session.ended.cancel();
            past.push_back(Arc::clone(session));
            false
        });
        past.drain(..past.len().saturating_sub(SESSIONS));
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

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 7));

    fn visitor() -> Visitor {
        Visitor { address: HERE, browser: Some("Firefox on Linux".to_owned()) }
    }

    fn login(logins: &Logins, token: &str, at: (&Authority, bool), now: Timestamp) -> Result<Opened, Failure> {
        logins.login(token, at, &visitor(), now)
    }

    fn opened(logins: &Logins) -> Opened {
        login(logins, logins.link(NOW).0.expose(), (&home(), false), NOW).unwrap()
    }

    fn session(logins: &Logins, opened: &Opened, now: Timestamp) -> Result<Arc<OwnerSession>, Ending> {
        logins.session((opened.cookie.expose(), opened.page_key.expose()), (&home(), HERE), now)
    }

    fn is_open(logins: &Logins, opened: &Opened, now: Timestamp) -> bool {
        session(logins, opened, now).is_ok()
    }

    fn ending(logins: &Logins, opened: &Opened, now: Timestamp) -> Ending {
        session(logins, opened, now).map(drop).unwrap_err()
    }

    #[test]
    fn a_link_signs_in_once_and_in_time() {
        let logins = Logins::default();
        let code = |token: &str, now| login(&logins, token, (&home(), false), now).unwrap_err().code();
        let (late, end) = logins.link(NOW);
        assert_eq!(code(late.expose(), end), Code::LoginLinkInvalid);
        let (token, _) = logins.link(NOW);
        assert_eq!(code("log_", NOW), Code::LoginLinkInvalid);
        for name in ["Nas.Local.:7878", "nas:7878", "nas.home:7878", "pair.example", "127.0.0.1.example:7878"] {
            let refused = login(&logins, token.expose(), (&at(name), false), NOW).unwrap_err().code();
            assert_eq!(refused, Code::LoginNameUnsafe, "{name}");
        }
        assert!(login(&logins, token.expose(), (&home(), false), NOW).is_ok(), "what was refused used nothing up");
        for (name, by_tls) in [("[fd00::1]:7878", false), ("LOCALHOST:7878", false), ("nas.home", true)] {
            let token = logins.link(NOW).0;
            assert!(login(&logins, token.expose(), (&at(name), by_tls), NOW).is_ok(), "{name}");
        }
        assert_eq!(code(token.expose(), NOW), Code::LoginLinkUsed);
    }

    #[test]
    fn a_session_needs_both_secrets_of_its_own_its_name_and_its_time() {
        let logins = Logins::default();
        let (one, other) = (opened(&logins), opened(&logins));
        assert!(is_open(&logins, &one, NOW) && !is_open(&logins, &one, NOW.after(IDLE)));
        assert_eq!(ending(&logins, &one, NOW.after(IDLE)), Ending::Unused);
        let session = session(&logins, &one, NOW).unwrap();
        let last = Timestamp::from_millis(one.expires_at.millis() - 1);
        session.used(last);
        session.used(NOW);
        assert!(is_open(&logins, &one, last) && !is_open(&logins, &one, one.expires_at), "used to its end");
        assert_eq!(ending(&logins, &one, one.expires_at), Ending::Old);
        let session =
            |cookie: &str, key: &str, name: &str| logins.session((cookie, key), (&at(name), HERE), NOW).is_ok();
        let (cookie, key) = (one.cookie.expose(), one.page_key.expose());
        assert!(!session(cookie, other.page_key.expose(), "192.168.1.42:7878"));
        assert!(!session(cookie, "", "192.168.1.42:7878") && !session("", key, "192.168.1.42:7878"));
        assert!(!session(cookie, key, "192.168.1.42:7879") && !session(cookie, key, "nas.local:7878"));
    }

    #[test]
    fn the_end_of_a_session_ends_what_it_has_open_and_no_other() {
        let logins = Logins::default();
        let (one, other) = (opened(&logins), opened(&logins));
        let session = session(&logins, &one, NOW).unwrap();
        assert!(logins.end(one.id, Ending::SignedOut, NOW).is_some());
        assert!(session.ended.is_cancelled() && is_open(&logins, &other, NOW));
        assert_eq!(ending(&logins, &one, NOW), Ending::SignedOut);
        assert!(logins.end(one.id, Ending::Ended, NOW).is_none(), "once");
        assert_eq!(ending(&logins, &one, one.expires_at), Ending::SignedOut, "as it was, whatever follows");
    }

    #[test]
    fn the_list_has_those_that_are_open_and_where_they_were_last() {
        let logins = Logins::default();
        let (one, other) = (opened(&logins), opened(&logins));
        let moved = IpAddr::from([192, 168, 1, 99]);
        let later = NOW.after(IDLE / 2);
        let secrets = (other.cookie.expose(), other.page_key.expose());
        logins.session(secrets, (&home(), moved), later).unwrap().used(later);
        let ids = |now| logins.sessions(now).iter().map(|session| session.id).collect::<Vec<_>>();
        assert_eq!(ids(later), [one.id, other.id]);
        assert_eq!(ids(NOW.after(IDLE)), [other.id], "the one that nobody has used is over");
        let found = &logins.sessions(later)[1];
        assert_eq!((found.address(), found.used_at(), found.opened_at), (moved, later, NOW));
        assert_eq!((found.ends_at(), found.browser.as_deref()), (later.after(IDLE), Some("Firefox on Linux")));
    }

    #[test]
    fn all_can_be_ended_or_all_but_one() {
        let logins = Logins::default();
        let (one, other, unused) = (opened(&logins), opened(&logins), logins.link(NOW).0);
        logins.end_all(Some(one.id));
        assert!(is_open(&logins, &one, NOW));
        assert_eq!(ending(&logins, &other, NOW), Ending::Ended);
        logins.end_all(None);
        assert!(!is_open(&logins, &one, NOW));
        let refused = login(&logins, unused.expose(), (&home(), false), NOW).unwrap_err();
        assert_eq!(refused.code(), Code::LoginLinkInvalid);
    }

    #[test]
    fn the_memory_is_bounded() {
        let logins = Logins::default();
        let first_link = logins.link(NOW).0;
        let first = opened(&logins);
        let all: Vec<_> = (0..SESSIONS).map(|_| opened(&logins)).collect();
        assert_eq!(
            login(&logins, first_link.expose(), (&home(), false), NOW).unwrap_err().code(),
            Code::LoginLinkInvalid
        );
        assert_eq!(ending(&logins, &first, NOW), Ending::Replaced, "the oldest went");
        assert!(all.iter().all(|session| is_open(&logins, session, NOW)));
        assert_eq!(logins.memory().links.len(), LINKS);
        (0..SESSIONS).for_each(|_| drop(opened(&logins)));
        assert_eq!(logins.memory().past.len(), SESSIONS);
        assert_eq!(ending(&logins, &first, NOW), Ending::Unknown, "and is forgotten in the end");
    }
}
