//! `POST /pair`: a device asks for a session. `GET /pair/relay/{sid}`: each end takes its end of one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::response::{IntoResponse, Response};
use couplet_protocol::relay::{Addresses, HOST_UPGRADE, Mode, PairAnswer, PairCommand, PairRequest, SID_SECONDS};
use couplet_protocol::secret::SecretText;
use couplet_protocol::{Code, Sid};
use http::HeaderValue;
use http::header::CACHE_CONTROL;

use super::events::CertificateEnd;
use super::upgrade::{self, Wanted};
use crate::account::Identity;
use crate::clock::after;
use crate::live::Connection;
use crate::problem::Failure;
use crate::registry::{Admitted, JoinError};
use crate::room::Credential;
use crate::sessions::{NotOpened, Opening, Side};
use crate::shared::Shared;
use crate::source::Source;

/// `POST /pair`.
pub(crate) async fn ask(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Failure> {
    let wanted: PairRequest = super::body::json(request).await?;
    match session(&shared, wanted, peer).await {
        Ok(answer) => {
            shared.metrics.opened.increment(1);
            let mut response = Json(answer).into_response();
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(response)
        }
        Err(failure) => {
            shared.metrics.refused.increment(1);
            Err(failure)
        }
    }
}

async fn session(shared: &Shared, wanted: PairRequest, peer: SocketAddr) -> Result<PairAnswer, Failure> {
    let admitted = admit(shared, wanted, peer).await?;
    let answer = open(shared, &admitted, peer)?;
    // A room that was removed meanwhile had no session to cut.
    let admits = shared.registry.still_admits(&admitted).await;
    if !matches!(admits, Ok(true)) {
        shared.live.table().end(answer.sid);
        admits?;
        return Err(refused(match admitted.mode {
            Mode::Pair => JoinError::TokenUsed,
            Mode::Reconnect => JoinError::Invalid,
        }));
    }
    Ok(answer)
}

async fn admit(shared: &Shared, wanted: PairRequest, peer: SocketAddr) -> Result<Admitted, Failure> {
    let credential = match (wanted.pairing_token_hash, wanted.secret_hash) {
        (Some(token), None) => Credential::Token(token),
        (None, Some(secret)) => Credential::Secret(secret),
        _ => {
            let next = "Send one of pairing_token_hash and secret_hash: see spec/protocol.md, 6.";
            return Err(Failure::new(Code::MalformedBody, next));
        }
    };
    let room = wanted.room_id;
    // Strangers may fail as often as they like: what it leads to, the registry writes down.
    let refused_because = |error: JoinError| {
        tracing::debug!(target: "couplet::relay", %room, %error, "join.refused");
        refused(error)
    };
    let judged = shared.registry.judge(room, &credential, peer.ip()).await.map_err(refused_because)?;
    let account = identity(shared, wanted.account.as_ref()).await?;
    judged.admit(account.as_ref()).map_err(refused_because)
}

/// Who the token says that its bearer is. Without accounts nobody asks.
pub(super) async fn identity(shared: &Shared, token: Option<&SecretText>) -> Result<Option<Identity>, Failure> {
    match (&shared.accounts, token) {
        (Some(accounts), Some(token)) => Ok(Some(accounts.verify(token.expose()).await?)),
        _ => Ok(None),
    }
}

fn refused(error: JoinError) -> Failure {
    match error {
        JoinError::Invalid => Failure::new(
            Code::RoomRefused,
            "To pair, ask for a new code; to come back, try again in a moment. Three wrong ones lock the room.",
        ),
        JoinError::TokenUsed => Failure::new(Code::OfferOver, "Ask for a new code: `couplet pair` on the host."),
        JoinError::Locked { retry_after } => {
            let next = "Try the device's next room. To pair, ask for a new code: `couplet pair` on the host.";
            Failure::new(Code::RoomLocked, next).retry_after(retry_after)
        }
        JoinError::TooMany { retry_after } => {
            Failure::new(Code::TooManyFailures, "Wait as long as Retry-After says.").retry_after(retry_after)
        }
        JoinError::AccountMismatch { host_email, device_email } => {
            let shown = |email: &Option<String>| email.clone().unwrap_or_else(|| "no address".to_owned());
            let (host, device) = (shown(&host_email), shown(&device_email));
            let next =
                format!("The host is signed in as {host}, this device as {device}. Sign in with the host's account.");
            Failure::new(Code::AccountMismatch, next).of_accounts(Addresses { host_email, device_email })
        }
        JoinError::Fault(fault) => fault.into(),
    }
}

fn open(shared: &Shared, admitted: &Admitted, peer: SocketAddr) -> Result<PairAnswer, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(Failure::internal)?;
    let sid = Sid::new(random);
    let expires_at = after(shared.clock.now(), Duration::from_secs(SID_SECONDS)).to_string();
    let command = PairCommand {
        sid,
        room_id: admitted.room,
        mode: admitted.mode,
        relay_url: shared.hosts_url(),
        remote_ip: peer.ip().to_canonical().to_string(),
        expires_at: expires_at.clone(),
    };
    let source = shared.sources.of(Source::of(peer.ip()));
    shared
        .live
        .open(Opening { host: admitted.host, by: admitted.by, command, source })
        .map_err(|why| not_opened(why, admitted.mode))?;
    tracing::info!(target: "couplet::relay", %sid, room = %admitted.room, host = %admitted.host, "session.opened");
    Ok(PairAnswer { sid, relay_url: shared.devices_url(), expires_at })
}

fn not_opened(why: NotOpened, mode: Mode) -> Failure {
    let second = Duration::from_secs(1);
    match (why, mode) {
        (NotOpened::Offline, _) => {
            Failure::new(Code::HostOffline, "Is the host running, and on the Internet? Try again.").retry_after(second)
        }
        (NotOpened::Busy, Mode::Pair) => {
            let next =
                "Another device is pairing with this code, or all places are taken. Try again, or ask for a new code.";
            Failure::new(Code::RelayBusy, next).retry_after(second)
        }
        (NotOpened::Busy, Mode::Reconnect) => {
            Failure::new(Code::RelayBusy, "End a session of another device, or try again.").retry_after(second)
        }
        (NotOpened::TooOften(wait), _) => {
            Failure::new(Code::AskedTooOften, "Wait as long as Retry-After says.").retry_after(wait)
        }
        (NotOpened::Draining, _) => draining(),
    }
}

pub(super) fn draining() -> Failure {
    Failure::new(Code::RelayDraining, "Try again in a few seconds.").retry_after(Duration::from_secs(5))
}

/// `GET /pair/relay/{sid}` of a device.
pub(crate) async fn device_end(
    State(shared): State<Arc<Shared>>,
    sid: Result<Path<String>, PathRejection>,
    mut request: Request,
) -> Result<Response, Failure> {
    let wanted = upgrade::websocket(&mut request)?;
    end(&shared, &super::part(sid), Side::Device, wanted)
}

/// `GET /pair/relay/{sid}` of a host.
pub(crate) async fn host_end(
    State(shared): State<Arc<Shared>>,
    axum::Extension(connection): axum::Extension<Arc<Connection>>,
    axum::Extension(certificate): axum::Extension<CertificateEnd>,
    sid: Result<Path<String>, PathRejection>,
    mut request: Request,
) -> Result<Response, Failure> {
    let wanted = upgrade::to(&mut request, HOST_UPGRADE)?;
    let sid = super::part(sid);
    let answer = end(&shared, &sid, Side::Host(connection.host), wanted)?;
    if let Ok(sid) = Sid::parse(&sid) {
        shared.live.end_after(sid, certificate.left());
    }
    Ok(answer)
}

fn end(shared: &Arc<Shared>, sid: &str, side: Side, wanted: Wanted) -> Result<Response, Failure> {
    let taken = Sid::parse(sid).ok().and_then(|sid| shared.live.take_end(sid, side));
    let taken = taken.ok_or_else(|| Failure::new(Code::NoSuchSession, "Ask for a new one: POST /pair."))?;
    wanted.known();
    let (answer, end) = wanted.accept();
    let relay = Arc::clone(shared);
    shared.spawn(async move {
        if let Some(end) = end.await {
            taken.bring(end, &relay.metrics).await;
        }
    });
    Ok(answer)
}
