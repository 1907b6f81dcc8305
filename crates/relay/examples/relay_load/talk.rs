//! Connections of devices and hosts, and what they say to a relay.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection from the `group`-th address of this machine, each of which has its own ports.
pub(crate) async fn tcp(port: u16, group: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 1, 1 + group], 0))).unwrap();
    let stream = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A host's certificate, and the key of all.
pub(crate) struct Identity(CertificateDer<'static>, PrivateKeyDer<'static>);

impl Identity {
    pub(crate) fn all(folder: &Path) -> Vec<Identity> {
        let key = PrivateKeyDer::from_pem_file(folder.join("hosts.key")).unwrap();
        let certificates = CertificateDer::pem_file_iter(folder.join("hosts.pem")).unwrap();
        certificates.map(|certificate| Identity(certificate.unwrap(), key.clone_key())).collect()
    }
}

/// A client that trusts the relay's CA.
pub(crate) struct Trust(Arc<RootCertStore>);

impl Trust {
    pub(crate) fn new(folder: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.join("ca.pem")).unwrap()).unwrap();
        Trust(Arc::new(roots))
    }

    fn builder(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(Arc::clone(&self.0))
    }

    async fn connect(mut config: ClientConfig, stream: TcpStream) -> TlsStream<TcpStream> {
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    pub(crate) async fn shake_hands(&self, stream: TcpStream) -> TlsStream<TcpStream> {
        Self::connect(self.builder().with_no_client_auth(), stream).await
    }

    pub(crate) async fn device(&self, port: u16) -> TlsStream<TcpStream> {
        self.shake_hands(tcp(port, 0).await).await
    }

    pub(crate) async fn host(&self, host: &Identity, port: u16, group: u8) -> TlsStream<TcpStream> {
        let config = self.builder().with_client_auth_cert(vec![host.0.clone()], host.1.clone_key()).unwrap();
        Self::connect(config, tcp(port, group).await).await
    }
}

/// Reads until it has read this; what it has read.
pub(crate) async fn until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        read.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

pub(crate) async fn upgrade(stream: &mut TlsStream<TcpStream>, path: &str, protocol: &str) {
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = until(stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}

pub(crate) async fn subscribe(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /host/events HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    until(stream, ":\n\n").await;
}

async fn exchange(stream: &mut TlsStream<TcpStream>, method: &str, path: &str, body: &Value) -> String {
    let body = body.to_string();
    let about = format!("host: localhost\r\ncontent-type: application/json\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{method} {path} HTTP/1.1\r\n{about}\r\n\r\n{body}").as_bytes()).await.unwrap();
    until(stream, "\r\n\r\n").await
}

/// A device's room, and what opens it.
pub(crate) struct Room {
    id: String,
    secret: String,
}

impl Room {
    /// The `n`-th device's.
    pub(crate) fn new(n: usize) -> Self {
        Room { id: format!("{n:032x}"), secret: format!("{n:064x}") }
    }

    /// Registers it, on its host's connection.
    pub(crate) async fn put(&self, stream: &mut TlsStream<TcpStream>) {
        let body = json!({"secret_hash": self.secret, "public_key": "key"});
        let answer = exchange(stream, "PUT", &format!("/host/rooms/{}", self.id), &body).await;
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    /// Removes it, with the sessions that were asked for there.
    pub(crate) async fn remove(&self, stream: &mut TlsStream<TcpStream>) {
        let answer = exchange(stream, "DELETE", &format!("/host/rooms/{}", self.id), &json!({})).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    }

    /// Asks for a session there, on a device's connection; its sid.
    pub(crate) async fn ask(&self, stream: &mut TlsStream<TcpStream>) -> String {
        let answer = exchange(stream, "POST", "/pair", &json!({"room_id": self.id, "secret_hash": self.secret})).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let answer: Value = serde_json::from_str(&until(stream, "}").await).unwrap();
        answer["sid"].as_str().unwrap().to_owned()
    }
}
