//! What the owner is told as it happens: one broadcast, with a short memory for those who come back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use couplet_protocol::api::{Door, Event, EventKind, NetworkPath};
use couplet_protocol::{Code, MatchNumber, Pin, RelayName};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::clock::Timestamp;
use crate::session::Device;
use crate::store::offers::PairingRow;
use crate::tunnel::Origin;

/// How many events are remembered for `Last-Event-ID`, and how far a listener may fall behind.
const MEMORY: usize = 256;

/// Where events are told and heard. Clones share the same stream.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    past: Arc<Mutex<Past>>,
    now: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct Past {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// An event without its number.
#[derive(Clone, Debug)]
pub(crate) struct News(Event);

impl News {
    fn new(kind: EventKind, at: Timestamp) -> Self {
        News(Event {
            id: 0,
            at: at.to_rfc3339(),
            event: kind,
            pairing_id: None,
            door: None,
            device_id: None,
            device_name: None,
            device_model: None,
            platform: None,
            network: None,
            path: None,
            relay: None,
            code: None,
            check_code: false,
            pin: None,
            match_number: None,
            sealed: false,
        })
    }

    /// News of a pairing.
    pub(crate) fn of_pairing(kind: EventKind, at: Timestamp, row: &PairingRow) -> Self {
        let mut news = News::new(kind, at);
        news.0.pairing_id = Some(row.id);
        news.0.door = Some(row.door);
        news.0.device_id = row.device_id;
        news.0.device_name = row.device_name.as_ref().map(ToString::to_string);
        news.0.device_model = row.device_model.as_ref().map(ToString::to_string);
        news.0.platform = row.platform.as_ref().map(ToString::to_string);
        news.0.network = row.network.clone();
        if let Some(relay) = &row.relay {
            (news.0.path, news.0.relay) = (Some(NetworkPath::Relay), Some(relay.to_string()));
        }
        news.0.sealed = row.sealed;
        news.0.check_code = kind == EventKind::ApprovalWanted && row.wants_check_code();
        news
    }

    /// News of a device.
    pub(crate) fn of_device(kind: EventKind, at: Timestamp, device: &Device) -> Self {
        let mut news = News::new(kind, at);
        news.0.device_id = Some(device.device_id);
        news.0.device_name = Some(device.device_name.to_string());
        news.0.device_model = device.device_model.as_ref().map(ToString::to_string);
        news
    }

    /// News of a device's sealed session.
    pub(crate) fn of_session(kind: EventKind, at: Timestamp, device: &Device, origin: &Origin) -> Self {
        let mut news = News::of_device(kind, at, device);
        (news.0.path, news.0.network) = (Some(origin.path()), Some(origin.source.to_string()));
        news.0.relay = origin.relay().map(ToString::to_string);
        news
    }

    /// News of the link to the relay, and why it is not there.
    pub(crate) fn of_relay(kind: EventKind, at: Timestamp, relay: &RelayName, why: Option<Code>) -> Self {
        let mut news = News::new(kind, at);
        (news.0.relay, news.0.code) = (Some(relay.to_string()), why.map(|code| code.to_string()));
        news
    }

    /// News of the owner, who came from this address.
    pub(crate) fn of_owner(kind: EventKind, at: Timestamp, network: String) -> Self {
        let mut news = News::new(kind, at);
        news.0.network = Some(network);
        news
    }

    /// Why it came to that.
    pub(crate) fn because(mut self, code: Option<Code>) -> Self {
        self.0.code = code.map(|code| code.to_string());
        self
    }

    /// With the PIN that the owner is to type on the device, and the number that the device shows.
    pub(crate) fn with_pin(mut self, pin: Pin, number: MatchNumber) -> Self {
        (self.0.pin, self.0.match_number) = (Some(pin), Some(number));
        self
    }

    /// The pairing that brought the device.
    pub(crate) fn by_pairing(mut self, id: Option<Uuid>) -> Self {
        self.0.pairing_id = id;
        self
    }
}

impl Events {
    /// Numbers rise from the time of the start in milliseconds, so that those of an earlier run are below them.
    pub(crate) fn new(now: Timestamp) -> Self {
        let last = u64::try_from(now.millis()).unwrap_or_default();
        Events { past: Arc::new(Mutex::new(Past { last, events: VecDeque::new() })), now: broadcast::channel(MEMORY).0 }
    }

    /// Numbers the event and tells it.
    pub(crate) fn tell(&self, news: News) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.last += 1;
        let event = Arc::new(Event { id: past.last, ..news.0 });
        if past.events.len() == MEMORY {
            past.events.pop_front();
        }
        past.events.push_back(Arc::clone(&event));
        log(&event);
        // Nobody may be listening.
        let _ = self.now.send(event);
    }

    /// What came after event `last` and is still remembered, all that comes from now on, and the number that stands
    /// between the two: whoever has the first and comes back with it misses nothing of the second.
    pub(crate) fn since(&self, last: Option<u64>) -> (Vec<Arc<Event>>, u64, broadcast::Receiver<Arc<Event>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = match last {
            Some(last) if last <= past.last => past.events.iter().filter(|e| e.id > last).cloned().collect(),
            // From before the clock was set back: everything remembered is new.
            Some(_) => past.events.iter().cloned().collect(),
            None => Vec::new(),
        };
        (missed, past.last, self.now.subscribe())
    }
}

/// Anyone on the network may ask by PIN, as often as it likes: that alone fills no log.
fn log(event: &Event) {
    let asks = [EventKind::OfferClaimed, EventKind::ApprovalWanted, EventKind::OfferExpired];
    if event.door == Some(Door::Pin) && asks.contains(&event.event) {
        let pairing = event.pairing_id.map(tracing::field::display);
        tracing::debug!(target: "couplet::pairing", pairing_id = pairing, "{}", event.event.name());
        return;
    }
    tracing::info!(target: "couplet::pairing", door = event.door.map(tracing::field::debug),
        name = event.device_name, network = event.network, device_id = event.device_id.map(tracing::field::display),
        pairing_id = event.pairing_id.map(tracing::field::display), "{}", event.event.name());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> News {
        News::new(EventKind::OfferCreated, Timestamp::from_millis(0))
    }

    #[test]
    fn who_comes_back_gets_what_was_missed_once() {
        let events = Events::new(Timestamp::from_millis(0));
        (0..3).for_each(|_| events.tell(news()));
        let (missed, reached, mut live) = events.since(Some(1));
        assert_eq!(missed.iter().map(|e| e.id).collect::<Vec<_>>(), [2, 3]);
        events.tell(news());
        assert_eq!((reached, live.try_recv().unwrap().id), (3, 4));
        assert_eq!(events.since(None).0.len(), 0);
        assert_eq!(events.since(Some(99)).0.len(), 4, "a number from before a restart");
    }

    #[test]
    fn the_memory_is_bounded() {
        let events = Events::new(Timestamp::from_millis(0));
        (0..MEMORY + 10).for_each(|_| events.tell(news()));
        assert_eq!(events.since(Some(0)).0.len(), MEMORY);
    }
}
