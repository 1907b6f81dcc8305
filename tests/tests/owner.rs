//! The pairing listener's outer defences: who may call it, from where, under which name, with what in the body.
#![allow(clippy::unwrap_used, clippy::panic, reason = "whatever goes wrong here fails the test")]

use std::time::{Duration, Instant};

use couplet_protocol::Code;
use couplet_protocol::api::{DeviceList, PairUrlAnswer};
use e2e::host::{Caller, PATIENCE};
use e2e::raw::{Answer, Raw, ask};
use e2e::{Running, TestHost, problem, program};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Every route that only the owner may use, taken from the host's own description, so that a new one is tested too.
async fn owners_routes(host: &TestHost) -> Vec<(Method, String)> {
    let document: Value = host.anyone().expect(Method::GET, "/api/openapi.json", 200, None).await;
    let mut routes = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["security"] == json!([{ "owner": [] }]) {
                let path = path.replace("{id}", "0190a8f0-0000-7000-8000-000000000000");
                routes.push((method.to_uppercase().parse().unwrap(), path));
            }
        }
    }
    routes
}

/// A token of the owner's form that is not the owner's.
fn other_admin_token(host: &TestHost) -> String {
    let mut token = host.admin_token();
    let last = token.pop().unwrap();
    token.push(if last == 'A' { 'Q' } else { 'A' });
    token
}

#[tokio::test]
async fn every_owners_route_refuses_everyone_else() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Phone").await.device_token;
    let routes = owners_routes(&host).await;
    assert!(routes.len() >= 10, "{routes:?}");
    for (method, path) in &routes {
        for token in [None, Some(device.as_str()), Some(&other_admin_token(&host)), Some(""), Some("adm_")] {
            let caller = Caller::new(host.pairing_url(), token);
            // Also without a body: who may not call learns nothing of what the route takes.
            let answer = caller.request(method.clone(), path).send().await.unwrap();
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"), "{method} {path}");
            problem::expect(answer, Code::OwnerRequired).await;
        }
        // The owner's token counts as a bearer credential and as nothing else.
        let token = host.admin_token();
        for (name, value) in [
            ("couplet-token", token.clone()),
            ("authorization", format!("Basic {token}")),
            ("cookie", format!("couplet_session={token}")),
            ("x-forwarded-for", "127.0.0.1".to_owned()),
        ] {
            let answer = host.anyone().request(method.clone(), path).header(name, value).send().await.unwrap();
            problem::expect(answer, Code::OwnerRequired).await;
        }
    }
}

#[tokio::test]
async fn generate_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    for token in [None, Some(other_admin_token(&host))] {
        let caller = Caller::new(host.pairing_url(), token.as_deref());
        problem::expect(caller.post("/api/pair/generate").send().await.unwrap(), Code::OwnerRequired).await;
    }
    let device = host.pair_device("Phone").await;
    let answer = host.device(&device.device_token).post("/api/pair/generate").send().await.unwrap();
    problem::expect(answer, Code::OwnerRequired).await;
    // Refusals took nothing of the owner's five a minute.
    for _ in 0..4 {
        host.generate().await;
    }
}

#[tokio::test]
async fn the_list_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    let device = host.add_device("Phone").await;
    for token in [None, Some(device.device_token.clone()), Some(other_admin_token(&host))] {
        let answer = Caller::new(host.pairing_url(), token.as_deref()).get("/api/pair/devices").send().await.unwrap();
        problem::expect(answer, Code::OwnerRequired).await;
    }
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(list.devices.iter().map(|d| d.device_id).collect::<Vec<_>>(), [device.device_id]);
}

#[tokio::test]
async fn revoking_is_for_the_owner() {
    let host = TestHost::start(|_| {}).await;
    let (one, other) = (host.add_device("One").await, host.add_device("Other").await);
    let path = format!("/api/pair/devices/{}", one.device_id);
    for token in [None, Some(&one.device_token), Some(&other.device_token), Some(&other_admin_token(&host))] {
        let caller = Caller::new(host.pairing_url(), token.map(String::as_str));
        problem::expect(caller.delete(&path).send().await.unwrap(), Code::OwnerRequired).await;
    }
    let me = host.device(&one.device_token);
    assert_eq!(me.get("/api/pair/me").send().await.unwrap().status(), 200);
    host.revoke(&one).await;
    problem::expect(me.get("/api/pair/me").send().await.unwrap(), Code::DeviceUnknown).await;
}

#[tokio::test]
async fn pair_is_for_the_owner_unless_the_door_is_open() {
    let closed = TestHost::start(|_| {}).await;
    let device = closed.add_device("Phone").await.device_token;
    for token in [None, Some(device), Some(other_admin_token(&closed))] {
        let answer = Caller::new(closed.pairing_url(), token.as_deref()).get("/pair").send().await.unwrap();
        problem::expect(answer, Code::LanPairingClosed).await;
    }
    let _: PairUrlAnswer = closed.owner().expect(Method::GET, "/pair", 200, None).await;

    let open = TestHost::start(|setup| {
        setup.arg("--lan-pairing").arg("open");
    })
    .await;
    let answer = open.anyone().get("/pair").send().await.unwrap();
    assert_eq!(answer.status(), 202, "the owner is asked");
    assert!(!answer.text().await.unwrap().contains("token"));
    let _: PairUrlAnswer = open.owner().expect(Method::GET, "/pair", 200, None).await;
}

/// `GET /health` with these header lines.
async fn health(host: &TestHost, headers: &str) -> Answer {
    let headers: String = headers.lines().flat_map(|line| [line.trim(), "\r\n"]).collect();
    ask(host.pairing_url(), format!("GET /health HTTP/1.1\r\n{headers}Connection: close\r\n\r\n")).await
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1
}

#[tokio::test]
async fn only_this_hosts_own_names_are_answered() {
    let host = TestHost::start(|setup| {
        setup.arg("--name").arg("attic").env("COUPLET_ALLOWED_HOSTS", "pair.example.test,198.51.100.7");
    })
    .await;
    let port = port(host.pairing_url());
    for name in [
        "127.0.0.1",
        "localhost",
        "LocalHost",
        "[::1]",
        "attic.local",
        "Attic.Local",
        "pair.example.test",
        "PAIR.example.test",
        "198.51.100.7",
    ] {
        for name in [name.to_owned(), format!("{name}:{port}")] {
            assert_eq!(health(&host, &format!("Host: {name}")).await.status, 200, "{name}");
        }
    }
    for name in [
        "evil.test",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "attic.local.evil.test",
        "evil-attic.local",
        "attic",
        ".local",
        "other.local",
        "sub.pair.example.test",
        "203.0.113.9",
        "0.0.0.0",
        "[2001:db8::9]",
        "2130706433",
        "user@localhost",
        "user:secret@127.0.0.1",
        "localhost@evil.test",
        "localhost, evil.test",
        "localhost/evil.test",
        "http://localhost",
        "",
    ] {
        problem::expect_raw(&health(&host, &format!("Host: {name}")).await, Code::HostNotAllowed);
        if !name.is_empty() {
            problem::expect_raw(&health(&host, &format!("Host: {name}:{port}")).await, Code::HostNotAllowed);
        }
    }
    problem::expect_raw(&health(&host, "Accept: */*").await, Code::HostNotAllowed);
    problem::expect_raw(&health(&host, "Host: localhost\nHost: localhost").await, Code::DuplicateHeader);
    problem::expect_raw(&health(&host, "Host: localhost\nHost: evil.test").await, Code::DuplicateHeader);
    // The target's own host counts too.
    for target in ["http://evil.test/health", "http://localhost@evil.test/health", "http://user@localhost/health"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        problem::expect_raw(&ask(host.pairing_url(), request).await, Code::HostNotAllowed);
    }
}

#[tokio::test]
async fn only_our_own_pages_may_call() {
    let app = e2e::TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url()).env("COUPLET_ALLOWED_ORIGINS", "https://panel.example.test");
    })
    .await;
    let port = port(host.pairing_url());
    for (name, origin) in [
        ("127.0.0.1", format!("http://127.0.0.1:{port}")),
        ("localhost", format!("http://localhost:{port}")),
        ("127.0.0.1", "https://panel.example.test".to_owned()),
    ] {
        let answer = health(&host, &format!("Host: {name}:{port}\nOrigin: {origin}")).await;
        assert_eq!(answer.status, 200, "{origin}");
    }
    for origin in [
        "null",
        host.gateway_url("app"),
        &format!("https://127.0.0.1:{port}"),
        &format!("http://localhost:{port}"),
        &format!("http://127.0.0.1:{port}/"),
        &format!("http://127.0.0.1:{port}.evil.test"),
        "http://127.0.0.1",
        "http://evil.test",
        "http://panel.example.test",
        "https://panel.example.test:8443",
        "https://panel.example.test.evil.test",
        "",
    ] {
        let answer = health(&host, &format!("Host: 127.0.0.1:{port}\nOrigin: {origin}")).await;
        problem::expect_raw(&answer, Code::OriginNotAllowed);
        // Nor with the owner's token, which a page could only have stolen.
        let answer = host.owner().post("/api/pair/generate").header("origin", origin).send().await.unwrap();
        problem::expect(answer, Code::OriginNotAllowed).await;
    }
    let own = format!("http://127.0.0.1:{port}");
    let two = health(&host, &format!("Host: 127.0.0.1:{port}\nOrigin: {own}\nOrigin: {own}")).await;
    problem::expect_raw(&two, Code::DuplicateHeader);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let host = TestHost::start(|_| {}).await;
    for (header, value, code) in [
        ("host", "rebound.evil.test", Code::HostNotAllowed),
        ("origin", "http://rebound.evil.test", Code::OriginNotAllowed),
    ] {
        for (method, path) in owners_routes(&host).await {
            let answer = host.owner().request(method, &path).header(header, value).send().await.unwrap();
            problem::expect(answer, code).await;
        }
        let answer = host.anyone().get("/nowhere").header(header, value).send().await.unwrap();
        problem::expect(answer, code).await;
    }
    host.generate().await;
}

#[tokio::test]
async fn another_sites_page_cannot_fetch_what_is_the_owners() {
    let host = TestHost::start(|_| {}).await;
    for path in ["/api/pair/devices", "/api/pair/pairings", "/api/audit", "/pair", "/api/pair/events"] {
        for (site, allowed) in [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)] {
            let answer = host.owner().get(path).header("sec-fetch-site", site).send().await.unwrap();
            match allowed {
                true => assert_eq!(answer.status(), 200, "{path} {site}"),
                false => drop(problem::expect(answer, Code::CrossSite).await),
            }
        }
    }
}

/// Runs a script with the owner's rights in namespaces of its own: whatever networks it makes end with it. `$1` is
/// the `couplet` under test, `$2` a folder.
async fn in_namespaces(script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let prelude = r#"
        mount -t tmpfs tmpfs /run
        ip link set lo up
        # network NAME OURS THEIRS: a peer beyond a cable.
        network() {
            ip netns add "$1"
            ip link add "$1" type veth peer name cable netns "$1"
            ip addr add "$2/24" dev "$1"
            ip link set "$1" up
            ip -n "$1" addr add "$3/24" dev cable
            ip -n "$1" link set cable up
        }
        # serve ARGUMENTS: starts a host and waits until it is ready.
        serve() {
            : >"$folder/out"
            "$couplet" serve --json --no-input --state-dir "$folder/state" "$@" >"$folder/out" 2>"$folder/err" &
            host=$!
            until grep -q '"ready"' "$folder/out"; do
                kill -0 "$host" || { cat "$folder/err" >&2; exit 1; }
                sleep 0.05
            done
        }
        stop() { kill "$host"; wait "$host"; }
        # from NETWORK LABEL CURL-ARGUMENTS: prints the label, the status, and the code of the problem if any.
        from() {
            local network=$1 label=$2 status
            shift 2
            : >"$folder/body"
            status=$(ip netns exec "$network" curl -sS -m 20 -o "$folder/body" -w '%{http_code}' "$@") || true
            printf '%s %s%s\n' "$label" "$status" "$(sed -n 's/.*"code":"\(CPL-[0-9]*\)".*/ \1/p' "$folder/body")"
        }
    "#;
    let mut command = program("unshare");
    command.args(["--map-root-user", "--net", "--mount", "bash", "-euo", "pipefail", "-c"]);
    command.arg(format!("couplet=$1 folder=$2\n{prelude}\n{script}"));
    command.arg("script").arg(program::couplet_path()).arg(folder.path());
    command.env("HOME", folder.path()).env("XDG_CONFIG_HOME", folder.path());
    Running::start(command).succeeds(2 * PATIENCE).await
}

#[tokio::test]
async fn a_peer_outside_the_private_network_is_403() {
    let printed = in_namespaces(
        r#"
        network public 203.0.113.1 203.0.113.7
        network private 192.168.77.1 192.168.77.7
        serve --listen 0.0.0.0:7878
        token="Authorization: Bearer $(cat "$folder/state/admin-token")"
        for path in /health /api/pair/devices /pair /nowhere; do
            from public "public $path" -H "$token" "http://203.0.113.1:7878$path"
        done
        from public exchange -H 'Content-Type: application/json' -d '{}' http://203.0.113.1:7878/api/pair/exchange
        from public forged -H 'X-Forwarded-For: 192.168.77.7' http://203.0.113.1:7878/health
        from public named -H 'Host: localhost' http://203.0.113.1:7878/health
        from private "private /health" http://192.168.77.1:7878/health
        from private "private /api/pair/devices" -H "$token" http://192.168.77.1:7878/api/pair/devices
        stop
        COUPLET_TRUSTED_NETWORKS=203.0.113.0/24 serve --listen 0.0.0.0:7878
        from public trusted http://203.0.113.1:7878/health
        "#,
    )
    .await;
    let wanted = "public /health 403 CPL-1007\npublic /api/pair/devices 403 CPL-1007\npublic /pair 403 CPL-1007\n\
                  public /nowhere 403 CPL-1007\nexchange 403 CPL-1007\nforged 403 CPL-1007\nnamed 403 CPL-1007\n\
                  private /health 200\nprivate /api/pair/devices 200\ntrusted 200\n";
    assert_eq!(printed, wanted);
}

#[tokio::test]
async fn a_public_address_is_refused_unless_configured() {
    let printed = in_namespaces(
        r#"
        network public 203.0.113.1 203.0.113.7
        network private 192.168.77.1 192.168.77.7
        # listening: who listens on the ports of ours, without loopback.
        listening() { ss -Hltn | awk '{ print $4 }' | grep -v -e '^127\.' -e '^\[::1\]' | sort | tr '\n' ' '; echo; }
        serve http://127.0.0.1:9
        listening
        from public public http://203.0.113.1:7878/health 2>/dev/null
        from public gateway http://203.0.113.1:7879/ 2>/dev/null
        from private private http://192.168.77.1:7878/health
        stop
        serve --listen 203.0.113.1:7878 --gateway 203.0.113.1:7879 http://127.0.0.1:9
        listening
        from public configured http://203.0.113.1:7878/health
        from public gateway http://203.0.113.1:7879/
        "#,
    )
    .await;
    let wanted = "192.168.77.1:7878 192.168.77.1:7879 \npublic 000\ngateway 000\nprivate 200\n\
                  203.0.113.1:7878 203.0.113.1:7879 \nconfigured 403 CPL-1007\ngateway 401 CPL-1102\n";
    assert_eq!(printed, wanted);
}

/// An exchange that comes to nothing, with this `X-Forwarded-For`.
async fn exchange_for(host: &TestHost, client: &str) -> reqwest::Response {
    let body = json!({ "pair_token": "otp_AAAAAAAAAAAAAAAAAAAAAA", "device_name": "Phone" });
    let request = host.anyone().post("/api/pair/exchange").header("x-forwarded-for", client).json(&body);
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_forged_forwarded_for_changes_nothing() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "2");
    })
    .await;
    for client in ["192.168.5.1", "192.168.5.2"] {
        problem::expect(exchange_for(&host, client).await, Code::PairTokenInvalid).await;
    }
    for client in ["192.168.5.3", "203.0.113.7", "127.0.0.1", ""] {
        problem::expect(exchange_for(&host, client).await, Code::RateLimited).await;
    }
}

#[tokio::test]
async fn a_configured_proxy_speaks_for_its_clients() {
    let host = TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1").env("COUPLET_TRUSTED_PROXIES", "127.0.0.0/8,10.9.0.1/32");
    })
    .await;
    for client in ["192.168.5.1", "192.168.5.2", "192.168.5.1, 192.168.5.3", "192.168.5.4, 10.9.0.1"] {
        problem::expect(exchange_for(&host, client).await, Code::PairTokenInvalid).await;
    }
    // What stands left of the last stranger is that one's own word.
    for client in ["192.168.5.1", "192.168.7.7, 192.168.5.2", "203.0.113.7,192.168.5.3", "192.168.8.8,192.168.5.4"] {
        problem::expect(exchange_for(&host, client).await, Code::RateLimited).await;
    }
    for client in ["203.0.113.7", "192.168.5.9, 203.0.113.7", "203.0.113.7, 10.9.0.1", "2001:db8::7"] {
        problem::expect(exchange_for(&host, client).await, Code::PeerNotPrivate).await;
    }
    // A client that the proxy names in no readable way may be anyone.
    for client in ["unknown", "203.0.113.7:4711", "192.168.5.1, _hidden", "192.168.5.77, "] {
        problem::expect(exchange_for(&host, client).await, Code::PeerNotPrivate).await;
    }
}

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
