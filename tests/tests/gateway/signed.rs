//! Signed requests through the gateway: what is signed counts, once, and nothing else does.

use e2e::host::Setup;
use e2e::raw::Raw;
use e2e::watch::{CHALLENGE, SignedRequest};
use e2e::{Signer, TestApp, TestHost, TestWatch, free_port, pattern, websocket};
use futures_util::{StreamExt, stream};
use reqwest::Method;
use serde_json::{Value, json};

const MIB: usize = 1024 * 1024;

struct Lab {
    app: TestApp,
    host: TestHost,
    signer: Signer,
    watch: TestWatch,
    gateway: String,
}

/// A host with an app and a watch that knows its challenge.
async fn lab(configure: impl FnOnce(&mut Setup)) -> Lab {
    let (app, signer) = (TestApp::start().await, Signer::start());
    let host = TestHost::start(|setup| {
        setup.app(app.url());
        configure(setup);
    })
    .await;
    let watch = signer.key().pair(&host, "Anna's watch").await;
    let gateway = host.gateway_url("app").to_owned();
    assert_eq!(watch.gets(&gateway, "/", 200).await, "hello\n");
    Lab { app, host, signer, watch, gateway }
}

impl Lab {
    fn get(&self, target: &str) -> SignedRequest {
        self.watch.signed(&self.gateway, "GET", target, b"", |_| ())
    }

    fn post(&self, target: &str, body: &[u8]) -> SignedRequest {
        self.watch.signed(&self.gateway, "POST", target, body, |_| ())
    }
}

#[tokio::test]
async fn the_app_gets_what_was_signed_and_who_signed_it() {
    let lab = lab(|_| {}).await;
    let answer = lab.post("/echo/notes?x=1&y=%2F", b"{\"text\":\"Hi\"}").with("x-other", "1").send().await;
    let echo: Value = answer.json().await.unwrap();
    assert_eq!((&echo["method"], &echo["uri"]), (&json!("POST"), &json!("/echo/notes?x=1&y=%2F")));
    let headers = echo["headers"].as_object().unwrap();
    assert_eq!(headers["x-couplet-device-id"], json!([lab.watch.id]));
    assert_eq!(headers["x-couplet-device-name"], json!(["Anna%27s%20watch"]));
    assert_eq!((&headers["content-length"], &headers["x-other"]), (&json!(["13"]), &json!(["1"])));
    assert!(headers.contains_key("content-digest"), "the app may check it, too");
    // The credential is not the app's business.
    for name in ["signature", "signature-input", "x-device-id", CHALLENGE] {
        assert!(!headers.contains_key(name), "{name} reached the app");
    }
    // An app that uses Authorization itself gets its own.
    let own = lab.get("/echo").with("authorization", "Bearer the-apps-own").send().await;
    assert_eq!(own.json::<Value>().await.unwrap()["headers"]["authorization"], json!(["Bearer the-apps-own"]));

    let mut body = Vec::new();
    while body.len() < MIB {
        body.extend_from_slice(&pattern::chunk(body.len() as u64, (MIB - body.len()) as u64));
    }
    let uploaded: Value = lab.post("/upload", &body).send().await.json().await.unwrap();
    assert_eq!(uploaded, json!({ "bytes": MIB, "intact": true }));
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = lab.watch.signed(&lab.gateway, method, "/echo", b"x", |_| ());
        assert_eq!(request.send().await.status(), 200, "{method}");
        assert_eq!(lab.app.last_request().method.as_str(), method);
    }
    let devices: Value = lab.host.owner().expect(Method::GET, "/watch/devices", 200, None).await;
    assert!(devices["devices"][0]["last_seen"].is_string(), "{devices}");
}

#[tokio::test]
async fn what_was_not_signed_is_refused() {
    let lab = lab(|_| {}).await;
    let other = lab.signer.key().pair(&lab.host, "Another").await;
    let reached = lab.app.requests().len();
    let retarget = |mut request: SignedRequest, target: &str| {
        request.url = format!("{}{target}", lab.gateway).parse().unwrap();
        request
    };
    let method = |mut request: SignedRequest, method: &str| {
        request.method = method.to_owned();
        request
    };
    let body = |mut request: SignedRequest, body: &[u8]| {
        request.body = body.to_owned();
        request
    };
    let input = |request: SignedRequest, from: &str, to: &str| {
        let changed = request.header("signature-input").replace(from, to);
        request.with("signature-input", &changed)
    };
    let digest_of_x = lab.post("/", b"x").header("content-digest").to_owned();
    let port = lab.gateway.rsplit(':').next().unwrap();
    let fine = || lab.get("/echo");
    for (what, request) in [
        ("another path", retarget(fine(), "/echo/other")),
        ("another query", retarget(fine(), "/echo?all")),
        ("another method", method(fine(), "DELETE")),
        ("a body that was none", body(fine(), b"x")),
        ("another body", body(lab.post("/echo", b"y"), b"x")),
        ("another body and its digest", body(lab.post("/echo", b"y"), b"x").with("content-digest", &digest_of_x)),
        ("no body", body(lab.post("/echo", b"y"), b"")),
        ("another host", fine().with("host", &format!("localhost:{port}"))),
        ("another device", fine().with("x-device-id", &other.id)),
        ("another device's id throughout", input(fine(), &lab.watch.id, &other.id).with("x-device-id", &other.id)),
        ("another time", input(fine(), "created=1", "created=2")),
        ("another tag", input(fine(), "couplet-v1", "couplet-v1x")),
        ("another algorithm", input(fine(), "ecdsa-p256-sha256", "hmac-sha256")),
        ("fewer components", input(fine(), "\"@query\" ", "")),
        ("another order", input(fine(), "\"@path\" \"@query\"", "\"@query\" \"@path\"")),
        ("one parameter more", input(fine(), ";tag=", ";expires=1;tag=")),
        ("no signature", fine().with("signature", "")),
        ("DER", lab.watch.signed_as("der", &lab.gateway, "GET", "/echo", b"", |_| ())),
        ("no digest", fine().with("content-digest", "")),
        ("without the challenge that was signed", fine().with(CHALLENGE, "")),
        ("another key", {
            let forged = lab.watch.with_key(other.key.clone());
            forged.signed(&lab.gateway, "GET", "/echo", b"", |_| ())
        }),
    ] {
        let (status, code) = request.outcome().await;
        let codes = if what == "another time" { ["CPL-1110", "CPL-1111"] } else { ["CPL-1110"; 2] };
        assert!(status == 401 && codes.contains(&code.as_str()), "{what}: {status} {code}");
    }
    let double = fine();
    let mut twice = double.clone();
    twice.headers.push(("signature".to_owned(), double.header("signature").to_owned()));
    assert_eq!(twice.outcome().await, (400, "CPL-1008".to_owned()));
    let unknown = lab.watch.with_id("0b0f1ad4-8f2f-4c8f-9c77-2f3f7a5f1a01");
    let unknown = unknown.signed(&lab.gateway, "GET", "/echo", b"", |_| ());
    assert_eq!(unknown.outcome().await, (401, "CPL-1103".to_owned()));
    // A signature that is not ours is the app's business, and no credential.
    let foreign = fine().with("signature-input", "sig=(\"@method\");tag=\"other\"");
    assert_eq!(foreign.outcome().await, (401, "CPL-1102".to_owned()));
    assert_eq!(lab.app.requests().len(), reached, "nothing of that reached the app");
    assert_eq!(double.outcome().await.0, 200, "and none of it used up what was right");
}

#[tokio::test]
async fn a_request_counts_once_and_so_does_its_twin() {
    let lab = lab(|_| {}).await;
    let reached = lab.app.requests().len();
    let used = (401, "CPL-1112".to_owned());
    let request = lab.post("/echo", b"pay 10");
    assert_eq!(request.outcome().await.0, 200);
    assert_eq!(request.outcome().await, used);
    // The same request signed otherwise: (r, n - s) is as good a signature, but its nonce was there.
    let nonce = request.header("signature-input").split("nonce=\"").nth(1).unwrap()[..32].to_owned();
    let created: u64 = request.header("signature-input").split("created=").nth(1).unwrap()[..10].parse().unwrap();
    for which in ["raw", "twin"] {
        let again = lab.watch.signed_as(which, &lab.gateway, "POST", "/echo", b"pay 10", |request| {
            request["nonce"] = json!(nonce);
            request["created"] = json!(created);
        });
        assert_eq!(again.outcome().await, used, "{which}");
    }
    let twin = lab.watch.signed_as("twin", &lab.gateway, "POST", "/echo", b"pay 10", |_| ());
    assert_eq!(twin.outcome().await.0, 200, "keys make either form");
    // One that the host refused for what it asks is spent as well.
    let path = format!("/api/pair/devices/{}", lab.watch.id);
    let scope = async |scope: Value| {
        let answer = lab.host.owner().patch(&path).json(&json!({ "scope": scope })).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    };
    scope(json!({ "read_only": true })).await;
    let write = lab.post("/echo", b"x");
    assert_eq!(write.outcome().await, (403, "CPL-1105".to_owned()));
    scope(json!({})).await;
    assert_eq!(write.outcome().await, used);
    assert_eq!(lab.app.requests().len(), reached + 2);
}

#[tokio::test]
async fn a_nonce_of_the_future_is_not_good_a_second_time_later() {
    let lab = lab(|setup| {
        setup.movable_clock();
    })
    .await;
    let ahead = lab.watch.signed(&lab.gateway, "GET", "/echo", b"", |request| request["ahead"] = json!(58));
    let also = lab.watch.signed(&lab.gateway, "GET", "/echo", b"", |request| request["ahead"] = json!(58));
    assert_eq!(ahead.outcome().await.0, 200);
    for later in ["+30", "+61", "+90", "+110"] {
        lab.host.set_clock(later);
        assert_eq!(ahead.outcome().await, (401, "CPL-1112".to_owned()), "{later}");
    }
    assert_eq!(also.outcome().await.0, 200, "its time is not over, and it was not there");
    lab.host.set_clock("+125");
    let answer = ahead.send().await;
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(problem["code"], "CPL-1111");
    assert!(problem["detail"].as_str().unwrap().contains("seconds behind the host's clock"), "{problem}");

    // Ahead of the host by more than a minute, in either of the two times.
    lab.host.set_clock("+125");
    for change in [
        |request: &mut Value| request["ahead"] = json!(125 + 75),
        |request: &mut Value| {
            request["ahead"] = json!(125);
            request["created"] = json!(jiff::Timestamp::now().as_second() + 125 + 75);
        },
    ] {
        let early = lab.watch.signed(&lab.gateway, "GET", "/echo", b"", change);
        let problem: Value = early.send().await.json().await.unwrap();
        assert_eq!(problem["code"], "CPL-1111", "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("seconds ahead of the host's clock"), "{problem}");
    }
}

#[tokio::test]
async fn after_a_start_the_host_wants_its_challenge_signed() {
    let port = free_port();
    let mut lab = lab(|setup| {
        setup.movable_clock().arg("--listen").arg(format!("127.0.0.1:{port}"));
    })
    .await;
    // An address that stays over the restart.
    let host = format!("http://127.0.0.1:{port}");
    let sign = |challenge: Option<&str>, ahead: i64| {
        lab.watch.signed(&host, "GET", "/api/pair/me", b"", |request| {
            request["challenge"] = json!(challenge);
            request["ahead"] = json!(ahead);
        })
    };
    let (old, wanted) = (lab.watch.challenge().unwrap(), (401, "CPL-1113".to_owned()));
    lab.host.set_clock("+140");
    let (recorded, held) = (sign(None, 190), sign(None, 190));
    assert_eq!(recorded.outcome().await.0, 200, "the start is two minutes ago");

    lab.host.restart().await;
    assert_eq!(recorded.outcome().await, wanted, "the host knows nothing of it any more, and does not take it");
    let answer = held.send().await;
    assert_eq!(answer.status(), 401);
    let new = answer.headers()[CHALLENGE].to_str().unwrap().to_owned();
    assert_ne!(new, old);
    for (challenge, expected) in [(Some(old.as_str()), wanted.clone()), (Some("x"), wanted.clone())] {
        assert_eq!(sign(challenge, 140).outcome().await, expected, "{challenge:?}");
    }
    assert_eq!(sign(Some(&new), 140).outcome().await.0, 200);
    // Said, but not signed.
    assert_eq!(sign(None, 140).with(CHALLENGE, &new).outcome().await, (401, "CPL-1110".to_owned()));

    // Two minutes later it is wanted no more; another start's never counts.
    lab.host.set_clock("+250");
    assert_eq!(sign(None, 250).outcome().await, wanted);
    lab.host.set_clock("+290");
    assert_eq!(sign(None, 290).outcome().await.0, 200);
    assert_eq!(sign(Some(&new), 290).outcome().await.0, 200);
    assert_eq!(sign(Some(&old), 290).outcome().await, wanted);
}

#[tokio::test]
async fn a_request_that_was_refused_for_want_of_a_challenge_is_spent() {
    let lab = lab(|setup| {
        setup.movable_clock();
    })
    .await;
    lab.host.set_clock("+60");
    let refused = lab.watch.signed(&lab.gateway, "GET", "/echo", b"", |request| {
        request["challenge"] = json!(null);
        request["ahead"] = json!(115);
    });
    assert_eq!(refused.outcome().await, (401, "CPL-1113".to_owned()));
    lab.host.set_clock("+130");
    assert_eq!(refused.outcome().await, (401, "CPL-1112".to_owned()), "who recorded it has nothing");
}

#[tokio::test]
async fn a_clock_that_was_set_back_over_a_restart_prolongs_the_challenge() {
    let mut lab = lab(|setup| {
        setup.movable_clock();
    })
    .await;
    // The clock was ten minutes ahead, and the watch believed it.
    lab.host.set_clock("+600");
    let sign = |gateway: &str, challenge: Option<&str>, ahead: i64| {
        lab.watch.signed(gateway, "GET", "/echo", b"", |request| {
            request["challenge"] = json!(challenge);
            request["ahead"] = json!(ahead);
        })
    };
    assert_eq!(sign(&lab.gateway, None, 600).outcome().await.0, 200);
    lab.host.set_clock("+0");
    lab.host.restart().await;
    let gateway = lab.host.gateway_url("app").to_owned();
    for later in [0, 200, 590] {
        lab.host.set_clock(&format!("+{later}"));
        assert_eq!(sign(&gateway, None, later).outcome().await, (401, "CPL-1113".to_owned()), "{later}");
    }
    lab.host.set_clock("+760");
    assert_eq!(sign(&gateway, None, 760).outcome().await.0, 200);
}

#[tokio::test]
async fn a_request_for_one_app_is_no_good_at_another_or_at_the_host() {
    let (notes, bank) = (TestApp::start().await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(format!("notes={}", notes.url())).app(format!("bank={}", bank.url()));
    })
    .await;
    let watch = Signer::start().key().pair(&host, "Watch").await;
    watch.gets(host.gateway_url("notes"), "/", 200).await;
    // Whoever is between can send it on to another port, with the Host that was signed.
    let intercepted = |method: &str, target: &str, to: &str| {
        let mut request = watch.signed(host.gateway_url("notes"), method, target, b"", |_| ());
        request.url = format!("{to}{target}").parse().unwrap();
        request.with("host", host.gateway_url("notes").trim_start_matches("http://"))
    };
    let refused = (401, "CPL-1110".to_owned());
    assert_eq!(intercepted("DELETE", "/echo", host.gateway_url("bank")).outcome().await, refused);
    assert_eq!(intercepted("DELETE", "/api/pair/me", host.pairing_url()).outcome().await, refused);
    assert!(bank.requests().is_empty());
    watch.gets(host.gateway_url("bank"), "/", 200).await;
    let mut to_app = watch.signed(host.pairing_url(), "GET", "/api/pair/me", b"", |_| ());
    to_app.url = format!("{}/api/pair/me", host.gateway_url("bank")).parse().unwrap();
    let to_app = to_app.with("host", host.pairing_url().trim_start_matches("http://"));
    assert_eq!(to_app.outcome().await, refused);
    assert_eq!(intercepted("GET", "/echo", host.gateway_url("notes")).outcome().await.0, 200, "as it was meant");
}

fn head(request: &SignedRequest, more: &str) -> String {
    let headers: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let authority = request.url.authority();
    format!("{} {} HTTP/1.1\r\nHost: {authority}\r\n{headers}{more}\r\n", request.method, request.url.path())
}

#[tokio::test]
async fn bodies_are_small_whole_and_asked_for_last() {
    let lab = lab(|setup| {
        setup.env("COUPLET_LIMITS__BODY_SECONDS", "3");
    })
    .await;
    let reached = lab.app.requests().len();
    let large = vec![7; MIB + 1];
    // Too large by what it says, and by what comes.
    let said = lab.post("/upload", &large);
    let answer = e2e::raw::ask(&lab.gateway, head(&said, &format!("Content-Length: {}\r\n", MIB + 1))).await;
    assert_eq!(answer.status, 413);
    assert!(String::from_utf8_lossy(&answer.body).contains("CPL-1114"));
    let unsaid = lab.post("/upload", &large);
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&unsaid, "Transfer-Encoding: chunked\r\n")).await;
    raw.send(format!("{:x}\r\n", large.len())).await;
    raw.send(&large).await;
    raw.send("\r\n0\r\n\r\n").await;
    assert_eq!(raw.answer().await.status, 413);
    // One that stops coming.
    let slow = lab.post("/upload", b"12345678");
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&slow, "Content-Length: 8\r\n") + "1234").await;
    assert_eq!(raw.answer().await.status, 408);
    // A body that breaks off.
    let broken = lab.post("/upload", b"12345678");
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&broken, "Content-Length: 8\r\n") + "1234").await;
    raw.finish().await;
    assert!(raw.try_answer().await.is_none_or(|answer| answer.status == 400));
    assert_eq!(lab.app.requests().len(), reached, "the app got none of it");

    // Who waits to be told to go on is told so when the head is right, and only then.
    let expect = "Content-Length: 5\r\nExpect: 100-continue\r\n";
    let wrong = lab.post("/echo", b"hello").with("x-device-id", "0b0f1ad4-8f2f-4c8f-9c77-2f3f7a5f1a01");
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&wrong, expect)).await;
    assert_eq!(raw.answer().await.status, 401);
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&lab.post("/echo", b"hello"), expect)).await;
    raw.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    raw.send("hello").await;
    assert_eq!(raw.answer().await.status, 200);

    // What is not signed does not come along with what is: trailers, and headers that mean another request.
    let chunked = lab.post("/echo", b"hello");
    let more = "Transfer-Encoding: chunked\r\nTrailer: X-Late\r\nX-HTTP-Method-Override: DELETE\r\n";
    let mut raw = Raw::connect(&lab.gateway).await;
    raw.send(head(&chunked, more) + "5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n").await;
    let answer = raw.answer().await;
    assert_eq!(answer.status, 200);
    let echo: Value = serde_json::from_slice(&answer.body).unwrap();
    let headers = echo["headers"].as_object().unwrap();
    assert_eq!(headers["content-length"], json!(["5"]));
    for name in ["trailer", "transfer-encoding", "x-http-method-override"] {
        assert!(!headers.contains_key(name), "{name}: {echo}");
    }
}

#[tokio::test]
async fn an_upgrade_cannot_be_signed_for() {
    let lab = lab(|_| {}).await;
    let request = lab.get("/ws");
    let headers: Vec<(&str, &str)> = request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let refused = websocket::connect(&format!("{}/ws", lab.gateway), &headers).await.unwrap_err();
    assert!(refused.to_string().contains("400"), "{refused}");
}

#[tokio::test]
async fn revoking_ends_what_a_watch_has_open() {
    let lab = lab(|_| {}).await;
    let mut download = lab.get("/endless").send().await.bytes_stream();
    assert!(download.next().await.unwrap().is_ok());
    let path = format!("/watch/devices/{}/revoke", lab.watch.id);
    assert_eq!(lab.host.owner().post(&path).send().await.unwrap().status(), 204);
    let ended = async { while let Some(Ok(_)) = download.next().await {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.expect("the download goes on");
    assert_eq!(lab.get("/echo").outcome().await, (401, "CPL-1103".to_owned()));
}

#[tokio::test]
async fn a_device_that_floods_is_refused_and_nothing_is_forgotten() {
    let lab = lab(|_| {}).await;
    let other = lab.signer.key().pair(&lab.host, "Another").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    // Their time is ahead, so that they are remembered while they are sent, however long that takes.
    let sign = |_| lab.watch.signed(&lab.gateway, "GET", "/", b"", |request| request["ahead"] = json!(50));
    let requests: Vec<SignedRequest> = (0..4200).map(sign).collect();
    assert_eq!(requests[0].outcome().await.0, 200);
    let sent = stream::iter(&requests[1..]).map(|request| request.send_by(&http)).buffer_unordered(16);
    let answers: Vec<reqwest::Response> = sent.collect().await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    // Those of the lab's beginning count, too.
    assert!((4090..4096).contains(&taken.len()), "{}", taken.len());
    for answer in refused {
        assert_eq!(answer.status(), 429);
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=121).contains(&wait), "{wait}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "CPL-1207");
    }
    assert_eq!(requests[0].outcome().await, (401, "CPL-1112".to_owned()), "the first one is still known");
    other.gets(&lab.gateway, "/", 200).await;
}
