//! HTTP/2 in a session, by a device that does what it likes with its streams.

use std::future::poll_fn;

use bytes::Bytes;
use couplet_client::sealed::{Link, SealedStream, Side};
use couplet_protocol::{Code, Problem};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Ping, RecvStream, SendStream};
use hyper::http::{Method, Request, Response};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::device::Sealed;
use crate::host::PATIENCE;
use crate::upstream::STILL;
use crate::{pattern, problem, raw};

/// A session that speaks HTTP/2. Dropping it cuts the connection without a word.
#[derive(Debug)]
pub struct Http2 {
    /// Opens streams.
    pub send: SendRequest<Bytes>,
    /// Closes the session.
    pub link: Link,
    /// How many streams the host allows.
    pub streams: usize,
    driver: JoinHandle<()>,
}

impl Http2 {
    /// Begins, and waits for the host's settings.
    pub async fn over(sealed: Sealed) -> Self {
        let (stream, link, _) = SealedStream::new(sealed.socket, sealed.session, Side::Device);
        // One stream that is not read shall not hold up the others.
        let builder = h2::client::Builder::new().enable_push(false).initial_connection_window_size(1 << 20).to_owned();
        let (send, mut connection) = builder.handshake::<_, Bytes>(stream).await.unwrap();
        let mut ping = connection.ping_pong().unwrap();
        ping.send_ping(Ping::opaque()).unwrap();
        // The settings come before the pong.
        tokio::select! {
            ended = Pin::new(&mut connection) => panic!("the session ended: {ended:?}"),
            pong = timeout(PATIENCE, poll_fn(|cx| ping.poll_pong(cx))) => drop(pong.unwrap().unwrap()),
        }
        let streams = connection.max_concurrent_send_streams();
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        Http2 { send, link, streams, driver }
    }

    /// Sends the head of a request to `http://app/…`. `ended`: it has no body.
    pub async fn open(&self, head: Request<()>, ended: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.send.clone().ready().await.unwrap().send_request(head, ended).unwrap()
    }

    /// Sends a request without a body and reads the answer's head.
    pub async fn ask(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Response<RecvStream> {
        let mut head = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            head = head.header(*name, *value);
        }
        let (answer, _) = self.open(head.body(()).unwrap(), true).await;
        timeout(PATIENCE, answer).await.expect("no answer").unwrap()
    }

    /// Begins a `POST` whose length is not told.
    pub async fn upload(&self) -> (ResponseFuture, SendStream<Bytes>) {
        self.open(Request::post("http://app/upload").body(()).unwrap(), false).await
    }

    /// Asks for an upgrade (RFC 8441), which the app must take: both ways of it.
    pub async fn upgrade(&self, protocol: &'static str) -> (ResponseFuture, SendStream<Bytes>) {
        let mut head = Request::connect("http://app/upgrade").body(()).unwrap();
        head.extensions_mut().insert(h2::ext::Protocol::from_static(protocol));
        self.open(head, false).await
    }

    /// Cuts the connection beneath, without a word.
    pub fn cut(self) {
        drop(self);
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The head of the answer, which comes now.
pub async fn head(answer: ResponseFuture) -> Response<RecvStream> {
    timeout(PATIENCE, answer).await.expect("no answer").unwrap()
}

/// The next bytes of a body; None at its end.
///
/// # Errors
/// It broke off.
pub async fn chunk(body: &mut RecvStream) -> Result<Option<Bytes>, h2::Error> {
    let data = timeout(PATIENCE, poll_fn(|cx| body.poll_data(cx))).await.expect("nothing came, and no end");
    let data = data.transpose()?;
    if let Some(data) = &data {
        let _ = body.flow_control().release_capacity(data.len());
    }
    Ok(data)
}

/// All of a body.
///
/// # Errors
/// It broke off.
pub async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut read = Vec::new();
    while let Some(data) = chunk(body).await? {
        read.extend(data);
    }
    Ok(read)
}

/// Sends the pattern from `at` on until nobody takes any more, at most up to `most`; how far it came.
pub async fn fill(stream: &mut SendStream<Bytes>, mut at: usize, most: usize) -> usize {
    while at < most {
        stream.reserve_capacity(most - at);
        while stream.capacity() == 0 {
            match timeout(STILL, poll_fn(|cx| stream.poll_capacity(cx))).await {
                Ok(room) => drop(room.expect("the stream is open").unwrap()),
                Err(_) => return at,
            }
        }
        let data = pattern::chunk(at as u64, stream.capacity().min(most - at) as u64);
        at += data.len();
        stream.send_data(data, false).unwrap();
    }
    at
}

/// Reads a refusal and checks all that refusals have.
pub async fn refused(answer: Response<RecvStream>, code: Code) -> Problem {
    let (head, mut body) = answer.into_parts();
    let headers = head.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = read(&mut body).await.unwrap();
    problem::expect_raw(&raw::Answer { status: head.status.as_u16(), headers, body }, code)
}
