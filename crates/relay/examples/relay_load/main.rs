//! Both ends of `bench/relay.sh`, and what it measures of the program between them: Couplet's relay or a peer.
//!
//! ```text
//! relay_load prepare STATE HOSTS FOLDER     enrols hosts in the store of a relay that is stopped; certificates
//! relay_load bridge LISTEN BACKEND          the relay's copy loop alone, without TLS
//! relay_load carry NAME WAY PID FOLDER FLOWS BYTES SECONDS    CPU seconds of the process for each GB that it carries
//! relay_load rounds NAME WAY PID FOLDER SECONDS               CPU time of the process for 1 KiB there and back
//! relay_load hosts PORTS PID FOLDER         hosts that are there and do nothing: see hosts.rs for what it is told
//! ```
//! `WAY` is `relay:DEVICES:HOSTS`, or `tls:PROXY:BACKEND` or `plain:PROXY:BACKEND` by ports of 127.0.0.1. `PORTS` is
//! `DEVICES:HOSTS` of a relay, or the port of an MQTT broker that asks for certificates. `FOLDER` is where `prepare` has
//! written.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark fails by panicking")]

// The very copy loop, which no crate shows.
mod between;
mod carry;
#[path = "../../src/bridge/copy.rs"]
mod copy;
mod hosts;
mod prepare;
mod process;
mod talk;

use std::path::Path;
use std::time::Duration;

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["prepare", state, hosts, folder] => prepare::run(Path::new(state), number(hosts), Path::new(folder)).await,
        ["bridge", listen, backend] => between::bridge(number(listen), number(backend)).await,
        ["carry", name, way, pid, folder, flows, bytes, seconds] => {
            let flows = between::Between::parse(way).open(Path::new(folder), number(flows)).await;
            let seconds = Duration::from_secs_f64(number(seconds));
            carry::run(name, number(pid), flows, number(bytes), seconds).await;
        }
        ["rounds", name, way, pid, folder, seconds] => {
            let flows = between::Between::parse(way).open(Path::new(folder), 1).await;
            carry::rounds(name, number(pid), flows, Duration::from_secs_f64(number(seconds))).await;
        }
        ["hosts", ports, pid, folder] => hosts::run(ports, number(pid), Path::new(folder)).await,
        _ => panic!("relay_load: see its first lines"),
    }
}
