//! A device and a host meet over the relay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Event, TestHost, TestRelay, ask_secret, ask_token, by_secret, by_token, eventually, room, within};
use futures_util::{SinkExt, StreamExt};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_device_reaches_its_host_and_bytes_pass_as_they_are() {
    let relay = TestRelay::start(|_| {}).await;
    let host = TestHost::enroll(&relay).await;
    host.room(&relay, &room(1), by_token(1)).await;
    let mut events = host.events(&relay, None).await;

    let answer = relay.pair(&ask_token(1)).await;
    let sid = answer.sid();
    assert_eq!(answer.body["relay_url"], relay.ready.public);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let Event { id, name, data } = events.next().await.unwrap();
    assert_eq!((id.as_deref(), name.as_str()), (Some(sid.as_str()), "pair-cmd"));
    assert_eq!(data["room_id"], room(1));
    assert_eq!((data["mode"].as_str(), data["remote_ip"].as_str()), (Some("pair"), Some("127.0.0.1")));
    assert_eq!(data["relay_url"], relay.ready.hosts);
    assert_eq!(data["expires_at"], answer.body["expires_at"]);

    // The device speaks before the host has dialled.
    let mut device = relay.device_end(&sid).await;
    device.send(Message::binary(vec![1; 4096])).await.unwrap();
    let mut end = host.socket(&relay, &sid).await;
    assert_eq!(within("the first", end.next()).await.unwrap().unwrap(), Message::binary(vec![1; 4096]));
    for size in [0, 1, 125, 126, 16_640, 70_000, 1_000_000] {
        let message = Message::binary(Bytes::from(vec![7; size]));
        device.send(message.clone()).await.unwrap();
        assert_eq!(within("there", end.next()).await.unwrap().unwrap(), message);
        end.send(message.clone()).await.unwrap();
        assert_eq!(within("back", device.next()).await.unwrap().unwrap(), message);
    }
    // Pings are the ends' own.
    end.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(within("a ping", device.next()).await.unwrap().unwrap(), Message::Ping("x".into()));
    device.flush().await.unwrap();
    assert_eq!(within("a pong", end.next()).await.unwrap().unwrap(), Message::Pong("x".into()));

    device.close(None).await.unwrap();
    drop(device);
    while let Some(Ok(_)) = within("the end", end.next()).await {}
    assert_eq!(relay.pair(&ask_token(1)).await.status, StatusCode::OK, "a failed try leaves the offer free");
}
