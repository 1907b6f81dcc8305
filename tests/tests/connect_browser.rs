//! A real browser at `couplet connect`: JupyterLab in it works like on the host itself, and pages of other sites, in
//! the same browser, have nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use e2e::browser::thirtyfour::Key;
use e2e::host::PATIENCE;
use e2e::jupyter::OWN_TOKEN;
use e2e::{Browser, Forwarder, Jupyter, Laptop, Machines, Running, TestApp, TestHost};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Waits until the page says this, such as in the status bar: the kernel's name is there only once there is a kernel.
async fn says(browser: &Browser, text: &str) {
    browser.holds(&format!("document.body.innerText.includes({})", json!(text))).await;
}

/// Types code into the cell that has the focus, and runs it; the focus is then in the next one.
async fn run_cell(browser: &Browser, code: &str) {
    browser.press(code).await;
    browser.press(Key::Shift + Key::Enter).await;
}

/// Waits until a cell of the notebook has this result.
async fn has_result(browser: &Browser, result: &str) {
    let results = "[...document.querySelectorAll('.jp-OutputArea-output')]";
    browser.holds(&format!("{results}.some(output => output.innerText.trim() === {})", json!(result))).await;
}

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

/// JupyterLab on the host, as the documents say how.
async fn start_jupyter(machines: &mut Machines) -> Jupyter {
    let root = machines.folder().join("notebooks");
    std::fs::create_dir(&root).unwrap();
    let jupyter = Jupyter::start(machines.folder(), &root, Some(machines.near())).await;
    let config = machines.folder().join("config.toml");
    let app = format!("name = 'lab'\nupstream = '{}'\nheaders = {{ Authorization = '{OWN_TOKEN}' }}", jupyter.url());
    std::fs::write(&config, format!("[[apps]]\n{app}\n")).unwrap();
    machines.serve(&["--config", config.to_str().unwrap()]).await;
    jupyter
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_works_in_a_browser_and_goes_on_after_a_cut() {
    let mut machines = Machines::new("lab").await;
    let _jupyter = start_jupyter(&mut machines).await;
    let mut forwarder = machines.pair_at_its_own().await;
    let browser = Browser::start(|setup| {
        setup.network(machines.far()).reaches(ip(&forwarder));
    })
    .await;
    browser.open(&format!("{}/lab", forwarder.url())).await;
    browser.click(".jp-LauncherCard[data-category=Notebook]").await;
    says(&browser, "Python 3 (ipykernel) | Idle").await;
    browser.click(".jp-Notebook .cm-content").await;
    run_cell(&browser, "6*7").await;
    has_result(&browser, "42").await;
    is_answered(&browser, 200, "").await;
    browser.run("window.opened = 'before the cut'", json!(null)).await;

    // The page is told at once, and JupyterLab says so; what it is to run waits. Had it been told 502, it might take its
    // kernel for dead: 503 is what it asks again after.
    machines.cut().await;
    forwarder.state("offline").await;
    is_answered(&browser, 503, "CPL-1601").await;
    says(&browser, "Python 3 (ipykernel) | Connecting").await;
    run_cell(&browser, "2**40").await;
    machines.mend().await;
    forwarder.state("direct").await;
    has_result(&browser, "1099511627776").await;
    run_cell(&browser, "'same' + ' kernel', _1 + _2").await;
    has_result(&browser, "('same kernel', 1099511627818)").await;
    is_answered(&browser, 200, "").await;
    assert_eq!(browser.evaluate("window.opened").await, "before the cut");
    browser.screenshot("jupyterlab").await;

    Running::start(machines.owner(&["devices", "revoke", "Laptop", "--yes"])).succeeds(PATIENCE).await;
    let revoked = Instant::now();
    is_answered(&browser, 0, "TypeError").await;
    assert!(revoked.elapsed() < Duration::from_secs(5), "it took {:?}", revoked.elapsed());
    assert_eq!(forwarder.running.wait(PATIENCE).await.code(), Some(4));
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
    says(&browser, "CPL-1609").await;
    // The refusal is a page of this address, and the browser wants an icon for that.
    assert!(app.requests().iter().all(|request| request.uri.path() == "/favicon.ico"), "{:?}", app.requests());
    browser.open(&format!("http://evil.example:{port}/")).await;
    browser.click("a").await;
    says(&browser, "hello").await;
    assert_eq!(browser.url().await, format!("{}/", forwarder.url()));

    // From there, the app's own pages have all of it.
    assert_eq!(attempt(&browser, forwarder.url(), 200).await, "open");

    // A name of the stranger's that leads here is none of ours.
    browser.open(&forwarder.url().replace("127.0.0.1", "evil.example")).await;
    says(&browser, "CPL-1005").await;
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
    says(&browser, "installed").await;
    browser.open(forwarder.url()).await;
    says(&browser, "taken over").await;
    forwarder.stop().await;

    let home = laptop.connect_at_its_own(&["home"]).await;
    browser.open(home.url()).await;
    says(&browser, "hello").await;
    let requests = app.requests();
    assert!(
        !requests.is_empty() && requests.iter().all(|request| !request.headers.contains_key("cookie")),
        "{requests:?}"
    );
}
