//! Bodies: streamed, at the pace of who reads them, with their trailers.

use tokio::io::AsyncWriteExt;

use super::*;

/// More than the sockets' own buffers on the way hold.
const LARGE: usize = 96 << 20;
/// What the sockets and the gateway together may hold. Loopback sockets grow to some 10 MiB each.
const HELD_MAX: usize = 48 << 20;

/// Writes until the other side takes no more for a while, and says how much that was.
async fn fill(wire: &mut Wire) -> usize {
    let (block, mut written) = (vec![b'x'; 64 << 10], 0);
    while written < LARGE {
        match tokio::time::timeout(Duration::from_millis(500), wire.0.get_mut().write(&block)).await {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    written
}

async fn drain(wire: &mut Wire, mut count: usize) {
    let mut block = vec![0; 64 << 10];
    while count > 0 {
        let most = count.min(block.len());
        count -= soon(AsyncReadExt::read_exact(&mut wire.0, &mut block[..most])).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_comes_at_the_pace_of_its_reader() {
    let world = World::new().await;
    let mut client = world.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", LARGE + 64)).await;
    client.head().await;
    let written = fill(&mut app).await;
    assert!(written < HELD_MAX, "{written} bytes were taken though nobody read");
    drain(&mut client, written).await;
    app.send("more").await;
    assert_eq!(client.exact(4).await, "more");
}

#[tokio::test]
async fn an_upload_goes_at_the_pace_of_the_app() {
    let world = World::new().await;
    let mut client =
        world.sends(&format!("PUT / HTTP/1.1\r\nHost: h\r\n{{auth}}Content-Length: {}\r\n\r\n", LARGE + 64)).await;
    let mut app = world.accept().await;
    app.head().await;
    let written = fill(&mut client).await;
    assert!(written < HELD_MAX, "{written} bytes were taken though the app read none");
    drain(&mut app, written).await;
    client.send("more").await;
    assert_eq!(app.exact(4).await, "more");
}

#[tokio::test]
async fn a_get_may_have_a_chunked_body() {
    let world = World::new().await;
    let mut client =
        world.sends("GET / HTTP/1.1\r\nHost: h\r\n{auth}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    let mut app = world.accept().await;
    assert_eq!(header(&app.head().await, "transfer-encoding"), ["chunked"]);
    assert_eq!(app.until("0\r\n\r\n").await, "3\r\nabc\r\n0\r\n\r\n");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn trailers_pass_both_ways_and_forged_ones_do_not() {
    let world = World::new().await;
    let mut client = world
        .sends(
            "POST / HTTP/1.1\r\nHost: h\r\n{auth}Transfer-Encoding: chunked\r\nTE: trailers\r\nConnection: TE\r\n\
             Trailer: X-Sum, X-Couplet-Device-Id, X_Couplet_Device_Id\r\n\r\n\
             1\r\na\r\n0\r\nX-Sum: 7\r\nX-Couplet-Device-Id: forged\r\nX_Couplet_Device_Id: forged\r\n\r\n",
        )
        .await;
    let mut app = world.accept().await;
    let head = app.head().await;
    assert_eq!(header(&head, "te"), ["trailers"]);
    let body = app.until("\r\n\r\n").await;
    assert!(body.starts_with("1\r\na\r\n0\r\n") && body.contains("x-sum: 7\r\n"), "{body}");
    assert!(!body.contains("forged"), "{body}");
    app.send("HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX-Sum: 9\r\n\r\n")
        .await;
    client.head().await;
    let body = client.until("\r\n\r\n").await;
    assert!(body.starts_with("1\r\nb\r\n0\r\n") && body.contains("x-sum: 9\r\n"), "{body}");
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: h\r\n{auth}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n";

#[tokio::test]
async fn the_client_is_told_to_continue_when_the_app_says_so() {
    let world = World::new().await;
    let mut client = world.sends(EXPECTING).await;
    let mut app = world.accept().await;
    assert_eq!(header(&app.head().await, "expect"), ["100-continue"]);
    app.send("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(app.exact(4).await, "body");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_refusing_app_spares_the_client_the_body() {
    let world = World::new().await;
    let mut client = world.sends(EXPECTING).await;
    let mut app = world.accept().await;
    app.head().await;
    app.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 413"), "no 100 before it");
}

#[tokio::test]
async fn an_app_that_never_says_continue_gets_the_body_all_the_same() {
    let world = World::new().await;
    let mut client = world.sends(EXPECTING).await;
    let mut app = world.accept().await;
    app.head().await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body").await;
    assert_eq!(app.exact(4).await, "body");
}

#[tokio::test]
async fn events_arrive_while_the_stream_is_open_and_the_app_sees_the_client_leave() {
    let world = World::new().await;
    let mut client = world.sends("GET /events HTTP/1.1\r\nHost: h\r\n{auth}\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    client.head().await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        app.send(event).await;
        assert!(client.until("\n\n\r\n").await.ends_with(&format!("{event}\r\n")));
    }
    drop(client);
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn an_answer_and_an_upload_may_overlap() {
    let world = World::new().await;
    let mut client =
        world.sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await;
    let mut app = world.accept().await;
    app.head().await;
    app.until("a\r\n").await;
    app.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nA", LARGE + 64)).await;
    client.head().await;
    assert_eq!(client.exact(1).await, "A");
    // The client reads no more until its upload is through, though the app answers on.
    let answered = fill(&mut app).await;
    assert!(answered > 0);
    client.send("1\r\nb\r\n0\r\n\r\n").await;
    assert_eq!(app.until("0\r\n\r\n").await, "1\r\nb\r\n0\r\n\r\n");
}
