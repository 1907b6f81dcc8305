//! A relay as its operator sees it: `couplet relay serve`, `invite`, `hosts`, `check`.

use std::path::Path;

use couplet_protocol::EnrollmentToken;
use e2e::{Relay, program};
use serde_json::Value;

fn run(state: &Path, args: &[&str]) -> (i32, String, String) {
    let output = program::couplet().arg("relay").args(args).arg("--state-dir").arg(state).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_relay_says_where_it_is_invites_checks_and_ends_in_good_order() {
    let mut relay = Relay::start().await;
    assert!(relay.ready_text("public").starts_with("https://localhost:"), "{}", relay.ready());
    let (code, token, said) = relay.run(&["invite", "--for", "10m"]);
    assert_eq!(code, 0, "{said}");
    let token = EnrollmentToken::parse(&token).unwrap();
    assert_eq!(format!("https://{}", token.relay), relay.ready_text("public"));
    assert_eq!(format!("https://{}", token.hosts), relay.ready_text("hosts"));
    let (code, invited, _) = relay.run(&["invite", "--json"]);
    let invited: Value = serde_json::from_str(&invited).unwrap();
    assert!(code == 0 && EnrollmentToken::parse(invited["token"].as_str().unwrap()).is_ok());

    let (code, listed, said) = relay.run(&["hosts"]);
    assert_eq!((code, listed.as_str()), (0, ""), "{said}");
    assert!(said.contains("couplet relay invite"), "{said}");
    let (_, listed, _) = relay.run(&["hosts", "list", "--json"]);
    assert_eq!(listed.trim(), r#"{"hosts":[]}"#);
    let (code, _, said) = relay.run(&["hosts", "revoke", "3f2a"]);
    assert!(code == 2 && said.contains("--yes"), "{code}: {said}");
    let (code, _, said) = relay.run(&["hosts", "revoke", "3f2a", "--yes"]);
    assert!(code == 1 && said.contains("CPL-1824"), "{code}: {said}");

    let (code, found, said) =
        relay.run(&["check", relay.ready_text("public"), "--relay-ca", relay.ready_text("ca"), "--json"]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((code, &found["ok"], found["steps"].as_array().unwrap().len()), (0, &Value::Bool(true), 7), "{said}");
    let (public, hosts, ca) = (relay.ready_text("public"), relay.ready_text("hosts"), relay.ready_text("ca"));
    let (code, found, said) = relay.run(&["check", public, "--relay-ca", ca]);
    assert!(code == 0 && found.contains("can be used by devices.") && found.contains("--hosts NAME:PORT"), "{said}");
    let port = public.rsplit(':').next().unwrap();
    let apps = format!("apps        *.apps.localhost:{port}, trusted, for the pages at https://localhost:{port}\n");
    assert!(found.contains(&apps), "{found}");
    let (code, found, said) = relay.run(&["check", public, "--relay-ca", ca, "--hosts", hosts]);
    assert!(code == 0 && found.contains("hosts' TLS  trusted, and asks for the host's"), "{code}: {found}{said}");
    assert!(found.ends_with(" can be used.\n"), "{found}");

    // A second one does not disturb it.
    let again = ["serve", "--dev", "--listen", "127.0.0.1:0", "--hosts-listen", "127.0.0.1:0"];
    let (code, _, said) = relay.run(&again);
    assert!(code == 1 && said.contains("CPL-1403"), "{code}: {said}");
    assert_eq!(relay.run(&["hosts"]).0, 0);

    relay.stop();
    assert_eq!(relay.ends().await, Some(0), "{}", relay.written());
    let written = relay.written();
    assert!(!written.contains("enr_"), "{written}");
    let (code, _, said) = relay.run(&["invite"]);
    assert!(code == 5 && said.contains("CPL-1816"), "{code}: {said}");
}

#[tokio::test]
async fn a_check_says_which_step_fails_and_what_to_do() {
    let relay = Relay::start().await;
    let check = |args: &[&str], part: &str| {
        let (code, found, said) = relay.run(&[&["check"], args].concat());
        assert!(code == 1 && said.contains(part), "{args:?}: {code}\n{found}{said}");
    };
    check(&[relay.ready_text("public")], "--relay-ca FILE");
    check(&["localhost:1"], "CPL-1819");
    check(&["no.such.name.invalid"], "CPL-1819");
    check(
        &[&relay.ready_text("public").replace("localhost", "127.0.0.2"), "--relay-ca", relay.ready_text("ca")],
        "CPL-1819",
    );
    // The hosts' listener asks for a certificate, and the devices' for none.
    let (public, hosts, ca) = (relay.ready_text("public"), relay.ready_text("hosts"), relay.ready_text("ca"));
    for part in ["CPL-1819", "Is this the devices' port of the relay? The hosts' asks for a certificate"] {
        check(&[hosts, "--relay-ca", ca], part);
    }
    for part in ["CPL-1823", "asks for no certificate", "Is this the hosts' port of the relay"] {
        check(&[public, "--relay-ca", ca, "--hosts", public], part);
    }
    check(&[public, "--relay-ca", ca, "--hosts", "localhost:1"], "CPL-1819");
    // Another relay has another CA.
    let other = Relay::start().await;
    for part in ["CPL-1820", "ca.pem in the relay's state folder"] {
        check(&[public, "--relay-ca", ca, "--hosts", other.ready_text("hosts")], part);
    }
    // Apps whose name leads nowhere: phones could not open any.
    let lost = Relay::start_with(&["--apps-domain", "apps.nowhere.invalid"]).await;
    for part in ["CPL-1819", "does the DNS have *.apps.nowhere.invalid"] {
        check(&[lost.ready_text("public"), "--relay-ca", lost.ready_text("ca")], part);
    }
    // Plain HTTP.
    check(&[&relay.private_url().replace("http://", "")], "CPL-1819");
    let (code, _, said) = relay.run(&["check", "https://localhost/p"]);
    assert!(code == 2 && said.contains("without a path"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_started_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    for (args, part) in [
        (vec!["serve"], "--tls-cert FILE"),
        (vec!["serve", "--dev", "--tls-cert", "x"], "leave --tls-cert"),
        (vec!["serve", "--tls-cert", "/nowhere", "--tls-key", "/nowhere", "--name", "r.example"], "/nowhere"),
        (vec!["serve", "--dev", "--listen", "192.0.2.1:0"], "CPL-1402"),
        (vec!["serve", "--dev", "--name", "https://r.example"], "without https://"),
    ] {
        let (code, _, said) = run(&state, &args);
        assert!(code == 1 && said.contains(part), "{args:?}: {code}: {said}");
    }
}
