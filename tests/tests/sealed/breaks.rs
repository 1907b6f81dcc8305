//! What ends and what breaks within a session: an end is only what was meant as one, at every layer up to the body.

use bytes::Bytes;
use couplet_protocol::frame::CloseCode;
use e2e::http2::{chunk, head, read};
use e2e::upstream::Exchange;
use e2e::{Http2, TestDevice, TestHost, Upstream};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use hyper::http::Method;

/// A device in a session with a host, and an app by hand behind it.
struct World {
    app: Upstream,
    host: TestHost,
    http: Http2,
}

impl World {
    async fn start() -> Self {
        let app = Upstream::start().await;
        let host = TestHost::start(|setup| {
            setup.app(app.url());
        })
        .await;
        let (_, sealed) = TestDevice::new("iPad").pair(host.pairing_url(), &host.generate().await.link).await;
        World { app, host, http: Http2::over(sealed).await }
    }

    /// An upload of which the first part has reached the app.
    async fn upload(&self) -> (ResponseFuture, SendStream<Bytes>, Exchange) {
        let (answer, mut stream) = self.http.upload().await;
        stream.send_data(Bytes::from_static(b"part"), false).unwrap();
        let mut exchange = self.app.next().await;
        exchange.until("4\r\npart\r\n").await;
        (answer, stream, exchange)
    }

    /// An answer of which the first part has reached the device, and whose framing is this header.
    async fn download(&self, framing: &str, part: &str) -> (RecvStream, Exchange) {
        let (answer, exchange) = tokio::join!(self.http.ask(Method::GET, "http://app/", &[]), async {
            let mut exchange = self.app.next().await;
            exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{part}")).await;
            exchange
        });
        let mut body = answer.into_body();
        assert_eq!(chunk(&mut body).await.unwrap().unwrap(), "part");
        (body, exchange)
    }

    /// An upgrade that the app has taken: the device's two ways, and the app's end.
    async fn upgraded(&self) -> (RecvStream, SendStream<Bytes>, Exchange) {
        let (answer, stream) = self.http.upgrade("echo").await;
        let mut exchange = self.app.next().await;
        let head_lines = exchange.head.to_ascii_lowercase();
        assert!(head_lines.contains("upgrade: echo") && head_lines.contains("connection: upgrade"), "{head_lines}");
        exchange.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n").await;
        let answer = head(answer).await;
        assert_eq!(answer.status(), 200);
        (answer.into_body(), stream, exchange)
    }

    /// The session still carries requests.
    async fn lives(&self) {
        let (mut answer, ()) = tokio::join!(self.http.ask(Method::GET, "http://app/", &[]), async {
            self.app.next().await.answer("fine").await;
        });
        assert_eq!(read(answer.body_mut()).await.unwrap(), b"fine");
    }
}

fn say(stream: &mut SendStream<Bytes>, text: &'static str, ended: bool) {
    stream.send_data(Bytes::from_static(text.as_bytes()), ended).unwrap();
}

/// The app sees no end of the body: neither the last chunk nor anything else came.
async fn is_cut(mut exchange: Exchange, what: &str) {
    let (rest, _) = exchange.rest().await;
    assert!(rest.is_empty(), "{what}: {:?}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn an_upload_that_is_reset_is_no_whole_one_for_the_app() {
    let world = World::start().await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let (_answer, mut stream, exchange) = world.upload().await;
        stream.send_reset(reason);
        is_cut(exchange, &format!("{reason:?}")).await;
    }
    world.lives().await;
}

#[tokio::test]
async fn a_session_that_ends_cuts_its_uploads() {
    // With a CLOSE, too: it ends the session, not the body.
    let world = World::start().await;
    let (_answer, _stream, exchange) = world.upload().await;
    world.http.link.close(CloseCode::Done);
    is_cut(exchange, "closed").await;

    let mut world = World::start().await;
    let (_answer, _stream, exchange) = world.upload().await;
    world.http.cut();
    is_cut(exchange, "cut").await;
    world.host.stop().await;
}

#[tokio::test]
async fn an_answer_that_the_app_cuts_is_no_whole_one_for_the_device() {
    let world = World::start().await;
    for (framing, part) in [
        ("Transfer-Encoding: chunked", "4\r\npart\r\n"),
        ("Transfer-Encoding: chunked", "4\r\npart\r\n8\r\nless"),
        ("Content-Length: 100", "part"),
    ] {
        for is_reset in [false, true] {
            let (mut body, exchange) = world.download(framing, part).await;
            if is_reset {
                exchange.break_off();
            } else {
                drop(exchange);
            }
            let read = read(&mut body).await;
            assert!(read.is_err(), "{framing} {part:?} {is_reset}: {read:?}");
        }
    }
    // Where only the end of the connection ends a body, that is its end; a reset is not.
    let (mut body, mut exchange) = world.download("Connection: close", "part").await;
    exchange.send("rest").await;
    drop(exchange);
    assert_eq!(read(&mut body).await.unwrap(), b"rest");
    let (mut body, exchange) = world.download("Connection: close", "part").await;
    exchange.break_off();
    assert!(read(&mut body).await.is_err());
    world.lives().await;
}

#[tokio::test]
async fn a_host_that_dies_leaves_no_whole_answer() {
    let mut world = World::start().await;
    let (mut body, _exchange) = world.download("Connection: close", "part").await;
    world.host.kill().await;
    assert!(read(&mut body).await.is_err());
    assert_eq!(format!("{:?}", world.http.link.ended().await), "Truncated");

    // One that stops in good order closes the session; its answers are cut all the same.
    let mut world = World::start().await;
    let (mut body, _exchange) = world.download("Connection: close", "part").await;
    let (read, ()) = tokio::join!(read(&mut body), world.host.stop());
    assert!(read.is_err(), "{read:?}");
}

#[tokio::test]
async fn each_way_of_an_upgrade_ends_on_its_own() {
    let world = World::start().await;
    let (mut down, mut up, mut exchange) = world.upgraded().await;
    say(&mut up, "last words", true);
    assert_eq!(exchange.rest().await.0, b"last words");
    exchange.send("goes on").await;
    assert_eq!(chunk(&mut down).await.unwrap().unwrap(), "goes on");
    exchange.finish().await;
    assert_eq!(read(&mut down).await.unwrap(), b"");

    let (mut down, mut up, mut exchange) = world.upgraded().await;
    exchange.send("last words").await;
    exchange.finish().await;
    assert_eq!(read(&mut down).await.unwrap(), b"last words");
    say(&mut up, "goes on", false);
    exchange.until("goes on").await;
    say(&mut up, "", true);
    let (rest, end) = exchange.rest().await;
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    world.lives().await;
}

#[tokio::test]
async fn an_upgrade_that_breaks_on_one_side_breaks_on_the_other() {
    let world = World::start().await;
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let (_down, mut up, mut exchange) = world.upgraded().await;
        say(&mut up, "part", false);
        exchange.until("part").await;
        up.send_reset(reason);
        let (rest, end) = exchange.rest().await;
        assert!(rest.is_empty() && end.is_err(), "{reason:?}: {end:?}");
    }
    let (mut down, _up, mut exchange) = world.upgraded().await;
    exchange.send("part").await;
    assert_eq!(chunk(&mut down).await.unwrap().unwrap(), "part");
    exchange.break_off();
    let read = read(&mut down).await;
    assert!(read.is_err(), "{read:?}");
    world.lives().await;
}
