//! The phone's client, served by the host itself: pages over TLS under its owner's name, and nothing of the host.

use std::net::SocketAddr;
use std::path::Path;

use e2e::host::PATIENCE;
use e2e::laptop::curl;
use e2e::{Running, TestHost, eventually, free_port};

const LABEL: &str = "abcdefghijklmnopqrstuvwxyz.apps.home.test";

/// Makes a certificate for these names, and puts it where the host reads it, whole at once, and into a file that trusts it.
fn certify(folder: &Path, names: &[&str], trusted: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join(trusted), made.pem()).unwrap();
    let pem = format!("{}{}", made.pem(), key.serialize_pem());
    std::fs::write(folder.join("new.pem"), pem).unwrap();
    std::fs::rename(folder.join("new.pem"), folder.join("both.pem")).unwrap();
}

/// What `couplet doctor` says of these parts.
async fn doctor(host: &TestHost, parts: &[&str]) -> String {
    let only = parts.iter().flat_map(|part| ["--only", part]);
    let command = host.command(&std::iter::once("doctor").chain(only).collect::<Vec<_>>());
    let (_, said, _) = Running::start(command).ended(PATIENCE).await;
    said
}

/// Whoever trusts this certificate asks: head and body of the answer; none where that is not whom they reach.
async fn get(trusted: &Path, address: SocketAddr, name: &str, path: &str) -> Option<(String, String)> {
    let port = address.port();
    let (resolve, url) = (format!("{name}:{port}:{}", address.ip()), format!("https://{name}:{port}{path}"));
    let ca = trusted.display().to_string();
    let (code, answer, _) =
        Running::start(curl(&["-i", "--cacert", &ca, "--resolve", &resolve, &url])).ended(PATIENCE).await;
    let (head, body) = answer.split_once("\r\n\r\n").or_else(|| answer.split_once("\n\n"))?;
    (code == 0).then(|| (head.to_ascii_lowercase(), body.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_get_the_client_from_a_host_whose_owner_has_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["home.test", "*.apps.home.test"];
    certify(folder.path(), &names, "first.pem");
    let first = &folder.path().join("first.pem");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let mut host = TestHost::start(|setup| {
        let file = |name| folder.path().join(name).display().to_string();
        setup.env("COUPLET_PHONE_NAME", format!("home.test:{}", address.port()));
        setup.env("COUPLET_PHONE_LISTEN", address.to_string()).env("COUPLET_PHONE_APPS_DOMAIN", "apps.home.test");
        setup.env("COUPLET_PHONE_CERT", file("both.pem")).env("COUPLET_PHONE_KEY", file("both.pem"));
    })
    .await;
    let (page, _) = get(first, address, "home.test", "/p").await.unwrap();
    assert!(page.starts_with("http/1.1 200") && page.contains("content-type: text/html"), "{page}");
    let (_, config) = get(first, address, "home.test", "/p/config.json").await.unwrap();
    assert_eq!(config.trim(), format!(r#"{{"apps":"https://*.apps.home.test:{}"}}"#, address.port()));
    let (keeper, _) = get(first, address, LABEL, "/.couplet/keeper").await.unwrap();
    assert!(keeper.starts_with("http/1.1 200"), "{keeper}");
    assert!(keeper.contains(&format!("frame-ancestors https://home.test:{};", address.port())), "{keeper}");
    // Nothing of the host is there.
    for path in ["/", "/health", "/api/pair/status", "/livez", "/dashboard.js", "/pair"] {
        for name in ["home.test", LABEL] {
            let (head, _) = get(first, address, name, path).await.unwrap();
            assert!(head.starts_with("http/1.1 404"), "{name}{path}: {head}");
        }
    }

    let said = doctor(&host, &["certificates", "addresses"]).await;
    assert!(said.contains("The certificate of the pages for phones lasts until"), "{said}");
    for name in ["home.test", "*.apps.home.test"] {
        assert!(said.contains(&format!("{name} leads nowhere: phones find no pages")), "{said}");
    }

    // A certificate that cannot be used changes nothing; one that can is shown without a restart.
    certify(folder.path(), &["other.test"], "other.pem");
    let refused =
        || host.logs().lines().any(|line| line.contains("keeps its certificate") && line.contains("home.test"));
    eventually("it is refused", PATIENCE, async || refused()).await;
    assert!(get(first, address, "home.test", "/p").await.is_some());
    let said = doctor(&host, &["certificates"]).await;
    assert!(said.contains("cannot be used:") && said.contains("is for other names than home.test"), "{said}");
    certify(folder.path(), &names, "second.pem");
    let second = &folder.path().join("second.pem");
    eventually("the new one is shown", PATIENCE, async || get(second, address, "home.test", "/p").await.is_some())
        .await;
    assert!(get(first, address, "home.test", "/p").await.is_none());
    host.stop().await;
}
