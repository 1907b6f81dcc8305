//! After a `101`.

use super::*;

pub(super) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: h\r\n{auth}Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Key: k\r\n\r\n";
pub(super) const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                        Sec-WebSocket-Accept: a\r\n\r\n";

pub(super) async fn upgraded(world: &World) -> (Wire, Wire) {
    let mut client = world.sends(UPGRADE).await;
    let mut app = world.accept().await;
    app.head().await;
    app.send(SWITCHED).await;
    client.head().await;
    (client, app)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_way_ends_on_its_own() {
    let world = World::new().await;
    let mut client = world.sends(&format!("{UPGRADE}early")).await;
    let mut app = world.accept().await;
    let head = app.head().await;
    assert_eq!(header(&head, "upgrade"), ["websocket"]);
    assert_eq!(header(&head, "connection"), ["upgrade"]);
    assert_eq!(header(&head, "x-couplet-device-id").len(), 1);
    app.send(format!("{SWITCHED}first")).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(header(&head, "upgrade"), ["websocket"]);
    assert_eq!(header(&head, "sec-websocket-accept"), ["a"]);
    assert_eq!(client.exact(5).await, "first");
    assert_eq!(app.exact(5).await, "early");
    client.send("ping").await;
    assert_eq!(app.exact(4).await, "ping");
    client.finish().await;
    assert_eq!(app.rest().await, (String::new(), None));
    app.send("still here").await;
    assert_eq!(client.exact(10).await, "still here");
    drop(app);
    assert_eq!(client.rest().await, (String::new(), None));
}

#[tokio::test]
async fn an_app_that_does_not_switch_answers_as_ever() {
    let world = World::new().await;
    let mut client = world.sends(UPGRADE).await;
    let mut app = world.accept().await;
    app.head().await;
    app.send(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno",
    )
    .await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 426"));
    assert_eq!(header(&head, "upgrade"), ["websocket"]);
    assert_eq!(client.exact(2).await, "no");
    client.send(format!("GET /next HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n")).await;
    assert!(app.head().await.starts_with("GET /next"));
}

#[tokio::test]
async fn http_inside_a_tunnel_is_not_offered() {
    let world = World::new().await;
    let head = world
        .head_at_app(
            "GET / HTTP/1.1\r\nHost: h\r\n{auth}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        .await;
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert!(header(&head, gone).is_empty(), "{gone}: {head}");
    }
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_refused() {
    let world = World::new().await;
    assert!(world.head_at_client(SWITCHED).await.starts_with("HTTP/1.1 502"));
}
