//! Where peers come from, for limits: one customer of an Internet provider is one source.

use std::net::{IpAddr, Ipv6Addr};

/// Where somebody comes from: an IPv4 address, or the /64 network of an IPv6 address, which one customer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source(IpAddr);

impl Source {
    /// The source that an address belongs to. IPv4 in IPv6's clothes is IPv4.
    #[must_use]
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Source(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            v4 @ IpAddr::V4(_) => Source(v4),
        }
    }
}

/// A network of which one customer may have many sources: an Internet provider gives each an IPv6 /56, or even a /48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    bits: u8,
    first: IpAddr,
}

impl Network {
    /// The networks that an address is in, the source first, each with how many times as much it may have as a source.
    pub(crate) fn around(address: IpAddr) -> impl Iterator<Item = (Self, u32)> {
        let network = move |bits: u8, times: u32| {
            let first = match Source::of(address).0 {
                IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << (128 - u32::from(bits)))).into(),
                v4 @ IpAddr::V4(_) => v4,
            };
            (Network { bits, first }, times)
        };
        let wider = [(56, 4), (48, 16)].into_iter().filter(move |_| address.to_canonical().is_ipv6());
        std::iter::once((64, 1)).chain(wider).map(move |(bits, times)| network(bits, times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_an_ipv4_address_or_a_network_of_ipv6() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[test]
    fn what_one_customer_may_have_is_one_network_too() {
        let around = |text: &str| Network::around(text.parse().unwrap()).collect::<Vec<_>>();
        let common = |one: &str, other: &str| {
            let other = around(other);
            around(one)
                .into_iter()
                .filter(|network| other.contains(network))
                .map(|(_, times)| times)
                .collect::<Vec<_>>()
        };
        assert_eq!(common("2001:db8:0:101::1", "2001:db8:0:101::2"), [1, 4, 16]);
        assert_eq!(common("2001:db8:0:101::1", "2001:db8:0:1ff::1"), [4, 16]);
        assert_eq!(common("2001:db8:0:101::1", "2001:db8:0:201::1"), [16]);
        assert_eq!(common("2001:db8:0:101::1", "2001:db8:1:101::1"), [0; 0]);
        assert_eq!(common("10.0.0.1", "::ffff:10.0.0.1"), [1]);
        assert_eq!(common("10.0.0.1", "10.0.0.2"), [0; 0]);
    }
}
