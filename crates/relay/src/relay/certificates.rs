//! Which certificates the listeners show, and when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use couplet_protocol::RelayName;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::authority::Authority;
use crate::config::Config;
use crate::shared::Shared;
use crate::tls::{self, Shown, TlsError};

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often the relay's own certificates are made anew.
const RENEW: Duration = Duration::from_secs(24 * 3600);

/// What the two listeners show.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    pub(super) devices: Arc<Shown>,
    pub(super) hosts: Arc<Shown>,
}

impl Certificates {
    /// Those of a relay that starts, under these names.
    pub(super) fn new(
        config: &Config,
        authority: &Authority,
        names: [&RelayName; 2],
        now: Timestamp,
    ) -> Result<Self, TlsError> {
        let own = || tls::issued(authority, &names, now);
        let devices = if config.dev { own()? } else { of_files(config, names[0], now)? };
        Ok(Certificates { devices: Shown::new(devices), hosts: Shown::new(own()?) })
    }

    /// Shows new ones in time: those in files when they have changed or on SIGHUP, the relay's own every day.
    pub(super) async fn renew(self, shared: Arc<Shared>, config: Config) {
        let mut hang_up = signal(SignalKind::hangup()).ok();
        let (mut seen, mut made) = (modified(&config), Instant::now());
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                Some(()) = async { hang_up.as_mut()?.recv().await } => true,
            };
            let files = modified(&config);
            if !config.dev && (asked || files != seen) {
                self.read_again(&shared, &config);
                seen = files;
            }
            if made.elapsed() >= RENEW {
                made = Instant::now();
                self.make_again(&shared, config.dev);
            }
        }
    }

    /// One that is half-written, has ended or is for another name is not shown: the one before stays, and the files are read
    /// again when they change.
    fn read_again(&self, shared: &Shared, config: &Config) {
        match of_files(config, &shared.name, shared.clock.now()) {
            Ok(key) => {
                self.devices.exchange(key);
                tracing::info!(target: "couplet::relay", "certificate.read");
            }
            Err(error) => tracing::warn!(target: "couplet::relay", %error, "the certificate stays as it was"),
        }
    }

    fn make_again(&self, shared: &Shared, dev: bool) {
        let own = || tls::issued(&shared.authority, &[&shared.name, &shared.hosts_name], shared.clock.now());
        for shown in std::iter::once(&self.hosts).chain(dev.then_some(&self.devices)) {
            match own() {
                Ok(key) => shown.exchange(key),
                Err(error) => tracing::warn!(target: "couplet::relay", %error, "the certificate stays"),
            }
        }
    }
}

fn of_files(config: &Config, name: &RelayName, now: Timestamp) -> Result<rustls::sign::CertifiedKey, TlsError> {
    tls::from_files(&config.tls_cert, &config.tls_key, name, now)
}

/// When the files were last changed.
fn modified(config: &Config) -> [Option<SystemTime>; 2] {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    [modified(&config.tls_cert), modified(&config.tls_key)]
}
