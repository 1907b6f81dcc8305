//! The state folder, and who can read the secrets in it.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};

use super::{Patient, failed, ok, skipped};
use crate::start;

const PART: Part = Part::Folder;

pub(super) fn look(patient: Patient<'_>) -> Vec<Finding> {
    let folder = patient.folder();
    let metadata = match fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound && patient.core.is_none() => {
            return vec![skipped(PART, format!("{} is not there: the first start makes it", folder.display()))];
        }
        Err(error) => return vec![unreadable(folder, &error)],
    };
    let me = rustix::process::geteuid().as_raw();
    let mut found: Vec<Finding> = complaint(folder, &metadata, me).into_iter().collect();
    // What is in a folder of somebody else is not ours to judge.
    if metadata.uid() == me {
        let paths = start::FILES.iter().map(|name| folder.join(name));
        let present = paths.filter_map(|path| Some((fs::metadata(&path).ok()?, path)));
        found.extend(present.filter_map(|(metadata, path)| complaint(&path, &metadata, me)));
        found.extend(secrets(patient, folder));
    }
    if found.is_empty() {
        found.push(ok(PART, format!("{} and the secrets in it are for this user alone", folder.display())));
    }
    found
}

/// What is wrong with who can use a file or the folder.
fn complaint(path: &Path, metadata: &Metadata, me: u32) -> Option<Finding> {
    let shown = path.display();
    let name = quoted(path);
    if metadata.uid() != me {
        let found = format!("{shown} belongs to user {}, and this is user {me}", metadata.uid());
        let finding = failed(PART, found).because("Another user could have put a key of their own there.");
        let next = "Run this as the user that runs the host; or, if the folder is to be this user's, take it over.";
        return Some(finding.about(shown.to_string()).then(next).run(format!("sudo chown -R {me} {name}")).see(CODE));
    }
    let open = metadata.mode() & 0o077;
    if open == 0 {
        return None;
    }
    let (mode, private) = (metadata.mode() & 0o777, if metadata.is_dir() { "0700" } else { "0600" });
    let finding = failed(PART, format!("Other users can use {shown} (its mode is {mode:04o})"));
    let finding = finding.because("It was copied or changed with other permissions; it holds secrets.");
    let next = "Close it. If others may have read it, revoke the devices, and pair them anew.";
    Some(finding.about(shown.to_string()).then(next).run(format!("chmod {private} {name}")).see(CODE))
}

const CODE: Code = Code::StateFolderUnusable;

/// Whether the secrets can be read as what they are.
fn secrets(patient: Patient<'_>, folder: &Path) -> Vec<Finding> {
    let read = [
        ("admin-token", start::read_admin_token(&folder.join("admin-token")).map(|token| token.is_some())),
        ("host.key", start::read_host_key(&folder.join("host.key")).map(|key| key.is_some())),
    ];
    let found = read.into_iter().filter_map(|(name, read)| match read {
        Ok(true) => None,
        Ok(false) if patient.core.is_none() => None,
        Ok(false) => {
            let found = format!("{name} is gone from {}", folder.display());
            let next = "Restore it from a backup before the host stops: its next start makes another, and then what is \
                        paired by the old one is locked out.";
            Some(
                failed(PART, found)
                    .because("Somebody removed it while the host runs.")
                    .about(name)
                    .then(next)
                    .see(CODE),
            )
        }
        Err(error) => Some(unreadable(&folder.join(name), &error).about(name)),
    });
    found.collect()
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    // Our own texts say what to do already.
    if error.kind() == ErrorKind::InvalidData {
        let finding = failed(PART, format!("{} cannot be used", path.display())).because(format!("{error}."));
        return finding.then("Stop the host before, and start it again then.").run("couplet serve").see(CODE);
    }
    let finding = failed(PART, format!("{} cannot be read", path.display())).because(format!("{error}."));
    let next = "Run this as the user that runs the host, or give the folder to this one.";
    finding.then(next).run(format!("ls -ld {}", quoted(path))).see(CODE)
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,~".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
