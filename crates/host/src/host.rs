//! A whole host: the pairing listener, a gateway for each app, and what they share.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::Event;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::{Config, GATEWAY_PORT, PAIRING_PORT};
use crate::discovery;
use crate::gateway::Gateway;
use crate::listen::{self, Place};
use crate::net::{self, Addresses};
use crate::pairing::Pairing;
use crate::phone::PhoneServer;
use crate::relay;
use crate::start::{self, StartError};
use crate::tunnel::Apps;

/// How often a host on its default addresses looks for new networks.
const WATCH: Duration = Duration::from_secs(5);

/// A host that is bound and ready to serve.
#[derive(Debug)]
pub struct Host {
    pairing: Pairing,
    listeners: Vec<TcpListener>,
    apps: Vec<AppListeners>,
    phone: Option<PhoneServer>,
}

#[derive(Debug)]
struct AppListeners {
    gateway: Gateway,
    name: String,
    listeners: Vec<TcpListener>,
    port: u16,
}

/// Where a host is to be found.
#[derive(Clone, Debug)]
pub struct Ready {
    /// URLs of the pairing API, those that a phone can reach first.
    pub pairing: Vec<String>,
    /// Each app, and the URL that a device is most likely to reach it at.
    pub gateway: Vec<GatewayUrl>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Whether another machine can reach the pairing API; false when the host listens on loopback only.
    pub reachable: bool,
    /// The relay by which devices elsewhere reach this host, `name[:port]`; the link to it comes up later, and an event
    /// tells of it.
    pub relay: Option<String>,
    /// Where phones' browsers find the phone's client at this host itself.
    pub phone: Option<String>,
}

/// Where an app is to be found.
#[derive(Clone, Debug)]
pub struct GatewayUrl {
    /// The app's name.
    pub name: String,
    /// The URL that devices use.
    pub url: String,
}

impl Host {
    /// Opens the state and binds every listener. Connections wait until [`Host::serve`].
    ///
    /// # Errors
    /// Says what stands in the way and what to do.
    pub async fn bind(config: Config) -> Result<Host, StartError> {
        let upstreams = config.checked().map_err(|error| StartError::new(Code::ConfigInvalid, error.to_string()))?;
        let pairing = Pairing::open(config.clone()).await?;
        let listeners = Place::of_pairing(&config).bind()?;
        let mut apps = Vec::new();
        for (number, upstream) in (0..).zip(upstreams) {
            let listeners = Place::of_app(&config, number).bind()?;
            let name = upstream.name.clone();
            let gateway =
                Gateway::new(upstream, pairing.authenticator().clone(), &config.limits, config.trusted_proxies.clone());
            apps.push(AppListeners { gateway, name, listeners, port: GATEWAY_PORT.saturating_add(number) });
        }
        let at = |app: &AppListeners| (app.name.clone(), bound(&app.listeners));
        pairing.core().set_addresses(Addresses { pairing: bound(&listeners), apps: apps.iter().map(at).collect() });
        let led_to = apps.iter().map(|app| (app.name.clone(), app.gateway.clone()));
        pairing.core().tunnels().lead_to(Apps::new(led_to));
        pairing.core().relay().begin();
        let phone = PhoneServer::bind(&config)?;
        let host = Host { pairing, listeners, apps, phone };
        start::announce(&host.pairing.core().config().state_dir, &bound(&host.listeners))?;
        Ok(host)
    }

    /// Where this host is to be found.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let pairing = bound(&self.listeners);
        let mut urls = net::reachable(&pairing);
        let reachable = urls.iter().any(|address| !address.ip().is_loopback());
        urls.extend(pairing.iter().filter(|a| a.ip().is_loopback()).copied().collect::<Vec<_>>());
        let mut seen = HashSet::new();
        urls.retain(|address| seen.insert(*address));
        let gateway = self.apps.iter().flat_map(|app| {
            let first = net::reachable(&bound(&app.listeners)).first().copied();
            first.map(|address| GatewayUrl { name: app.name.clone(), url: url(address) })
        });
        Ready {
            pairing: urls.into_iter().map(url).collect(),
            gateway: gateway.collect(),
            state_dir: self.pairing.core().config().state_dir.clone(),
            reachable,
            relay: self.pairing.core().relay().name().map(ToString::to_string),
            phone: self.phone.as_ref().map(PhoneServer::url),
        }
    }

    /// A new one-time link to the dashboard at each of its addresses, those that other machines reach first. It is a
    /// secret, and ends after ten minutes.
    #[must_use]
    pub fn login_links(&self) -> Vec<String> {
        self.pairing.core().login_links(None).urls
    }

    /// Everything that happens to pairings and devices, from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.pairing.events()
    }

    /// Serves until `stop` fires, then lets what is open end, and writes down what is only in memory.
    pub async fn serve(self, stop: CancellationToken) {
        let _stopped_when_dropped = stop.clone().drop_guard();
        let tasks = TaskTracker::new();
        let core = self.pairing.core().clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(relay::run(core.clone())));
        if core.config().discovery {
            tasks.spawn(discovery::run(core.clone(), stop.clone()));
        }
        if let Some(phone) = self.phone {
            tasks.spawn(phone.serve(stop.clone()));
        }
        // Each address with what stops its listener when dropped.
        let mut served: HashMap<SocketAddr, DropGuard> = HashMap::new();
        let serving = |listener: &TcpListener| {
            let stop = stop.child_token();
            listener.local_addr().ok().map(|address| (address, stop.clone().drop_guard(), stop))
        };
        let mut listeners = self.listeners;
        let mut apps = self.apps;
        loop {
            for listener in listeners.drain(..) {
                let Some((address, guard, stop)) = serving(&listener) else { continue };
                served.insert(address, guard);
                tasks.spawn(listen::serve(listener, self.pairing.app(), core.config().limits.clone(), stop));
            }
            for app in &mut apps {
                for listener in app.listeners.drain(..) {
                    let Some((address, guard, stop)) = serving(&listener) else { continue };
                    served.insert(address, guard);
                    tasks.spawn(app.gateway.clone().serve(listener, stop));
                }
            }
            if !core.config().listen.is_empty() {
                stop.cancelled().await;
                break;
            }
            if stop.run_until_cancelled(tokio::time::sleep(WATCH)).await.is_none() {
                break;
            }
            // A network that came or went: a laptop that joined another Wi-Fi, a server whose address changed. The
            // listener of an address that went is closed, so that the address can be bound when it comes back.
            let lan: HashSet<IpAddr> = net::lan_addresses().into_iter().collect();
            let given: HashSet<SocketAddr> = core.config().gateway.iter().copied().collect();
            served.retain(|a, _| a.ip().is_loopback() || lan.contains(&a.ip()) || given.contains(a));
            listeners = bind_new(&lan, PAIRING_PORT, &served);
            if given.is_empty() {
                apps.iter_mut().for_each(|app| app.listeners = bind_new(&lan, app.port, &served));
            }
            let now = |port: u16, new: &[TcpListener]| {
                served.keys().filter(|a| a.port() == port).copied().chain(bound(new)).collect::<Vec<_>>()
            };
            let at = |app: &AppListeners| (app.name.clone(), now(app.port, &app.listeners));
            let apps_at = match given.is_empty() {
                true => apps.iter().map(at).collect(),
                false => core.addresses().apps,
            };
            core.set_addresses(Addresses { pairing: now(PAIRING_PORT, &listeners), apps: apps_at });
        }
        core.stopping().cancel();
        tasks.close();
        tasks.wait().await;
        let _ = tokio::time::timeout(listen::DRAIN, core.tunnels().wait()).await;
        if let Err(failure) = self.pairing.flush().await {
            tracing::warn!(target: "couplet::host", %failure, "the last seconds of last_seen are lost");
        }
        start::withdraw(&core.config().state_dir);
    }
}

fn bound(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

fn bind_new(lan: &HashSet<IpAddr>, port: u16, served: &HashMap<SocketAddr, DropGuard>) -> Vec<TcpListener> {
    let addresses = lan.iter().map(|ip| SocketAddr::new(*ip, port)).filter(|address| !served.contains_key(address));
    addresses
        .filter_map(|address| match listen::bind(address) {
            Ok(listener) => {
                tracing::info!(target: "couplet::host", %address, "also listening");
                Some(listener)
            }
            Err(error) => {
                tracing::debug!(target: "couplet::host", %address, %error, "cannot listen yet");
                None
            }
        })
        .collect()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}
