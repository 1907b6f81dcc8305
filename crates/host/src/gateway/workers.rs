//! The threads that serve a gateway's clients.
//!
//! A client's connection stays on one thread, with its own connections to the app: measured with two of them, a
//! request costs a sixth less than on the shared runtime, where either thread may pick up either end. Accepted
//! connections are handed to the thread that has the fewest; `SO_REUSEPORT` would deal them by hash, unevenly.

use std::net::TcpStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::forward::Forwarder;
use super::headers::Peer;
use super::listener;
use crate::slots;

/// A home server's gateway is not busier than this many threads.
const WORKERS_MAX: usize = 4;
/// How often idle connections to the app are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);

/// A client's connection on its way to a thread.
pub(super) struct Job {
    pub(super) stream: StdStream,
    pub(super) peer: Peer,
    pub(super) head_within: Duration,
    /// Ends the connection once it is idle.
    pub(super) stopping: CancellationToken,
    /// Ends it at once.
    pub(super) cut: CancellationToken,
    pub(super) slot: Slot,
}

/// One of the connections that a listener may have; given back when dropped.
pub(super) struct Slot {
    pub(super) _place: slots::Slot,
    /// Closes when the last of a listener's connections is gone.
    pub(super) _open: mpsc::Sender<()>,
}

/// The threads of one gateway. They end when this is dropped, with whatever they still serve.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    load: Arc<AtomicUsize>,
    #[cfg(test)]
    forwarder: Arc<Forwarder>,
}

impl Workers {
    /// As many threads as there are cores, within reason.
    pub(super) fn count() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX)
    }

    /// Starts `count` threads, each with a forwarder of its own.
    pub(super) fn start(count: usize, forwarder: impl Fn() -> Forwarder) -> std::io::Result<Self> {
        (0..count).map(|_| Worker::start(Arc::new(forwarder()))).collect::<Result<_, _>>().map(Workers)
    }

    /// Hands a connection to the thread that has the fewest.
    pub(super) fn serve(&self, job: Job) {
        if let Some(worker) = self.0.iter().min_by_key(|worker| worker.load.load(Ordering::Relaxed)) {
            worker.load.fetch_add(1, Ordering::Relaxed);
            let _ = worker.jobs.send(job);
        }
    }

    /// How many connections they serve.
    #[cfg(test)]
    pub(super) fn load(&self) -> usize {
        self.0.iter().map(|worker| worker.load.load(Ordering::Relaxed)).sum()
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> &Forwarder {
        &self.0[0].forwarder
    }
}

impl Worker {
    fn start(forwarder: Arc<Forwarder>) -> std::io::Result<Self> {
        // Unbounded, but each job holds a slot of its listener's.
        let (jobs, queue) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        let worker = Worker {
            jobs,
            load: load.clone(),
            #[cfg(test)]
            forwarder: forwarder.clone(),
        };
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let run = move || runtime.block_on(work(queue, forwarder, load));
        std::thread::Builder::new().name("couplet-gateway".to_owned()).spawn(run)?;
        Ok(worker)
    }
}

/// Serves what comes until the queue is closed; then everything still open is dropped.
async fn work(mut queue: mpsc::UnboundedReceiver<Job>, forwarder: Arc<Forwarder>, load: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => drop(connections.spawn(connection(job, forwarder.clone()))),
                None => return,
            },
            Some(_) = connections.join_next() => drop(load.fetch_sub(1, Ordering::Relaxed)),
            _ = sweep.tick() => forwarder.pool.sweep(),
        }
    }
}

async fn connection(job: Job, forwarder: Arc<Forwarder>) {
    let Job { stream, peer, head_within, stopping, cut, slot } = job;
    match TcpStream::from_std(stream) {
        Ok(stream) => listener::serve(forwarder, stream, peer, head_within, stopping, cut).await,
        Err(error) => tracing::warn!(target: "couplet::gateway", %error, "cannot serve a connection"),
    }
    drop(slot);
}
