//! Watches in the owner's dashboard: paired by the code that it shows, listed apart once they are revoked.

use couplet_protocol::api::WatchPaired;
use e2e::dashboard::{CLOSES, read_code};
use e2e::{Dashboard, Signer, TestApp, TestHost, TestWatch};
use reqwest::Method;
use serde_json::json;

/// Waits until the cards of a section are of exactly these watches.
async fn lists(dashboard: &Dashboard, section: &str, names: &[&str]) {
    let cards = format!("[...document.querySelectorAll('[aria-labelledby={section}] .card h4')]");
    let shown =
        format!("JSON.stringify({cards}.map(name => name.innerText).sort()) === {}", json!(json!(names).to_string()));
    dashboard.browser.holds(&shown).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_panel_lists_watches_and_revoked_ones_apart_with_revoke_on_each_row() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let (dashboard, signer) = (Dashboard::open(&host).await, Signer::start());
    dashboard.says("No watch is paired.").await;

    // Paired by the code on the screen.
    dashboard.connect().await;
    dashboard.press("Watches").await;
    dashboard.browser.holds("document.querySelector('.copy input').value.includes('/watch/devices?nonce=')").await;
    dashboard.look("code-watch").await;
    let scanned = read_code(&dashboard.browser.screenshot("dashboard-to-scan-watch").await);
    assert_eq!(scanned, dashboard.link().await);
    let nonce = scanned.split_once("nonce=").unwrap().1.split('&').next().unwrap();
    let key = signer.key();
    let body = key.registration(nonce, "Anna's watch");
    let paired: WatchPaired = host.anyone().expect(Method::POST, "/watch/devices", 200, Some(body)).await;
    let anna = TestWatch::new(key, paired.device_id.to_string());
    dashboard.browser.shows("dialog .stage.good").await;
    let gone =
        async || dashboard.browser.evaluate("!document.querySelector('dialog')").await.as_bool().unwrap().then_some(());
    dashboard.browser.until("the dialog closes by itself", CLOSES, gone).await;
    signer.key().pair(&host, "Bert's watch").await;
    lists(&dashboard, "watches-active", &["Anna's watch", "Bert's watch"]).await;
    lists(&dashboard, "watches-revoked", &[]).await;
    let gateway = host.gateway_url("app");
    anna.gets(gateway, "/", 200).await;

    // Restricted and renamed like every device.
    dashboard.press("Rename or restrict Bert's watch").await;
    dashboard.browser.click("dialog input[type=checkbox]").await;
    dashboard.press("Save").await;
    dashboard.says("read only, everything").await;

    // Each row of those that may come in has Revoke, and no other row has.
    let buttons =
        "[...document.querySelectorAll('[aria-labelledby=watches] .danger')].map(b => b.ariaLabel).sort().join()";
    assert_eq!(dashboard.browser.evaluate(buttons).await, json!("Revoke Anna's watch,Revoke Bert's watch"));
    dashboard.press("Revoke Anna's watch").await;
    dashboard.press("Revoke").await;
    lists(&dashboard, "watches-active", &["Bert's watch"]).await;
    lists(&dashboard, "watches-revoked", &["Anna's watch"]).await;
    assert_eq!(dashboard.browser.evaluate(buttons).await, json!("Revoke Bert's watch"));
    dashboard.look("watches").await;
    anna.gets(gateway, "/", 401).await;

    // What another window or the terminal revokes moves here, too.
    let mut revoked = e2e::Running::start(host.command(&["devices", "revoke", "Bert's watch", "--yes"]));
    revoked.succeeds(e2e::host::PATIENCE).await;
    lists(&dashboard, "watches-active", &[]).await;
    lists(&dashboard, "watches-revoked", &["Anna's watch", "Bert's watch"]).await;
}
