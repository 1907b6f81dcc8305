//! Pairing, as the doors, the owner and the library's user see it: the ceremony, the devices, the upkeep.

mod ceremony;
mod claims;
mod devices;
mod doors;
mod login;
mod minted;
mod offers;
mod owner;
mod pin_requests;
mod pin_tries;
mod pins;
mod sealed;
mod steps;
mod upkeep;
mod watches;
mod whereabouts;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use couplet_protocol::{AdminToken, Code, StaticSecret};
use http::uri::Authority;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::Authenticator;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, RelayUse};
use crate::doctor::Examined;
use crate::events::{Events, News};
use crate::logins::Logins;
use crate::net::{Addresses, OwnAddresses};
use crate::problem::Failure;
use crate::rate::Rate;
use crate::relay::{Enrolment, Relay};
use crate::start::{self, StartError};
use crate::store::Store;
use crate::tunnel::Tunnels;

use claims::Claims;
pub(crate) use claims::{Granted, Identity, Ticket, Verdict};
pub(crate) use doors::Outcome;
pub(crate) use offers::{OpenOffer, TRIES};
use pin_requests::Pins;
use pin_tries::PinTries;
pub(crate) use pins::Verified;
pub(crate) use sealed::Claimed;
pub(crate) use steps::{Claimant, deliver};

/// A host's pairing: open it once, clone it where it is needed. Its upkeep stops with the last clone.
#[derive(Clone, Debug)]
pub struct Pairing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    core: Core,
    _upkeep: AbortOnDropHandle<()>,
    _tunnels: DropGuard,
    /// Keeps a second host off the same state folder.
    _lock: File,
}

/// What the upkeep shares with the handle.
#[derive(Clone, Debug)]
pub(crate) struct Core {
    config: Arc<Config>,
    store: Store,
    auth: Authenticator,
    events: Events,
    admin: Arc<AdminToken>,
    host_key: Arc<StaticSecret>,
    claims: Claims,
    logins: Logins,
    pins: Pins,
    pin_tries: PinTries,
    tunnels: Arc<Tunnels>,
    rates: Arc<Rates>,
    addresses: Arc<RwLock<Addresses>>,
    announced: whereabouts::Announced,
    own: Arc<OwnAddresses>,
    relay: Relay,
    stopping: CancellationToken,
    examined: Arc<Examined>,
}

#[derive(Debug)]
struct Rates {
    generate: Rate<()>,
    anyone: Rate<IpAddr>,
    /// By the addresses that a relay names, which it could make up: apart, so that it takes nothing from the LAN's.
    relayed: Rate<IpAddr>,
}

impl Pairing {
    /// Opens the state folder: database, owner's token, and the tasks that keep them tidy. Needs a Tokio runtime.
    ///
    /// # Errors
    /// The folder cannot be used, another host uses it, or its database is of a newer version.
    pub async fn open(config: Config) -> Result<Pairing, StartError> {
        config.checked().map_err(|error| StartError::new(Code::ConfigInvalid, error.to_string()))?;
        let state = start::StateFolder::open(&config.state_dir)?;
        let enrolment = enrolment(&config)?;
        let store = Store::open(&state.database()).map_err(|error| start::store_error(&state.database(), error))?;
        let clock = Clock::start();
        let events = Events::new(clock.now());
        let auth = Authenticator::new(store.clone(), events.clone(), clock);
        let limits = &config.limits;
        let core = Core {
            rates: Arc::new(Rates {
                generate: Rate::per_minute(limits.generate_per_minute),
                anyone: Rate::per_minute(limits.exchange_per_minute),
                relayed: Rate::per_minute(limits.exchange_per_minute),
            }),
            store,
            auth,
            events,
            admin: Arc::new(state.admin),
            host_key: Arc::new(state.host_key),
            claims: Claims::default(),
            logins: Logins::default(),
            pins: Pins::default(),
            pin_tries: PinTries::default(),
            tunnels: Arc::new(Tunnels::new(limits.max_sessions)),
            config: Arc::new(config),
            addresses: Arc::default(),
            announced: whereabouts::Announced::default(),
            own: Arc::default(),
            relay: Relay::new(enrolment),
            stopping: CancellationToken::new(),
            examined: Arc::default(),
        };
        core.start_up().await.map_err(|failure| start::upkeep_error(&failure))?;
        let upkeep = AbortOnDropHandle::new(tokio::spawn(core.clone().keep_up()));
        let tunnels = core.tunnels.guard();
        Ok(Pairing(Arc::new(Inner { core, _upkeep: upkeep, _tunnels: tunnels, _lock: state.lock })))
    }

    /// Everything that happens to pairings and devices, from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<couplet_protocol::api::Event>> {
        self.0.core.events.since(None).2
    }

    /// Authenticates devices.
    #[must_use]
    pub fn authenticator(&self) -> &Authenticator {
        &self.0.core.auth
    }

    /// Writes down what is only in memory: when devices were last seen, and whose end has come. For an orderly stop.
    ///
    /// # Errors
    /// The store fails.
    pub async fn flush(&self) -> Result<(), Failure> {
        self.0.core.expire(false).await.and(self.0.core.flush().await)
    }

    pub(crate) fn core(&self) -> &Core {
        &self.0.core
    }
}

/// Which relay to use, as the configuration wants it.
fn enrolment(config: &Config) -> Result<Option<Enrolment>, StartError> {
    let enrolment = match config.relay {
        RelayUse::Off => return Ok(None),
        RelayUse::Auto | RelayUse::Required => Enrolment::load(&config.state_dir)?,
    };
    if enrolment.is_none() && config.relay == RelayUse::Required {
        let next = "Ask the relay's operator for a token (couplet relay invite), then: couplet enroll TOKEN. Without a \
                    relay, leave --relay out.";
        return Err(StartError::new(Code::NotEnrolled, next));
    }
    Ok(enrolment)
}

impl Core {
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn admin(&self) -> &AdminToken {
        &self.admin
    }

    /// The host's long-term identity.
    pub(crate) fn host_key(&self) -> &StaticSecret {
        &self.host_key
    }

    /// Who devices are.
    pub(crate) fn auth(&self) -> &Authenticator {
        &self.auth
    }

    /// The sealed sessions.
    pub(crate) fn tunnels(&self) -> &Tunnels {
        &self.tunnels
    }

    /// What `couplet doctor` found last.
    pub(crate) fn examined(&self) -> &Examined {
        &self.examined
    }

    /// The relay, if there is one.
    pub(crate) fn relay(&self) -> &Relay {
        &self.relay
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Fires when the host stops: streams that never end by themselves end then.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    pub(crate) fn set_addresses(&self, addresses: Addresses) {
        *self.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Where everything is served now.
    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the address is one of this machine's.
    pub(crate) fn is_own(&self, ip: IpAddr) -> bool {
        self.own.contains(ip)
    }

    /// The `host:port` that a device is offered: the one that the caller itself used, or, when that is a loopback
    /// name, one that the device can reach.
    pub(crate) fn offered_authority(&self, asked: &Authority) -> String {
        let name = asked.host().trim_start_matches('[').trim_end_matches(']');
        let loopback =
            name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let lan = if loopback { self.reachable().first().copied() } else { None };
        match lan {
            Some(address) => address.to_string(),
            None if asked.port().is_some() => asked.to_string(),
            None => format!("{asked}:80"),
        }
    }

    /// Whether the pairing API is served on this port.
    pub(crate) fn serves_port(&self, port: u16) -> bool {
        let addresses = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        addresses.pairing.iter().any(|address| address.port() == port)
    }

    /// Who is signed in to the dashboard.
    pub(crate) fn logins(&self) -> &Logins {
        &self.logins
    }

    fn bound(&self) -> Vec<SocketAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).pairing.clone()
    }

    /// Where devices can reach the pairing API, the likeliest first.
    pub(crate) fn reachable(&self) -> Vec<SocketAddr> {
        self.addresses.read().unwrap_or_else(PoisonError::into_inner).reachable()
    }

    /// Whether the store answers.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        self.store.read(|tx| Ok(tx.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.auth.now()
    }

    /// What runs after a commit: tells the news.
    fn tell<T>(&self) -> impl FnOnce(&(T, Vec<News>)) + Send + 'static {
        let events = self.events.clone();
        move |(_, news)| news.iter().for_each(|news| events.tell(news.clone()))
    }
}
