//! Codes that end before a device is paired, as the page of the dashboard that shows them says it.

use couplet_protocol::api::DeviceList;
use e2e::plain::exchange;
use e2e::{Dashboard, TestDevice, TestHost};
use reqwest::Method;

async fn asking(configure: impl FnOnce(&mut e2e::host::Setup)) -> (TestHost, Dashboard) {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_APPROVE", "always");
        configure(setup);
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    (host, dashboard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_withdrawn_elsewhere_is_gone_and_another_is_one_press_away() {
    let (host, dashboard) = asking(|_| ()).await;
    dashboard.connect().await;
    let link = dashboard.link().await;
    let id = host.event("offer.created", |_| true).await["pairing_id"].clone();
    let withdrawn = host.owner().delete(&format!("/api/pair/offers/{}", id.as_str().unwrap())).send().await.unwrap();
    assert_eq!(withdrawn.status(), 204);
    dashboard.says("This code was withdrawn.").await;
    dashboard.says("The owner took it back, elsewhere. Show a new code").await;
    dashboard.says("CPL-1208").await;
    dashboard.browser.holds("!document.querySelector('svg.qr')").await;
    dashboard.look("withdrawn").await;
    dashboard.press("Show a new code").await;
    dashboard.browser.shows("svg.qr").await;
    assert_ne!(dashboard.link().await, link);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_three_devices_began_to_use_is_over_and_the_page_says_why() {
    let (host, dashboard) = asking(|_| ()).await;
    dashboard.connect().await;
    let link = dashboard.link().await;
    for (n, said) in ["The code is open again", "The code is open again", "CPL-1701"].into_iter().enumerate() {
        let name = format!("Try {n}");
        let sealed = TestDevice::new(&name).claim(host.pairing_url(), &link).await.unwrap();
        dashboard.says(&format!("Let {name} in?")).await;
        drop(sealed);
        dashboard.says(said).await;
    }
    dashboard.says("This code has ended before its time.").await;
    dashboard.says("Three devices began to use it and went away.").await;
    assert!(!dashboard.browser.text().await.contains("Nobody answered"));
    dashboard.look("tried-thrice").await;
    dashboard.press("Show a new code").await;
    dashboard.browser.shows("svg.qr").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_comes_for_its_credential_is_not_paired_and_the_page_says_so() {
    let (host, dashboard) = asking(|setup| {
        setup.env("COUPLET_LIMITS__CLAIM_SECONDS", "10");
    })
    .await;
    dashboard.connect().await;
    assert_eq!(exchange(&dashboard.plain_link().await, "Tablet", None).await.0, 202);
    dashboard.says("Let Tablet in?").await;
    dashboard.press("Approve").await;
    dashboard.says("Tablet is approved. Waiting until it comes for its credential").await;
    dashboard.look("approved").await;
    dashboard.says("Tablet did not come for its credential.").await;
    dashboard.says("It has no access. Show a new code").await;
    dashboard.says("CPL-1232").await;
    assert!(!dashboard.browser.text().await.contains("Nobody answered"));
    dashboard.look("never-came").await;
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert!(devices.devices.is_empty(), "{devices:?}");
}
