//! What is kept, in which form, and what a fault leaves of it.

use std::path::{Path, PathBuf};

use couplet_protocol::api::{DeviceList, GenerateAnswer};
use e2e::host::{PATIENCE, Setup};
use e2e::program::couplet;
use e2e::{Running, TestHost, program};
use reqwest::Method;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

fn open(host: &TestHost) -> Connection {
    let path = host.state_dir().join("couplet.db");
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// `name type notnull primary-key` of each column, in order.
fn columns(db: &Connection, table: &str) -> Vec<(String, String, bool, bool)> {
    let mut statement = db.prepare(&format!("PRAGMA table_info({table})")).unwrap();
    let rows = statement.query_map([], |r| {
        Ok((r.get("name")?, r.get("type")?, r.get::<_, bool>("notnull")?, r.get::<_, i64>("pk")? > 0))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn text(db: &Connection, sql: &str) -> String {
    db.query_row(sql, [], |r| r.get(0)).unwrap()
}

fn expected(rows: &[(&str, &str, bool, bool)]) -> Vec<(String, String, bool, bool)> {
    rows.iter().map(|(name, kind, not_null, key)| ((*name).into(), (*kind).into(), *not_null, *key)).collect()
}

#[tokio::test]
async fn paired_devices_has_the_documented_columns() {
    let host = TestHost::start(|_| {}).await;
    let db = open(&host);
    let documented = expected(&[
        ("id", "TEXT", false, true),
        ("device_token_hash", "TEXT", true, false),
        ("device_name", "TEXT", false, false),
        ("device_model", "TEXT", false, false),
        ("paired_at", "TIMESTAMP", false, false),
        ("last_seen", "TIMESTAMP", false, false),
        ("revoked_at", "TIMESTAMP", false, false),
    ]);
    assert_eq!(columns(&db, "paired_devices")[..7], documented);
    let default: String = db
        .query_row("SELECT dflt_value FROM pragma_table_info('paired_devices') WHERE name = 'paired_at'", [], |r| {
            r.get(0)
        })
        .unwrap();
    assert_eq!(default, "CURRENT_TIMESTAMP");
    let device = host.pair_device("iPad").await;
    assert_eq!(text(&db, "SELECT id FROM paired_devices"), device.device_id.to_string());
}

#[tokio::test]
async fn pairing_tokens_has_the_documented_columns() {
    let host = TestHost::start(|_| {}).await;
    let documented = expected(&[
        ("token_hash", "TEXT", false, true),
        ("expires_at", "TIMESTAMP", true, false),
        ("used_at", "TIMESTAMP", false, false),
        ("used_by_device_id", "TEXT", false, false),
    ]);
    assert_eq!(columns(&open(&host), "pairing_tokens")[..4], documented);
}

#[tokio::test]
async fn the_documented_indexes_exist() {
    let host = TestHost::start(|_| {}).await;
    let db = open(&host);
    for (index, table, column) in [
        ("idx_paired_devices_token_hash", "paired_devices", "device_token_hash"),
        ("idx_paired_devices_last_seen", "paired_devices", "last_seen"),
        ("idx_pairing_tokens_expires", "pairing_tokens", "expires_at"),
    ] {
        assert_eq!(text(&db, &format!("SELECT tbl_name FROM sqlite_master WHERE name = '{index}'")), table);
        assert_eq!(text(&db, &format!("SELECT name FROM pragma_index_info('{index}')")), column);
    }
}

#[tokio::test]
async fn device_tokens_are_bcrypt_of_cost_10() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let hash = text(&open(&host), "SELECT device_token_hash FROM paired_devices");
    assert!(hash.starts_with("$2b$10$") && hash.len() == 60, "{hash}");
    assert!(bcrypt::verify(&device.device_token, &hash).unwrap());
}

#[tokio::test]
async fn one_time_tokens_are_sha_256() {
    let host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let hash = text(&open(&host), "SELECT token_hash FROM pairing_tokens");
    assert_eq!(hash, offer.pair_token.digest().to_hex());
    // The digest itself, by an independent program.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), offer.pair_token.expose()).unwrap();
    let mut sum = program("sha256sum");
    sum.arg(file.path());
    assert!(Running::start(sum).succeeds(PATIENCE).await.starts_with(&hash));
}

#[tokio::test]
async fn a_used_token_is_marked_with_its_device() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let db = open(&host);
    assert_eq!(text(&db, "SELECT used_by_device_id FROM pairing_tokens"), device.device_id.to_string());
    assert!(!text(&db, "SELECT used_at FROM pairing_tokens").is_empty());
}

#[tokio::test]
async fn revoked_at_is_null_while_active() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    let revoked_at = || -> Option<String> {
        open(&host).query_row("SELECT revoked_at FROM paired_devices", [], |r| r.get(0)).unwrap()
    };
    assert_eq!(revoked_at(), None);
    host.revoke(&device).await;
    assert!(revoked_at().is_some());
}

#[tokio::test]
async fn no_secret_is_at_rest_in_plain() {
    let mut host = TestHost::start(|_| {}).await;
    let offer = host.generate().await;
    let device = host.pair_device("iPad").await;
    let url: Value = host.owner().expect(Method::GET, "/pair", 200, None).await;
    let secrets = [&offer.pair_token.expose()[4..], &device.device_token[4..], url["token"].as_str().unwrap()];
    for stopped in [false, true] {
        if stopped {
            host.stop().await;
        }
        for file in std::fs::read_dir(host.state_dir()).unwrap() {
            let file = file.unwrap().path();
            let bytes = std::fs::read(&file).unwrap();
            for secret in secrets {
                assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()), "in {}", file.display());
            }
        }
    }
}

/// Runs the documented statement's cases: expired by 59 and 61 minutes, used 23 and 25 hours ago.
async fn tokens_left(offset: &str) -> i64 {
    let mut host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    host.pair_device("used").await;
    host.generate().await;
    // The used one must not go because it has expired: its end is far off.
    host.stop().await;
    let db = Connection::open(host.state_dir().join("couplet.db")).unwrap();
    db.execute("UPDATE pairing_tokens SET expires_at = '2999-01-01 00:00:00.000' WHERE used_at IS NOT NULL", [])
        .unwrap();
    drop(db);
    host.set_clock(offset);
    host.restart().await;
    open(&host).query_row("SELECT count(*) FROM pairing_tokens", [], |r| r.get(0)).unwrap()
}

#[tokio::test]
async fn clean_up_follows_the_documented_rule() {
    // The unused token ends after a minute; an hour later it goes. The used one goes a day after its use.
    for (offset, left) in [("+59m", 2), ("+62m", 1), ("+23h", 1), ("+25h", 0)] {
        assert_eq!(tokens_left(offset).await, left, "{offset}");
    }
}

#[tokio::test]
async fn clean_up_runs_at_start() {
    assert_eq!(tokens_left("+2d").await, 0);
}

#[tokio::test]
async fn clean_up_runs_every_hour() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    host.generate().await;
    let db = open(&host);
    let left = || -> i64 { db.query_row("SELECT count(*) FROM pairing_tokens", [], |r| r.get(0)).unwrap() };
    assert_eq!(left(), 1);
    host.set_clock("+62m");
    e2e::eventually("the host cleans up by itself", PATIENCE, async || left() == 0).await;
}

#[tokio::test]
async fn an_older_schema_is_migrated_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("couplet.db");
    // The schema of the source document, to the letter, and a device in it.
    let documented = "
        CREATE TABLE paired_devices (id TEXT PRIMARY KEY, device_token_hash TEXT NOT NULL, device_name TEXT,
            device_model TEXT, paired_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, last_seen TIMESTAMP, revoked_at TIMESTAMP);
        CREATE INDEX idx_paired_devices_token_hash ON paired_devices(device_token_hash);
        CREATE INDEX idx_paired_devices_last_seen ON paired_devices(last_seen);
        CREATE TABLE pairing_tokens (token_hash TEXT PRIMARY KEY, expires_at TIMESTAMP NOT NULL, used_at TIMESTAMP,
            used_by_device_id TEXT);
        CREATE INDEX idx_pairing_tokens_expires ON pairing_tokens(expires_at);
        INSERT INTO paired_devices (id, device_token_hash, device_name)
            VALUES ('11111111-2222-4333-8444-555555555555', '$2b$10$x', 'From before');
        PRAGMA user_version = 1;";
    Connection::open(&path).unwrap().execute_batch(documented).unwrap();
    let host = TestHost::start(|setup| {
        setup.state_dir(folder.path());
    })
    .await;
    let devices: DeviceList = host.owner().expect(Method::GET, "/api/pair/devices", 200, None).await;
    assert_eq!(devices.devices[0].device_name.as_str(), "From before");
    host.pair_device("New").await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    let mut host = TestHost::start(|_| {}).await;
    host.pair_device("iPad").await;
    host.stop().await;
    let path = host.state_dir().join("couplet.db");
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = DELETE; PRAGMA user_version = 99").unwrap();
    let before = std::fs::read(&path).unwrap();
    let mut serve = couplet();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--no-input", "--state-dir"]).arg(host.state_dir());
    let mut serve = Running::start(serve);
    serve.wait_for_error_line(PATIENCE, |line| line.contains("CPL-1304")).await;
    serve.wait_for_error_line(PATIENCE, |line| line.contains("99")).await;
    assert_ne!(serve.wait(PATIENCE).await.code(), Some(0));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

async fn exchange(host: &TestHost, offer: &GenerateAnswer) -> (u16, Value) {
    let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
    let answer = host.anyone().post("/api/pair/exchange").json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn device_count(host: &TestHost) -> usize {
    host.owner().expect::<DeviceList>(Method::GET, "/api/pair/devices", 200, None).await.devices.len()
}

/// Pulls the plug at a named point of a pairing: the device is paired or it is not, and the token is used or it is not.
#[tokio::test]
async fn a_kill_within_a_pairing_leaves_all_or_nothing() {
    for (point, committed) in [
        ("pair.token_used", false),
        ("pair.device_inserted", false),
        ("pair.before_commit", false),
        ("pair.committed", true),
    ] {
        let mut host = TestHost::start(|setup: &mut Setup| {
            setup.failpoint(point);
        })
        .await;
        let offer = host.generate().await;
        let body = json!({ "pair_token": offer.pair_token.expose(), "device_name": "iPad" });
        let request = host.anyone().post("/api/pair/exchange").json(&body);
        let cut_off = tokio::spawn(async move { request.send().await.is_err() });
        host.failpoint(point).await;
        host.kill().await;
        assert!(cut_off.await.unwrap(), "{point}: no answer came");
        host.without_failpoint();
        host.restart().await;
        assert_eq!(device_count(&host).await, usize::from(committed), "{point}");
        let (status, answer) = exchange(&host, &offer).await;
        assert_eq!(status, if committed { 410 } else { 200 }, "{point}: {answer}");
        assert_eq!(device_count(&host).await, 1, "{point}");
    }
}

#[tokio::test]
async fn a_kill_within_a_revocation_leaves_all_or_nothing() {
    for (point, committed) in [("revoke.marked", false), ("revoke.before_commit", false), ("revoke.committed", true)] {
        let mut host = TestHost::start(|setup: &mut Setup| {
            setup.failpoint(point);
        })
        .await;
        let device = host.pair_device("iPad").await;
        let me = async |host: &TestHost| {
            host.device(&device.device_token).get("/api/pair/me").send().await.unwrap().status().as_u16()
        };
        assert_eq!(me(&host).await, 200);
        let request = host.owner().delete(&format!("/api/pair/devices/{}", device.device_id));
        let cut_off = tokio::spawn(async move { request.send().await.is_err() });
        host.failpoint(point).await;
        host.kill().await;
        assert!(cut_off.await.unwrap(), "{point}: no answer came");
        host.without_failpoint();
        host.restart().await;
        assert_eq!(me(&host).await, if committed { 401 } else { 200 }, "{point}");
        let audit: Value = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
        let revoked = audit["entries"].as_array().unwrap().iter().any(|entry| entry["action"] == "device.revoked");
        assert_eq!(revoked, committed, "{point}: the audit log agrees");
    }
}

/// A small disk of the test's own.
struct Disk(PathBuf);

impl Disk {
    async fn new(folder: &Path, size: &str) -> Self {
        let mut mount = program("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "couplet-test"]).arg(folder);
        Running::start(mount).succeeds(PATIENCE).await;
        Disk(folder.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = program("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_a_clear_503_and_recovery_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path(), "1m").await;
    let host = TestHost::start(|setup| {
        setup.state_dir(folder.path()).env("COUPLET_LIMITS__GENERATE_PER_MINUTE", "1000");
        setup.env("COUPLET_LIMITS__MAX_OFFERS", "1000").env("COUPLET_LIMITS__EXCHANGE_PER_MINUTE", "1000");
    })
    .await;
    let device = host.pair_device("iPad").await;
    let offer = host.generate().await;
    let filler = folder.path().join("filler");
    while std::fs::write(&filler, vec![0; std::fs::metadata(&filler).map_or(0, |m| m.len() as usize) + 4096]).is_ok() {}
    // The log may have room left in pages that it has already: use it up.
    let full = async || {
        let answer = host.owner().post("/api/pair/generate").send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("retry-after").cloned(), answer.json::<Value>().await.unwrap())
    };
    let mut answer = full().await;
    for _ in 0..500 {
        if answer.0 != 200 {
            break;
        }
        answer = full().await;
    }
    assert_eq!((answer.0, &answer.2["code"]), (503, &json!("CPL-1302")), "{}", answer.2);
    assert!(answer.1.is_some() && answer.2["request_id"].is_string());
    let before = device_count(&host).await;
    let (status, problem) = exchange(&host, &offer).await;
    assert_eq!((status, &problem["code"]), (503, &json!("CPL-1302")), "{problem}");
    assert_eq!(device_count(&host).await, before, "nothing half-written");
    assert_eq!(host.device(&device.device_token).get("/api/pair/me").send().await.unwrap().status(), 200);

    std::fs::remove_file(&filler).unwrap();
    assert_eq!(exchange(&host, &offer).await.0, 200, "the token was not lost");
    drop(host);
    drop(disk);
}

/// The database's files, which nobody can write until this is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(folder: PathBuf) -> Self {
        let frozen = Frozen(folder);
        assert!(frozen.chattr("+i"));
        frozen
    }

    fn chattr(&self, flag: &str) -> bool {
        let files = ["couplet.db", "couplet.db-wal", "couplet.db-shm"].map(|file| self.0.join(file));
        program("chattr").arg(flag).args(files).status().unwrap().success()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.chattr("-i");
    }
}

#[tokio::test]
async fn a_read_only_database_is_a_clear_503_and_recovery_needs_no_restart() {
    let host = TestHost::start(|_| {}).await;
    let device = host.pair_device("iPad").await;
    assert_eq!(host.device(&device.device_token).get("/api/pair/me").send().await.unwrap().status(), 200);
    let offer = host.generate().await;
    let frozen = Frozen::new(host.state_dir());
    let (status, problem) = exchange(&host, &offer).await;
    let health: Value = host.anyone().expect(Method::GET, "/health", 200, None).await;
    let me = host.device(&device.device_token).get("/api/pair/me").send().await.unwrap().status();
    let revoke = host.owner().delete(&format!("/api/pair/devices/{}", device.device_id)).send().await.unwrap();
    let (revoke_status, revoke) = (revoke.status(), revoke.json::<Value>().await.unwrap());
    drop(frozen);
    assert_eq!((status, &problem["code"]), (503, &json!("CPL-1303")), "{problem}");
    assert_eq!((revoke_status.as_u16(), &revoke["code"]), (503, &json!("CPL-1303")), "{revoke}");
    assert_eq!((&health["status"], &health["features"]["pairing"]["available"]), (&json!("degraded"), &json!(false)));
    assert_eq!(me, 200, "a device that is known goes on");
    assert_eq!(exchange(&host, &offer).await.0, 200, "the token was not lost");
    host.revoke(&device).await;
}

#[tokio::test]
async fn a_second_host_on_the_same_folder_is_refused() {
    let host = TestHost::start(|_| {}).await;
    let mut serve = couplet();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--no-input", "--state-dir"]).arg(host.state_dir());
    let mut serve = Running::start(serve);
    serve.wait_for_error_line(PATIENCE, |line| line.contains("CPL-1403")).await;
    assert_ne!(serve.wait(PATIENCE).await.code(), Some(0));
    host.pair_device("iPad").await;
}

/// Starts a host on the folder and expects that it refuses to.
async fn refused_start(folder: &Path, code: &str, says: &str) {
    let mut serve = couplet();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--no-input", "--state-dir"]).arg(folder);
    let mut serve = Running::start(serve);
    serve.wait_for_error_line(PATIENCE, |line| line.contains(code)).await;
    assert_ne!(serve.wait(PATIENCE).await.code(), Some(0));
    assert!(serve.written().contains(says), "{}", serve.written());
}

/// What another user could have put there is not believed: a key or a database of their choice.
#[tokio::test]
async fn what_belongs_to_another_user_is_refused() {
    use std::os::unix::fs::lchown;
    let mut host = TestHost::start(|_| {}).await;
    host.stop().await;
    let folder = host.state_dir();
    let (ours, theirs) = (Some(0), Some(65534));
    for file in ["couplet.db", "host.key", "admin-token", "lock", ""] {
        let file = folder.join(file);
        lchown(&file, theirs, None).unwrap();
        refused_start(&folder, "CPL-1406", "belongs to another user").await;
        lchown(&file, ours, None).unwrap();
    }
    let planted = folder.join("serve.json");
    std::os::unix::fs::symlink("/dev/null", &planted).unwrap();
    lchown(&planted, theirs, None).unwrap();
    refused_start(&folder, "CPL-1406", "serve.json").await;
    std::fs::remove_file(planted).unwrap();
    host.restart().await;
    host.pair_device("iPad").await;
}

#[tokio::test]
async fn nobody_else_can_read_the_state_folder() {
    use std::os::unix::fs::PermissionsExt;
    let mut host = TestHost::start(|_| {}).await;
    let folder = host.state_dir();
    let modes = || {
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let files = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path());
        let open: Vec<_> = files.filter(|file| mode(file) != 0o600).collect();
        (mode(&folder), open)
    };
    assert_eq!(modes(), (0o700, vec![]));
    host.stop().await;
    for (file, mode) in [("couplet.db", 0o666), ("host.key", 0o644), ("admin-token", 0o640), ("", 0o755)] {
        std::fs::set_permissions(folder.join(file), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    host.restart().await;
    assert_eq!(modes(), (0o700, vec![]), "closed again");
}

/// What anyone on the LAN can cause pushes out nothing that the owner or a device did.
#[tokio::test]
async fn the_audit_log_is_trimmed() {
    let mut host = TestHost::start(|_| {}).await;
    host.pair_device("iPad").await;
    host.stop().await;
    let db = Connection::open(host.state_dir().join("couplet.db")).unwrap();
    db.execute("DELETE FROM audit", []).unwrap();
    let insert = |count: u32, actor: &str, days: u32| {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
            INSERT INTO audit (at, action, actor)
            SELECT strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || ?3 || ' days'), 'old ' || ?3, ?2 FROM n";
        db.execute(sql, rusqlite::params![count, actor, days]).unwrap();
    };
    insert(1, "owner", 401);
    insert(5, "device", 30);
    insert(100_000, "owner", 20);
    insert(5, "host", 10);
    insert(10_000, "anyone", 5);
    drop(db);
    host.restart().await;
    let db = open(&host);
    let count =
        |of: &str| -> i64 { db.query_row("SELECT count(*) FROM audit WHERE action = ?", [of], |r| r.get(0)).unwrap() };
    assert_eq!(["old 401", "old 30", "old 20", "old 10", "old 5"].map(count), [0, 0, 100_000, 0, 10_000]);
}
