//! The relay's state folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// What the relay keeps in its folder.
const FILES: [&str; 4] = ["relay.redb", "ca.key", "ca.pem", "control.sock"];

/// Makes the folder, or checks that nobody else can have put anything into it. One that others can look into is closed
/// when it is empty or already ours, and refused when it holds other things: closing it could take them from someone.
pub(crate) fn keep_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let (metadata, me) = (fs::metadata(path)?, rustix::process::geteuid().as_raw());
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if metadata.uid() != me {
        return refused("it belongs to another user, who could have put a key of their own there".to_owned());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.metadata()?.uid() != me {
            return refused(format!(
                "{name} in it belongs to another user, who may have made it up: remove it, or chown it"
            ));
        }
        names.push(name);
    }
    if metadata.mode() & 0o077 != 0 {
        if !names.is_empty() && !names.iter().any(|name| FILES.contains(&name.as_str())) {
            return refused("other users can look into it, and it holds other files".to_owned());
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The text of a file of ours. None when there is no such file.
pub(crate) fn read_private(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole or not at all.
pub(crate) fn write_file(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part);
    let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
