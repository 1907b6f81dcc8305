//! Which browsers are signed in, on the owner's pages and on a terminal, and the end of each.

use couplet_protocol::api::OwnerSessionList;
use e2e::dashboard::link;
use e2e::host::PATIENCE;
use e2e::{Browser, Dashboard, Running, TestHost};
use serde_json::{Value, json};

const CARDS: &str = "document.querySelectorAll('section[aria-labelledby=sessions] li').length";

/// Runs `couplet dashboard` with these arguments, and gives what it printed.
async fn terminal(host: &TestHost, args: &[&str]) -> (i32, String, String) {
    Running::start(host.command(&[&["dashboard"], args].concat())).ended(PATIENCE).await
}

/// Signs in again where a session has ended.
async fn again(host: &TestHost, dashboard: &Dashboard) {
    dashboard.browser.open(&link(host).await).await;
    dashboard.browser.shows("nav").await;
}

/// The page says that its session was ended, and how to come back; also when it is loaded anew.
async fn was_signed_out(dashboard: &Dashboard) {
    for _ in 0..2 {
        dashboard.says("The owner has signed this browser out").await;
        dashboard.says("CPL-1117").await;
        dashboard.says("couplet dashboard").await;
        assert_eq!(dashboard.browser.evaluate("document.querySelectorAll('nav').length").await, json!(0));
        dashboard.browser.driver().refresh().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_shows_who_is_signed_in_and_ends_one_or_all_others() {
    let host = TestHost::start(|_| {}).await;
    let here = Dashboard::open(&host).await;
    here.press("Host").await;
    here.says("this browser").await;
    here.browser.holds(&format!("{CARDS} === 1")).await;
    // Another one shows by itself, and is told of.
    let there = Dashboard::open_in(
        &host,
        Browser::start(|setup| {
            setup.phone();
        })
        .await,
    )
    .await;
    here.says("A browser at 127.0.0.1 has signed in.").await;
    here.browser.holds(&format!("{CARDS} === 2")).await;
    here.says("Chrome on Android").await;
    here.look("sessions").await;
    let (code, out, _) = terminal(&host, &["--list"]).await;
    let rows: Vec<&str> = out.lines().collect();
    assert!(code == 0 && rows.len() == 3 && rows[0].starts_with("ID"), "{out}");
    assert!(
        rows[1].contains("Chrome on Linux") && rows[1].contains("127.0.0.1") && rows[2].contains("Chrome on Android"),
        "{out}"
    );

    // Ended from another browser.
    here.press("Sign out Chrome on Android at 127.0.0.1").await;
    here.says("Chrome on Android is signed out.").await;
    here.browser.holds(&format!("{CARDS} === 1")).await;
    here.browser.holds("document.activeElement.innerText === 'Host'").await;
    was_signed_out(&there).await;
    there.look("signed-out").await;

    // From a terminal, by its id.
    again(&host, &there).await;
    here.browser.holds(&format!("{CARDS} === 2")).await;
    let (_, out, _) = terminal(&host, &["--list", "--json"]).await;
    let all: OwnerSessionList = serde_json::from_str(&out).unwrap();
    let id = all.sessions[1].id.to_string();
    let (code, _, said) = terminal(&host, &["--sign-out", &id[..8]]).await;
    assert!(code == 0 && said.contains("Chrome on Android at 127.0.0.1 is signed out."), "{said}");
    was_signed_out(&there).await;
    here.browser.holds(&format!("{CARDS} === 1")).await;
    let (code, _, said) = terminal(&host, &["--sign-out", &id]).await;
    assert!(code == 1 && said.contains("CPL-1119"), "{said}");

    // All others.
    again(&host, &there).await;
    here.press("Sign out all others").await;
    here.says("Every other browser is signed out.").await;
    was_signed_out(&there).await;
    here.browser.holds(&format!("{CARDS} === 1")).await;
    here.browser.holds("!document.body.innerText.includes('Sign out all others')").await;
    here.press("Activity").await;
    here.says("Signed every other browser out by the owner").await;

    // And this one, from a terminal.
    let (code, _, said) = terminal(&host, &["--sign-out"]).await;
    assert!(code == 0 && said.contains("Every browser is signed out"), "{said}");
    was_signed_out(&here).await;
    let (code, out, said) = terminal(&host, &["--list"]).await;
    assert!(
        (code, out.as_str()) == (0, "") && said.contains("No browser is signed in. Next: couplet dashboard"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_windows_of_one_browser_are_one_session_and_end_together() {
    let host = TestHost::start(|_| {}).await;
    let dashboard = Dashboard::open(&host).await;
    let driver = dashboard.browser.driver().clone();
    let [first, second] = dashboard.second_window(&host).await;
    dashboard.press("Host").await;
    dashboard.browser.holds(&format!("{CARDS} === 1")).await;
    let stays: Value = dashboard.browser.evaluate("localStorage['couplet-page'].slice(0, 4)").await;
    assert_eq!(stays, json!("pag_"));
    assert_eq!(terminal(&host, &["--sign-out"]).await.0, 0);
    for window in [first, second] {
        driver.switch_to_window(window).await.unwrap();
        was_signed_out(&dashboard).await;
    }
}
