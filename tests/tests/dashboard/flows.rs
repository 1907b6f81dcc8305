//! What the owner does in the dashboard, besides the way through that `promised.rs` takes: a terminal beside it, a relay
//! before it, links that are copied, devices that are restricted, a log that is long.

use couplet_protocol::message::Control;
use e2e::host::PATIENCE;
use e2e::plain::exchange;
use e2e::{Browser, Dashboard, Laptop, Relay, Running, Terminal, TestApp, TestDevice, TestHost};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_terminal_are_in_step_whoever_says_yes() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_APPROVE", "always");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    let driver = dashboard.browser.driver().clone();
    let [first, second] = dashboard.second_window(&host).await;

    // A code of the terminal, and a yes in the page: the terminal and the other page follow.
    let terminal = Terminal::start(&host.command(&["pair", "--link", "lan"]), 80, 24).await;
    let screen = terminal.shows("a link", PATIENCE, |screen| screen.word("couplet://").is_some()).await;
    let offered = screen.word("couplet://").unwrap();
    let (status, waits) = exchange(&offered, "Tablet", None).await;
    assert_eq!(status, 202);
    terminal.shows("the question", PATIENCE, |screen| screen.has("Tablet")).await;
    dashboard.says("Let Tablet in?").await;
    driver.switch_to_window(first.clone()).await.unwrap();
    dashboard.says("Let Tablet in?").await;
    dashboard.press("Approve").await;
    dashboard.browser.holds("!document.querySelector('form.wanted')").await;
    driver.switch_to_window(second).await.unwrap();
    dashboard.browser.holds("!document.querySelector('form.wanted')").await;
    assert_eq!(exchange(&offered, "Tablet", Some(&waits["claim"])).await.0, 200);
    let (code, left) = terminal.end(PATIENCE).await;
    assert!(code == 0 && left.contains("Tablet"), "{code}: {left}");
    dashboard.says("Tablet is paired.").await;

    // A code of the page, and a yes in the terminal.
    driver.switch_to_window(first).await.unwrap();
    dashboard.connect().await;
    let offered = dashboard.plain_link().await;
    let (_, waits) = exchange(&offered, "Phone", None).await;
    dashboard.says("Let Phone in?").await;
    Running::start(host.command(&["approve", "Phone"])).succeeds(PATIENCE).await;
    dashboard.says("Phone is approved. Waiting until it comes").await;
    dashboard.look("approved").await;
    assert_eq!(exchange(&offered, "Phone", Some(&waits["claim"])).await.0, 200);
    dashboard.browser.shows("dialog .stage.good").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_device_goes_away_can_be_scanned_again() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    let offered = dashboard.link().await;
    let laptop = Laptop::new();
    let mut running = Running::start(laptop.command(&[&offered, "--json", "--listen", "127.0.0.1:0"]));
    dashboard.browser.shows("dialog input.code").await;
    running.kill().await;
    dashboard.says("The code is open again").await;
    assert_eq!(dashboard.link().await, offered);
    dashboard.look("code-again").await;
    let _again = Running::start(Laptop::new().command(&[&offered, "--json", "--listen", "127.0.0.1:0"]));
    dashboard.browser.shows("dialog input.code").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_through_the_relay_is_let_in_by_its_code() {
    let (relay, app) = (Relay::start().await, TestApp::start().await);
    let host = relay
        .host(|setup| {
            setup.app(app.url());
        })
        .await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    let device = TestDevice::new("Phone");
    let mut sealed = relay.claim(&device, &dashboard.link().await).await;
    dashboard.browser.shows("dialog input.code").await;
    dashboard.says(&format!("through {}", relay.name())).await;
    dashboard.look("approval-relay").await;
    dashboard.browser.holds("document.activeElement.matches('input.code')").await;
    dashboard.browser.press(format!("{}\n", sealed.check_code.show())).await;
    sealed.granted().await;
    sealed.send(&Control::Ack).await;
    dashboard.browser.shows("dialog .stage.good").await;
    dashboard.browser.holds("document.querySelector('dialog .card').innerText.includes('through the relay')").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_copied_where_the_browser_lets_pages_and_where_it_does_not() {
    let host = TestHost::start(|_| {}).await;
    let browser = Browser::start(|_| ()).await;
    let allowed = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.driver().cdp().send_raw("Browser.grantPermissions", allowed).await.unwrap();
    let dashboard = Dashboard::open_in(&host, browser).await;
    dashboard.connect().await;
    dashboard.press("Copy link").await;
    dashboard.says("Copied.").await;
    assert!(dashboard.said().await.contains("Copied."));
    let copied = dashboard.browser.evaluate("navigator.clipboard.readText()").await;
    assert_eq!(copied, json!(dashboard.link().await));

    // At another address than its own, over plain HTTP, the browser keeps its clipboard from pages.
    let without = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined })";
    let tools = dashboard.browser.driver().cdp();
    tools.send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": without })).await.unwrap();
    dashboard.browser.open(host.pairing_url()).await;
    dashboard.browser.shows("nav").await;
    dashboard.connect().await;
    assert_eq!(dashboard.browser.evaluate("navigator.clipboard === undefined").await, json!(true));
    dashboard
        .browser
        .run(
            "window.taken = ''; document.addEventListener('copy', () => taken = getSelection().toString()
        || document.activeElement.value)",
            Value::Null,
        )
        .await;
    dashboard.press("Copy link").await;
    dashboard.says("Copied.").await;
    assert_eq!(dashboard.browser.evaluate("taken").await, json!(dashboard.link().await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_held_to_paths_and_to_a_date_in_the_page() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let phone = host.add_device("Phone").await;
    let asks = async |path: &str| {
        let answer = host.through_gateway("app", Some(&phone.device_token)).get(path).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!((asks("/echo").await, asks("/").await), (200, 200));
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Rename or restrict Phone").await;
    dashboard.browser.click("dialog textarea").await;
    dashboard.browser.press("/echo").await;
    // What a person would type by its parts, whatever their order here.
    dashboard
        .browser
        .run(
            "const field = document.querySelector('dialog input[type=datetime-local]');
        field.value = '2099-12-31T23:59'; field.dispatchEvent(new Event('input', { bubbles: true }))",
            Value::Null,
        )
        .await;
    dashboard.press("Save").await;
    dashboard.says("Access ends").await;
    dashboard.says("31 Dec 2099").await;
    dashboard.look("restricted").await;
    assert_eq!((asks("/echo").await, asks("/").await), (200, 403));

    // A path that cannot be used is refused, with what to do.
    dashboard.press("Rename or restrict Phone").await;
    dashboard.browser.click("dialog textarea").await;
    dashboard.browser.press("/../secret").await;
    dashboard.press("Save").await;
    dashboard.says("CPL-1215").await;
    dashboard.look("restriction-refused").await;
    dashboard.press("Cancel").await;
    dashboard.press("Rename or restrict Phone").await;
    let value = dashboard.browser.evaluate("document.querySelector('dialog textarea').value").await;
    assert_eq!(value, json!("/echo"), "what was not saved is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_read_to_its_beginning() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000");
    })
    .await;
    host.add_device("The very first").await;
    for _ in 0..260 {
        let offer = host.generate().await;
        let path = format!("/api/pair/offers/{}", offer.offer_id);
        assert_eq!(host.owner().delete(&path).send().await.unwrap().status(), 204);
    }
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Activity").await;
    dashboard.says("Code withdrawn").await;
    let entries = "document.querySelectorAll('.log li').length";
    assert_eq!(dashboard.browser.evaluate(entries).await, json!(500));
    assert!(!dashboard.browser.text().await.contains("The very first"));
    dashboard.press("Show older entries").await;
    dashboard.says("The very first").await;
    dashboard
        .browser
        .holds("![...document.querySelectorAll('button')].some(button => button.innerText.includes('older'))")
        .await;
    // What happens now stands above, and nothing of the rest goes.
    host.generate().await;
    dashboard.browser.holds("document.querySelector('.log li').innerText.includes('Code opened')").await;
    dashboard.says("The very first").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_browser_signs_every_browser_out() {
    let host = TestHost::start(|_| {}).await;
    let (here, there) = (Dashboard::open(&host).await, Dashboard::open(&host).await);
    here.press("Host").await;
    here.press("Sign out everywhere").await;
    for dashboard in [here, there] {
        dashboard.says("couplet dashboard").await;
        assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('nav').length").await, json!(0));
    }
}
