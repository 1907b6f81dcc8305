//! The browser of the other tests: that it is one, and that it is held where the test put it.

use std::io::Write;

use e2e::browser::Browser;
use e2e::{Network, TestApp};
use serde_json::json;

#[tokio::test]
async fn it_opens_pages_here_and_nowhere_else() {
    let app = TestApp::start().await;
    let browser = Browser::start(|setup| {
        setup.name("shop.example").reaches("127.0.0.2");
    })
    .await;
    browser.open(&app.url()).await;
    assert_eq!(browser.text().await.trim(), "hello");
    let agent = browser.evaluate("navigator.userAgent").await;
    assert!(agent.as_str().unwrap().contains("Chrome/"), "{agent}");
    browser.open(&format!("http://shop.example:{}/echo", app.addr().port())).await;
    assert!(browser.text().await.contains("shop.example"));

    // Not by name, and not by number, even where something listens.
    let fails = async |url: &str| browser.driver().goto(url).await.unwrap_err().to_string();
    assert!(fails("http://other.example/").await.contains("ERR_NAME_NOT_RESOLVED"));
    assert!(fails(&format!("http://127.0.0.3:{}/", app.addr().port())).await.contains("ERR_NAME_NOT_RESOLVED"));
    assert!(fails(&format!("http://127.0.0.2:{}/", app.addr().port())).await.contains("ERR_CONNECTION_REFUSED"));
}

#[tokio::test]
async fn its_network_can_be_another() {
    let (app, network) = (TestApp::start().await, Network::new("browser").await);
    let browser = Browser::start(|setup| {
        setup.network(&network);
    })
    .await;
    let error = browser.driver().goto(app.url()).await.unwrap_err().to_string();
    assert!(error.contains("ERR_CONNECTION_REFUSED"), "{error}");
    browser.open("data:text/html,<title>still there</title>").await;
    assert_eq!(browser.driver().title().await.unwrap(), "still there");
}

#[tokio::test]
async fn pages_are_looked_at_and_used() {
    let browser = Browser::start(|_| ()).await;
    let page = "<body><input><button onclick=\"setTimeout(() => { \
                document.title = document.querySelector('input').value; console.log('saved') }, 100)\">Save</button>";
    browser.open(&format!("data:text/html,{page}")).await;
    browser.click("input").await;
    browser.press("typed").await;
    browser.click("button").await;
    browser.holds("document.title == 'typed'").await;
    assert!(browser.console().await.iter().any(|line| line.contains("saved")));
    let sum = browser.run("return await Promise.resolve(argument.a + argument.b)", json!({ "a": 40, "b": 2 })).await;
    assert_eq!(sum, json!(42));
    let picture = std::fs::read(browser.screenshot("browser").await).unwrap();
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 1000, "{} bytes", picture.len());
}

#[tokio::test]
async fn it_can_be_a_phone_with_a_camera_that_loses_its_network() {
    let (app, folder) = (TestApp::start().await, tempfile::tempdir().unwrap());
    let film = folder.path().join("film.y4m");
    // One frame, all white: Y at its most, no colour.
    let mut file = std::fs::File::create(&film).unwrap();
    file.write_all(b"YUV4MPEG2 W320 H240 F10:1 Ip A1:1 C420jpeg\nFRAME\n").unwrap();
    file.write_all(&[vec![255; 320 * 240], vec![128; 320 * 240 / 2]].concat()).unwrap();
    let browser = Browser::start(|setup| {
        setup.phone().camera(&film);
    })
    .await;
    browser.open(&app.url()).await;
    let phone = browser.evaluate("[screen.width, navigator.maxTouchPoints > 0, navigator.userAgentData.mobile]").await;
    assert_eq!(phone, json!([390, true, true]));

    let filmed = "const video = document.createElement('video');
        video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
        await video.play();
        const canvas = document.createElement('canvas').getContext('2d');
        canvas.drawImage(video, 0, 0);
        return [video.videoWidth, ...canvas.getImageData(20, 20, 1, 1).data].map(value => value > 250)";
    assert_eq!(browser.run(filmed, json!(null)).await, json!([true, true, true, true, true]));

    let fetched = "fetch('/').then(() => true, () => false)";
    for offline in [true, false] {
        browser.offline(offline).await;
        assert_eq!(browser.evaluate(fetched).await, json!(!offline));
        assert_eq!(browser.evaluate("navigator.onLine").await, json!(!offline));
    }
}
