//! What the kernel knows of a TCP connection.

use std::net::SocketAddr;

/// How many bytes wait at `local` to be sent to `peer`, or to be acknowledged by it: `/proc/net/tcp`, IPv4 only.
/// `None` when there is no such connection. It need not belong to a process: what a program has written and closed is
/// still sent.
#[must_use]
pub fn waiting_bytes(local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let (local, peer) = (written(local), written(peer));
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == local && fields.next()? == peer;
        let (_state, queues) = (fields.next()?, fields.next()?);
        is_it.then(|| u64::from_str_radix(queues.split(':').next()?, 16).ok()).flatten()
    })
}

/// `127.0.0.1:80` as `0100007F:0050`.
fn written(address: SocketAddr) -> String {
    let SocketAddr::V4(address) = address else { panic!("{address} is not IPv4") };
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;
    use crate::eventually;

    #[tokio::test]
    async fn unread_bytes_wait_at_the_sender_even_after_it_has_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let reader = TcpSocket::new_v4().unwrap();
        reader.set_recv_buffer_size(2048).unwrap();
        let reader = reader.connect(here).await.unwrap();
        let (mut sender, there) = listener.accept().await.unwrap();
        assert_eq!(waiting_bytes(here, there), Some(0));
        sender.write_all(&[0; 50_000]).await.unwrap();
        drop(sender);
        assert!(waiting_bytes(here, there).is_some_and(|bytes| (30_000..=50_000).contains(&bytes)));
        drop(reader);
        eventually("the connection is gone", Duration::from_secs(10), async || waiting_bytes(here, there).is_none())
            .await;
    }
}
