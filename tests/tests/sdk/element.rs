//! `<couplet-connect>` in a real browser: each of its views, for the eye, the ear and the keyboard, beside a host in memory; and
//! the SDK's examples with a real host: the page that uses it, the one in React, and the script.

use axum::Router;
use axum::extract::Path as Route;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use e2e::browser::thirtyfour::Key;
use e2e::host::PATIENCE;
use e2e::program::node;
use e2e::{Browser, Dashboard, Running, TestApp, TestHost, free_port, repository};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::task::JoinHandle;

/// What a page may do, and the element with it: no script or style in the page, none from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self' 'sha256-IMPORTMAP'; style-src 'self'; img-src data:; \
                      media-src 'self' mediastream:; connect-src http: ws:";

/// The element in the page.
const ELEMENT: &str = "document.querySelector('couplet-connect').shadowRoot";

/// Serves `packages/sdk` and, under `/tests`, `tests/sdk`.
struct Pages {
    url: String,
    server: JoinHandle<()>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Pages {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new()
            .route("/tests/{*path}", get(async |Route(path): Route<String>| file("tests/sdk", &path)))
            .route("/{*path}", get(async |Route(path): Route<String>| file("packages/sdk", &path)));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Pages { url, server }
    }
}

fn file(folder: &str, path: &str) -> Response {
    let path = repository().join(folder).join(path);
    let kind = match path.extension().and_then(|it| it.to_str()) {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let Ok(text) = std::fs::read_to_string(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let is_strict = kind == "text/html" && folder == "tests/sdk";
    let mut answer = ([(header::CONTENT_TYPE, kind)], text.clone()).into_response();
    if is_strict {
        let map = text.split("<script type=\"importmap\">").nth(1).unwrap().split("</script>").next().unwrap();
        let hash = data_encoding::BASE64.encode(&sha2::Sha256::digest(map.as_bytes()));
        let policy = POLICY.replace("IMPORTMAP", &hash);
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.parse().unwrap());
    }
    answer
}

/// What is looked at.
struct Page {
    dashboard: Dashboard,
}

impl Page {
    async fn open(url: &str) -> Self {
        Page::open_in(Browser::start(|_| ()).await, url).await
    }

    async fn open_in(browser: Browser, url: &str) -> Self {
        browser.open(url).await;
        Page { dashboard: Dashboard { browser } }
    }

    fn browser(&self) -> &Browser {
        &self.dashboard.browser
    }

    /// Waits until the element shows this view.
    async fn views(&self, view: &str) {
        self.browser().holds(&format!("{ELEMENT}.querySelector('section').dataset.view === {}", json!(view))).await;
    }

    /// Waits until the element's text has this in it.
    async fn says(&self, text: &str) {
        self.browser().holds(&format!("{ELEMENT}.textContent.includes({})", json!(text))).await;
    }

    /// What a screen reader was told last.
    async fn said(&self) -> String {
        let said = self.browser().evaluate(&format!("{ELEMENT}.querySelector('[aria-live]').textContent")).await;
        said.as_str().unwrap().to_owned()
    }

    /// Puts the focus on the button of this name and presses Enter there.
    async fn press(&self, name: &str) {
        let focus = format!(
            "[...{ELEMENT}.querySelectorAll('button')].filter(it => it.textContent === {}).map(it => it.focus()).length === 1",
            json!(name)
        );
        self.browser().holds(&focus).await;
        self.browser().press(Key::Enter).await;
    }

    /// Pastes a link and sends it, by the keyboard.
    async fn pairs(&self, link: &str) {
        self.browser().holds(&format!("({ELEMENT}.querySelector('input').focus(), true)")).await;
        self.browser().press(format!("{link}\n")).await;
    }

    /// The check code that the element shows.
    async fn code(&self) -> String {
        self.views("approval").await;
        let code = self.browser().evaluate(&format!("{ELEMENT}.querySelector('.code').textContent")).await;
        code.as_str().unwrap().to_owned()
    }

    /// Where the focus is within the element.
    async fn focused(&self) -> Value {
        self.browser().evaluate(&format!("{ELEMENT}.activeElement?.className ?? null")).await
    }

    async fn look(&self, name: &str) {
        self.dashboard.look(&format!("element-{name}")).await;
    }
}

async fn with_fake() -> (Pages, Page) {
    let pages = Pages::start().await;
    let page = Page::open(&format!("{}/tests/element.html", pages.url)).await;
    page.views("unpaired").await;
    (pages, page)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_view_is_shown_in_every_look_and_told_to_screen_readers() {
    let (_pages, page) = with_fake().await;
    page.look("unpaired").await;
    // Whoever is not there takes no focus.
    assert_eq!(page.focused().await, json!(null));

    page.browser().run("stage.still = true; stage.element.options = stage.silent", Value::Null).await;
    page.views("unpaired").await;
    let link = page.browser().evaluate("stage.fake.link()").await.as_str().unwrap().to_owned();
    page.pairs(&link).await;
    page.views("connecting").await;
    assert_eq!(page.focused().await, json!("title"));
    page.look("connecting").await;
    page.press("Cancel").await;
    page.views("unpaired").await;

    page.browser().run("stage.still = false; stage.element.options = stage.options", Value::Null).await;
    page.views("unpaired").await;
    page.pairs(&link).await;
    let code = page.code().await;
    let digits: Vec<String> = code.chars().filter(char::is_ascii_digit).map(String::from).collect();
    assert_eq!(page.said().await, format!("Check code {}. Type it at Study.", digits.join(" ")));
    page.look("approval").await;
    page.browser().run("await stage.fake.approve(argument)", json!(code)).await;
    page.views("host direct").await;
    assert_eq!(page.said().await, "Connected with Study, straight, on your network");
    let fingerprint = page.browser().evaluate("stage.fake.fingerprint").await;
    page.says(fingerprint.as_str().unwrap()).await;
    page.look("online").await;

    page.browser().run("stage.fake.isReachable = false; stage.fake.cut()", Value::Null).await;
    page.views("host offline").await;
    page.says("Study is away").await;
    page.says("CPL-1601").await;
    page.look("offline").await;
    page.browser().run("stage.fake.isReachable = true", Value::Null).await;
    page.press("Try now").await;
    page.views("host direct").await;
    // What the app has closed is one step away, and is not forgotten by it.
    page.browser().run("await stage.element.host.close()", Value::Null).await;
    page.views("host closed").await;
    page.look("closed").await;
    page.press("Connect again").await;
    page.views("host direct").await;
    page.browser().run("stage.fake.revoke()", Value::Null).await;
    page.views("host revoked").await;
    page.says("CPL-1603").await;
    page.look("revoked").await;
    page.press("Pair again").await;
    page.views("unpaired").await;

    page.pairs("COUPLET:NONSENSE").await;
    page.views("failed").await;
    page.says("CPL-1605").await;
    assert!(page.said().await.starts_with("That did not work. "));
    page.look("failed").await;
    let told = page.browser().evaluate("stage.told.map(it => it.join(' '))").await;
    let told: Vec<&str> = told.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    for wanted in ["couplet-paired false", "couplet-state direct", "couplet-state revoked", "couplet-error CPL-1605"] {
        assert!(told.contains(&wanted), "{wanted}: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_used_by_the_keyboard_alone_and_speaks_the_apps_words() {
    let (_pages, page) = with_fake().await;
    // Into it, through it and out of it.
    page.browser().press(Key::Tab).await;
    assert_eq!(page.browser().evaluate(&format!("{ELEMENT}.activeElement.id")).await, json!("link"));
    page.browser().press(Key::Enter).await;
    page.says("Paste the link first.").await;
    page.browser().press(Key::Tab).await;
    assert_eq!(page.focused().await, json!("main"));
    page.browser().press(Key::Tab).await;
    assert_eq!(page.browser().evaluate("document.activeElement.id").await, json!("after"));

    let link = page.browser().evaluate("stage.fake.link()").await.as_str().unwrap().to_owned();
    page.pairs(&link).await;
    let code = page.code().await;
    page.browser().run("await stage.fake.approve(argument)", json!(code)).await;
    page.views("host direct").await;
    // What it asks is not taken away by what the host does.
    page.press("Forget this device").await;
    page.views("forgetting").await;
    page.browser().run("stage.fake.cut()", Value::Null).await;
    page.browser()
        .holds("stage.told.map(it => it[1]).lastIndexOf('direct') > stage.told.map(it => it[1]).lastIndexOf('offline')")
        .await;
    page.views("forgetting").await;
    page.look("forgetting").await;
    page.press("Keep").await;
    page.views("host direct").await;
    page.press("Forget this device").await;
    page.press("Forget").await;
    page.views("unpaired").await;
    assert_eq!(page.browser().evaluate("stage.fake.devices").await, json!([]));

    page.browser()
        .run("stage.element.texts = { pair: 'Verbinden', unpaired: 'Noch nicht verbunden' }", Value::Null)
        .await;
    page.says("Verbinden").await;
    page.says("Noch nicht verbunden").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_read_by_the_apps_reader_and_the_camera_is_off_afterwards() {
    let (pages, folder) = (Pages::start().await, tempfile::tempdir().unwrap());
    let film = folder.path().join("film.y4m");
    // One frame, all white.
    let frame = [vec![255; 320 * 240], vec![128; 320 * 240 / 2]].concat();
    std::fs::write(&film, [b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\nFRAME\n".to_vec(), frame].concat()).unwrap();
    let browser = Browser::start(|setup| {
        setup.camera(&film);
    })
    .await;
    let page = Page::open_in(browser, &format!("{}/tests/element.html", pages.url)).await;
    page.views("unpaired").await;
    // A reader that finds what is no link first, and sees what the camera sees.
    let reader = "stage.streams = [];
        const media = navigator.mediaDevices, open = media.getUserMedia.bind(media);
        media.getUserMedia = async wanted => { const stream = await open(wanted); stage.streams.push(stream); return stream };
        const link = stage.fake.link();
        let looks = 0;
        stage.element.decode = ({ data }) => { stage.white = data[0] > 250; return ++looks < 3 ? 'https://example.org/' : stage.found }
        stage.link = link;";
    page.browser().run(reader, Value::Null).await;
    page.press("Scan a code").await;
    page.views("scanning").await;
    page.browser().holds("stage.white").await;
    page.look("scanning").await;
    page.press("Stop").await;
    page.views("unpaired").await;
    let is_off = "stage.streams.every(it => it.getTracks().every(track => track.readyState === 'ended'))";
    page.browser().holds(&format!("stage.streams.length === 1 && {is_off}")).await;

    page.press("Scan a code").await;
    page.views("scanning").await;
    page.browser().run("stage.found = stage.link", Value::Null).await;
    page.views("approval").await;
    page.browser().holds(&format!("stage.streams.length === 2 && {is_off}")).await;
    page.press("Cancel").await;
    page.browser()
        .run("navigator.mediaDevices.getUserMedia = async () => { throw new Error('no') }", Value::Null)
        .await;
    page.press("Scan a code").await;
    page.views("failed").await;
    page.says("The camera cannot be used.").await;
}

/// A host that asks about each device, and takes those of these pages.
async fn host(app: &TestApp, pages: &Pages) -> TestHost {
    TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_APPROVE", "always").env("COUPLET_ALLOWED_ORIGINS", &pages.url);
        // The same when it comes back.
        setup.arg("--listen").arg(format!("127.0.0.1:{}", free_port()));
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_page_pairs_with_a_real_host_and_comes_back() {
    let (pages, app) = (Pages::start().await, TestApp::start().await);
    let mut host = host(&app, &pages).await;
    let url = format!("{}/examples/page/index.html", pages.url);
    let page = Page::open(&url).await;
    page.views("unpaired").await;
    page.pairs(&host.generate().await.link).await;
    let code = page.code().await;
    Running::start(host.command(&["approve", "Example page", &code])).succeeds(PATIENCE).await;
    page.views("host direct").await;
    page.browser().click("form button").await;
    page.browser().says("200").await;
    assert_eq!(app.last_request().uri.path(), "/");
    page.look("example").await;
    let me = page.browser().evaluate("document.querySelector('couplet-connect').host.me()").await;
    assert_eq!([&me["device_name"], &me["scope"]["read_only"]], [&json!("Example page"), &json!(false)], "{me}");

    page.browser().open(&url).await;
    page.views("host direct").await;
    host.stop().await;
    page.views("host offline").await;
    host.restart().await;
    page.views("host direct").await;
    Running::start(host.command(&["devices", "revoke", "Example page", "--yes"])).succeeds(PATIENCE).await;
    page.views("host revoked").await;
    page.press("Pair again").await;
    page.views("unpaired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_react_pairs_comes_back_and_forgets() {
    let (pages, app) = (Pages::start().await, TestApp::start().await);
    let host = host(&app, &pages).await;
    let url = format!("{}/build/examples/react/index.html", pages.url);
    let browser = Browser::start(|_| ()).await;
    browser.open(&url).await;
    browser.shows("input").await;
    browser.click("input").await;
    browser.press(format!("{}\n", host.generate().await.link)).await;
    let code = browser.shows("strong").await.text().await.unwrap();
    Running::start(host.command(&["approve", "React example", &code])).succeeds(PATIENCE).await;
    browser.holds("document.querySelector('pre').textContent.includes('hello')").await;
    browser.open(&url).await;
    browser.holds("document.querySelector('pre').textContent.includes('hello')").await;
    browser.click("main button").await;
    browser.shows("input").await;
    let devices: Value = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert!(devices.to_string().contains("revoked_at\":\"") || !devices.to_string().contains("React"), "{devices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_script_pairs_and_comes_back_without_a_link() {
    let (pages, app) = (Pages::start().await, TestApp::start().await);
    let (host, home) = (host(&app, &pages).await, tempfile::tempdir().unwrap());
    let script = |arguments: &[&str]| {
        let mut node = node();
        node.arg(repository().join("packages/sdk/examples/node/pair.js")).args(arguments);
        node.env("COUPLET_EXAMPLE", home.path().join("couplet"));
        Running::start(node)
    };
    let link = host.generate().await.link;
    let mut running = script(&[&link]);
    let line = running.wait_for_line(PATIENCE, |line| line.starts_with("Type this code")).await;
    let (_, code) = line.rsplit_once(": ").unwrap();
    Running::start(host.command(&["approve", "Example script", code])).succeeds(PATIENCE).await;
    let (status, stdout, stderr) = running.ended(PATIENCE).await;
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("(direct) answers 200\nhello"), "{stdout}");
    let (status, stdout, stderr) = script(&[]).ended(PATIENCE).await;
    assert_eq!(status, 0, "{stderr}");
    assert!(stdout.contains("(direct) answers 200\nhello"), "{stdout}");
    let (status, _, stderr) = script(&[&link]).ended(PATIENCE).await;
    assert_eq!(status, 1);
    assert!(stderr.starts_with("CPL-1203"), "{stderr}");
}
