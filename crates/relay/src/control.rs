//! What `couplet relay invite` and `couplet relay hosts` say to the running relay: HTTP over a Unix socket in the state
//! folder, which only the relay's user can open.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{self, Request, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use couplet_protocol::{Code, EnrollmentToken};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;

use crate::clock::after;
use crate::host::HostId;
use crate::http::body;
use crate::plain;
use crate::problem::Failure;
use crate::shared::Shared;

/// The socket's name in the state folder.
pub const SOCKET: &str = "control.sock";
/// How long an invitation may be good for, in seconds.
pub const INVITATION_MAX: u64 = 30 * 24 * 3600;

/// Body of `POST /invitations`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// For how long it is good, in seconds.
    pub valid_seconds: u64,
}

/// Answer of `POST /invitations`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Invited {
    /// The enrolment token. A secret.
    pub token: String,
    /// When it ends.
    pub expires_at: String,
}

/// A host in the answer of `GET /hosts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ListedHost {
    /// Its id.
    pub host_id: String,
    /// When it was enrolled.
    pub enrolled_at: String,
    /// When it was last seen, to some minutes.
    pub last_seen: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
    /// Whether it has an event stream now.
    pub online: bool,
}

/// Answer of `GET /hosts`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hosts {
    /// All of them, those that were revoked too.
    pub hosts: Vec<ListedHost>,
}

/// The bound socket. Dropping it removes its name.
pub(crate) struct Control {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Control {
    /// Binds it. Whatever stood there was left behind: the store's lock says that no other relay runs.
    pub(crate) fn bind(folder: &Path) -> io::Result<Self> {
        let path = folder.join(SOCKET);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path)?;
        // The folder is closed to others already.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(Control { listener: Some(listener), path })
    }

    /// Serves until it is dropped. A request's head has `header` to come.
    pub(crate) async fn serve(mut self, shared: Arc<Shared>, header: Duration) {
        if let Some(listener) = self.listener.take() {
            let tasks = shared.tasks.clone();
            plain::serve(listener, router(shared), tasks, header).await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/invitations", post(invite))
        .route("/hosts", get(hosts))
        .route("/hosts/{id}/revoke", post(revoke))
        .with_state(shared)
}

async fn invite(State(shared): State<Arc<Shared>>, request: Request) -> Result<Json<Invited>, Failure> {
    let Invite { valid_seconds } = body::json(request).await?;
    if !(1..=INVITATION_MAX).contains(&valid_seconds) {
        return Err(Failure::new(
            Code::LifetimeOutOfRange,
            "An invitation is good for a second at least and for 30 days at most.",
        ));
    }
    let valid = Duration::from_secs(valid_seconds);
    let expires_at = after(shared.clock.now(), valid).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let secret = shared.registry.invite(valid).await?;
    let token = EnrollmentToken {
        relay: shared.name.clone(),
        hosts: shared.hosts_name.clone(),
        ca: shared.authority.fingerprint(),
        secret,
    };
    tracing::info!(target: "couplet::relay", valid_seconds, "host.invited");
    Ok(Json(Invited { token: token.to_text().to_string(), expires_at }))
}

async fn hosts(State(shared): State<Arc<Shared>>) -> Result<Json<Hosts>, Failure> {
    let hosts = shared.registry.hosts().await?;
    let listed = hosts.into_iter().map(|host| ListedHost {
        host_id: host.id.to_string(),
        enrolled_at: host.enrolled_at.to_string(),
        last_seen: host.seen_at.map(|at| at.to_string()),
        revoked_at: host.revoked_at.map(|at| at.to_string()),
        online: shared.live.is_online(host.id),
    });
    Ok(Json(Hosts { hosts: listed.collect() }))
}

/// Revokes it; its connections are gone when this answers.
async fn revoke(
    State(shared): State<Arc<Shared>>,
    extract::Path(id): extract::Path<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    let known = async |host| Ok::<_, Failure>(shared.registry.hosts().await?.iter().any(|known| known.id == host));
    let host = HostId::parse(&id);
    let host = match host {
        Some(host) if known(host).await? => host,
        _ => return Err(Failure::new(Code::NotEnrolledHere, "`couplet relay hosts` lists them.")),
    };
    let revoked = shared.registry.revoke_host(host).await?;
    shared.live.cut_host(host);
    tracing::info!(target: "couplet::relay", %host, "host.revoked");
    Ok(Json(serde_json::json!({ "revoked": revoked })))
}
