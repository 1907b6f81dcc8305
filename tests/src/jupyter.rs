//! A real app: JupyterLab, unmodified, with a token of its own.

use std::path::Path;

use crate::host::PATIENCE;
use crate::{Network, Running, free_port, program};

/// What JupyterLab wants to see in `Authorization`.
pub const OWN_TOKEN: &str = "token jupyters-own-token";

/// A running JupyterLab. Dropping it stops it, with its kernels.
#[derive(Debug)]
pub struct Jupyter {
    _running: Running,
    url: String,
}

impl Jupyter {
    /// Starts one that shows the folder `root`, and waits until it listens; in a network, or the test's own.
    ///
    /// It is started as the documents tell a user to: any `Host` is allowed, since devices call it by another address.
    pub async fn start(home: &Path, root: &Path, network: Option<&Network>) -> Self {
        let url = format!("http://127.0.0.1:{}", free_port());
        let mut command = program::python();
        command.args(["-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]);
        command.args(["--ServerApp.port_retries=0", "--ServerApp.allow_remote_access=True"]);
        command.arg(format!("--port={}", url.rsplit_once(':').unwrap().1));
        command.arg(format!("--ServerApp.root_dir={}", root.display()));
        command.arg(format!("--IdentityProvider.{}", OWN_TOKEN.replace(' ', "=")));
        command.env("HOME", home).env("JUPYTER_PLATFORM_DIRS", "0").env("JUPYTER_RUNTIME_DIR", home.join("runtime"));
        if let Some(network) = network {
            command = network.within(&command);
        }
        let running = Running::start(command);
        running.wait_for_error_line(2 * PATIENCE, |line| line.contains("is running at")).await;
        Jupyter { _running: running, url }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}
