//! A device with sealed sessions, built on the protocol alone: it does one step at a time, so that a test can stop
//! anywhere, send what no honest device sends, and see exactly what the host answers.

use couplet_protocol::frame::{CloseCode, Content, Kind};
use couplet_protocol::handshake::{Confirmed, HandshakeError, Initiator, PairingKeys};
use couplet_protocol::message::{Claim, Control, Grant, RoomNumbers};
use couplet_protocol::secret::Entropy;
use couplet_protocol::{CheckCode, Offer, Session, StaticSecret};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;

use crate::host::PATIENCE;
use crate::websocket::{self, WebSocket};

/// A device, by its static key.
#[derive(Clone, Debug)]
pub struct TestDevice {
    /// Its key.
    pub key: StaticSecret,
    /// What it says of itself.
    pub claim: Claim,
}

/// What the host says.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// A message.
    Control(Control),
    /// Bytes of HTTP.
    Data(Vec<u8>),
    /// The session is closed, and why: proven to be the host's word.
    Closed(CloseCode),
    /// A WebSocket close frame with a code of ours: anybody's word.
    Refused(String),
    /// The connection ended without a word.
    Gone,
}

/// A WebSocket before there are keys.
#[derive(Debug)]
pub struct Unsealed {
    socket: WebSocket,
}

/// A session.
#[derive(Debug)]
pub struct Sealed {
    /// The WebSocket beneath.
    pub socket: WebSocket,
    /// The keys.
    pub session: Session,
    /// What the device shows when it pairs.
    pub check_code: CheckCode,
    /// What the host calls itself.
    pub host_name: String,
}

/// 32 fresh random bytes.
#[must_use]
pub fn fresh() -> Entropy {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    Entropy::new(bytes)
}

impl TestDevice {
    /// A phone with a key of its own.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let claim = Claim {
            name: name.to_owned(),
            model: Some("iPad13,8".to_owned()),
            platform: Some("iPadOS 19".to_owned()),
            kind: "mobile".to_owned(),
        };
        TestDevice { key: StaticSecret::new(*fresh().expose()).unwrap(), claim }
    }

    /// Begins to claim the offer of a link; M1 is not sent.
    #[must_use]
    pub fn hello(&self, link: &str) -> (Initiator, Vec<u8>) {
        let offer = Offer::from_link(link).unwrap();
        Initiator::pair(&offer, &self.key, self.claim.clone(), fresh(), fresh()).unwrap()
    }

    /// Begins to come back; M1 is not sent.
    #[must_use]
    pub fn hello_again(&self, keys: &PairingKeys) -> (Initiator, Vec<u8>) {
        Initiator::reconnect(keys, &self.key, fresh()).unwrap()
    }

    /// Claims the offer of a link, up to the confirm.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn claim(&self, host: &str, link: &str) -> Result<Sealed, Said> {
        let (initiator, m1) = self.hello(link);
        Ok(Unsealed::open(host).await.shake_hands(initiator, m1).await?.confirm().await)
    }

    /// Pairs where the owner is not asked: what it keeps, and the open session.
    pub async fn pair(&self, host: &str, link: &str) -> (Grant, Sealed) {
        let mut sealed = self.claim(host, link).await.expect("the host answers");
        let grant = sealed.granted().await;
        sealed.send(&Control::Ack).await;
        assert_eq!(sealed.said().await, Said::Control(Control::Paired));
        (grant, sealed)
    }

    /// Comes back, up to the confirm.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn reconnect(&self, host: &str, keys: &PairingKeys) -> Result<Sealed, Said> {
        let (initiator, m1) = self.hello_again(keys);
        Ok(Unsealed::open(host).await.shake_hands(initiator, m1).await?.confirm().await)
    }
}

/// What a device needs to come back.
#[must_use]
pub fn keys(link: &str, grant: &Grant) -> PairingKeys {
    let offer = Offer::from_link(link).unwrap();
    PairingKeys { psk_id: grant.psk_id, psk: grant.psk.clone(), host_key: offer.host_key, suites: offer.suites }
}

/// A session that the host has answered and the device has not confirmed.
#[derive(Debug)]
pub struct Answered {
    socket: WebSocket,
    confirmed: Confirmed,
}

impl Unsealed {
    /// Over a WebSocket that is open.
    #[must_use]
    pub fn over(socket: WebSocket) -> Self {
        Unsealed { socket }
    }

    /// Opens the WebSocket.
    pub async fn open(host: &str) -> Self {
        Self::try_open(host).await.expect("the host takes the WebSocket")
    }

    /// Opens the WebSocket.
    ///
    /// # Errors
    /// The host refuses it.
    pub async fn try_open(host: &str) -> Result<Self, websocket::tungstenite::Error> {
        let socket = websocket::connect(&format!("{host}/api/pair/tunnel"), &[]).await?;
        Ok(Unsealed { socket })
    }

    /// The same, for a device whose kernel takes a few thousand bytes before somebody reads them.
    pub async fn open_small(host: &str) -> Self {
        let socket = websocket::connect_small(&format!("{host}/api/pair/tunnel")).await;
        Unsealed { socket: socket.expect("the host takes the WebSocket") }
    }

    /// Sends a message as it is.
    pub async fn send(&mut self, message: Message) {
        // A host that has refused already may have closed; what it says tells more.
        let _ = self.socket.send(message).await;
    }

    /// The next binary message.
    ///
    /// # Errors
    /// What the host says instead.
    pub async fn receive(&mut self) -> Result<Vec<u8>, Said> {
        receive(&mut self.socket).await
    }

    /// Sends M1 and reads M2.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn shake_hands(mut self, initiator: Initiator, m1: Vec<u8>) -> Result<Answered, Said> {
        self.send(Message::binary(m1)).await;
        let m2 = self.receive().await?;
        let confirmed = initiator.finish(&m2).expect("the host has the keys that the offer names");
        Ok(Answered { socket: self.socket, confirmed })
    }

    /// The same, where the host is expected not to have the keys.
    pub async fn shake_hands_in_vain(mut self, initiator: Initiator, m1: Vec<u8>) -> HandshakeError {
        self.send(Message::binary(m1)).await;
        let m2 = self.receive().await.expect("the host answers");
        initiator.finish(&m2).expect_err("the keys must not fit")
    }
}

impl Answered {
    /// What the device would show.
    #[must_use]
    pub fn check_code(&self) -> &CheckCode {
        &self.confirmed.check_code
    }

    /// Says in the first frame by which rooms it comes.
    #[must_use]
    pub fn come_by(mut self, kept: u32, opened: u32) -> Self {
        self.confirmed.come_by(RoomNumbers { kept, opened });
        self
    }

    /// Sends the first frame; the host answers later, if at all.
    pub async fn confirm(self) -> Sealed {
        let (confirm, mut sealed) = self.unconfirmed();
        sealed.send(&confirm).await;
        sealed
    }

    /// Sends this instead of the first frame, and reads what the host says to it.
    pub async fn send(mut self, message: Message) -> Said {
        let _ = self.socket.send(message).await;
        receive(&mut self.socket).await.expect_err("the host must not go on")
    }

    /// The message that the first frame must carry, not sealed, and the rest.
    #[must_use]
    pub fn unconfirmed(self) -> (Control, Sealed) {
        let Answered { socket, confirmed } = self;
        let Confirmed { session, confirm, host_name, check_code } = confirmed;
        (confirm, Sealed { socket, session, check_code, host_name })
    }
}

impl Sealed {
    /// Seals something and returns the frame.
    #[must_use]
    pub fn seal(&mut self, content: Content<'_>) -> Vec<u8> {
        let mut frame = Vec::new();
        self.session.sealer.seal(content, &mut frame).unwrap();
        frame
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, frame: Vec<u8>) {
        let _ = self.socket.send(Message::binary(frame)).await;
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Control) {
        let frame = self.seal(Content::Control(&message.encode().unwrap()));
        self.send_raw(frame).await;
    }

    /// Sends bytes of HTTP.
    pub async fn send_data(&mut self, data: &[u8]) {
        let frame = self.seal(Content::Data(data));
        self.send_raw(frame).await;
    }

    /// The next thing that the host says.
    pub async fn said(&mut self) -> Said {
        loop {
            let mut frame = match receive(&mut self.socket).await {
                Ok(frame) => frame,
                Err(said) => return said,
            };
            let opened = self.session.opener.open(&mut frame).expect("the host's frames can be opened");
            match opened.kind {
                Kind::Control => {
                    let message = Control::decode(&frame[opened.data]).expect("the host's messages can be read");
                    return Said::Control(message.expect("the host says what this version knows"));
                }
                Kind::Data => return Said::Data(frame[opened.data].to_vec()),
                Kind::Close => return Said::Closed(self.session.opener.closed().unwrap()),
                Kind::KeyUpdate | Kind::Pad => {}
            }
        }
    }

    /// The grant, which comes next.
    pub async fn granted(&mut self) -> Grant {
        match self.said().await {
            Said::Control(Control::Grant(grant)) => grant,
            other => panic!("no grant but {other:?}"),
        }
    }

    /// The code of the rejection that comes next, and the CLOSE behind it.
    pub async fn rejected(&mut self) -> String {
        let code = match self.said().await {
            Said::Control(Control::Rejected { code }) => code,
            other => panic!("not rejected but {other:?}"),
        };
        assert_eq!(self.said().await, Said::Closed(CloseCode::Rejected));
        code
    }

    /// The code of the CLOSE that comes after any data.
    pub async fn closed(&mut self) -> CloseCode {
        loop {
            match self.said().await {
                Said::Closed(code) => return code,
                Said::Data(_) => {}
                other => panic!("no CLOSE but {other:?}"),
            }
        }
    }
}

async fn receive(socket: &mut WebSocket) -> Result<Vec<u8>, Said> {
    loop {
        let next = tokio::time::timeout(PATIENCE, socket.next());
        match next.await.expect("nothing came, and no end") {
            Some(Ok(Message::Binary(message))) => return Ok(message.to_vec()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) >= 4000 => {
                return Err(Said::Refused(frame.reason.to_string()));
            }
            Some(Ok(_) | Err(_)) | None => return Err(Said::Gone),
        }
    }
}

/// The first bytes of a device's HTTP/2: a GET for this path. The answer may be as long as it likes. Names are in lower
/// case; nothing may be longer than 126 bytes.
#[must_use]
pub fn get(path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let window = 0x7fff_0000_u32.to_be_bytes();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        sent.extend(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
        sent.extend([kind, flags, 0, 0, 0, stream]);
        sent.extend(payload);
    };
    // SETTINGS_INITIAL_WINDOW_SIZE, and WINDOW_UPDATE for the connection.
    frame(4, 0, 0, &[&[0, 4][..], &window].concat());
    frame(8, 0, 0, &window);
    // HEADERS with END_STREAM and END_HEADERS: GET, http, the path, the authority, and what else there is.
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut fields = [vec![0x82, 0x86, 4], text(path), vec![1], text("localhost")].concat();
    for (name, value) in headers {
        fields.extend([vec![0], text(name), text(value)].concat());
    }
    frame(1, 5, 1, &fields);
    sent
}
