//! Which certificates the listeners show, and when they change.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use couplet_phone::certificate::{Shown, from_files};
use couplet_protocol::RelayName;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::authority::{Authority, host_of};
use crate::config::Config;
use crate::shared::Shared;
use crate::tls::{self, ByName, TlsError};

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How often the relay's own certificates are made anew.
const RENEW: Duration = Duration::from_secs(24 * 3600);

/// What the two listeners show.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    pub(super) devices: Arc<ByName>,
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
        let own = |apps| tls::issued(authority, &names, apps, now);
        let devices = Shown::new(if config.dev { own(config.apps())? } else { of_files(config, names[0], now)? });
        let apps = match config.apps() {
            // The relay's own is for them as well.
            Some(domain) if config.dev => Some((below(domain), Arc::clone(&devices))),
            Some(domain) => Some((below(domain), Shown::new(of_apps(config, domain, now)?))),
            None => None,
        };
        Ok(Certificates { devices: Arc::new(ByName { devices, apps }), hosts: Shown::new(own(None)?) })
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
                self.make_again(&shared, &config);
            }
        }
    }

    /// One that is half-written, has ended or is for another name is not shown: the one before stays, and the files are read
    /// again when they change.
    fn read_again(&self, shared: &Shared, config: &Config) {
        let now = shared.clock.now();
        let mut read = vec![(&self.devices.devices, of_files(config, &shared.name, now))];
        if let (Some((_, shown)), Some(domain)) = (&self.devices.apps, config.apps()) {
            read.push((shown, of_apps(config, domain, now)));
        }
        for (shown, read) in read {
            match read {
                Ok(key) => {
                    shown.exchange(key);
                    tracing::info!(target: "couplet::relay", "certificate.read");
                }
                Err(error) => tracing::warn!(target: "couplet::relay", %error, "the certificate stays as it was"),
            }
        }
    }

    fn make_again(&self, shared: &Shared, config: &Config) {
        let own = |apps| tls::issued(&shared.authority, &[&shared.name, &shared.hosts_name], apps, shared.clock.now());
        let devices = config.dev.then_some((&self.devices.devices, config.apps()));
        for (shown, apps) in std::iter::once((&self.hosts, None)).chain(devices) {
            match own(apps) {
                Ok(key) => shown.exchange(key),
                Err(error) => tracing::warn!(target: "couplet::relay", %error, "the certificate stays"),
            }
        }
    }
}

fn of_files(config: &Config, name: &RelayName, now: Timestamp) -> Result<rustls::sign::CertifiedKey, TlsError> {
    Ok(from_files(&config.tls_cert, &config.tls_key, &[host_of(name)], now)?)
}

/// The certificate for every app: of its own files, or the relay's own, which must then be for these names as well.
fn of_apps(config: &Config, domain: &str, now: Timestamp) -> Result<rustls::sign::CertifiedKey, TlsError> {
    let own = !config.apps_cert.as_os_str().is_empty();
    let (cert, key) = if own { (&config.apps_cert, &config.apps_key) } else { (&config.tls_cert, &config.tls_key) };
    Ok(from_files(cert, key, &[&format!("any{}", below(domain))], now)?)
}

/// How the names of apps end.
fn below(domain: &str) -> String {
    format!(".{domain}")
}

/// When the files were last changed.
fn modified(config: &Config) -> [Option<SystemTime>; 4] {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    [&config.tls_cert, &config.tls_key, &config.apps_cert, &config.apps_key].map(|path| modified(path))
}
