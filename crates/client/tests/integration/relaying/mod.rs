//! A real relay with a host behind it, and doubles of a relay that do what no relay should.
#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../../../../relay/tests/integration/common/mod.rs"]
pub(crate) mod common;
pub(crate) mod double;
pub(crate) mod mischief;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{TestHost, TestRelay};
use couplet_client::sealed::{Side, config};
use couplet_client::{PairRequest, RelayCa};
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::offer::LinkForm;
use couplet_protocol::secret::RoomSecret;
use couplet_protocol::{Endpoint, Offer, RelayName};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::responder::{self, Host, Session, Wire};

/// What the host grants for its rooms.
pub(crate) const ROOM_SECRET: [u8; 32] = [0x5a; 32];

/// A relay, and a host that is enrolled there.
pub(crate) struct World {
    pub(crate) relay: Arc<TestRelay>,
    pub(crate) enrolled: Arc<TestHost>,
    pub(crate) host: Host,
}

/// A host that answers what comes through the relay. Dropping it cuts all of it.
pub(crate) struct Dialling {
    /// How many devices have come.
    pub(crate) came: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        let relay = Arc::new(TestRelay::start(|_| {}).await);
        let enrolled = Arc::new(TestHost::enroll(&relay).await);
        World { relay, enrolled, host: Host::new(1) }
    }

    pub(crate) fn name(&self) -> RelayName {
        RelayName::parse(self.relay.ready.public.strip_prefix("https://").unwrap()).unwrap()
    }

    pub(crate) fn ca(&self) -> RelayCa {
        RelayCa::parse(&self.relay.ca()).unwrap()
    }

    /// What this machine says of itself when it pairs.
    pub(crate) fn request(&self) -> PairRequest {
        PairRequest { relay_ca: Some(self.ca()), ..responder::request("Laptop") }
    }

    pub(crate) fn offer(&self, lan: &[SocketAddr]) -> Offer {
        offer(&self.host, &self.name(), lan)
    }

    pub(crate) fn link(&self, lan: &[SocketAddr]) -> String {
        self.offer(lan).to_link(LinkForm::Web)
    }

    /// Registers the offer's room.
    pub(crate) async fn register_offer(&self) {
        let keys = self.host.offer(&[]).keys().unwrap();
        let body = json!({"pairing_token_hash": *keys.pairing_token_hash.expose_hex(), "public_key": "key"});
        self.enrolled.room(&self.relay, &keys.room.to_hex(), body).await;
    }

    /// Registers this one of the pairing's rooms.
    pub(crate) async fn register_room(&self, number: u32) {
        let secret = RoomSecret::new(ROOM_SECRET);
        let body = json!({"secret_hash": *secret.relay_secret_hash().unwrap().expose_hex(), "public_key": "key"});
        self.enrolled.room(&self.relay, &secret.room(number).unwrap().to_hex(), body).await;
    }

    /// The host dials for each device that comes, and does this with each session.
    pub(crate) async fn dialling<F>(&self, with: impl Fn(Session) -> F + Clone + Send + Sync + 'static) -> Dialling
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut events = self.enrolled.events(&self.relay, None).await;
        let (relay, enrolled, host) = (self.relay.clone(), self.enrolled.clone(), self.host.clone());
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            // Longer than any test: an event stream of the relay's tests gives up after a while.
            while let Some(event) = events.next().await {
                if event.name != "pair-cmd" {
                    continue;
                }
                let number = count.fetch_add(1, Ordering::Relaxed) + 1;
                let (relay, enrolled, host, with) = (relay.clone(), enrolled.clone(), host.clone(), with.clone());
                sessions.spawn(async move {
                    let sid = event.data["sid"].as_str().unwrap().to_owned();
                    let Ok(io) = enrolled.end(&relay, &sid).await else { return };
                    let io: Wire = Box::new(io);
                    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config(Side::Host))).await;
                    if let Some(session) = host.meet(socket, number).await {
                        with(session).await;
                    }
                });
            }
        });
        Dialling { came, task: task.abort_handle() }
    }

    /// A host that grants what devices come for, and then answers their requests.
    pub(crate) async fn granting(&self, lan: &[SocketAddr]) -> Dialling {
        let grant = grant(&self.host, &self.name(), lan);
        self.dialling(move |session| serve(session, grant.clone())).await
    }
}

/// An offer of this host with this relay and these addresses.
pub(crate) fn offer(host: &Host, relay: &RelayName, lan: &[SocketAddr]) -> Offer {
    let mut offer = host.offer(lan);
    offer.endpoints.insert(0, Endpoint::Relay(relay.clone()));
    offer
}

/// A grant with a room secret and the relay among the addresses.
pub(crate) fn grant(host: &Host, relay: &RelayName, lan: &[SocketAddr]) -> Control {
    let Control::Grant(grant) = host.grant(lan) else { unreachable!() };
    let mut endpoints = grant.endpoints.clone();
    endpoints.push(Endpoint::Relay(relay.clone()));
    Control::Grant(Grant { room_secret: Some(RoomSecret::new(ROOM_SECRET)), endpoints, ..grant })
}

/// Grants when the device came to pair, else answers its requests.
pub(crate) async fn serve(mut session: Session, grant: Control) {
    if session.code.is_none() {
        return responder::http(session.stream, |_, mut respond| async move {
            let _ = respond.send_response(http::Response::new(()), true);
        })
        .await;
    }
    let _ = session.stream.send(&grant).await;
    if session.stream.control().await == Ok(Control::Ack) {
        let _ = session.stream.send(&Control::Paired).await;
    }
    let _ = session.stream.control().await;
}
