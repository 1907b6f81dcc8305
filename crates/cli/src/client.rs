//! The owner's side of a running host: finds it by its state folder and speaks its HTTP API.

use std::fs::TryLockError;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::Event;
use couplet_protocol::credential::AdminToken;
use couplet_protocol::error::Problem;
use futures_util::{Stream, StreamExt};
use reqwest::header::{AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sse_stream::SseByteStream;

use crate::failure::{Exit, Failure};

const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(15);

/// What a running host leaves in its state folder.
#[derive(Debug, Deserialize)]
struct Running {
    pairing: Vec<String>,
}

/// A running host that answers.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    owner: HeaderValue,
}

impl Client {
    /// Finds the host that runs on this state folder.
    pub(crate) async fn open(state_dir: &Path) -> Result<Client, Failure> {
        let running = running(state_dir)?;
        let owner = authorization(state_dir)?;
        // The host is on this machine: a proxy of the environment would only learn the owner's token.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map_err(|error| Failure::new(Exit::Failure, "The HTTP client does not start", error.to_string()))?;
        let mut bases = running.pairing;
        bases.retain(|base| is_of_this_machine(base));
        bases.sort_by_key(|base| !is_loopback(base));
        for base in bases {
            let base = base.trim_end_matches('/').to_owned();
            if http.get(format!("{base}/livez")).timeout(ANSWER).send().await.is_ok() {
                return Ok(Client { http, base, owner });
            }
        }
        Err(not_running(state_dir))
    }

    /// Sends a request and reads its answer as JSON.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        self.send(method, path, body).await?.json().await.map_err(|_| strange("Its answer is not the expected JSON."))
    }

    /// Reads JSON from a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(Method::GET, path, None::<&()>).await
    }

    /// Sends a request whose answer, if it is a good one, says nothing more.
    pub(crate) async fn done(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(method, path, None::<&()>).await.map(drop)
    }

    /// As [`Self::done`], with a body.
    pub(crate) async fn done_with(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), Failure> {
        self.send(method, path, Some(body)).await.map(drop)
    }

    /// Follows what happens on the host from this moment on.
    pub(crate) async fn events(&self) -> Result<Events, Failure> {
        let request = self.http.get(format!("{}/api/pair/events", self.base)).header(AUTHORIZATION, &self.owner);
        let answer = tokio::time::timeout(ANSWER, request.send()).await.map_err(|_| gone())?;
        let answer = checked(answer.map_err(|_| gone())?).await?;
        Ok(Events { stream: Box::pin(SseByteStream::new(answer.bytes_stream())) })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Response, Failure> {
        let request = self.http.request(method, format!("{}{path}", self.base)).timeout(ANSWER);
        let mut request = request.header(AUTHORIZATION, &self.owner);
        if let Some(body) = body {
            request = request.json(body);
        }
        checked(request.send().await.map_err(|_| gone())?).await
    }
}

/// What happens on the host, as it happens.
pub(crate) struct Events {
    stream: Pin<Box<dyn Stream<Item = Result<sse_stream::Sse, sse_stream::Error>> + Send>>,
}

impl Events {
    /// The next event. Kinds that this program does not know, of a newer host, are passed over. May be dropped and
    /// called anew without losing one.
    pub(crate) async fn next(&mut self) -> Result<Event, Failure> {
        while let Some(Ok(block)) = self.stream.next().await {
            if let Some(event) = block.data.and_then(|data| serde_json::from_str(&data).ok()) {
                return Ok(event);
            }
        }
        Err(gone())
    }
}

fn running(state_dir: &Path) -> Result<Running, Failure> {
    let text = match std::fs::read_to_string(state_dir.join("serve.json")) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not_running(state_dir)),
        Err(error) => return Err(unreadable(state_dir, &error)),
    };
    // A host that was killed leaves the file behind. Whoever listens on its port now must not get the owner's token:
    // a host that runs holds the lock of its folder.
    let lock = std::fs::File::open(state_dir.join("lock")).map_err(|_| not_running(state_dir))?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => serde_json::from_str(&text).map_err(|_| not_running(state_dir)),
        Ok(()) | Err(TryLockError::Error(_)) => Err(not_running(state_dir)),
    }
}

/// Whether the address is one that this machine has now: an old one may be another machine's by now.
fn is_of_this_machine(base: &str) -> bool {
    let address = base.strip_prefix("http://").and_then(|address| address.parse::<SocketAddr>().ok());
    address.is_some_and(|address| UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok())
}

fn authorization(state_dir: &Path) -> Result<HeaderValue, Failure> {
    let text = std::fs::read_to_string(state_dir.join("admin-token")).map_err(|error| unreadable(state_dir, &error))?;
    let token = AdminToken::parse(text.trim()).ok();
    let value = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok());
    let mut value = value.ok_or_else(|| {
        let detail =
            "The file admin-token in it holds no owner's token: stop the host, delete the file, start the host.";
        Failure::of(Code::StateFolderUnusable, detail)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_loopback(base: &str) -> bool {
    ["http://127.", "http://[::1]", "http://localhost"].iter().any(|prefix| base.starts_with(prefix))
}

fn not_running(state_dir: &Path) -> Failure {
    let folder = state_dir.display();
    Failure::of(
        Code::HostNotRunning,
        format!(
            "The folder is {folder}.\nStart the host: couplet serve. If it keeps its state elsewhere, name the folder with --state-dir."
        ),
    )
}

fn unreadable(state_dir: &Path, error: &std::io::Error) -> Failure {
    Failure::of(
        Code::StateFolderUnusable,
        format!("{}: {error}.\nRun this as the user that runs the host.", state_dir.display()),
    )
}

fn gone() -> Failure {
    Failure::of(
        Code::HostNotRunning,
        "It stopped, or does not answer any more. Look at its log, and start it: couplet serve.",
    )
}

fn strange(detail: &str) -> Failure {
    Failure::new(
        Exit::Failure,
        "The host answered something that this program does not understand",
        format!(
            "{detail} Are both of the same version? Compare couplet --version with the first line of couplet serve."
        ),
    )
}

async fn checked(answer: Response) -> Result<Response, Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match answer.json::<Problem>().await {
        Ok(problem) => Err(Failure::of_problem(problem, retry_after)),
        Err(_) => Err(strange(&format!("It answered with status {}.", status.as_u16()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(serve: &str, token: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("serve.json"), serve).unwrap();
        std::fs::write(folder.path().join("admin-token"), token).unwrap();
        folder
    }

    #[tokio::test]
    async fn without_a_host_it_says_how_to_start_one() {
        let empty = tempfile::tempdir().unwrap();
        let token = AdminToken::from_entropy([1; 32]);
        for folder in
            [empty, folder("not json", token.expose()), folder(r#"{"pairing":["http://127.0.0.1:1"]}"#, token.expose())]
        {
            let failure = Client::open(folder.path()).await.unwrap_err();
            assert!(failure.is(Code::HostNotRunning) && failure.exit == Exit::NotRunning, "{failure}");
            assert!(failure.detail.contains("couplet serve"), "{failure}");
        }
    }

    /// The port of a host that was killed may be anybody's now.
    #[tokio::test]
    async fn a_stranger_on_the_hosts_port_gets_nothing() {
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        stranger.set_nonblocking(true).unwrap();
        let serve = format!(r#"{{"pid":1,"pairing":["http://{}"]}}"#, stranger.local_addr().unwrap());
        let folder = folder(&serve, AdminToken::from_entropy([1; 32]).expose());
        std::fs::write(folder.path().join("lock"), "").unwrap();
        assert!(Client::open(folder.path()).await.unwrap_err().is(Code::HostNotRunning));
        assert_eq!(stranger.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody called");
    }

    #[test]
    fn addresses_of_other_machines_are_not_dialled() {
        assert!(is_of_this_machine("http://127.0.0.1:7878") && is_of_this_machine("http://[::1]:7878"));
        assert!(!is_of_this_machine("http://203.0.113.7:7878") && !is_of_this_machine("http://nas:7878"));
    }

    #[tokio::test]
    async fn a_broken_token_file_is_not_quoted() {
        let folder = folder(r#"{"pairing":[]}"#, "adm_canary");
        let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
        lock.lock().unwrap();
        let failure = Client::open(folder.path()).await.unwrap_err();
        assert!(failure.is(Code::StateFolderUnusable) && !failure.to_string().contains("canary"), "{failure}");
    }

    #[test]
    fn loopback_is_asked_first() {
        let mut bases = ["http://192.168.1.2:7878", "http://[::1]:7878", "http://127.0.0.1:7878"];
        bases.sort_by_key(|base| !is_loopback(base));
        assert_eq!(bases[2], "http://192.168.1.2:7878");
    }
}
