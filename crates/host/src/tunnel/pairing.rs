//! The pairing conversation in a session: approval, `grant`, `ack`, `paired` (spec/protocol.md, 3). The device has
//! its credential when it has stored the grant; whichever end dies in between, both come to the same view later.

use std::time::Duration;

use couplet_client::sealed::{SealedError, SealedStream, Side};
use couplet_protocol::api::DeviceKind;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::message::{Claim, Control};
use couplet_protocol::{Code, DeviceModel, DeviceName, DevicePlatform};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;

use super::accept::{self, Claims};
use super::{Origin, PARTING, sessions};
use crate::failpoint;
use crate::pairing::{Claimant, Claimed, Core, Granted, Identity, Ticket, Verdict};
use crate::problem::Failure;

/// How long a device may take to take the grant, and to store it.
const STORE: Duration = Duration::from_secs(30);

/// How the conversation ends when no device is paired.
enum End {
    /// The device is told the code.
    Rejected(Code),
    /// The session is closed, if it is not over already.
    Left(CloseCode),
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        if failure.code().status() >= 500 {
            tracing::error!(target: "couplet::session", %failure, "a device could not be paired");
        }
        End::Rejected(failure.code())
    }
}

impl From<SealedError> for End {
    fn from(_: SealedError) -> Self {
        End::Left(CloseCode::Rejected)
    }
}

/// Runs the conversation, and then the session of the device that was paired.
pub(super) async fn run<S>(core: Core, socket: WebSocketStream<S>, origin: Origin, claims: Claims)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Claims { offer, claim, key, session, code, attempt } = claims;
    let (mut stream, link, _) = SealedStream::new(socket, session, Side::Host);
    let paired = async {
        let claimant = claimant(&claim, &origin)?;
        let identity = Identity { kind: kind(&claim.kind), key };
        // A device that is gone by now is granted nothing: the offer stays open for it.
        let expected = tokio::select! {
            biased;
            _ = stream.control() => {
                accept::count(&core, &offer, attempt).await;
                return Err(End::Left(CloseCode::Rejected));
            }
            expected = core.expect(&offer, origin.path()) => expected,
        };
        let claimed = core.claim_sealed(&offer, claimant, identity, expected, code).await;
        // Who comes while another is being asked about has seen a code like anybody who went away.
        match &claimed {
            Err(failure) if failure.code() == Code::OfferBusy => accept::count(&core, &offer, attempt).await,
            _ => drop(attempt),
        }
        let granted = match claimed? {
            Claimed::Granted(granted) => granted,
            Claimed::Waits(ticket, verdict) => await_owner(&core, &mut stream, ticket, verdict).await?,
        };
        let device = granted.device_id;
        hand_over(&core, &mut stream, *granted).await?;
        Ok(device)
    };
    match paired.await {
        Ok(device) => Box::pin(sessions::serve(core, stream, link, origin, device)).await,
        Err(End::Rejected(code)) => {
            tracing::debug!(target: "couplet::session", source = %origin.source, %code, "rejected");
            let rejected = Control::Rejected { code: code.to_string() };
            let told = timeout(PARTING, stream.send(&rejected)).await;
            tracing::trace!(target: "couplet::session", told = told.is_ok_and(|sent| sent.is_ok()), "said so");
            stream.close(CloseCode::Rejected).await;
        }
        Err(End::Left(code)) => stream.close(code).await,
    }
}

/// Waits for the owner's word; the device has nothing to say meanwhile.
async fn await_owner<S>(
    core: &Core,
    stream: &mut SealedStream<S>,
    ticket: Ticket,
    mut verdict: oneshot::Receiver<Verdict>,
) -> Result<Box<Granted>, End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let left = tokio::select! {
        verdict = &mut verdict => return decided(verdict),
        _ = stream.control() => CloseCode::Rejected,
        () = core.stopping().cancelled() => CloseCode::Leaving,
    };
    drop(verdict);
    // A grant that was committed just now stays: the device is gone, and it ends unused.
    if let Err(failure) = core.release(ticket).await {
        tracing::warn!(target: "couplet::session", %failure, "an offer is freed later");
    }
    Err(End::Left(left))
}

fn decided(verdict: Result<Verdict, oneshot::error::RecvError>) -> Result<Box<Granted>, End> {
    match verdict {
        Ok(Verdict::Granted(granted)) => Ok(granted),
        Ok(Verdict::Refused(code)) => Err(End::Rejected(code)),
        Err(_) => Err(End::Rejected(Code::Internal)),
    }
}

/// Sends the grant, and makes the device paired once it says that it has stored it.
async fn hand_over<S>(core: &Core, stream: &mut SealedStream<S>, granted: Granted) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    failpoint::reach("sealed.grant_committed");
    let grant = Control::Grant(granted.message);
    let exchange = async {
        stream.send(&grant).await?;
        failpoint::reach("sealed.grant_sent");
        stream.control().await
    };
    let too_late = |_| End::Left(CloseCode::Rejected);
    let answer = tokio::select! {
        answer = timeout(STORE, exchange) => answer.map_err(too_late)??,
        () = core.stopping().cancelled() => return Err(End::Left(CloseCode::Leaving)),
    };
    if answer != Control::Ack {
        return Err(End::Left(CloseCode::Rejected));
    }
    failpoint::reach("sealed.ack_received");
    core.auth().acknowledged(granted.device_id).await?;
    failpoint::reach("sealed.delivered");
    // The offer's room has stayed while the device was told.
    drop(granted.handing_over);
    core.relay().settle().await;
    Ok(timeout(STORE, stream.send(&Control::Paired)).await.map_err(too_late)??)
}

fn claimant(claim: &Claim, origin: &Origin) -> Result<Claimant, End> {
    let invalid = |_| End::Rejected(Code::DeviceNameInvalid);
    Ok(Claimant {
        name: DeviceName::parse(&claim.name).map_err(invalid)?,
        model: claim.model.as_deref().map(DeviceModel::parse).transpose().map_err(invalid)?,
        platform: claim.platform.as_deref().map(DevicePlatform::parse).transpose().map_err(invalid)?,
        source: origin.source,
        relay: origin.relay().cloned(),
    })
}

fn kind(text: &str) -> DeviceKind {
    match text {
        "mobile" => DeviceKind::Mobile,
        "desktop" => DeviceKind::Desktop,
        "browser" => DeviceKind::Browser,
        _ => DeviceKind::Other,
    }
}
