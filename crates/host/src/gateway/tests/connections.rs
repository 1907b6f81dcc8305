//! Connections: kept, retried, lost, bounded, drained.

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n{auth}\r\n";

async fn exchange(world: &World, app: &mut Wire, request: &str) -> Wire {
    let mut client = world.sends(request).await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    client.head().await;
    assert_eq!(client.exact(2).await, "ok");
    client
}

/// A world whose gateway holds one idle connection, and the app's end of it.
async fn with_idle(setup: Setup) -> (World, Wire) {
    let world = World::with(setup).await;
    let mut client = world.sends(GET).await;
    let mut app = world.accept().await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n").await;
    client.head().await;
    client.until("0\r\n\r\n").await;
    assert_eq!(world.idle_connections(), 1);
    (world, app)
}

#[tokio::test]
async fn a_connection_to_the_app_serves_many_clients() {
    let (world, mut app) = with_idle(Setup::default()).await;
    for _ in 0..3 {
        exchange(&world, &mut app, GET).await;
    }
    assert!(world.app_is_untouched(), "no second connection was made");
}

#[tokio::test]
async fn an_idle_connection_that_the_app_closed_costs_no_request() {
    let (world, app) = with_idle(Setup::default()).await;
    drop(app);
    let mut client = world.sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 4\r\n\r\nbody").await;
    let mut app = world.accept().await;
    app.head().await;
    assert_eq!(app.exact(4).await, "body");
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn idle_connections_that_the_app_closed_are_swept() {
    let (world, app) = with_idle(Setup::default()).await;
    drop(app);
    soon(async {
        while world.idle_connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_that_the_app_may_have_seen_is_not_sent_twice() {
    let (world, mut app) = with_idle(Setup::default()).await;
    let mut client = world.sends(GET).await;
    app.head().await;
    drop(app);
    assert!(client.head().await.starts_with("HTTP/1.1 502"));
    assert!(world.app_is_untouched());
}

#[tokio::test]
async fn an_app_that_is_down_is_named() {
    let mut world = World::new().await;
    let gone = std::mem::replace(&mut world.app, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut client = world.sends(GET).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    let body = client.until("}").await;
    assert!(body.contains("CPL-1501") && body.contains("request_id"), "{body}");
    let detail = format!("The app \\\"web\\\" at {address} refused the connection. Start it, then try again.");
    assert!(body.contains(&detail), "{body}");
}

#[tokio::test]
async fn an_app_that_is_slow_to_answer_is_given_up() {
    let limits = Limits { upstream_answer_seconds: 1, ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut client = world.sends(GET).await;
    let mut app = world.accept().await;
    app.head().await;
    assert!(client.head().await.starts_with("HTTP/1.1 504"));
    assert!(client.until("}").await.contains("CPL-1502"));
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so_and_not_that_the_app_is_slow() {
    let limits = Limits { upstream_answer_seconds: 1, ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut client = world.sends("POST / HTTP/1.1\r\nHost: h\r\n{auth}Content-Length: 9\r\n\r\npart").await;
    let mut app = world.accept().await;
    app.head().await;
    assert!(client.head().await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn an_app_that_answers_nonsense_or_nothing_is_named() {
    for answer in ["SSH-2.0-OpenSSH\r\n\r\n", "", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"] {
        let world = World::new().await;
        let mut client = world.sends(GET).await;
        let mut app = world.accept().await;
        app.head().await;
        app.send(answer).await;
        if answer.is_empty() {
            drop(app);
        }
        assert!(client.head().await.starts_with("HTTP/1.1 502"), "{answer}");
        assert!(client.until("}").await.contains("CPL-1503"), "{answer}");
    }
}

#[tokio::test]
async fn half_an_answer_is_not_taken_for_the_whole() {
    let world = World::new().await;
    for framing in ["Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "Content-Length: 8\r\n\r\nhalf"] {
        let mut client = world.sends(GET).await;
        let mut app = world.accept().await;
        app.head().await;
        app.send(format!("HTTP/1.1 200 OK\r\n{framing}")).await;
        client.head().await;
        client.until("half").await;
        drop(app);
        let (rest, _) = client.rest().await;
        assert!(!rest.contains("0\r\n"), "{rest:?}");
    }
}

#[tokio::test]
async fn the_app_sees_a_client_leave_that_was_waiting() {
    let world = World::new().await;
    let client = world.sends(GET).await;
    let mut app = world.accept().await;
    app.head().await;
    drop(client);
    assert!(app.is_gone().await);
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let (world, mut app) = with_idle(Setup { limits, ..Setup::default() }).await;
    let kept = exchange_when_free(&world, &mut app).await;
    let mut second = world.client().await;
    assert!(second.head().await.starts_with("HTTP/1.1 503"));
    drop(kept);
    exchange_when_free(&world, &mut app).await;
}

/// A client that left is noticed soon, not at once.
async fn exchange_when_free(world: &World, app: &mut Wire) -> Wire {
    loop {
        let mut client = world.client().await;
        if tokio::time::timeout(Duration::from_millis(50), client.0.get_ref().readable()).await.is_ok() {
            continue;
        }
        client.send(GET.replace("{auth}", AUTH)).await;
        app.head().await;
        app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        client.head().await;
        return client;
    }
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_not_waited_for() {
    let limits = Limits { header_seconds: 1, ..Limits::default() };
    let world = World::with(Setup { limits, ..Setup::default() }).await;
    let mut slow = world.sends("GET / HTTP/1.1\r\nHost:").await;
    let mut silent = world.client().await;
    slow.rest().await;
    silent.rest().await;
}

#[tokio::test]
async fn a_stop_lets_an_exchange_finish() {
    let mut world = World::new().await;
    let idle = world.client().await;
    let mut client = world.sends(GET).await;
    let mut app = world.accept().await;
    app.head().await;
    world.shutdown.cancel();
    app.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 200"));
    assert_eq!(client.rest().await, ("ok".to_owned(), None));
    soon(world.serving.take().unwrap()).await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever_and_dropping_the_server_cuts_at_once() {
    let mut world = World::new().await;
    let (mut client, _app) = upgrades::upgraded(&world).await;
    world.shutdown.cancel();
    soon(world.serving.take().unwrap()).await.unwrap();
    client.rest().await;

    let world = World::new().await;
    let (mut client, _app) = upgrades::upgraded(&world).await;
    world.serving.as_ref().unwrap().abort();
    client.rest().await;
}
