//! From an open socket to a device that has proven who it is: M1, M2, confirm (spec/protocol.md, 3).

use bytes::BytesMut;
use couplet_client::sealed::{SealedError, SealedStream, Side, receive};
use couplet_protocol::handshake::{HandshakeError, Hello, Mode, Proof, Responder, Unconfirmed};
use couplet_protocol::message::{Claim, RoomNumbers};
use couplet_protocol::offer::SUITE_1;
use couplet_protocol::secret::Entropy;
use couplet_protocol::{CheckCode, Code, PublicKey, Session};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use uuid::Uuid;

use super::attempts::Attempt;
use super::room::Place;
use super::{Origin, PARTING, Refusal, STEP, pairing, sessions};
use crate::pairing::{Core, OpenOffer, TRIES};

/// The WebSocket close code of a refusal before there are keys; its reason is a code of ours.
const REFUSED: u16 = 4000;

/// What a device has proven to be.
enum Proven {
    /// It knows the link of this offer.
    Claims(Box<Claims>),
    /// It is this device.
    Is(Uuid, Box<Session>, Option<RoomNumbers>),
}

/// A device that claims an offer.
pub(super) struct Claims {
    pub(super) offer: OpenOffer,
    pub(super) claim: Claim,
    pub(super) key: PublicKey,
    pub(super) session: Session,
    pub(super) code: CheckCode,
    /// Open until it is known whether the claim holds.
    pub(super) attempt: Attempt,
}

/// Runs one connection, from M1 to the end of its session.
pub(crate) async fn run<S>(core: Core, mut socket: WebSocketStream<S>, origin: Origin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stopping = core.stopping().clone();
    // Each phase has memory of its own, and gives it back: most sessions are idle for most of their time.
    let opened = stopping.run_until_cancelled(Box::pin(shake_hands(&core, &mut socket, &origin))).await;
    match opened {
        Some(Ok(Proven::Is(device, session, rooms))) => {
            if let Some(rooms) = rooms {
                core.came_by(device, rooms).await;
            }
            let (stream, link, _) = SealedStream::new(socket, *session, Side::Host);
            Box::pin(sessions::serve(core, stream, link, origin, device)).await;
        }
        Some(Ok(Proven::Claims(claims))) => {
            Box::pin(pairing::run(core, socket, origin, *claims)).await;
        }
        Some(Err(Refusal::Because(code))) => {
            tracing::debug!(target: "couplet::session", source = %origin.source, %code, "refused");
            refuse(socket, code).await;
        }
        Some(Err(Refusal::Gone)) | None => {}
    }
}

/// Says why in the clear, and lets the peer read it: closing with something unread would throw it away. Where there are
/// too many, none is waited for.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>, code: Code) {
    let frame = CloseFrame { code: REFUSED.into(), reason: code.to_string().into() };
    let parting = async {
        if socket.close(Some(frame)).await.is_ok() && code != Code::TooManyConnections {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _ = timeout(PARTING, parting).await;
}

async fn shake_hands<S>(core: &Core, socket: &mut WebSocketStream<S>, origin: &Origin) -> Result<Proven, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let place = core.tunnels().doorway(origin).waiting.enter();
    let m1 = place.hold(receive(socket, STEP)).await.ok_or(Refusal::Because(Code::TooManyConnections))??;
    drop(place);
    let hello = Hello::parse(&m1)?;
    match hello.mode() {
        Mode::Pair => claim(core, socket, origin, &hello).await,
        Mode::Reconnect => come_back(core, socket, origin, &hello).await,
    }
}

async fn claim<S>(
    core: &Core,
    socket: &mut WebSocketStream<S>,
    origin: &Origin,
    hello: &Hello<'_>,
) -> Result<Proven, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    core.admit_claim(origin.source, origin.path())?;
    let offer = core.open_offer(hello.id()).await?;
    let responder = Responder::pair(hello, core.host_key(), &offer.psk, offer.suites, fresh())?;
    check_new(core, hello)?;
    // With the answer the device knows a check code. So this attempt is counted in before it is known how many there
    // are, and one that ends goes from the open ones to those that came to nothing in one step.
    let attempts = &core.tunnels().attempts;
    let (attempt, counted, id) = (attempts.begin(offer.offer_id), attempts.clone(), offer.offer_id);
    let (offer, open) = core.open_offer_and(id, move || counted.open_at(id)).await?;
    if open.saturating_add(u32::from(offer.tried)) > u32::from(TRIES) {
        return Err(Refusal::Because(Code::OfferBusy));
    }
    let claim = responder.claim().cloned().ok_or(Refusal::Because(Code::HandshakeFailed))?;
    let key = responder.device_key();
    match confirmed(core, socket, responder, &core.tunnels().doorway(origin).claiming.enter()).await {
        Ok(Proof { session, check_code: Some(code), .. }) => {
            Ok(Proven::Claims(Box::new(Claims { offer, claim, key, session, code, attempt })))
        }
        Ok(_) => Err(Refusal::Because(Code::HandshakeFailed)),
        Err(refusal) => {
            count(core, &offer, attempt).await;
            Err(refusal)
        }
    }
}

/// A device that knew a check code went away, or came to nothing with it.
pub(super) async fn count(core: &Core, offer: &OpenOffer, attempt: Attempt) {
    let (attempts, id) = (core.tunnels().attempts.clone(), offer.offer_id);
    // What cannot be written down stays open instead, until the process ends; there are at most three for each offer.
    attempt.stay_open();
    if let Err(failure) = core.count_try(offer.pairing_id, move || attempts.end(id)).await {
        tracing::warn!(target: "couplet::session", %failure, "a try at an offer could not be written down");
    }
}

async fn come_back<S>(
    core: &Core,
    socket: &mut WebSocketStream<S>,
    origin: &Origin,
    hello: &Hello<'_>,
) -> Result<Proven, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let known = core.auth().sealed_device(hello.id()).await?;
    let device = known.ok_or(Refusal::Because(Code::DeviceUnknown))?;
    let responder = Responder::reconnect(hello, core.host_key(), &device.psk, SUITE_1, &device.key, fresh())?;
    check_new(core, hello)?;
    let place = core.tunnels().doorway(origin).returning.enter_as(hello.id());
    let proof = confirmed(core, socket, responder, &place).await?;
    Ok(Proven::Is(device.id, Box::new(proof.session), proof.rooms))
}

fn check_new(core: &Core, hello: &Hello<'_>) -> Result<(), Refusal> {
    match core.tunnels().replays.is_new(hello.id(), hello.ephemeral()) {
        true => Ok(()),
        false => Err(Refusal::Because(Code::HandshakeFailed)),
    }
}

/// Answers with M2 and waits for the device's first frame.
async fn confirmed<S>(
    core: &Core,
    socket: &mut WebSocketStream<S>,
    responder: Responder,
    place: &Place,
) -> Result<Proof, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (unconfirmed, m2): (Unconfirmed, _) = responder.answer(&core.config().server_name, &fresh())?;
    let exchange = async {
        let answer = timeout(STEP, socket.send(Message::binary(m2))).await;
        if !matches!(answer, Ok(Ok(()))) {
            return Err(SealedError::Truncated);
        }
        receive(socket, STEP).await
    };
    let frame = place.hold(exchange).await.ok_or(Refusal::Because(Code::TooManyConnections))??;
    let mut frame = BytesMut::from(frame);
    Ok(unconfirmed.confirm(&mut frame)?)
}

fn fresh() -> Entropy {
    Entropy::new(crate::random::bytes())
}

impl From<HandshakeError> for Refusal {
    fn from(error: HandshakeError) -> Self {
        Refusal::Because(match error {
            HandshakeError::Version(_) | HandshakeError::Suite => Code::VersionsDiffer,
            HandshakeError::Malformed | HandshakeError::Failed | HandshakeError::Commitment => Code::HandshakeFailed,
        })
    }
}

impl From<SealedError> for Refusal {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Truncated => Refusal::Gone,
            _ => Refusal::Because(Code::HandshakeFailed),
        }
    }
}
