//! Addresses: which of this machine's a phone can reach, which peers are private, what a source is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;

/// Where the pairing API and the apps are really served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) pairing: Vec<SocketAddr>,
    /// Where each app is served, by its name.
    pub(crate) apps: Vec<(String, Vec<SocketAddr>)>,
}

/// Whether the address is loopback, RFC 1918, link-local (RFC 3927, RFC 4291), or unique local (RFC 4193).
pub(crate) fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether the address can be of a machine out on the Internet: it is of none of the special networks that could be a
/// machine nearby (RFC 6890).
pub(crate) fn is_public(ip: IpAddr) -> bool {
    let special = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            a == 0 || is_shared || ip.is_multicast() || a >= 240
        }
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 != 0x2000,
    };
    !special && !is_private(ip)
}

/// Whether one of the networks holds the address.
pub(crate) fn within(networks: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}

/// What counts as one source: an IPv4 address, or an IPv6 /64, since one machine has as many addresses in it as
/// it likes. All link-local IPv6 addresses are one: they are as free to make, and no device is offered one to call. So
/// are those of 127.0.0.0/8 beyond its first 256, any of which a program on this machine may call from.
pub(crate) fn source_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        IpAddr::V4(ip) if ip.is_loopback() && !matches!(ip.octets(), [_, 0, 0, _]) => {
            Ipv4Addr::new(127, 1, 0, 0).into()
        }
        ip => ip,
    }
}

/// This machine's private addresses on interfaces that are up, those that a phone is most likely to reach first.
/// Link-local IPv6 addresses are left out: they mean nothing without an interface's name, which a URL cannot carry.
pub(crate) fn lan_addresses() -> Vec<IpAddr> {
    let mut found: Vec<(u8, IpAddr)> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| interface.is_oper_up() && !interface.is_loopback())
        .map(|interface| (likelihood(&interface.name, interface.ip()), interface.ip()))
        .filter(|(_, ip)| is_private(*ip) && !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()))
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.dedup();
    found.into_iter().map(|(_, ip)| ip).collect()
}

/// This machine's addresses at networks where devices are: private ones, and none of a tunnel, or of a bridge of
/// containers or virtual machines.
pub(crate) fn nearby_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default().into_iter();
    let up = interfaces.filter(|interface| interface.is_oper_up() && !interface.is_loopback() && !interface.is_p2p());
    up.filter(|interface| is_of_a_lan(&interface.name, interface.ip())).map(|interface| interface.ip()).collect()
}

fn is_of_a_lan(name: &str, ip: IpAddr) -> bool {
    const TUNNELS: [&str; 8] = ["tun", "tap", "wg", "tailscale", "zt", "utun", "ppp", "nordlynx"];
    let link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    is_private(ip)
        && !ip.is_loopback()
        && !link_local
        && likelihood(name, ip) < 4
        && !TUNNELS.iter().any(|prefix| name.starts_with(prefix))
}

/// Bridges of containers and virtual machines come last: their addresses are private, but no phone is on them.
fn likelihood(name: &str, ip: IpAddr) -> u8 {
    let link_local = matches!(ip, IpAddr::V4(v4) if v4.is_link_local());
    4 * u8::from(is_virtual(name)) + 2 * u8::from(link_local) + u8::from(ip.is_ipv6())
}

fn is_virtual(name: &str) -> bool {
    const VIRTUAL: [&str; 8] = ["docker", "br-", "virbr", "veth", "vmnet", "lxc", "cni", "podman"];
    VIRTUAL.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether the address is that of a bridge of containers or virtual machines.
pub(crate) fn is_of_bridge(ip: IpAddr) -> bool {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().any(|interface| interface.ip() == ip && is_virtual(&interface.name))
}

/// The network of one of this machine's addresses: `192.168.1.0/24`.
pub(crate) fn network_of(ip: IpAddr) -> Option<IpNet> {
    let interface = if_addrs::get_if_addrs().unwrap_or_default().into_iter().find(|interface| interface.ip() == ip)?;
    let prefix = match &interface.addr {
        if_addrs::IfAddr::V4(v4) => v4.prefixlen,
        if_addrs::IfAddr::V6(v6) => v6.prefixlen,
    };
    IpNet::new(ip, prefix).ok().map(|network| network.trunc())
}

/// All addresses of this machine, read again when an unknown one is asked for, at most once a second.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses(Mutex<Option<(Instant, Vec<IpAddr>)>>);

impl OwnAddresses {
    /// Whether the address is one of this machine's.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if ip.is_loopback() {
            return true;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, addresses)) = known.as_ref()
            && (addresses.contains(&ip) || read.elapsed() < Duration::from_secs(1))
        {
            return addresses.contains(&ip);
        }
        let now: Vec<IpAddr> =
            if_addrs::get_if_addrs().unwrap_or_default().iter().map(|i| i.ip().to_canonical()).collect();
        let own = now.contains(&ip);
        *known = Some((Instant::now(), now));
        own
    }
}

impl Addresses {
    /// The addresses under which a phone reaches the pairing API; loopback only when there is nothing else.
    pub(crate) fn reachable(&self) -> Vec<SocketAddr> {
        reachable(&self.pairing)
    }
}

/// The bound addresses that another machine can use, an unspecified one replaced by the LAN addresses; the loopback
/// ones when there are no others.
pub(crate) fn reachable(bound: &[SocketAddr]) -> Vec<SocketAddr> {
    let lan = lan_addresses();
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in bound {
        match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => {
                found.extend(lan.iter().filter(|ip| ip.is_ipv4()).map(|ip| SocketAddr::new(*ip, address.port())));
            }
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                found.extend(lan.iter().map(|ip| SocketAddr::new(*ip, address.port())));
            }
            ip if !ip.is_loopback() => found.push(*address),
            _ => {}
        }
    }
    if found.is_empty() {
        let local = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
            _ => *address,
        };
        found = bound.iter().map(local).collect();
        found.sort_by_key(SocketAddr::is_ipv6);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_public_or_could_be_nearby() {
        let is_public = |text: &str| is_public(text.parse().unwrap());
        for text in ["8.8.8.8", "100.128.0.1", "223.255.255.254", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(is_public(text), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.0.1",
            "192.168.1.2",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
        ] {
            assert!(!is_public(text), "{text}");
        }
    }

    #[test]
    fn private_means_what_the_rfcs_say() {
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fc00::1",
            "fe80::1",
            "::ffff:192.168.1.1",
        ] {
            assert!(is_private(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.2.1",
            "100.64.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "::",
            "::ffff:8.8.8.8",
        ] {
            assert!(!is_private(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn hosts_are_seen_on_networks_of_devices_only() {
        let seen = |name: &str, ip: &str| is_of_a_lan(name, ip.parse().unwrap());
        assert!(seen("eth0", "192.168.1.5") && seen("wlan0", "fd00::5") && seen("en0", "169.254.7.7"));
        for (name, ip) in [
            ("eth0", "8.8.8.8"),
            ("eth0", "2001:db8::5"),
            ("eth0", "fe80::5"),
            ("tailscale0", "100.64.0.1"),
            ("wg0", "10.0.0.5"),
            ("tun0", "10.8.0.2"),
            ("docker0", "172.17.0.1"),
            ("br-1a2b", "172.18.0.1"),
            ("lo", "127.0.0.1"),
        ] {
            assert!(!seen(name, ip), "{name} {ip}");
        }
    }

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let key = |ip: &str| source_key(ip.parse().unwrap()).to_string();
        assert_eq!(key("192.168.1.5"), "192.168.1.5");
        assert_eq!(key("::ffff:192.168.1.5"), "192.168.1.5");
        assert_eq!(key("fd00:1:2:3:4:5:6:7"), "fd00:1:2:3::");
        assert_eq!(key("fe80::5"), key("fe80::6:7"));
        assert_eq!(
            (key("127.0.0.1"), key("127.0.0.100"), key("::1")),
            ("127.0.0.1".into(), "127.0.0.100".into(), "::1".into())
        );
        assert_eq!(key("127.0.1.1"), key("127.9.9.9"));
        assert!(source_key("127.9.9.9".parse().unwrap()).is_loopback());
    }

    #[test]
    fn loopback_is_offered_only_when_there_is_nothing_else() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(reachable(&parse(&["127.0.0.1:1", "192.168.1.9:1"])), parse(&["192.168.1.9:1"]));
        assert_eq!(reachable(&parse(&["[::1]:1", "127.0.0.1:1"])), parse(&["127.0.0.1:1", "[::1]:1"]));
    }
}
