//! What the owner sees and changes of the devices, and what a device may do about itself.

use std::time::{Duration, Instant};

use couplet_protocol::api::{AuditList, DeviceInfo, DeviceKind, DeviceList, MeAnswer, NetworkPath};
use e2e::{TestApp, TestHost, eventually};
use futures_util::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

async fn list(host: &TestHost, query: &str) -> Vec<DeviceInfo> {
    let path = format!("/api/pair/devices{query}");
    host.owner().expect::<DeviceList>(Method::GET, &path, 200, None).await.devices
}

async fn me(host: &TestHost, token: &str) -> u16 {
    host.device(token).get("/api/pair/me").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_paired_device_is_listed() {
    let host = TestHost::start(|_| {}).await;
    assert_eq!(list(&host, "").await.len(), 0);
    let paired = host.pair_device("iPad Pro").await;
    let added = host.add_device("Editor").await;
    let devices = list(&host, "").await;
    assert_eq!(devices.iter().map(|d| d.device_id).collect::<Vec<_>>(), [added.device_id, paired.device_id]);
    assert_eq!(devices.iter().map(|d| d.kind).collect::<Vec<_>>(), [DeviceKind::Bearer, DeviceKind::Mobile]);
}

#[tokio::test]
async fn the_list_has_every_documented_field() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad Pro",
        "device_model": "iPad Pro 12.9-inch" });
    let paired: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await;
    let answer: Value = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    let device = &answer["devices"][0];
    assert_eq!(device["device_id"], paired["device_id"]);
    assert_eq!(device["device_name"], "iPad Pro");
    assert_eq!(device["device_model"], "iPad Pro 12.9-inch");
    assert!(device["paired_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    for null in ["last_seen", "revoked_at", "path", "expires_at"] {
        assert_eq!(device[null], Value::Null, "{null} is there and null: {device}");
    }
    assert_eq!(device["scope"], json!({ "read_only": false, "paths": [] }));
}

#[tokio::test]
async fn last_seen_moves_with_use() {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let device = host.pair_device("iPad").await;
    assert_eq!(list(&host, "").await[0].last_seen, None, "never used");
    assert_eq!(me(&host, &device.device_token).await, 200);
    let first = list(&host, "").await[0].clone();
    assert_eq!(first.path, Some(NetworkPath::Lan));
    host.set_clock("+1h");
    assert_eq!(me(&host, &device.device_token).await, 200);
    let seen = |device: &DeviceInfo| device.last_seen.as_ref().unwrap().parse::<jiff::Timestamp>().unwrap();
    let second = list(&host, "").await[0].clone();
    assert!(seen(&second).as_second() >= seen(&first).as_second() + 3600);
    host.restart().await;
    assert_eq!(seen(&list(&host, "").await[0]), seen(&second), "a stop writes it down");
}

#[tokio::test]
async fn revoking_answers_204_and_404_the_second_time() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let path = format!("/api/pair/devices/{}", device.device_id);
    let first = host.owner().delete(&path).send().await.unwrap();
    assert_eq!((first.status().as_u16(), first.bytes().await.unwrap().len()), (204, 0));
    let second = host.owner().delete(&path).send().await.unwrap();
    assert_eq!(second.status(), 404);
    assert_eq!(second.json::<Value>().await.unwrap()["code"], "CPL-1212");
    host.event("device.revoked", |event| event["device_id"] == json!(device.device_id)).await;
}

#[tokio::test]
async fn an_unknown_or_malformed_id_is_404() {
    let host = TestHost::start(|_| {}).await;
    for id in ["00000000-0000-4000-8000-000000000000", "nonsense", "%00", "1"] {
        for method in [Method::DELETE, Method::PATCH] {
            let request = host.owner().request(method, &format!("/api/pair/devices/{id}")).json(&json!({}));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 404, "{id}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "CPL-1212");
        }
    }
}

#[tokio::test]
async fn a_revoked_token_is_dead_at_once() {
    let app = TestApp::start().await;
    let mut host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = host.pair_device("iPad").await;
    let through = host.through_gateway("app", Some(&device.device_token));
    assert_eq!(through.get("/").send().await.unwrap().status(), 200);
    host.revoke(&device).await;
    let refused = through.get("/").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "CPL-1103");
    assert_eq!(me(&host, &device.device_token).await, 401);
    host.restart().await;
    assert_eq!(me(&host, &device.device_token).await, 401, "a restart revives nothing");
}

#[tokio::test]
async fn a_revoked_device_pairs_again_with_a_fresh_token() {
    let host = TestHost::start(|_| {}).await;
    let old = host.pair_device("iPad").await;
    host.revoke(&old).await;
    let new = host.pair_device("iPad").await;
    assert_ne!((old.device_id, &old.device_token), (new.device_id, &new.device_token));
    assert_eq!((me(&host, &old.device_token).await, me(&host, &new.device_token).await), (401, 200));
    assert_eq!(list(&host, "").await.len(), 2, "the revoked one is still shown");
    assert_eq!(list(&host, "?state=active").await.len(), 1);
    assert_eq!(host.owner().get("/api/pair/devices?state=nonsense").send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn revoking_ends_open_streams_within_a_second() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let (gone, stays) = (host.add_device("gone").await, host.add_device("stays").await);
    let open = async |token: &str| {
        let answer = host.through_gateway("app", Some(token)).get("/endless").send().await.unwrap();
        let mut body = answer.bytes_stream();
        assert!(body.next().await.unwrap().is_ok());
        body
    };
    let (mut ending, mut lasting) = (open(&gone.device_token).await, open(&stays.device_token).await);
    let drain = tokio::spawn(async move {
        while let Some(chunk) = ending.next().await {
            if chunk.is_err() {
                return Instant::now();
            }
        }
        panic!("a broken stream must not look like a whole one");
    });
    host.revoke(&gone).await;
    let revoked = Instant::now();
    let ended = drain.await.unwrap();
    assert!(ended.saturating_duration_since(revoked) < Duration::from_secs(1));
    assert!(lasting.next().await.unwrap().is_ok(), "another device's stream goes on");
}

#[tokio::test]
async fn a_device_unpairs_itself() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let answer = host.device(&device.device_token).delete("/api/pair/me").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(me(&host, &device.device_token).await, 401);
    assert!(list(&host, "").await[0].revoked_at.is_some());
    let audit: Value = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let entry = &audit["entries"][0];
    assert_eq!((&entry["action"], &entry["actor"]), (&json!("device.revoked"), &json!("device")));
}

#[tokio::test]
async fn a_rename_shows_everywhere_and_ends_nothing() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = host.add_device("Old").await;
    let through = host.through_gateway("app", Some(&device.device_token));
    let mut stream = through.get("/endless").send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    let path = format!("/api/pair/devices/{}", device.device_id);
    let renamed: DeviceInfo =
        host.owner().expect(Method::PATCH, &path, 200, Some(json!({ "device_name": " Zoë’s phone " }))).await;
    assert_eq!(renamed.device_name.as_str(), "Zoë’s phone");
    let echo: Value = through.get("/echo").send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["headers"]["x-couplet-device-name"][0], "Zo%C3%AB%E2%80%99s%20phone");
    assert!(stream.next().await.unwrap().is_ok());
    host.revoke(&device).await;
    // What was opened under the old name ends with the device.
    while let Some(Ok(_)) = stream.next().await {}
    let bad = host.owner().patch(&path).json(&json!({ "device_name": "a\u{202e}b" })).send().await.unwrap();
    assert_eq!(bad.status(), 422);
}

#[tokio::test]
async fn a_scope_holds_at_once_and_is_shown() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let device = host.add_device("Kiosk").await;
    let through = host.through_gateway("app", Some(&device.device_token));
    assert_eq!(through.post("/echo").send().await.unwrap().status(), 200);
    let path = format!("/api/pair/devices/{}", device.device_id);
    let scope = json!({ "scope": { "read_only": true, "paths": ["/echo/"] } });
    let changed: DeviceInfo = host.owner().expect(Method::PATCH, &path, 200, Some(scope)).await;
    assert_eq!((changed.scope.read_only, changed.scope.paths), (true, vec!["/echo".to_owned()]));
    assert_eq!(through.get("/echo/a").send().await.unwrap().status(), 200);
    for (request, status, code) in [
        (through.post("/echo"), 403, "CPL-1105"),
        (through.get("/"), 403, "CPL-1106"),
        (through.get("/echo/a%2Fb"), 400, "CPL-1107"),
    ] {
        let answer = request.send().await.unwrap();
        let got = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!((got.0, &got.1["code"]), (status, &json!(code)));
    }
    for bad in [
        json!({ "scope": { "paths": ["no-slash"] } }),
        json!({ "expires_at": "tomorrow" }),
        json!({ "expires_at": "2020-01-01T00:00:00Z" }),
    ] {
        let answer = host.owner().patch(&path).json(&bad).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.json::<Value>().await.unwrap()["code"]),
            (422, &json!("CPL-1215"))
        );
    }
    let me: MeAnswer = host.device(&device.device_token).expect(Method::GET, "/api/pair/me", 200, None).await;
    assert!(me.scope.read_only, "a limited device may still ask who it is");
}

#[tokio::test]
async fn access_ends_at_its_date_and_so_does_what_is_open() {
    let app = TestApp::start().await;
    let mut host = TestHost::start(|setup| {
        setup.app(app.url()).movable_clock();
    })
    .await;
    let device = host.add_device("Guest").await;
    let path = format!("/api/pair/devices/{}", device.device_id);
    let end = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let _: DeviceInfo = host.owner().expect(Method::PATCH, &path, 200, Some(json!({ "expires_at": end }))).await;
    let through = host.through_gateway("app", Some(&device.device_token));
    let mut stream = through.get("/endless").send().await.unwrap().bytes_stream();
    assert!(stream.next().await.unwrap().is_ok());
    host.set_clock("+61m");
    while let Some(Ok(_)) = stream.next().await {}
    let late = through.get("/").send().await.unwrap();
    assert_eq!((late.status().as_u16(), &late.json::<Value>().await.unwrap()["code"]), (401, &json!("CPL-1104")));
    // An end that has come stays, whatever the clock says later: machines without a clock of their own start in 1970.
    host.set_clock("-1d");
    host.restart().await;
    let through = host.through_gateway("app", Some(&device.device_token));
    assert_eq!(through.get("/").send().await.unwrap().status(), 401);
    let _: DeviceInfo = host.owner().expect(Method::PATCH, &path, 200, Some(json!({ "expires_at": null }))).await;
    assert_eq!(through.get("/").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn revoked_devices_are_shown_for_30_days() {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let device = host.pair_device("iPad").await;
    host.revoke(&device).await;
    for (offset, shown) in [("+29d", 1), ("+31d", 0)] {
        host.set_clock(offset);
        host.restart().await;
        assert_eq!(list(&host, "").await.len(), shown, "{offset}");
    }
}

#[tokio::test]
async fn the_owner_is_told_as_it_happens_and_catches_up() {
    let host = TestHost::start(|_| {}).await;
    let answer = host.owner().get("/api/pair/events").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut events = sse_stream::SseStream::from_bytes_stream(answer.bytes_stream());
    let device = host.pair_device("iPad").await;
    host.revoke(&device).await;
    let mut kinds = Vec::new();
    // Where the stream begins, before anything happens.
    let opening = events.next().await.unwrap().unwrap();
    assert!(opening.data.is_none() && opening.event.is_none(), "{opening:?}");
    let mut first_id = None;
    while kinds.last().map(String::as_str) != Some("device.revoked") {
        let event = events.next().await.unwrap().unwrap();
        first_id = first_id.or(event.id.clone());
        let data: Value = serde_json::from_str(&event.data.unwrap()).unwrap();
        assert_eq!(event.event.as_deref(), data["event"].as_str());
        kinds.push(event.event.unwrap());
    }
    assert_eq!(kinds, ["offer.created", "offer.claimed", "device.paired", "device.revoked"]);
    for (last, next) in [(opening.id.unwrap(), "offer.created"), (first_id.unwrap(), "offer.claimed")] {
        let again = host.owner().get("/api/pair/events").header("last-event-id", last).send().await.unwrap();
        let mut missed = sse_stream::SseStream::from_bytes_stream(again.bytes_stream());
        assert_eq!(missed.next().await.unwrap().unwrap().event.as_deref(), Some(next));
    }
}

/// The audit log, oldest first: what was done, by whom, and what it says of it.
async fn audit(host: &TestHost) -> Vec<(String, String, Option<String>)> {
    let list: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    list.entries.into_iter().rev().map(|entry| (entry.action, entry.actor, entry.detail)).collect()
}

/// Every pairing, approval, refusal, change and revocation, by whom, and of which device.
#[tokio::test]
async fn the_audit_log_names_who_did_what() {
    let host = TestHost::start(|setup| {
        setup.arg("--approve").arg("always");
    })
    .await;
    let owner = host.owner();
    for (name, verdict, status) in [("iPad", "approve", 200), ("Stranger", "reject", 403)] {
        let offer = host.generate().await;
        let mut body = json!({ "pair_token": offer.pair_token.expose(), "device_name": name });
        let claim: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 202, Some(body.clone())).await;
        let path = format!("/api/pair/pairings/{}/{verdict}", offer.offer_id);
        assert_eq!(owner.post(&path).send().await.unwrap().status(), 204);
        body["claim"] = claim["claim"].clone();
        let _: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", status, Some(body)).await;
    }
    let offer = host.generate().await;
    assert_eq!(owner.delete(&format!("/api/pair/offers/{}", offer.offer_id)).send().await.unwrap().status(), 204);
    let editor = host.add_device("Editor").await;
    let path = format!("/api/pair/devices/{}", editor.device_id);
    let change = json!({ "device_name": "Old editor", "scope": { "read_only": true, "paths": ["/echo/"] } });
    let _: DeviceInfo = owner.expect(Method::PATCH, &path, 200, Some(change)).await;
    host.revoke(&editor).await;

    let entries = audit(&host).await;
    let entries: Vec<_> = entries.iter().map(|(action, actor, d)| (&action[..], &actor[..], d.as_deref())).collect();
    let expected = [
        ("offer.created", "owner", None),
        ("approval.wanted", "anyone", Some("iPad")),
        ("pairing.approved", "owner", Some("iPad")),
        ("device.paired", "device", Some("iPad")),
        ("offer.created", "owner", None),
        ("approval.wanted", "anyone", Some("Stranger")),
        ("pairing.rejected", "owner", Some("Stranger")),
        ("offer.created", "owner", None),
        ("offer.withdrawn", "owner", None),
        ("device.paired", "owner", Some("Editor")),
        ("device.updated", "owner", Some("name Old editor; read-only, /echo")),
        ("device.revoked", "owner", Some("Old editor")),
    ];
    assert_eq!(entries, expected);
    let list: AuditList = owner.expect(Method::GET, "/api/audit", 200, None).await;
    assert_eq!(list.entries[0].device_id, Some(editor.device_id));
    assert_eq!(list.entries[8].network.as_deref(), Some("127.0.0.1"), "where the iPad came from");
}

#[tokio::test]
async fn a_full_house_still_stops_in_time() {
    let mut host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__MAX_CONNECTIONS", "2");
    })
    .await;
    let address = host.pairing_url().strip_prefix("http://").unwrap().to_owned();
    let mut held = Vec::new();
    for _ in 0..3 {
        use tokio::io::AsyncWriteExt;
        let mut socket = tokio::net::TcpStream::connect(&address).await.unwrap();
        let head = "POST /api/pair/exchange HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
        socket.write_all(head.as_bytes()).await.unwrap();
        held.push(socket);
    }
    let asked = Instant::now();
    host.stop().await;
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_stop_ends_streams_in_good_order() {
    let mut host = TestHost::start(|_| {}).await;
    let events = host.owner().get("/api/pair/events").send().await.unwrap();
    host.stop().await;
    let mut body = events.bytes_stream();
    while let Some(chunk) = body.next().await {
        assert!(chunk.is_ok(), "the event stream ends whole");
    }
    let state = host.state_dir();
    eventually("serve.json is gone", Duration::from_secs(5), async || !state.join("serve.json").exists()).await;
}
