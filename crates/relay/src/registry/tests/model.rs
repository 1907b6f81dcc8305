//! The registry against a model of a few lines, with restarts and the passing of time between any two steps.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::room::Mode;
use crate::store::embedded::Embedded;

const HOUR: u64 = 3600;
const LOCK: u64 = 900;

#[derive(Clone, Debug)]
enum Step {
    Register { host: usize, room: u8, secret: Option<u8>, token: Option<u8> },
    Remove { host: usize, room: u8 },
    Join { room: u8, secret: bool, n: u8, using: bool },
    Revoke { host: usize },
    Pass(u64),
    Sweep,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let (host, room, n) = (0..2_usize, 0..3_u8, 1..4_u8);
    let some = prop::option::of(n.clone());
    prop_oneof![
        6 => (host.clone(), room.clone(), some.clone(), some)
            .prop_map(|(host, room, secret, token)| Step::Register { host, room, secret, token }),
        2 => (host.clone(), room.clone()).prop_map(|(host, room)| Step::Remove { host, room }),
        8 => (room, any::<bool>(), n, any::<bool>()).prop_map(|(room, secret, n, using)| Step::Join { room, secret, n, using }),
        1 => Just(Step::Revoke { host: 1 }),
        2 => prop_oneof![1..20_u64, Just(LOCK), Just(HOUR - 1), Just(HOUR)].prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        3 => Just(Step::Restart),
    ]
}

/// A room: its host, its secret, its tokens with the time at which each was used, and whether it is open.
#[derive(Clone, Debug, Default)]
struct Known {
    host: usize,
    open: bool,
    secret: Option<u8>,
    token: Option<(u8, Option<u64>)>,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    rooms: HashMap<u8, Known>,
    revoked: [bool; 2],
    /// Failures and when they end, for rooms and for ids without a room.
    failures: HashMap<(u8, bool), (u32, u64)>,
}

impl Model {
    fn forget(&mut self) {
        let now = self.now;
        self.rooms.retain(|_, room| {
            let remembered = room.token.is_some_and(|(_, used)| used.is_none_or(|used| now < used + HOUR));
            room.secret.is_some() || remembered
        });
    }

    fn register(&mut self, host: usize, room: u8, secret: Option<u8>, token: Option<u8>) -> &'static str {
        self.forget();
        if secret.is_none() && token.is_none() {
            return "NoCredential";
        }
        if self.revoked[host] {
            return "NotEnrolled";
        }
        let before = self.rooms.get(&room);
        if before.is_some_and(|before| before.host != host) {
            return "NotYours";
        }
        let old = before.and_then(|before| before.token);
        let token = match token {
            Some(n) => Some((n, old.filter(|old| old.0 == n).and_then(|old| old.1))),
            None => old.filter(|old| old.1.is_some_and(|used| self.now < used + HOUR)),
        };
        self.rooms.insert(room, Known { host, open: true, secret, token });
        "ok"
    }

    fn remove(&mut self, host: usize, room: u8) -> &'static str {
        self.forget();
        match self.rooms.get(&room) {
            Some(known) if known.host != host => "NotYours",
            Some(known) if known.open => {
                let rest = known.token.map(|(n, used)| (n, Some(used.unwrap_or(self.now))));
                self.rooms.insert(room, Known { host, open: false, secret: None, token: rest });
                "true"
            }
            _ => "false",
        }
    }

    fn join(&mut self, room: u8, secret: bool, n: u8, using: bool) -> &'static str {
        self.forget();
        let (now, known) = (self.now, self.rooms.get_mut(&room));
        let key = (room, known.is_some());
        let locked = |failures: &HashMap<_, (u32, u64)>| failures.get(&key).is_some_and(|f| f.0 >= 3 && now < f.1);
        let token = known.as_ref().and_then(|known| known.token).filter(|token| !secret && token.0 == n);
        let right = match &known {
            Some(known) if secret => known.secret == Some(n),
            _ => token.is_some_and(|(_, used)| used.is_none_or(|used| now < used + HOUR)),
        };
        if !right {
            let failures = self.failures.entry(key).or_insert((0, 0));
            if now >= failures.1 {
                *failures = (0, now + LOCK);
            }
            failures.0 += 1;
            if failures.0 == 3 {
                failures.1 = now + LOCK;
            }
            return if locked(&self.failures) { "Locked" } else { "Invalid" };
        }
        match token {
            _ if locked(&self.failures) => "Locked",
            Some((_, Some(_))) => "TokenUsed",
            Some(_) => {
                if let Some(known) = known.filter(|_| using) {
                    known.token = Some((n, Some(now)));
                }
                "Pair"
            }
            None => "Reconnect",
        }
    }

    fn revoke(&mut self, host: usize) {
        self.revoked[host] = true;
        for room in 0..3 {
            self.remove(host, room);
        }
    }
}

async fn registered(lab: &Lab, host: HostId, at: u8, secret: Option<u8>, token: Option<u8>) -> &'static str {
    match lab.registry.register_room(host, room(at), &registration(secret, token)).await {
        Ok(_) => "ok",
        Err(RegisterError::NotYours) => "NotYours",
        Err(RegisterError::NotEnrolled) => "NotEnrolled",
        Err(RegisterError::NoCredential) => "NoCredential",
        Err(other) => panic!("{other}"),
    }
}

async fn removed(lab: &Lab, host: HostId, at: u8) -> &'static str {
    match lab.registry.remove_room(host, room(at)).await {
        Ok(true) => "true",
        Ok(false) => "false",
        Err(RegisterError::NotYours) => "NotYours",
        Err(other) => panic!("{other}"),
    }
}

async fn joined(lab: &Lab, at: u8, credential: Credential, source: u32, using: bool) -> &'static str {
    match lab.join_from(room(at), credential, source).await {
        Ok(admitted) => {
            if using {
                lab.registry.use_token(&admitted).await.unwrap();
            }
            if admitted.mode == Mode::Pair { "Pair" } else { "Reconnect" }
        }
        Err(JoinError::Invalid) => "Invalid",
        Err(JoinError::TokenUsed) => "TokenUsed",
        Err(JoinError::Locked { .. }) => "Locked",
        Err(other) => panic!("{other}"),
    }
}

async fn agree(mut lab: Lab, steps: &[Step], mut restart: impl FnMut(&mut Lab)) {
    let hosts = [lab.host(1).await, lab.host(2).await];
    let mut model = Model::default();
    for (at, step) in steps.iter().enumerate() {
        let (real, expected) = match *step {
            Step::Register { host, room, secret, token } => {
                (registered(&lab, hosts[host], room, secret, token).await, model.register(host, room, secret, token))
            }
            Step::Remove { host, room } => (removed(&lab, hosts[host], room).await, model.remove(host, room)),
            Step::Join { room, secret: by_secret, n, using } => {
                let credential = if by_secret { secret(n) } else { token(n) };
                (joined(&lab, room, credential, at as u32, using).await, model.join(room, by_secret, n, using))
            }
            Step::Revoke { host } => {
                lab.registry.revoke_host(hosts[host]).await.unwrap();
                model.revoke(host);
                ("", "")
            }
            Step::Pass(seconds) => {
                lab.turned.pass(Duration::from_secs(seconds));
                model.now += seconds;
                ("", "")
            }
            Step::Sweep => {
                lab.registry.sweep().await.unwrap();
                ("", "")
            }
            Step::Restart => {
                restart(&mut lab);
                model.failures.clear();
                ("", "")
            }
        };
        assert_eq!(real, expected, "step {at}, {step:?}, of {steps:?}");
        for (host, revoked) in hosts.iter().zip(model.revoked) {
            assert_eq!(lab.registry.is_revoked(*host).await.unwrap(), revoked);
        }
    }
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_registry_is_what_the_model_is(steps in vec(step(), 1..60)) {
        run(agree(Lab::new(), &steps, Lab::restart));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn on_disk_and_closed_at_every_restart_as_well(steps in vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.redb");
        let open = || -> Arc<dyn Store> { Arc::new(Embedded::open(&path).unwrap()) };
        run(agree(Lab::on(open()), &steps, |lab| {
            // Nobody holds the file when it is opened again.
            lab.store = Arc::new(Memory::default());
            lab.restart();
            lab.store = open();
            lab.restart();
        }));
    }
}
