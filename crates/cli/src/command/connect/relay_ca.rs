//! `--relay-ca`: whose certificate counts for a relay.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use couplet_client::{CredentialStore, HostId, RelayCa, StoreError};

use super::hosts::unusable;
use crate::failure::{Exit, Failure};

/// The longest file that is read, in bytes.
const FILE_MAX: u64 = 256 * 1024;

/// Reads the certificates of this file.
pub(in crate::command) fn read(path: &Path) -> Result<RelayCa, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX).read_to_string(&mut text));
    let read = read.map_err(|error| error.to_string());
    read.and_then(|_| RelayCa::parse(&text).map_err(|error| error.to_string())).map_err(|why| {
        let next = "Name a file with the certificate (PEM) of the relay's CA: its operator has it as ca.pem.";
        Failure::new(Exit::Usage, format!("--relay-ca {}: {why}", path.display()), next)
    })
}

/// Keeps them with all credentials of this host.
pub(super) fn keep(store: &dyn CredentialStore, host: &HostId, relay_ca: &RelayCa) -> Result<(), Failure> {
    let keep = || -> Result<(), StoreError> {
        // Finished ones first: saving them removes the others.
        for mut credentials in store.load(host)?.into_iter().rev() {
            credentials.relay_ca = Some(relay_ca.clone());
            store.save(&credentials)?;
        }
        Ok(())
    };
    keep().map_err(|error| unusable(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(read(&path).unwrap_err().title.contains("ca.pem"));
        std::fs::write(&path, "no certificate").unwrap();
        let failure = read(&path).unwrap_err();
        assert!(failure.title.contains("no certificate in PEM") && failure.exit == Exit::Usage, "{failure}");
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path).is_err());
    }
}
