//! `couplet connect` with a link that leads through a relay which does not lead to the host.

use couplet_protocol::offer::{LinkForm, SUITE_1};
use couplet_protocol::secret::OfferSecret;
use couplet_protocol::{Endpoint, Offer, RelayName, StaticSecret};
use e2e::{Laptop, Relay, TestApp};

fn link(relay: &str) -> String {
    let offer = Offer {
        suites: SUITE_1,
        expires_at: u32::MAX,
        secret: OfferSecret::new([1; 16]),
        host_key: StaticSecret::new([2; 32]).unwrap().public(),
        endpoints: vec![Endpoint::Relay(RelayName::parse(relay).unwrap())],
    };
    offer.to_link(LinkForm::Web)
}

#[tokio::test]
async fn what_a_relay_refuses_is_said_with_its_name_and_the_next_step() {
    let mut relay = Relay::start().await;
    let (name, ca) = (relay.name(), relay.ca());
    let (name, ca) = (name.as_str(), ca.to_str().unwrap());
    let (laptop, link) = (Laptop::new(), link(name));
    assert!(link.starts_with("HTTPS://LOCALHOST:"));

    let (code, _, said) = laptop.run(&[&link]).await;
    for part in ["CPL-1820", name, "does not trust", "--relay-ca FILE"] {
        assert!(code == 1 && said.contains(part), "{part}: {code}: {said}");
    }
    // A link is read in any case.
    for link in [link.clone(), link.to_lowercase()] {
        let (code, _, said) = laptop.run(&[&link, "--relay-ca", ca]).await;
        for part in ["CPL-1801", name, "Ask for a new link"] {
            assert!(code == 1 && said.contains(part), "{part}: {code}: {said}");
        }
    }
    for (file, part) in [("/nowhere.pem", "/nowhere.pem"), ("/dev/null", "no certificate in PEM")] {
        let (code, _, said) = laptop.run(&[&link, "--relay-ca", file]).await;
        assert!(code == 2 && said.contains(part), "{part}: {code}: {said}");
    }
    assert!(!laptop.folder().exists(), "nothing is kept");

    relay.kill().await;
    let (code, _, said) = laptop.run(&[&link, "--relay-ca", ca]).await;
    for part in ["CPL-1819", name, "couplet relay check"] {
        assert!(code == 1 && said.contains(part), "{part}: {code}: {said}");
    }
}

#[tokio::test]
async fn two_hosts_of_one_relay_are_two_hosts() {
    let (relay, app, laptop) = (Relay::start().await, TestApp::start().await, Laptop::new());
    for name in ["nas", "den"] {
        let host = relay.host(|setup| {
            setup.app(app.url()).env("COUPLET_NAME", name).env("COUPLET_APPROVE", "never");
        });
        let host = host.await;
        let link = host.generate().await.link;
        let ca = relay.ca();
        let forwarder = laptop.connect(&[&link, "--relay-ca", ca.to_str().unwrap()]).await;
        assert_eq!(forwarder.caller().get("/").send().await.unwrap().text().await.unwrap(), "hello\n", "{name}");
        forwarder.stop().await;
    }
}
