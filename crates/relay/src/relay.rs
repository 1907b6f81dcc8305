//! One relay: bound, then served until it is told to stop.

mod addresses;
mod certificates;
mod start_error;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use couplet_phone::Phone;
use couplet_protocol::{Code, RelayName};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::addresses::{Listeners, names};
use self::certificates::Certificates;
pub use self::start_error::StartError;
use self::start_error::{store_error, tls_error, unusable};
use crate::account::{Accounts, Https};
use crate::authority::{self, Authority};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Control;
use crate::http::enroll::Enrolments;
use crate::listener::{self, Kind, Listener};
use crate::live::{Caps, Live};
use crate::metrics::Metrics;
use crate::quota::Sources;
use crate::rate::Rates;
use crate::registry::{Event, Limits, Registry};
use crate::rooms_door::RoomsDoor;
use crate::shared::Shared;
use crate::sockets::Sockets;
use crate::store::embedded::Embedded;
use crate::tasks::Tasks;
use crate::{http, plain, state, tls};

const STORE: &str = "relay.redb";

/// Where a relay is.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The devices' listener: `https://name[:port]`.
    pub public: String,
    /// The hosts' listener.
    pub hosts: String,
    /// The addresses that both, and the operator's listener, are bound to.
    pub bound: Bound,
    /// The relay's own CA's certificate (PEM).
    pub ca: PathBuf,
    /// Its state folder.
    pub state_dir: PathBuf,
}

/// Addresses that listeners are bound to.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// Devices'.
    pub devices: Vec<SocketAddr>,
    /// Hosts'.
    pub hosts: Vec<SocketAddr>,
    /// The operator's.
    pub private: Vec<SocketAddr>,
}

/// A relay that is bound and not yet served.
pub struct Relay {
    config: Config,
    shared: Arc<Shared>,
    control: Control,
    listeners: Listeners,
    certificates: Certificates,
    ready: Ready,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Relay {
    /// Opens the state folder and binds every listener. Connections are accepted and wait for [`Relay::serve`]. Raises the
    /// process's limit of open files as far as it may.
    ///
    /// # Errors
    /// Says what to do.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        config.checked().map_err(|error| StartError::new(Code::ConfigInvalid, format!("{error}.")))?;
        crate::sockets::allow_many();
        let clock = Clock::system();
        let folder = &config.state_dir;
        state::keep_private(folder).map_err(|error| unusable(folder, &error))?;
        let store = Embedded::open(&folder.join(STORE)).map_err(|error| store_error(folder, &error))?;
        let authority = Authority::open(folder, clock.now()).map_err(|error| unusable(folder, &error))?;

        let listeners = Listeners::bind(&config)?;
        let bound = listeners.bound();
        let (name, hosts_name) = names(&config, &bound)?;
        let certificates = Certificates::new(&config, &authority, [&name, &hosts_name], clock.now());
        let certificates = certificates.map_err(|error| tls_error(&error))?;
        let control = Control::bind(folder).map_err(|error| unusable(folder, &error))?;
        let ready = Ready {
            public: format!("https://{name}"),
            hosts: format!("https://{hosts_name}"),
            bound,
            ca: folder.join(authority::CERTIFICATE),
            state_dir: folder.clone(),
        };
        let registry_limits = Limits { rooms_per_host: config.limits.rooms_per_host };
        let registry = Registry::new(Arc::new(store), clock.clone(), registry_limits);
        let shared = Arc::new(shared(&config, registry, authority, clock, [name, hosts_name])?);
        Ok(Relay { config, shared, control, listeners, certificates, ready })
    }

    /// Where it is.
    #[must_use]
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// Serves until `stop` fires; then no session begins any more, those that run may end in their time, and the rest is
    /// cut. Dropping the future cuts all.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), StartError> {
        let Relay { config, shared, control, listeners, certificates, .. } = self;
        let _cut_when_dropped = shared.tasks.cut.clone().drop_guard();
        let limits = &config.limits;
        let for_devices = tls::for_devices(Arc::clone(&certificates.devices)).map_err(|error| tls_error(&error))?;
        let hosts_shown = Arc::clone(&certificates.hosts);
        let for_hosts = tls::for_hosts(hosts_shown, &shared.authority).map_err(|error| tls_error(&error))?;
        let start = |kind, listeners: Vec<TcpListener>, most, tls: Arc<ServerConfig>, app: Router| {
            let (tls, sockets) = (TlsAcceptor::from(tls), Sockets::new(most, limits.source_sockets));
            let (shared, limits) = (Arc::clone(&shared), limits.clone());
            let refusals = Rates::new(10, Duration::from_secs(60));
            let listener = Arc::new(Listener { shared, sockets: sockets.clone(), tls, app, limits, kind, refusals });
            listeners.into_iter().for_each(|at| listener.shared.spawn(listener::accept(at, Arc::clone(&listener))));
            sockets
        };
        let app = http::devices::router(Arc::clone(&shared));
        let devices = start(Kind::Devices, listeners.devices, limits.max_devices, for_devices, app);
        let app = http::hosts::router(Arc::clone(&shared));
        let hosts = start(Kind::Hosts, listeners.hosts, limits.max_hosts, for_hosts, app);
        let operator = http::private::Operator { shared: Arc::clone(&shared), devices, hosts };
        let app = http::private::router(operator);
        for at in listeners.private {
            shared.spawn(plain::serve(at, app.clone(), shared.tasks.clone(), limits.header()));
        }
        shared.spawn(control.serve(Arc::clone(&shared), limits.header()));
        shared.spawn(follow(Arc::clone(&shared)));
        shared.spawn(Arc::clone(&shared.rooms).follow_registry());
        shared.spawn(Arc::clone(&shared.registry).sweep_hourly());
        shared.spawn(certificates.renew(Arc::clone(&shared), config.clone()));
        stop.cancelled().await;
        crate::drain::drain(&shared, Duration::from_secs(limits.drain_seconds)).await;
        Ok(())
    }
}

/// What all parts work with.
fn shared(
    config: &Config,
    registry: Registry,
    authority: Authority,
    clock: Clock,
    [name, hosts_name]: [RelayName; 2],
) -> Result<Shared, StartError> {
    let (accounts, registry) = (accounts(config, &clock)?, Arc::new(registry));
    let (limits, tasks, metrics) = (&config.limits, Tasks::default(), Arc::new(Metrics::new()));
    let caps = Caps {
        sessions: limits.host_sessions.try_into().unwrap_or(usize::MAX),
        sockets: limits.host_sockets.try_into().unwrap_or(usize::MAX),
        bytes_per_second: limits.host_bytes_per_second,
    };
    let rooms = RoomsDoor::new(Arc::clone(&registry), accounts.clone(), limits.max_rooms, Arc::clone(&metrics));
    Ok(Shared {
        rooms: Arc::new(rooms),
        registry,
        live: Live::new(caps, tasks.clone()),
        accounts,
        authority,
        clock,
        metrics,
        enrolments: Enrolments::new(),
        pages: Sockets::new(limits.max_devices, limits.source_sockets.div_ceil(16)),
        sources: Sources::new(limits.source_bytes_per_second),
        phone: Phone::new(&format!("https://{name}"), config.apps()),
        name,
        hosts_name,
        tasks,
    })
}

/// Cuts what the registry says is over.
async fn follow(shared: Arc<Shared>) {
    let mut events = shared.registry.events();
    loop {
        match events.recv().await {
            Ok(Event::RoomRemoved { host, room }) => shared.live.cut_room(host, room),
            Ok(Event::HostRevoked { host }) => shared.live.cut_host(host),
            Ok(Event::RoomLocked { host, room }) => shared.live.room_locked(host, room),
            // Who knows what was missed: those who may come back do.
            Err(RecvError::Lagged(_)) => shared.live.cut_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

fn accounts(config: &Config, clock: &Clock) -> Result<Option<Arc<Accounts>>, StartError> {
    if config.account_issuers.is_empty() {
        return Ok(None);
    }
    let wrong = |error: String| StartError::new(Code::ConfigInvalid, format!("{error}."));
    let path = &config.account_ca;
    let read = || std::fs::read(path).map_err(|error| wrong(format!("account_ca: {}: {error}", path.display())));
    let extra = if path.as_os_str().is_empty() { None } else { Some(read()?) };
    let fetch = Https::new(extra.as_deref()).map_err(|error| wrong(error.to_string()))?;
    let accounts = Accounts::new(&config.account_issuers, &config.account_audience, Arc::new(fetch), clock.clone());
    accounts.map(|accounts| Some(Arc::new(accounts))).map_err(|error| wrong(error.to_string()))
}
