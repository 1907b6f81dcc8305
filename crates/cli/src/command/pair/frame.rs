//! What `couplet pair` shows, as lines for a terminal of a given size.

use std::iter::repeat;
use std::time::Instant;

use couplet_protocol::{Endpoint, Offer};
use unicode_width::UnicodeWidthStr;

use super::ceremony::{Asking, DIGITS, Phase};
use crate::output::plain;
use crate::qr::Qr;

const TITLE: &str = "Scan this code with the app on your phone:";
const KEYS: &str = "Press [R] to regenerate, [Q] to quit";
/// Where there is no room for more.
const SHORT_KEYS: &str = "[R] regenerate  [Q] quit";

const NEXT: &str = "Waiting for the phone; next: couplet devices";
const UNREACHABLE: &str = "No phone can reach this address, only this machine: couplet explain CPL-1407";

/// Between the code and what stands beside it.
const GAP: &str = "   ";

/// What is shown besides the stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown<'a> {
    pub(super) qr: Option<&'a Qr>,
    pub(super) link: &'a str,
    /// What there is to say of a device that pairs by PIN.
    pub(super) pin: Option<&'a str>,
}

/// The lines for a terminal of so many columns and rows.
pub(super) fn frame(phase: &Phase, shown: &Shown<'_>, size: (usize, usize), now: Instant) -> Vec<String> {
    let mut frame = staged(phase, shown, size, now);
    // Beside a code that can be scanned it has a place already.
    if let (false, Some(pin)) = (matches!(phase, Phase::Open(_)), shown.pin) {
        frame.extend([String::new(), pin.to_owned()]);
    }
    frame
}

fn staged(phase: &Phase, shown: &Shown<'_>, size: (usize, usize), now: Instant) -> Vec<String> {
    match phase {
        Phase::Open(until) => {
            let left = until.saturating_duration_since(now).as_millis().div_ceil(1000);
            open(shown, left, size)
        }
        Phase::Limited(until) => {
            let left = until.saturating_duration_since(now).as_millis().div_ceil(1000);
            lines(&["The code expired.", &format!("The host makes the next one in {left}s."), "", "[Q] quit"])
        }
        Phase::Expired => lines(&["The code expired, and nobody used the last ones.", "", KEYS]),
        Phase::Claimed(device) => lines(&[&format!("{} has scanned the code …", who(device)), "", "[Q] quit"]),
        Phase::Asked(device) => asked(device),
        Phase::Granted(device) => {
            lines(&[&format!("{} may come in; waiting until it does …", who(device)), "", "[Q] quit"])
        }
    }
}

fn asked(device: &Asking) -> Vec<String> {
    let told = |text: &Option<String>, otherwise: &str| text.as_deref().map_or_else(|| otherwise.to_owned(), plain);
    let mut shown = vec![
        format!("{} asks to be paired.", plain(&device.name)),
        String::new(),
        format!("  Model    {}", told(&device.model, "not told")),
        format!("  Network  {}", network(device).unwrap_or_else(|| "not known".to_owned())),
    ];
    if let Some(platform) = &device.platform {
        shown.insert(3, format!("  System   {}", plain(platform)));
    }
    shown.push(String::new());
    match &device.code {
        None => shown.push("Is it yours? [y] let it in  [n] turn it away".to_owned()),
        Some(typed) => {
            shown.extend(typed.remark.iter().map(|remark| plain(remark)));
            let blanks = "_".repeat(DIGITS.saturating_sub(typed.digits.len()));
            shown.push(format!("Type the six digits that it shows: {}{blanks}", typed.digits));
            shown.push("[Enter] let it in  [n] turn it away".to_owned());
        }
    }
    shown
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn open(shown: &Shown<'_>, left: u128, (columns, rows): (usize, usize)) -> Vec<String> {
    let Shown { qr, link, pin } = *shown;
    let countdown = format!("Token expires in: {left}s");
    let Some(qr) = qr else {
        return vec![
            "Type or paste this link into the app:".to_owned(),
            link.to_owned(),
            pin.unwrap_or_default().to_owned(),
            countdown,
            KEYS.to_owned(),
        ];
    };
    let typed = format!("Link: {link}");
    let next = if of_this_machine(link) { UNREACHABLE } else { NEXT };
    let full = vec![typed.clone(), pin.unwrap_or(next).to_owned(), countdown.clone(), KEYS.to_owned()];
    // The code stays, whoever asks: with less room the PIN takes the place of the link.
    let short = vec![pin.map_or(typed, str::to_owned), format!("{countdown}   {SHORT_KEYS}")];
    let around = |below: &[String]| below.iter().map(|line| line.width().div_ceil(columns.max(1))).sum::<usize>();
    let fits = |around: usize| qr.columns() <= columns && qr.rows() + around <= rows;
    let title = fits(around(&full) + TITLE.width().div_ceil(columns.max(1))).then(|| TITLE.to_owned());
    let below = if fits(around(&full)) { full } else { short };
    if fits(around(&below)) {
        let beside = by_hand(link).filter(|lines| {
            lines.len() + 2 <= qr.rows() && lines.iter().all(|line| qr.columns() + GAP.len() + line.width() <= columns)
        });
        // Below the code's quiet zone, so that no letter is taken for a part of it.
        let beside = [None, None].into_iter().chain(beside.into_iter().flatten().map(Some)).chain(repeat(None));
        let code = qr.lines().into_iter().zip(beside).map(|(row, text)| match text {
            Some(text) => format!("{row}{GAP}{text}"),
            None => row,
        });
        return title.into_iter().chain(code).chain(below).collect();
    }
    let (least_columns, least_rows) = (qr.columns(), qr.rows() + around(&below));
    vec![
        format!("This terminal is too small for the QR code: it needs {least_columns} columns and {least_rows} rows."),
        "Enlarge it, or type this link into the app:".to_owned(),
        link.to_owned(),
        format!("{countdown}   {SHORT_KEYS}"),
    ]
    .into_iter()
    .chain(pin.map(str::to_owned))
    .collect()
}

/// What a device without a camera sends: to be typed, or copied as a block. Short enough for 80 columns with any IPv4
/// address.
fn by_hand(link: &str) -> Option<[String; 5]> {
    let (authority, token) = link.strip_prefix("couplet://")?.split_once("?pair=")?;
    Some([
        "Without a phone, in another terminal:".to_owned(),
        "curl --json '{\"device_name\":\"Me\",".to_owned(),
        "\"pair_token\":".to_owned(),
        format!("\"{token}\"}}' \\"),
        // A shell may take the brackets of an IPv6 address for a pattern.
        if authority.starts_with('[') {
            format!("'{authority}/api/pair/exchange'")
        } else {
            format!("{authority}/api/pair/exchange")
        },
    ])
}

fn of_this_machine(link: &str) -> bool {
    let is_loopback = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Lan(address) if address.ip().is_loopback());
    match Offer::from_link(link) {
        Ok(offer) => offer.endpoints.iter().all(is_loopback),
        Err(_) => ["couplet://127.", "couplet://[::1]"].iter().any(|start| link.starts_with(start)),
    }
}

/// Where it comes from. What a relay says of that is the relay's word, so its name comes first.
pub(super) fn network(device: &Asking) -> Option<String> {
    match (&device.relay, &device.network) {
        (Some(relay), Some(network)) => Some(format!("through the relay {} ({})", plain(relay), plain(network))),
        (Some(relay), None) => Some(format!("through the relay {}", plain(relay))),
        (None, network) => network.as_deref().map(plain),
    }
}

/// `iPad Pro (iPad Pro 12.9-inch)`.
pub(super) fn who(device: &Asking) -> String {
    match &device.model {
        Some(model) if *model != device.name => format!("{} ({})", plain(&device.name), plain(model)),
        _ => plain(&device.name),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const URL: &str = "couplet://192.168.100.100:7878?pair=otp_Zm9vYmFyYmF6cXV4cXV1eA";

    fn shown(phase: &Phase, qr: bool, size: (usize, usize), now: Instant) -> Vec<String> {
        let qr = qr.then(|| Qr::new(URL).unwrap());
        frame(phase, &Shown { qr: qr.as_ref(), link: URL, pin: None }, size, now)
    }

    #[test]
    fn code_link_next_step_and_countdown_fit_80_by_24() {
        let now = Instant::now();
        let lines = shown(&Phase::Open(now + Duration::from_millis(44_300)), true, (80, 24), now);
        assert_eq!(lines.len(), 24);
        assert_eq!(lines[0], TITLE);
        assert_eq!(lines[20], format!("Link: {URL}"));
        assert_eq!(&lines[22..], ["Token expires in: 45s", KEYS]);
        assert!(lines[20..].iter().all(|line| line.width() <= 80), "{lines:#?}");
    }

    #[test]
    fn what_a_phone_would_send_stands_beside_the_code_where_it_fits() {
        let now = Instant::now();
        let beside = |columns| -> Vec<String> {
            let lines = shown(&Phase::Open(now), true, (columns, 24), now);
            lines.iter().filter_map(|line| Some(line.split_once("\x1b[0m   ")?.1.to_owned())).collect()
        };
        let lines = beside(80);
        let command = lines[1..].join("\n");
        assert_eq!(
            command,
            "curl --json '{\"device_name\":\"Me\",\n\"pair_token\":\n\"otp_Zm9vYmFyYmF6cXV4cXV1eA\"}' \\\n\
             192.168.100.100:7878/api/pair/exchange"
        );
        assert_eq!(beside(70), [""; 0]);
        let ipv6 = URL.replace("192.168.100.100", "[fd00::2]");
        assert_eq!(by_hand(&ipv6).unwrap()[4], "'[fd00::2]:7878/api/pair/exchange'");
    }

    #[test]
    fn a_smaller_terminal_gets_less_around_the_code_and_then_the_link_alone() {
        let now = Instant::now();
        let phase = Phase::Open(now + Duration::from_secs(9));
        for (size, length) in [((80, 23), 23), ((80, 22), 21), ((80, 21), 21), ((44, 24), 23), ((44, 23), 21)] {
            let lines = shown(&phase, true, size, now);
            let height: usize =
                lines.iter().map(|line| if line.contains('\x1b') { 1 } else { line.width().div_ceil(size.0) }).sum();
            assert!(height <= size.1, "{size:?}");
            assert_eq!(lines.len(), length, "{size:?}");
            assert!(lines.iter().any(|line| line.contains('▀')), "{size:?}");
        }
        for size in [(36, 40), (80, 20)] {
            let lines = shown(&phase, true, size, now);
            assert!(lines[0].contains("too small for the QR code: it needs 37 columns and"), "{lines:?}");
            assert_eq!(lines[2], URL);
            assert!(lines[3].starts_with("Token expires in: 9s"), "{lines:?}");
        }
    }

    #[test]
    fn the_owner_sees_name_model_and_network() {
        let now = Instant::now();
        let device = Asking { name: "iPad\x1b[2J".into(), network: Some("192.168.1.7".into()), ..Asking::default() };
        let lines = shown(&Phase::Asked(device), true, (80, 24), now);
        assert_eq!(lines[0], "iPad[2J asks to be paired.");
        assert_eq!(&lines[2..4], ["  Model    not told", "  Network  192.168.1.7"]);
        assert!(lines[5].contains("[y]") && lines[5].contains("[n]"));
    }

    #[test]
    fn an_address_of_no_use_to_a_phone_is_called_so() {
        let now = Instant::now();
        let link = URL.replace("192.168.100.100", "127.0.0.1");
        let qr = Qr::new(&link).unwrap();
        let lines = frame(&Phase::Open(now), &Shown { qr: Some(&qr), link: &link, pin: None }, (80, 24), now);
        assert!(lines.contains(&UNREACHABLE.to_owned()) && lines.len() <= 24, "{lines:#?}");
        assert!(!shown(&Phase::Open(now), true, (80, 24), now).contains(&UNREACHABLE.to_owned()));
    }

    #[test]
    fn a_pin_is_shown_and_takes_no_room_from_the_code() {
        let now = Instant::now();
        let qr = Qr::new(URL).unwrap();
        let pin = "Type 012 345 on iPad (192.168.1.7). Not yours? couplet reject 00000010";
        let shown = Shown { qr: Some(&qr), link: URL, pin: Some(pin) };
        for (phase, size) in [
            (Phase::Open(now), (80, 24)),
            (Phase::Open(now), (80, 21)),
            (Phase::Open(now), (36, 40)),
            (Phase::Expired, (80, 24)),
        ] {
            let lines = frame(&phase, &shown, size, now);
            assert!(lines.iter().any(|line| line == pin), "{phase:?} {size:?}: {lines:#?}");
            assert_eq!(
                lines.iter().any(|line| line.contains('▀')),
                size.0 == 80 && phase != Phase::Expired,
                "{size:?}"
            );
        }
    }

    #[test]
    fn link_only_shows_no_code() {
        let now = Instant::now();
        let lines = shown(&Phase::Open(now), false, (80, 24), now);
        assert_eq!(lines[1], URL);
        assert!(!lines.concat().contains('▀'));
    }
}
