//! The dashboard where things go wrong: refusals with their causes, a session that is over, a host that is away, another
//! window that was faster, a relay that is gone; and its countdown, for those who hear it.

use e2e::browser::thirtyfour::Key;
use e2e::dashboard::link;
use e2e::host::PATIENCE;
use e2e::plain::exchange;
use e2e::{Browser, Dashboard, Laptop, Relay, Running, TestApp, TestHost, free_port};
use serde_json::{Value, json};

/// Asks for the host's plain code in the dialog, and presents it as an app that knows plain HTTP does.
async fn asks_by_code(dashboard: &Dashboard, name: &str) {
    dashboard.connect().await;
    assert_eq!(exchange(&dashboard.plain_link().await, name, None).await.0, 202);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_wrong_check_codes_turn_the_device_away_and_the_page_says_why() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    let laptop = Laptop::new();
    let running = Running::start(laptop.command(&[&dashboard.link().await, "--json", "--listen", "127.0.0.1:0"]));
    let line = running.wait_for_line(PATIENCE, |line| line.contains("check_code")).await;
    let code = serde_json::from_str::<Value>(&line).unwrap()["check_code"].as_str().unwrap().to_owned();
    let wrong = if code.starts_with('0') { "111111" } else { "000000" };
    for left in ["2 tries are left", "1 try is left", "CPL-1221"] {
        dashboard.browser.shows("dialog input.code").await;
        // Where the focus is already.
        dashboard.browser.holds("document.activeElement.matches('input.code')").await;
        dashboard.browser.press(format!("{wrong}\n")).await;
        dashboard.says(left).await;
    }
    dashboard.says("the third check code was wrong").await;
    // What was pressed is gone; the focus is still in the dialog.
    dashboard.browser.holds("document.activeElement.closest('dialog') !== null").await;
    dashboard.look("turned-away").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_nothing_is_said_with_its_cause_and_code() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always").env("COUPLET_LIMITS__CLAIM_SECONDS", "10");
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "3");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    // Nobody answers.
    asks_by_code(&dashboard, "Tablet").await;
    dashboard.says("Let Tablet in?").await;
    dashboard.says("Nobody answered Tablet in time.").await;
    dashboard.says("CPL-1209").await;
    dashboard.look("expired").await;
    // Rejected elsewhere.
    dashboard.browser.press(Key::Escape).await;
    asks_by_code(&dashboard, "Tablet").await;
    dashboard.says("Let Tablet in?").await;
    Running::start(host.command(&["reject", "Tablet"])).succeeds(PATIENCE).await;
    dashboard.says("The owner rejected it.").await;
    dashboard.says("CPL-1208").await;
    // Too many codes in a minute: the one that is open stays.
    dashboard.press("Show a new code").await;
    dashboard.browser.shows("svg.qr").await;
    let refused = "document.body.innerText.includes('CPL-1207')";
    // How many codes of the last minute there are depends on how quick all this was.
    let mut open = dashboard.link().await;
    for _ in 0..4 {
        dashboard.press("Regenerate QR").await;
        let shown = json!(open);
        let other = format!("(document.querySelector('.copy input')?.value ?? {shown}) !== {shown}");
        dashboard.browser.holds(&format!("{refused} || {other}")).await;
        if dashboard.browser.evaluate(refused).await == json!(true) {
            break;
        }
        open = dashboard.link().await;
    }
    dashboard.says("CPL-1207").await;
    assert_eq!(dashboard.link().await, open);
    dashboard.look("too-many-codes").await;
    dashboard.browser.press(Key::Escape).await;
    dashboard.browser.holds("!document.querySelector('dialog')").await;
    while host.owner().post("/api/pair/generate").send().await.unwrap().status() == 200 {}
    dashboard.press("Connect mobile").await;
    dashboard.says("Show a new code").await;
    dashboard.look("failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_a_second_window_turns_away_is_told_in_the_first_with_what_to_do() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_APPROVE", "always");
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    assert_eq!(exchange(&dashboard.plain_link().await, "Tablet", None).await.0, 202);
    dashboard.says("Let Tablet in?").await;
    let driver = dashboard.browser.driver().clone();
    let [first, _] = dashboard.second_window(&host).await;
    dashboard.press("Reject").await;
    dashboard.browser.holds("!document.querySelector('form.wanted')").await;
    driver.switch_to_window(first).await.unwrap();
    dashboard.says("Tablet was turned away.").await;
    dashboard.says("The owner rejected it. Show a new code").await;
    dashboard.says("CPL-1208").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_an_hour_after_its_owner_has_used_a_page() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    host.set_clock("+3000");
    dashboard.connect().await;
    dashboard.browser.press(Key::Escape).await;
    dashboard.browser.holds("!document.querySelector('dialog')").await;
    // What the page asks by itself is answered, and counts for nothing.
    host.set_clock("+6000");
    let asks =
        "return (await fetch('/api/owner', { headers: { 'couplet-page': localStorage['couplet-page'] } })).status";
    assert_eq!(dashboard.browser.run(asks, Value::Null).await, json!(200));
    host.set_clock("+6700");
    dashboard.says("CPL-1117").await;
    dashboard.says("Nobody has used it for an hour.").await;
    dashboard.says("couplet dashboard").await;
    dashboard.look("unused").await;
    assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('nav, dialog').length").await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_window_and_the_terminal_are_never_contradicted() {
    let host = TestHost::start(|_| {}).await;
    host.add_device("Phone").await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Rename or restrict Phone").await;
    let field = dashboard.browser.shows("dialog input:not([type])").await;
    // Revoked while it is being changed.
    Running::start(host.command(&["devices", "revoke", "Phone", "--yes"])).succeeds(PATIENCE).await;
    dashboard.browser.holds("document.body.innerText.includes('Phone is revoked')").await;
    field.send_keys("!").await.unwrap();
    dashboard.press("Save").await;
    dashboard.says("CPL-1212").await;
    dashboard.look("change-refused").await;
    dashboard.press("Cancel").await;
    dashboard.says("1 revoked device").await;

    // And one that another window has just revoked, before its event comes here.
    host.add_device("Tablet").await;
    dashboard.says("Tablet").await;
    dashboard.press("Revoke Tablet").await;
    Running::start(host.command(&["devices", "revoke", "Tablet", "--yes"])).succeeds(PATIENCE).await;
    dashboard.press("Revoke").await;
    dashboard.says("CPL-1212").await;
    dashboard.press("Cancel").await;
    dashboard.says("2 revoked devices").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_away_has_ended_the_session_and_the_page_says_so() {
    let port = free_port();
    let mut host = TestHost::start(|setup| {
        setup.arg("--listen").arg(format!("127.0.0.1:{port}"));
    })
    .await;
    let browser = Browser::start(|_| ()).await;
    let token = link(&host).await.split_once('#').unwrap().1.to_owned();
    browser.open(&format!("http://127.0.0.1:{port}/#{token}")).await;
    browser.shows("nav").await;
    let dashboard = Dashboard { browser };
    dashboard.connect().await;
    host.stop().await;
    dashboard.says("The host does not answer.").await;
    dashboard.press("Regenerate QR").await;
    dashboard.browser.shows("dialog .stage .bad").await;
    dashboard.look("offline-code").await;
    host.restart().await;
    dashboard.says("CPL-1117").await;
    dashboard.says("couplet dashboard").await;
    // Nothing of what was shown stays.
    assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('nav, dialog').length").await, json!(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_page_of_a_session_that_is_over_changes_nothing() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let phone = host.add_device("Phone").await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Revoke Phone").await;
    host.set_clock("+43800");
    dashboard.press("Revoke").await;
    dashboard.says("CPL-1117").await;
    assert_eq!(host.device(&phone.device_token).get("/api/pair/me").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_stands_on_the_page_as_it_is() {
    let mut relay = Relay::start().await;
    let host = relay.host(|_| {}).await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Host").await;
    dashboard.says(&relay.name()).await;
    dashboard.says("Devices reach this host from anywhere.").await;
    dashboard.look("relay-linked").await;
    relay.kill().await;
    dashboard.says("no link").await;
    dashboard.says("CPL-18").await;
    dashboard.look("relay-lost").await;
    relay.restart().await;
    dashboard.says("Devices reach this host from anywhere.").await;
}

/// Lets time pass until so many seconds are left.
const PASS: &str = "
    const [minutes, seconds] = document.querySelector('[role=timer] strong').innerText.split(':').map(Number);
    passed += (60 * minutes + seconds - argument) * 1000;";

/// Keeps what is told in the open dialog.
const WATCH: &str = "
    const region = document.querySelector('dialog [role=status].unseen');
    window.told = [region.textContent];
    new MutationObserver(() => told.push(region.textContent))
        .observe(region, { childList: true, characterData: true, subtree: true })";

#[tokio::test(flavor = "multi_thread")]
async fn the_countdown_is_told_at_its_start_and_at_60_30_and_10_seconds() {
    let host = TestHost::start(|_| {}).await;
    let browser = Browser::start(|_| ()).await;
    // Once the countdown is there, time passes when the test says so, and not otherwise.
    let clock = "const now = performance.now.bind(performance); window.began = null; window.passed = 0;
        performance.now = () => (began ?? now()) + passed";
    let tools = browser.driver().cdp();
    tools.send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": clock })).await.unwrap();
    let dashboard = Dashboard::open_in(&host, browser).await;
    dashboard.connect().await;
    dashboard.browser.run("began = performance.now()", Value::Null).await;
    // What is outside an open dialog is not heard: what is told stands inside.
    let heard = dashboard.browser.driver().cdp().send_raw("Accessibility.getFullAXTree", json!({})).await.unwrap();
    let is_status = |node: &&Value| node["role"]["value"] == "status" && node["ignored"] == json!(false);
    assert_eq!(heard["nodes"].as_array().unwrap().iter().filter(is_status).count(), 1);
    assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('dialog .unseen').length").await, json!(1));
    dashboard.browser.run(WATCH, Value::Null).await;
    dashboard.browser.holds("told.join('|').includes('It expires in 5 minutes.')").await;
    for (left, said) in [(60, "1 minute left."), (30, "30 seconds left."), (10, "10 seconds left.")] {
        let ring = "Number(document.querySelector('.ring .left').getAttribute('stroke-dashoffset'))";
        let before = dashboard.browser.evaluate(ring).await.as_f64().unwrap();
        dashboard.browser.run(PASS, json!(left)).await;
        dashboard.browser.holds(&format!("told.includes({})", json!(said))).await;
        let after = dashboard.browser.evaluate(ring).await.as_f64().unwrap();
        assert!(after > before, "the ring empties: {before}, {after}");
        if left == 10 {
            dashboard.browser.shows(".ring.late").await;
            dashboard.look("code-late").await;
        }
    }
    let told = dashboard.browser.evaluate("told.filter(text => text.includes('left'))").await;
    assert_eq!(told, json!(["1 minute left.", "30 seconds left.", "10 seconds left."]), "and not every second");
}
