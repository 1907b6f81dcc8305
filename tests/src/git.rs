//! A Git server as an app: `git http-backend` behind the smallest of CGI servers (RFC 3875).

use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

/// A running server of one empty repository, `/project.git`. Dropping it stops it.
#[derive(Debug)]
pub struct GitServer {
    url: String,
    root: TempDir,
    server: JoinHandle<()>,
}

impl GitServer {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_at(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Starts one that listens there.
    #[must_use]
    pub fn start_at(listener: TcpListener) -> Self {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().join("project.git");
        git(root.path(), &["init", "--quiet", "--bare", "--initial-branch=main", project.to_str().unwrap()]);
        git(&project, &["config", "http.receivepack", "true"]);
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().fallback(serve).with_state(root.path().to_owned());
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        GitServer { url, root, server }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where the repository is.
    #[must_use]
    pub fn project(&self) -> PathBuf {
        self.root.path().join("project.git")
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Runs Git in this folder, without a configuration of anybody's; what it prints.
pub fn git(folder: &Path, args: &[&str]) -> String {
    let mut git = command(folder);
    let output = git.args(args).output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Git in this folder, not yet started.
#[must_use]
pub fn command(folder: &Path) -> std::process::Command {
    let mut git = crate::program("git");
    git.current_dir(folder).env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "Anna").env(format!("GIT_{who}_EMAIL"), "anna@example.org");
    }
    git
}

async fn serve(State(root): State<PathBuf>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut backend = command(&root);
    backend.arg("http-backend").env("GIT_PROJECT_ROOT", &root).env("GIT_HTTP_EXPORT_ALL", "1");
    backend.env("REQUEST_METHOD", head.method.as_str()).env("PATH_INFO", head.uri.path());
    backend.env("QUERY_STRING", head.uri.query().unwrap_or_default());
    for (header, variable) in [
        ("content-type", "CONTENT_TYPE"),
        ("content-length", "CONTENT_LENGTH"),
        ("content-encoding", "HTTP_CONTENT_ENCODING"),
        ("git-protocol", "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = head.headers.get(header) {
            backend.env(variable, value.to_str().unwrap());
        }
    }
    backend.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut backend = Command::from(backend).kill_on_drop(true).spawn().unwrap();
    let (mut stdin, mut stdout) = (backend.stdin.take().unwrap(), backend.stdout.take().unwrap());
    let feed = async move {
        let mut chunks = body.into_data_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            // It may end before it has read everything.
            if stdin.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    let mut said = Vec::new();
    tokio::join!(feed, async { stdout.read_to_end(&mut said).await.unwrap() });
    backend.wait().await.unwrap();
    answer(&said)
}

/// What the program said, as an answer.
fn answer(said: &[u8]) -> Response {
    let end = said.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let mut answer = Response::new(Body::from(said[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&said[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        match name {
            "Status" => *answer.status_mut() = StatusCode::from_bytes(&value.as_bytes()[..3]).unwrap(),
            _ => {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                answer.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
            }
        }
    }
    answer
}
