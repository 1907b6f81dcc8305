//! The owner signs in to the dashboard and out of it.

use std::net::{IpAddr, SocketAddr};

use couplet_protocol::api::LoginLinks;
use http::uri::Authority;

use super::Core;
use crate::logins::{Opened, OwnerSession};
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
    pub(crate) async fn login(&self, token: &str, at: (&Authority, bool), source: IpAddr) -> Result<Opened, Failure> {
        let opened = self.logins.login(token, at, self.now())?;
        self.note("owner.login", source).await?;
        Ok(opened)
    }

    /// Ends a session of the dashboard.
    pub(crate) async fn logout(&self, session: &OwnerSession, source: IpAddr) -> Result<(), Failure> {
        self.logins.end(session);
        self.note("owner.logout", source).await
    }

    /// Ends all of them.
    pub(crate) async fn logout_all(&self, source: IpAddr) -> Result<(), Failure> {
        self.logins.end_all();
        self.note("owner.logout_all", source).await
    }

    async fn note(&self, action: &'static str, source: IpAddr) -> Result<(), Failure> {
        let (now, network) = (self.now(), source.to_string());
        let work = move |tx: &rusqlite::Transaction<'_>| {
            Record { network: Some(&network), ..Record::new(action, Actor::Owner) }.write(tx, now)
        };
        self.store.write(work, |()| ()).await
    }
}
