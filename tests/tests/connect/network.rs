//! Host and laptop on two machines, as far as the kernel is concerned: what the network between them sees, and what
//! becomes of a session when it is cut.

use std::path::PathBuf;

use e2e::canary::{ANSWERED, ASKED, PATH, UPSTREAM, holds};
use e2e::host::PATIENCE;
use e2e::machines::HOST;
use e2e::{Forwarder, Laptop, Machines, Running, canary, eventually, program};
use serde_json::Value;

/// Writes every packet of an interface into a file.
const CAPTURE: &str = r#"
import socket, sys
packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
packets.bind(("lan0", 0))
packets.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
print("ready", flush=True)
with open(sys.argv[1], "wb", buffering=0) as file:
    while True:
        file.write(packets.recv(1 << 18))
"#;

/// A host and a laptop, with the app on the host.
struct World {
    machines: Machines,
    _app: Running,
}

impl World {
    async fn start(name: &str, unsealed: bool) -> Self {
        Self::start_with(name, unsealed, &["--listen", &format!("{HOST}:7878")]).await
    }

    async fn start_with(name: &str, unsealed: bool, listen: &[&str]) -> Self {
        let mut machines = Machines::new(name).await;
        let app = canary::start(&machines).await;
        if unsealed {
            machines.unseal();
        }
        machines.serve(&[&[UPSTREAM], listen].concat()).await;
        World { machines, _app: app }
    }

    fn curl(&self, path: &str) -> Running {
        canary::curl(&self.machines, path)
    }

    /// Whether the laptop's programs get the app's answer.
    async fn works(&self) -> bool {
        canary::works(&self.machines).await
    }

    /// Begins to keep every packet between the two.
    async fn capture(&self) -> (Running, PathBuf) {
        let file = self.machines.folder().join("packets");
        let python = program::path().join("python3");
        let capture =
            Running::start(self.machines.near().exec(python.as_os_str(), &["-c", CAPTURE, file.to_str().unwrap()]));
        capture.wait_for_line(PATIENCE, |line| line == "ready").await;
        (capture, file)
    }
}

/// Pairs and uses the app while every packet is kept.
async fn packets(name: &str, unsealed: bool) -> Vec<u8> {
    let world = World::start(name, unsealed).await;
    let (capture, file) = world.capture().await;
    let forwarder = world.machines.pair().await;
    assert!(world.works().await);
    forwarder.stop().await;
    // The last packets are there when those of the next connection are.
    let again = Forwarder::ready(world.machines.connect(&[])).await;
    assert!(world.works().await);
    again.stop().await;
    eventually("both sessions were captured", PATIENCE, async || {
        std::fs::read(&file).unwrap().windows(24).filter(|bytes| *bytes == b"GET /api/pair/tunnel HTT").count() >= 2
    })
    .await;
    drop(capture);
    std::fs::read(&file).unwrap()
}

#[tokio::test]
async fn the_network_sees_frames_and_nothing_else() {
    let sealed = packets("sealed", false).await;
    assert!(sealed.len() > 2 * 1000 * ANSWERED.len(), "{} bytes", sealed.len());
    for canary in [ASKED, ANSWERED, PATH, "Laptop", "X-Canary", "device_token"] {
        assert!(!holds(&sealed, canary), "{canary} was seen on the network");
    }
    // The same look finds it where nothing is sealed, so it could have failed.
    let unsealed = packets("unsealed", true).await;
    assert!(holds(&unsealed, ANSWERED));
}

#[tokio::test]
async fn a_link_that_is_cut_and_mended_needs_no_new_pairing() {
    let world = World::start("cut", false).await;
    let mut forwarder = world.machines.pair().await;
    let mut download = world.curl("/endless");
    download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
    world.machines.cut().await;
    // While somebody waits for an answer, a silent host is noticed within ten seconds.
    forwarder.state("offline").await;
    assert!(!download.wait(PATIENCE).await.success(), "a part must not look whole");
    world.machines.mend().await;
    forwarder.state("direct").await;
    assert!(world.works().await);
    forwarder.stop().await;
}

#[tokio::test]
async fn a_short_cut_is_not_even_noticed() {
    let world = World::start("short", false).await;
    let forwarder = world.machines.pair().await;
    let download = world.curl("/endless");
    download.wait_for_line(PATIENCE, |line| line == ANSWERED).await;
    world.machines.cut().await;
    world.machines.mend().await;
    let lines = download.stdout.count();
    eventually("the download goes on", PATIENCE, async || download.stdout.count() > lines + 50).await;
    assert!(world.works().await);
    forwarder.stop().await;
}

#[tokio::test]
async fn a_laptop_that_is_in_another_network_now_comes_back_at_once() {
    let world = World::start("moved", false).await;
    let mut forwarder = world.machines.pair().await;
    // Nobody waits for an answer: a host that is merely silent would be noticed after a minute.
    let far = world.machines.far();
    far.ip("address add 192.168.77.9/24 dev lan0").await;
    far.ip("address delete 192.168.77.6/24 dev lan0").await;
    let began = std::time::Instant::now();
    // The kernel may have deleted the second address with the first.
    far.ip("address replace 192.168.77.9/24 dev lan0").await;
    let offline = forwarder.state("offline").await;
    assert!(offline["reason"].as_str().unwrap().contains("another network"), "{offline}");
    forwarder.state("direct").await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert!(world.works().await);
    forwarder.stop().await;
}

/// What the laptop keeps of where its host is.
fn endpoints(laptop: &Laptop) -> Vec<String> {
    let files = std::fs::read_dir(laptop.folder()).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|extension| extension == "json")).collect();
    let [file] = &files[..] else { panic!("one host: {files:?}") };
    let kept: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    kept["endpoints"].as_array().unwrap().iter().map(|place| place.as_str().unwrap().to_owned()).collect()
}

/// A host that moves to another network while a laptop is connected, and one that moved while it was not.
async fn moves(name: &str, listen: &[&str]) {
    let (first, second, third) = ("lan 192.168.77.5:7878", "lan 192.168.78.5:7878", "lan 192.168.79.5:7878");
    let world = World::start_with(name, false, listen).await;
    for network in ["192.168.78", "192.168.79"] {
        world.machines.far().ip(&format!("address add {network}.6/24 dev lan0")).await;
    }
    let mut forwarder = world.machines.pair().await;
    let knows = async |wanted: &[&str]| {
        eventually(&format!("it knows {wanted:?}"), PATIENCE, async || endpoints(world.machines.laptop()) == wanted)
            .await;
    };
    knows(&[first]).await;
    world.machines.near().ip("address add 192.168.78.5/24 dev lan0").await;
    knows(&[first, second]).await;
    world.machines.near().ip("address delete 192.168.77.5/24 dev lan0").await;
    // Whoever waits for an answer notices within ten seconds that nothing comes from there any more.
    let lost = world.curl("/endless");
    forwarder.state("offline").await;
    let direct = forwarder.state("direct").await;
    assert_eq!(direct["endpoint"], "192.168.78.5:7878", "{direct}");
    assert!(world.works().await);
    knows(&[second]).await;
    drop(lost);
    forwarder.stop().await;

    world.machines.near().ip("address add 192.168.79.5/24 dev lan0").await;
    let mut again = Forwarder::ready(world.machines.connect(&[])).await;
    again.state("direct").await;
    knows(&[second, third]).await;
    again.stop().await;
}

#[tokio::test]
async fn a_host_on_its_default_addresses_tells_where_it_moves() {
    moves("move", &[]).await;
}

#[tokio::test]
async fn a_host_on_every_address_tells_where_it_moves() {
    moves("any", &["--listen", "0.0.0.0:7878"]).await;
}
