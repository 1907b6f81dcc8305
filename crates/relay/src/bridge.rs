//! The bridge: copies bytes between the two ends of a session, verbatim and unread.
//!
//! There is no frame parser here. A session that is idle holds nothing of what went through it, and one whose reader stands
//! still holds a [`CHUNK`] and as much again within TLS, a direction: 64 KiB.

mod copy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use couplet_protocol::relay::EARLY_MAX;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::copy::{CHUNK, Way, copy};
use crate::quota::Quota;
use crate::sockets::Socket;
use crate::wire::Tls;

/// How long the last bytes may take to leave once one end is gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// One end of a session, after its upgrade.
#[derive(Debug)]
pub(crate) struct End {
    /// The connection.
    pub(crate) tls: Box<Tls>,
    /// What it sent before there was another end.
    pub(crate) early: Vec<u8>,
    /// Its place among the connections.
    pub(crate) _socket: Arc<Socket>,
}

/// Waits for the other end. Meanwhile at most [`EARLY_MAX`] bytes are taken, so that an end that goes away is noticed.
/// None when the session is over before it began.
pub(crate) async fn wait(mut end: End, other: oneshot::Receiver<End>, cut: &CancellationToken) -> Option<(End, End)> {
    let other = hold(&mut end.tls, &mut end.early, other, cut).await?;
    Some((end, other))
}

/// Takes what comes, as much as may be early, until there is the other end.
async fn hold<T>(
    from: &mut (impl AsyncRead + Unpin),
    early: &mut Vec<u8>,
    mut other: oneshot::Receiver<T>,
    cut: &CancellationToken,
) -> Option<T> {
    let mut chunk = [0; 1024];
    loop {
        let room = EARLY_MAX.saturating_sub(early.len()).min(chunk.len());
        tokio::select! {
            biased;
            () = cut.cancelled() => return None,
            other = &mut other => return other.ok(),
            read = from.read(&mut chunk[..room]), if room > 0 => match read {
                Ok(len) if len > 0 => early.extend_from_slice(&chunk[..len]),
                _ => return None,
            },
        }
    }
}

/// How many bytes went each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) to_host: u64,
    pub(crate) to_device: u64,
}

/// Copies until either end ends, or `cut` fires; then both are closed. `tell` learns of the bytes as they pass.
pub(crate) async fn run(
    mut device: End,
    mut host: End,
    quotas: &[Arc<Quota>],
    cut: &CancellationToken,
    tell: impl Fn(usize),
) -> Carried {
    for end in [&mut device, &mut host] {
        end.tls.get_mut().1.set_buffer_limit(Some(CHUNK));
    }
    let mut ways = [Way::new(std::mem::take(&mut device.early)), Way::new(std::mem::take(&mut host.early))];
    let passed = |len| {
        tell(len);
        charge(quotas, len)
    };
    let copied = copy(device.tls.as_mut(), host.tls.as_mut(), &mut ways, &passed);
    if cut.run_until_cancelled(copied).await.is_some() {
        let farewell = async { tokio::join!(device.tls.shutdown(), host.tls.shutdown()) };
        let _ = cut.run_until_cancelled(tokio::time::timeout(FAREWELL, farewell)).await;
    }
    Carried { to_host: ways[0].carried, to_device: ways[1].carried }
}

fn charge(quotas: &[Arc<Quota>], len: usize) -> Duration {
    if quotas.is_empty() {
        return Duration::ZERO;
    }
    let now = Instant::now();
    quotas.iter().map(|quota| quota.charge(len, now)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits with a connection on which so many bytes have come; what was taken, and the rest of the connection.
    async fn held(sent: usize, already: usize) -> (Vec<u8>, tokio::io::DuplexStream) {
        let (mut far, mut near) = tokio::io::duplex(64 * 1024);
        let bytes: Vec<u8> = (0..sent).map(|n| n.to_le_bytes()[0]).collect();
        far.write_all(&bytes).await.unwrap();
        let (come, other) = oneshot::channel();
        let (cut, mut early) = (CancellationToken::new(), vec![0; already]);
        let comes = async {
            // Whatever there is to take is taken by then: nothing but this test runs on the clock.
            tokio::time::sleep(Duration::from_secs(20)).await;
            come.send("the other end").unwrap();
        };
        let (waited, ()) = tokio::join!(hold(&mut near, &mut early, other, &cut), comes);
        assert_eq!(waited, Some("the other end"));
        drop(far);
        (early, near)
    }

    #[tokio::test(start_paused = true)]
    async fn early_bytes_are_held_up_to_eight_kibibytes_and_the_rest_waits_in_its_order() {
        for (sent, already) in [(20_000, 0), (20_000, 3_000), (20_000, EARLY_MAX), (EARLY_MAX, 0), (100, 0)] {
            let (early, mut near) = held(sent, already).await;
            assert_eq!(early.len(), (already + sent).min(EARLY_MAX), "{sent} and {already}");
            let mut all = early[already..].to_vec();
            near.read_to_end(&mut all).await.unwrap();
            assert!(all.len() == sent && all.iter().enumerate().all(|(n, byte)| *byte == n.to_le_bytes()[0]));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_that_leaves_or_is_cut_waits_no_longer() {
        let (far, mut near) = tokio::io::duplex(64);
        let ((_come, other), cut) = (oneshot::channel::<()>(), CancellationToken::new());
        drop(far);
        assert_eq!(hold(&mut near, &mut Vec::new(), other, &cut).await, None);
        let (_far, mut near) = tokio::io::duplex(64);
        let (_come, other) = oneshot::channel::<()>();
        cut.cancel();
        assert_eq!(hold(&mut near, &mut Vec::new(), other, &cut).await, None);
    }
}
