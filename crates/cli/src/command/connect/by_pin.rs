//! `couplet connect http://ADDRESS:PORT`: pairing by the eight digits that the host shows, without a link.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use couplet_client::{Meeting, PinAnswer, PinError, PinPairing};
use couplet_protocol::{Code, Pin};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use zeroize::Zeroizing;

use super::lines::Lines;
use super::pairing::platform;
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};

/// How often the host is asked whether its owner has let this device in.
const EVERY: Duration = Duration::from_secs(2);
/// How many times in a row it may not answer meanwhile.
const SILENT: u8 = 3;
/// The longest that is waited because the host says so.
const PAUSE_MAX: u64 = 60;
/// How long taking the request back may take.
const WITHDRAW: Duration = Duration::from_secs(2);
/// Longer than any request lives at a host.
const LONGEST: Duration = Duration::from_secs(330);

/// Whether it is meant as a host's address.
pub(super) fn is_address(text: &str) -> bool {
    text.trim_start().get(..7).is_some_and(|start| start.eq_ignore_ascii_case("http://"))
}

/// Reads `http://192.168.1.42:7878`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Failure> {
    let wrong = |title: String, next: &str| Err(Failure::new(Exit::Usage, title, next));
    let written = text.trim().get(7..).unwrap_or_default();
    let written = written.strip_suffix('/').unwrap_or(written);
    let Ok(at) = written.parse::<SocketAddr>() else {
        let next = "Write the address and the port of the host's pairing, as couplet serve shows them: couplet connect \
                    http://192.168.1.42:7878. Names are not looked up: others on the network could claim them.";
        return wrong(format!("{} is no address of a host", plain(text.trim())), next);
    };
    if !is_nearby(at.ip()) || at.port() == 0 {
        let next = "A PIN pairs with hosts of the same local network. For one elsewhere, ask its owner for a link: couplet \
                    pair.";
        return wrong(format!("{at} is not an address of this local network"), next);
    }
    Ok(at)
}

/// Whether it is loopback, private (RFC 1918, RFC 4193) or link-local.
pub(super) fn is_nearby(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// Takes the request back, so that the next one need not wait for its end. That the host may not hear of it is no error.
pub(super) async fn withdraw(request: &PinPairing) {
    let _ = timeout(WITHDRAW, request.withdraw()).await;
}

/// Where a link came from that nothing but a person can vouch for, and what that person types.
pub(super) struct Invited {
    pub(super) at: SocketAddr,
    pub(super) lines: Lines,
}

impl Invited {
    /// Asks whether the host has taken the check code: who answers in its place cannot have it do so.
    pub(super) async fn confirm(mut self, met: Meeting, json: bool) -> bool {
        let code = met.check_code.show();
        if json {
            let _ = output::json(&json!({"event": "confirm_wanted", "host": self.at.to_string(),
                "host_name": met.host_name, "check_code": code}));
        }
        output::message(&format!(
            "{} lets this device in.\nDid you type {code} at the host, and did it take it? If it never asked for it, somebody else \
             answers at {}: say no.",
            plain(&met.host_name),
            self.at
        ));
        loop {
            output::question("Did it? yes or no:");
            let line = self.lines.next().await.map(|line| line.trim().to_ascii_lowercase());
            match line.as_deref() {
                Some("yes" | "y") => return true,
                Some("no" | "n") | None => return false,
                Some(_) => {}
            }
        }
    }
}

/// Asks the host, and the person for its PIN; comes back with the link that the host gives this device, and what else is
/// typed. The owner's word does as well as the PIN. `asked` is set once there is something to take back.
pub(super) async fn link(
    at: SocketAddr,
    name: &str,
    mut lines: Lines,
    json: bool,
    asked: &OnceCell<PinPairing>,
) -> Result<(Zeroizing<String>, Lines), Failure> {
    let request = PinPairing::ask(at, name, platform()).await.map_err(|error| failure(&error))?;
    let request = asked.get_or_init(|| request);
    let number = request.number();
    if json {
        // That nobody reads it shows at the next line.
        let _ = output::json(&json!({"event": "pin_wanted", "host": at.to_string(), "device_name": name,
            "match_number": number}));
    }
    output::message(&format!(
        "Number {number}\nLook at the host: couplet serve, couplet pair or its dashboard shows eight digits for this \
         device.\nOr its owner lets it in there: the host shows {number} beside it then, and beside no other."
    ));
    prompt();
    let mut ask = interval_at(Instant::now() + EVERY, EVERY);
    ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + LONGEST;
    let mut silent = 0;
    loop {
        let pin = tokio::select! {
            line = lines.next() => match line {
                None => {
                    withdraw(request).await;
                    return Err(nobody_there());
                }
                Some(line) => match pin_of(&line) {
                    Some(pin) => Some(pin),
                    None => {
                        output::message("A PIN is eight digits, as the host shows them.");
                        prompt();
                        continue;
                    }
                },
            },
            _ = ask.tick() => None,
        };
        let answer = request.verify(pin.as_ref()).await;
        match answer {
            Ok(PinAnswer::Link(link)) => return Ok((link, lines)),
            Ok(PinAnswer::Waits) => silent = 0,
            Err(PinError::PlainPin) => {
                output::message(&format!(
                    "They were not sent: this laptop's PIN has eight digits, six are for devices without encryption.\nIf the \
                     host shows six for it, somebody else answers at {at} in its place."
                ));
                prompt();
            }
            Err(PinError::Refused { problem, .. }) if again(&problem.code, Code::PinWrong) => {
                output::message(&format!("No: {} {}", plain(&problem.title), plain(&problem.detail)));
                prompt();
            }
            Err(PinError::Refused { problem, retry_after }) if again(&problem.code, Code::RateLimited) => {
                let seconds = retry_after.unwrap_or(EVERY.as_secs()).clamp(1, PAUSE_MAX);
                if pin.is_some() {
                    output::message(&format!("{} Type it again in {seconds} s.", plain(&problem.detail)));
                    prompt();
                } else {
                    sleep(Duration::from_secs(seconds)).await;
                }
            }
            Err(PinError::Unreachable { .. }) if pin.is_none() && silent < SILENT => silent += 1,
            Err(error) => return Err(failure(&error)),
        }
        if Instant::now() > end {
            return Err(Failure::of(Code::PinExpired, "Begin anew: couplet connect asks the host again."));
        }
    }
}

/// Whoever is there types the PIN, or at least says that the host has taken the check code.
pub(super) fn nobody_there() -> Failure {
    let next = "Pairing by PIN needs somebody who answers here: run it in a terminal, without --no-input. Without anybody, pair \
                with a link: couplet pair, on the host.";
    Failure::of(Code::NotConfirmed, next)
}

// Inside of `select!`, `Pin` is another one.
fn pin_of(line: &str) -> Option<Pin> {
    Pin::parse(line).ok()
}

fn prompt() {
    output::question("PIN:");
}

fn again(code: &str, wanted: Code) -> bool {
    Code::parse(code) == Some(wanted)
}

/// What went wrong, on a command line.
fn failure(error: &PinError) -> Failure {
    let next = match error {
        PinError::Refused { problem, retry_after } => {
            return Failure::of_problem((**problem).clone(), *retry_after);
        }
        PinError::Unreachable { .. } => {
            "Does couplet serve run there, and are both machines in the same network? Its first lines say where it is: \
             couplet doctor, on the host, looks for what is in the way."
        }
        PinError::NotCouplet(_) => {
            "Write the address of the host's pairing, as couplet serve shows it, with its port: 7878 unless it says \
             otherwise. An older host has no PINs: ask its owner for a link, couplet pair."
        }
        PinError::PlainPin => "Type the eight digits that the host shows for this laptop.",
        PinError::NoRandomness(_) => "Without random numbers nothing can be kept secret. Restart this machine.",
    };
    let text = plain(&error.to_string());
    let mut chars = text.chars();
    let text: String = chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect());
    Failure::of(error.code(), format!("{text}.\n{next}"))
}

#[cfg(test)]
mod tests {
    use couplet_protocol::Problem;

    use super::*;

    #[test]
    fn only_addresses_of_the_local_network_are_called() {
        for text in ["http://192.168.1.42:7878", "HTTP://127.0.0.1:1/", " http://[fd00::1]:7878 ", "http://10.0.0.1:80"]
        {
            assert!(is_address(text) && address(text).is_ok(), "{text}");
        }
        for text in [
            "http://",
            "http://192.168.1.42",
            "http://nas.local:7878",
            "http://8.8.8.8:7878",
            "http://100.64.0.1:7878",
            "http://192.168.1.42:0",
            "http://[2001:db8::1]:7878",
            "http://[::ffff:8.8.8.8]:7878",
            "http://0.0.0.0:7878",
            "http://u@192.168.1.42:7878",
            "http://192.168.1.42:7878/x",
            "http://\u{1b}[2J:1",
        ] {
            assert!(is_address(text), "{text}");
            let failure = address(text).unwrap_err();
            assert!(
                failure.exit == Exit::Usage && failure.detail.contains("couplet") && !failure.title.contains('\x1b')
            );
        }
        assert!(!is_address("https://192.168.1.42") && !is_address("nas") && !is_address("é"));
    }

    #[test]
    fn what_the_host_says_is_told_with_its_exit_code() {
        for (code, exit) in
            [(Code::PinsSpent, Exit::Failure), (Code::PinRejected, Exit::Refused), (Code::PinExpired, Exit::Expired)]
        {
            let problem = Box::new(Problem::new(code, "Begin\x1b anew."));
            let failure = failure(&PinError::Refused { problem, retry_after: None });
            assert!(failure.is(code) && failure.exit == exit && !failure.detail.contains('\x1b'), "{failure}");
        }
        let failure = failure(&PinError::NotCouplet("192.168.1.1:80".parse().unwrap()));
        assert!(failure.is(Code::NotCouplet) && failure.detail.contains("192.168.1.1:80"), "{failure}");
    }
}
