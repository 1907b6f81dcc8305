//! A real app behind the gateway: JupyterLab, unmodified, with its own token. A device shows its credential as
//! `Couplet-Token`, so `Authorization` stays Jupyter's.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use e2e::host::{Caller, PATIENCE};
use e2e::jupyter::OWN_TOKEN;
use e2e::pace::soon;
use e2e::websocket::{self, WebSocket, tungstenite::Message};
use e2e::{Jupyter, TestApp, TestHost, pattern};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const GIB: u64 = 1 << 30;

/// What the device calls, and with what.
struct Device<'a> {
    caller: Caller,
    gateway: &'a str,
    token: &'a str,
}

impl Device<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.caller.request(method, path).header("couplet-token", self.token).header("authorization", OWN_TOKEN)
    }

    async fn json(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.request(method, path).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn kernel(&self) -> WebSocket {
        let kernel = self.json(Method::POST, "/api/kernels", json!({ "name": "python3" })).await;
        let url = format!("{}/api/kernels/{}/channels?session_id=e2e", self.gateway, kernel["id"].as_str().unwrap());
        // Jupyter compares a browser's Origin with Host: both must reach it as they were sent.
        let headers = [("couplet-token", self.token), ("authorization", OWN_TOKEN), ("origin", self.gateway)];
        websocket::connect(&url, &headers).await.unwrap()
    }

    /// The file in full, compared as it comes.
    async fn download(&self, path: &str) -> u64 {
        let mut answer = self.request(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut bytes = 0;
        while let Some(chunk) = answer.chunk().await.unwrap() {
            assert!(pattern::matches(bytes, &chunk), "at {bytes}");
            bytes += chunk.len() as u64;
        }
        bytes
    }

    /// Jupyter has no route that takes a gigabyte in one body: its pages upload in numbered chunks of JSON, and so does
    /// this. The pages send base64; text takes the same way.
    async fn upload_in_chunks(&self, path: &str, chunk: &str, count: u64) {
        for number in 1..=count {
            let number = if number == count { -1 } else { i64::try_from(number).unwrap() };
            let body = json!({ "type": "file", "format": "text", "content": chunk, "chunk": number });
            let answer = self.request(Method::PUT, path).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "chunk {number}: {}", answer.status());
        }
    }
}

/// Runs one line of Python in the kernel and waits for its value.
async fn evaluate(kernel: &mut WebSocket, code: &str) -> String {
    let request = json!({
        "header": { "msg_id": "1", "username": "", "session": "e2e", "msg_type": "execute_request", "version": "5.3" },
        "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
        "content": { "code": code, "silent": false, "store_history": false, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true },
    });
    kernel.send(websocket::text(request.to_string())).await.unwrap();
    let value = async {
        loop {
            let Message::Text(text) = kernel.next().await.expect("the kernel answers").unwrap() else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            match message["msg_type"].as_str() {
                Some("execute_result") => return message["content"]["data"]["text/plain"].as_str().unwrap().to_owned(),
                Some("error") => panic!("{message}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, value).await.expect("the kernel answers in time")
}

fn write_pattern(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let mut written = 0;
    while written < GIB {
        let chunk = pattern::chunk(written, GIB - written);
        file.write_all(&chunk).unwrap();
        written += chunk.len() as u64;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jupyterlab_works_through_the_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("notebooks");
    std::fs::create_dir(&root).unwrap();
    write_pattern(&root.join("large.bin"));
    let (jupyter, plain) = (Jupyter::start(folder.path(), &root, None).await, TestApp::start().await);
    let host = TestHost::start(|setup| {
        setup.app(format!("lab={}", jupyter.url())).app(format!("plain={}", plain.url()));
    })
    .await;
    let credential = host.pair_device("Tablet").await;
    let gateway = host.gateway_url("lab");
    let device = Device { caller: Caller::new(gateway, None), gateway, token: &credential.device_token };

    // The page, and nothing without the credential, not even with Jupyter's own.
    let page = device.request(Method::GET, "/lab").send().await.unwrap();
    assert!(page.status() == 200 && page.text().await.unwrap().contains("JupyterLab"));
    let stranger = device.caller.get("/lab").header("authorization", OWN_TOKEN).send().await.unwrap();
    assert_eq!(stranger.status(), 401);

    // A kernel computes.
    let mut kernel = device.kernel().await;
    assert_eq!(evaluate(&mut kernel, "6*7").await, "42");

    // A gigabyte each way does not pass through the host's memory.
    let before = host.peak_memory_kib();
    assert_eq!(device.download("/files/large.bin").await, GIB);
    let chunk = "0123456789abcdef".repeat(1 << 20);
    let chunks = GIB / chunk.len() as u64;
    device.upload_in_chunks("/api/contents/uploaded.txt", &chunk, chunks).await;
    assert_eq!(std::fs::metadata(root.join("uploaded.txt")).unwrap().len(), GIB);
    let body = reqwest::Body::wrap_stream(pattern::stream(GIB));
    let upload = host.through_gateway("plain", Some(&credential.device_token)).post("/upload").body(body);
    assert_eq!(upload.send().await.unwrap().json::<Value>().await.unwrap(), json!({ "bytes": GIB, "intact": true }));
    let growth = host.peak_memory_kib() - before;
    assert!(growth < 64 * 1024, "the host grew by {growth} KiB");

    // Revoked: what is live ends within a second, what is new is refused.
    let mut download = device.request(Method::GET, "/files/large.bin").send().await.unwrap();
    assert!(download.chunk().await.unwrap().is_some());
    host.revoke(&credential).await;
    let revoked = Instant::now();
    let ends = async {
        let mut bytes = 0;
        while let Ok(Some(chunk)) = download.chunk().await {
            bytes += chunk.len() as u64;
        }
        assert!(bytes < GIB / 2, "the download went on to {bytes} bytes");
        while let Some(Ok(message)) = kernel.next().await {
            assert!(message.is_close() || message.is_text() || message.is_binary() || message.is_ping());
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ends).await.expect("what is live ends");
    let took = revoked.elapsed();
    assert!(took < soon(Duration::from_secs(1)), "it took {took:?}");
    assert_eq!(device.request(Method::GET, "/lab").send().await.unwrap().status(), 401);
}
