//! Room on the disk of the state folder.

use std::path::Path;

use couplet_protocol::Code;
use couplet_protocol::api::{Finding, Part};
use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::folder::quoted;
use super::{Patient, failed, ok, skipped, warning};

const PART: Part = Part::Disk;
const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;
/// Below this the database's log has no room to grow, in bytes.
const LEAST: u64 = 8 * MIB;
/// Below this it is time to look, in bytes.
const LITTLE: u64 = 128 * MIB;
/// The same for files.
const LEAST_FILES: u64 = 16;
const FEW_FILES: u64 = 1000;

pub(super) fn look(patient: Patient<'_>) -> Vec<Finding> {
    let folder = patient.folder();
    // The folder may not be there yet; then its disk is that of the next one above it.
    let place = folder.ancestors().find(|place| place.exists()).unwrap_or(folder);
    match rustix::fs::statvfs(place) {
        Ok(disk) => judge(place, &disk),
        Err(error) => vec![
            skipped(PART, format!("{} does not say how much room it has", place.display()))
                .because(format!("{error}.")),
        ],
    }
}

fn judge(place: &Path, disk: &StatVfs) -> Vec<Finding> {
    let shown = place.display();
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let finding = failed(PART, format!("The disk of {shown} is read-only"));
        let finding = finding.because("It was mounted so, or the system made it so after a fault: its log says which.");
        return vec![finding.run(format!("findmnt -T {}", quoted(place))).see(Code::StoreReadOnly)];
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let mut found = vec![space(place, free)];
    // Some file systems count no files.
    if disk.f_files > 0 {
        found.extend(files(place, disk.f_favail));
    }
    found
}

fn space(place: &Path, free: u64) -> Finding {
    let size = if free < 10 * GIB { format!("{} MiB", free / MIB) } else { format!("{} GiB", free / GIB) };
    let found = format!("{size} are free on the disk of {}", place.display());
    let command = format!("df -h {}", quoted(place));
    let next = "Free some space; the host recovers by itself.";
    match free {
        LITTLE.. => ok(PART, found),
        LEAST.. => warning(PART, format!("Only {found}")).then(next).run(command).see(Code::DiskFull),
        _ => {
            let finding = failed(PART, format!("Only {found}"));
            let finding = finding.because("Nothing new can be written down: no pairing, no revocation.");
            finding.then(next).run(command).see(Code::DiskFull)
        }
    }
}

fn files(place: &Path, free: u64) -> Option<Finding> {
    let found = format!("Only {free} files more can be made on the disk of {}", place.display());
    let finding = match free {
        FEW_FILES.. => return None,
        LEAST_FILES.. => warning(PART, found),
        _ => failed(PART, found).because("The database's log and the files of a start have no place."),
    };
    let finding = finding.about("inodes").then("Remove files that nobody needs.");
    Some(finding.run(format!("df -i {}", quoted(place))).see(Code::DiskFull))
}

#[cfg(test)]
mod tests {
    use couplet_protocol::api::FindingState;

    use super::*;

    #[test]
    fn little_room_is_a_warning_and_none_is_a_failure() {
        let place = Path::new("/state folder");
        let of = |free| space(place, free).state;
        assert_eq!([LITTLE, LITTLE - 1, LEAST, LEAST - 1, 0].map(of), {
            use FindingState::{Failed, Ok, Warning};
            [Ok, Warning, Warning, Failed, Failed]
        });
        assert_eq!(space(place, 0).command.unwrap(), "df -h '/state folder'");
        let of = |free| files(place, free).map(|finding| finding.state);
        assert_eq!(
            [FEW_FILES, FEW_FILES - 1, 0].map(of),
            [None, Some(FindingState::Warning), Some(FindingState::Failed)]
        );
    }
}
