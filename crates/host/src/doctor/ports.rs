//! Ports: of a host that runs, whether they answer at the addresses that devices are given; else, whether they are free.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};
use futures_util::future::join_all;

use super::http::{self, Trouble};
use super::{Patient, failed, ok, skipped};
use crate::config::PAIRING_PORT;
use crate::listen::{self, Place};
use crate::net;
use crate::pairing::Core;

const PART: Part = Part::Ports;

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    match patient.core {
        Some(core) => served(core).await,
        None => free(patient),
    }
}

/// Where everything answers that should.
async fn served(core: &Core) -> Vec<Finding> {
    let addresses = core.addresses();
    let pairing = expand(&addresses.pairing).into_iter().map(|address| (address, None));
    let apps = addresses.apps.iter();
    let apps = apps.flat_map(|(name, at)| expand(at).into_iter().map(move |address| (address, Some(name.as_str()))));
    let mut found = join_all(pairing.chain(apps).map(|(address, app)| answers(address, app))).await;
    // On its default addresses a host takes each that comes; one that it could not take is somebody else's.
    if core.config().listen.is_empty() {
        let is_served = |address: &SocketAddr| addresses.pairing.contains(address);
        let missing = net::lan_addresses().into_iter().map(|ip| SocketAddr::new(ip, PAIRING_PORT));
        found.extend(missing.filter(|address| !is_served(address)).filter_map(|address| taken(address, None)));
    }
    found
}

/// The addresses of this machine that a bound one stands for.
fn expand(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut all = net::reachable(bound);
    let local = bound.iter().map(|address| match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        _ => *address,
    });
    all.extend(local);
    all.sort_by_key(|address| (address.ip().is_loopback(), address.is_ipv6()));
    all.dedup();
    all
}

fn what(app: Option<&str>) -> String {
    app.map_or_else(|| "pairing".to_owned(), |app| format!("the app {app:?}"))
}

async fn answers(address: SocketAddr, app: Option<&str>) -> Finding {
    let what = what(app);
    let path = if app.is_some() { "/" } else { "/livez" };
    let finding = match http::fetch_own(address, path).await {
        // Without a credential the gateway says in its own way that it wants one.
        Ok(answer) if app.is_some() && answer.status == 401 && is_ours(&answer.body) => {
            ok(PART, format!("{address} answers for {what}"))
        }
        Ok(answer) if app.is_none() && answer.body.as_ref() == b"ok\n" => {
            ok(PART, format!("{address} answers for {what}"))
        }
        Ok(_) => failed(PART, format!("At {address} something else answers than {what}"))
            .because("Another program took the address, or a firewall of this machine turns it elsewhere.")
            .then("See what listens there.")
            .run(who_listens(address.port()))
            .see(Code::PortInUse),
        Err(trouble) => failed(PART, format!("Nothing answers at {address}, where {what} should be"))
            .because(match trouble {
                Trouble::Connect(error) => {
                    format!("No connection: {error}. This machine may not have the address any more.")
                }
                Trouble::Silent => {
                    "The connection is taken and nothing comes: a firewall of this machine, or a host at its limits."
                        .to_owned()
                }
                Trouble::Broken(error) => format!("The connection breaks off: {error}."),
            })
            .then("Are the address and the port still right? Restart the host with those that this machine has.")
            .run("ip -brief address")
            .see(Code::AddressUnusable),
    };
    finding.about(address.to_string())
}

/// Whether it is one of our own error answers.
fn is_ours(body: &[u8]) -> bool {
    serde_json::from_slice::<couplet_protocol::Problem>(body).is_ok_and(|problem| Code::parse(&problem.code).is_some())
}

/// Whether a start could listen where it would.
fn free(patient: Patient<'_>) -> Vec<Finding> {
    let config = patient.config;
    let mut places = vec![(Place::of_pairing(config), None)];
    places
        .extend((0..).zip(&config.apps).map(|(number, app)| (Place::of_app(config, number), Some(app.name.as_str()))));
    let each = places.iter().flat_map(|(place, app)| place.addresses().into_iter().map(|address| (address, *app)));
    // A host that does not answer may hold them itself; what is wrong with it is said elsewhere.
    let held = super::is_held(patient.folder());
    let of_host = |address: SocketAddr| skipped(PART, format!("{address} is taken, by that host it seems"));
    let judge = |(address, app): (SocketAddr, Option<&str>)| match taken(address, app) {
        Some(finding) if held && finding.code.as_deref() == Some(&Code::PortInUse.to_string()) => of_host(address),
        Some(finding) => finding,
        None if address.port() == 0 => ok(PART, format!("{} has a free port for {}", address.ip(), what(app))),
        None => ok(PART, format!("{address} is free for {}", what(app))),
    };
    each.map(|(address, app)| judge((address, app)).about(address.to_string())).collect()
}

/// Why nothing can listen there, if so.
fn taken(address: SocketAddr, app: Option<&str>) -> Option<Finding> {
    let error = listen::bind(address).err()?;
    let flag = if app.is_some() { "--gateway" } else { "--listen" };
    let finding = match error.code() {
        Code::PortInUse => failed(PART, format!("{address} is taken, which is for {}", what(app)))
            .because("Another program listens there.")
            .then(format!("Stop that program, which the command shows, or take another port: {flag} ADDR:PORT."))
            .run(who_listens(address.port())),
        _ => failed(PART, format!("Nothing can listen at {address}, which is for {}", what(app)))
            .because(error.detail())
            .run("ip -brief address"),
    };
    Some(finding.about(address.to_string()).see(error.code()))
}

fn who_listens(port: u16) -> String {
    format!("sudo ss -ltnp 'sport = :{port}'")
}
