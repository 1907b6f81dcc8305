//! The owner signs in to the dashboard and out of it.

use std::net::{IpAddr, SocketAddr};

use couplet_protocol::api::{EventKind, LoginLinks};
use http::uri::Authority;
use uuid::Uuid;

use super::Core;
use crate::events::News;
use crate::logins::{Ending, Opened, OwnerSession, Visitor};
use crate::problem::Failure;
use crate::store::audit::{Actor, Record};

impl Core {
    /// A one-time link to the dashboard, at each address where it is served; at the caller's, when nothing is known of
    /// others.
    pub(crate) fn login_links(&self, asked: Option<&Authority>) -> LoginLinks {
        let (token, expires_at) = self.logins.link(self.now());
        let mut places: Vec<String> = self.dashboards().iter().map(ToString::to_string).collect();
        if places.is_empty() {
            places.extend(asked.map(ToString::to_string));
        }
        let url = |place: String| format!("http://{place}/#login={}", token.expose());
        LoginLinks { urls: places.into_iter().map(url).collect(), expires_at: expires_at.to_rfc3339() }
    }

    /// Where the dashboard is: addresses that other machines reach first, then this machine's own.
    fn dashboards(&self) -> Vec<SocketAddr> {
        let bound = self.bound();
        let mut found = crate::net::reachable(&bound);
        let own = bound.iter().filter(|address| address.ip().is_loopback() && address.is_ipv4());
        let new: Vec<_> = own.filter(|address| !found.contains(address)).copied().collect();
        found.extend(new);
        found
    }

    /// Signs in with a link's token, and writes it down. `at`: under which name, and whether by TLS.
    pub(crate) async fn login(
        &self,
        token: &str,
        at: (&Authority, bool),
        visitor: &Visitor,
    ) -> Result<Opened, Failure> {
        let opened = self.logins.login(token, at, visitor, self.now())?;
        let noted = self.note("owner.login", visitor.address, visitor.browser.clone()).await;
        if noted.is_err() {
            // Nobody is told its secrets.
            self.logins.end(opened.id, Ending::Ended, self.now());
        }
        noted.map(|()| opened)
    }

    /// Ends the session of the dashboard that asks.
    pub(crate) async fn logout(&self, session: &OwnerSession, source: IpAddr) -> Result<(), Failure> {
        self.logins.end(session.id, Ending::SignedOut, self.now());
        self.note("owner.logout", source, session.browser.clone()).await
    }

    /// Ends one of them, from elsewhere. None: there is no such one.
    pub(crate) async fn logout_other(&self, id: Uuid, source: IpAddr) -> Result<Option<()>, Failure> {
        let Some(ended) = self.logins.end(id, Ending::Ended, self.now()) else { return Ok(None) };
        let browser = ended.browser.as_deref().unwrap_or("A browser");
        let detail = format!("{browser} at {}", ended.address());
        self.note("owner.logout_other", source, Some(detail)).await.map(Some)
    }

    /// Ends all of them, but for the one that `stays`.
    pub(crate) async fn logout_all(&self, stays: Option<&OwnerSession>, source: IpAddr) -> Result<(), Failure> {
        self.logins.end_all(stays.map(|session| session.id));
        let action = if stays.is_some() { "owner.logout_others" } else { "owner.logout_all" };
        self.note(action, source, None).await
    }

    /// Writes down who signed in or out, and tells the pages that are open.
    async fn note(&self, action: &'static str, source: IpAddr, detail: Option<String>) -> Result<(), Failure> {
        let (now, network, events) = (self.now(), source.to_string(), self.events.clone());
        let kind = if action == "owner.login" { EventKind::OwnerLogin } else { EventKind::OwnerLogout };
        let news = News::of_owner(kind, now, network.clone());
        let work = move |tx: &rusqlite::Transaction<'_>| {
            let record = Record::new(action, Actor::Owner);
            Record { network: Some(&network), detail: detail.as_deref(), ..record }.write(tx, now)
        };
        self.store.write(work, move |()| events.tell(news)).await
    }
}
