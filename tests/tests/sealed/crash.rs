//! The power fails in the middle of pairing: whichever line it was, both ends are unpaired or both can go on.

use couplet_protocol::api::{DeviceList, GenerateAnswer};
use couplet_protocol::message::{Control, Grant};
use e2e::device::{Said, Sealed, keys};
use e2e::{TestDevice, TestHost};
use reqwest::Method;
use serde_json::json;

async fn host(approve: &str, failpoint: &str) -> TestHost {
    TestHost::start(|setup| {
        setup.arg("--approve").arg(approve).failpoint(failpoint).movable_clock();
    })
    .await
}

async fn device_count(host: &TestHost) -> usize {
    let list: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    list.devices.len()
}

async fn approve(host: &TestHost, offer: &GenerateAnswer, code: String) {
    let path = format!("/api/pair/pairings/{}/approve", offer.offer_id);
    let (owner, body) = (host.owner(), json!({ "check_code": code }));
    // Whether the answer comes depends on the line at which the host stops.
    tokio::spawn(async move { owner.post(&path).json(&body).send().await });
}

/// Claims, with the owner's word where it is asked for.
async fn claim(host: &TestHost, device: &TestDevice, offer: &GenerateAnswer, asks: bool) -> Sealed {
    let sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    if asks {
        host.event("approval.wanted", |event| event["pairing_id"] == json!(offer.offer_id)).await;
        approve(host, offer, sealed.check_code.show()).await;
    }
    sealed
}

/// Pairs until the host stands at this line, and pulls the plug there. What the device has by then.
async fn until(
    host: &mut TestHost,
    point: &str,
    offer: &GenerateAnswer,
    device: &TestDevice,
    asks: bool,
) -> Option<Grant> {
    let mut sealed = claim(host, device, offer, asks).await;
    let grant = match point {
        "sealed.before_commit" | "sealed.grant_committed" => None,
        _ => Some(sealed.granted().await),
    };
    if matches!(point, "sealed.ack_received" | "sealed.delivered") {
        sealed.send(&Control::Ack).await;
    }
    host.failpoint(point).await;
    host.kill().await;
    assert_eq!(sealed.said().await, Said::Gone, "{point}: it never said that they are paired");
    host.without_failpoint();
    host.restart().await;
    grant
}

#[tokio::test]
async fn a_grant_that_was_sent_is_good_for_both() {
    for approve in ["never", "always"] {
        for point in ["sealed.grant_sent", "sealed.ack_received", "sealed.delivered"] {
            let mut host = host(approve, point).await;
            let (offer, device) = (host.generate().await, TestDevice::new("iPad"));
            let grant = until(&mut host, point, &offer, &device, approve == "always").await.unwrap();
            assert_eq!(device_count(&host).await, 1, "{point}");
            let used = device.claim(host.pairing_url(), &offer.link).await;
            assert_eq!(used.unwrap_err(), Said::Refused("CPL-1203".into()), "{point}: the offer stays used");
            let _back = device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await.unwrap();
            host.event("session.opened", |event| event["device_id"] == json!(grant.device_id)).await;
            let me = host.device(&grant.device_token).get("/api/pair/me").send().await.unwrap();
            assert_eq!(me.status(), 200, "{point}: its token is good as well");
            // It is paired for good: the wait for its first use is over.
            host.set_clock("+601");
            host.restart().await;
            assert_eq!(device_count(&host).await, 1, "{point}");
            device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_grant_that_was_never_sent_leaves_both_unpaired() {
    for approve in ["never", "always"] {
        let mut host = host(approve, "sealed.grant_committed").await;
        let (offer, device) = (host.generate().await, TestDevice::new("iPad"));
        let nothing = until(&mut host, "sealed.grant_committed", &offer, &device, approve == "always").await;
        assert!(nothing.is_none());
        // The same device pairs anew meanwhile.
        let again = host.generate().await;
        let mut sealed = claim(&host, &device, &again, approve == "always").await;
        let grant = sealed.granted().await;
        sealed.send(&Control::Ack).await;
        assert_eq!(sealed.said().await, Said::Control(Control::Paired));
        host.set_clock("+601");
        host.event("offer.expired", |event| event["pairing_id"] == json!(offer.offer_id)).await;
        assert_eq!(device_count(&host).await, 1);
        device.reconnect(host.pairing_url(), &keys(&again.link, &grant)).await.unwrap();
    }
}

#[tokio::test]
async fn an_offer_whose_grant_was_not_written_can_be_claimed_again() {
    for approve in ["never", "always"] {
        let mut host = host(approve, "sealed.before_commit").await;
        let (offer, device) = (host.generate().await, TestDevice::new("iPad"));
        let nothing = until(&mut host, "sealed.before_commit", &offer, &device, approve == "always").await;
        assert!(nothing.is_none());
        assert_eq!(device_count(&host).await, 0);
        let mut sealed = claim(&host, &device, &offer, approve == "always").await;
        let grant = sealed.granted().await;
        sealed.send(&Control::Ack).await;
        assert_eq!(sealed.said().await, Said::Control(Control::Paired));
        assert_eq!(device_count(&host).await, 1);
        device.reconnect(host.pairing_url(), &keys(&offer.link, &grant)).await.unwrap();
    }
}

/// The owner is being asked when the power fails.
#[tokio::test]
async fn a_claim_that_was_not_decided_frees_its_offer() {
    let mut host = host("always", "none").await;
    let (offer, device) = (host.generate().await, TestDevice::new("iPad"));
    let sealed = device.claim(host.pairing_url(), &offer.link).await.unwrap();
    host.event("approval.wanted", |_| true).await;
    host.kill().await;
    drop(sealed);
    host.without_failpoint();
    host.restart().await;
    claim(&host, &device, &offer, true).await.granted().await;
}
