//! The owner's dashboard in a real browser.

use std::path::Path;
use std::time::Duration;

use couplet_protocol::api::LoginLinks;
use reqwest::Method;
use serde_json::{Value, json};

use crate::browser::thirtyfour::WindowHandle;
use crate::program::{pages, program};
use crate::{Browser, TestHost};

/// A browser that is signed in.
#[derive(Debug)]
pub struct Dashboard {
    /// The browser.
    pub browser: Browser,
}

/// How a page is looked at: its name, its colours, its width and height.
const LOOKS: [(&str, &str, u32, u32); 4] = [
    ("light", "light", 1280, 800),
    ("dark", "dark", 1280, 800),
    ("phone", "light", 320, 700),
    ("phone-dark", "dark", 320, 700),
];

/// What axe is asked for: WCAG 2.2 at levels A and AA, and what its authors advise.
const AXE: &str =
    "const found = await axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',
    'best-practice'] });
    return found.violations.map(({ id, nodes }) => [id, ...nodes.map(node => node.html)]);";

impl Dashboard {
    /// Starts a browser and signs in by a link.
    pub async fn open(host: &TestHost) -> Self {
        Dashboard::open_in(host, Browser::start(|_| ()).await).await
    }

    /// Signs in with this browser.
    pub async fn open_in(host: &TestHost, browser: Browser) -> Self {
        browser.open(&link(host).await).await;
        let dashboard = Dashboard { browser };
        dashboard.browser.shows("nav").await;
        dashboard
    }

    /// Waits until the page says this.
    pub async fn says(&self, text: &str) {
        self.browser.holds(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Clicks on the button or link that is called this: for the eye, or for a screen reader.
    pub async fn press(&self, name: &str) {
        let mark =
            "const named = element => (element.getAttribute('aria-label') ?? element.innerText.trim()) === argument;
            const inside = [...document.querySelectorAll('dialog')].at(-1) ?? document;
            const found = [...inside.querySelectorAll('button, a, summary, label')].filter(named)
                .find(element => !element.disabled && element.checkVisibility());
            document.querySelectorAll('[data-pressed]').forEach(other => delete other.dataset.pressed);
            if (found) found.dataset.pressed = '';
            return !!found;";
        let marked = async || (self.browser.run(mark, json!(name)).await == json!(true)).then_some(());
        self.browser.until(&format!("something called {name}"), crate::browser::PAGE_PATIENCE, marked).await;
        self.browser.click("[data-pressed]").await;
    }

    /// Opens the dashboard in a second window, which is in front then: the first, and the second.
    pub async fn second_window(&self, host: &TestHost) -> [WindowHandle; 2] {
        let driver = self.browser.driver();
        let windows = [driver.window().await.unwrap(), driver.new_tab().await.unwrap()];
        driver.switch_to_window(windows[1].clone()).await.unwrap();
        self.browser.open(host.pairing_url()).await;
        self.browser.shows("nav").await;
        windows
    }

    /// What was said to a screen reader last.
    pub async fn said(&self) -> String {
        let said = self.browser.evaluate("document.querySelector('.unseen').textContent").await;
        said.as_str().unwrap_or_default().to_owned()
    }

    /// Opens "Connect mobile" and waits for the code.
    pub async fn connect(&self) {
        self.press("Connect mobile").await;
        self.browser.shows("svg.qr").await;
    }

    /// Asks for the code of apps that know plain HTTP only, and waits for its link.
    pub async fn plain_link(&self) -> String {
        self.press("Apps that know plain HTTP only").await;
        self.browser.holds("document.querySelector('.copy input').value.startsWith('couplet:')").await;
        self.link().await
    }

    /// The link beside the code.
    pub async fn link(&self) -> String {
        let value = self.browser.evaluate("document.querySelector('.copy input').value").await;
        value.as_str().unwrap().to_owned()
    }

    /// Looks at the page as it is now, in each look: keeps a picture, and expects that nothing is wider than the screen,
    /// that axe finds nothing and that the policy has refused nothing. Without motion, so that pictures are the same.
    pub async fn look(&self, name: &str) {
        let axe = std::fs::read_to_string(pages().join("node_modules/axe-core/axe.min.js")).unwrap();
        self.browser.run(&axe, Value::Null).await;
        let tools = self.browser.driver().cdp();
        for (look, colours, width, height) in LOOKS {
            let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
            tools.send_raw("Emulation.setDeviceMetricsOverride", size).await.unwrap();
            let colours = json!({ "features": [{ "name": "prefers-color-scheme", "value": colours },
                { "name": "prefers-reduced-motion", "value": "reduce" }] });
            tools.send_raw("Emulation.setEmulatedMedia", colours).await.unwrap();
            self.browser.holds(&format!("innerWidth === {width}")).await;
            self.browser.screenshot(&format!("dashboard-{name}-{look}")).await;
            let too_wide = "document.documentElement.scrollWidth > innerWidth";
            assert_eq!(self.browser.evaluate(too_wide).await, json!(false), "{name}, {look}: something is too wide");
            assert_eq!(self.browser.run(AXE, Value::Null).await, json!([]), "{name}, {look}");
        }
        // Nothing stands in the policy's way.
        let said = self.browser.console().await;
        assert!(!said.iter().any(|line| line.contains("Content Security Policy")), "{name}: {said:?}");
        tools.send_raw("Emulation.clearDeviceMetricsOverride", json!({})).await.unwrap();
        tools.send_raw("Emulation.setEmulatedMedia", json!({ "features": [] })).await.unwrap();
    }
}

/// A one-time link to the host's dashboard at 127.0.0.1.
pub async fn link(host: &TestHost) -> String {
    let links: LoginLinks = host.owner().expect(Method::POST, "/api/owner/links", 200, None).await;
    links.urls.into_iter().find(|url| url.starts_with("http://127.0.0.1:")).expect("it listens there")
}

/// What the one QR code in a picture says.
#[must_use]
pub fn read_code(picture: &Path) -> String {
    let mut zbar = program("zbarimg");
    let read = zbar.args(["--quiet", "--raw", "-Sdisable", "-Sqrcode.enable"]).arg(picture).output().unwrap();
    let said = String::from_utf8(read.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "one code in {}: {said:?}", picture.display());
    said.trim().to_owned()
}

/// How long a dialog takes at most to close by itself.
pub const CLOSES: Duration = Duration::from_secs(20);
