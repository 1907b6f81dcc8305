//! `GET /api/pair/authz`, asked as a proxy asks it. The proxies themselves are in forward_auth.rs.

use couplet_protocol::api::DeviceInfo;
use e2e::{Signer, TestHost};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_limited_device_is_judged_by_what_its_proxy_says_and_only_by_that() {
    let mut host = TestHost::start(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await;
    let device = host.add_device("Kiosk").await;
    let ask = async |host: &TestHost, headers: &[(&str, &str)]| {
        let request = host.device(&device.device_token).get("/api/pair/authz");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(&host, &[]).await, 204, "without limits nothing needs to be said");
    let path = format!("/api/pair/devices/{}", device.device_id);
    let scope = json!({ "scope": { "read_only": true, "paths": ["/files"] } });
    let _: DeviceInfo = host.owner().expect(Method::PATCH, &path, 200, Some(scope)).await;
    assert_eq!(ask(&host, &[]).await, 401);
    for (method, uri, more, status) in [
        ("GET", "/files/a?b#c", "", 400),
        ("GET", "/files/a", "", 204),
        ("GET", "/files/a?x=/../", "", 204),
        ("POST", "/files/a", "", 403),
        ("GET", "/admin", "", 403),
        ("GET", "/files#/../admin", "", 400),
        ("GET", "http://h/files/a", "", 400),
        ("GET", "/files/../admin", "", 400),
        ("GET", "", "", 400),
        ("GET", "/files/a", "x-http-method-override", 400),
        ("GET", "/files/a", "x-original-url", 400),
        ("GET", "/files/a", "sec-websocket-key", 403),
    ] {
        let mut headers = vec![("x-forwarded-method", method), ("x-forwarded-uri", uri)];
        if !more.is_empty() {
            headers.push((more, "x"));
        }
        assert_eq!(ask(&host, &headers).await, status, "{headers:?}");
    }
    host.restart_with(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "192.0.2.1/32");
    })
    .await;
    let described = [("x-forwarded-method", "GET"), ("x-forwarded-uri", "/files/a")];
    assert_eq!(ask(&host, &described).await, 401, "anyone could say that");
}

#[tokio::test]
async fn a_signed_request_is_judged_by_what_its_proxy_says_and_only_without_a_body() {
    let mut host = TestHost::start(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "127.0.0.0/8");
    })
    .await;
    let watch = Signer::start().key().pair(&host, "Watch").await;
    watch.gets(host.pairing_url(), "/api/pair/me", 200).await;
    // What a proxy at https://nas.example passes on, and what it says of it.
    let ask = async |host: &TestHost, method: &str, target: &str, body: &[u8], headers: &[(&str, &str)]| {
        let mut request = watch.signed("http://NAS.example", method, target, body, |request| {
            request["authority"] = json!("nas.example");
        });
        request.url = format!("{}/api/pair/authz", host.pairing_url()).parse().unwrap();
        request.method = "GET".to_owned();
        request.body.clear();
        let said = [
            ("x-forwarded-method", method),
            ("x-forwarded-uri", target),
            ("x-forwarded-host", "NAS.example:443"),
            ("x-forwarded-proto", "https"),
        ];
        let request = said.iter().chain(headers).fold(request, |request, (name, value)| request.with(name, value));
        request.outcome().await
    };
    let (fine, refused) = ((204, String::new()), |code: &str| (401, code.to_owned()));
    assert_eq!(ask(&host, "GET", "/a?b=c", b"", &[]).await, fine);
    assert_eq!(ask(&host, "HEAD", "/a", b"", &[("x-couplet-challenge", "")]).await, refused("CPL-1110"));
    assert_eq!(ask(&host, "HEAD", "/a", b"", &[]).await, fine);
    for (name, value) in [
        ("x-forwarded-uri", "/a"),
        ("x-forwarded-method", "OPTIONS"),
        ("x-forwarded-host", "other.example"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(ask(&host, "GET", "/a?b=c", b"", &[(name, value)]).await, refused("CPL-1110"), "{name}");
    }
    assert_eq!(ask(&host, "GET", "/a", b"x", &[]).await, refused("CPL-1110"), "a body's digest");
    for (method, name) in [("POST", "x"), ("DELETE", "x"), ("GET", "sec-websocket-key"), ("GET", "upgrade")] {
        assert_eq!(ask(&host, method, "/a", b"", &[(name, "x")]).await, refused("CPL-1108"), "{method} {name}");
    }
    let overridden = ask(&host, "GET", "/a", b"", &[("x-http-method-override", "DELETE")]).await;
    assert_eq!(overridden, (400, "CPL-1107".to_owned()));
    host.restart_with(|setup| {
        setup.env("COUPLET_TRUSTED_PROXIES", "192.0.2.1/32");
    })
    .await;
    assert_eq!(ask(&host, "GET", "/a", b"", &[]).await, refused("CPL-1108"), "anyone could say that");
}
