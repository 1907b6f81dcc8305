//! A watch: a key that Python's `cryptography` holds and signs with, in `tests/watch/signer.py`. Nothing of Couplet's own
//! signs here.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Mutex};

use couplet_protocol::api::{WatchPaired, WatchPairingInfo};
use reqwest::{Method, Response, Url};
use serde_json::{Value, json};

use crate::TestHost;
use crate::program::python;

/// The header that a host which has just started wants back.
pub const CHALLENGE: &str = "x-couplet-challenge";

/// A running signer with any number of keys. Dropping the last clone stops it.
#[derive(Clone, Debug)]
pub struct Signer(Arc<Mutex<Process>>);

#[derive(Debug)]
struct Process {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A key of a signer.
#[derive(Clone, Debug)]
pub struct TestKey {
    signer: Signer,
    number: u64,
    /// Its public half: `sec1`, `compressed` and `spki` in base64, and `jwk`.
    pub public: Value,
}

impl Signer {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        let mut command = python();
        command.arg(crate::repository().join("tests/watch/signer.py")).env("PYTHONDONTWRITEBYTECODE", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Signer(Arc::new(Mutex::new(Process { child, to, from })))
    }

    fn ask(&self, what: &Value) -> Value {
        let mut process = self.0.lock().unwrap();
        writeln!(process.to, "{what}").unwrap();
        let mut line = String::new();
        process.from.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {what}: {line}"))
    }

    /// A new P-256 key.
    #[must_use]
    pub fn key(&self) -> TestKey {
        self.key_on("p256")
    }

    /// A new key on another curve: `p384`, `ed25519`.
    #[must_use]
    pub fn key_on(&self, curve: &str) -> TestKey {
        let public = self.ask(&json!({ "do": "key", "curve": curve }));
        TestKey { signer: self.clone(), number: public["key"].as_u64().unwrap(), public }
    }
}

impl TestKey {
    /// The nonce, signed: `der`, `raw`, and both with n − s in place of s, in base64.
    #[must_use]
    pub fn prove(&self, nonce: &str) -> Value {
        self.signer.ask(&json!({ "do": "prove", "key": self.number, "nonce": nonce }))
    }

    /// The body of `POST /watch/devices`.
    #[must_use]
    pub fn registration(&self, nonce: &str, name: &str) -> Value {
        let proof = self.prove(nonce);
        json!({ "public_key": self.public["spki"], "signature": proof["der"], "nonce": nonce, "device_name": name })
    }

    /// Signs; `which` of the signatures: `raw`, `twin` or `der`.
    #[must_use]
    pub fn sign(&self, request: &Value, which: &str) -> Vec<(String, String)> {
        let signed = self.signer.ask(&json!({ "do": "sign", "key": self.number, "request": request, "which": which }));
        let headers = signed["headers"].as_object().unwrap();
        headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    }

    /// Pairs it with the host, whose owner asks for the nonce.
    pub async fn pair(self, host: &TestHost, name: &str) -> TestWatch {
        let info = pairing_info(host).await;
        let body = self.registration(&info.nonce, name);
        let paired: WatchPaired = host.anyone().expect(Method::POST, "/watch/devices", 200, Some(body)).await;
        TestWatch::new(self, paired.device_id.to_string())
    }
}

/// A nonce that the owner asks for.
pub async fn pairing_info(host: &TestHost) -> WatchPairingInfo {
    host.owner().expect(Method::GET, "/watch/pairing-info", 200, None).await
}

/// A watch that is paired.
#[derive(Clone, Debug)]
pub struct TestWatch {
    /// What it signs with.
    pub key: TestKey,
    /// Its id.
    pub id: String,
    challenge: Arc<Mutex<Option<String>>>,
}

/// A signed request, to be sent as it is, changed, or again.
#[derive(Clone, Debug)]
pub struct SignedRequest {
    /// Its method.
    pub method: String,
    /// Where it goes.
    pub url: Url,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl SignedRequest {
    /// Puts this in place of the header's value.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        &self.headers.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    /// Sends it.
    pub async fn send(&self) -> Response {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        self.send_by(&http).await
    }

    /// Sends it by this client, whose connections may go on.
    pub async fn send_by(&self, http: &reqwest::Client) -> Response {
        let request = http.request(self.method.parse().unwrap(), self.url.clone()).body(self.body.clone());
        let request = self.headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        request.send().await.unwrap()
    }

    /// Sends it: the status and the code of a refusal, or nothing.
    pub async fn outcome(&self) -> (u16, String) {
        let answer = self.send().await;
        let status = answer.status().as_u16();
        let code = answer.json::<Value>().await.ok().and_then(|problem| Some(problem["code"].as_str()?.to_owned()));
        (status, code.unwrap_or_default())
    }
}

impl TestWatch {
    /// A key that was paired under this id.
    #[must_use]
    pub fn new(key: TestKey, id: String) -> Self {
        TestWatch { key, id, challenge: Arc::default() }
    }

    /// One that poses as this watch with another key.
    #[must_use]
    pub fn with_key(&self, key: TestKey) -> Self {
        TestWatch { key, ..self.clone() }
    }

    /// The same key under another id.
    #[must_use]
    pub fn with_id(&self, id: &str) -> Self {
        TestWatch { id: id.to_owned(), ..self.clone() }
    }

    /// What the host wants back, once [`Self::send`] was told; `None` before.
    #[must_use]
    pub fn challenge(&self) -> Option<String> {
        self.challenge.lock().unwrap().clone()
    }

    /// The host has started anew.
    pub fn forget_challenge(&self) {
        *self.challenge.lock().unwrap() = None;
    }

    /// A request for `target` at `base`, signed. `change` may set what is signed otherwise: `ahead`, `nonce`, `path`.
    #[must_use]
    pub fn signed(
        &self,
        base: &str,
        method: &str,
        target: &str,
        body: &[u8],
        change: impl FnOnce(&mut Value),
    ) -> SignedRequest {
        self.signed_as("raw", base, method, target, body, change)
    }

    /// The same with another form of the signature: `twin` has n − s in place of s.
    #[must_use]
    pub fn signed_as(
        &self,
        which: &str,
        base: &str,
        method: &str,
        target: &str,
        body: &[u8],
        change: impl FnOnce(&mut Value),
    ) -> SignedRequest {
        let url: Url = format!("{}{target}", base.trim_end_matches('/')).parse().unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let mut request = json!({
            "method": method, "authority": base.trim_start_matches("http://").trim_end_matches('/'), "path": path,
            "query": query, "device_id": self.id, "body": data_encoding::BASE64.encode(body), "challenge": self.challenge(),
        });
        change(&mut request);
        let headers = self.key.sign(&request, which);
        SignedRequest { method: method.to_owned(), url, headers, body: body.to_owned() }
    }

    /// Signs and sends a request; once more with the host's challenge if it wants one.
    pub async fn send(&self, base: &str, method: &str, target: &str, body: &[u8]) -> Response {
        let answer = self.signed(base, method, target, body, |_| ()).send().await;
        let Some(challenge) = answer.headers().get(CHALLENGE) else { return answer };
        assert_eq!(answer.status(), 401);
        *self.challenge.lock().unwrap() = Some(challenge.to_str().unwrap().to_owned());
        self.signed(base, method, target, body, |_| ()).send().await
    }

    /// Sends a `GET` and expects this status.
    pub async fn gets(&self, base: &str, target: &str, status: u16) -> String {
        let answer = self.send(base, "GET", target, b"").await;
        let got = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(got, status, "{target}: {text}");
        text
    }
}
