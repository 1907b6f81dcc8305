//! Another independent signer: Chromium's WebCrypto, with a key that even its own page cannot read. And that the frozen
//! vectors are what Python's makes.

use e2e::host::PATIENCE;
use e2e::program::python;
use e2e::watch::pairing_info;
use e2e::{Browser, Running, TestApp, TestHost};
use serde_json::{Value, json};

/// A watch as spec/protocol.md, section 8, describes one. Nothing of it is Couplet's.
const WATCH: &str = r#"
    const ascii = text => new TextEncoder().encode(text);
    const base64 = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes)));
    const base64url = bytes => base64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const ecdsa = { name: 'ECDSA', hash: 'SHA-256' };
    const components = ['@method', '@authority', '@path', '@query', 'content-digest', 'x-device-id'];

    window.watch = {
      async make() {
        this.pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']);
        const secret = await crypto.subtle.exportKey('pkcs8', this.pair.privateKey).then(() => 'read', error => error.name);
        return [secret, await crypto.subtle.exportKey('jwk', this.pair.publicKey)];
      },
      async sign(text) {
        return crypto.subtle.sign(ecdsa, this.pair.privateKey, ascii(text));
      },
      async register(nonce) {
        const public_key = await crypto.subtle.exportKey('jwk', this.pair.publicKey);
        const body = { public_key, signature: base64(await this.sign(nonce)), nonce, device_name: 'Chromium' };
        const answer = await fetch('/watch/devices', {
          method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body),
        });
        const paired = await answer.json();
        this.id = paired.device_id;
        return [answer.status, paired];
      },
      async headers(method, target, body) {
        const url = new URL(target, location.origin);
        const time = new DataView(new ArrayBuffer(8));
        time.setBigUint64(0, BigInt(Date.now()));
        const nonce = base64url([...new Uint8Array(time.buffer), ...crypto.getRandomValues(new Uint8Array(16))]);
        const digest = `sha-256=:${base64(await crypto.subtle.digest('SHA-256', ascii(body)))}:`;
        const names = [...components, ...(this.challenge ? ['x-couplet-challenge'] : [])];
        const values = [method, url.host, url.pathname, url.search || '?', digest, this.id, this.challenge];
        const parameters = `(${names.map(name => `"${name}"`).join(' ')});created=${Math.floor(Date.now() / 1000)}` +
          `;nonce="${nonce}";alg="ecdsa-p256-sha256";keyid="${this.id}";tag="couplet-v1"`;
        const lines = names.map((name, at) => `"${name}": ${values[at]}`);
        const base = [...lines, `"@signature-params": ${parameters}`].join('\n');
        return {
          'content-digest': digest, 'x-device-id': this.id, 'signature-input': `sig=${parameters}`,
          'signature': `sig=:${base64(await this.sign(base))}:`,
          ...(this.challenge ? { 'x-couplet-challenge': this.challenge } : {}),
        };
      },
      async ask(method, target, body = '') {
        for (const _ of [1, 2]) {
          const headers = await this.headers(method, target, body);
          const answer = await fetch(target, { method, headers, body: body || undefined });
          const challenge = answer.headers.get('x-couplet-challenge');
          if (!challenge) return [answer.status, await answer.text()];
          this.challenge = challenge;
        }
      },
    };
"#;

#[tokio::test]
async fn a_key_that_cannot_be_exported_pairs_and_signs() {
    let app = TestApp::start().await;
    let host = TestHost::start(|setup| {
        setup.app(app.url());
    })
    .await;
    let browser = Browser::start(|_| ()).await;
    // Any page of the host's own origin.
    browser.open(&format!("{}/livez", host.pairing_url())).await;
    browser.run(WATCH, json!(null)).await;
    let made = browser.evaluate("watch.make()").await;
    assert_eq!(made[0], "InvalidAccessError", "its own page cannot read it");
    assert_eq!((&made[1]["crv"], made[1].get("d")), (&json!("P-256"), None));
    let info = pairing_info(&host).await;
    let paired = browser.run("return await watch.register(argument)", json!(info.nonce)).await;
    assert_eq!(paired[0], 200, "{paired}");
    let id = paired[1]["device_id"].as_str().unwrap().to_owned();

    let verify = format!("watch.ask('GET', '/watch/devices/{id}/verify')");
    assert_eq!(browser.evaluate(&verify).await[0], 204);
    let me = browser.evaluate("watch.ask('GET', '/api/pair/me')").await;
    assert!(me[0] == 200 && me[1].as_str().unwrap().contains(&id), "{me}");

    // At the gateway: a page may sign for another origin, and not send there.
    let gateway = host.gateway_url("app").to_owned();
    let headers_for_app = sign_for(&browser, &gateway, "POST", "/echo?x=1", "hello").await;
    let request = reqwest::Client::new().post(format!("{gateway}/echo?x=1")).body("hello");
    let request = headers_for_app.iter().fold(request, |request, (name, value)| request.header(name, value));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    assert_eq!(app.last_request().headers["x-couplet-device-id"], id);
    let changed = sign_for(&browser, &gateway, "POST", "/echo?x=1", "hello").await;
    let request = reqwest::Client::new().post(format!("{gateway}/echo?x=2")).body("hello");
    let request = changed.iter().fold(request, |request, (name, value)| request.header(name, value));
    assert_eq!(request.send().await.unwrap().status(), 401);

    assert_eq!(browser.evaluate("watch.ask('DELETE', '/api/pair/me')").await[0], 204);
    assert_eq!(browser.evaluate("watch.ask('GET', '/api/pair/me')").await[0], 401);
}

/// The headers of a request to another origin, which a page may sign and not send.
async fn sign_for(browser: &Browser, base: &str, method: &str, target: &str, body: &str) -> Vec<(String, String)> {
    let script = "return await watch.headers(argument.method, argument.url, argument.body)";
    let argument = json!({ "method": method, "url": format!("{base}{target}"), "body": body });
    let headers: Value = browser.run(script, argument).await;
    let headers = headers.as_object().unwrap();
    headers.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[tokio::test]
async fn the_frozen_signatures_are_what_another_implementation_makes() {
    let folder = e2e::repository().join("tests/watch");
    let mut command = python();
    command.arg(folder.join("vectors.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    let made: Value = serde_json::from_str(&Running::start(command).succeeds(PATIENCE).await).unwrap();
    let frozen = std::fs::read_to_string(e2e::repository().join("spec/vectors/signature.json")).unwrap();
    assert!(made == serde_json::from_str::<Value>(&frozen).unwrap(), "another value breaks every client");
}
