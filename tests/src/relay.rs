//! The real `couplet relay serve --dev`, with a state folder of its own, on ports that stay; and a device's way through
//! it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use couplet_protocol::message::{Control, Grant};
use couplet_protocol::{CredentialHash, Offer, RoomId, Sid};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::device::{Said, Sealed, Unsealed, keys};
use crate::host::{PATIENCE, Setup};
use crate::program::couplet;
use crate::{Provider, Running, TestDevice, TestHost, free_port};

/// A running relay. Dropping it kills it and removes its folder, with those of its hosts.
#[derive(Debug)]
pub struct Relay {
    folder: TempDir,
    ports: [u16; 2],
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    running: Running,
    ready: Value,
}

/// A host's certificate, with those above it, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What opens a room.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The token of an offer.
    Token(CredentialHash),
    /// What a paired device has.
    Secret(CredentialHash),
}

/// What the relay answers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null when it is no JSON.
    pub body: Value,
}

impl Relay {
    /// Starts one and waits until it accepts connections.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with further arguments.
    pub async fn start_with(args: &[&str]) -> Self {
        Self::start_as(args, Vec::new()).await
    }

    /// One that takes tokens of this provider.
    pub async fn with_accounts(provider: &Provider) -> Self {
        let issuer = ("COUPLET_RELAY_ACCOUNT_ISSUERS", provider.issuer().to_owned());
        Self::start_as(&[], vec![issuer, ("COUPLET_RELAY_ACCOUNT_AUDIENCE", "couplet".to_owned())]).await
    }

    /// One that logs so much.
    pub async fn with_log(level: &str) -> Self {
        Self::start_as(&[], vec![("COUPLET_LOG", level.to_owned())]).await
    }

    async fn start_as(args: &[&str], env: Vec<(&'static str, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ports = [free_port(), free_port()];
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (running, ready) = serve(folder.path(), ports, &args, &env).await;
        Relay { folder, ports, args, env, running, ready }
    }

    /// Starts it again where it was, killing it first when it still runs.
    pub async fn restart(&mut self) {
        if !self.running.has_ended() {
            self.running.kill().await;
        }
        (self.running, self.ready) = serve(self.folder.path(), self.ports, &self.args, &self.env).await;
    }

    /// The same, and it ends as by a power cut after so many steps: see `couplet_relay::failpoint`, which needs a binary
    /// with the feature `failpoints`.
    pub async fn restart_for(&mut self, steps: usize) {
        self.env.push(("COUPLET_RELAY_STEPS", steps.to_string()));
        self.restart().await;
        self.env.pop();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.running.has_ended()
    }

    /// Waits until it has ended: its exit code, unless a signal ended it.
    pub async fn ends(&mut self) -> Option<i32> {
        self.running.wait(PATIENCE).await.code()
    }

    /// Sets it up anew where it was: it knows nobody, and has another CA.
    pub async fn set_up_anew(&mut self) {
        self.running.kill().await;
        std::fs::remove_dir_all(state(self.folder.path())).unwrap();
        self.restart().await;
    }

    /// Ends it as a power cut would.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Asks it to stop (SIGTERM).
    pub fn stop(&self) {
        self.running.signal("TERM");
    }

    /// `localhost:port`, where devices come.
    #[must_use]
    pub fn name(&self) -> String {
        format!("localhost:{}", self.ports[0])
    }

    /// The port at `localhost` where hosts come.
    #[must_use]
    pub fn hosts_port(&self) -> u16 {
        self.ports[1]
    }

    /// What it said when it was ready: `public`, `hosts`, `private`, `ca`.
    #[must_use]
    pub fn ready(&self) -> &Value {
        &self.ready
    }

    /// One text of that.
    #[must_use]
    pub fn ready_text(&self, key: &str) -> &str {
        self.ready[key].as_str().expect("a text of the ready line")
    }

    /// Its listener with health and numbers: `http://127.0.0.1:port`.
    #[must_use]
    pub fn private_url(&self) -> &str {
        self.ready["private"][0].as_str().expect("the ready line names it")
    }

    /// The file with its CA, for `--relay-ca`.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        state(self.folder.path()).join("ca.pem")
    }

    /// A command of `couplet relay` on its state folder: exit code, standard output, standard error.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = couplet();
        command.arg("relay").args(args).arg("--state-dir").arg(state(self.folder.path()));
        let output = command.env("HOME", self.folder.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// An enrolment token.
    #[must_use]
    pub fn invite(&self) -> String {
        let (code, token, said) = self.run(&["invite"]);
        assert_eq!(code, 0, "{said}");
        token.trim().to_owned()
    }

    /// `couplet enroll` with a token: exit code, standard output, standard error.
    #[must_use]
    pub fn enroll(&self, token: &str, state_dir: &Path) -> (i32, String, String) {
        let mut command = couplet();
        command.args(["enroll", token, "--relay-ca"]).arg(self.ca()).arg("--state-dir").arg(state_dir);
        let output = command.env("HOME", self.folder.path()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// An enrolled host that is linked to this relay. Its state folder goes with the relay.
    pub async fn host(&self, configure: impl FnOnce(&mut Setup)) -> TestHost {
        let state_dir = self.enrolled();
        let host = TestHost::start(|setup| {
            setup.state_dir(state_dir);
            configure(setup);
        })
        .await;
        host.event("relay.connected", |_| true).await;
        host
    }

    /// The state folder of a host that is enrolled and does not run.
    #[must_use]
    pub fn enrolled(&self) -> PathBuf {
        let state_dir = tempfile::tempdir_in(self.folder.path()).unwrap().keep().join("host");
        let (code, _, said) = self.enroll(&self.invite(), &state_dir);
        assert_eq!(code, 0, "{said}");
        state_dir
    }

    /// What it has logged so far.
    #[must_use]
    pub fn logs(&self) -> String {
        self.running.stderr.text()
    }

    /// All that it has written so far.
    #[must_use]
    pub fn written(&self) -> String {
        self.running.written()
    }

    /// Waits for a line of its log that has this in it.
    pub async fn logged(&self, part: &str) {
        self.running.wait_for_error_line(PATIENCE, |line| line.contains(part)).await;
    }

    /// Asks for a session, as a device does: `POST /pair`.
    pub async fn ask(&self, room: RoomId, credential: &Credential) -> Answer {
        let (member, hash) = match credential {
            Credential::Token(hash) => ("pairing_token_hash", hash),
            Credential::Secret(hash) => ("secret_hash", hash),
        };
        let body = json!({"room_id": room.to_hex(), member: hash.expose_hex().as_str()});
        let request = Request::post("/pair").header("host", self.name()).header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.tls(None).await.unwrap())).await.unwrap();
        let connection = tokio::spawn(connection);
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        let _ = connection.await;
        Answer { status, body: serde_json::from_slice(&body).unwrap_or_default() }
    }

    /// Opens a device's end of a session.
    ///
    /// # Panics
    /// The relay refuses.
    pub async fn join(&self, room: RoomId, credential: &Credential) -> Unsealed {
        let answer = self.ask(room, credential).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let sid = Sid::parse(answer.body["sid"].as_str().unwrap()).unwrap();
        let url = format!("wss://{}{}", self.name(), sid.path());
        let socket =
            tokio_tungstenite::client_async(url, Either::Right(self.tls(None).await.unwrap())).await.unwrap().0;
        Unsealed::over(socket)
    }

    /// Claims the offer of a link, up to the confirm.
    pub async fn claim(&self, device: &TestDevice, link: &str) -> Sealed {
        let (room, token) = Relay::room_of(link);
        let (initiator, m1) = device.hello(link);
        let answered = self.join(room, &token).await.shake_hands(initiator, m1).await;
        answered.expect("the host answers").confirm().await
    }

    /// Pairs where the owner is not asked.
    pub async fn pair(&self, device: &TestDevice, link: &str) -> Grant {
        let mut sealed = self.claim(device, link).await;
        let grant = sealed.granted().await;
        sealed.send(&Control::Ack).await;
        assert_eq!(sealed.said().await, Said::Control(Control::Paired), "said before the room's sessions are cut");
        grant
    }

    /// Comes back through the pairing's room with this number, up to the confirm.
    pub async fn come_back(&self, device: &TestDevice, link: &str, grant: &Grant, number: u32) -> Sealed {
        let (room, credential) = room_of_pairing(grant, number);
        let (initiator, m1) = device.hello_again(&keys(link, grant));
        let unsealed = self.join(room, &credential).await;
        let answered = unsealed.shake_hands(initiator, m1).await.expect("the host answers");
        answered.come_by(number, number).confirm().await
    }

    /// With which status a device is answered that asks for its pairing's room with this number.
    pub async fn status(&self, grant: &Grant, number: u32) -> u16 {
        let (room, credential) = room_of_pairing(grant, number);
        self.ask(room, &credential).await.status
    }

    /// The room of a link's offer, and what opens it.
    #[must_use]
    pub fn room_of(link: &str) -> (RoomId, Credential) {
        let keys = Offer::from_link(link).unwrap().keys().unwrap();
        (keys.room, Credential::Token(keys.pairing_token_hash))
    }

    /// A connection inside TLS: to where devices come, or with a certificate and its key to where hosts do.
    ///
    /// # Errors
    /// The relay is not there, or refuses.
    pub async fn tls(&self, identity: Option<Identity>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.ca()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let (config, port) = match identity {
            None => (config.with_no_client_auth(), self.ports[0]),
            Some((chain, key)) => (config.with_client_auth_cert(chain, key).unwrap(), self.ports[1]),
        };
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn room_of_pairing(grant: &Grant, number: u32) -> (RoomId, Credential) {
    let secret = grant.room_secret.as_ref().expect("every grant has one");
    (secret.room(number).unwrap(), Credential::Secret(secret.relay_secret_hash().unwrap()))
}

fn state(folder: &Path) -> PathBuf {
    folder.join("relay")
}

async fn serve(folder: &Path, ports: [u16; 2], args: &[String], env: &[(&str, String)]) -> (Running, Value) {
    let mut command = couplet();
    let at = |port| format!("127.0.0.1:{port}");
    command.args(["relay", "serve", "--dev", "--listen", &at(ports[0]), "--hosts-listen", &at(ports[1]), "--json"]);
    command.args(["--private", &at(0)]).args(args).arg("--state-dir").arg(state(folder));
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder);
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let running = Running::start(command);
    let ready = running.wait_for_line(PATIENCE, |line| line.contains("\"ready\"")).await;
    (running, serde_json::from_str(&ready).unwrap())
}
