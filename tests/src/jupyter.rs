//! A real app: JupyterLab, unmodified, with a token of its own.

use std::path::{Path, PathBuf};

use crate::host::PATIENCE;
use crate::{Machines, Network, Running, free_port, program};

/// What JupyterLab wants to see in `Authorization`.
pub const OWN_TOKEN: &str = "token jupyters-own-token";

/// A running JupyterLab. Dropping it stops it, with its kernels.
#[derive(Debug)]
pub struct Jupyter {
    _running: Running,
    url: String,
    root: PathBuf,
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
        Jupyter { _running: running, url, root: root.to_owned() }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Starts one on the host, and the host in front of it, as the documents say how.
    pub async fn behind(machines: &mut Machines) -> Self {
        let root = machines.folder().join("notebooks");
        std::fs::create_dir(&root).unwrap();
        let jupyter = Jupyter::start(machines.folder(), &root, Some(machines.near())).await;
        jupyter.serve(machines).await;
        jupyter
    }

    /// Starts the host in front of it, or starts it again.
    pub async fn serve(&self, machines: &mut Machines) {
        let config = machines.folder().join("config.toml");
        let app = format!("name = 'lab'\nupstream = '{}'\nheaders = {{ Authorization = '{OWN_TOKEN}' }}", self.url);
        std::fs::write(&config, format!("[[apps]]\n{app}\n")).unwrap();
        machines.serve(&["--config", config.to_str().unwrap()]).await;
    }

    /// The folder that it shows.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}
