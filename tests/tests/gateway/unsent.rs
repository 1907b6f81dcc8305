//! A device that reads slowly leaves what it was answered in the host's kernel. Revoking calls that back, too.

use std::time::{Duration, Instant};

use e2e::host::PATIENCE;
use e2e::raw::{Raw, RawServer};
use e2e::{TestApp, TestHost, eventually};

/// What waits in the host's kernel at least before the device is revoked.
const WAITING: u64 = 64 << 10;
/// What the device's own kernel may have received by then: its buffer is set to a few thousand bytes. Nothing else
/// may arrive.
const RECEIVED_MAX: usize = 16 << 10;

async fn host_before(app: String) -> TestHost {
    TestHost::start(|setup| {
        setup.app(app);
    })
    .await
}

/// Asks, reads nothing until the device is revoked, and checks what comes then.
async fn is_called_back(host: &TestHost, line: &str, headers: &str, finishes: bool) {
    let device = host.add_device("Slow phone").await;
    let mut slow = Raw::connect_small(host.gateway_url("app")).await;
    slow.send(format!("{line}\r\nHost: h\r\nAuthorization: Bearer {}\r\n{headers}\r\n", device.device_token)).await;
    if finishes {
        slow.until("\r\n\r\n").await;
        slow.finish().await;
    }
    eventually(&format!("{line} {headers:?}: the answer waits in the host's kernel"), PATIENCE, async || {
        slow.waiting_bytes().is_some_and(|bytes| bytes >= WAITING)
    })
    .await;

    host.revoke(&device).await;
    let revoked = Instant::now();
    eventually(&format!("{line} {headers:?}: the kernel has nothing any more"), PATIENCE, async || {
        slow.waiting_bytes().is_none()
    })
    .await;
    let took = revoked.elapsed();
    assert!(took < Duration::from_secs(1), "{line} {headers:?}: {took:?}");
    let mut received = 0;
    let broke = loop {
        match slow.more().await {
            Ok(0) => break false,
            Ok(more) => received += more,
            Err(_) => break true,
        }
    };
    assert!(broke, "{line} {headers:?}: it ended as if it were complete");
    assert!(received <= RECEIVED_MAX, "{line} {headers:?}: {received} bytes arrived");
}

#[tokio::test]
async fn revoking_calls_back_what_was_not_sent_of_an_answer() {
    let app = TestApp::start().await;
    let host = host_before(app.url()).await;
    // The first is written whole, and nothing but the kernel has to do with it any more.
    for size in [100_000, 3_000_000] {
        for headers in ["", "Connection: close\r\n"] {
            is_called_back(&host, &format!("GET /download/{size} HTTP/1.1"), headers, false).await;
        }
        is_called_back(&host, &format!("GET /download/{size} HTTP/1.0"), "", false).await;
    }
}

#[tokio::test]
async fn revoking_calls_back_what_was_not_sent_over_an_upgraded_connection() {
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    // The app closes when the device has finished: the first is then over but for the kernel.
    for (size, finishes) in [(100_000, true), (100_000, false), (3_000_000, false)] {
        let server = RawServer::start(format!("{switched}{}", "x".repeat(size)).leak()).await;
        let host = host_before(server.url()).await;
        is_called_back(&host, "GET / HTTP/1.1", "Connection: Upgrade\r\nUpgrade: x\r\n", finishes).await;
    }
}

#[tokio::test]
async fn a_slow_device_gets_all_of_its_answer() {
    let app = TestApp::start().await;
    let host = host_before(app.url()).await;
    let device = host.add_device("Slow phone").await;
    let mut slow = Raw::connect_small(host.gateway_url("app")).await;
    let auth = format!("Authorization: Bearer {}", device.device_token);
    slow.send(format!("GET /download/100000 HTTP/1.1\r\nHost: h\r\n{auth}\r\nConnection: close\r\n\r\n")).await;
    eventually("the answer waits in the host's kernel", PATIENCE, async || {
        slow.waiting_bytes().is_some_and(|bytes| bytes >= WAITING)
    })
    .await;
    // It is another device's end that comes meanwhile.
    let other = host.add_device("Other").await;
    host.revoke(&other).await;
    let answer = slow.answer().await;
    assert!(e2e::pattern::matches(0, &answer.body) && answer.body.len() == 100_000);
    assert!(slow.end().await.is_ok());
}
