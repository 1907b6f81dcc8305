//! The operator's side of a running relay: HTTP over the socket in its state folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use couplet_protocol::{Code, Problem};
use couplet_relay::control::SOCKET;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};

const ANSWER: Duration = Duration::from_secs(15);
/// A relay has a great many hosts at most.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Where a running relay listens.
pub(super) struct Control {
    folder: PathBuf,
}

impl Control {
    pub(super) fn of(folder: &Path) -> Self {
        Control { folder: folder.to_owned() }
    }

    /// Sends a request and reads its answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let socket = UnixStream::connect(self.folder.join(SOCKET)).await.map_err(|error| self.not_running(&error))?;
        let asked = ask(socket, method, path, body);
        let (ok, answer) = tokio::time::timeout(ANSWER, asked).await.ok().flatten().ok_or_else(gone)?;
        if !ok {
            let problem = serde_json::from_slice::<Problem>(&answer).map_err(|_| strange())?;
            return Err(Failure::of_problem(problem, None));
        }
        serde_json::from_slice(&answer).map_err(|_| strange())
    }

    fn not_running(&self, error: &std::io::Error) -> Failure {
        let folder = self.folder.display();
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            let next = format!("{folder}: {error}.\nRun this as the user that runs the relay.");
            return Failure::of(Code::StateFolderUnusable, next);
        }
        let next = "Start the relay: couplet relay serve. If it keeps its state elsewhere, name the folder with \
                    --state-dir.";
        Failure::of(Code::RelayNotRunning, format!("The folder is {folder}.\n{next}"))
    }
}

async fn ask(socket: UnixStream, method: Method, path: &str, body: Option<&impl Serialize>) -> Option<(bool, Bytes)> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.ok()?;
    let mut request = Request::builder().method(method).uri(path).header("host", "relay");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map(serde_json::to_vec).transpose().ok()?.unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body))).ok()?;
    let answered = async {
        let answer = sender.send_request(request).await.ok()?;
        let ok = answer.status().is_success();
        Some((ok, Limited::new(answer.into_body(), ANSWER_MAX).collect().await.ok()?.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(answered);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection may end with the answer's last byte.
        _ = &mut connection => answered.await,
    }
}

fn gone() -> Failure {
    Failure::of(Code::RelayNotRunning, "It stopped, or does not answer any more. Look at its log.")
}

fn strange() -> Failure {
    let next = "Are both of the same version? Compare couplet --version with the first line of couplet relay serve.";
    Failure::new(Exit::Failure, "The relay answered something that this program does not understand", next)
}
