//! The owner's dashboard in a real browser: signing in, "Connect mobile", devices.

use std::collections::HashSet;

use couplet_protocol::api::DeviceList;
use e2e::browser::thirtyfour::prelude::*;
use e2e::dashboard::{CLOSES, link, read_code};
use e2e::host::PATIENCE;
use e2e::plain::{MODEL, exchange};
use e2e::{Browser, Dashboard, Laptop, Running, TestApp, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

/// A host whose owner is asked about everyone, with an app behind it.
async fn asking(app: &TestApp) -> TestHost {
    TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always").env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000");
        setup.env("COUPLET_LIMITS__CLAIM_SECONDS", "600");
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_signs_one_browser_in_and_signing_out_ends_every_page_of_it() {
    let host = TestHost::start(|_| {}).await;
    let browser = Browser::start(|setup| {
        setup.watch();
    })
    .await;
    browser.open(host.pairing_url()).await;
    let mut dashboard = Dashboard { browser };
    dashboard.says("couplet dashboard").await;
    dashboard.look("signed-out").await;
    let used = link(&host).await;
    dashboard.browser.open(&used).await;
    dashboard.browser.shows("nav").await;
    assert_eq!(dashboard.browser.url().await, format!("{}/", host.pairing_url()), "the token is not left in sight");
    dashboard.says("No device is paired yet.").await;
    dashboard.look("no-devices").await;
    let own = format!("{}/", host.pairing_url());
    let answers = dashboard.browser.answers().await;
    // The empty tab that a browser begins with is the browser's own.
    let others: Vec<_> = answers.iter().filter(|(url, _)| url.starts_with("http") && !url.starts_with(&own)).collect();
    assert!(
        others.is_empty() && answers.iter().any(|(url, _)| url.starts_with(&own)),
        "it asks its host alone: {others:?}"
    );
    // Nothing stood in the policy's way.
    let said = dashboard.browser.console().await;
    assert!(!said.iter().any(|line| line.contains("Content Security Policy")), "{said:?}");

    // Another tab is signed in, too; a used link changes nothing about that.
    let driver = dashboard.browser.driver().clone();
    let first = driver.window().await.unwrap();
    let second = driver.new_tab().await.unwrap();
    driver.switch_to_window(second).await.unwrap();
    dashboard.browser.open(&used).await;
    dashboard.browser.shows("nav").await;
    dashboard.press("Sign out").await;
    dashboard.says("couplet dashboard").await;
    driver.switch_to_window(first).await.unwrap();
    dashboard.says("couplet dashboard").await;

    // In another browser it is used up.
    dashboard.browser = Browser::start(|_| ()).await;
    dashboard.browser.open(&used).await;
    dashboard.says("CPL-1116").await;
    dashboard.look("link-used").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanned_code_pairs_a_laptop_and_every_page_follows() {
    let app = TestApp::start().await;
    let host = asking(&app).await;
    let dashboard = Dashboard::open(&host).await;
    let driver = dashboard.browser.driver().clone();
    let [first, second] = dashboard.second_window(&host).await;
    dashboard.says("No device is paired yet.").await;
    driver.switch_to_window(first.clone()).await.unwrap();

    dashboard.connect().await;
    assert!(dashboard.said().await.contains("It expires in 5 minutes"), "{}", dashboard.said().await);
    // It listens on this machine alone.
    dashboard.says("No other machine can reach this host.").await;
    dashboard.says("CPL-1407").await;
    dashboard.look("code").await;
    let scanned = read_code(&dashboard.browser.screenshot("dashboard-to-scan").await);
    assert_eq!(scanned, dashboard.link().await);

    let laptop = Laptop::new();
    let running = Running::start(laptop.command(&[&scanned, "--json", "--listen", "127.0.0.1:0"]));
    dashboard.browser.shows("dialog input.code").await;
    dashboard.says("System").await;
    dashboard.look("approval").await;
    let line = running.wait_for_line(PATIENCE, |line| line.contains("check_code")).await;
    let code = serde_json::from_str::<Value>(&line).unwrap()["check_code"].as_str().unwrap().to_owned();
    let wrong = if code.starts_with('0') { "111111" } else { "000000" };
    dashboard.browser.click("dialog input.code").await;
    dashboard.browser.press(wrong).await;
    dashboard.press("Approve").await;
    dashboard.says("CPL-1220").await;
    dashboard.look("wrong-code").await;
    // By keyboard alone.
    dashboard.browser.run("document.querySelector('dialog input.code').focus()", Value::Null).await;
    dashboard.browser.press(code).await;
    dashboard.browser.press(Key::Enter).await;
    dashboard.browser.shows("dialog .stage.good").await;
    let gone =
        async || dashboard.browser.evaluate("!document.querySelector('dialog')").await.as_bool().unwrap().then_some(());
    dashboard.browser.until("the dialog closes by itself", CLOSES, gone).await;
    let mut forwarder = e2e::Forwarder::ready(running).await;
    forwarder.state("direct").await;

    // In the second tab, and in the terminal.
    driver.switch_to_window(second.clone()).await.unwrap();
    dashboard.browser.shows("main .card").await;
    dashboard.says("Connected").await;
    dashboard.look("devices").await;
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    let name = list.devices[0].device_name.to_string();
    let listed = Running::start(host.command(&["devices", "list"])).succeeds(PATIENCE).await;
    assert!(listed.contains(&name), "{listed}");

    // Renamed there, it has that name here; restricted, it may only read.
    dashboard.press(&format!("Rename or restrict {name}")).await;
    dashboard.look("change").await;
    let field = dashboard.browser.shows("dialog input:not([type])").await;
    field.clear().await.unwrap();
    field.send_keys("Work laptop").await.unwrap();
    dashboard.press("May only read").await;
    dashboard.press("Save").await;
    dashboard.says("read only, everything").await;
    driver.switch_to_window(first).await.unwrap();
    dashboard.says("Work laptop").await;
    forwarder.state("direct").await;
    let put = forwarder.caller().request(Method::PUT, "/upload").body("x").send().await.unwrap();
    assert_eq!(put.status(), 403);

    // Revoked, its download stops.
    let mut download = forwarder.caller().get("/endless").send().await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    dashboard.press("Revoke Work laptop").await;
    dashboard.look("revoke").await;
    dashboard.press("Revoke").await;
    let stops = async { while let Ok(Some(_)) = download.chunk().await {} };
    tokio::time::timeout(PATIENCE, stops).await.expect("the download breaks off");
    dashboard.says("Work laptop is revoked").await;
    driver.switch_to_window(second).await.unwrap();
    dashboard.says("1 revoked device").await;
    dashboard.press("Activity").await;
    dashboard.says("Device revoked").await;
    dashboard.look("activity").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_app_is_approved_or_turned_away_wherever_it_came() {
    let app = TestApp::start().await;
    let host = asking(&app).await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    let link = dashboard.plain_link().await;
    assert_eq!(read_code(&dashboard.browser.screenshot("dashboard-to-scan-plain").await), link);
    let (status, waits) = exchange(&link, "iPad Pro", None).await;
    assert_eq!(status, 202);
    dashboard.says(MODEL).await;
    dashboard.look("approval-plain").await;
    dashboard.press("Approve").await;
    let collected = async || {
        let (status, _) = exchange(&link, "iPad Pro", Some(&waits["claim"])).await;
        (status == 200).then_some(())
    };
    dashboard.browser.until("the claim is granted", PATIENCE, collected).await;
    dashboard.browser.shows("dialog .stage.good").await;
    dashboard.look("paired").await;
    let gone =
        async || dashboard.browser.evaluate("!document.querySelector('dialog')").await.as_bool().unwrap().then_some(());
    dashboard.browser.until("the dialog closes by itself", CLOSES, gone).await;

    // Turned away in the dialog.
    dashboard.connect().await;
    exchange(&dashboard.plain_link().await, "Stranger", None).await;
    dashboard.press("Reject").await;
    dashboard.says("Show a new code").await;
    dashboard.look("rejected").await;
    dashboard.press("Show a new code").await;
    dashboard.browser.shows("svg.qr").await;
    // Withdrawn with the dialog, by key.
    dashboard.browser.press(Key::Escape).await;
    dashboard.browser.until("Escape closes it", PATIENCE, gone).await;
    host.event("pairing.rejected", |event| event["device_name"].is_null()).await;

    // One that came by a code of the terminal waits on the page itself.
    let offer = host.generate().await;
    exchange(&offer.qr_url, "Kitchen tablet", None).await;
    dashboard.says("A device waits for you").await;
    dashboard.look("waiting").await;
    dashboard.press("Reject").await;
    dashboard.says("Kitchen tablet was turned away.").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_nobody_scans_is_renewed_five_times_by_the_hosts_clock() {
    let host = TestHost::start(|setup| {
        setup.movable_clock().env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000");
    })
    .await;
    let browser = Browser::start(|_| ()).await;
    // This browser's clock is an hour ahead. Time passes when the test says so, there and at the host.
    let ahead = "const [now, steady] = [Date.now, performance.now.bind(performance)]; window.passed = 0;
        Date.now = () => now() + 3600000 + passed; performance.now = () => steady() + passed";
    let tools = browser.driver().cdp();
    tools.send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": ahead })).await.unwrap();
    let dashboard = Dashboard::open_in(&host, browser).await;
    dashboard.connect().await;
    let text = dashboard.browser.text().await;
    assert!(text.contains("Expires in 4:5") || text.contains("Expires in 5:00"), "{text}");
    let mut links = HashSet::from([dashboard.link().await]);
    for codes in 1..=6 {
        host.set_clock(&format!("+{}", 300 * codes));
        dashboard.browser.run("passed = argument", json!(300_000 * codes)).await;
        if codes < 6 {
            let shown = json!(dashboard.link().await);
            dashboard.browser.holds(&format!("![{shown}].includes(document.querySelector('.copy input').value)")).await;
            links.insert(dashboard.link().await);
        }
    }
    dashboard.says("No new one is made until you ask for it.").await;
    assert!(dashboard.said().await.contains("Nobody scanned the code"), "{}", dashboard.said().await);
    assert_eq!(links.len(), 6);
    dashboard.look("paused").await;
    dashboard.press("Show a new code").await;
    dashboard.browser.shows("svg.qr").await;
    let before = dashboard.link().await;
    dashboard.press("Regenerate QR").await;
    dashboard.browser.holds(&format!("document.querySelector('.copy input').value !== {}", json!(before))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_show_when_they_were_paired_and_last_seen() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let hostile = "<img src=x onerror=alert(1)>";
    let offer = host.generate().await;
    let (status, phone) = exchange(&offer.qr_url, hostile, None).await;
    assert_eq!(status, 200);
    host.device(phone["device_token"].as_str().unwrap()).get("/api/pair/me").send().await.unwrap();
    host.add_device("Editor").await;
    host.set_clock("+7260");
    let dashboard = Dashboard::open(&host).await;
    dashboard.connect().await;
    let card = "[...document.querySelectorAll('dialog .card')].map(card => card.innerText).join()";
    dashboard.browser.holds(&format!("{card}.includes('2h ago')")).await;
    let cards = dashboard.browser.evaluate(card).await.as_str().unwrap().to_owned();
    for text in [hostile, MODEL, "Editor", "never used", "Paired", "Revoke"] {
        assert!(cards.contains(text), "{text}: {cards}");
    }
    assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('img').length").await, json!(0));
    // Half a day later.
    host.set_clock("+60000");
    dashboard.says("CPL-1117").await;
    dashboard.look("session-over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_says_when_the_host_is_gone() {
    let mut host = TestHost::start(|_| {}).await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Host").await;
    dashboard.says("not enrolled with a relay").await;
    dashboard.look("host").await;
    host.stop().await;
    dashboard.says("The host does not answer.").await;
    dashboard.look("offline").await;
}
