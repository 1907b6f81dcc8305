//! Where a relay listens, and under which names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use couplet_protocol::{Code, RelayName};
use tokio::net::{TcpListener, TcpSocket};

use super::Bound;
use super::start_error::StartError;
use crate::authority;
use crate::config::{Config, DEV_PORT, DEVICES_PORT, HOSTS_PORT};

/// Everything that is bound.
pub(super) struct Listeners {
    pub(super) devices: Vec<TcpListener>,
    pub(super) hosts: Vec<TcpListener>,
    pub(super) private: Vec<TcpListener>,
}

impl Listeners {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        let devices = match config.listen.as_slice() {
            [] => everywhere(config.dev, if config.dev { DEV_PORT } else { DEVICES_PORT })?,
            named => bind_all(named)?,
        };
        let hosts = match (config.hosts_listen.as_slice(), config.listen.as_slice()) {
            ([], []) => everywhere(config.dev, HOSTS_PORT)?,
            // Who names addresses for devices does not open all others for hosts.
            ([], of_devices) => bind_all(&with_port(of_devices, HOSTS_PORT))?,
            (named, _) => bind_all(named)?,
        };
        Ok(Listeners { devices, hosts, private: bind_all(&config.private)? })
    }

    pub(super) fn bound(&self) -> Bound {
        let addresses = |listeners: &[TcpListener]| listeners.iter().filter_map(|at| at.local_addr().ok()).collect();
        Bound { devices: addresses(&self.devices), hosts: addresses(&self.hosts), private: addresses(&self.private) }
    }
}

/// The same addresses, each once, with another port.
fn with_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let mut others: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let mut other = *address;
        other.set_port(port);
        if !others.contains(&other) {
            others.push(other);
        }
    }
    others
}

fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    addresses.iter().map(|address| bind(*address)).collect()
}

/// Every address; for development, this machine's own.
fn everywhere(dev: bool, port: u16) -> Result<Vec<TcpListener>, StartError> {
    if dev {
        return Ok(vec![bind(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?]);
    }
    // Of both families; a machine may have no IPv6.
    let all = bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    Ok(vec![match all {
        Err(error) if error.code() == Code::AddressUnusable => {
            bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))?
        }
        other => other?,
    }])
}

/// Under which names the two listeners are reached.
pub(super) fn names(config: &Config, bound: &Bound) -> Result<(RelayName, RelayName), StartError> {
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
            std::io::ErrorKind::PermissionDenied => (
                Code::AddressUnusable,
                "may not be used by this user; ports below 1024 are the system's. Let the service have them \
                     (AmbientCapabilities=CAP_NET_BIND_SERVICE, see docs/service.md), or take another",
            ),
            _ => (Code::AddressUnusable, "is no address of this machine (`ip address` lists them). Take another"),
        };
        StartError::new(code, format!("{address} {why}: {flags}."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_served_where_devices_are_unless_it_says_otherwise() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let named = [at("127.0.0.3:443"), at("127.0.0.3:444"), at("[::1]:443")];
        assert_eq!(with_port(&named, 8443), [at("127.0.0.3:8443"), at("[::1]:8443")]);

        let mut config = Config { listen: vec![at("127.83.0.3:0")], ..Config::new("/nowhere") };
        let bound = Listeners::bind(&config).unwrap().bound();
        assert_eq!(bound.hosts, [at("127.83.0.3:8443")]);
        config.hosts_listen = vec![at("127.83.0.4:0")];
        assert_eq!(Listeners::bind(&config).unwrap().bound().hosts[0].ip(), at("127.83.0.4:0").ip());
    }
}
