//! Any offer, any endpoint, any CONTROL message: what the properties hold for.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use couplet_protocol::message::{Control, Grant, RoomNumbers};
use couplet_protocol::offer::{ENDPOINTS_MAX, RelayName};
use couplet_protocol::secret::{Entropy, OfferSecret, Psk, RoomSecret};
use couplet_protocol::{Endpoint, Offer, PublicKey};
use proptest::prelude::*;

/// The longest text that a message may hold, in bytes (spec/protocol.md, 3).
pub(crate) const TEXT_MAX: usize = 512;

pub(crate) fn relay() -> impl Strategy<Value = Endpoint> {
    let label = "[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?";
    let name = (prop::collection::vec(label, 1..5), prop::option::of(1_u16..));
    name.prop_map(|(labels, port)| {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Endpoint::Relay(RelayName::parse(&(labels.join(".") + &port)).unwrap())
    })
}

pub(crate) fn lan() -> impl Strategy<Value = Endpoint> {
    let v6 = any::<u128>().prop_map(Ipv6Addr::from).prop_filter("a mapped address", |ip| ip.to_ipv4_mapped().is_none());
    let ip = prop_oneof![any::<u32>().prop_map(|ip| IpAddr::V4(ip.into())), v6.prop_map(IpAddr::V6)];
    (ip, 1_u16..).prop_map(|(ip, port)| Endpoint::Lan(SocketAddr::new(ip, port)))
}

/// Different ones.
pub(crate) fn endpoints(of: impl Strategy<Value = Endpoint>) -> impl Strategy<Value = Vec<Endpoint>> {
    prop::collection::hash_set(of, 0..=ENDPOINTS_MAX).prop_map(|set| set.into_iter().collect())
}

pub(crate) fn offer() -> impl Strategy<Value = Offer> {
    let fixed = (any::<u8>(), any::<u32>(), any::<[u8; 16]>(), any::<[u8; 32]>());
    (fixed, endpoints(prop_oneof![relay(), lan()])).prop_map(|((suites, expires_at, secret, key), endpoints)| Offer {
        suites: suites | 1,
        expires_at,
        secret: OfferSecret::new(secret),
        host_key: PublicKey::new(key),
        endpoints,
    })
}

/// Of at most [`TEXT_MAX`] bytes: a character has up to four.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,24}", "[a-z]{500,512}", prop::collection::vec(any::<char>(), 0..=128).prop_map(String::from_iter)]
}

fn grant(endpoint: impl Strategy<Value = Endpoint>) -> impl Strategy<Value = Control> {
    let secrets = (any::<[u8; 8]>(), any::<[u8; 32]>(), any::<Option<[u8; 32]>>());
    (text(), text(), text(), secrets, endpoints(endpoint)).prop_map(
        |(device_id, device_token, host_name, (psk_id, psk, room_secret), endpoints)| {
            Control::Grant(Grant {
                device_id,
                device_token: device_token.into(),
                host_name,
                psk_id,
                psk: Psk::new(psk),
                room_secret: room_secret.map(RoomSecret::new),
                endpoints,
            })
        },
    )
}

/// With endpoints of this kind.
pub(crate) fn control<S: Strategy<Value = Endpoint>>(endpoint: fn() -> S) -> impl Strategy<Value = Control> {
    prop_oneof![
        (any::<Option<[u8; 32]>>(), any::<Option<(u32, u32)>>()).prop_map(|(reveal, rooms)| Control::Confirm {
            reveal: reveal.map(Entropy::new),
            rooms: rooms.map(|(kept, opened)| RoomNumbers { kept, opened }),
        }),
        grant(endpoint()),
        Just(Control::Ack),
        Just(Control::Paired),
        text().prop_map(|code| Control::Rejected { code }),
        (endpoints(endpoint()), any::<u64>()).prop_map(|(list, serial)| Control::Endpoints { list, serial }),
    ]
}

/// Valid bytes with a few changes, so that they get further than random ones.
pub(crate) fn changed(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    prop::collection::vec(change, 0..6).prop_map(move |changes| {
        let mut bytes = valid.clone();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ if at == bytes.len() => bytes.push(byte),
                2 => drop(bytes.remove(at)),
                _ => bytes[at] = byte,
            }
        }
        bytes
    })
}
