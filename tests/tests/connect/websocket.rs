//! WebSockets of the client library, through a real host to an app behind it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use couplet_client::{
    Client, CredentialStore, Credentials, FileStore, PairRequest, State, Upgraded, WebSocketError, pair,
};
use e2e::host::PATIENCE;
use e2e::{TestApp, TestHost};
use futures_util::{SinkExt, StreamExt};
use hyper::http::{HeaderMap, Request, Uri};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A device that uses the library, connected with a host, and the app behind that.
struct World {
    app: TestApp,
    host: TestHost,
    credentials: Credentials,
    client: Client,
    _folder: tempfile::TempDir,
}

impl World {
    async fn start() -> Self {
        let app = TestApp::start().await;
        let host = TestHost::start(|setup| {
            setup.app(app.url());
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn CredentialStore> = Arc::new(FileStore::new(folder.path().join("hosts")));
        let request = PairRequest {
            name: "Laptop".into(),
            model: None,
            platform: None,
            kind: "desktop".into(),
            another_host: false,
            relay_ca: None,
            account: None,
        };
        let credentials = pair(&host.generate().await.link, request, &store, |_| {}).await.unwrap();
        let client = Client::connect(credentials.id(), store).await.unwrap();
        World { app, host, credentials, client, _folder: folder }
    }

    async fn open(&self, path: &str, headers: HeaderMap) -> Result<WebSocketStream<Upgraded>, WebSocketError> {
        let target: Uri = format!("http://app{path}").parse().unwrap();
        timeout(PATIENCE, self.client.websocket(target, headers)).await.expect("the host answers")
    }
}

async fn next(socket: &mut WebSocketStream<Upgraded>) -> Option<Result<Message, Error>> {
    timeout(PATIENCE, socket.next()).await.expect("nothing came, and no end")
}

async fn echoes(socket: &mut WebSocketStream<Upgraded>, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert!(next(socket).await.unwrap().unwrap() == message);
}

#[tokio::test]
async fn messages_pass_both_ways_and_a_close_ends_it() {
    let world = World::start().await;
    assert_eq!(world.client.host(), &world.credentials.id());
    let headers: HeaderMap = [("x-mine".parse().unwrap(), "1".parse().unwrap())].into_iter().collect();
    let mut socket = world.open("/ws", headers).await.unwrap();
    assert_eq!(world.app.last_request().headers["x-mine"], "1");
    echoes(&mut socket, Message::text("hello")).await;
    // More than the windows of the session.
    echoes(&mut socket, Message::Binary(Bytes::from(vec![7; 3 << 20]))).await;
    socket.close(None).await.unwrap();
    assert!(matches!(next(&mut socket).await, Some(Ok(Message::Close(_))) | None));
    assert!(world.open("/ws", HeaderMap::new()).await.is_ok(), "the session goes on");
}

#[tokio::test]
async fn what_the_app_answers_instead_is_handed_on() {
    let world = World::start().await;
    match world.open("/nowhere", HeaderMap::new()).await {
        Err(WebSocketError::Refused(answer)) => assert_eq!(answer.status(), 404),
        other => panic!("not refused but {other:?}"),
    }
}

#[tokio::test]
async fn a_revoked_devices_websocket_breaks() {
    let world = World::start().await;
    let mut socket = world.open("/ws", HeaderMap::new()).await.unwrap();
    echoes(&mut socket, Message::text("hello")).await;
    let path = format!("/api/pair/devices/{}", world.credentials.device_id);
    assert_eq!(world.host.owner().delete(&path).send().await.unwrap().status(), 204);
    let end = next(&mut socket).await;
    assert!(matches!(end, Some(Err(_))), "a break must not look like an end: {end:?}");
    let mut state = world.client.state();
    timeout(PATIENCE, state.wait_for(|state| *state == State::Revoked)).await.expect("it is told").unwrap();
}

/// One program's header must not end the session of all.
#[tokio::test]
async fn a_length_on_an_upgrade_harms_nobody() {
    let world = World::start().await;
    let mut before = world.open("/ws", HeaderMap::new()).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-length", "5".parse().unwrap());
    headers.insert("transfer-encoding", "chunked".parse().unwrap());
    let mut socket = world.open("/ws", headers).await.unwrap();
    let seen = world.app.last_request().headers;
    assert!(!seen.contains_key("content-length") && !seen.contains_key("transfer-encoding"), "{seen:?}");
    echoes(&mut socket, Message::text("mine")).await;
    echoes(&mut before, Message::text("another's")).await;
    let request = Request::get("http://app/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
    let answer = timeout(Duration::from_secs(10), world.client.request(request)).await.unwrap();
    assert_eq!(answer.unwrap().status(), 200);
}
