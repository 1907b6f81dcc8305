//! Bytes over a bare socket, for what no client library would send; and a server that keeps the bytes it gets.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::host::PATIENCE;
use crate::kernel;

/// A connection. Every wait on it is bounded.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    server: SocketAddr,
    unread: Vec<u8>,
}

/// An answer, taken apart.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its headers; the names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, by `Content-Length`, or all until the end.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

impl Raw {
    /// Connects to `http://host:port`.
    pub async fn connect(url: &str) -> Raw {
        Raw::over(TcpStream::connect(address(url)).await.unwrap())
    }

    /// As [`Raw::connect`], for a client whose kernel takes a few thousand bytes before somebody reads them.
    pub async fn connect_small(url: &str) -> Raw {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        Raw::over(socket.connect(address(url).parse().unwrap()).await.unwrap())
    }

    fn over(stream: TcpStream) -> Raw {
        Raw { server: stream.peer_addr().unwrap(), stream, unread: Vec::new() }
    }

    /// What the server's kernel holds for this client: [`kernel::waiting_bytes`].
    #[must_use]
    pub fn waiting_bytes(&self) -> Option<u64> {
        kernel::waiting_bytes(self.server, self.stream.local_addr().unwrap())
    }

    /// Sends bytes. A server that has refused already may have closed, which its answer tells better.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Reads until `wanted` has come, and returns everything up to its end.
    pub async fn until(&mut self, wanted: &str) -> String {
        loop {
            if let Some(at) = find(&self.unread, wanted.as_bytes()) {
                let rest = self.unread.split_off(at + wanted.len());
                let read = std::mem::replace(&mut self.unread, rest);
                return String::from_utf8_lossy(&read).into_owned();
            }
            let more = self.more().await;
            let read = String::from_utf8_lossy(&self.unread);
            assert!(matches!(more, Ok(n) if n > 0), "{wanted:?} did not come ({more:?}): {read}");
        }
    }

    /// Reads an answer: `None` when the connection ended instead.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at;
            }
            if !matches!(self.more().await, Ok(n) if n > 0) {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let header = |line: &str| line.split_once(": ").map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()));
        let mut answer = Answer {
            status: status.unwrap_or_else(|| panic!("no status line: {head}")),
            headers: lines.filter_map(header).collect(),
            body: Vec::new(),
        };
        let length = answer.header("content-length").map(|n| n.parse::<usize>().unwrap());
        while length.is_none_or(|length| self.unread.len() < length) && matches!(self.more().await, Ok(n) if n > 0) {}
        let length = length.unwrap_or(self.unread.len()).min(self.unread.len());
        answer.body = self.unread.drain(..length).collect();
        Some(answer)
    }

    /// Reads an answer.
    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the connection ended without an answer")
    }

    /// Reads on until the connection ends, and says how: whether in good order, or broken.
    ///
    /// # Errors
    /// It broke.
    pub async fn end(&mut self) -> io::Result<()> {
        while self.more().await? > 0 {
            self.unread.clear();
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads what there is, at least a byte unless the connection ends, and says how much.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn more(&mut self) -> io::Result<usize> {
        let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread)).await;
        read.unwrap_or_else(|_| panic!("nothing came, and no end: {}", String::from_utf8_lossy(&self.unread)))
    }
}

fn address(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

/// Sends one request on a connection of its own and reads its answer.
pub async fn ask(url: &str, request: impl AsRef<[u8]>) -> Answer {
    let mut connection = Raw::connect(url).await;
    connection.send(request).await;
    connection.answer().await
}

/// A server that answers each connection with the same bytes once a head has come, and keeps all that it gets.
/// Dropping it stops it.
#[derive(Debug)]
pub struct RawServer {
    addr: SocketAddr,
    got: Arc<Mutex<Vec<Vec<u8>>>>,
    server: JoinHandle<()>,
}

impl RawServer {
    /// Starts one on a free port. With an empty answer it hangs up instead.
    pub async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let all = Arc::clone(&got);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                connections.spawn(serve(stream, answer, number, Arc::clone(&all)));
            }
        });
        RawServer { addr, got, server }
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What came so far, connection by connection.
    #[must_use]
    pub fn got(&self) -> Vec<Vec<u8>> {
        self.got.lock().unwrap().clone()
    }

    /// What came on the only connection so far.
    #[must_use]
    pub fn got_once(&self) -> String {
        let [one] = <[Vec<u8>; 1]>::try_from(self.got()).expect("one connection");
        String::from_utf8(one).unwrap()
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: &str, number: usize, all: Arc<Mutex<Vec<Vec<u8>>>>) {
    let (mut buffer, mut answered) = (vec![0; 64 * 1024], false);
    while let Ok(n) = stream.read(&mut buffer).await {
        if n == 0 {
            return;
        }
        let has_head = {
            let mut all = all.lock().unwrap();
            all[number].extend_from_slice(&buffer[..n]);
            find(&all[number], b"\r\n\r\n").is_some()
        };
        if has_head && !answered {
            answered = true;
            if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_and_come_as_they_are() {
        let server = RawServer::start("HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nokNEXT").await;
        let mut raw = Raw::connect(&server.url()).await;
        raw.send("GET / HTTP/9\r\n\r\n").await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, answer.header("x-a"), answer.body.as_slice()), (200, Some("1"), b"ok".as_slice()));
        assert_eq!((raw.until("EX").await.as_str(), server.got_once().as_str()), ("NEX", "GET / HTTP/9\r\n\r\n"));
        let silent = RawServer::start("").await;
        let mut raw = Raw::connect(&silent.url()).await;
        raw.send("x\r\n\r\n").await;
        assert!(raw.try_answer().await.is_none());
    }
}
