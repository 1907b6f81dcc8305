//! A revoked device: everything that it has open ends, and looks broken rather than finished.

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn a_waiting_request_is_answered_401_and_the_app_sees_it_go() {
    let world = World::new().await;
    let mut client = world.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    world.session.end();
    assert!(client.head().await.starts_with("HTTP/1.1 401"));
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn a_streaming_answer_breaks() {
    for (request, head) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"),
        // Nothing but the reset tells this client that more would have come.
        ("GET / HTTP/1.0\r\n{auth}\r\n", "HTTP/1.1 200 OK\r\n\r\na"),
    ] {
        let world = World::new().await;
        let mut client = world.sends(request).await;
        let mut app = world.accept().await;
        app.head().await;
        app.send(head).await;
        client.head().await;
        client.until("a").await;
        world.session.end();
        let (rest, error) = client.rest().await;
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset), "{rest:?}");
        assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
        assert!(app.is_gone().await);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_reads_breaks_too() {
    let world = World::new().await;
    let mut client = world.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n").await;
    client.head().await;
    let (block, stuck) = (vec![b'x'; 64 << 10], Duration::from_millis(300));
    while tokio::time::timeout(stuck, app.0.get_mut().write_all(&block)).await.is_ok() {}
    world.session.end();
    assert!(app.is_gone().await, "the gateway let go without a read of the client's");
    assert!(client.rest().await.1.is_some());
}

#[tokio::test]
async fn an_upload_ends() {
    let world = World::new().await;
    let mut client = world.sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 100\r\n\r\npart").await;
    let mut app = world.accept().await;
    app.head().await;
    assert_eq!(app.exact(4).await, "part");
    world.session.end();
    assert!(client.head().await.starts_with("HTTP/1.1 401"));
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn an_upload_under_an_answer_ends() {
    let world = World::new().await;
    let mut client = world.sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 100\r\n\r\npart").await;
    let mut app = world.accept().await;
    app.head().await;
    assert_eq!(app.exact(4).await, "part");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na").await;
    client.head().await;
    assert_eq!(client.exact(1).await, "a");
    world.session.end();
    assert!(client.rest().await.1.is_some());
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn an_upgraded_connection_breaks_at_both_ends() {
    let world = World::new().await;
    let (mut client, mut app) = upgrades::upgraded(&world).await;
    client.send("x").await;
    assert_eq!(app.exact(1).await, "x");
    world.session.end();
    assert_eq!(client.rest().await, (String::new(), Some(std::io::ErrorKind::ConnectionReset)));
    assert_eq!(app.rest().await, (String::new(), Some(std::io::ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn the_next_request_on_the_connection_is_refused() {
    let world = World::new().await;
    let mut client = world.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    client.head().await;
    world.session.end();
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 401"));
}

/// More than a client's smallest receive buffer takes, and less than the gateway lets the kernel hold.
const WRITTEN: usize = 90_000;
/// What a client with the smallest receive buffer can have got before the end, and so gets after it.
const RECEIVED_MAX: usize = 16 << 10;

/// A client that has little room and has read nothing of an answer that the gateway has written and let go of.
async fn answered_in_full(world: &World, request: &str) -> Wire {
    let mut client = world.small_client().await;
    client.send(request.replace("{auth}", AUTH)).await;
    let mut app = world.accept().await;
    app.head().await;
    app.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {WRITTEN}\r\n\r\n")).await;
    app.send("x".repeat(WRITTEN)).await;
    assert!(app.is_gone().await, "the gateway has taken all of it");
    client
}

#[tokio::test]
async fn what_the_kernel_has_not_sent_of_a_whole_answer_is_called_back() {
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n{auth}Connection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n{auth}\r\n",
    ] {
        let world = World::new().await;
        let mut client = answered_in_full(&world, request).await;
        world.session.end();
        world.all_connections_are_gone().await;
        let (rest, error) = client.rest().await;
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset), "{request}: {}", rest.len());
        assert!(rest.len() < RECEIVED_MAX, "{request}: {}", rest.len());
    }
}

#[tokio::test]
async fn an_answer_that_waits_in_the_kernel_comes_whole_when_nothing_ends() {
    let world = World::new().await;
    let mut client = answered_in_full(&world, "GET / HTTP/1.1\r\nHost: h\r\n{auth}Connection: close\r\n\r\n").await;
    client.head().await;
    let (rest, error) = client.rest().await;
    assert_eq!((rest.len(), error), (WRITTEN, None));
    world.all_connections_are_gone().await;
}

#[tokio::test]
async fn many_small_answers_that_wait_in_the_kernel_are_called_back() {
    let world = World::new().await;
    let mut client = world.small_client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").repeat(100)).await;
    let mut app = world.accept().await;
    for _ in 0..100 {
        app.head().await;
        app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000))).await;
    }
    world.session.end();
    world.all_connections_are_gone().await;
    let (rest, error) = client.rest().await;
    assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset), "{}", rest.len());
    assert!(rest.len() < RECEIVED_MAX, "{}", rest.len());
}

#[tokio::test]
async fn what_the_kernel_has_not_sent_of_a_tunnel_is_called_back() {
    for app_finishes in [false, true] {
        let world = World::new().await;
        let mut client = world.small_client().await;
        client.send(upgrades::UPGRADE.replace("{auth}", AUTH)).await;
        let mut app = world.accept().await;
        app.head().await;
        app.send(upgrades::SWITCHED).await;
        client.head().await;
        client.finish().await;
        assert_eq!(app.rest().await, (String::new(), None));
        app.send("x".repeat(WRITTEN)).await;
        if app_finishes {
            app.finish().await;
        }
        world.session.end();
        world.all_connections_are_gone().await;
        let (rest, error) = client.rest().await;
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset), "{}", rest.len());
        assert!(rest.len() < RECEIVED_MAX, "{}", rest.len());
    }
}
