//! What stands in bodies and headers, and what is not there at all.

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use e2e::host::PATIENCE;
use e2e::raw::{Raw, ask};
use e2e::{Running, TestHost, problem, program};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::health;

#[tokio::test]
async fn bodies_are_json_and_nothing_else() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "100");
    })
    .await;
    let post = |kind: Option<&str>, body: &str| {
        let request = host.owner().post("/api/pair/generate").body(body.to_owned());
        match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        }
    };
    for kind in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("application/jsonp"),
        Some("text/plain; application/json"),
        Some(""),
        None,
    ] {
        let answer = post(kind, r#"{"ttl":60}"#).send().await.unwrap();
        problem::expect(answer, Code::UnsupportedMediaType).await;
    }
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
        assert_eq!(post(Some(kind), r#"{"ttl":60}"#).send().await.unwrap().status(), 200, "{kind}");
    }
    assert_eq!(post(None, "").send().await.unwrap().status(), 200, "an empty body needs no type");
}

#[tokio::test]
async fn a_body_is_64_kib_at_most() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "100");
    })
    .await;
    let of_size = |size: usize| {
        let (start, end) = (r#"{"ttl":60,"unknown":""#, r#""}"#);
        format!("{start}{}{end}", "x".repeat(size - start.len() - end.len()))
    };
    let send = async |body: reqwest::Body| {
        let request = host.owner().post("/api/pair/generate").header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    let chunked = |body: String| {
        let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
            body.as_bytes().chunks(1000).map(|chunk| Ok(chunk.to_vec())).collect();
        reqwest::Body::wrap_stream(futures_util::stream::iter(chunks))
    };
    assert_eq!(send(of_size(65_536).into()).await.status(), 200);
    assert_eq!(send(chunked(of_size(65_536))).await.status(), 200);
    problem::expect(send(of_size(65_537).into()).await, Code::BodyTooLarge).await;
    problem::expect(send(chunked(of_size(65_537))).await, Code::BodyTooLarge).await;
    // Only announced: it is refused without being read.
    let head = "POST /api/pair/exchange HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 9999999999\r\n\r\n";
    problem::expect_raw(&ask(host.pairing_url(), head).await, Code::BodyTooLarge);
}

#[tokio::test]
async fn who_sends_too_slowly_is_let_go() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__HEADER_SECONDS", "1").env("COUPLET_LIMITS__BODY_SECONDS", "1");
    })
    .await;
    let head = "POST /api/pair/exchange HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

    let begun = Instant::now();
    let mut slow_head = Raw::connect(host.pairing_url()).await;
    slow_head.send(head).await;
    assert!(slow_head.try_answer().await.is_none(), "closed");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");

    let begun = Instant::now();
    let slow_body = format!("{head}Content-Length: 100\r\n\r\n{{\"pair_token\":");
    problem::expect_raw(&ask(host.pairing_url(), slow_body).await, Code::BodyTooSlow);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(10), "{took:?}");

    // Nor does it help to send a byte now and then: the time is for the whole.
    let (slow_head, slow_body) = (format!("{head}X: "), format!("{head}Content-Length: 60000\r\n\r\n"));
    for start in [slow_head, slow_body] {
        let mut trickle = Raw::connect(host.pairing_url()).await;
        trickle.send(start).await;
        let let_go = timeout(Duration::from_secs(10), async {
            while timeout(Duration::from_millis(100), trickle.more()).await.is_err() {
                trickle.send(" ").await;
            }
        });
        let_go.await.expect("it is answered or closed");
    }
}

#[tokio::test]
async fn a_body_that_is_not_what_the_route_takes_is_400() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await;
    let send = async |body: Vec<u8>| {
        let request = host.anyone().post("/api/pair/exchange").header("content-type", "application/json");
        request.body(body).send().await.unwrap()
    };
    let deep = format!(r#"{{"pair_token":"otp_A","device_name":"P","x":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for body in [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "\"otp_\"",
        "1",
        r#"["otp_AAAAAAAAAAAAAAAAAAAAAA","Phone"]"#,
        r#"{"device_name":"Phone"}"#,
        r#"{"pair_token":"otp_AAAAAAAAAAAAAAAAAAAAAA"}"#,
        r#"{"pair_token":null,"device_name":"Phone"}"#,
        r#"{"pair_token":["otp_A"],"device_name":"Phone"}"#,
        r#"{"pair_token":"otp_A","device_name":7}"#,
        r#"{"pair_token":"otp_A","device_name":"Phone","device_model":{}}"#,
        r#"{"pair_token":"otp_A","pair_token":"otp_B","device_name":"Phone"}"#,
        r#"{"pair_token":"otp_A","device_name":"Phone","device_name":"Phone"}"#,
        r#"{"pair_token":"otp_A","device_name":"\ud800"}"#,
        r#"{"pair_token":"otp_A","device_name":"Phone"} {}"#,
        r#"{"pair_token":"otp_A","device_name":"Phone",}"#,
        r#"{pair_token:"otp_A",device_name:"Phone"}"#,
        "{\"pair_token\":\"otp_A\",\"device_name\":\"a\nb\"}",
        "pair_token=otp_A&device_name=Phone",
    ] {
        problem::expect(send(body.into()).await, Code::MalformedBody).await;
    }
    problem::expect(send(b"{\"pair_token\":\"otp_A\",\"device_name\":\"\xff\"}".into()).await, Code::MalformedBody)
        .await;
    // However deep an unknown member goes, it is ignored.
    problem::expect(send(deep.into()).await, Code::PairTokenInvalid).await;
    for ttl in [json!("60"), json!(-1), json!(1.5), json!([60])] {
        let answer = host.owner().post("/api/pair/generate").json(&json!({ "ttl": ttl })).send().await.unwrap();
        problem::expect(answer, Code::MalformedBody).await;
    }
}

#[tokio::test]
async fn unknown_members_are_ignored() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let body =
        json!({ "pair_token": offer.pair_token.expose(), "device_name": "Phone", "platform": "x", "y": [1, {}] });
    let _: Value = host.anyone().expect(Method::POST, "/api/pair/exchange", 200, Some(body)).await;
    let _: Value = host.owner().expect(Method::POST, "/api/pair/generate", 200, Some(json!({ "colour": "red" }))).await;
}

#[tokio::test]
async fn a_name_that_could_deceive_is_422_at_every_door() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await;
    let device = host.add_device("Phone").await;
    let path = format!("/api/pair/devices/{}", device.device_id);
    let long = "x".repeat(65);
    for name in ["", "  \t ", &long, "a\0b", "a\u{202e}b", "a\u{2066}b", "a\nb", "\u{1b}[2J", "a\u{7f}", "a\u{200b}b"] {
        let (token, fine) = ("otp_AAAAAAAAAAAAAAAAAAAAAA", "Phone");
        let exchange = async |body: Value| host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
        for answer in [
            exchange(json!({ "pair_token": token, "device_name": name })).await,
            exchange(json!({ "pair_token": token, "device_name": fine, "device_model": name })).await,
            host.owner().post("/api/pair/devices").json(&json!({ "device_name": name })).send().await.unwrap(),
            host.owner().patch(&path).json(&json!({ "device_name": name })).send().await.unwrap(),
        ] {
            problem::expect(answer, Code::DeviceNameInvalid).await;
        }
    }
    // 64 of anything harmless are fine, also beyond the first plane.
    let name = "📱".repeat(64);
    let renamed: Value = host.owner().expect(Method::PATCH, &path, 200, Some(json!({ "device_name": name }))).await;
    assert_eq!(renamed["device_name"], name);
}

#[tokio::test]
async fn headers_that_decide_something_stand_once() {
    let host = TestHost::start(|_| {}).await;
    let admin = format!("Authorization: Bearer {}", host.admin_token());
    for twice in [
        admin.as_str(),
        "Content-Type: application/json",
        "Couplet-Token: dev_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "Origin: http://localhost",
        "Host: localhost",
    ] {
        let others = ["Host: localhost", admin.as_str()].into_iter().filter(|header| *header != twice);
        let headers: Vec<&str> = others.chain([twice, twice]).collect();
        problem::expect_raw(&health(&host, &headers.join("\n")).await, Code::DuplicateHeader);
    }
    assert_eq!(health(&host, &format!("Host: localhost\n{admin}\nAccept: a/a\nAccept: b/b")).await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_said_as_a_problem() {
    let host = TestHost::start(|_| {}).await;
    for path in ["/nothing", "/api", "/api/pair", "/api/pair/devices/", "/api/pair/generate/x", "/HEALTH", "/.env"] {
        problem::expect(host.owner().get(path).send().await.unwrap(), Code::NoSuchRoute).await;
        problem::expect(host.anyone().post(path).send().await.unwrap(), Code::NoSuchRoute).await;
    }
    for (method, path, allowed) in [
        (Method::GET, "/api/pair/generate", "POST"),
        (Method::DELETE, "/api/pair/exchange", "POST"),
        (Method::PUT, "/api/pair/devices", "GET"),
        (Method::POST, "/health", "GET"),
        (Method::TRACE, "/health", "GET"),
        ("PROPFIND".parse().unwrap(), "/health", "GET"),
    ] {
        let answer = host.owner().request(method.clone(), path).send().await.unwrap();
        let allow = answer.headers().get("allow").map(|value| value.to_str().unwrap().to_owned());
        assert!(allow.as_deref().is_some_and(|allow| allow.contains(allowed)), "{method} {path}: {allow:?}");
        problem::expect(answer, Code::MethodNotAllowed).await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_said_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, gateway) in [(address.as_str(), "127.0.0.1:0"), ("127.0.0.1:0", address.as_str())] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program::couplet();
        command.args(["serve", "http://127.0.0.1:9", "--json", "--no-input", "--listen", listen, "--gateway", gateway]);
        command.arg("--state-dir").arg(folder.path().join("state"));
        command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
        let mut running = Running::start(command);
        assert!(!running.wait(PATIENCE).await.success());
        running.stderr.end(PATIENCE).await;
        running.stdout.end(PATIENCE).await;
        let (said, printed) = (running.stderr.text(), running.stdout.text());
        for wanted in ["CPL-1401", &address, "--listen", "--gateway"] {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
        assert!(!printed.contains("ready"), "{printed}");
    }
}
