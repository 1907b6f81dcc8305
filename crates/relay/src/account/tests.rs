use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use bytes::Bytes;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::clock::tests::Turned;

const ISSUER: &str = "https://id.example/realm";
const DISCOVERY: &str = "https://id.example/realm/.well-known/openid-configuration";
const KEYS: &str = "https://id.example/keys";

/// A provider on a desk: its documents, and how often each was asked for.
#[derive(Default)]
struct Desk(Mutex<(HashMap<String, Value>, Vec<String>)>, Mutex<Option<Arc<Semaphore>>>);

impl Desk {
    fn write(&self, url: &str, document: Value) {
        self.0.lock().unwrap().0.insert(url.to_owned(), document);
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().1.len()
    }

    fn publish(&self, keys: &[&Signer]) {
        self.write(DISCOVERY, json!({"issuer": ISSUER, "jwks_uri": KEYS, "more": true}));
        let strange = json!({"kty": "oct-of-the-future", "kid": "x"});
        let keys: Vec<Value> = keys.iter().map(|signer| signer.public.clone()).chain([strange]).collect();
        self.write(KEYS, json!({"keys": keys}));
    }
}

impl Fetch for Desk {
    fn fetch<'a>(&'a self, url: &'a str) -> Fetched<'a> {
        let mut inner = self.0.lock().unwrap();
        inner.1.push(url.to_owned());
        let found = inner.0.get(url).map(|document| Bytes::from(document.to_string()));
        let slow = self.1.lock().unwrap().clone();
        Box::pin(async move {
            if let Some(slow) = slow {
                slow.acquire().await.unwrap().forget();
            }
            found.ok_or_else(|| FetchError("not there".into()))
        })
    }
}

/// A key of a provider's.
pub(crate) struct Signer {
    id: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
    public: Value,
}

impl Signer {
    pub(crate) fn p256(id: &'static str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self::new(id, Algorithm::ES256, EncodingKey::from_ec_der(pkcs8.as_ref()))
    }

    fn ed25519(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self::new(id, Algorithm::EdDSA, EncodingKey::from_ed_der(pkcs8.as_ref()))
    }

    fn new(id: &'static str, algorithm: Algorithm, key: EncodingKey) -> Self {
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        public["kid"] = id.into();
        public["use"] = "sig".into();
        Signer { id, algorithm, key, public }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.id.into()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }
}

pub(crate) struct Relay {
    desk: Arc<Desk>,
    turned: Turned,
    pub(crate) accounts: Arc<Accounts>,
}

impl Relay {
    pub(crate) fn new(keys: &[&Signer]) -> Self {
        let (desk, turned) = (Arc::new(Desk::default()), Turned::start());
        desk.publish(keys);
        let fetch: Arc<dyn Fetch> = desk.clone();
        let accounts = Accounts::new(&[ISSUER.to_owned()], "couplet", fetch, turned.clock()).unwrap();
        Relay { desk, turned, accounts: Arc::new(accounts) }
    }

    /// How many documents the provider was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.desk.asked()
    }

    /// Claims that are good for ten minutes, with some of them otherwise; null leaves one out.
    pub(crate) fn claims(&self, changes: Value) -> Value {
        let now = self.turned.now().as_second();
        let mut claims = json!({"iss": ISSUER, "sub": "ann", "aud": "couplet", "iat": now, "exp": now + 600});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        claims
    }

    async fn verify(&self, signer: &Signer, changes: Value) -> Result<Identity, AccountError> {
        self.accounts.verify(&signer.sign(&self.claims(changes))).await
    }
}

#[tokio::test]
async fn a_token_says_who_someone_is() {
    let signers = [Signer::p256("a"), Signer::ed25519("b")];
    let relay = Relay::new(&[&signers[0], &signers[1]]);
    for signer in &signers {
        let identity = relay.verify(signer, json!({"email": "ann@example.org"})).await.unwrap();
        assert_eq!((identity.issuer.as_str(), identity.subject.as_str()), (ISSUER, "ann"));
        assert_eq!(identity.email.unwrap(), "ann@example.org");
    }
    assert!(relay.verify(&signers[0], json!({"aud": ["other", "couplet"]})).await.is_ok());
    for doubtful in [json!({"email": "a@b", "email_verified": false}), json!({"email": "a@b\u{1b}[2J"})] {
        assert_eq!(relay.verify(&signers[0], doubtful).await.unwrap().email, None);
    }
    assert_eq!(relay.desk.asked(), 2, "discovery and keys, once");
}

#[tokio::test]
async fn a_token_that_is_not_for_us_or_not_now_is_refused() {
    let signer = Signer::p256("a");
    let relay = Relay::new(&[&signer]);
    let now = relay.turned.now().as_second();
    let cases = [
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"aud": []}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "x".repeat(256)}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"nbf": now + 62}),
        json!({"iat": now + 62}),
        json!({"iss": null}),
        json!({"iss": "https://id.example"}),
    ];
    for changes in cases {
        assert_eq!(relay.verify(&signer, changes.clone()).await, Err(AccountError::Invalid), "{changes}");
    }
    for changes in [json!({"exp": now - 60}), json!({"exp": 0})] {
        assert_eq!(relay.verify(&signer, changes.clone()).await, Err(AccountError::Expired), "{changes}");
    }
    let forger = Signer::p256("a");
    assert_eq!(relay.verify(&forger, json!({"exp": now - 60})).await, Err(AccountError::Invalid));
    for changes in [json!({"exp": now - 59}), json!({"nbf": now + 60}), json!({"iat": now + 60})] {
        assert!(relay.verify(&signer, changes.clone()).await.is_ok(), "within the leeway: {changes}");
    }
    for nonsense in ["", "a.b.c", "....", &"x".repeat(10_000)] {
        assert_eq!(relay.accounts.verify(nonsense).await, Err(AccountError::Invalid));
    }
}

#[tokio::test]
async fn a_signature_of_another_key_or_kind_is_refused() {
    let (signer, forger) = (Signer::p256("a"), Signer::p256("a"));
    let relay = Relay::new(&[&signer]);
    assert_eq!(relay.verify(&forger, json!({})).await, Err(AccountError::Invalid));
    let token = signer.sign(&relay.claims(json!({})));
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[2] = "";
    assert!(relay.accounts.verify(&parts.join(".")).await.is_err());
    // The public key as a shared secret, and no signature at all (RFC 8725, 2.1).
    let shared = EncodingKey::from_secret(relay.desk.0.lock().unwrap().0[KEYS].to_string().as_bytes());
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
    let token = encode(&header, &relay.claims(json!({})), &shared).unwrap();
    assert_eq!(relay.accounts.verify(&token).await, Err(AccountError::Invalid));
    let none = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","kid":"a"}"#);
    assert_eq!(relay.accounts.verify(&format!("{none}.{}.", parts[1])).await, Err(AccountError::Invalid));
    let header = Header { crit: Some(vec!["exp".into()]), kid: Some("a".into()), ..Header::new(Algorithm::ES256) };
    let token = encode(&header, &relay.claims(json!({})), &signer.key).unwrap();
    assert_eq!(relay.accounts.verify(&token).await, Err(AccountError::Invalid));
}

#[tokio::test]
async fn a_provider_may_change_its_keys() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let relay = Relay::new(&[&old]);
    relay.verify(&old, json!({})).await.unwrap();
    relay.desk.publish(&[&old, &new]);
    assert!(relay.verify(&new, json!({})).await.is_err(), "it was asked just now");
    relay.turned.pass(Duration::from_secs(60));
    relay.verify(&new, json!({})).await.unwrap();
    // A key that was withdrawn counts no longer than an hour.
    relay.desk.publish(&[&new]);
    relay.verify(&old, json!({})).await.unwrap();
    relay.turned.pass(Duration::from_secs(3600));
    assert_eq!(relay.verify(&old, json!({})).await, Err(AccountError::Invalid));
}

#[tokio::test]
async fn whatever_tokens_come_a_provider_is_asked_once_a_minute() {
    let (signer, other) = (Signer::p256("a"), Signer::p256("b"));
    let relay = Relay::new(&[&signer]);
    for _ in 0..50 {
        assert!(relay.verify(&other, json!({})).await.is_err());
    }
    assert_eq!(relay.desk.asked(), 2);
    assert!(relay.verify(&signer, json!({"iss": "https://evil.example"})).await.is_err());
    assert_eq!(relay.desk.asked(), 2, "an issuer that is not listed is asked nothing");
}

#[tokio::test]
async fn while_a_slow_provider_is_asked_known_keys_go_on_counting() {
    let (signer, other) = (Signer::p256("a"), Signer::p256("b"));
    let relay = Relay::new(&[&signer]);
    relay.verify(&signer, json!({})).await.unwrap();
    relay.turned.pass(Duration::from_secs(60));
    let slow = Arc::new(Semaphore::new(0));
    *relay.desk.1.lock().unwrap() = Some(Arc::clone(&slow));
    let (accounts, token) = (Arc::clone(&relay.accounts), other.sign(&relay.claims(json!({}))));
    let unknown = tokio::spawn(async move { accounts.verify(&token).await });
    while relay.desk.asked() < 3 {
        tokio::task::yield_now().await;
    }
    let known = tokio::time::timeout(Duration::from_secs(10), relay.verify(&signer, json!({})));
    known.await.expect("it waits for nobody").unwrap();
    // Who hangs up does not have the provider asked anew.
    unknown.abort();
    assert!(unknown.await.is_err());
    for _ in 0..5 {
        assert_eq!(relay.verify(&other, json!({})).await, Err(AccountError::Invalid));
    }
    assert_eq!(relay.desk.asked(), 3);
    slow.add_permits(10);
    relay.desk.publish(&[&other]);
    relay.turned.pass(Duration::from_secs(60));
    relay.verify(&other, json!({})).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_is_told_from_a_bad_token_and_its_keys_hold_a_day() {
    let signer = Signer::p256("a");
    let relay = Relay::new(&[&signer]);
    relay.verify(&signer, json!({})).await.unwrap();
    relay.desk.0.lock().unwrap().0.clear();
    relay.turned.pass(Duration::from_secs(23 * 3600));
    relay.verify(&signer, json!({})).await.unwrap();
    relay.turned.pass(Duration::from_secs(3600));
    assert_eq!(relay.verify(&signer, json!({})).await, Err(AccountError::Unavailable));
}

#[tokio::test]
async fn discovery_of_another_issuer_or_keys_without_tls_are_refused() {
    let signer = Signer::p256("a");
    let elsewhere = ["http://id.example/keys", "file:///keys", "http://127.0.0.1:9090/keys", "HTTP://localhost/keys"];
    for (issuer, keys) in elsewhere.map(|keys| (ISSUER, keys)).into_iter().chain([("https://id.example", KEYS)]) {
        let relay = Relay::new(&[&signer]);
        relay.desk.write(keys, json!({"keys": [signer.public]}));
        relay.desk.write(DISCOVERY, json!({"issuer": issuer, "jwks_uri": keys}));
        assert_eq!(relay.verify(&signer, json!({})).await, Err(AccountError::Unavailable), "{issuer} {keys}");
    }
}

#[test]
fn only_https_issuers_are_taken_and_http_on_this_machine() {
    let new = |issuer: &str| {
        Accounts::new(&[issuer.to_owned()], "couplet", Arc::new(Desk::default()), Turned::start().clock()).is_ok()
    };
    for good in
        [ISSUER, "https://id.example", "http://127.0.0.1:4000", "http://[::1]:4000", "http://localhost:4000/oidc"]
    {
        assert!(new(good), "{good}");
    }
    for bad in [
        "",
        "id.example",
        "http://id.example",
        "https://a:b@id.example",
        "https://id.example/?x",
        "https://id.example#x",
        "http://127.0.0.1.example",
    ] {
        assert!(!new(bad), "{bad}");
    }
}

/// Answers one request on this machine with these bytes.
async fn served(answer: Vec<u8>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys?set=1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"GET /keys?set=1 HTTP/1.1\r\n"));
        // Who has had enough hangs up.
        let _ = socket.write_all(&answer).await;
    });
    url
}

#[tokio::test]
async fn documents_come_by_http_and_no_larger_than_they_may_be() {
    let https = Https::new(None).unwrap();
    let answer = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\n\r\n{body}").into_bytes();
    let fetched = https.fetch(&served(answer("200 OK", "{}")).await).await.unwrap();
    assert_eq!(fetched, "{}");
    let refused = [
        answer("302 Found\r\nlocation: /elsewhere", ""),
        answer("404 Not Found", "{}"),
        answer("200 OK", &"x".repeat(300_000)),
        b"220 not http at all\r\n".to_vec(),
    ];
    for answer in refused {
        assert!(https.fetch(&served(answer).await).await.is_err());
    }
    assert!(https.fetch("http://127.0.0.1:1/").await.is_err());
    assert!(Https::new(Some(b"-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")).is_err());
}
