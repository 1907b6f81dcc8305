//! Host and device at a relay with accounts, whose tokens come from a real identity provider.

use std::path::{Path, PathBuf};

use couplet_protocol::offer::LinkForm;
use couplet_protocol::{Endpoint, Offer};
use e2e::host::PATIENCE;
use e2e::{Forwarder, Laptop, Provider, Relay, Running, TestApp, TestHost, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const FLAG: &str = "--relay-account-token-file";
const VARIABLE: &str = "COUPLET_RELAY_ACCOUNT_TOKEN_FILE";
const AT: &str = "--relay-account-at";
const AT_VARIABLE: &str = "COUPLET_RELAY_ACCOUNT_AT";

/// A relay with accounts, a host with an app behind it, and a laptop. Each end has a file for a token.
struct Scene {
    provider: Provider,
    relay: Relay,
    /// Its name, as links give it.
    at: String,
    host: TestHost,
    laptop: Laptop,
    _app: TestApp,
    folder: tempfile::TempDir,
}

impl Scene {
    /// The host begins with a token of `ann`, or without one.
    async fn start(with_token: bool) -> Self {
        let (provider, app) = (Provider::start().await, TestApp::start().await);
        let (relay, folder) = (Relay::with_accounts(&provider).await, tempfile::tempdir().unwrap());
        let file = folder.path().join("host");
        if with_token {
            std::fs::write(&file, provider.token("ann").await).unwrap();
        }
        let configure = |setup: &mut e2e::host::Setup| {
            setup.app(app.url()).env("COUPLET_APPROVE", "never").arg(FLAG).arg(file.to_str().unwrap());
        };
        let host = relay.host(configure).await;
        let at = relay.name();
        Scene { provider, relay, at, host, laptop: Laptop::new(), _app: app, folder }
    }

    fn file(&self, whose: &str) -> PathBuf {
        self.folder.path().join(whose)
    }

    fn write(&self, whose: &str, token: &str) {
        // Whole or not at all, as agents that keep tokens fresh do it.
        let draft = self.file("draft");
        std::fs::write(&draft, format!("{token}\n")).unwrap();
        std::fs::rename(draft, self.file(whose)).unwrap();
    }

    /// A link that leads through the relay only.
    async fn link(&self) -> String {
        let mut offer = Offer::from_link(&self.host.generate().await.link).unwrap();
        offer.endpoints.retain(|endpoint| matches!(endpoint, Endpoint::Relay(_)));
        offer.to_link(LinkForm::App)
    }

    fn arguments<'a>(&'a self, link: &'a str, ca: &'a Path, file: &'a Path) -> Vec<&'a str> {
        vec![link, "--relay-ca", ca.to_str().unwrap(), FLAG, file.to_str().unwrap(), AT, &self.at]
    }

    /// Pairing comes to nothing, and says so with all of this.
    async fn is_refused(&self, link: &str, parts: &[&str]) {
        let (ca, file) = (self.relay.ca(), self.file("device"));
        let (code, _, said) = self.laptop.run(&self.arguments(link, &ca, &file)).await;
        assert_eq!(code, 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("eyJ"), "a token is shown: {said}");
    }

    /// The laptop forgets that it was ever on the host's network.
    fn leave_the_network(&self) {
        let files: Vec<PathBuf> =
            std::fs::read_dir(self.laptop.folder()).unwrap().map(|file| file.unwrap().path()).collect();
        let kept: Vec<&PathBuf> = files.iter().filter(|file| file.is_file()).collect();
        for file in kept {
            let mut form: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
            let is_relay = |endpoint: &Value| endpoint.as_str().is_some_and(|text| text.starts_with("relay"));
            form["endpoints"].as_array_mut().unwrap().retain(is_relay);
            assert_eq!(form["endpoints"].as_array().unwrap().len(), 1, "{form}");
            std::fs::write(file, form.to_string()).unwrap();
        }
    }

    fn keeps_tokens_to_itself(&self, tokens: &[&str]) {
        for token in tokens {
            let signature = token.rsplit('.').next().unwrap();
            for written in [self.relay.logs(), self.host.printed(), self.host.logs()] {
                assert!(!written.contains(signature), "{written}");
            }
        }
    }
}

#[tokio::test]
async fn host_and_device_of_one_account_pair_and_another_account_is_told_whose_is_whose() {
    let scene = Scene::start(true).await;
    let link = scene.link().await;
    let file = scene.file("device");
    scene.is_refused(&link, &["CPL-1828", file.to_str().unwrap(), "No such file"]).await;
    let bob = scene.provider.token("bob").await;
    scene.write("device", &bob);
    scene.is_refused(&link, &["CPL-1802", "as ann@example.org", "this device as bob@example.org", FLAG]).await;
    let expired = scene.provider.expired_token("ann").await;
    scene.write("device", &expired);
    scene.is_refused(&link, &["CPL-1827", "has expired", FLAG]).await;
    scene.write("device", "not.a.token");
    scene.is_refused(&link, &["CPL-1817", "a fresh token", FLAG]).await;
    let nobody = scene.laptop.run(&[&link, "--relay-ca", scene.relay.ca().to_str().unwrap()]).await;
    assert!(nobody.0 == 1 && nobody.2.contains("this device as nobody") && nobody.2.contains(FLAG), "{}", nobody.2);

    let health: Value = scene.host.anyone().expect(Method::GET, "/health", 200, None).await;
    assert_eq!(health["features"]["relay"], json!({ "available": true, "connected": true }), "and not which relay");

    // None of it has used anything up.
    let ann = scene.provider.token("ann").await;
    scene.write("device", &ann);
    let mut command = scene.laptop.command(&[&link, "--relay-ca", scene.relay.ca().to_str().unwrap()]);
    command.args(["--json", "--listen", "127.0.0.1:0"]).env(VARIABLE, &file).env(AT_VARIABLE, &scene.at);
    let forwarder = Forwarder::ready(Running::start(command)).await;
    scene.host.event("device.paired", |event| event["relay"] == scene.relay.name()).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().status(), 200);
    assert!(!forwarder.running.written().contains("eyJ"));
    scene.keeps_tokens_to_itself(&[&bob, &expired, &ann]);
}

#[tokio::test]
async fn a_token_is_shown_to_the_relay_that_it_is_for_and_to_no_other() {
    let scene = Scene::start(true).await;
    let (link, ca, file) = (scene.link().await, scene.relay.ca(), scene.file("device"));
    scene.write("device", &scene.provider.token("ann").await);
    let ca = ca.to_str().unwrap();
    let named = |at| vec![link.as_str(), "--relay-ca", ca, FLAG, file.to_str().unwrap(), AT, at];
    let (code, _, said) = scene.laptop.run(&named("another.example")).await;
    assert!(code == 1 && said.contains("this device as nobody") && said.contains(AT), "{said}");
    let (code, _, said) = scene.laptop.run(&named("another.example/x")).await;
    assert!(code == 2 && said.contains("no relay"), "{said}");
    let (code, _, said) = scene.laptop.run(&named("")[..5]).await;
    assert!(code == 2 && said.contains(AT) && said.contains("for no relay"), "{said}");
    let (url, name) = (format!("https://{}/", scene.at), scene.at.to_uppercase());
    for at in [url, name] {
        let link = scene.link().await;
        let arguments = [&link, "--relay-ca", ca, FLAG, file.to_str().unwrap(), AT, &at];
        Laptop::new().connect(&arguments).await.stop().await;
    }
}

#[tokio::test]
async fn a_fresh_token_heals_a_host_and_a_device_that_go_on_running() {
    let scene = Scene::start(false).await;
    scene.host.event("relay.refused", |event| event["code"] == "CPL-1828").await;
    scene.write("host", &scene.provider.expired_token("ann").await);
    let link = scene.link().await;
    let refused = scene.host.event("relay.refused", |event| event["code"] == "CPL-1827").await;
    assert_eq!(refused["relay"], scene.relay.name());
    let ann = scene.provider.token("ann").await;
    scene.write("device", &ann);
    scene.is_refused(&link, &["CPL-1801"]).await;

    let connected = || scene.host.printed().matches("\"relay.connected\"").count();
    let before = connected();
    scene.write("host", &ann);
    eventually("the host's account counts", PATIENCE, async || connected() > before).await;
    let (ca, file) = (scene.relay.ca(), scene.file("device"));
    let forwarder = scene.laptop.connect(&scene.arguments(&link, &ca, &file)).await;
    scene.host.event("device.paired", |_| true).await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().status(), 200);
    forwarder.stop().await;

    scene.leave_the_network();
    scene.write("device", &scene.provider.expired_token("ann").await);
    let mut forwarder = scene.laptop.connect(&[FLAG, file.to_str().unwrap(), AT, &scene.at]).await;
    let offline = forwarder.state("offline").await;
    assert_eq!(offline["code"], "CPL-1827", "{offline}");
    scene.write("device", &scene.provider.token("ann").await);
    forwarder.state("relay").await;
    assert_eq!(forwarder.caller().get("/").send().await.unwrap().status(), 200);
    scene.keeps_tokens_to_itself(&[&ann]);
}
