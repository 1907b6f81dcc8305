//! Connections through what is measured: a flow has two ends, and what is written to one comes out of the other.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::copy::{Way, copy};
use crate::talk::{Identity, Room, Trust, subscribe, tcp, upgrade};

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// The two ends of a flow.
pub(crate) type Flow = (Box<dyn Io>, Box<dyn Io>);

/// What is between them.
pub(crate) enum Between {
    Relay { devices: u16, hosts: u16 },
    Tls { proxy: u16, backend: u16 },
    Plain { proxy: u16, backend: u16 },
}

impl Between {
    pub(crate) fn parse(text: &str) -> Self {
        let parts: Vec<&str> = text.split(':').collect();
        let (one, other) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        match parts[0] {
            "relay" => Between::Relay { devices: one, hosts: other },
            "tls" => Between::Tls { proxy: one, backend: other },
            "plain" => Between::Plain { proxy: one, backend: other },
            other => panic!("what is {other}?"),
        }
    }

    pub(crate) async fn open(&self, folder: &Path, flows: usize) -> Vec<Flow> {
        match *self {
            Between::Relay { devices, hosts } => sessions(folder, devices, hosts, flows).await,
            Between::Tls { proxy, backend } => behind(proxy, backend, flows, Some(folder)).await,
            Between::Plain { proxy, backend } => behind(proxy, backend, flows, None).await,
        }
    }
}

/// Sessions of so many devices with the first host.
async fn sessions(folder: &Path, devices: u16, hosts: u16, flows: usize) -> Vec<Flow> {
    let (trust, host) = (Trust::new(folder), Identity::all(folder).swap_remove(0));
    let mut rooms = trust.host(&host, hosts, 0).await;
    let mut events = trust.host(&host, hosts, 0).await;
    subscribe(&mut events).await;
    let mut open = Vec::new();
    for n in 0..flows {
        let room = Room::new(n);
        room.put(&mut rooms).await;
        let sid = room.ask(&mut trust.device(devices).await).await;
        let path = format!("/pair/relay/{sid}");
        let websocket = "websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
        let mut device = trust.device(devices).await;
        upgrade(&mut device, &path, websocket).await;
        let mut end = trust.host(&host, hosts, 0).await;
        upgrade(&mut end, &path, "couplet-stream").await;
        open.push((Box::new(device) as Box<dyn Io>, Box::new(end) as Box<dyn Io>));
    }
    // The host stays there as long as they do.
    tokio::spawn(async move {
        let mut told = [0; 1024];
        while events.read(&mut told).await.is_ok_and(|len| len > 0) {}
    });
    open
}

/// Connections to a proxy, and those that it makes to the backend: one by one, so that they belong together.
async fn behind(proxy: u16, backend: u16, flows: usize, tls: Option<&Path>) -> Vec<Flow> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, backend)).await.unwrap();
    let trust = tls.map(|folder| (Trust::new(folder), acceptor(folder)));
    let mut open = Vec::new();
    for _ in 0..flows {
        // A proxy connects to the backend as early as it likes: at once, or behind the handshake.
        let near = async {
            let near = tcp(proxy, 0).await;
            match &trust {
                None => Box::new(near) as Box<dyn Io>,
                Some((trust, _)) => Box::new(trust.shake_hands(near).await),
            }
        };
        let far = async {
            let far = listener.accept().await.unwrap().0;
            far.set_nodelay(true).unwrap();
            match &trust {
                None => Box::new(far) as Box<dyn Io>,
                Some((_, acceptor)) => Box::new(acceptor.accept(far).await.unwrap()),
            }
        };
        open.push(tokio::join!(near, far));
    }
    open
}

/// The relay's copy loop, without TLS and without the rest of the relay.
pub(crate) async fn bridge(listen: u16, backend: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen)).await.unwrap();
    loop {
        let (near, _) = listener.accept().await.unwrap();
        near.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, backend)).await else { return };
            far.set_nodelay(true).unwrap();
            let (mut near, mut far) = (near, far);
            let mut ways = [Way::new(Vec::new()), Way::new(Vec::new())];
            copy(&mut near, &mut far, &mut ways, &|_| Duration::ZERO).await;
        });
    }
}

fn acceptor(folder: &Path) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()).into()
}
