//! Both ends of the comparison with iroh-relay in `bench/relay.sh`: bytes through its relay, by its own client.
//!
//! ```text
//! iroh-load NAME PORT PID FLOWS BYTES SECONDS    CPU seconds of the process for each GB that it carries
//! ```
//! It prints what `relay_load carry` prints. A flow is two clients, of which one sends datagrams to the other. A relay
//! of theirs drops what a client does not take in time, at 512 datagrams, and a dropped one would count as work and not
//! as carried; so no flow has more than [`WINDOW`] under way.

#[allow(dead_code, reason = "memory is not measured here")]
#[path = "../../../crates/relay/examples/relay_load/process.rs"]
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use iroh_base::{RelayUrl, SecretKey};
use iroh_dns::dns::DnsResolver;
use iroh_relay::client::{Client, ClientBuilder};
use iroh_relay::protos::relay::{ClientToRelayMsg, Datagrams, RelayToClientMsg};
use iroh_relay::tls::{CaTlsConfig, default_provider};
use tokio::sync::Semaphore;

use process::Process;

/// How many datagrams of a flow are under way at most.
const WINDOW: usize = 128;
/// How long bytes flow before anything is measured.
const WARM: Duration = Duration::from_millis(300);

fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

async fn connect(port: u16, key: SecretKey) -> Client {
    let url: RelayUrl = format!("http://127.0.0.1:{port}").parse().unwrap();
    let tls = CaTlsConfig::embedded().client_config(default_provider()).unwrap();
    let builder = ClientBuilder::new(url, key, DnsResolver::new()).tls_client_config(tls);
    builder.connect().await.unwrap()
}

/// One client that sends as much as passes, and one that takes it.
async fn flow(port: u16, bytes: usize, arrived: Arc<AtomicU64>) {
    let (from, to) = (SecretKey::generate(), SecretKey::generate());
    let dst_endpoint_id = to.public();
    let (mut taker, sender) = (connect(port, to).await, connect(port, from).await);
    let under_way = Arc::new(Semaphore::new(WINDOW));
    let free = Arc::clone(&under_way);
    tokio::spawn(async move {
        while let Some(Ok(message)) = taker.next().await {
            if let RelayToClientMsg::Datagrams { datagrams, .. } = message {
                arrived.fetch_add(datagrams.contents.len() as u64, Ordering::Relaxed);
                free.add_permits(1);
            }
        }
    });
    tokio::spawn(async move {
        // What comes to the sender is not read: it is over before the relay wants to know whether it is there.
        let (_stream, mut sink) = sender.split();
        let contents = Bytes::from(vec![7; bytes]);
        loop {
            under_way.acquire().await.unwrap().forget();
            let datagrams = Datagrams { ecn: None, segment_size: None, contents: contents.clone() };
            if sink.send(ClientToRelayMsg::Datagrams { dst_endpoint_id, datagrams }).await.is_err() {
                return;
            }
        }
    });
}

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let [name, port, pid, flows, bytes, seconds] = args.as_slice() else { panic!("iroh-load: see its first lines") };
    let (process, arrived) = (Process::new(number(pid)), Arc::new(AtomicU64::new(0)));
    let (bytes, time) = (number(bytes), Duration::from_secs_f64(number(seconds)));
    for _ in 0..number(flows) {
        flow(number(port), bytes, Arc::clone(&arrived)).await;
    }
    tokio::time::sleep(WARM.min(time)).await;
    let now = || (process.cpu(), arrived.load(Ordering::Relaxed), Instant::now());
    let before = now();
    tokio::time::sleep(time).await;
    let after = now();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53 bytes")]
    let carried = (after.1 - before.1) as f64 / 1e9;
    assert!(carried > 0.0, "{name}: nothing arrives");
    let rate = carried * 1e3 / (after.2 - before.2).as_secs_f64();
    println!("{name}/{bytes} {:.4} {rate:.0}", (after.0 - before.0) / carried);
}
