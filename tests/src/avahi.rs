//! Another browser of what hosts say of themselves on a network: Avahi, with a message bus of its own.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::host::PATIENCE;
use crate::{Network, Running, program};

/// Avahi keeps its socket and its process id in one place: each has that for itself.
const SCRIPT: &str = "mkdir -p /run/avahi-daemon && mount -t tmpfs tmpfs /run/avahi-daemon && exec \"$@\"";

/// An Avahi in a network. Dropping it ends it.
#[derive(Debug)]
pub struct Avahi<'a> {
    network: &'a Network,
    folder: TempDir,
    _bus: Running,
    _daemon: Running,
}

impl<'a> Avahi<'a> {
    /// Starts one at the interface `lan0` of this network, with IPv4.
    pub async fn start(network: &'a Network) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bus_file, file) = (folder.path().join("bus.conf"), folder.path().join("avahi.conf"));
        let socket = folder.path().join("bus");
        let everything = r#"<allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>"#;
        let listen = socket.display();
        std::fs::write(
            &bus_file,
            format!(
                "<busconfig><type>system</type><listen>unix:path={listen}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\">{everything}</policy></busconfig>"
            ),
        )
        .unwrap();
        std::fs::write(&file, "[server]\nhost-name=browser\nuse-ipv6=no\nallow-interfaces=lan0\nenable-dbus=yes\n")
            .unwrap();
        let dbus = program::path().join("dbus-daemon");
        let configuration = format!("--config-file={}", bus_file.display());
        let arguments = [configuration.as_str(), "--nofork", "--nopidfile", "--print-address=1"];
        let bus = Running::start(network.exec(dbus.as_os_str(), &arguments));
        bus.wait_for_line(PATIENCE, |line| line.starts_with("unix:")).await;
        let mut daemon = network.exec(program::path().join("unshare").as_os_str(), &["-m"]);
        daemon.arg(program::path().join("bash")).args(["-c", SCRIPT, "bash"]).arg(program::path().join("avahi-daemon"));
        daemon.arg("-f").arg(&file).args(["--no-drop-root", "--no-chroot", "--no-rlimits"]);
        let daemon = Running::start(at(daemon, &socket));
        daemon.wait_for_error_line(PATIENCE, |line| line.contains("Server startup complete")).await;
        Avahi { network, folder, _bus: bus, _daemon: daemon }
    }

    /// Follows the services of Couplet: a line for each that comes (`+`), is resolved (`=`) and goes (`-`). With `-t` in
    /// `options` it ends once it has told of those that are there.
    #[must_use]
    pub fn browse(&self, options: &str) -> Running {
        Running::start(self.command("avahi-browse", &[options, "_couplet._tcp"]))
    }

    /// Publishes a service of Couplet.
    pub async fn publish(&self, args: &[&str]) -> Running {
        let published = Running::start(self.command("avahi-publish", args));
        published.wait_for_error_line(PATIENCE, |line| line.starts_with("Established")).await;
        published
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        at(self.network.exec(program::path().join(name).as_os_str(), args), &self.folder.path().join("bus"))
    }
}

fn at(mut command: Command, socket: &Path) -> Command {
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", socket.display()));
    command
}
