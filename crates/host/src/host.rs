//! Stand-in for the running host, until the real one takes its place.

use std::path::PathBuf;
use std::sync::Arc;

use couplet_protocol::Code;
use couplet_protocol::api::Event;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::Config;

/// A host that listens.
#[derive(Debug)]
pub struct Host {
    config: Config,
    events: broadcast::Sender<Arc<Event>>,
}

/// Where a host can be reached.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Pairing addresses as URLs.
    pub pairing: Vec<String>,
    /// One URL for each app.
    pub gateway: Vec<GatewayUrl>,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Whether a phone can reach any of them.
    pub reachable: bool,
}

/// Where devices reach an app.
#[derive(Clone, Debug)]
pub struct GatewayUrl {
    /// The app's name.
    pub name: String,
    /// Its URL for devices.
    pub url: String,
}

/// Why a host did not start or had to stop.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct StartError {
    code: Code,
    detail: String,
}

impl StartError {
    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }
}

impl Host {
    /// Binds.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn bind(config: Config) -> Result<Host, StartError> {
        config.upstreams().map_err(|error| StartError { code: Code::ConfigInvalid, detail: error.to_string() })?;
        Ok(Host { config, events: broadcast::Sender::new(64) })
    }

    /// Where it can be reached.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let url = |address: &std::net::SocketAddr| format!("http://{address}");
        let gateway = self.config.apps.iter().zip(&self.config.gateway);
        Ready {
            pairing: self.config.listen.iter().map(url).collect(),
            gateway: gateway.map(|(app, at)| GatewayUrl { name: app.name.clone(), url: url(at) }).collect(),
            state_dir: self.config.state_dir.clone(),
            reachable: self.config.listen.iter().any(|address| !address.ip().is_loopback()),
        }
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Runs until `shutdown`.
    ///
    /// # Errors
    /// None here.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), StartError> {
        shutdown.cancelled().await;
        Ok(())
    }
}
