//! Who a request comes from.
//!
//! A device token is kept as bcrypt, which is salted and slow. So the row is found by the token's selector, bcrypt
//! runs once for each token and process, off the async threads, one at a time, and never for unknown selectors;
//! afterwards a keyed digest of the token finds the device's session in memory. Everything that changes what a
//! device may do raises the generation and removes its session, after the commit and before the answer.

mod headers;
mod nonces;
mod sealed;
mod signed;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aws_lc_rs::hmac;
use couplet_protocol::api::{EventKind, NetworkPath};
use couplet_protocol::frame::CloseCode;
use couplet_protocol::{Code, Digest};
use http::HeaderMap;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::clock::{Clock, Timestamp};
use crate::events::{Events, News};
use crate::hasher::Hasher;
use crate::problem::Failure;
use crate::session::Session;
use crate::store::devices::DeviceRow;
use crate::store::{Store, devices, offers};

pub use headers::{COUPLET_TOKEN, CredentialHeader};
pub(crate) use headers::{bearer, is_owner, single};
use headers::{presented, unknown};
use nonces::Nonces;
use signed::Challenge;
pub(crate) use signed::{Asked, SIGNATURE_HEADERS, Signed, authority, invalid, is_signed};

/// Authenticates devices. Clones share the same memory.
#[derive(Clone, Debug)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    store: Store,
    events: Events,
    clock: Clock,
    key: hmac::Key,
    bcrypt: Arc<Semaphore>,
    /// How often what some device may do has changed. Raised while `memory` is locked.
    generation: AtomicU64,
    memory: RwLock<Memory>,
    /// Of requests that were signed.
    nonces: Nonces,
    challenge: Challenge,
    /// How many bodies of signed requests are in memory.
    bodies: Arc<Semaphore>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authenticator")
    }
}

/// Sessions of the devices that have called since the start: at most two entries a device, so `max_devices` bounds
/// them.
#[derive(Default)]
struct Memory {
    sessions: HashMap<Key, Arc<Session>>,
}

/// What a session is found by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// The keyed digest of the device's token.
    Token([u8; 32]),
    /// The device, which a sealed session has proven.
    Sealed(Uuid),
    /// The watch, which each of its requests proves.
    Signed(Uuid),
}

/// The credential that a connection used last, and whose it is: a request that repeats it needs no digest.
#[derive(Default)]
pub(crate) struct Recent(Option<Used>);

struct Used {
    /// The whole value of the header.
    value: Zeroizing<Vec<u8>>,
    header: CredentialHeader,
    generation: u64,
    session: Arc<Session>,
}

impl Used {
    fn is_repeated_in(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(self.header.name()).iter();
        let same = values.next().is_some_and(|value| value.as_bytes().ct_eq(&self.value).into());
        let outranked = self.header == CredentialHeader::Authorization && headers.contains_key(COUPLET_TOKEN);
        same && values.next().is_none() && !outranked
    }
}

impl Authenticator {
    pub(crate) fn new(store: Store, events: Events, clock: Clock) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &crate::random::bytes::<32>());
        let challenge = Challenge::new(clock.now());
        Authenticator(Arc::new(Inner {
            store,
            events,
            clock,
            key,
            bcrypt: Arc::new(Semaphore::new(1)),
            generation: AtomicU64::new(0),
            memory: RwLock::default(),
            nonces: Nonces::default(),
            challenge,
            bodies: Arc::new(Semaphore::new(signed::BODIES_MAX)),
        }))
    }

    /// Knows these tokens, over an empty store.
    #[cfg(test)]
    pub(crate) fn fixed(sessions: impl IntoIterator<Item = (String, Arc<Session>)>) -> Self {
        let store = Store::in_memory();
        let auth = Authenticator::new(store, Events::new(Timestamp::from_millis(0)), Clock::start());
        let known = sessions.into_iter().map(|(token, session)| (Key::Token(auth.digest(&token)), session));
        auth.0.memory.write().unwrap().sessions = known.collect();
        auth
    }

    /// The host's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The session of a device that this process has checked before. Never waits.
    #[must_use]
    pub fn cached(&self, headers: &HeaderMap) -> Option<(Arc<Session>, CredentialHeader)> {
        let (token, header) = presented(headers).ok()?;
        Some((self.lookup(token, self.now())?, header))
    }

    /// As [`Self::cached`], for a connection that may have sent the same credential just before.
    pub(crate) fn cached_again(
        &self,
        recent: &mut Recent,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Option<(Arc<Session>, CredentialHeader)> {
        let generation = self.generation();
        if let Some(last) = &recent.0
            && last.generation == generation
            && last.is_repeated_in(headers)
        {
            last.session.seen(now);
            return Some((last.session.clone(), last.header));
        }
        let (token, header) = presented(headers).ok()?;
        let session = self.lookup(token, now)?;
        let value = Zeroizing::new(headers.get(header.name())?.as_bytes().to_vec());
        recent.0 = Some(Used { value, header, generation, session: session.clone() });
        Some((session, header))
    }

    /// The device that the request's credential belongs to. Whether it may do what it asks is
    /// [`Session::permits`].
    ///
    /// # Errors
    /// 401 without a valid credential, 400 when a credential header stands twice, 503 when the store fails.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<(Arc<Session>, CredentialHeader), Failure> {
        let (token, header) = presented(headers)?;
        Ok((self.check(token).await?, header))
    }

    fn generation(&self) -> u64 {
        self.0.generation.load(Ordering::Acquire)
    }

    fn lookup(&self, token: &str, now: Timestamp) -> Option<Arc<Session>> {
        let key = Key::Token(self.digest(token));
        let session = self.read().sessions.get(&key).cloned()?;
        session.seen(now);
        Some(session)
    }

    async fn check(&self, token: &str) -> Result<Arc<Session>, Failure> {
        let selector = Digest::of(token).selector();
        loop {
            if let Some(session) = self.lookup(token, self.now()) {
                return Ok(session);
            }
            let generation = self.generation();
            let wanted = selector.clone();
            let found = self.0.store.read(move |tx| devices::by_selector(tx, &wanted)).await?;
            let row = found.ok_or_else(unknown)?;
            if self.is_over(&row) {
                return Err(Failure::of_device(Code::DeviceExpired));
            }
            // A task of its own: who hangs up does not waste the work, and cannot have it done again and again.
            let (auth, token) = (self.clone(), Zeroizing::new(token.to_owned()));
            let checked = tokio::spawn(async move { auth.first_check(&token, generation, row).await });
            if let Some(session) = checked.await.map_err(Failure::internal)?? {
                return Ok(session);
            }
            // Something about the devices changed while bcrypt ran: look again.
        }
    }

    /// Checks a token that is not in memory. None: what was read of the device may no longer hold.
    async fn first_check(&self, token: &str, generation: u64, row: DeviceRow) -> Result<Option<Arc<Session>>, Failure> {
        let hasher = self.hasher().await?;
        if let Some(session) = self.lookup(token, self.now()) {
            return Ok(Some(session));
        }
        if !hasher.verify(token, row.token_hash.clone()).await? {
            return Err(unknown());
        }
        if row.unused_until.is_some() {
            self.first_use(&row).await?;
        }
        Ok(self.remember(Key::Token(self.digest(token)), generation, row, NetworkPath::Lan))
    }

    /// A credential that was handed out without proof of its arrival is used for the first time: its device is paired
    /// from now on. The device's word that it has stored it counts as use.
    pub(crate) async fn first_use(&self, row: &DeviceRow) -> Result<(), Failure> {
        let (now, id, pairing) = (self.now(), row.device.device_id, row.pairing_id);
        let of_device = News::of_device(EventKind::DevicePaired, now, &row.device).by_pairing(pairing);
        let events = self.0.events.clone();
        let delivered = self.0.store.write(
            move |tx| {
                if !devices::first_use(tx, id, now)? {
                    return Ok(None);
                }
                Ok(Some(match pairing.map(|p| offers::by_id(tx, p)).transpose()?.flatten() {
                    Some(pairing) => crate::pairing::deliver(tx, pairing, now)?,
                    None => of_device,
                }))
            },
            move |news| {
                if let Some(news) = news {
                    events.tell(news.clone());
                }
            },
        );
        if delivered.await?.is_some() {
            return Ok(());
        }
        // Another request of the same device may have been first.
        match self.0.store.read(move |tx| devices::by_id(tx, id)).await? {
            Some(row) if row.unused_until.is_none() && row.revoked_at.is_none() => Ok(()),
            _ => Err(unknown()),
        }
    }

    fn remember(&self, key: Key, generation: u64, row: DeviceRow, path: NetworkPath) -> Option<Arc<Session>> {
        let mut memory = self.0.memory.write().unwrap_or_else(PoisonError::into_inner);
        if self.generation() != generation {
            return None;
        }
        let session = Session::new(row.device, row.scope, row.expires_at).with_signing_key(row.signing_key);
        let session = Arc::new(session);
        session.came_by(path);
        session.seen(self.now());
        memory.sessions.insert(key, Arc::clone(&session));
        Some(session)
    }

    /// The device is revoked, restricted or given another end: its session is gone and all that it has open ends, for
    /// this reason.
    pub(crate) fn forget(&self, id: Uuid, why: CloseCode) {
        let mut memory = self.0.memory.write().unwrap_or_else(PoisonError::into_inner);
        self.0.generation.fetch_add(1, Ordering::Release);
        memory.sessions.retain(|_, session| {
            let stays = session.device.device_id != id;
            if !stays {
                session.end_for(why);
            }
            stays
        });
    }

    /// The device has another name: what it has open goes on.
    pub(crate) fn rename(&self, row: &DeviceRow) {
        let mut memory = self.0.memory.write().unwrap_or_else(PoisonError::into_inner);
        self.0.generation.fetch_add(1, Ordering::Release);
        for session in memory.sessions.values_mut() {
            if session.device.device_id == row.device.device_id {
                *session = Arc::new(session.renamed(row.device.clone()));
            }
        }
    }

    /// Ends the sessions whose time is over.
    pub(crate) fn end_expired(&self) {
        let now = self.now();
        let over = |session: &&Arc<Session>| session.expires_at.is_some_and(|end| now >= end);
        let ids: Vec<Uuid> = self.read().sessions.values().filter(over).map(|s| s.device.device_id).collect();
        ids.into_iter().for_each(|id| self.forget(id, CloseCode::Expired));
    }

    /// When devices were seen since the last call, and which way they came.
    pub(crate) fn take_seen(&self) -> Vec<(Uuid, Timestamp, NetworkPath)> {
        let seen = |session: &Arc<Session>| Some((session.device.device_id, session.take_seen()?, session.path()));
        self.read().sessions.values().filter_map(seen).collect()
    }

    /// Waits for the one bcrypt permit.
    pub(crate) async fn hasher(&self) -> Result<Hasher, Failure> {
        Hasher::wait(&self.0.bcrypt).await
    }

    fn digest(&self, token: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.0.key, token.as_bytes());
        let mut digest = [0; 32];
        digest.copy_from_slice(tag.as_ref());
        digest
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Memory> {
        self.0.memory.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use couplet_protocol::DeviceName;
    use couplet_protocol::api::DeviceKind;
    use futures_util::FutureExt;
    use http::{HeaderValue, header};
    use tokio::time::timeout;

    use super::*;
    use crate::session::Device;
    use crate::store::devices::NewDevice;
    use crate::store::tests::temporary;

    fn token(letter: char) -> String {
        format!("dev_{}", letter.to_string().repeat(32))
    }

    fn authorization(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())])
    }

    async fn paired(auth: &Authenticator, token: &str) -> Uuid {
        let id = Uuid::from_bytes(crate::random::bytes());
        let device = Device { device_id: id, device_name: DeviceName::parse("d").unwrap(), device_model: None };
        let new = NewDevice {
            device,
            kind: DeviceKind::Bearer,
            token_hash: auth.hasher().await.unwrap().hash(token).await.unwrap(),
            token_selector: Some(Digest::of(token).selector()),
            unused_until: None,
            pairing_id: None,
            platform: None,
            sealed: None,
            signing_key: None,
        };
        let now = auth.now();
        auth.0.store.write(move |tx| devices::insert(tx, &new, now), |()| {}).await.unwrap();
        id
    }

    fn id((session, _): (Arc<Session>, CredentialHeader)) -> Uuid {
        session.device.device_id
    }

    #[tokio::test]
    async fn a_first_check_holds_up_nobody_else() {
        let (_dir, store) = temporary();
        let auth = Authenticator::new(store, Events::new(Timestamp::from_millis(0)), Clock::start());
        let (known, new) = (authorization(&token('a')), authorization(&token('b')));
        let known_id = paired(&auth, &token('a')).await;
        let new_id = paired(&auth, &token('b')).await;
        assert!(auth.cached(&known).is_none());
        auth.authenticate(&known).await.unwrap();

        let first = tokio::spawn({
            let auth = auth.clone();
            async move { auth.authenticate(&new).await.map(id) }
        });
        while auth.0.bcrypt.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        // One thread, and bcrypt runs: whoever is known is answered without a pause, the unknown in the meantime.
        assert_eq!(auth.cached(&known).map(id), Some(known_id));
        assert_eq!(auth.authenticate(&known).now_or_never().unwrap().map(id).ok(), Some(known_id));
        assert!(!first.is_finished());
        assert_eq!(first.await.unwrap().ok(), Some(new_id));
    }

    #[tokio::test]
    async fn unknown_tokens_never_wait_for_bcrypt() {
        let (_dir, store) = temporary();
        let auth = Authenticator::new(store, Events::new(Timestamp::from_millis(0)), Clock::start());
        paired(&auth, &token('a')).await;
        let held = auth.hasher().await.unwrap();
        for letter in ['x', 'y', 'z'] {
            let headers = authorization(&token(letter));
            let answer = timeout(Duration::from_secs(20), auth.authenticate(&headers)).await.expect("no permit wanted");
            assert_eq!(answer.unwrap_err().code(), Code::DeviceUnknown);
        }
        drop(held);
    }

    #[tokio::test]
    async fn a_connection_that_repeats_its_credential_is_known_until_something_changes() {
        let (_dir, store) = temporary();
        let auth = Authenticator::new(store, Events::new(Timestamp::from_millis(0)), Clock::start());
        let (mut recent, headers) = (Recent::default(), authorization(&token('a')));
        let device = paired(&auth, &token('a')).await;
        let mut known = |headers: &HeaderMap| {
            auth.cached_again(&mut recent, headers, auth.now()).map(|(s, h)| (s.device.device_id, h))
        };
        assert_eq!(known(&headers), None);
        auth.authenticate(&headers).await.unwrap();
        for _ in 0..3 {
            assert_eq!(known(&headers), Some((device, CredentialHeader::Authorization)));
        }

        let mut twice = headers.clone();
        twice.append(header::AUTHORIZATION, headers[header::AUTHORIZATION].clone());
        let mut outranked = headers.clone();
        outranked.insert(COUPLET_TOKEN, HeaderValue::from_str(&token('b')).unwrap());
        let own = HeaderMap::from_iter([(COUPLET_TOKEN, HeaderValue::from_str(&token('a')).unwrap())]);
        for other in [authorization(&token('b')), HeaderMap::new(), twice, outranked] {
            assert_eq!(known(&other), None, "{other:?}");
            assert!(known(&headers).is_some());
        }
        for _ in 0..2 {
            assert_eq!(known(&own), Some((device, CredentialHeader::CoupletToken)));
        }

        let row = auth.0.store.read(move |tx| devices::by_id(tx, device)).await.unwrap().unwrap();
        let renamed = Device { device_name: DeviceName::parse("other").unwrap(), ..row.device.clone() };
        auth.rename(&DeviceRow { device: renamed, ..row });
        let (session, _) = auth.cached_again(&mut recent, &headers, auth.now()).unwrap();
        assert_eq!(session.device.device_name.as_str(), "other");
        auth.forget(device, CloseCode::Revoked);
        assert!(auth.cached_again(&mut recent, &headers, auth.now()).is_none());
    }
}
