//! What never reaches the app.

use super::*;

async fn answer(world: &World, request: &str) -> (String, String) {
    let mut client = world.sends(request).await;
    let head = client.head().await;
    let length = header(&head, "content-length").first().map_or(0, |n| n.parse().unwrap());
    let body = client.exact(length).await;
    (head, body)
}

#[tokio::test]
async fn without_a_credential_there_is_a_problem_and_no_forwarding() {
    let world = World::new().await;
    for (auth, code) in [
        ("", "CPL-1102"),
        ("Authorization: Bearer dev_wrong\r\n", "CPL-1103"),
        ("Cookie: couplet_session=x\r\n", "CPL-1102"),
    ] {
        let (head, body) = answer(&world, &format!("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n")).await;
        assert!(head.starts_with("HTTP/1.1 401"), "{head}");
        assert_eq!(header(&head, "content-type"), ["application/problem+json"]);
        assert!(body.contains(code), "{body}");
    }
    assert!(world.app_is_untouched());
}

#[tokio::test]
async fn a_refused_client_that_is_still_sending_reads_the_refusal() {
    let world = World::new().await;
    let mut client = world.sends("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n").await;
    // Written whole before anything is read, as simple clients do.
    client.send(vec![b'x'; 900_000]).await;
    let (text, error) = client.rest().await;
    assert!(text.starts_with("HTTP/1.1 401") && text.contains("CPL-1102"), "{text}");
    assert_eq!(error, None);
}

#[tokio::test]
async fn a_scope_is_kept() {
    let scope = Scope { read_only: true, paths: vec!["/api".to_owned()] };
    let world = World::with(Setup { scope, ..Setup::default() }).await;
    for (start, upgrade, code) in [
        ("POST /api", "", "CPL-1105"),
        ("GET /other", "", "CPL-1106"),
        ("GET /api/%2e%2e/x", "", "CPL-1107"),
        ("GET /api", "Connection: upgrade\r\nUpgrade: websocket\r\n", "CPL-1105"),
        ("GET http://h/other", "", "CPL-1106"),
    ] {
        let (head, body) = answer(&world, &format!("{start} HTTP/1.1\r\nHost: h\r\n{AUTH}{upgrade}\r\n")).await;
        assert!(body.contains(code), "{start}: {head}{body}");
    }
    assert!(world.app_is_untouched());
    world.head_at_app("GET /api/x?../y HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
}

#[tokio::test]
async fn requests_that_can_be_read_in_two_ways_are_refused() {
    let world = World::new().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n{auth}\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{auth}\r\n",
        "GET a:1 HTTP/1.1\r\nHost: a:1\r\n{auth}\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
        "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n{auth}\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: 1, 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: +1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Content-Length: -1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Content-Length : 1\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\n{auth}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{auth}X: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n{auth}X: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n{auth}\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n{auth}\r\n",
        "GET /\r\n\r\n",
    ] {
        let mut client = world.sends(request).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 400") || head.starts_with("HTTP/1.0 400"), "{request:?}: {head}");
    }
    assert!(world.app_is_untouched());
}

#[tokio::test]
async fn a_length_beside_chunked_is_neither_forwarded_nor_followed_by_another_request() {
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let world = World::new().await;
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut client = world.sends(&format!("POST / HTTP/1.1\r\nHost: h\r\n{{auth}}{framing}\r\n{smuggled}")).await;
        let mut app = world.accept().await;
        let head = app.head().await;
        assert!(header(&head, "content-length").is_empty(), "{head}");
        assert_eq!(header(&head, "transfer-encoding"), ["chunked"]);
        assert_eq!(app.until("0\r\n\r\n").await, "0\r\n\r\n");
        app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert!(client.head().await.starts_with("HTTP/1.1 204"));
        assert!(client.is_gone().await, "the connection goes no further");
    }
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_reaches_no_end_at_the_app() {
    let world = World::new().await;
    let mut client = world
        .sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nnonsense\r\n")
        .await;
    let mut app = world.accept().await;
    app.head().await;
    let (body, _) = app.rest().await;
    assert!(!body.contains("0\r\n\r\n"), "{body}");
    assert!(client.head().await.starts_with("HTTP/1.1 400"));
}
