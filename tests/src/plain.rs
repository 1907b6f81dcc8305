//! A device whose app knows plain HTTP only.

use serde_json::{Value, json};

/// What the device says it is.
pub const MODEL: &str = "iPad13,8";

/// Presents the token of a `couplet://` link, as a device that has read it does; with a claim, asks for what it waits for.
/// The status, and the answer.
pub async fn exchange(link: &str, name: &str, claim: Option<&Value>) -> (u16, Value) {
    let (authority, token) = link.strip_prefix("couplet://").unwrap().split_once("?pair=").unwrap();
    let body = json!({ "pair_token": token, "device_name": name, "device_model": MODEL, "claim": claim });
    let exchange = reqwest::Client::new().post(format!("http://{authority}/api/pair/exchange")).json(&body);
    let answer = exchange.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
