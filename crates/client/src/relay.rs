//! The way to a relay, for devices and hosts alike: [`tls`], [`Connection`], [`RelayFailure`]. And the way to a host
//! through it (spec/protocol.md, 6): ask for a session, then a WebSocket whose bytes the relay hands on to the host.
//!
//! Nothing that a relay says is believed beyond that: who answers at the other end is for the handshake to show.

mod account;
mod answer;
mod climbs;
mod connection;
mod dial;
mod failure;
mod join;
mod pauses;
mod trust;

use std::time::Duration;

use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{OfferKeys, RelayName};
use tokio::time::timeout;

pub(crate) use self::account::Account;
pub use self::account::{AccountFile, AccountToken, RelayAccount};
pub(crate) use self::climbs::Climbs;
pub use self::connection::{Answer, Connection, clock_ahead};
pub use self::dial::{connect, lookup, secure, split};
pub use self::failure::{RelayFailure, SKEW, skew};
pub(crate) use self::pauses::Pauses;
pub use self::trust::{Authorities, Identity, RelayCa, RelayCaError, RelayTrust, TlsUnusable, certificates, tls};
use crate::path::Opening;

/// How many rooms a device looks ahead when one is locked: as many as a host registers (spec/protocol.md, 6).
const AHEAD: u32 = 8;
/// How many rooms in a row it tries that the relay does not know: each of them counts as a failure of this network.
const UNKNOWN: u32 = 2;
/// How long all of it may take, whatever the relay does.
const OPEN: Duration = Duration::from_secs(20);

/// What opens a host's room.
pub(crate) enum Door<'a> {
    /// The offer's one room, by its token.
    Offer(Box<OfferKeys>),
    /// One of the pairing's rooms, by their secret. The number is that of the room which opened last.
    Paired(&'a RoomSecret, u32),
}

/// Opens a way to the host through this relay. `up`: how many rooms above the last one it begins.
pub(crate) async fn open(
    trust: &RelayTrust,
    relay: &RelayName,
    (door, up): (&Door<'_>, u32),
    account: &Account,
) -> Result<Opening, RelayFailure> {
    let account = account.at(relay)?;
    let opening = async {
        let mut node = join::dial(trust, relay).await?;
        let (joined, room) = enter(trust, relay, &mut node, (door, up, account)).await?;
        let (socket, peer) = join::upgrade(trust, relay, node, &joined).await?;
        Ok(Opening { socket, peer, room })
    };
    // What is left of it is dropped, and with it its connections.
    timeout(OPEN, opening).await.unwrap_or_else(|_| Err(RelayFailure::silent()))
}

/// Asks for a session in the offer's room, or in the first of the pairing's that opens.
async fn enter(
    trust: &RelayTrust,
    relay: &RelayName,
    node: &mut join::Node,
    (door, up, account): (&Door<'_>, u32, Option<&AccountToken>),
) -> Result<(join::Joined, Option<u32>), RelayFailure> {
    let (secret, from) = match door {
        Door::Offer(keys) => {
            let body = join::body(&keys.room, join::Opens::Token(&keys.pairing_token_hash), account);
            return join::ask(trust, relay, node, body).await.map(|joined| (joined, None));
        }
        Door::Paired(secret, from) => (secret, *from),
    };
    let hash = secret.relay_secret_hash().map_err(|_| RelayFailure::internal())?;
    let mut steps = Steps::default();
    for number in from.saturating_add(up)..=from.saturating_add(AHEAD) {
        let room = secret.room(number).map_err(|_| RelayFailure::internal())?;
        let body = join::body(&room, join::Opens::Secret(&hash), account);
        match join::ask(trust, relay, node, body).await {
            Ok(joined) => return Ok((joined, Some(number))),
            Err(failure) => steps.go_on(failure)?,
        }
    }
    Err(steps.failure())
}

/// Which rooms did not open, and whether the next one is worth a try.
#[derive(Debug, Default)]
struct Steps {
    unknown: u32,
    first: Option<RelayFailure>,
}

impl Steps {
    /// A locked room has another behind it. One that the relay does not know may be one that the host has given up
    /// because this device was in a later one already.
    fn go_on(&mut self, failure: RelayFailure) -> Result<(), RelayFailure> {
        let unknown = failure.is_unknown_room();
        self.unknown += u32::from(unknown);
        if !(failure.is_locked() || unknown && self.unknown < UNKNOWN) {
            // That a room is locked says more than that a later one is not there.
            return Err(if unknown { self.first.take().unwrap_or(failure) } else { failure });
        }
        self.first.get_or_insert(failure);
        Ok(())
    }

    fn failure(self) -> RelayFailure {
        self.first.unwrap_or_else(RelayFailure::internal)
    }
}

#[cfg(test)]
mod tests {
    use couplet_protocol::Code;

    use super::*;

    fn failure(code: Code) -> RelayFailure {
        RelayFailure::answered(code, None)
    }

    #[test]
    fn it_goes_on_past_locked_rooms_and_one_that_is_not_there() {
        let mut steps = Steps::default();
        for _ in 0..20 {
            steps.go_on(failure(Code::RoomLocked)).unwrap();
        }
        steps.go_on(failure(Code::RoomRefused)).unwrap();
        assert_eq!(steps.go_on(failure(Code::RoomRefused)).unwrap_err().code(), Code::RoomLocked);
        let mut steps = Steps::default();
        steps.go_on(failure(Code::RoomRefused)).unwrap();
        assert_eq!(steps.go_on(failure(Code::RoomRefused)).unwrap_err().code(), Code::RoomRefused);
        for code in [Code::HostOffline, Code::TooManyFailures, Code::RelayBusy, Code::RelayUnreachable] {
            assert_eq!(Steps::default().go_on(failure(code)).unwrap_err().code(), code);
        }
    }
}
