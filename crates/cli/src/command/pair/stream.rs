//! The ceremony for pipes and programs: the link or JSON on stdout, nothing to press.

use std::time::{Duration, Instant};

use couplet_protocol::api::{Event, EventKind};

use super::super::asked::{Asked, about_pin};
use super::ceremony::{Outcome, Step};
use super::{Acted, Session, frame};
use crate::{output, select};

/// Runs until it is over.
pub(super) async fn run(session: &mut Session, json: bool) -> anyhow::Result<Outcome> {
    show(session, json)?;
    let mut asked = Asked::default();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        let step = tokio::select! {
            event = session.events.next() => {
                let event = event?;
                let of_pin = session.pins.is_theirs(&event);
                let step = session.hear(&event);
                if json && (of_pin || session.ceremony.is_ours(&event)) {
                    // What is kept of a program's lines is no place for a PIN.
                    output::json(&Event { pin: None, ..event })?;
                } else if event.event == EventKind::ApprovalWanted && of_pin {
                    let text = about_pin(&event, output::is_seen()).or_else(|| session.pins.code_wanted(&event));
                    let text = text.and_then(|text| asked.paced(text, Instant::now()));
                    text.iter().for_each(|text| output::message(text));
                } else if event.event == EventKind::ApprovalWanted && session.ceremony.is_ours(&event) {
                    ask(session);
                }
                step
            }
            _ = session.signals.next() => Step::End(Outcome::Cancelled),
            _ = tick.tick() => session.ceremony.on_time(Instant::now()),
        };
        match session.act(step).await? {
            Acted::Nothing => {}
            Acted::Renewed => show(session, json)?,
            Acted::Ended(outcome) => return Ok(outcome),
        }
    }
}

fn show(session: &Session, json: bool) -> std::io::Result<()> {
    if json { output::json(&session.offer.answer) } else { output::line(&session.offer.link) }
}

fn ask(session: &Session) {
    if let super::ceremony::Phase::Asked(device) = session.ceremony.phase() {
        let id = select::short(session.ceremony.current());
        let network = match (frame::network(device), &device.relay) {
            (Some(network), Some(_)) => format!(" {network}"),
            (Some(network), None) => format!(" from {network}"),
            (None, _) => String::new(),
        };
        let who = frame::who(device);
        let code = if device.code.is_some() { " CODE, with the six digits that it shows" } else { "" };
        output::message(&format!(
            "{who}{network} asks to be paired: couplet approve {id}{code}, or couplet reject {id}"
        ));
    }
}
