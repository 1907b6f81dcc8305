//! Headers that the owner configured for an app: they reach it, and no device gets to see them.

use couplet_protocol::Code;
use e2e::{TestApp, TestHost, problem};
use reqwest::Method;

#[tokio::test]
async fn an_apps_own_secret_goes_to_the_app_and_comes_back_by_no_trace() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    let apps = format!(
        "[[apps]]\nname = \"lab\"\nupstream = \"{url}\"\n[apps.headers]\nX-Lab-Secret = \"of the owner\"\n\
         [[apps]]\nname = \"plain\"\nupstream = \"{url}\"\n",
        url = app.url()
    );
    std::fs::write(&file, apps).unwrap();
    let host = TestHost::start(|setup| {
        setup.arg("--config").arg(file.to_str().unwrap());
        setup.arg("--gateway").arg("127.0.0.1:0").arg("--gateway").arg("127.0.0.1:0");
    })
    .await;
    let device = host.add_device("Phone").await;
    let lab = host.through_gateway("lab", Some(&device.device_token));
    // A device's own value does not stand beside the owner's.
    let answer = lab.get("/echo").header("x-lab-secret", "forged").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let values: Vec<_> = app.last_request().headers.get_all("x-lab-secret").iter().cloned().collect();
    assert_eq!(values, ["of the owner"]);

    let seen = app.requests().len();
    problem::expect(lab.request(Method::TRACE, "/echo").send().await.unwrap(), Code::RequestNotForwardable).await;
    assert_eq!(app.requests().len(), seen, "TRACE would answer with what the app got");
    let plain = host.through_gateway("plain", Some(&device.device_token));
    assert_eq!(plain.request(Method::TRACE, "/echo").send().await.unwrap().status(), 200);
    assert!(!app.last_request().headers.contains_key("x-lab-secret"));
}
