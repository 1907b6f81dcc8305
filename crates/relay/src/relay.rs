//! One relay: bound, then served until it is told to stop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use couplet_protocol::{Code, RelayName};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::account::{Accounts, Https};
use crate::authority::{self, Authority};
use crate::clock::Clock;
use crate::config::{Config, DEV_PORT, DEVICES_PORT, HOSTS_PORT};
use crate::control::Control;
use crate::http::{self, Shared};
use crate::listener::{self, Door, Kind};
use crate::live::{Caps, Live};
use crate::metrics::Metrics;
use crate::quota::Sources;
use crate::registry::{Event, Limits, Registry};
use crate::rooms_door::RoomsDoor;
use crate::sockets::Sockets;
use crate::state;
use crate::store::embedded::{Embedded, OpenError};
use crate::tasks::Tasks;
use crate::tls::{self, Shown, TlsError};

const STORE: &str = "relay.redb";
/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often the relay's own certificates are made anew.
const RENEW: Duration = Duration::from_secs(24 * 3600);

/// Why a relay could not start. Its text says what happened and what to do next.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} ({code}). {detail}", code.title())]
pub struct StartError {
    code: Code,
    detail: String,
}

impl StartError {
    fn new(code: Code, detail: impl Into<String>) -> Self {
        StartError { code, detail: detail.into() }
    }

    /// What to do next.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The code, which `couplet explain` knows.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

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
    devices: (Vec<TcpListener>, Arc<Shown>),
    hosts: (Vec<TcpListener>, Arc<Shown>),
    private: Vec<TcpListener>,
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

        let devices_port = if config.dev { DEV_PORT } else { DEVICES_PORT };
        let devices = bind_all(&config.listen, config.dev, devices_port)?;
        let hosts = bind_all(&config.hosts_listen, config.dev, HOSTS_PORT)?;
        let private = config.private.iter().map(|at| bind(*at)).collect::<Result<Vec<_>, _>>()?;
        let bound = Bound { devices: addresses(&devices), hosts: addresses(&hosts), private: addresses(&private) };
        let (name, hosts_name) = names(&config, &bound)?;

        let now = clock.now();
        let own = || tls::issued(&authority, &[&name, &hosts_name], now).map_err(|error| tls_error(&error));
        let shown = match config.dev {
            true => own()?,
            false => tls::from_files(&config.tls_cert, &config.tls_key).map_err(|error| tls_error(&error))?,
        };
        let (devices_shown, hosts_shown) = (Shown::new(shown), Shown::new(own()?));
        let registry_limits = Limits { rooms_per_host: config.limits.rooms_per_host };
        let registry = Arc::new(Registry::new(Arc::new(store), clock.clone(), registry_limits));
        let accounts = accounts(&config, &clock)?;
        let control = Control::bind(folder).map_err(|error| unusable(folder, &error))?;
        let ready = Ready {
            public: format!("https://{name}"),
            hosts: format!("https://{hosts_name}"),
            bound,
            ca: folder.join(authority::CERTIFICATE),
            state_dir: folder.clone(),
        };
        let caps = Caps {
            sessions: config.limits.host_sessions.try_into().unwrap_or(usize::MAX),
            sockets: config.limits.host_sockets.try_into().unwrap_or(usize::MAX),
            bytes_per_second: config.limits.host_bytes_per_second,
        };
        let tasks = Tasks::default();
        let shared = Shared {
            rooms: Arc::new(RoomsDoor::new(Arc::clone(&registry), accounts.clone(), config.limits.max_rooms)),
            registry,
            live: Live::new(caps, tasks.clone()),
            accounts,
            authority,
            clock,
            metrics: Metrics::new(),
            sources: Sources::new(config.limits.source_bytes_per_second),
            name,
            hosts_name,
            tasks,
        };
        Ok(Relay {
            config,
            shared: Arc::new(shared),
            control,
            devices: (devices, devices_shown),
            hosts: (hosts, hosts_shown),
            private,
            ready,
        })
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
        let Relay { config, shared, control, devices, hosts, private, .. } = self;
        let _cut_when_dropped = shared.tasks.cut.clone().drop_guard();
        let limits = &config.limits;
        let for_devices = tls::for_devices(Arc::clone(&devices.1)).map_err(|error| tls_error(&error))?;
        let for_hosts = tls::for_hosts(Arc::clone(&hosts.1), &shared.authority).map_err(|error| tls_error(&error))?;
        let door = |kind, sockets: &Sockets, tls, app: Router| {
            let tls = TlsAcceptor::from(tls);
            let (shared, sockets, limits) = (Arc::clone(&shared), sockets.clone(), limits.clone());
            Arc::new(Door { shared, sockets, tls, app, limits, kind })
        };
        let places = |most| Sockets::new(most, limits.source_sockets);
        let (devices_places, hosts_places) = (places(limits.max_devices), places(limits.max_hosts));
        let app = http::devices::router(Arc::clone(&shared));
        let devices_door = door(Kind::Devices, &devices_places, for_devices, app);
        let app = http::hosts::router(Arc::clone(&shared));
        let hosts_door = door(Kind::Hosts, &hosts_places, for_hosts, app);

        shared.spawn(follow(Arc::clone(&shared)));
        shared.spawn(Arc::clone(&shared.rooms).follow_registry());
        let registry = Arc::clone(&shared.registry);
        shared.spawn(async move { registry.sweep_hourly().await });
        shared.spawn(control.serve(Arc::clone(&shared)));
        shared.spawn(renew(Arc::clone(&shared), config.clone(), devices.1, hosts.1));
        devices.0.into_iter().for_each(|listener| shared.spawn(listener::accept(listener, Arc::clone(&devices_door))));
        hosts.0.into_iter().for_each(|listener| shared.spawn(listener::accept(listener, Arc::clone(&hosts_door))));
        for listener in private {
            let (shared, devices, hosts) = (Arc::clone(&shared), devices_places.clone(), hosts_places.clone());
            let app = http::private::router(http::private::Operator { shared: Arc::clone(&shared), devices, hosts });
            shared.spawn(async move {
                let _ = axum::serve(listener, app).await;
            });
        }
        stop.cancelled().await;
        crate::drain::drain(&shared, Duration::from_secs(limits.drain_seconds)).await;
        Ok(())
    }
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

/// Shows new certificates in time: those in files when they have changed or on SIGHUP, the relay's own every day.
async fn renew(shared: Arc<Shared>, config: Config, devices: Arc<Shown>, hosts: Arc<Shown>) {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let look = || -> [Option<SystemTime>; 2] { [changed(&config.tls_cert), changed(&config.tls_key)] };
    let mut hang_up = signal(SignalKind::hangup()).ok();
    let (mut seen, mut made) = (look(), tokio::time::Instant::now());
    loop {
        let asked = tokio::select! {
            () = tokio::time::sleep(LOOK) => false,
            Some(()) = async { hang_up.as_mut()?.recv().await } => true,
        };
        let files = look();
        if !config.dev && (asked || files != seen) {
            match tls::from_files(&config.tls_cert, &config.tls_key) {
                Ok(key) => {
                    devices.exchange(key);
                    tracing::info!(target: "couplet::relay", "certificate.read");
                }
                // Half-written, perhaps: the one before stays, and they are read again when they change.
                Err(error) => tracing::warn!(target: "couplet::relay", %error, "the certificate stays as it was"),
            }
            seen = files;
        }
        if made.elapsed() >= RENEW {
            made = tokio::time::Instant::now();
            let own = || tls::issued(&shared.authority, &[&shared.name, &shared.hosts_name], shared.clock.now());
            let kept = |error: TlsError| tracing::warn!(target: "couplet::relay", %error, "the certificate stays");
            own().map_or_else(kept, |key| hosts.exchange(key));
            if config.dev {
                own().map_or_else(kept, |key| devices.exchange(key));
            }
        }
    }
}

/// Under which names the two listeners are reached.
fn names(config: &Config, bound: &Bound) -> Result<(RelayName, RelayName), StartError> {
    let port = |bound: &[SocketAddr]| bound.first().map_or(0, SocketAddr::port);
    let with_port = |name: &str, port: u16| if port == 443 { name.to_owned() } else { format!("{name}:{port}") };
    let parse = |text: String| {
        let wrong = || StartError::new(Code::ConfigInvalid, format!("{text:?} is no name of a relay."));
        RelayName::parse(&text).ok_or_else(wrong)
    };
    let name = match config.name.as_str() {
        "" => with_port("localhost", port(&bound.devices)),
        // Out of development a port may be another one outside than inside.
        name if config.dev && !name.contains(':') => with_port(name, port(&bound.devices)),
        name => name.to_owned(),
    };
    let name = parse(name)?;
    let hosts = match config.hosts_name.as_str() {
        "" => with_port(authority::host_of(&name), port(&bound.hosts)),
        name => name.to_owned(),
    };
    Ok((name, parse(hosts)?))
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

fn bind_all(addresses: &[SocketAddr], dev: bool, port: u16) -> Result<Vec<TcpListener>, StartError> {
    if !addresses.is_empty() {
        return addresses.iter().map(|address| bind(*address)).collect();
    }
    if dev {
        return Ok(vec![bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?]);
    }
    // Of both families; a machine may have no IPv6.
    let all = bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    Ok(vec![match all {
        Err(error) if error.code == Code::AddressUnusable => bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?,
        other => other?,
    }])
}

fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the last run's connections to time out.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(4096)
    };
    open().map_err(|error: std::io::Error| {
        let flags = "--listen, --hosts-listen or --private ADDR:PORT";
        let (code, why) = match error.kind() {
            std::io::ErrorKind::AddrInUse => (Code::PortInUse, "is taken by another program. Stop it, or take another"),
            std::io::ErrorKind::PermissionDenied => {
                (Code::AddressUnusable, "may not be used by this user; ports below 1024 are the system's. Take another")
            }
            _ => (Code::AddressUnusable, "is no address of this machine (`ip address` lists them). Take another"),
        };
        StartError::new(code, format!("{address} {why}: {flags}."))
    })
}

fn addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn unusable(folder: &Path, error: &std::io::Error) -> StartError {
    let next = format!("{}: {error}. Name a folder that this user can write: --state-dir DIR.", folder.display());
    StartError::new(Code::StateFolderUnusable, next)
}

fn tls_error(error: &TlsError) -> StartError {
    let next = "Name a certificate chain and its key, both in PEM: --tls-cert FILE --tls-key FILE.";
    StartError::new(Code::ConfigInvalid, format!("The certificate cannot be used: {error}. {next}"))
}

fn store_error(folder: &Path, error: &OpenError) -> StartError {
    let path = folder.join(STORE);
    let code = match error {
        OpenError::TooNew { .. } => Code::SchemaTooNew,
        OpenError::InUse => Code::AlreadyRunning,
        OpenError::Unreadable(_) => Code::StoreUnavailable,
        OpenError::Io(_) => Code::StateFolderUnusable,
    };
    let next = match error {
        OpenError::TooNew { .. } => "Nothing was changed. Start the newer version, or restore a backup.",
        OpenError::InUse => "Stop the other one, or give this one a folder of its own: --state-dir DIR.",
        OpenError::Unreadable(_) => "Check the disk, or restore a backup.",
        OpenError::Io(_) => "Name a folder that this user can write: --state-dir DIR.",
    };
    StartError::new(code, format!("{}: {error}. {next}", path.display()))
}
