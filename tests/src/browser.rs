//! A real browser: Debian's Chromium without a window, driven over WebDriver by its `chromedriver`.
//!
//! It has a profile of its own and reaches nothing but 127.0.0.1, unless the test says more. Every wait is bounded; one
//! that was in vain says what the page looks like. What is not here is done through [`Browser::driver`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::cdp::domains::network::NetworkConditions;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;
use thirtyfour::{ChromeCapabilities, TypingData, WebDriver};

use crate::host::PATIENCE;
use crate::{Network, Running, build_dir, program, repository};

pub use thirtyfour;

/// How long a page may take on a busy machine until it shows what is waited for.
pub const PAGE_PATIENCE: Duration = Duration::from_secs(40);

/// How often a page is asked for what is waited for.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Without a window and a sandbox (root has none), without caring for anything but the page.
const FLAGS: [&str; 12] = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-extensions",
    "--disable-breakpad",
    "--no-first-run",
    "--window-size=1280,800",
];

/// How a browser is started. [`Browser::start`] hands it to the test to be changed.
#[derive(Debug, Default)]
pub struct Setup {
    network: Option<String>,
    rules: Vec<String>,
    phone: bool,
    camera: Option<PathBuf>,
    watched: bool,
    authority: Option<PathBuf>,
    measured: bool,
}

impl Setup {
    /// Starts it in this network instead of the test's own.
    pub fn network(&mut self, network: &Network) -> &mut Self {
        self.network = Some(network.name().to_owned());
        self
    }

    /// Lets it call an address besides 127.0.0.1.
    pub fn reaches(&mut self, address: &str) -> &mut Self {
        self.rules.push(format!("EXCLUDE {address}"));
        self
    }

    /// Makes this name one of 127.0.0.1, as whoever owns a name can.
    pub fn name(&mut self, name: &str) -> &mut Self {
        self.rules.push(format!("MAP {name} 127.0.0.1"));
        self
    }

    /// Makes it a phone's: small, narrow, with touch.
    pub fn phone(&mut self) -> &mut Self {
        self.phone = true;
        self
    }

    /// Gives it a camera that films this file (`.y4m` or `.mjpeg`), over and over, and that pages may use unasked.
    pub fn camera(&mut self, film: impl Into<PathBuf>) -> &mut Self {
        self.camera = Some(film.into());
        self
    }

    /// Lets it trust the certificates of this authority (PEM), as a person does who installs it.
    pub fn trust(&mut self, authority: impl Into<PathBuf>) -> &mut Self {
        self.authority = Some(authority.into());
        self
    }

    /// Lets pages collect what they do not need any more (`gc()`), and see exactly what they hold.
    pub fn measure(&mut self) -> &mut Self {
        self.measured = true;
        self
    }

    /// Keeps what every request was answered, for [`Browser::answers`].
    pub fn watch(&mut self) -> &mut Self {
        self.watched = true;
        self
    }

    fn capabilities(&self, profile: &Path) -> WebDriverResult<ChromeCapabilities> {
        let mut wanted = ChromeCapabilities::new();
        wanted.set_binary(&repository().join("tests/src/chromium.sh").to_string_lossy())?;
        wanted.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        if self.watched {
            wanted.set_logging_prefs("performance", LoggingPrefsLogLevel::All)?;
        }
        for flag in FLAGS {
            wanted.add_arg(flag)?;
        }
        wanted.add_arg(&format!("--user-data-dir={}", profile.display()))?;
        let rules = [&self.rules[..], &["MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost".to_owned()]].concat();
        wanted.add_arg(&format!("--host-resolver-rules={}", rules.join(", ")))?;
        if self.measured {
            wanted.add_arg("--js-flags=--expose-gc")?;
            wanted.add_arg("--enable-precise-memory-info")?;
        }
        if let Some(film) = &self.camera {
            wanted.add_arg("--use-fake-device-for-media-stream")?;
            wanted.add_arg("--use-fake-ui-for-media-stream")?;
            wanted.add_arg(&format!("--use-file-for-fake-video-capture={}", film.display()))?;
        }
        if self.phone {
            let screen = json!({ "width": 390, "height": 844, "pixelRatio": 3.0, "touch": true, "mobile": true });
            let agent = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
                         Chrome/140.0.0.0 Mobile Safari/537.36";
            wanted.add_experimental_option(
                "mobileEmulation",
                json!({ "deviceMetrics": screen, "userAgent": agent, "clientHints": { "platform": "Android", "mobile": true } }),
            )?;
        }
        Ok(wanted)
    }
}

/// A running browser with one page. Dropping it kills it and removes its profile.
#[derive(Debug)]
pub struct Browser {
    driver: WebDriver,
    /// `chromedriver`, and in its process group the browser.
    running: Running,
    /// What happened to requests so far, by DevTools' names.
    watched: Mutex<Vec<Value>>,
    folder: TempDir,
}

impl Browser {
    /// Starts one, with an empty page.
    pub async fn start(configure: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        configure(&mut setup);
        let folder = tempfile::tempdir().unwrap();
        if let Some(authority) = &setup.authority {
            install(authority, folder.path());
        }
        let mut command = program("chromedriver");
        command.arg("--port=0").env("HOME", folder.path()).env("TMPDIR", folder.path()).current_dir(folder.path());
        command.env_remove("DISPLAY").env_remove("BROWSER_NETWORK").env_remove("BROWSER_WHOLE");
        // Where an authority is installed is known to the whole browser alone.
        command.envs(setup.authority.iter().map(|_| ("BROWSER_WHOLE", "1")));
        command.envs(setup.network.iter().map(|name| ("BROWSER_NETWORK", name)));
        let running = Running::start(command);
        let says_where = |line: &str| line.contains("successfully on port");
        let line = running.wait_for_line(PATIENCE, says_where).await;
        let port = line.trim_end_matches('.').rsplit_once(' ').expect("the port is its last word").1;
        let wanted = setup.capabilities(&folder.path().join("profile")).unwrap();
        let builder = WebDriver::builder(format!("http://127.0.0.1:{port}"), wanted).request_timeout(PAGE_PATIENCE);
        let driver = builder.connect().await.unwrap_or_else(|error| panic!("{error}\n{}", running.written()));
        // Dropping it would ask chromedriver to end the browser, and wait; killing both is as good.
        driver.clone().leak().unwrap();
        driver.set_page_load_timeout(PAGE_PATIENCE).await.unwrap();
        driver.set_script_timeout(PAGE_PATIENCE).await.unwrap();
        // The shell without a desktop does not read the preference for it.
        let kept = json!({ "behavior": "allow", "downloadPath": downloads(&folder) });
        driver.cdp().send_raw("Browser.setDownloadBehavior", kept).await.unwrap();
        Browser { driver, running, watched: Mutex::default(), folder }
    }

    /// The WebDriver session, for what is not here.
    #[must_use]
    pub fn driver(&self) -> &WebDriver {
        &self.driver
    }

    /// Opens an address as if it were typed, and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        if let Err(error) = self.driver.goto(url).await {
            panic!("{url} does not open: {error}\n{}", self.running.written());
        }
    }

    /// Where the page is.
    pub async fn url(&self) -> String {
        self.driver.current_url().await.unwrap().to_string()
    }

    /// What the page says, without markup.
    pub async fn text(&self) -> String {
        self.evaluate("document.body.innerText").await.as_str().unwrap_or_default().to_owned()
    }

    /// The value of a JavaScript expression in the page; a promise is awaited. What it throws fails the test.
    pub async fn evaluate(&self, expression: &str) -> Value {
        self.run(&format!("return {expression}"), json!(null)).await
    }

    /// What the body of an asynchronous function returns in the page. It gets `argument`.
    pub async fn run(&self, body: &str, argument: Value) -> Value {
        let script = format!("return (async argument => {{ {body} }})(arguments[0])");
        match self.driver.execute(script, vec![argument]).await {
            Ok(answer) => answer.json().clone(),
            Err(error) => panic!("{body}: {error}\n{}", self.state("failed").await),
        }
    }

    /// Waits until a JavaScript expression holds in the page. One that throws does not hold.
    pub async fn holds(&self, expression: &str) {
        let script = format!("try {{ return !!({expression}) }} catch {{ return false }}");
        let asked = async || {
            // No answer while one page makes place for another.
            let answer = self.driver.execute(script.clone(), Vec::new()).await.ok()?;
            (*answer.json() == json!(true)).then_some(())
        };
        self.until(expression, PAGE_PATIENCE, asked).await;
    }

    /// Waits until the page says this.
    pub async fn says(&self, text: &str) {
        self.holds(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until an element that a CSS selector names is visible: the first of them.
    pub async fn shows(&self, selector: &str) -> WebElement {
        let asked = async || {
            for element in self.driver.find_all(By::Css(selector)).await.ok()? {
                if element.is_displayed().await.unwrap_or(false) {
                    return Some(element);
                }
            }
            None
        };
        self.until(selector, PAGE_PATIENCE, asked).await
    }

    /// Waits until `ask` has an answer; in vain, it panics with `what` and how the page looks.
    pub async fn until<T>(&self, what: &str, timeout: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let asked = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        match tokio::time::timeout(timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => panic!("waited {timeout:?} in vain: {what}\n{}", self.state("failed").await),
        }
    }

    /// Presses keys, where the focus is. [`thirtyfour::Key`] has those that are no letters; Shift, Control and Alt stay
    /// down for the ones that follow: `Key::Shift + Key::Enter`.
    pub async fn press(&self, keys: impl Into<TypingData>) {
        let focused = self.driver.active_element().await.unwrap();
        if let Err(error) = focused.send_keys(keys).await {
            panic!("no key can be pressed: {error}\n{}", self.state("failed").await);
        }
    }

    /// Clicks on the first visible element that a CSS selector names, once there is one.
    pub async fn click(&self, selector: &str) {
        let element = self.shows(selector).await;
        if let Err(error) = element.click().await {
            panic!("{selector} cannot be clicked: {error}\n{}", self.state("failed").await);
        }
    }

    /// Waits for a file of this name that a page gave its user to keep.
    pub async fn downloaded(&self, name: &str) -> Vec<u8> {
        // It is written under another name.
        let file = downloads(&self.folder).join(name);
        self.until(name, PAGE_PATIENCE, async || std::fs::read(&file).ok()).await
    }

    /// Takes the page from the network or gives it back. Its service worker has a network of its own, and keeps it.
    pub async fn offline(&self, offline: bool) {
        let conditions = NetworkConditions { offline, ..NetworkConditions::new() };
        let (tools, refused) = (self.driver.cdp(), "the browser has these tools");
        tools.network().enable().await.expect(refused);
        tools.network().emulate_network_conditions(conditions).await.expect(refused);
    }

    /// What was written to the console since the last call: also what could not be loaded, with its status.
    pub async fn console(&self) -> Vec<String> {
        self.driver.browser_log().await.unwrap().into_iter().map(|entry| entry.message).collect()
    }

    /// Every request that was answered so far, of whatever page or frame: its address and the answer's status, also
    /// where the page itself may not know it; many of them twice. Not WebSockets. Needs [`Setup::watch`].
    pub async fn answers(&self) -> Vec<(String, u64)> {
        let log = self.driver.get_log("performance").await.unwrap();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let events = log.iter().filter_map(|entry| serde_json::from_str::<Value>(&entry.message).ok());
        watched.extend(events.map(|mut event| event["message"].take()));
        let of = |method: &'static str| watched.iter().filter(move |event| event["method"] == method);
        let asked: HashMap<_, _> = of("Network.requestWillBeSent")
            .filter_map(|event| {
                Some((event["params"]["requestId"].as_str()?, event["params"]["request"]["url"].as_str()?))
            })
            .collect();
        // What a page may not read has only the second, and what fills a frame, at times, only the first.
        let read = of("Network.responseReceived").filter_map(|event| {
            let response = &event["params"]["response"];
            Some((response["url"].as_str()?.to_owned(), response["status"].as_u64()?))
        });
        let answered = of("Network.responseReceivedExtraInfo").filter_map(|event| {
            let url = asked.get(event["params"]["requestId"].as_str()?)?;
            Some(((*url).to_owned(), event["params"]["statusCode"].as_u64()?))
        });
        read.chain(answered).collect()
    }

    /// A picture of the page, `target/…/screenshots/name.png`.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let folder = build_dir().join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, self.driver.screenshot_as_png().await.unwrap()).unwrap();
        path
    }

    /// Where and how the page is, for a person.
    async fn state(&self, name: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let picture = tokio::time::timeout(PATIENCE, self.screenshot(&name)).await;
        let console = self.driver.browser_log().await.unwrap_or_default();
        let lines: String = console.into_iter().map(|entry| entry.message + "\n").collect();
        let url = self.driver.current_url().await.map(String::from);
        format!("--- page {url:?}, picture {picture:?}\n--- console\n{lines}{}", self.running.written())
    }
}

/// Chromium on Linux takes a person's own authorities from here.
fn install(authority: &Path, home: &Path) {
    let store = home.join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    for args in [&["-N", "--empty-password"][..], &["-A", "-t", "C,,", "-n", "tests", "-i"]] {
        let mut command = program("certutil");
        command.args(["-d", &database]).args(args);
        if args.last() == Some(&"-i") {
            command.arg(authority);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "certutil {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn downloads(folder: &TempDir) -> PathBuf {
    folder.path().join("downloads")
}
