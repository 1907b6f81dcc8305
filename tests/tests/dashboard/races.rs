//! The dashboard when answers come late: no code is left open that nobody sees, none is shown that is dead, no claim is
//! lost, and what is listed is what was asked for last.

use e2e::browser::thirtyfour::Key;
use e2e::plain::exchange;
use e2e::{Browser, Dashboard, Laptop, Running, TestApp, TestHost};
use serde_json::{Value, json};

/// Answers whose address holds `hold` wait until the test lets them through.
const HOLD: &str = "
    const ask = fetch; window.held = []; window.hold = '';
    window.fetch = async (url, init) => {
        const answer = await ask(url, init);
        if (hold && String(url).includes(hold)) await new Promise(go => held.push(go));
        return answer;
    }";

/// Keeps what each stream of events was asked for and told, cuts it when the test says so, and lets the page come back only
/// when the test has it do.
const CUT: &str = "
    const ask = fetch; window.streams = []; window.away = false;
    window.fetch = async (url, init) => {
        if (!String(url).includes('/api/pair/events')) return ask(url, init);
        if (away) await new Promise(go => window.comeBack = go);
        const [stop, stream] = [new AbortController(), { last: init.headers['Last-Event-ID'] ?? null, told: '' }];
        init.signal.addEventListener('abort', () => stop.abort());
        streams.push(Object.assign(stream, { cut: () => stop.abort() }));
        const answer = await ask(url, { ...init, signal: stop.signal });
        const read = new TextDecoder();
        const keep = { transform(chunk, on) { stream.told += read.decode(chunk); on.enqueue(chunk); } };
        return new Response(answer.body.pipeThrough(new TransformStream(keep)), answer);
    }";

/// A host that asks about everyone, and its dashboard in a browser where answers can be held.
async fn start(app: &TestApp) -> (TestHost, Dashboard) {
    start_with(app, HOLD).await
}

/// The same, with another script in each page.
async fn start_with(app: &TestApp, script: &str) -> (TestHost, Dashboard) {
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always").env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000");
    })
    .await;
    let browser = Browser::start(|_| ()).await;
    let tools = browser.driver().cdp();
    tools.send_raw("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await.unwrap();
    let dashboard = Dashboard::open_in(&host, browser).await;
    (host, dashboard)
}

async fn hold(dashboard: &Dashboard, path: &str) {
    dashboard.browser.run("hold = argument", json!(path)).await;
}

/// Waits until so many answers are held.
async fn are_held(dashboard: &Dashboard, number: usize) {
    dashboard.browser.holds(&format!("held.length === {number}")).await;
}

/// Lets one of the held answers through.
async fn release(dashboard: &Dashboard, number: usize) {
    dashboard.browser.run("held[argument]()", json!(number)).await;
}

/// The offers that were opened, by the terminal's events.
fn opened(host: &TestHost) -> Vec<Value> {
    let events = host.printed();
    let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["event"] == "offer.created").map(|event| event["pairing_id"].clone()).collect()
}

/// Waits until an offer is withdrawn.
async fn is_withdrawn(host: &TestHost, offer: &Value) {
    host.event("pairing.rejected", |event| event["pairing_id"] == *offer && event["device_name"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_comes_after_the_dialog_was_closed_is_withdrawn() {
    let app = TestApp::start().await;
    let (host, dashboard) = start(&app).await;
    hold(&dashboard, "/api/pair/generate").await;
    dashboard.press("Connect mobile").await;
    are_held(&dashboard, 1).await;
    dashboard.browser.press(Key::Escape).await;
    dashboard.browser.holds("!document.querySelector('dialog')").await;
    release(&dashboard, 0).await;
    is_withdrawn(&host, &opened(&host)[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_scanned_while_another_is_opened_is_the_one_that_counts() {
    let app = TestApp::start().await;
    let (host, dashboard) = start(&app).await;
    dashboard.connect().await;
    let link = dashboard.link().await;
    hold(&dashboard, "/api/pair/generate").await;
    dashboard.press("Regenerate QR").await;
    are_held(&dashboard, 1).await;
    let _laptop = Running::start(Laptop::new().command(&[&link, "--json", "--listen", "127.0.0.1:0"]));
    dashboard.browser.shows("dialog input.code").await;
    release(&dashboard, 0).await;
    is_withdrawn(&host, &opened(&host)[1]).await;
    dashboard.browser.shows("dialog input.code").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_codes_that_were_asked_for_the_newer_one_is_shown_and_open() {
    let app = TestApp::start().await;
    let (host, dashboard) = start(&app).await;
    dashboard.connect().await;
    dashboard.press("Apps that know plain HTTP only").await;
    hold(&dashboard, "/api/qr").await;
    dashboard.press("Regenerate QR").await;
    are_held(&dashboard, 1).await;
    dashboard.press("Regenerate QR").await;
    are_held(&dashboard, 2).await;
    // The newer one is drawn first: its two pictures.
    release(&dashboard, 1).await;
    are_held(&dashboard, 3).await;
    release(&dashboard, 2).await;
    let offers = opened(&host);
    is_withdrawn(&host, &offers[0]).await;
    release(&dashboard, 0).await;
    is_withdrawn(&host, &offers[1]).await;
    assert_eq!(exchange(&dashboard.link().await, "Tablet", None).await.0, 202, "what is shown is open");
    dashboard.browser.shows("dialog form.wanted").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_by_another_door_is_seen_beside_the_code() {
    let app = TestApp::start().await;
    let (host, dashboard) = start(&app).await;
    dashboard.connect().await;
    let offer = host.generate().await;
    let body = json!({ "pair_token": offer.qr_url.split_once("?pair=").unwrap().1, "device_name": "Tablet" });
    let answer = host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    dashboard.browser.holds("document.querySelector('dialog').innerText.includes('Let Tablet in?')").await;
    dashboard.look("waiting-beside-code").await;
    dashboard.press("Reject").await;
    dashboard.browser.holds("!document.querySelector('form.wanted')").await;
    // The code is still there, and the focus still in the dialog.
    dashboard.browser.shows("dialog svg.qr").await;
    dashboard.browser.holds("document.activeElement.closest('dialog') !== null").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_overtaken_is_not_shown() {
    let app = TestApp::start().await;
    let (host, dashboard) = start(&app).await;
    dashboard.says("No device is paired yet.").await;
    hold(&dashboard, "/api/pair/devices").await;
    host.add_device("First").await;
    are_held(&dashboard, 1).await;
    host.add_device("Second").await;
    dashboard.says("Second is paired.").await;
    // However many there are: the last first.
    let reversed = "hold = ''; held.splice(0).reverse().forEach(go => go())";
    dashboard.browser.run(reversed, Value::Null).await;
    let cards =
        "[...document.querySelectorAll('main .card h3')].map(name => name.innerText).sort().join() === 'First,Second'";
    dashboard.browser.holds(cards).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_stream_breaks_before_anything_was_told_misses_nothing() {
    let app = TestApp::start().await;
    let (host, dashboard) = start_with(&app, CUT).await;
    dashboard.browser.holds("streams.length === 1 && streams[0].told.includes('id:')").await;
    let begins = dashboard.browser.evaluate("[streams[0].last, streams[0].told.includes('data:')]").await;
    assert_eq!(begins, json!([null, false]));
    dashboard.browser.run("away = true; streams[0].cut()", Value::Null).await;
    dashboard.says("The host does not answer.").await;
    host.add_device("Phone").await;
    dashboard.browser.holds("window.comeBack").await;
    dashboard.browser.run("away = false; comeBack()", Value::Null).await;
    // A notice comes of the event alone; lists are read anew anyway.
    dashboard.says("Phone is paired.").await;
    let again = dashboard.browser.evaluate("streams[0].told.includes(`id: ${streams[1].last}`)").await;
    assert_eq!(again, json!(true), "it came back with the number that it was told");
}
