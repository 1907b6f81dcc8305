//! The link: one connection on which the relay tells what happens, made again whenever it ends. Beside it the rooms are
//! kept right and the certificate is renewed, on connections that last no longer than that takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use couplet_client::relay::{RelayFailure, skew};
use couplet_client::{Backoff, jitter};
use couplet_protocol::api::EventKind;
use couplet_protocol::relay::{Drain, PairCommand, RoomLocked};
use couplet_protocol::{Code, RelayName, Sid};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::dial::{self, connect};
use super::enroll;
use super::enrolment::Enrolment;
use super::events::{Event, Parser};
use super::rooms::{Rooms, Until};
use super::sessions;
use crate::events::News;
use crate::pairing::Core;
use crate::rate::Rate;
use crate::store::rooms;

/// A relay says something every 15 s; one that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(40);
/// A link that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(10);
/// How often it is looked whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a try at that the next may come, whatever the clocks say.
const RENEW_EVERY: Duration = Duration::from_secs(600);
/// Within how long a host comes back to a relay that is about to stop: not all of them at once.
const DRAINED: Duration = Duration::from_secs(2);
/// How much a relay may tell in a minute: far more than its own bounds on sessions and locks let happen.
const EVENTS: u32 = 240;
/// How many lines a minute a relay has its host write about them.
const REMARKS: u32 = 12;
/// How many sids are remembered, so that none is dialled twice.
const SIDS: usize = 256;
/// How many connections for sessions there may be beyond the sessions themselves (spec/protocol.md, 6).
const SPARE: usize = 8;

/// How a link ends.
enum End {
    /// It broke, or could not be made.
    Lost(RelayFailure),
    /// The relay does not want this host any more.
    Refused(RelayFailure),
    /// The relay is about to stop.
    Drained,
    /// There is a new certificate.
    Renewed(Box<Enrolment>),
}

impl From<RelayFailure> for End {
    fn from(trouble: RelayFailure) -> Self {
        match trouble.code() {
            Code::HostRevoked => End::Refused(trouble),
            _ => End::Lost(trouble),
        }
    }
}

/// What outlives a link.
struct Memory {
    core: Core,
    enrolment: Enrolment,
    sids: VecDeque<Sid>,
    places: Arc<Semaphore>,
    /// What the owner was told last.
    told: Option<(EventKind, Option<Code>)>,
    renewed: Option<Instant>,
    /// Whether a relay that hung up was asked why, since the link was last a good one.
    asked_why: bool,
    events: Rate<()>,
    remarks: Remarks,
}

/// Bounds what a relay has its host write into the log: so many lines a minute about what it says. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Remarks(Arc<Rate<()>>);

impl Default for Remarks {
    fn default() -> Self {
        Remarks(Arc::new(Rate::per_minute(REMARKS)))
    }
}

impl Remarks {
    /// Whether one more is written.
    pub(super) fn may(&self) -> bool {
        self.0.take(&()).is_ok()
    }
}

/// Keeps the link until the relay refuses this host for good. Drop it to stop; sessions go on.
pub(crate) async fn run(core: Core) {
    let Some(enrolment) = core.relay().0.enrolment.clone() else { return };
    let places = Arc::new(Semaphore::new(core.config().limits.max_sessions as usize + SPARE));
    let mut memory = Memory::new(core, enrolment, places);
    let mut backoff = Backoff::default();
    loop {
        let began = Instant::now();
        let end = memory.link().await;
        memory.core.relay().set_up(false);
        if began.elapsed() >= LASTED {
            backoff.reset();
            memory.asked_why = false;
        }
        match end {
            End::Renewed(enrolment) => memory.enrolment = *enrolment,
            End::Drained if began.elapsed() >= LASTED => sleep(jitter(DRAINED)).await,
            // Whoever says so again at once is not about to stop.
            End::Drained => sleep(jitter(DRAINED) + backoff.wait()).await,
            End::Lost(trouble) => {
                memory.tell(EventKind::RelayLost, Some(&trouble));
                sleep(backoff.wait()).await;
            }
            End::Refused(trouble) => {
                memory.tell(EventKind::RelayRefused, Some(&trouble));
                return;
            }
        }
    }
}

impl Memory {
    fn new(core: Core, enrolment: Enrolment, places: Arc<Semaphore>) -> Self {
        Memory {
            core,
            enrolment,
            sids: VecDeque::new(),
            places,
            told: None,
            renewed: None,
            asked_why: false,
            events: Rate::per_minute(EVENTS),
            remarks: Remarks::default(),
        }
    }

    /// One link, from its beginning to its end.
    async fn link(&mut self) -> End {
        match self.try_link().await {
            Ok(end) => end,
            // It lets in neither a host that is revoked nor one that it does not know, and says so only when asked.
            // So does one that is full: it is asked why once, and then seldom.
            Err(trouble) if trouble.is_hung_up() && self.may_ask_why() => match self.renew().await {
                Ok(enrolment) => {
                    self.enrolment = enrolment;
                    End::Lost(trouble)
                }
                Err(other) if matches!(other.code(), Code::HostRevoked | Code::EnrollmentInvalid) => other.into(),
                Err(_) => End::Lost(trouble),
            },
            Err(trouble) => trouble.into(),
        }
    }

    fn may_ask_why(&mut self) -> bool {
        let asked = std::mem::replace(&mut self.asked_why, true);
        !asked || self.renewed.is_none_or(|at| at.elapsed() >= RENEW_EVERY)
    }

    async fn try_link(&mut self) -> Result<End, RelayFailure> {
        if self.core.now() >= self.enrolment.end {
            self.enrolment = self.renew().await?;
        }
        let tls = self.enrolment.hosts_tls();
        let tls = tls.map_err(|error| RelayFailure::new(Code::RelayBroken, error.0))?;
        let news = self.core.events().since(None).2;
        let mut rooms = Rooms::new(self.core.clone(), self.enrolment.clone(), tls.clone());
        let offer_ends = rooms.settle().await?;
        let last = self.sids.back().map(Sid::to_hex);
        let mut http = connect(&tls, &self.enrolment.hosts).await?;
        let (events, ahead) = dial::stream(&mut http, "/host/events", last.as_deref()).await?;
        self.core.relay().set_up(true);
        self.tell(EventKind::RelayConnected, None);
        rooms.tell();
        if let Some(said) = ahead.and_then(skew) {
            let code = Code::ClockDiffers;
            tracing::warn!(target: "couplet::relay", relay = %self.enrolment.relay, %code,
                "{said}: set the one that is wrong, or certificates fail one day. Where systemd keeps this one: timedatectl \
                 set-ntp true");
        }
        let (enrolment, renewed) = (self.enrolment.clone(), self.renewed);
        let renewing = keep_certificate(self.core.clone(), enrolment, renewed);
        let keeping = keep_rooms(self.core.clone(), rooms, news, offer_ends);
        let follow = self.follow(events, &tls);
        tokio::select! {
            end = follow => end,
            trouble = keeping => Err(trouble),
            end = renewing => {
                self.renewed = Some(Instant::now());
                end
            }
        }
    }

    async fn renew(&mut self) -> Result<Enrolment, RelayFailure> {
        self.renewed = Some(Instant::now());
        renew(&self.core, &self.enrolment).await
    }

    /// Does what the relay says.
    async fn follow(&mut self, mut body: Incoming, tls: &TlsConnector) -> Result<End, RelayFailure> {
        let mut parser = Parser::default();
        loop {
            let frame = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    return Err(RelayFailure::new(Code::RelayUnreachable, format!("the event stream broke ({error})")));
                }
                Ok(None) => return Err(RelayFailure::new(Code::RelayUnreachable, "it ended the event stream")),
                Err(_) => return Err(RelayFailure::new(Code::RelayUnreachable, "it has been silent for 40 s")),
            };
            let mut events = Vec::new();
            let read = frame.data_ref().map_or(Ok(()), |data| parser.read(data, |event| events.push(event)));
            read.map_err(|_| RelayFailure::broken("its events cannot be read"))?;
            for event in events {
                self.events.take(&()).map_err(|_| RelayFailure::broken("more events than there can be"))?;
                if let Some(end) = self.take(&event, tls).await {
                    return Ok(end);
                }
            }
        }
    }

    async fn take(&mut self, event: &Event, tls: &TlsConnector) -> Option<End> {
        match event.name.as_str() {
            "pair-cmd" => self.command(self.read::<PairCommand>(event)?, tls),
            "room-locked" => self.locked(self.read::<RoomLocked>(event)?).await,
            "drain" => {
                let drain: Drain = self.read(event)?;
                let is_own = sessions::is_of(&drain.relay_url, &self.enrolment.hosts).is_some();
                tracing::info!(target: "couplet::relay", is_own, "the relay is about to stop");
                return Some(End::Drained);
            }
            // Of a later version.
            _ => {}
        }
        None
    }

    fn read<T: DeserializeOwned>(&self, event: &Event) -> Option<T> {
        let body = serde_json::from_str(&event.data);
        if body.is_err() && self.remarks.may() {
            tracing::warn!(target: "couplet::relay", "the relay says something that cannot be read");
        }
        body.ok()
    }

    /// A device is there. Each command is followed once.
    fn command(&mut self, command: PairCommand, tls: &TlsConnector) {
        if self.sids.contains(&command.sid) {
            return;
        }
        if self.sids.len() == SIDS {
            self.sids.pop_front();
        }
        self.sids.push_back(command.sid);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            if self.remarks.may() {
                tracing::warn!(target: "couplet::relay", sid = %command.sid, "too many sessions come through the relay");
            }
            return;
        };
        let (enrolment, remarks) = (self.enrolment.clone(), self.remarks.clone());
        let session = sessions::run(self.core.clone(), enrolment, tls.clone(), command, (place, remarks));
        self.core.tunnels().spawn(session);
    }

    /// Failed joins have locked a room. Its device has others.
    async fn locked(&self, locked: RoomLocked) {
        let room = locked.room_id;
        let Some((device, number)) = self.core.relay().owner(room) else {
            if self.remarks.may() {
                tracing::info!(target: "couplet::relay", %room, "a room is locked after wrong credentials");
            }
            return;
        };
        if self.remarks.may() {
            tracing::warn!(target: "couplet::relay", %room, %device, number,
                "a room is locked after wrong credentials; its device has others");
        }
        match self.core.store().write(move |tx| rooms::locked(tx, device, number), |_| ()).await {
            Ok(_) => self.core.relay().touch(),
            Err(failure) => tracing::warn!(target: "couplet::relay", %failure, "no other room is made for the device"),
        }
    }

    /// Tells the owner, once, and again when it is for another reason: one may call for something to be done.
    fn tell(&mut self, kind: EventKind, trouble: Option<&RelayFailure>) {
        let relay = &self.enrolment.relay;
        self.core.relay().note(kind, trouble.map(RelayFailure::code), self.core.now());
        match trouble {
            Some(trouble) if kind == EventKind::RelayRefused => {
                tracing::error!(target: "couplet::relay", %relay, %trouble,
                    "the relay refuses this host, and it is not asked again. Enrol anew: couplet enroll TOKEN");
            }
            Some(trouble) => {
                let next = next_step(trouble, relay);
                tracing::warn!(target: "couplet::relay", %relay, %trouble, next, "no link to the relay");
            }
            None => tracing::info!(target: "couplet::relay", %relay, "linked to the relay"),
        }
        let now = (kind, trouble.map(RelayFailure::code));
        if self.told.replace(now) != Some(now) {
            let news = News::of_relay(kind, self.core.now(), relay, now.1);
            self.core.events().tell(news);
        }
    }
}

/// What the host's owner can do about it.
fn next_step(trouble: &RelayFailure, relay: &RelayName) -> String {
    match trouble.code() {
        // It is another relay now, or has forgotten this host: nothing here makes it believe this key.
        Code::EnrollmentInvalid | Code::RelayUntrusted => {
            "If the relay was set up anew, ask its operator for an enrolment token, and enrol anew: couplet enroll TOKEN"
                .to_owned()
        }
        _ => trouble.next_step(relay),
    }
}

/// Asks for the next certificate and writes it down.
async fn renew(core: &Core, enrolment: &Enrolment) -> Result<Enrolment, RelayFailure> {
    let renewed = enroll::renew(enrolment).await?;
    let (folder, saved) = (core.config().state_dir.clone(), renewed.clone());
    let saved = tokio::task::spawn_blocking(move || saved.save_in_place_of_itself(&folder)).await;
    match saved {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => {
            tracing::info!(target: "couplet::relay", "this host was enrolled anew; that counts from its next start");
        }
        // It is good as long as this process lives, and then the key gets another.
        Ok(Err(error)) => tracing::warn!(target: "couplet::relay", %error, "the new certificate is not written down"),
        Err(error) => tracing::warn!(target: "couplet::relay", %error, "the new certificate is not written down"),
    }
    tracing::info!(target: "couplet::relay", relay = %renewed.relay, "the certificate for the relay is renewed");
    Ok(renewed)
}

/// Ends when there is a new certificate.
async fn keep_certificate(core: Core, enrolment: Enrolment, mut tried: Option<Instant>) -> Result<End, RelayFailure> {
    loop {
        sleep(LOOK).await;
        let is_due = core.now() >= enrolment.renew_at() && tried.is_none_or(|at| at.elapsed() >= RENEW_EVERY);
        if !is_due {
            continue;
        }
        tried = Some(Instant::now());
        match renew(&core, &enrolment).await {
            Ok(renewed) => return Ok(End::Renewed(Box::new(renewed))),
            Err(trouble) if trouble.code() == Code::HostRevoked => return Err(trouble),
            // The one that there is still counts for days.
            Err(trouble) => tracing::warn!(target: "couplet::relay", %trouble, "the certificate is renewed later"),
        }
    }
}

/// Sets the rooms right whenever something changes them, until the relay cannot be told.
async fn keep_rooms(
    core: Core,
    mut rooms: Rooms,
    mut news: broadcast::Receiver<Arc<couplet_protocol::api::Event>>,
    mut offer_ends: Until,
) -> RelayFailure {
    loop {
        let patience = rooms.patience();
        let until_offer = offer_ends.map_or(patience, |end| core.now().until(end));
        tokio::select! {
            () = core.relay().0.work.notified() => {}
            () = heard(&mut news) => {}
            () = sleep(until_offer.clamp(LOOK, patience)) => {}
        }
        match rooms.settle().await {
            Ok(next) => {
                offer_ends = next;
                rooms.tell();
            }
            Err(trouble) => return trouble,
        }
    }
}

/// Something happened that may change the rooms.
async fn heard(news: &mut broadcast::Receiver<Arc<couplet_protocol::api::Event>>) {
    loop {
        match news.recv().await {
            Ok(event) if changes_rooms(event.event) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

fn changes_rooms(kind: EventKind) -> bool {
    !matches!(
        kind,
        EventKind::DeviceUpdated
            | EventKind::SessionOpened
            | EventKind::SessionClosed
            | EventKind::RelayConnected
            | EventKind::RelayLost
            | EventKind::RelayRefused
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use couplet_protocol::RoomId;
    use couplet_protocol::relay::Mode;
    use http_body_util::Empty;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::pairing::Pairing;

    /// More than its bounds on sessions and locks let happen is none of a relay's business, and would fill the log.
    #[tokio::test]
    async fn a_relay_that_floods_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let pairing = Pairing::open(crate::Config::new(folder.path().join("state"), "Home")).await.unwrap();
        let enrolment = Enrolment::of_test();
        let tls = enrolment.hosts_tls().unwrap();
        let mut memory = Memory::new(pairing.core().clone(), enrolment, Arc::new(Semaphore::new(1)));
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let flood = async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(theirs.read_u8().await.unwrap());
            }
            theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await.unwrap();
            for event in ["pair-cmd", "room-locked", "nonsense"].iter().cycle() {
                if theirs.write_all(format!("event: {event}\ndata: {{}}\n\n").as_bytes()).await.is_err() {
                    break;
                }
            }
        };
        let follow = async {
            let (mut http, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
            let connection = AbortOnDropHandle::new(tokio::spawn(connection));
            let request = hyper::Request::get("/host/events").body(Empty::<Bytes>::new()).unwrap();
            let events = http.send_request(request).await.unwrap().into_body();
            let end = memory.follow(events, &tls).await;
            drop(connection);
            end.err().map(|trouble| trouble.code())
        };
        let (end, ()) = tokio::join!(follow, flood);
        assert_eq!(end, Some(Code::RelayBroken));
    }

    /// A relay that tells a command again and again, or that is asked for it again after `Last-Event-ID`.
    #[tokio::test]
    async fn a_command_is_followed_once_and_what_is_remembered_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let pairing = Pairing::open(crate::Config::new(folder.path().join("state"), "Home")).await.unwrap();
        let core = pairing.core().clone();
        let enrolment = Enrolment::of_test();
        let tls = enrolment.hosts_tls().unwrap();
        let places = Arc::new(Semaphore::new(4));
        let mut memory = Memory::new(core, enrolment, places);
        let command = |n: u16| {
            let mut sid = [0; 16];
            sid[..2].copy_from_slice(&n.to_be_bytes());
            PairCommand {
                sid: Sid::new(sid),
                room_id: RoomId::new([1; 16]),
                mode: Mode::Reconnect,
                relay_url: "https://localhost:1".to_owned(),
                remote_ip: "192.0.2.1".to_owned(),
                expires_at: String::new(),
            }
        };
        // No session runs before this test waits for something, so each takes a place.
        (0..3).for_each(|_| memory.command(command(1), &tls));
        assert_eq!(memory.places.available_permits(), 3);
        (2..6).for_each(|n| memory.command(command(n), &tls));
        assert_eq!(memory.places.available_permits(), 0, "and no more than there are places");
        (0..1000).for_each(|n| memory.command(command(n), &tls));
        assert_eq!(memory.sids.len(), SIDS);
    }
}
