//! The handshake of a sealed session at the front door: what no honest device sends, and what the host makes of it.

use std::time::{Duration, Instant};

use couplet_protocol::Offer;
use couplet_protocol::api::{DeviceList, GenerateAnswer};
use couplet_protocol::frame::{CloseCode, Content};
use couplet_protocol::handshake::{HandshakeError, Initiator, PairingKeys};
use couplet_protocol::message::Control;
use couplet_protocol::offer::LinkForm;
use couplet_protocol::secret::{OfferSecret, Psk};
use e2e::device::{Answered, Said, Sealed, Unsealed, fresh, keys};
use e2e::websocket::tungstenite::Message;
use e2e::{TestDevice, TestHost};
use reqwest::Method;
use serde_json::{Value, json};

async fn host() -> TestHost {
    TestHost::start(|setup| {
        setup.env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "100000").env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "100");
    })
    .await
}

fn refused(code: &str) -> Said {
    Said::Refused(code.to_owned())
}

/// Sends this instead of M1: what the host says.
async fn instead_of_m1(host: &TestHost, message: Message) -> Said {
    let mut socket = Unsealed::open(host.pairing_url()).await;
    socket.send(message).await;
    socket.receive().await.expect_err("the host must not answer with M2")
}

async fn answered(host: &TestHost, link: &str) -> Answered {
    let (initiator, m1) = TestDevice::new("Odd").hello(link);
    Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1).await.unwrap()
}

async fn devices(host: &TestHost) -> usize {
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    list.devices.len()
}

/// An honest device still gets in by this link.
async fn still_pairs(host: &TestHost, offer: &GenerateAnswer) {
    TestDevice::new("Honest").pair(host.pairing_url(), &offer.link).await;
}

#[tokio::test]
async fn only_a_websocket_of_no_web_page_is_let_in() {
    let host = host().await;
    let plain = host.anyone().get("/api/pair/tunnel").send().await.unwrap();
    assert_eq!(plain.status(), 426);
    assert_eq!(plain.json::<Value>().await.unwrap()["code"], "CPL-1014");
    let upgrade = || {
        let request =
            host.anyone().get("/api/pair/tunnel").header("connection", "upgrade").header("upgrade", "websocket");
        request.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    assert_eq!(upgrade().send().await.unwrap().status(), 101);
    assert_eq!(upgrade().header("origin", "https://evil.example").send().await.unwrap().status(), 403);
    assert_eq!(upgrade().header("host", "evil.example").send().await.unwrap().status(), 421);
}

#[tokio::test]
async fn nonsense_is_refused_and_uses_nothing_up() {
    let host = host().await;
    let offer = host.generate().await;
    let (_, m1) = TestDevice::new("iPad").hello(&offer.link);
    let with = |at: usize, byte: u8| {
        let mut changed = m1.clone();
        changed[at] = byte;
        Message::binary(changed)
    };
    let longer = |len: usize| {
        let mut longer = m1.clone();
        longer.resize(len, 0);
        Message::binary(longer)
    };
    for (what, message, code) in [
        ("text", Message::text("GET / HTTP/1.1"), "CPL-1701"),
        ("nothing", Message::binary(Vec::new()), "CPL-1701"),
        ("a header alone", Message::binary(m1[..13].to_vec()), "CPL-1701"),
        ("M2", with(0, 2), "CPL-1701"),
        ("a frame", with(0, 0x11), "CPL-1701"),
        ("version 0", with(1, 0), "CPL-1606"),
        ("version 2", with(1, 2), "CPL-1606"),
        ("suite 2", with(2, 2), "CPL-1606"),
        ("mode 0", with(3, 0), "CPL-1701"),
        ("mode 3", with(3, 3), "CPL-1701"),
        ("more suites than offered", with(4, 3), "CPL-1606"),
        ("no suites", with(4, 0), "CPL-1606"),
        ("another offer", with(5, m1[5] ^ 1), "CPL-1201"),
        ("a device that comes back", with(3, 2), "CPL-1103"),
        ("a byte more", longer(m1.len() + 1), "CPL-1701"),
        ("M1 at its longest", longer(4096), "CPL-1701"),
        ("M1 a byte too long", longer(4097), "CPL-1701"),
    ] {
        assert_eq!(instead_of_m1(&host, message).await, refused(code), "{what}");
    }
    // Longer than any frame may be: the WebSocket is not read on.
    assert_eq!(instead_of_m1(&host, longer(16_641)).await, Said::Gone);
    let close = instead_of_m1(&host, Message::Close(None)).await;
    assert!(matches!(close, Said::Gone | Said::Refused(_)), "{close:?}");
    still_pairs(&host, &offer).await;
}

#[tokio::test]
async fn a_changed_m1_is_refused_and_uses_nothing_up() {
    let host = host().await;
    let offer = host.generate().await;
    let (_, m1) = TestDevice::new("iPad").hello(&offer.link);
    for at in 0..m1.len() {
        let mut changed = m1.clone();
        changed[at] ^= 1 << (at % 8);
        let said = instead_of_m1(&host, Message::binary(changed)).await;
        assert!(matches!(said, Said::Refused(_)), "byte {at}: {said:?}");
    }
    for len in (0..m1.len()).step_by(7) {
        assert_eq!(instead_of_m1(&host, Message::binary(m1[..len].to_vec())).await, refused("CPL-1701"), "{len}");
    }
    assert_eq!(devices(&host).await, 0);
    still_pairs(&host, &offer).await;
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused() {
    let host = host().await;
    let (offer, other) = (host.generate().await, host.generate().await);
    let (ours, theirs) = (Offer::from_link(&offer.link).unwrap(), Offer::from_link(&other.link).unwrap());
    let device = TestDevice::new("iPad");

    // A secret that nobody offered.
    let unknown = Offer { secret: OfferSecret::new([7; 16]), ..ours.clone() };
    let (_, m1) = device.hello(&unknown.to_link(LinkForm::App));
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1201"));
    // The secret of one offer under the name of another.
    let (_, mut m1) = device.hello(&other.link);
    m1[5..13].copy_from_slice(&ours.keys().unwrap().offer_id);
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1701"));
    // Another host's key: what someone between them would put into the link.
    let elsewhere = Offer { host_key: TestDevice::new("x").key.public(), ..ours.clone() };
    let (_, m1) = device.hello(&elsewhere.to_link(LinkForm::App));
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1701"));
    // The end that the link names counts among its keys.
    let later = Offer { expires_at: ours.expires_at + 60, ..ours };
    let (_, m1) = device.hello(&later.to_link(LinkForm::App));
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1701"));
    drop(theirs);
    still_pairs(&host, &offer).await;
    still_pairs(&host, &other).await;
}

#[tokio::test]
async fn a_recorded_m1_is_dropped_and_not_counted() {
    let host = host().await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let (initiator, m1) = device.hello(&offer.link);
    let answered = Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1.clone()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(instead_of_m1(&host, Message::binary(m1.clone())).await, refused("CPL-1701"));
    }
    let mut sealed = answered.confirm().await;
    let grant = sealed.granted().await;
    sealed.send(&Control::Ack).await;
    assert_eq!(sealed.said().await, Said::Control(Control::Paired));
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1203"));

    let (initiator, m1) = device.hello_again(&keys(&offer.link, &grant));
    let answered = Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1.clone()).await.unwrap();
    let (confirm, mut again) = answered.unconfirmed();
    let frame = again.seal(Content::Control(&confirm.encode().unwrap()));
    again.send_raw(frame.clone()).await;
    host.event("session.opened", |_| true).await;
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1701"));
    // Nor does a recorded frame open another session.
    let (initiator, m1) = device.hello_again(&keys(&offer.link, &grant));
    let other = Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1).await.unwrap();
    assert_eq!(other.send(Message::binary(frame)).await, refused("CPL-1701"));
}

/// Misbehaves once the host has answered.
type Misbehaviour = fn(Control, Sealed) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

async fn sends(sealed: &mut Sealed, frame: Vec<u8>) {
    sealed.send_raw(frame).await;
    let said = sealed.said().await;
    assert_eq!(said, refused("CPL-1701"));
}

#[tokio::test]
async fn the_third_answer_without_a_confirm_uses_the_offer_up() {
    let host = host().await;
    let misbehaviours: [(&str, Misbehaviour); 9] = [
        ("goes away", |_, sealed| Box::pin(async { drop(sealed) })),
        ("closes the WebSocket", |_, mut sealed| Box::pin(async move { sealed.socket.close(None).await.unwrap() })),
        ("sends noise", |_, mut sealed| Box::pin(async move { sends(&mut sealed, vec![0x11; 300]).await })),
        ("sends an empty message", |_, mut sealed| Box::pin(async move { sends(&mut sealed, Vec::new()).await })),
        ("changes its confirm", |confirm, mut sealed| {
            Box::pin(async move {
                let mut frame = sealed.seal(Content::Control(&confirm.encode().unwrap()));
                *frame.last_mut().unwrap() ^= 1;
                sends(&mut sealed, frame).await;
            })
        }),
        ("reveals another nonce", |_, mut sealed| {
            Box::pin(async move {
                let other = Control::Confirm { reveal: Some(fresh()), rooms: None };
                let frame = sealed.seal(Content::Control(&other.encode().unwrap()));
                sends(&mut sealed, frame).await;
            })
        }),
        ("reveals no nonce", |_, mut sealed| {
            Box::pin(async move {
                let none = Control::Confirm { reveal: None, rooms: None };
                let frame = sealed.seal(Content::Control(&none.encode().unwrap()));
                sends(&mut sealed, frame).await;
            })
        }),
        ("begins with data", |_, mut sealed| {
            Box::pin(async move {
                let frame = sealed.seal(Content::Data(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
                sends(&mut sealed, frame).await;
            })
        }),
        ("closes the session", |_, mut sealed| {
            Box::pin(async move {
                let mut frame = Vec::new();
                sealed.session.sealer.seal_close(CloseCode::Done, &mut frame).unwrap();
                sends(&mut sealed, frame).await;
            })
        }),
    ];
    for three in misbehaviours.chunks(3) {
        let offer = host.generate().await;
        for (_, misbehave) in three {
            let (confirm, sealed) = answered(&host, &offer.link).await.unconfirmed();
            misbehave(confirm, sealed).await;
        }
        host.event("offer.expired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
        let late = TestDevice::new("Late").claim(host.pairing_url(), &offer.link).await;
        assert_eq!(
            late.unwrap_err(),
            refused("CPL-1201"),
            "{:?}",
            three.iter().map(|(what, _)| what).collect::<Vec<_>>()
        );
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "Late" });
        let token = host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
        assert_eq!(token.status(), 400, "its other credential ends with it");
    }
    assert_eq!(devices(&host).await, 0);
}

#[tokio::test]
async fn two_that_go_away_leave_the_offer_to_the_third() {
    let host = host().await;
    let offer = host.generate().await;
    for _ in 0..2 {
        drop(answered(&host, &offer.link).await);
    }
    still_pairs(&host, &offer).await;
}

/// Whoever photographed the code could wait until one of many check codes is the one that the owner types.
#[tokio::test]
async fn only_three_devices_hold_an_answer_at_a_time() {
    let host = host().await;
    let offer = host.generate().await;
    let held = [answered(&host, &offer.link).await, answered(&host, &offer.link).await];
    let last = answered(&host, &offer.link).await;
    let (initiator, m1) = TestDevice::new("Fourth").hello(&offer.link);
    let fourth = Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1).await;
    assert_eq!(fourth.unwrap_err(), refused("CPL-1218"));
    let mut sealed = last.confirm().await;
    sealed.granted().await;
    for held in held {
        assert_eq!(held.confirm().await.rejected().await, "CPL-1203");
    }
}

#[tokio::test]
async fn who_is_silent_is_let_go_after_ten_seconds() {
    let host = host().await;
    let (offer, began) = (host.generate().await, Instant::now());
    let mut silent = Unsealed::open(host.pairing_url()).await;
    let answers =
        [answered(&host, &offer.link).await, answered(&host, &offer.link).await, answered(&host, &offer.link).await];
    assert_eq!(silent.receive().await, Err(refused("CPL-1701")));
    let waited = began.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(25)).contains(&waited), "{waited:?}");
    for answered in answers {
        let (_, mut sealed) = answered.unconfirmed();
        assert_eq!(sealed.said().await, refused("CPL-1701"));
    }
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(40), "{waited:?}");
    host.event("offer.expired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
}

/// Of one device; the others' places are not its to take.
#[tokio::test]
async fn the_newest_answer_takes_the_place_of_the_oldest() {
    let host = host().await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let (grant, _sealed) = device.pair(host.pairing_url(), &offer.link).await;
    let keys = keys(&offer.link, &grant);
    let mut held = Vec::new();
    for _ in 0..3 {
        let (initiator, m1) = device.hello_again(&keys);
        held.push(Unsealed::open(host.pairing_url()).await.shake_hands(initiator, m1).await.unwrap());
    }
    let newest = held.pop().unwrap();
    let (_, mut oldest) = held.remove(0).unconfirmed();
    assert_eq!(oldest.said().await, refused("CPL-1013"));
    let before = opened(&host);
    let _newest = newest.confirm().await;
    let _second = held.remove(0).confirm().await;
    e2e::eventually("both come in", e2e::host::PATIENCE, async || opened(&host) == before + 2).await;
}

fn opened(host: &TestHost) -> usize {
    host.printed().matches("session.opened").count()
}

#[tokio::test]
async fn half_of_the_keys_opens_nothing() {
    let host = host().await;
    let offer = host.generate().await;
    let device = TestDevice::new("iPad");
    let (grant, _sealed) = device.pair(host.pairing_url(), &offer.link).await;
    let keys = keys(&offer.link, &grant);
    let come_back = async |device: &TestDevice, keys: &PairingKeys| device.reconnect(host.pairing_url(), keys).await;

    // The pairing's secret without the device's key.
    let thief = TestDevice::new("iPad");
    assert_eq!(come_back(&thief, &keys).await.unwrap_err(), refused("CPL-1701"));
    // The device's key without the pairing's secret.
    let guessed = PairingKeys { psk: Psk::new([7; 32]), ..keys.clone() };
    let (initiator, m1) = device.hello_again(&guessed);
    let error = Unsealed::open(host.pairing_url()).await.shake_hands_in_vain(initiator, m1).await;
    assert_eq!(error, HandshakeError::Failed);
    // A pairing that does not exist, and another suite than was agreed on.
    let unknown = PairingKeys { psk_id: [7; 8], ..keys.clone() };
    assert_eq!(come_back(&device, &unknown).await.unwrap_err(), refused("CPL-1103"));
    let (_, m1) = Initiator::reconnect(&PairingKeys { suites: 3, ..keys.clone() }, &device.key, fresh()).unwrap();
    assert_eq!(instead_of_m1(&host, Message::binary(m1)).await, refused("CPL-1606"));
    // Both.
    assert!(come_back(&device, &keys).await.is_ok());
}

#[tokio::test]
async fn a_hundred_devices_and_one_link() {
    let host = host().await;
    let offer = host.generate().await;
    let mut tries = tokio::task::JoinSet::new();
    for n in 1..=100 {
        let (url, link) = (host.pairing_url().to_owned(), offer.link.clone());
        tries.spawn(async move {
            let mut sealed = match TestDevice::new(&format!("Device {n}")).claim(&url, &link).await {
                Ok(sealed) => sealed,
                Err(Said::Refused(code)) => return code,
                Err(other) => panic!("{other:?}"),
            };
            match sealed.said().await {
                Said::Control(Control::Grant(_)) => {
                    sealed.send(&Control::Ack).await;
                    assert_eq!(sealed.said().await, Said::Control(Control::Paired));
                    "paired".to_owned()
                }
                Said::Control(Control::Rejected { code }) | Said::Refused(code) => code,
                other => panic!("{other:?}"),
            }
        });
    }
    let ends = tries.join_all().await;
    let count = |wanted: &str| ends.iter().filter(|end| *end == wanted).count();
    assert_eq!(count("paired"), 1, "{ends:?}");
    assert_eq!(count("CPL-1203") + count("CPL-1218") + count("CPL-1013"), 99, "{ends:?}");
    assert_eq!(devices(&host).await, 1);
}

#[tokio::test]
async fn both_credentials_of_an_offer_pair_one_device() {
    let host = host().await;
    for _ in 0..5 {
        let offer = host.generate().await;
        let before = devices(&host).await;
        let (token, link) = tokio::join!(
            async {
                let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "By token" });
                host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap().status().as_u16()
            },
            async {
                match TestDevice::new("By link").claim(host.pairing_url(), &offer.link).await {
                    Ok(mut sealed) => matches!(sealed.said().await, Said::Control(Control::Grant(_))),
                    Err(_) => false,
                }
            }
        );
        assert!((token == 200) != link, "{token} {link}");
        assert_eq!(devices(&host).await, before + 1);
        let late = TestDevice::new("Late").claim(host.pairing_url(), &offer.link).await;
        assert_eq!(late.unwrap_err(), refused("CPL-1203"));
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "Late" });
        assert_eq!(host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap().status(), 410);
    }
}
