//! Pairing: from a link to credentials (spec/protocol.md, 2 and 3).

use std::future::Ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use couplet_protocol::alike::alike;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::handshake::HandshakeError;
use couplet_protocol::message::{Claim, Control, Grant};
use couplet_protocol::{CheckCode, Endpoint, Offer, StaticSecret};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::attempt::{Attempt, AttemptError, Hint};
use crate::credentials::Credentials;
use crate::error::{OtherKey, PairError};
use crate::greet::{Met, Opened};
use crate::path::{Ways, relay_of};
use crate::relay::{Account, Climbs, Door, RelayAccount, RelayCa, RelayTrust};
use crate::sealed::SealedError;
use crate::store::{CredentialStore, StoreError};
use crate::{random, unblock};

/// How long the owner has to answer: the host's 120 s, and some more for the way.
const OWNER: Duration = Duration::from_secs(135);
/// How long the host may take to say that it is paired, once it knows that this device is.
const PAIRED: Duration = Duration::from_secs(15);
/// A host that asks nobody grants within this; after it, the owner is being asked, and wants the check code.
const UNASKED: Duration = Duration::from_millis(700);

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairRequest {
    /// What its user calls it.
    pub name: String,
    /// Its model.
    pub model: Option<String>,
    /// Its system: `Linux`.
    pub platform: Option<String>,
    /// `mobile`, `desktop`, `browser` or another.
    pub kind: String,
    /// That it is meant: this host is another one than a known host of the same name or address.
    pub another_host: bool,
    /// Whose certificate counts for the relay besides those that the system trusts. It is kept with the pairing.
    pub relay_ca: Option<RelayCa>,
    /// Who its owner is at a relay with accounts. It is not kept.
    pub account: Option<RelayAccount>,
}

/// Pairs with the host that made this link, and keeps the credentials.
///
/// `on_code` is called once the host has proved who it is, and only when its owner is asked: the owner must type the
/// code that this device shows.
///
/// # Errors
/// See [`PairError`]. After [`PairError::Unfinished`] the credentials are kept all the same, and the next session
/// finishes the pairing if the host took it for done.
pub async fn pair(
    link: &str,
    request: PairRequest,
    store: &Arc<dyn CredentialStore>,
    on_code: impl FnOnce(&CheckCode) + Send,
) -> Result<Credentials, PairError> {
    let offer = Offer::from_link(link)?;
    let nobody = None::<fn(Meeting) -> Ready<bool>>;
    pair_at(&offer, &offer.endpoints, request, store, (on_code, nobody)).await
}

/// The host as a device has met it.
#[derive(Clone, Debug)]
pub struct Meeting {
    /// What it calls itself.
    pub host_name: String,
    /// What its owner has typed there, if it is the host that was meant.
    pub check_code: CheckCode,
}

/// Pairs with the host at this address, which gave the link over plain HTTP (spec/protocol.md, 7): whoever was in between can
/// have put another in its place, and nothing in it says whose it is. The check code does: the host that was meant takes it
/// only if it is the one that this device speaks with.
///
/// `on_code` is called at once. `confirm` asks the person at this device whether the host took the code; before a yes
/// nothing is kept.
///
/// # Errors
/// See [`PairError`]. Credentials that are not [`Credentials::is_paired`] are no error: that yes came late, and the next
/// session finishes the pairing.
pub async fn pair_invited<F: Future<Output = bool> + Send>(
    (link, at): (&str, SocketAddr),
    request: PairRequest,
    store: &Arc<dyn CredentialStore>,
    on_code: impl FnOnce(&CheckCode) + Send,
    confirm: impl FnOnce(Meeting) -> F + Send,
) -> Result<Credentials, PairError> {
    let offer = Offer::from_link(link)?;
    pair_at(&offer, &[Endpoint::Lan(at)], request, store, (on_code, Some(confirm))).await
}

async fn pair_at<F: Future<Output = bool> + Send>(
    offer: &Offer,
    endpoints: &[Endpoint],
    request: PairRequest,
    store: &Arc<dyn CredentialStore>,
    (on_code, confirm): (impl FnOnce(&CheckCode) + Send, Option<impl FnOnce(Meeting) -> F + Send>),
) -> Result<Credentials, PairError> {
    let device_key = random::static_secret()?;
    let known = known_hosts(store).await?;
    if let (Some(other), false) = (other_key(&known, offer, None), request.another_host) {
        return Err(PairError::OtherKey(other));
    }
    let claim = Claim { name: request.name, model: request.model, platform: request.platform, kind: request.kind };
    let met =
        meet((offer, endpoints), (request.relay_ca.clone(), request.account.as_ref()), &device_key, &claim).await?;
    if let (Some(other), false) = (other_key(&known, offer, Some(&met.confirmed.host_name)), request.another_host) {
        return Err(PairError::OtherKey(other));
    }
    let meeting = Meeting { host_name: met.confirmed.host_name.clone(), check_code: met.confirmed.check_code.clone() };
    let relay = relay_of(&met.endpoint);
    let agreed = async {
        let mut opened = met.confirm().await.map_err(lost)?;
        let paired =
            agree(&mut opened, (offer, device_key, request.relay_ca), store, meeting, (on_code, confirm)).await;
        let last_word = if paired.is_ok() { CloseCode::Done } else { CloseCode::Leaving };
        opened.stream.close(last_word).await;
        paired
    };
    agreed.await.map_err(|error| error.through(relay))
}

/// Tries the endpoints of the offer one after the other, those on the local network first: two copies of M1 would be
/// two tries.
///
/// What somebody says before there are keys ends nothing: another machine may have the host's address where this
/// device is. But where one says that its secrets can be guessed, nothing is paired: a relay leads to the same host
/// (spec/protocol.md, 7).
async fn meet(
    (offer, endpoints): (&Offer, &[Endpoint]),
    (relay_ca, account): (Option<RelayCa>, Option<&RelayAccount>),
    device_key: &StaticSecret,
    claim: &Claim,
) -> Result<Met, PairError> {
    let trust = RelayTrust::new(relay_ca);
    let keys = offer.keys().map_err(|_| PairError::Handshake { error: HandshakeError::Failed, relay: None })?;
    let account = Account::read(account, endpoints).await;
    let ways = Ways { trust: &trust, door: Some(Door::Offer(Box::new(keys))), account, climbs: Climbs::default() };
    let is_far = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::Relay(_));
    let (afar, here): (Vec<_>, Vec<_>) = endpoints.iter().partition(is_far);
    let mut tried = Vec::new();
    for endpoint in here.into_iter().chain(afar) {
        match Met::to_pair((&ways, endpoint), offer, device_key, claim.clone()).await {
            Ok(met) => return Ok(met),
            Err(AttemptError::WeakRandom) => return Err(PairError::WeakRandom { endpoint: endpoint.clone() }),
            Err(failure) => tried.push(Attempt { endpoint: endpoint.clone(), failure }),
        }
    }
    Err(unmet(offer, tried))
}

/// What to say of several failures: the most telling one first.
fn unmet(offer: &Offer, tried: Vec<Attempt>) -> PairError {
    let ended = SystemTime::UNIX_EPOCH + Duration::from_secs(offer.expires_at.into());
    let expired = SystemTime::now() > ended;
    let find = |wanted: fn(&AttemptError) -> bool| tried.iter().find(|attempt| wanted(&attempt.failure)).cloned();
    if let Some(attempt) = find(|failure| matches!(failure, AttemptError::Refused(_)))
        && let AttemptError::Refused(hint) = attempt.failure
    {
        return PairError::Refused { endpoint: attempt.endpoint, hint, expired };
    }
    if let Some(attempt) = find(|failure| matches!(failure, AttemptError::WrongKey)) {
        return PairError::WrongKey { endpoint: attempt.endpoint, offered: offer.host_key.fingerprint() };
    }
    if let Some(attempt) = find(|failure| matches!(failure, AttemptError::Handshake(_)))
        && let AttemptError::Handshake(error) = attempt.failure
    {
        return PairError::Handshake { error, relay: None }.through(relay_of(&attempt.endpoint));
    }
    let mut relays = tried.iter().rev().filter_map(|attempt| match (&attempt.endpoint, &attempt.failure) {
        (Endpoint::Relay(relay), AttemptError::Relay(failure)) => Some((relay.clone(), (**failure).clone())),
        _ => None,
    });
    match relays.next() {
        Some((relay, failure)) => PairError::Relay { relay, failure, tried, expired },
        None => PairError::Unreachable { tried, expired },
    }
}

/// From the confirmed session to finished credentials.
async fn agree<F: Future<Output = bool> + Send>(
    opened: &mut Opened,
    (offer, device_key, relay_ca): (&Offer, StaticSecret, Option<RelayCa>),
    store: &Arc<dyn CredentialStore>,
    meeting: Meeting,
    (on_code, confirm): (impl FnOnce(&CheckCode) + Send, Option<impl FnOnce(Meeting) -> F + Send>),
) -> Result<Credentials, PairError> {
    let unasked = if confirm.is_some() { Duration::ZERO } else { UNASKED };
    let mut grant = granted(opened, &meeting.check_code, unasked, on_code).await?;
    // By the name that was compared with those of known hosts, not by another one now.
    grant.host_name.clone_from(&meeting.host_name);
    let is_invited = confirm.is_some();
    if let Some(confirm) = confirm
        && !confirmed(opened, confirm(meeting)).await
    {
        return Err(PairError::NotConfirmed);
    }
    let mut credentials = Credentials::granted(offer, device_key, grant, relay_ca);
    keep(store, &credentials).await?;
    match finish(opened, store, &mut credentials).await {
        // The host does not wait as long as people may take; the next session finishes it.
        Err(PairError::Unfinished { .. }) if is_invited => {}
        finished => finished?,
    }
    Ok(credentials)
}

/// What the person says, while the session is kept open for as long as the host does.
async fn confirmed(opened: &mut Opened, answer: impl Future<Output = bool>) -> bool {
    let answer = timeout(OWNER, answer);
    tokio::pin!(answer);
    loop {
        tokio::select! {
            said = &mut answer => return said.unwrap_or(false),
            said = opened.stream.control() => if said.is_err() {
                return answer.await.unwrap_or(false);
            }
        }
    }
}

/// Waits for the owner, and shows the code when it seems that there is something to wait for.
async fn granted(
    opened: &mut Opened,
    code: &CheckCode,
    unasked: Duration,
    on_code: impl FnOnce(&CheckCode) + Send,
) -> Result<Grant, PairError> {
    let (show_at, end) = (Instant::now() + unasked, Instant::now() + OWNER);
    let mut on_code = Some(on_code);
    // Whatever the host says at once, the code is seen before.
    if let Some(on_code) = on_code.take_if(|_| unasked.is_zero()) {
        on_code(code);
    }
    loop {
        let said = tokio::select! {
            () = sleep_until(show_at), if on_code.is_some() => {
                if let Some(on_code) = on_code.take() {
                    on_code(code);
                }
                continue;
            }
            said = timeout_at(end, opened.stream.control()) => said,
        };
        match said {
            Ok(Ok(Control::Grant(grant))) => return Ok(grant),
            Ok(Ok(Control::Rejected { code })) => return Err(rejected(&code)),
            // Addresses may change meanwhile; the grant names them anew.
            Ok(Ok(Control::Endpoints { .. })) => {}
            Ok(Ok(_)) => return Err(PairError::lost(Some(SealedError::Broken))),
            Ok(Err(error)) => return Err(PairError::lost(Some(error))),
            Err(_) => return Err(PairError::NoAnswer { relay: None }),
        }
    }
}

/// Both sides have stored what they need; each tells the other.
async fn finish(
    opened: &mut Opened,
    store: &Arc<dyn CredentialStore>,
    credentials: &mut Credentials,
) -> Result<(), PairError> {
    let paired = async {
        opened.stream.send(&Control::Ack).await?;
        loop {
            match opened.stream.control().await? {
                Control::Endpoints { list, serial } => {
                    credentials.learn_endpoints(list, serial);
                }
                other => return Ok(other),
            }
        }
    };
    let said = timeout(PAIRED, paired).await;
    match said.unwrap_or(Err(SealedError::Silent)) {
        Ok(Control::Paired) => {}
        Ok(Control::Rejected { code }) => {
            // The host's last word: what was kept is of no use.
            let (store, ended) = (store.clone(), credentials.clone());
            // They are never used for anything but finishing, which the host refuses.
            let _ = unblock(move || store.discard(&ended)).await;
            return Err(rejected(&code));
        }
        Ok(_) => return Err(PairError::Unfinished { error: SealedError::Broken, relay: None }),
        Err(error) => return Err(PairError::Unfinished { error, relay: None }),
    }
    credentials.paired_at = Some(SystemTime::now());
    keep(store, credentials).await.map_err(PairError::from)
}

async fn keep(store: &Arc<dyn CredentialStore>, credentials: &Credentials) -> Result<(), StoreError> {
    let (store, credentials) = (store.clone(), credentials.clone());
    unblock(move || store.save(&credentials)).await
}

async fn known_hosts(store: &Arc<dyn CredentialStore>) -> Result<Vec<Credentials>, StoreError> {
    let store = store.clone();
    unblock(move || store.list()).await.map(|listing| listing.hosts)
}

/// The known host of which the offer seems to be, by name or by address, but with another key. Many hosts share a relay.
fn other_key(known: &[Credentials], offer: &Offer, name: Option<&str>) -> Option<OtherKey> {
    let there = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Lan(_)) && offer.endpoints.contains(endpoint);
    let is_of = |credentials: &&Credentials| match name {
        Some(name) => alike(&credentials.host_name, name),
        None => credentials.endpoints.iter().any(there),
    };
    // One that was paired with this very key settles it.
    if known.iter().any(|credentials| credentials.keys.host_key == offer.host_key) {
        return None;
    }
    known.iter().find(is_of).map(|credentials| OtherKey {
        host: credentials.id(),
        host_name: credentials.host_name.clone(),
        pinned: credentials.keys.host_key.fingerprint(),
        offered: offer.host_key.fingerprint(),
    })
}

fn rejected(code: &str) -> PairError {
    match Hint::parse(code).filter(|code| !code.is_of_devices()) {
        Some(code) => PairError::Rejected(code),
        None => PairError::lost(Some(SealedError::Broken)),
    }
}

fn lost(failure: AttemptError) -> PairError {
    match failure {
        AttemptError::Handshake(error) => PairError::Handshake { error, relay: None },
        _ => PairError::lost(None),
    }
}
