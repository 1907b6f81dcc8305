//! The dashboard without a mouse: everything is reached by Tab and seen to be, and done by Enter, Space and Escape.

use std::collections::BTreeSet;

use e2e::browser::thirtyfour::Key;
use e2e::by_pin::{Phone, answer, many, request};
use e2e::plain::exchange;
use e2e::{Dashboard, TestHost};
use serde_json::{Value, json};

/// What holds the focus: its name, and whether it is seen to.
const FOCUSED: &str = "(() => {
    const held = document.activeElement, style = getComputedStyle(held);
    const name = held.getAttribute('aria-label') ?? (held.labels?.[0]?.innerText || held.innerText).trim().split('\\n')[0];
    return { name: held === document.body ? '' : name, seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
        inside: [...document.querySelectorAll('dialog')].every(dialog => dialog.contains(held) || held === document.body) };
})()";

/// What can be operated in what is on top, by name.
const OPERABLE: &str = "(() => {
    const top = [...document.querySelectorAll('dialog')].at(-1) ?? document;
    const all = [...top.querySelectorAll('a[href], button, input, textarea, summary')];
    return all.filter(element => !element.disabled && element.checkVisibility() && !(element.type === 'radio' && !element.checked))
        .map(element => element.getAttribute('aria-label') ?? (element.labels?.[0]?.innerText || element.innerText).trim().split('\\n')[0]);
})()";

/// More often than anything here has stops.
const STOPS: usize = 40;

/// Presses Tab and tells what has the focus then.
async fn tab(dashboard: &Dashboard) -> String {
    dashboard.browser.press(Key::Tab).await;
    let focused = dashboard.browser.evaluate(FOCUSED).await;
    let name = focused["name"].as_str().unwrap().to_owned();
    assert!(name.is_empty() || focused["seen"] == json!(true), "the focus is not seen: {focused}");
    assert_eq!(focused["inside"], json!(true), "the focus has left the dialog: {focused}");
    name
}

/// Presses Tab until this has the focus.
async fn tab_to(dashboard: &Dashboard, name: &str) {
    let mut passed = Vec::new();
    for _ in 0..STOPS {
        let focused = tab(dashboard).await;
        if focused == name {
            return;
        }
        passed.push(focused);
    }
    panic!("{name} is not reached: {passed:?}");
}

/// Everything that can be operated is reached.
async fn all_is_reached(dashboard: &Dashboard) {
    let operable = dashboard.browser.evaluate(OPERABLE).await;
    let mut missing: BTreeSet<&str> = operable.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(!missing.is_empty() && !missing.contains(""), "{operable}");
    for _ in 0..STOPS {
        if missing.is_empty() {
            return;
        }
        missing.remove(tab(dashboard).await.as_str());
    }
    panic!("not reached by Tab: {missing:?}");
}

/// Waits until this has the focus.
async fn has_focus(dashboard: &Dashboard, name: &str) {
    dashboard.browser.holds(&format!("{FOCUSED}.name === {}", json!(name))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_done_by_keys_alone() {
    let host = TestHost::start(|_| {}).await;
    host.add_device("Phone").await;
    host.add_device("Tablet").await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.says("Tablet").await;
    // Past the frame, to the page.
    assert_eq!(tab(&dashboard).await, "Skip to the page");
    dashboard.browser.press(Key::Enter).await;
    has_focus(&dashboard, "Devices").await;
    all_is_reached(&dashboard).await;

    // The code, and back to where one was.
    tab_to(&dashboard, "Connect mobile").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.browser.shows("svg.qr").await;
    all_is_reached(&dashboard).await;
    let before = dashboard.link().await;
    tab_to(&dashboard, "Regenerate QR").await;
    dashboard.browser.press(" ").await;
    dashboard.browser.holds(&format!("document.querySelector('.copy input').value !== {}", json!(before))).await;
    // Among the forms of the code one goes by arrows.
    tab_to(&dashboard, "Phones and Couplet apps").await;
    dashboard.browser.press(Key::Down).await;
    dashboard.browser.holds("document.querySelector('.copy input').value.startsWith('couplet:')").await;
    dashboard.browser.press(Key::Escape).await;
    dashboard.browser.holds("!document.querySelector('dialog')").await;
    has_focus(&dashboard, "Connect mobile").await;

    tab_to(&dashboard, "Rename or restrict Phone").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.browser.shows("dialog").await;
    all_is_reached(&dashboard).await;
    tab_to(&dashboard, "Name").await;
    dashboard.browser.press("Anna's phone").await;
    tab_to(&dashboard, "May only read").await;
    dashboard.browser.press(" ").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.says("read only, everything").await;
    dashboard.says("Anna's phone").await;

    tab_to(&dashboard, "Revoke Tablet").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.browser.shows("dialog").await;
    all_is_reached(&dashboard).await;
    tab_to(&dashboard, "Revoke").await;
    dashboard.browser.press(" ").await;
    dashboard.says("1 revoked device").await;
    // What had the focus is gone: the page has it.
    has_focus(&dashboard, "Devices").await;

    tab_to(&dashboard, "Host").await;
    dashboard.browser.press(Key::Enter).await;
    has_focus(&dashboard, "Host").await;
    dashboard.says("this browser").await;
    all_is_reached(&dashboard).await;

    tab_to(&dashboard, "Activity").await;
    dashboard.browser.press(Key::Enter).await;
    has_focus(&dashboard, "Activity").await;
    dashboard.says("Device revoked").await;
    tab_to(&dashboard, "Dismiss this message").await;
    tab_to(&dashboard, "Sign out").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.says("couplet dashboard").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_end_leave_the_focus_where_one_goes_on() {
    let host = TestHost::start(many).await;
    let dashboard = Dashboard::open(&host).await;
    let mut asking = Vec::new();
    for last in 1..=4 {
        let phone = Phone::at(&host, [127, 0, 0, last]);
        asking.push((phone.ask(&format!("Phone {last}")).await, phone));
        dashboard.says(&format!("Phone {last} asks to pair")).await;
    }
    all_is_reached(&dashboard).await;
    // One that ends under the fingers; and two more.
    tab_to(&dashboard, "Reject Phone 2").await;
    for n in [1, 0, 2] {
        let id = request(&host, &format!("Phone {}", n + 1)).await.id.to_string();
        assert_eq!(answer(&host, &id, "reject").await, 204);
        dashboard.says(&format!("Phone {} no longer waits", n + 1)).await;
        has_focus(&dashboard, "Dismiss: Phone 2 no longer waits for its PIN").await;
    }
    // On to the next that is over, then to the last, then to what they stand in.
    for next in [
        "Dismiss: Phone 3 no longer waits for its PIN",
        "Dismiss: Phone 1 no longer waits for its PIN",
        "Pairing by PIN",
    ] {
        dashboard.browser.press(Key::Enter).await;
        has_focus(&dashboard, next).await;
    }
    tab_to(&dashboard, "Reject Phone 4").await;
    dashboard.browser.press(Key::Enter).await;
    has_focus(&dashboard, "Dismiss: Phone 4 no longer waits for its PIN").await;
    // With the last of them the section goes.
    dashboard.browser.press(Key::Enter).await;
    has_focus(&dashboard, "Devices").await;
    assert_eq!(asking[3].1.poll(&asking[3].0).await.0, 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_let_in_by_keys_and_nothing_moves_for_those_who_do_not_want_it() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_APPROVE", "always");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    let still = json!({ "features": [{ "name": "prefers-reduced-motion", "value": "reduce" }] });
    dashboard.browser.driver().cdp().send_raw("Emulation.setEmulatedMedia", still).await.unwrap();
    let offer = host.generate().await;
    assert_eq!(exchange(&offer.qr_url, "Tablet", None).await.0, 202);
    dashboard.says("Let Tablet in?").await;
    assert!(dashboard.said().await.contains("Tablet waits for your approval"), "{}", dashboard.said().await);
    let moves =
        "[...document.querySelectorAll('*')].filter(element => getComputedStyle(element).transitionDuration !== '0s'
        || getComputedStyle(element).animationName !== 'none').length";
    assert_eq!(dashboard.browser.evaluate(moves).await, json!(0));
    dashboard.browser.driver().cdp().send_raw("Emulation.setEmulatedMedia", json!({ "features": [] })).await.unwrap();
    assert_ne!(dashboard.browser.evaluate(moves).await, json!(0), "the ring does move otherwise");
    all_is_reached(&dashboard).await;
    tab_to(&dashboard, "Approve").await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.browser.holds("!document.querySelector('form.wanted')").await;
    has_focus(&dashboard, "Devices").await;
    let event: Value = host.event("approval.wanted", |_| true).await;
    assert_eq!(event["device_name"], json!("Tablet"));
}
