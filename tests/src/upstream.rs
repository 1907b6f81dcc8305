//! An app by hand: the test itself reads and writes the bytes of each connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::host::PATIENCE;

/// How long nothing moves until it counts as held back.
pub const STILL: Duration = Duration::from_secs(1);

/// Where the app listens. Connections wait in the kernel until the test takes them.
#[derive(Debug)]
pub struct Upstream(TcpListener);

/// A connection whose request's head has come.
#[derive(Debug)]
pub struct Exchange {
    /// The head, without the empty line.
    pub head: String,
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Upstream {
    /// Listens on a free port.
    pub async fn start() -> Self {
        Upstream(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// The next connection with the head of its request. Answer with `Connection: close`, else the host uses it again.
    pub async fn next(&self) -> Exchange {
        let (stream, _) = timeout(PATIENCE, self.0.accept()).await.expect("nothing reached the app").unwrap();
        let mut exchange = Exchange { head: String::new(), stream, ahead: Vec::new() };
        let head = exchange.until("\r\n\r\n").await;
        head.trim_end().clone_into(&mut exchange.head);
        exchange
    }

    /// Whether a connection waits now.
    pub async fn has_next(&self) -> bool {
        // Accepting would take it; whoever asks wants none.
        timeout(Duration::ZERO, self.0.accept()).await.is_ok()
    }
}

impl Exchange {
    /// Reads until `wanted` has come, and returns everything up to its end.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = self.ahead.windows(wanted.len()).position(|bytes| bytes == wanted.as_bytes()) {
                let rest = self.ahead.split_off(at + wanted.len());
                return String::from_utf8_lossy(&std::mem::replace(&mut self.ahead, rest)).into_owned();
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.ahead)).await;
            let read = read.unwrap_or_else(|_| panic!("{wanted:?} did not come: {:?}", self.ahead)).unwrap();
            assert!(read > 0, "an end instead of {wanted:?}: {:?}", String::from_utf8_lossy(&self.ahead));
        }
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Answers with a whole body, and closes.
    pub async fn answer(mut self, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")).await;
    }

    /// Sends until nobody takes any more, at most so much; how much it was.
    pub async fn fill(&mut self, most: usize) -> usize {
        let (bytes, mut sent) = ([b'x'; 64 * 1024], 0);
        while sent < most {
            match timeout(STILL, self.stream.write(&bytes)).await {
                Ok(taken) => sent += taken.unwrap(),
                Err(_) => break,
            }
        }
        sent
    }

    /// Ends this side.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// All that still comes, and whether it ends in good order.
    pub async fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut rest = std::mem::take(&mut self.ahead);
        let end = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("it does not end");
        (rest, end.map(drop))
    }

    /// Breaks the connection, as an app that crashes does.
    pub fn break_off(self) {
        self.stream.set_zero_linger().unwrap();
    }
}
