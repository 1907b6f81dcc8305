//! What of a head reaches the other side.

use super::*;

#[tokio::test]
async fn the_app_is_told_the_device_and_not_its_credential() {
    let world = World::new().await;
    let head = world
        .head_at_app(
            "GET /a%2Fb//c/../d?q=%20&r=|{} HTTP/1.1\r\nHost: my.host:8080\r\n{auth}\
             X-Couplet-Device-Id: forged\r\nx_couplet_device_id: forged\r\nX-Couplet-Anything: forged\r\n\
             X_Couplet-Device_Name: forged\r\nCouplet_Token: forged\r\nX_Forwarded_For: forged\r\n\
             X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged\r\n\
             X-Forwarded-Port: 1\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
             Cookie: a=1; couplet_session=secret; b=2\r\nX-Own: kept\r\n\r\n",
        )
        .await;
    assert!(head.starts_with("GET /a%2Fb//c/../d?q=%20&r=|{} HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("host", "my.host:8080"),
        ("x-couplet-device-id", "00000000-0000-0000-0000-000000000007"),
        ("x-couplet-device-name", "Ada%27s%20phone"),
        ("x-couplet-device-model", "Pixel"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "my.host:8080"),
        ("cookie", "a=1; b=2"),
        ("x-own", "kept"),
    ] {
        let found = header(&head, name);
        assert!(found == [value] || name == "x-couplet-device-name" && found.len() == 1, "{name}: {head}");
    }
    for absent in ["forged", "dev_", "authorization", "1.2.3.4", "secret", "x-forwarded-port"] {
        assert!(!head.to_lowercase().contains(absent), "{absent}: {head}");
    }
}

#[tokio::test]
async fn an_app_keeps_its_own_authorization_beside_a_couplet_token() {
    let world = World::new().await;
    let head = world
        .head_at_app(&format!(
            "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nCouplet-Token: {TOKEN}\r\n\r\n"
        ))
        .await;
    assert_eq!(header(&head, "authorization"), ["Basic YTpi"]);
    assert!(!head.contains(TOKEN), "{head}");
}

#[tokio::test]
async fn a_trusted_proxys_word_is_kept_and_it_is_added_to_the_chain() {
    let world = World::with(Setup { trusted: vec!["127.0.0.0/8"], ..Setup::default() }).await;
    let head = world
        .head_at_app(
            "GET / HTTP/1.1\r\nHost: h\r\n{auth}X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n\
             X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nForwarded: for=1.2.3.4\r\n\
             X_Forwarded_Proto: forged\r\n\r\n",
        )
        .await;
    assert_eq!(header(&head, "x-forwarded-for"), ["1.2.3.4, 5.6.7.8, 127.0.0.1"]);
    assert_eq!(header(&head, "x-forwarded-proto"), ["https"]);
    assert_eq!(header(&head, "x-forwarded-host"), ["public"]);
    assert_eq!(header(&head, "forwarded"), ["for=1.2.3.4"]);
    assert!(!head.contains("forged"), "{head}");
}

#[tokio::test]
async fn configured_headers_replace_any_other_spelling() {
    let world = World::with(Setup { headers: vec![("app-secret", "ours")], ..Setup::default() }).await;
    let head =
        world.head_at_app("GET / HTTP/1.1\r\nHost: h\r\n{auth}App-Secret: forged\r\napp_secret: forged\r\n\r\n").await;
    assert_eq!(header(&head, "app-secret"), ["ours"]);
    assert!(!head.contains("forged"), "{head}");
}

#[tokio::test]
async fn what_belongs_to_one_hop_stays_there() {
    let world = World::new().await;
    let head = world
        .head_at_app(
            "GET / HTTP/1.1\r\nHost: h\r\n{auth}Connection: keep-alive, X-Hop, x-couplet-device-id, host, TE\r\n\
             Keep-Alive: timeout=5\r\nX-Hop: 1\r\nTE: gzip, trailers\r\nProxy-Connection: close\r\n\r\n",
        )
        .await;
    for gone in ["keep-alive", "x-hop", "proxy-connection"] {
        assert!(header(&head, gone).is_empty(), "{gone}: {head}");
    }
    assert_eq!(header(&head, "te"), ["trailers"]);
    assert_eq!(header(&head, "host"), ["h"]);
    assert_eq!(header(&head, "x-couplet-device-id").len(), 1, "{head}");

    let head = world
        .head_at_client(
            "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nX-Couplet-Own: the app's\r\n\
             Set-Cookie: a=1\r\nSet-Cookie: couplet_session=forged\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    for gone in ["x-hop", "keep-alive", "connection"] {
        assert!(header(&head, gone).is_empty(), "{gone}: {head}");
    }
    assert_eq!(header(&head, "set-cookie"), ["a=1", "b=2"]);
    assert_eq!(header(&head, "x-couplet-own"), ["the app's"]);
}

#[tokio::test]
async fn absolute_targets_become_origin_form_and_name_the_host() {
    let world = World::new().await;
    let head = world.head_at_app("GET http://real.host:1/a?b HTTP/1.1\r\nHost: other\r\n{auth}\r\n").await;
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), ["real.host:1"]);
    assert_eq!(header(&head, "x-forwarded-host"), ["real.host:1"]);
    let head = world.head_at_app("GET http://real.host HTTP/1.1\r\nHost: real.host\r\n{auth}\r\n").await;
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn any_method_goes_through() {
    let world = World::new().await;
    for start in ["PROPFIND /dav", "get /", "OPTIONS *", "DELETE /x", "M-SEARCH /"] {
        let head = world.head_at_app(&format!("{start} HTTP/1.1\r\nHost: h\r\n{{auth}}\r\n")).await;
        assert!(head.starts_with(&format!("{start} HTTP/1.1\r\n")), "{head}");
    }
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let world = World::new().await;
    let mut client = world.sends("HEAD / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    assert!(app.head().await.starts_with("HEAD / "));
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await;
    assert_eq!(header(&client.head().await, "content-length"), ["1234"]);
    client.send(format!("HEAD / HTTP/1.1\r\nHost: h\r\n{AUTH}Connection: close\r\n\r\n")).await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\n\r\n").await;
    let head = client.head().await;
    assert!(header(&head, "content-length").is_empty(), "{head}");
    assert!(client.is_gone().await);
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_in_kind() {
    let world = World::new().await;
    let mut client = world.sends("GET / HTTP/1.0\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    let head = app.head().await;
    assert!(head.starts_with("GET / HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), [world.app.local_addr().unwrap().to_string()]);
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    let head = client.head().await;
    assert!(header(&head, "transfer-encoding").is_empty(), "{head}");
    assert_eq!(client.rest().await, ("ok".to_owned(), None));
}
