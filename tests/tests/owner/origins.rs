//! Under which name, of which page and from where one may call.

use couplet_protocol::Code;
use e2e::host::PATIENCE;
use e2e::raw::ask;
use e2e::{Running, TestHost, problem, program};
use serde_json::json;

use super::{health, owners_routes};

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
