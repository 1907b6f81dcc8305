//! Devices that ask to pair by PIN, and what their host's owner sees and says.

use std::net::{IpAddr, Ipv4Addr};

use couplet_protocol::api::{AuditEntry, AuditList, PinRequest, PinRequestList};
use reqwest::Method;
use serde_json::{Value, json};

use crate::host::{PATIENCE, Setup};
use crate::{TestHost, eventually};

/// A device somewhere on the network.
#[derive(Debug)]
pub struct Phone {
    /// Its connections.
    pub http: reqwest::Client,
    /// Where the host is.
    pub base: String,
}

impl Phone {
    /// At an address of its own.
    #[must_use]
    pub fn at(host: &TestHost, from: [u8; 4]) -> Self {
        let http = reqwest::Client::builder().no_proxy().local_address(IpAddr::V4(Ipv4Addr::from(from)));
        Phone { http: http.build().unwrap(), base: host.pairing_url().to_owned() }
    }

    /// At the host's own address.
    #[must_use]
    pub fn new(host: &TestHost) -> Self {
        Phone::at(host, [127, 0, 0, 1])
    }

    /// Posts: the status and the body of the answer.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.http.post(format!("{}{path}", self.base)).json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Asks under this name.
    pub async fn ask_as(&self, name: &str) -> (u16, Value) {
        self.post("/mobile/pairing", &json!({ "device_name": name, "device_model": "iPad16,3" })).await
    }

    /// Asks, and gets the id of its request.
    pub async fn ask(&self, name: &str) -> String {
        let (status, answer) = self.ask_as(name).await;
        assert_eq!(status, 200, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Sends this about its request.
    pub async fn verify(&self, id: &str, body: &Value) -> (u16, Value) {
        self.post(&format!("/mobile/pairing/{id}/verify"), body).await
    }

    /// Sends a PIN.
    pub async fn send(&self, id: &str, pin: &str) -> (u16, Value) {
        self.verify(id, &json!({ "pin": pin })).await
    }

    /// Asks for the owner's word.
    pub async fn poll(&self, id: &str) -> (u16, Value) {
        self.verify(id, &json!({})).await
    }
}

/// All that wait.
pub async fn requests(host: &TestHost) -> Vec<PinRequest> {
    host.owner().expect::<PinRequestList>(Method::GET, "/mobile/pairing", 200, None).await.requests
}

/// The request of this device, as the owner sees it.
pub async fn request(host: &TestHost, name: &str) -> PinRequest {
    requests(host).await.into_iter().find(|request| request.device_name == name).expect("it waits")
}

/// The same, once the host has it.
pub async fn awaited(host: &TestHost, name: &str) -> PinRequest {
    let mut found = None;
    eventually(&format!("{name} asks"), PATIENCE, async || {
        found = requests(host).await.into_iter().find(|request| request.device_name == name);
        found.is_some()
    })
    .await;
    found.expect("it has just been found")
}

/// The check code that a laptop asks to have typed on the host, once it does.
#[must_use]
pub fn check_code(written: &str) -> Option<String> {
    let (before, _) = written.split_once(" on the host: couplet approve")?;
    // Other things were to be typed before.
    let (_, code) = before.rsplit_once("Type ")?;
    Some(code.to_owned())
}

/// Another PIN than this one.
#[must_use]
pub fn other(pin: &str) -> String {
    let digits = pin.len();
    format!("{:0digits$}", (pin.parse::<u32>().unwrap() + 1) % 10_u32.pow(digits as u32))
}

/// The owner's yes to what shows this: its status, and what is wrong with it.
pub async fn accept(host: &TestHost, id: &str, shown: &Value) -> (u16, Value) {
    let answer = host.owner().post(&format!("/mobile/pairing/{id}/accept")).json(shown).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// The owner's answer: `accept` or `reject`.
pub async fn answer(host: &TestHost, id: &str, word: &str) -> u16 {
    host.owner().post(&format!("/mobile/pairing/{id}/{word}")).send().await.unwrap().status().as_u16()
}

/// Expects a refusal that says what to do.
#[track_caller]
pub fn refused((status, problem): (u16, Value), expected: u16, code: &str) {
    assert_eq!((status, &problem["code"]), (expected, &json!(code)), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
}

/// What the audit log says of this host, newest first.
pub async fn logged(host: &TestHost) -> Vec<String> {
    let audit: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    let line = |entry: &AuditEntry| format!("{} {}", entry.action, entry.detail.as_deref().unwrap_or_default());
    audit.entries.iter().map(line).collect()
}

/// More than ten a minute.
pub fn many(setup: &mut Setup) {
    setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
}
