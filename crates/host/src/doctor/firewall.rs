//! Firewalls of this machine: hints, since only a device can tell. What this machine sends to itself passes none of them.

use std::net::SocketAddr;
use std::path::Path;

use couplet_protocol::api::{Finding, Part};

use super::nftables::{self, Verdict};
use super::programs::{self, Ran};
use super::{Patient, ok, skipped, warning};
use crate::listen::Place;
use crate::net;

const PART: Part = Part::Firewall;
const PAGE: couplet_protocol::Code = couplet_protocol::Code::HostUnreachable;

pub(super) async fn look(patient: Patient<'_>) -> Vec<Finding> {
    let served = served(patient);
    let Some(first) = served.first() else {
        return vec![skipped(PART, "Nothing is served beyond this machine: no firewall matters")];
    };
    let ports = ports(&served);
    if is_ufw_on(Path::new("/etc/ufw")) {
        return vec![ufw(Path::new("/etc/ufw"), first, &ports)];
    }
    if is_running("firewalld") {
        return vec![firewalld(&ports).await];
    }
    vec![rules(&ports).await]
}

/// Where other machines come.
fn served(patient: Patient<'_>) -> Vec<SocketAddr> {
    let bound: Vec<SocketAddr> = match patient.core {
        Some(core) => {
            let addresses = core.addresses();
            addresses.pairing.into_iter().chain(addresses.apps.into_iter().flat_map(|(_, at)| at)).collect()
        }
        None => {
            let apps = (0..).zip(&patient.config.apps).map(|(number, _)| Place::of_app(patient.config, number));
            std::iter::once(Place::of_pairing(patient.config)).chain(apps).flat_map(|place| place.addresses()).collect()
        }
    };
    net::reachable(&bound).into_iter().filter(|address| !address.ip().is_loopback() && address.port() != 0).collect()
}

fn ports(served: &[SocketAddr]) -> Vec<u16> {
    let mut ports: Vec<u16> = served.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn listed(ports: &[u16]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn named(ports: &[u16]) -> String {
    format!("the {} {}", if ports.len() == 1 { "port" } else { "ports" }, listed(ports))
}

/// Whether the file that ufw reads at the start turns it on.
fn is_ufw_on(folder: &Path) -> bool {
    let text = std::fs::read_to_string(folder.join("ufw.conf")).unwrap_or_default();
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
}

fn ufw(folder: &Path, first: &SocketAddr, ports: &[u16]) -> Finding {
    let list = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let from = net::network_of(first.ip()).map_or_else(|| "any".to_owned(), |network| network.to_string());
    let command = format!("sudo ufw allow proto tcp from {from} to any port {list}");
    match std::fs::read_to_string(folder.join("user.rules")) {
        Ok(rules) if ports.iter().all(|port| ufw_allows(&rules, *port)) => {
            ok(PART, format!("ufw is on and has a rule for {}", named(ports)))
        }
        Ok(_) => warning(PART, format!("ufw is on and no rule of it lets devices reach {}", named(ports)))
            .because("ufw turns away what no rule allows, so devices get no answer.")
            .then("Let your own network in.")
            .run(command)
            .see(PAGE),
        Err(_) => {
            warning(PART, format!("ufw is on. Whether it lets devices reach {}, only root can see", named(ports)))
                .then("See its rules with sudo ufw status; if the ports are not among them, let your own network in.")
                .run(command)
                .see(PAGE)
        }
    }
}

/// Whether a rule that ufw wrote down (`### tuple ### allow tcp 7878:7879 …`) allows the port.
fn ufw_allows(rules: &str, port: u16) -> bool {
    let allowed = rules.lines().filter_map(|line| line.strip_prefix("### tuple ### allow "));
    allowed.into_iter().any(|rule| {
        let mut words = rule.split_whitespace();
        let (protocol, to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let within = |range: &str| match range.split_once(':') {
            Some((low, high)) => {
                low.parse::<u16>().is_ok_and(|low| low <= port) && high.parse::<u16>().is_ok_and(|high| port <= high)
            }
            None => range == "any" || range.parse() == Ok(port),
        };
        matches!(protocol, "tcp" | "any") && to.split(',').any(within)
    })
}

/// Whether a program of this name runs.
fn is_running(name: &str) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| std::fs::read_to_string(process.path().join("comm")).ok());
    names.into_iter().any(|comm| comm.trim() == name)
}

async fn firewalld(ports: &[u16]) -> Finding {
    let flags: Vec<String> = ports.iter().map(|port| format!("--add-port={port}/tcp")).collect();
    let command = format!("sudo firewall-cmd --permanent {} && sudo firewall-cmd --reload", flags.join(" "));
    let mut open = Vec::new();
    for port in ports {
        let asked = programs::run("firewall-cmd", &[&format!("--query-port={port}/tcp")]).await;
        open.push(matches!(asked, Ran::Said(said) if said.trim() == "yes"));
    }
    if open.iter().all(|open| *open) {
        return ok(PART, format!("firewalld is on and lets devices reach {}", named(ports)));
    }
    let finding =
        warning(PART, format!("firewalld is on and does not say that it lets devices reach {}", named(ports)));
    let finding = finding.because("firewalld turns away what its zone does not name, so devices get no answer.");
    finding.then("Let them pass, in the zone of your own network.").run(command).see(PAGE)
}

async fn rules(ports: &[u16]) -> Finding {
    let text = match programs::run("nft", &["-j", "list", "ruleset"]).await {
        Ran::Said(text) => text,
        Ran::Absent if !is_filtered_by_iptables() => return ok(PART, "No firewall is seen on this machine"),
        Ran::Absent => return unseen("sudo iptables -S INPUT"),
        Ran::Refused => return unseen("sudo nft list ruleset"),
    };
    let shut: Vec<(u16, nftables::Chain)> = ports
        .iter()
        .filter_map(|port| match nftables::judge(&text, *port) {
            Verdict::Passes => None,
            Verdict::Shut(chain) => Some((*port, chain)),
        })
        .collect();
    let Some((_, chain)) = shut.first() else {
        return ok(
            PART,
            format!("The rules of nftables let devices reach {}, as far as they can be judged", named(ports)),
        );
    };
    let shut: Vec<u16> = shut.iter().map(|(port, _)| *port).collect();
    let list = listed(&shut);
    let found = format!("nftables turns away what no rule accepts, and none names {}", named(&shut));
    let finding = warning(PART, found);
    let finding = finding.because(format!("The chain {chain} ends in a drop: devices get no answer."));
    let next = "Let them pass; into the rules' file as well (/etc/nftables.conf on Debian), so that it lasts.";
    finding.then(next).run(format!("sudo nft insert rule {chain} tcp dport '{{ {list} }}' accept")).see(PAGE)
}

/// Whether the kernel has the older filter loaded, whose rules root alone can see.
fn is_filtered_by_iptables() -> bool {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    modules.lines().any(|line| line.starts_with("iptable_filter ") || line.starts_with("ip6table_filter "))
}

fn unseen(command: &str) -> Finding {
    let finding = skipped(PART, "Whether a firewall of this machine turns devices away, only root can see");
    finding.then("If devices get no answer, look at its rules.").run(command).see(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use couplet_protocol::api::FindingState;

    #[test]
    fn the_rules_of_ufw_are_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_ufw_on(folder.path()));
        std::fs::write(folder.path().join("ufw.conf"), "# x\nENABLED=yes\nLOGLEVEL=low\n").unwrap();
        assert!(is_ufw_on(folder.path()));
        let address: SocketAddr = "203.0.113.7:7878".parse().unwrap();
        let of = |rules: &str| {
            std::fs::write(folder.path().join("user.rules"), rules).unwrap();
            ufw(folder.path(), &address, &[7878, 7879])
        };
        for allowing in [
            "### tuple ### allow tcp 7878:7879 0.0.0.0/0 any 192.168.1.0/24 in\n-A …\n",
            "### tuple ### allow any 7878,7879 0.0.0.0/0 any 0.0.0.0/0 in\n",
            "### tuple ### allow any any 0.0.0.0/0 any 192.168.1.0/24 in\n",
        ] {
            assert_eq!(of(allowing).state, FindingState::Ok, "{allowing}");
        }
        for other in [
            "",
            "### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n",
            "### tuple ### deny tcp 7878:7879 0.0.0.0/0 any 0.0.0.0/0 in\n",
            "### tuple ### allow udp 7878:7879 0.0.0.0/0 any 0.0.0.0/0 in\n",
            "### tuple ### allow tcp 7878 0.0.0.0/0 any 0.0.0.0/0 in\n",
        ] {
            let finding = of(other);
            assert_eq!(finding.state, FindingState::Warning, "{other}");
            assert_eq!(finding.command.unwrap(), "sudo ufw allow proto tcp from any to any port 7878,7879");
        }
    }
}
