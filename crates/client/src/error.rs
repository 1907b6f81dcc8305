//! What goes wrong on a device: what happened, and what to do next.

use couplet_protocol::handshake::HandshakeError;
use couplet_protocol::offer::OfferError;
use couplet_protocol::{Code, Endpoint, RelayName};

use crate::attempt::{Attempt, Hint, Shown, lines};
use crate::credentials::HostId;
use crate::random::NoRandomness;
use crate::relay::RelayFailure;
use crate::sealed::SealedError;
use crate::state::{Reason, State};
use crate::store::StoreError;

/// A host that is known seems to have another key now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherKey {
    /// The known host.
    pub host: HostId,
    /// Its name.
    pub host_name: String,
    /// The fingerprint of the key that it was paired under.
    pub pinned: String,
    /// The fingerprint of the key that is offered now.
    pub offered: String,
}

/// Why a pairing came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The link cannot be read.
    #[error(transparent)]
    Link(#[from] OfferError),
    /// The link is of a host that is known by name or address, and its key is another one.
    #[error(
        "{} is known under another key\nknown:   {}\noffered: {}", .0.host_name, .0.pinned, .0.offered
    )]
    OtherKey(OtherKey),
    /// No address of the offer leads to the host.
    #[error("the host cannot be reached:{}", lines(.tried))]
    Unreachable {
        /// The addresses that were tried.
        tried: Vec<Attempt>,
        /// Whether the offer's time is over by this machine's clock.
        expired: bool,
    },
    /// No address of the offer leads to the host, and its relay says why it does not.
    #[error("the host cannot be reached:{}", lines(.tried))]
    Relay {
        /// Which relay.
        relay: RelayName,
        /// What it did.
        failure: RelayFailure,
        /// All that was tried.
        tried: Vec<Attempt>,
        /// Whether the offer's time is over by this machine's clock.
        expired: bool,
    },
    /// The host refused before there were keys. Nothing proves that it was the host.
    #[error("{} refused the offer ({hint})", Shown(.endpoint))]
    Refused {
        /// Where.
        endpoint: Endpoint,
        /// What it said.
        hint: Hint,
        /// Whether the offer's time is over by this machine's clock.
        expired: bool,
    },
    /// What answers does not have the key that the link names.
    #[error("what answers at {} does not have the key of the link ({offered})", Shown(.endpoint))]
    WrongKey {
        /// Where.
        endpoint: Endpoint,
        /// The fingerprint in the link.
        offered: String,
    },
    /// What answers says of itself that its pairing secrets can be guessed (spec/protocol.md, 7).
    #[error("what answers at {} makes secrets that can be guessed", Shown(.endpoint))]
    WeakRandom {
        /// Where.
        endpoint: Endpoint,
    },
    /// The two ends do not speak the same protocol.
    #[error("{error}{}", through_relay(.relay.as_ref()))]
    Handshake {
        /// What was wrong.
        error: HandshakeError,
        /// The relay that it came through.
        relay: Option<RelayName>,
    },
    /// The host said no, and it was the host.
    #[error("the host did not pair this device ({0})")]
    Rejected(Hint),
    /// The owner did not answer.
    #[error("no answer of the owner came in time{}", through_relay(.relay.as_ref()))]
    NoAnswer {
        /// The relay that the session went through.
        relay: Option<RelayName>,
    },
    /// The session ended before the host decided.
    #[error("the connection to the host{} {} before it answered", through_relay(.relay.as_ref()), ended(.error.as_ref()))]
    Lost {
        /// How it ended.
        error: Option<SealedError>,
        /// The relay that it went through.
        relay: Option<RelayName>,
    },
    /// Granted and kept, but the host's last word did not come.
    #[error("the connection to the host{} {} just before the pairing was finished", through_relay(.relay.as_ref()), ended(Some(.error)))]
    Unfinished {
        /// How the connection ended.
        error: SealedError,
        /// The relay that it went through.
        relay: Option<RelayName>,
    },
    /// The host let this device in, and nobody says that it was the right one: nothing was kept.
    #[error("nobody confirmed that the host took the check code")]
    NotConfirmed,
    /// The credentials cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// ` through the relay NAME`, where it is one.
pub(crate) fn through_relay(relay: Option<&RelayName>) -> String {
    relay.map(|relay| format!(" through the relay {relay}")).unwrap_or_default()
}

fn ended(error: Option<&SealedError>) -> &'static str {
    match error {
        Some(SealedError::Broken) => "brought what could not be opened, so that it was ended",
        _ => "ended",
    }
}

impl PairError {
    pub(crate) fn lost(error: Option<SealedError>) -> Self {
        PairError::Lost { error, relay: None }
    }

    /// The same, on a connection that went through this relay.
    pub(crate) fn through(mut self, via: Option<RelayName>) -> Self {
        if let PairError::Lost { relay, .. }
        | PairError::Unfinished { relay, .. }
        | PairError::Handshake { relay, .. }
        | PairError::NoAnswer { relay } = &mut self
        {
            *relay = via;
        }
        self
    }

    /// The code with the page about it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            PairError::Link(_) => Code::LinkUnusable,
            PairError::OtherKey(_) | PairError::WrongKey { .. } => Code::HostKeyDiffers,
            PairError::Unreachable { .. } => Code::HostUnreachable,
            PairError::Refused { hint, .. } | PairError::Rejected(hint) => hint.code().unwrap_or(Code::SessionLost),
            PairError::Handshake { .. } | PairError::WeakRandom { .. } => Code::VersionsDiffer,
            PairError::Relay { failure, .. } => failure.code(),
            PairError::Lost { .. } | PairError::Unfinished { .. } => Code::SessionLost,
            PairError::NoAnswer { .. } => Code::ClaimExpired,
            PairError::NotConfirmed => Code::NotConfirmed,
            PairError::Store(_) => Code::CredentialsUnusable,
            PairError::NoRandomness(_) => Code::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn next_step(&self) -> String {
        let anew = "Ask for a new link: couplet pair, on the host.";
        match self {
            PairError::Link(_) => format!("Copy the whole link. {anew}"),
            PairError::OtherKey(other) => format!(
                "It may be another host of that name or at that address, or the same one set up anew, or someone who \
                 pretends to be it. Compare the keys with the host's owner. If it was set up anew, forget the old one \
                 first: couplet connect --forget {}. If it is another host: add --another-host.",
                other.host
            ),
            PairError::Unreachable { expired: true, .. }
            | PairError::Refused { expired: true, .. }
            | PairError::Relay { expired: true, .. } => {
                format!("By this machine's clock the link has expired. {anew}")
            }
            PairError::Unreachable { .. } => "Is this machine on the host's network, and does the host run? A \
                                              firewall may be in between."
                .to_owned(),
            PairError::Relay { relay, failure, .. } => match failure.code() {
                // What would be said to a paired device does not help here.
                Code::RoomRefused | Code::RoomLocked => anew.to_owned(),
                _ => failure.next_step(relay),
            },
            PairError::WrongKey { .. } => "Another machine may have the host's address, or someone is in between. Use \
                                           a link of the host itself."
                .to_owned(),
            PairError::WeakRandom { .. } => {
                "Update the host: its pairing secrets do not come from its operating system's generator.".to_owned()
            }
            PairError::Handshake { .. } => "Update the older of the two: couplet --version.".to_owned(),
            PairError::Refused { hint, .. } | PairError::Rejected(hint) => match hint.code() {
                Some(Code::DeviceNameInvalid) => "Choose another name: --name.".to_owned(),
                Some(Code::PairingRejected) => "Speak with the owner, then ask for a new link.".to_owned(),
                _ => anew.to_owned(),
            },
            PairError::NoAnswer { .. } | PairError::Lost { .. } => {
                "Try the same link again while it is valid, or ask for a new one: couplet pair, on the host.".to_owned()
            }
            PairError::Unfinished { .. } => "Connect without a link; if the host does not know this device, pair it \
                                         with a new one."
                .to_owned(),
            PairError::NotConfirmed => {
                "Nothing was kept here. If the host never asked for the code, somebody answers in its \
                                        place: pair with a link, couplet pair on the host. Otherwise begin anew."
                    .to_owned()
            }
            PairError::Store(error) => error.next_step(),
            PairError::NoRandomness(_) => "Try again after a restart of the system.".to_owned(),
        }
    }
}

/// Why a host cannot be connected with at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There are no credentials for it.
    #[error("there are no credentials for {0}")]
    Unknown(HostId),
    /// They cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a request came to nothing. It is never sent twice.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There was no session within the time that a request waits for one. Nothing was sent.
    #[error("there is no connection to the host")]
    NotConnected(State),
    /// As many requests are under way as a session carries. Nothing was sent.
    #[error("too many requests are under way")]
    TooMany,
    /// The request cannot be sent as it is: its target has no host, or a header is too long.
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
    /// The host knows no upgrades.
    #[error("the host does not take upgrades")]
    NoUpgrades,
    /// The session ended, or the host reset the request. It may have been carried out.
    #[error("the host did not answer: {0}")]
    Broken(String),
    /// The request's own body broke off.
    #[error("the body of the request broke off: {0}")]
    Body(String),
}

impl RequestError {
    /// Why there is no connection, in one line or more.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            RequestError::NotConnected(State::Offline { reason, .. }) => reason.to_string(),
            RequestError::NotConnected(State::Revoked) => "the owner revoked this device".to_owned(),
            RequestError::NotConnected(State::Expired) => "this device's access has ended".to_owned(),
            other => other.to_string(),
        }
    }

    /// The reason, when it is that there is no session.
    #[must_use]
    pub fn reason(&self) -> Option<&Reason> {
        match self {
            RequestError::NotConnected(State::Offline { reason, .. }) => Some(reason),
            _ => None,
        }
    }
}
