//! Bytes through open flows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::between::Flow;
use crate::process::Process;

/// How long bytes flow before anything is measured.
const WARM: Duration = Duration::from_millis(300);
const PING: usize = 1024;

/// Messages of so many bytes, as many as pass; every other flow goes the other way.
pub(crate) async fn run(name: &str, pid: u32, flows: Vec<Flow>, bytes: usize, time: Duration) {
    let (process, arrived) = (Process::new(pid), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for (n, (one, other)) in flows.into_iter().enumerate() {
        let (mut from, mut to) = if n % 2 == 0 { (one, other) } else { (other, one) };
        let arrived = Arc::clone(&arrived);
        tasks.spawn(async move {
            let message = vec![7; bytes];
            while from.write_all(&message).await.is_ok() && from.flush().await.is_ok() {}
        });
        tasks.spawn(async move {
            let mut chunk = vec![0; 256 * 1024];
            while let Ok(len @ 1..) = to.read(&mut chunk).await {
                arrived.fetch_add(len as u64, Ordering::Relaxed);
            }
        });
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

/// One message there, and back, and again.
pub(crate) async fn rounds(name: &str, pid: u32, mut flows: Vec<Flow>, time: Duration) {
    let process = Process::new(pid);
    let (mut one, mut other) = flows.swap_remove(0);
    tokio::spawn(async move {
        let mut message = [0; PING];
        while other.read_exact(&mut message).await.is_ok() {
            if other.write_all(&message).await.is_err() || other.flush().await.is_err() {
                return;
            }
        }
    });
    let mut message = [7; PING];
    let warm = WARM.min(time);
    let mut measured = (0.0, 0_u32, Instant::now());
    let (start, mut rounds) = (Instant::now(), 0);
    while start.elapsed() < warm + time {
        one.write_all(&message).await.unwrap();
        one.flush().await.unwrap();
        one.read_exact(&mut message).await.unwrap();
        rounds += 1;
        if measured.1 == 0 && start.elapsed() >= warm {
            measured = (process.cpu(), rounds, Instant::now());
        }
    }
    let done = f64::from(rounds - measured.1);
    let (cpu, took) = (process.cpu() - measured.0, measured.2.elapsed().as_secs_f64());
    println!("{name}/rounds {:.2} {:.1}", cpu / done * 1e6, took / done * 1e6);
}
