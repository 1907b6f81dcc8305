//! What `couplet doctor` finds, in the owner's dashboard.

use couplet_protocol::api::{DoctorReport, FindingState, Part};
use e2e::{Dashboard, TestHost, free_port};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_check_up_shows_each_finding_with_its_cause_and_what_mends_it() {
    let host = TestHost::start(|setup| {
        setup.app(format!("http://127.0.0.1:{}", free_port()));
    })
    .await;
    let dashboard = Dashboard::open(&host).await;
    dashboard.press("Host").await;
    dashboard.press("Look now").await;
    dashboard.says("Found:").await;
    dashboard.says("Look again").await;
    dashboard.look("check-up").await;
    let text = dashboard.browser.text().await.replace('\n', " ");
    let report: DoctorReport = host.owner().expect(Method::GET, "/api/doctor", 200, None).await;
    let app = report.findings.iter().find(|finding| finding.part == Part::Apps).expect("the app is looked at");
    assert_eq!(app.state, FindingState::Failed, "{app:?}");
    assert!(!report.findings.is_empty());
    for finding in &report.findings {
        let about = [Some(&finding.found), finding.cause.as_ref(), finding.next.as_ref(), finding.command.as_ref()];
        let told = if matches!(finding.state, FindingState::Ok | FindingState::Skipped) { 1 } else { 4 };
        // How much is free differs from one look to the next.
        let stays = |said: &&String| finding.part != Part::Disk || !said.contains("MiB");
        for said in about.into_iter().take(told).flatten().filter(stays) {
            let said = said.replace('`', "").replace('\n', " ");
            assert!(text.contains(&said), "{said:?} in {text}");
        }
        assert!(finding.code.as_ref().is_none_or(|code| told == 1 || text.contains(code)), "{finding:?}");
    }
    let said = dashboard.said().await;
    assert!(said.contains("failed"), "{said}");
    assert_eq!(
        dashboard.browser.evaluate("document.querySelectorAll('.findings .note.bad').length > 0").await,
        json!(true)
    );
}
