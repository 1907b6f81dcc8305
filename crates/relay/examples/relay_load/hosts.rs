//! Hosts that are there and do nothing: what each costs to come and to stay, and whether they are in the way of a command.
//!
//! It is told what to do by lines, and answers each with one:
//!
//! ```text
//! come COUNT          so many are there from now on   → KiB resident for each, µs of CPU for each that came
//! deliver COMMANDS    commands to one of them         → µs from a device's question to its host, the median
//! idle SECONDS        nothing                         → % of a core, KiB resident for each
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::number;
use crate::process::Process;
use crate::talk::{Identity, Room, Trust, subscribe, until};

/// So many come at a time.
const AT_ONCE: usize = 16;
/// Hosts of one address of this machine.
const GROUP: usize = 4_000;
/// What was needed to come is given back in this time.
const SETTLE: Duration = Duration::from_secs(2);

type Tls = TlsStream<TcpStream>;

/// Where they come to.
#[derive(Clone, Copy)]
enum Door {
    Relay { devices: u16, hosts: u16 },
    Broker { port: u16 },
}

struct Hosts {
    door: Door,
    process: Process,
    trust: Arc<Trust>,
    identities: Arc<Vec<Identity>>,
    /// The first, with its events: commands go to it.
    first: Tls,
    there: Vec<Tls>,
    /// What the process had with the first alone, in KiB.
    empty: f64,
}

pub(crate) async fn run(ports: &str, pid: u32, folder: &Path) {
    let door = match ports.split_once(':') {
        Some((devices, hosts)) => Door::Relay { devices: number(devices), hosts: number(hosts) },
        None => Door::Broker { port: number(ports) },
    };
    let (process, trust) = (Process::new(pid), Arc::new(Trust::new(folder)));
    let identities = Arc::new(Identity::all(folder));
    let first = come(door, &trust, &identities[0], 0).await;
    tokio::time::sleep(SETTLE).await;
    let empty = process.resident();
    let mut hosts = Hosts { door, process, trust, identities, first, there: Vec::new(), empty };
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        match line.split_once(' ').unwrap() {
            ("come", count) => hosts.come(number(count)).await,
            ("deliver", commands) => hosts.deliver(number(commands)).await,
            ("idle", seconds) => hosts.idle(number(seconds)).await,
            other => panic!("{other:?}"),
        }
    }
}

impl Hosts {
    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    async fn come(&mut self, count: usize) {
        let (cpu, had) = (self.process.cpu(), self.there.len());
        let mut coming = JoinSet::new();
        for n in had + 1..=count {
            if coming.len() == AT_ONCE {
                self.there.push(coming.join_next().await.unwrap().unwrap());
            }
            let (door, trust, identities) = (self.door, Arc::clone(&self.trust), Arc::clone(&self.identities));
            coming.spawn(async move { come(door, &trust, &identities[n], n).await });
        }
        self.there.extend(coming.join_all().await);
        let cpu = (self.process.cpu() - cpu) * 1e6 / (count - had) as f64;
        tokio::time::sleep(SETTLE).await;
        println!("{:.2} {cpu:.0}", self.each());
    }

    #[allow(clippy::cast_precision_loss, reason = "some thousands")]
    fn each(&self) -> f64 {
        (self.process.resident() - self.empty) / self.there.len() as f64
    }

    async fn idle(&self, seconds: u64) {
        let cpu = self.process.cpu();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        #[allow(clippy::cast_precision_loss, reason = "some seconds")]
        let percent = (self.process.cpu() - cpu) / seconds as f64 * 100.0;
        println!("{percent:.2} {:.2}", self.each());
    }

    async fn deliver(&mut self, commands: usize) {
        let Door::Relay { devices, hosts } = self.door else { panic!("brokers have no sessions") };
        let mut host = self.trust.host(&self.identities[0], hosts, 0).await;
        let mut device = self.trust.device(devices).await;
        let mut took = Vec::new();
        for n in 0..commands {
            // Each time another device's, since none may ask as often as this.
            let room = Room::new(n);
            room.put(&mut host).await;
            let start = Instant::now();
            let told = async {
                while !until(&mut self.first, "\n\n").await.contains("event: pair-cmd") {}
                start.elapsed()
            };
            let (_, told) = tokio::join!(room.ask(&mut device), told);
            took.push(told.as_secs_f64() * 1e6);
            room.remove(&mut host).await;
        }
        took.sort_by(f64::total_cmp);
        println!("{:.1}", took[commands / 2]);
    }
}

/// One more; the relay's stream of events, or the broker's of one topic.
async fn come(door: Door, trust: &Trust, host: &Identity, n: usize) -> Tls {
    let group = u8::try_from(n / GROUP).unwrap();
    match door {
        Door::Relay { hosts, .. } => {
            let mut stream = trust.host(host, hosts, group).await;
            subscribe(&mut stream).await;
            stream
        }
        Door::Broker { port } => {
            let mut stream = trust.host(host, port, group).await;
            listen(&mut stream, &format!("host-{n:05}")).await;
            stream
        }
    }
}

/// MQTT 3.1.1, 3.1 and 3.8: a clean session without keep-alive, and one topic at QoS 0.
async fn listen(stream: &mut Tls, id: &str) {
    let len = |more: usize| u8::try_from(more + id.len()).unwrap();
    let connect = [&[0x10, len(12)], b"\0\x04MQTT\x04\x02\0\0\0".as_slice(), &[len(0)], id.as_bytes()].concat();
    let subscribe = [&[0x82, len(5), 0, 1, 0, len(0)], id.as_bytes(), &[0]].concat();
    stream.write_all(&[connect, subscribe].concat()).await.unwrap();
    let mut answers = [0; 9];
    stream.read_exact(&mut answers).await.unwrap();
    assert_eq!((answers[0], answers[3], answers[4]), (0x20, 0, 0x90), "{answers:?}");
}
