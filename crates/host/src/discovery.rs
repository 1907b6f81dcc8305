//! Being seen nearby: while the owner pairs, and only then, the host answers multicast DNS (RFC 6762, RFC 6763) on its
//! private networks, so that `couplet connect --nearby` finds it. What is told is an address and a port, under names
//! that are made up anew each time: neither the host's name, nor its owner's, nor its version.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use couplet_protocol::SERVICE_TYPE;
use couplet_protocol::api::{Door, PairingState};
use mdns_sd::{DaemonEvent, IfKind, Receiver, ServiceDaemon, ServiceInfo};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::net;
use crate::pairing::Core;
use crate::random;
use crate::store::offers::{self, PairingRow};

/// How often the host looks whether it is still to be seen, and where; news of pairings come at once.
const LOOK: Duration = Duration::from_secs(1);
/// How long the responder may take for each of its last words, and before they are said once more.
const LAST_WORD: Duration = Duration::from_secs(1);
const REPEATED: Duration = Duration::from_millis(150);

/// Announces the host while a pairing window is open, until `stop` fires. That it cannot is a warning, and no more.
pub(crate) async fn run(core: Core, stop: CancellationToken) {
    let mut events = core.events().since(None).2;
    let mut now: Option<Announcement> = None;
    let mut failed = false;
    loop {
        let wanted = if is_open(&core).await { places(&core) } else { Vec::new() };
        if now.as_ref().is_some_and(|announcement| announcement.places != wanted)
            && let Some(announcement) = now.take()
        {
            announcement.end().await;
        }
        if wanted.is_empty() {
            failed = false;
        } else if now.is_none() && !failed {
            now = Announcement::begin(wanted).inspect_err(warn).ok();
            failed = now.is_none();
        }
        if let Some(error) = now.as_ref().and_then(Announcement::error)
            && !failed
        {
            failed = true;
            warn(&error);
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
            event = events.recv() => if matches!(event, Err(RecvError::Closed)) { break },
        }
    }
    if let Some(announcement) = now {
        announcement.end().await;
    }
}

fn warn(error: &mdns_sd::Error) {
    tracing::warn!(target: "couplet::host", %error, "this host cannot be seen nearby; its address works all the same");
}

/// Whether the owner pairs: an offer of theirs is open. What strangers ask for opens nothing.
async fn is_open(core: &Core) -> bool {
    let now = core.now();
    let is_window = move |row: &PairingRow| {
        matches!(row.door, Door::Otp | Door::Offer)
            && matches!(row.state, PairingState::Waiting | PairingState::Claimed | PairingState::Approval)
            && now < row.expires_at
    };
    let open = core.store().read(move |tx| Ok(offers::open(tx)?.iter().any(is_window)));
    open.await.unwrap_or(false)
}

/// Where pairing is served that machines nearby can reach: one port, as a service has one.
fn places(core: &Core) -> Vec<SocketAddr> {
    let near = net::nearby_addresses();
    let mut places: Vec<SocketAddr> = core.reachable();
    places.retain(|place| near.contains(&place.ip()));
    let port = places.first().map(SocketAddr::port);
    places.retain(|place| Some(place.port()) == port);
    places.sort();
    places
}

/// One service, as long as it is told. Dropping it ends that.
struct Announcement {
    daemon: ServiceDaemon,
    faults: Receiver<DaemonEvent>,
    name: String,
    places: Vec<SocketAddr>,
}

impl Announcement {
    fn begin(places: Vec<SocketAddr>) -> Result<Self, mdns_sd::Error> {
        let addresses: Vec<IpAddr> = places.iter().map(SocketAddr::ip).collect();
        let port = places.first().map_or(0, SocketAddr::port);
        let interfaces: Vec<IfKind> = addresses.iter().copied().map(IfKind::Addr).collect();
        let (instance, label) = (random_label(), random_label());
        let told = HashMap::from([("v".to_owned(), "1".to_owned())]);
        let mut service =
            ServiceInfo::new(SERVICE_TYPE, &instance, &format!("{label}.local."), addresses.as_slice(), port, told)?;
        service.set_interfaces(interfaces.clone());
        // Nobody else makes up the same names: there is nothing to wait for.
        service.set_requires_probe(false);
        let name = service.get_fullname().to_owned();
        let daemon = ServiceDaemon::new()?;
        let faults = daemon.monitor()?;
        let announcement = Announcement { daemon, faults, name, places };
        announcement.daemon.disable_interface(IfKind::All)?;
        announcement.daemon.enable_interface(interfaces)?;
        announcement.daemon.register(service)?;
        Ok(announcement)
    }

    /// What went wrong, if something did.
    fn error(&self) -> Option<mdns_sd::Error> {
        self.faults.try_iter().find_map(|event| match event {
            DaemonEvent::Error(error) => Some(error),
            _ => None,
        })
    }

    /// Says goodbye, so that nobody has to wait for the records to run out.
    async fn end(self) {
        if let Ok(said) = self.daemon.unregister(&self.name) {
            answer(said).await;
            // The responder says it once more then.
            tokio::time::sleep(REPEATED).await;
        }
        if let Ok(ended) = self.daemon.shutdown() {
            answer(ended).await;
        }
    }
}

/// Waits for the responder's answer, on a thread that may be held up.
async fn answer<T: Send + 'static>(answer: Receiver<T>) {
    let _ = tokio::task::spawn_blocking(move || answer.recv_timeout(LAST_WORD).is_ok()).await;
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // A second one is refused.
        let _ = self.daemon.shutdown();
    }
}

fn random_label() -> String {
    let bytes: [u8; 6] = random::bytes();
    format!("couplet-{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
