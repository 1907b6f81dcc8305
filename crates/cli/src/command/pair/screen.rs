//! The ceremony on a terminal: the code, a countdown, keys.

use std::time::{Duration, Instant};

use super::ceremony::{Outcome, Step};
use super::frame::{Shown, frame};
use super::{Acted, Session};
use crate::qr::Qr;
use crate::terminal::{Key, Keys, Screen};

/// How often the countdown is drawn.
const TICK: Duration = Duration::from_millis(250);

/// Runs until it is over; the terminal is given back before this returns.
pub(super) async fn run(session: &mut Session, link_only: bool) -> anyhow::Result<Outcome> {
    let draw_code = |link: &str| if link_only { None } else { Qr::new(link).ok() };
    let mut qr = draw_code(&session.offer.link);
    let mut screen = Screen::enter()?;
    let mut keys = Keys::read(&screen)?;
    let mut tick = tokio::time::interval(TICK);
    loop {
        let now = Instant::now();
        let pin = session.pins.line();
        let shown = Shown { qr: qr.as_ref(), link: &session.offer.link, pin: pin.as_deref() };
        screen.draw(&frame(session.ceremony.phase(), &shown, screen.size(), now))?;
        let step = tokio::select! {
            event = session.events.next() => session.hear(&event?),
            key = keys.next() => match key {
                Key::Letter(letter) => session.ceremony.on_letter(letter),
                Key::Enter => session.ceremony.on_enter(),
                Key::Back => {
                    session.ceremony.on_back();
                    Step::Wait
                }
                Key::Quit => Step::End(Outcome::Cancelled),
                Key::Resize => Step::Wait,
            },
            _ = session.signals.next() => Step::End(Outcome::Cancelled),
            _ = tick.tick() => session.ceremony.on_time(Instant::now()),
        };
        match session.act(step).await? {
            Acted::Nothing => {}
            Acted::Renewed => qr = draw_code(&session.offer.link),
            Acted::Ended(outcome) => return Ok(outcome),
        }
    }
}
