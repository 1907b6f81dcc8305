//! `couplet pair`: makes an offer, shows it, and waits until a device is paired.

mod ceremony;
mod frame;
mod pins;
mod screen;
mod stream;

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use couplet_protocol::api::{ApproveRequest, Event, GenerateAnswer, GenerateRequest, PinRequestList};
use couplet_protocol::offer::{LinkForm, OfferError};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;
use uuid::Uuid;

use self::ceremony::{Ceremony, Outcome, Step};
use self::pins::Pins;
use super::Global;
use super::approve::{Decision, decide, of_code};
use crate::args::{Link, Pair};
use crate::client::{Client, Events};
use crate::failure::{Exit, Failure};
use crate::signals::Signals;
use crate::{output, time};

/// How long a code of the plain LAN door lives.
const LAN_SECONDS: u64 = 60;
/// How long to wait when the host says "too many" and not until when.
const RETRY: u64 = 10;

/// Runs the ceremony, on a screen when a person is there, else as lines.
pub(super) async fn run(global: &Global, args: &Pair) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    // Before the offer is made, so that not even the fastest device can be missed.
    let events = client.events().await?;
    let attended = !args.json.json && !global.no_input && output::is_interactive();
    let renewals = if attended || (args.json.json && !global.no_input) { ceremony::RENEWALS } else { 0 };
    let mut offers = Offers { client: client.clone(), ttl: args.timeout, form: args.link };
    let offer = offers.make(None).await?;
    let ceremony = Ceremony::new(offer.id, offer.until, renewals, attended);
    let pins = Pins::new(client.get::<PinRequestList>("/mobile/pairing").await?.requests);
    let mut session = Session { client, events, offers, offer, ceremony, pins, signals: Signals::new()? };
    let outcome = match attended {
        true => screen::run(&mut session, args.link_only).await,
        false => stream::run(&mut session, args.json.json).await,
    };
    if outcome.is_err() {
        // Nobody sees the link any more: it must not stay open.
        session.offers.cancel(session.ceremony.current()).await;
    }
    report(outcome?)
}

/// One offer, as the host made it. It holds credentials, so it cannot be printed.
#[derive(Clone)]
struct Offer {
    id: Uuid,
    link: String,
    until: Instant,
    answer: Value,
}

/// Makes offers.
#[derive(Clone, Debug)]
struct Offers {
    client: Client,
    ttl: Option<u64>,
    form: Option<Link>,
}

impl Offers {
    /// Makes one, then withdraws the one before: when none can be made, the old one still works.
    async fn make(&mut self, before: Option<Uuid>) -> Result<Offer, Failure> {
        let request = match self.form {
            None | Some(Link::Web | Link::App) => GenerateRequest { ttl: None, link_ttl: self.ttl },
            // The link that nobody is shown must not keep the offer open.
            Some(Link::Lan) => GenerateRequest { ttl: self.ttl, link_ttl: Some(self.ttl.unwrap_or(LAN_SECONDS)) },
        };
        let answer: Value = self.client.json(Method::POST, "/api/pair/generate", Some(&request)).await?;
        let made: GenerateAnswer = serde_json::from_value(answer.clone()).map_err(|_| {
            Failure::new(Exit::Failure, "The host's offer cannot be read", "Are both of the same version?")
        })?;
        if let Some(before) = before {
            self.cancel(before).await;
        }
        let (link, end) = match self.form {
            // The host's own choice: by the relay when it has one.
            None => (made.link, made.link_expires_at),
            Some(form @ (Link::Web | Link::App)) => match as_form(&made.link, form) {
                Ok(link) => (link, made.link_expires_at),
                Err(failure) => {
                    self.cancel(made.offer_id).await;
                    return Err(failure);
                }
            },
            Some(Link::Lan) => (made.qr_url, made.expires_at),
        };
        let until = Instant::now() + Duration::from_secs(time::seconds_until(&end, Timestamp::now()));
        Ok(Offer { id: made.offer_id, link, until, answer })
    }

    /// Withdraws an offer. It may have ended already, and that is as good.
    async fn cancel(&self, offer: Uuid) {
        let _ = self.client.done(Method::DELETE, &format!("/api/pair/offers/{offer}")).await;
    }
}

/// The host's link in the form that was asked for.
fn as_form(link: &str, form: Link) -> Result<String, Failure> {
    let by_relay = link.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
    if form == Link::Web {
        let next = "Enrol it with one (couplet enroll), or leave --link out.";
        let none = || Failure::new(Exit::Failure, "This host has no relay to make a web link with", next);
        return by_relay.then(|| link.to_owned()).ok_or_else(none);
    }
    let unreadable = |error: OfferError| {
        Failure::new(Exit::Failure, format!("The host's link cannot be read: {error}"), "Are both of the same version?")
    };
    Ok(couplet_protocol::Offer::from_link(link).map_err(unreadable)?.to_link(LinkForm::App))
}

/// All that one run works with.
struct Session {
    client: Client,
    events: Events,
    offers: Offers,
    offer: Offer,
    ceremony: Ceremony,
    /// Devices that ask to pair by PIN.
    pins: Pins,
    /// What ends the run: the offer is withdrawn first.
    signals: Signals,
}

impl Session {
    /// Something happened on the host. A device that pairs by PIN meanwhile is the one that was waited for.
    fn hear(&mut self, event: &Event) -> Step {
        match self.pins.on_event(event) {
            Some(device) => Step::End(Outcome::ByPin(device)),
            None => self.ceremony.on_event(event),
        }
    }

    /// Does what the ceremony asks for; returns the outcome when it is over, and whether there is a new offer.
    async fn act(&mut self, step: Step) -> Result<Acted, Failure> {
        match step {
            Step::Wait => Ok(Acted::Nothing),
            Step::Generate => self.renew().await,
            Step::Approve(id, code) => {
                let shown = code.as_deref().map(of_code).unwrap_or_default();
                match decide(&self.client, id, Decision::Approve, &shown).await {
                    Ok(()) => self.ceremony.approved(),
                    Err(failure) if failure.is(Code::CheckCodeWrong) || failure.is(Code::CheckCodeWanted) => {
                        self.ceremony.wrong_code(failure.detail.clone());
                    }
                    Err(failure) => settled(failure)?,
                }
                Ok(Acted::Nothing)
            }
            Step::Reject(id) => match decide(&self.client, id, Decision::Reject, &ApproveRequest::default()).await {
                Ok(()) => Ok(match self.ceremony.rejected() {
                    Step::End(outcome) => Acted::Ended(outcome),
                    _ => Acted::Nothing,
                }),
                Err(failure) => settled(failure).map(|()| Acted::Nothing),
            },
            Step::End(outcome) => {
                if matches!(outcome, Outcome::Cancelled | Outcome::ByPin(_)) {
                    self.offers.cancel(self.ceremony.current()).await;
                }
                Ok(Acted::Ended(outcome))
            }
        }
    }

    async fn renew(&mut self) -> Result<Acted, Failure> {
        match self.offers.make(Some(self.ceremony.current())).await {
            Ok(offer) => {
                self.ceremony.generated(offer.id, offer.until);
                self.offer = offer;
                Ok(Acted::Renewed)
            }
            Err(failure) if failure.is(Code::RateLimited) => {
                let now = Instant::now();
                let wait = Duration::from_secs(failure.retry_after.unwrap_or(RETRY).clamp(1, 120));
                self.ceremony.limited(now + wait, now);
                Ok(Acted::Nothing)
            }
            Err(failure) => Err(failure),
        }
    }
}

/// What came of a step.
enum Acted {
    Nothing,
    Renewed,
    Ended(Outcome),
}

/// Someone else decided first, or the claim is over: the events tell which.
fn settled(failure: Failure) -> Result<(), Failure> {
    let known = [Code::AlreadyDecided, Code::NoSuchPairing, Code::ClaimExpired, Code::CheckCodesSpent];
    if known.iter().any(|code| failure.is(*code)) { Ok(()) } else { Err(failure) }
}

fn report(outcome: Outcome) -> anyhow::Result<()> {
    let failure = match outcome {
        Outcome::Paired(device) | Outcome::ByPin(device) => {
            output::message(&format!("Paired with {}.", frame::who(&device)));
            return Ok(());
        }
        Outcome::Rejected(device) => {
            Failure::new(Exit::Refused, format!("{} was turned away", frame::who(&device)), "")
        }
        Outcome::Withdrawn => Failure::new(Exit::Refused, "The offer was withdrawn", "Make a new one: couplet pair."),
        Outcome::Expired => {
            Failure::new(Exit::Expired, "The code expired before a device used it", "Make a new one: couplet pair.")
        }
        Outcome::Cancelled => {
            // Asked for, so no error; but no device is paired, and a script must see that.
            output::message("Cancelled. The code no longer works.");
            Failure::said(Exit::Failure)
        }
    };
    Err(failure.into())
}
