//! A real browser at `couplet connect`: JupyterLab in it works like on the host itself, and pages of other sites, in
//! the same browser, have nothing of it.

use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use e2e::host::PATIENCE;
use e2e::picture::Theme;
use e2e::{
    Browser, Forwarder, Internet, Jupyter, Lab, Laptop, Machines, Running, Terminal, TestApp, TestHost, eventually,
    pattern,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What the page gets from Jupyter's API: the status, and the code of an error, if it is the forwarder's own.
const ASK: &str = "fetch('/api/status').then(
    async answer => [answer.status, answer.ok ? '' : (await answer.json()).code], error => [0, error.name])";

/// Waits until the page gets this from Jupyter's API.
async fn is_answered(browser: &Browser, status: u16, code: &str) {
    let wanted = json!([status, code]);
    let asked = async || (browser.evaluate(ASK).await == wanted).then_some(());
    browser.until(&format!("the page is answered {wanted}"), PATIENCE, asked).await;
}

/// The address without its port.
fn ip(forwarder: &Forwarder) -> &str {
    forwarder.url().strip_prefix("http://").unwrap().split(':').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_works_in_a_browser_and_goes_on_after_a_cut() {
    let mut machines = Machines::new("lab").await;
    let _jupyter = Jupyter::behind(&mut machines).await;
    let mut forwarder = machines.pair_at_its_own().await;
    let browser = Browser::start(|setup| {
        setup.network(machines.far()).reaches(ip(&forwarder));
    })
    .await;
    let lab = Lab::open(&browser, forwarder.url()).await;
    lab.run("6*7").await;
    lab.has_result("42").await;
    is_answered(&browser, 200, "").await;
    browser.run("window.opened = 'before the cut'", json!(null)).await;

    // The page is told at once, and JupyterLab says so; what it is to run waits. Had it been told 502, it might take its
    // kernel for dead: 503 is what it asks again after.
    machines.cut().await;
    forwarder.state("offline").await;
    is_answered(&browser, 503, "CPL-1601").await;
    browser.says("Python 3 (ipykernel) | Connecting").await;
    lab.run("2**40").await;
    machines.mend().await;
    forwarder.state("direct").await;
    lab.has_result("1099511627776").await;
    lab.run("'same' + ' kernel', _1 + _2").await;
    lab.has_result("('same kernel', 1099511627818)").await;
    is_answered(&browser, 200, "").await;
    assert_eq!(browser.evaluate("window.opened").await, "before the cut");
    browser.screenshot("jupyterlab").await;

    Running::start(machines.owner(&["devices", "revoke", "Laptop", "--yes"])).succeeds(PATIENCE).await;
    let revoked = Instant::now();
    is_answered(&browser, 0, "TypeError").await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "it took {:?}", revoked.elapsed());
    assert_eq!(forwarder.running.wait(PATIENCE).await.code(), Some(4));
}

/// Host and laptop share no network. From the code on the owner's screen on, everything goes through the relay.
#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_works_across_a_relay_and_goes_on_after_relay_and_host_were_killed() {
    let mut internet = Internet::new("lab").await;
    internet.part().await;
    internet.start_relay().await;
    internet.enroll().await;
    let jupyter = Jupyter::behind(&mut internet.machines).await;
    let mut forwarder = pair_by_the_code(&internet).await;
    let browser = Browser::start(|setup| {
        setup.network(internet.machines.far());
    })
    .await;
    let lab = Lab::open(&browser, forwarder.url()).await;
    lab.run("6*7").await;
    lab.has_result("42").await;
    // JupyterLab sends it in pieces of a megabyte.
    let measured = pattern::chunk(0, u64::MAX).repeat(16);
    let file = internet.machines.folder().join("measured.bin");
    std::fs::write(&file, &measured).unwrap();
    lab.upload(&file).await;
    let received = jupyter.root().join("measured.bin");
    eventually("what is uploaded arrives as it is", PATIENCE, async || std::fs::read(&received).unwrap() == measured)
        .await;
    browser.run("window.opened = 'before the kills'", json!(null)).await;

    internet.kill_relay().await;
    forwarder.state("offline").await;
    is_answered(&browser, 503, "CPL-1601").await;
    lab.is_lost().await;
    lab.run("2**40").await;
    internet.start_relay().await;
    forwarder.state("relay").await;
    lab.has_result("1099511627776").await;

    internet.machines.kill_host().await;
    forwarder.state("offline").await;
    is_answered(&browser, 503, "CPL-1601").await;
    lab.run("'same' + ' kernel', _1 + _2").await;
    jupyter.serve(&mut internet.machines).await;
    forwarder.state("relay").await;
    lab.has_result("('same kernel', 1099511627818)").await;
    assert_eq!(browser.evaluate("window.opened").await, "before the kills", "the same page");
    assert!(lab.download("measured.bin").await == measured, "and so does what is downloaded");
    browser.screenshot("jupyterlab-relay").await;
    forwarder.stop().await;
}

/// Pairs by what a camera reads off the owner's terminal, and the owner types the device's digits there.
async fn pair_by_the_code(internet: &Internet) -> Forwarder {
    let terminal = Terminal::start(&internet.machines.owner(&["pair"]), 120, 45).await;
    let screen = terminal.shows("a link through the relay", PATIENCE, |screen| screen.has("HTTPS://")).await;
    let connect = internet.connect(&[&screen.scan(Theme::Dark).await, "--name", "Laptop"]);
    let line = connect.wait_for_line(PATIENCE, |line| line.contains("check_code")).await;
    let code: Value = serde_json::from_str(&line).unwrap();
    terminal.shows("the owner is asked", PATIENCE, |screen| screen.has("Laptop")).await;
    for digit in code["check_code"].as_str().unwrap().split("").filter(|digit| !digit.trim().is_empty()) {
        terminal.press(&[digit]).await;
    }
    terminal.press(&["Enter"]).await;
    assert_eq!(terminal.end(PATIENCE).await.0, 0);
    let mut forwarder = Forwarder::ready(connect).await;
    forwarder.state("relay").await;
    forwarder
}

/// What a page can do to have a request sent to another address, each to a path of its own; and whether a WebSocket
/// opens. Whether the rest succeeds, most of it does not learn.
const ATTEMPTS: &str = r#"
const to = path => `${argument.below}/${path}`;
const add = (tag, attributes) => document.body.appendChild(Object.assign(document.createElement(tag), attributes));
const form = (method, path) => {
    add('iframe', { name: to(path) });
    add('form', { method, action: to(path), target: to(path) }).submit();
};
const post = { method: 'POST', mode: 'no-cors', body: 'x', credentials: 'include' };
for (const [path, options] of Object.entries({
    'no-cors': { mode: 'no-cors' }, cors: {}, post, keepalive: { ...post, keepalive: true },
    preflighted: { method: 'PUT', headers: { 'x-mine': '1' } },
})) {
    fetch(to(path), options).catch(() => {});
}
navigator.sendBeacon(to('beacon'), 'x');
add('img', { src: to('image') });
add('script', { src: to('script') });
add('script', { src: to('module'), type: 'module' });
add('link', { href: to('style'), rel: 'stylesheet' });
add('link', { href: to('prefetch'), rel: 'prefetch' });
add('iframe', { src: to('frame') });
add('iframe', { src: to('sandboxed'), sandbox: 'allow-scripts' });
add('object', { data: to('object') });
add('video', { src: to('video') });
new EventSource(to('events'));
form('post', 'form-post');
form('get', 'form-get');
return await new Promise(done => {
    const socket = new WebSocket(argument.socket);
    socket.onopen = () => done('open');
    socket.onerror = () => done('refused');
});
"#;

/// The paths of the attempts.
const PATHS: [&str; 18] = [
    "beacon",
    "no-cors",
    "cors",
    "post",
    "preflighted",
    "keepalive",
    "image",
    "script",
    "module",
    "style",
    "prefetch",
    "frame",
    "sandboxed",
    "object",
    "video",
    "events",
    "form-post",
    "form-get",
];

/// A web page of somebody else's, with a link.
async fn foreign_page(forwarder: &str) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let page = format!(
        "<!doctype html><title>Free cats</title><a href='{forwarder}/'>cats</a>
         <form method=post action='{forwarder}/echo/posted'><button>more cats</button></form>"
    );
    let routes = Router::new().route("/", get(async || Html(page)));
    (port, tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
}

/// Makes all the attempts at an address, and waits until each was answered with this status; whether a WebSocket opens.
async fn attempt(browser: &Browser, address: &str, status: u64) -> Value {
    let site = browser.evaluate("location.hostname").await;
    let below = format!("{address}/echo/{}/", site.as_str().unwrap());
    let socket = format!("{address}/ws").replace("http:", "ws:");
    let opens = browser.run(ATTEMPTS, json!({ "below": below.trim_end_matches('/'), "socket": socket })).await;
    let answered = async || {
        let answers = browser.answers().await.into_iter().filter(|(_, got)| *got == status);
        // Without a form's fields.
        let paths: Vec<String> =
            answers.filter_map(|(url, _)| Some(url.strip_prefix(&below)?.split('?').next()?.to_owned())).collect();
        PATHS.iter().all(|path| paths.iter().any(|answered| answered == path)).then_some(())
    };
    browser.until(&format!("{site} is answered {status}, everywhere"), PATIENCE, answered).await;
    opens
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_have_nothing_of_it() {
    let (app, unguarded) = (TestApp::start().await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let laptop = Laptop::new();
    let forwarder = laptop.pair(&host).await;
    let (port, _page) = foreign_page(forwarder.url()).await;
    let browser = Browser::start(|setup| {
        setup.name("evil.example").watch();
    })
    .await;
    // A stranger's site, and another program of this very machine.
    for site in ["evil.example", "127.0.0.1", "localhost"] {
        browser.open(&format!("http://{site}:{port}/")).await;
        assert_eq!(attempt(&browser, forwarder.url(), 403).await, "refused", "{site}");
        assert_eq!(app.requests().len(), 0, "{site}: {:?}", app.requests());
    }
    // An app without Couplet before it answers them all, so they were tried.
    assert_eq!(attempt(&browser, &unguarded.url(), 200).await, "open");

    // The page itself can be left for the app, which the app must take for a visit and nothing more.
    browser.click("button").await;
    browser.says("CPL-1609").await;
    // The refusal is a page of this address, and the browser wants an icon for that.
    assert!(app.requests().iter().all(|request| request.uri.path() == "/favicon.ico"), "{:?}", app.requests());
    browser.open(&format!("http://evil.example:{port}/")).await;
    browser.click("a").await;
    browser.says("hello").await;
    assert_eq!(browser.url().await, format!("{}/", forwarder.url()));

    // From there, the app's own pages have all of it.
    assert_eq!(attempt(&browser, forwarder.url(), 200).await, "open");

    // A name of the stranger's that leads here is none of ours.
    browser.open(&forwarder.url().replace("127.0.0.1", "evil.example")).await;
    browser.says("CPL-1005").await;
}

/// A page that stays: its cookie goes wherever its address is in it, and its service worker answers for whatever is at
/// its address and port, also later.
const GREEDY_PAGE: &str = "<!doctype html><script>
    document.cookie = 'greedy=1; max-age=86400';
    navigator.serviceWorker.register('/worker.js');
    navigator.serviceWorker.ready.then(() => document.body.append('installed'));
</script>";
const GREEDY_WORKER: &str = "addEventListener('fetch', event => event.respondWith(new Response('taken over')))";

async fn greedy_app() -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let worker = ([("content-type", "text/javascript")], GREEDY_WORKER);
    let routes =
        Router::new().route("/", get(async || Html(GREEDY_PAGE))).route("/worker.js", get(async move || worker));
    (url, tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_behind_one_host_has_nothing_of_an_app_behind_another() {
    let (app, (greedy, _greedy)) = (TestApp::start().await, greedy_app().await);
    let laptop = Laptop::new();
    let host = async |name: &'static str, app: String| {
        let host = TestHost::start(|setup| {
            setup.app(app).arg("--name").arg(name);
        })
        .await;
        laptop.pair(&host).await.stop().await;
        host
    };
    let _hosts = [host("Greedy", greedy).await, host("Home", app.url()).await];
    let home = laptop.connect_at_its_own(&["home"]).await;
    let home_ip = ip(&home).to_owned();
    home.stop().await;
    let forwarder = laptop.connect_at_its_own(&["greedy"]).await;
    let browser = Browser::start(|setup| {
        setup.reaches(ip(&forwarder)).reaches(&home_ip);
    })
    .await;
    browser.open(forwarder.url()).await;
    browser.says("installed").await;
    browser.open(forwarder.url()).await;
    browser.says("taken over").await;
    forwarder.stop().await;

    let home = laptop.connect_at_its_own(&["home"]).await;
    browser.open(home.url()).await;
    browser.says("hello").await;
    let requests = app.requests();
    assert!(
        !requests.is_empty() && requests.iter().all(|request| !request.headers.contains_key("cookie")),
        "{requests:?}"
    );
}
