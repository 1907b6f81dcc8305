//! Hosts nearby: those that say on the local network, by multicast DNS, that their owner pairs. Anyone there can say so,
//! and can say anything: what is heard is shown beside its address, a person chooses, and the host's PIN and the check
//! code decide.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use couplet_protocol::{Code, DeviceName, SERVICE_TYPE};
use if_addrs::{IfAddr, Interface};
use mdns_sd::{IfKind, ResolvedService, ServiceDaemon, ServiceEvent};
use serde_json::json;
use tokio::time::Instant;

use super::by_pin::is_nearby;
use super::lines::Lines;
use crate::failure::{Exit, Failure};
use crate::{output, table};

/// How long answers are waited for.
const LOOK: Duration = Duration::from_secs(3);
/// How many are shown.
const MOST: usize = 64;
/// How many are kept: whoever answers first, and often, is not to hide one that answers later.
const HEARD: usize = 4096;
/// No host serves pairing at a port below.
const PORT_MIN: u16 = 1024;

/// A host that says that it is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nearby {
    at: SocketAddr,
    name: String,
}

/// Lists them for programs.
pub(super) async fn list() -> anyhow::Result<()> {
    let hosts = look().await?;
    if let Some(more) = more(hosts.len()) {
        output::message(&more);
    }
    let hosts: Vec<_> = hosts.iter().take(MOST).map(|host| json!({"name": host.name, "url": url(host)})).collect();
    Ok(output::json(&json!({ "nearby": hosts }))?)
}

/// Shows them, and asks which one is meant. None is ever taken unasked, the only one neither.
pub(super) async fn choose(lines: Option<&mut Lines>) -> Result<SocketAddr, Failure> {
    output::message("Looking for hosts nearby…");
    let hosts = look().await?;
    if hosts.is_empty() {
        let next = "A host can be seen while its owner pairs: run couplet pair there. Or name its address, which couplet \
                    serve shows: couplet connect http://192.168.1.42:7878.";
        return Err(Failure::of(Code::NobodyNearby, next));
    }
    let (more, hosts) = (more(hosts.len()), &hosts[..hosts.len().min(MOST)]);
    let rows: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(n, host)| [(n + 1).to_string(), host.at.to_string(), host.name.clone()])
        .collect();
    let shown = table::render(["", "ADDRESS", "CALLS ITSELF"], &rows);
    let Some(lines) = lines else {
        let next = format!(
            "Name the one whose address couplet serve shows there: couplet connect http://ADDRESS:PORT\n\n{shown}"
        );
        return Err(Failure::new(Exit::Usage, "Which host is meant?", next));
    };
    if let Some(more) = more {
        output::message(&more);
    }
    output::message(&format!("{shown}\n\nCompare the address with what couplet serve shows on the host."));
    let gone = || Failure::new(Exit::Refused, "No host was chosen", "");
    loop {
        output::question("Which one? Its number, or nothing to leave it:");
        let line = lines.next().await.ok_or_else(gone)?;
        match line.trim() {
            "" => return Err(gone()),
            text => match text.parse::<usize>().ok().and_then(|n| hosts.get(n.checked_sub(1)?)) {
                Some(host) => return Ok(host.at),
                None => output::message(&format!("Type a number from 1 to {}.", hosts.len())),
            },
        }
    }
}

/// What is said when more were heard than are shown.
fn more(heard: usize) -> Option<String> {
    let more = heard.checked_sub(MOST).filter(|more| *more > 0)?;
    Some(format!(
        "{more} more say that they are hosts, so somebody here may be making them up. If yours is not in the list, name its \
         address: couplet connect http://ADDRESS:PORT"
    ))
}

fn url(host: &Nearby) -> String {
    format!("http://{}", host.at)
}

/// Asks the networks of this machine, and collects what comes in time.
async fn look() -> Result<Vec<Nearby>, Failure> {
    let networks: Vec<Interface> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && is_nearby(interface.ip()))
        .collect();
    let mut hosts = BTreeSet::new();
    if networks.is_empty() {
        return Ok(Vec::new());
    }
    let daemon = ServiceDaemon::new().map_err(|error| unable(&error))?;
    let asked = daemon
        .disable_interface(IfKind::All)
        .and_then(|()| {
            daemon.enable_interface(networks.iter().map(|network| IfKind::Addr(network.ip())).collect::<Vec<_>>())
        })
        .and_then(|()| daemon.browse(SERVICE_TYPE));
    if let Ok(heard) = &asked {
        let end = Instant::now() + LOOK;
        while hosts.len() < HEARD {
            // The channel's own waiting would hold up a thread.
            match heard.try_recv() {
                Ok(ServiceEvent::ServiceResolved(service)) => hosts.extend(read(&service, &networks)),
                Ok(_) => {}
                Err(mdns_sd::TryRecvError::Empty) if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(_) => break,
            }
            if Instant::now() >= end {
                break;
            }
        }
    }
    let _ = daemon.shutdown();
    asked.map_err(|error| unable(&error))?;
    Ok(hosts.into_iter().collect())
}

fn unable(error: &mdns_sd::Error) -> Failure {
    let next =
        "Name the address instead, which couplet serve shows on the host: couplet connect http://192.168.1.42:7878.";
    Failure::of(Code::NobodyNearby, format!("The local network cannot be asked ({error}).\n{next}"))
}

/// What is usable of an answer: a name that draws nothing on a terminal, and one address in a network of this machine.
fn read(service: &ResolvedService, networks: &[Interface]) -> Option<Nearby> {
    let name = service.fullname.strip_suffix(SERVICE_TYPE)?.strip_suffix('.')?;
    let name = DeviceName::parse(name).ok()?.to_string();
    let addresses = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let mut near: Vec<IpAddr> = addresses.filter(|ip| is_on_link(*ip, networks)).collect();
    near.sort();
    let ip = *near.first()?;
    (service.port >= PORT_MIN).then(|| Nearby { at: SocketAddr::new(ip, service.port), name })
}

/// Whether the address is private, and of one of these networks.
fn is_on_link(ip: IpAddr, networks: &[Interface]) -> bool {
    let within = |network: &Interface| match (&network.addr, ip) {
        (IfAddr::V4(own), IpAddr::V4(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        (IfAddr::V6(own), IpAddr::V6(ip)) => {
            let mask = own.netmask.to_bits();
            own.ip.to_bits() & mask == ip.to_bits() & mask
        }
        _ => false,
    };
    is_nearby(ip) && !ip.is_loopback() && networks.iter().any(within)
}
