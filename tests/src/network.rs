//! A network of a test's own: a namespace with the interfaces that the test wants.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpListener;

use crate::host::PATIENCE;
use crate::{Running, program};

/// A network namespace in which only loopback is up. Dropping it removes it.
#[derive(Debug)]
pub struct Network(String);

impl Network {
    /// Makes one. Needs root.
    pub async fn new(name: &str) -> Self {
        let network = Network(format!("couplet-{name}-{}", std::process::id()));
        ip(&["netns", "add", &network.0]).await;
        network.ip("link set lo up").await;
        network
    }

    /// One that has the private address 192.168.77.5 besides loopback.
    pub async fn with_lan(name: &str) -> Self {
        let network = Network::new(name).await;
        network.ip("link add lan0 type veth peer name lan1").await;
        network.ip("address add 192.168.77.5/24 dev lan0").await;
        network.ip("link set lan0 up").await;
        network.ip("link set lan1 up").await;
        network
    }

    /// What the kernel calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip` in it.
    pub async fn ip(&self, args: &str) {
        ip(&[&["-n", &self.0], &*args.split(' ').collect::<Vec<_>>()].concat()).await;
    }

    /// Listens on a free port of 127.0.0.1 in it: a thread goes there, and what it opens stays there.
    #[must_use]
    pub fn listen(&self) -> TcpListener {
        let place = format!("/run/netns/{}", self.0);
        let bind = move || {
            let network = std::fs::File::open(place)?;
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            listener.set_nonblocking(true)?;
            std::io::Result::Ok(listener)
        };
        let listener = std::thread::spawn(bind).join().expect("the thread does not panic");
        TcpListener::from_std(listener.expect("the network takes a listener")).expect("a runtime is there")
    }

    /// A command that starts a program in it.
    #[must_use]
    pub fn exec(&self, program_name: &OsStr, args: &[&str]) -> Command {
        let mut ip = program("ip");
        ip.args(["netns", "exec", &self.0]).arg(program_name).args(args);
        ip
    }

    /// The same command, in it.
    #[must_use]
    pub fn within(&self, command: &Command) -> Command {
        let mut ip = self.exec(command.get_program(), &[]);
        ip.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => ip.env(name, value),
                None => ip.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            ip.current_dir(folder);
        }
        ip
    }
}

async fn ip(args: &[&str]) {
    let mut ip = program("ip");
    ip.args(args);
    Running::start(ip).succeeds(PATIENCE).await;
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut ip = program("ip");
        let _ = ip.args(["netns", "delete", &self.0]).status();
    }
}
