//! A real identity provider: oidc-provider, with a key and a clock of its own.

use tempfile::TempDir;

use crate::host::{PATIENCE, set_clock, with_wrong_clock};
use crate::program::identity_provider;
use crate::{Running, program};

/// A running provider of the accounts `ann` and `bob`. Its tokens are for the audience `couplet` and last ten minutes.
#[derive(Debug)]
pub struct Provider {
    folder: TempDir,
    running: Running,
    issuer: String,
}

impl Provider {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_at(0).await
    }

    async fn start_at(port: u16) -> Self {
        let (folder, mut command) = (tempfile::tempdir().unwrap(), identity_provider(port));
        with_wrong_clock(&mut command, folder.path(), "+0");
        let running = Running::start(command);
        let line = running.wait_for_line(PATIENCE, |line| line.starts_with("issuer ")).await;
        Provider { folder, running, issuer: line["issuer ".len()..].to_owned() }
    }

    /// It starts again at the same address, with another key.
    pub async fn restart(mut self) -> Self {
        self.running.kill().await;
        let port = self.issuer.rsplit(':').next().unwrap().parse().unwrap();
        let again = Self::start_at(port).await;
        assert_eq!(again.issuer, self.issuer);
        again
    }

    /// Ends it.
    pub async fn kill(&mut self) {
        self.running.kill().await;
    }

    /// Its issuer URL.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What it gives to `ann` or `bob`.
    pub async fn token(&self, who: &str) -> String {
        let mut curl = program("curl");
        curl.args(["--silent", "--show-error", "--fail", "--user", &format!("{who}:{who}-secret")]);
        curl.args(["--data", "grant_type=client_credentials", "--data", "resource=urn:couplet:relay"]);
        curl.arg(format!("{}/token", self.issuer));
        let answer = Running::start(curl).succeeds(PATIENCE).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// What it gave so long ago that nobody takes it any more.
    pub async fn expired_token(&self, who: &str) -> String {
        set_clock(self.folder.path(), "-12m");
        let token = self.token(who).await;
        set_clock(self.folder.path(), "+0");
        token
    }
}
