//! `couplet audit` and its route: who did what, by time, kind and device, page by page, and as it happens.

use couplet_protocol::Code;
use couplet_protocol::api::{AuditEntry, AuditList};
use e2e::host::PATIENCE;
use e2e::{Running, TestHost, problem};
use reqwest::Method;

async fn succeeds(host: &TestHost, args: &[&str]) -> (String, String) {
    let (code, out, err) = Running::start(host.command(&[&["audit"], args].concat())).ended(PATIENCE).await;
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    (out, err)
}

/// The entries of `--json`, one a line.
async fn listed(host: &TestHost, args: &[&str]) -> Vec<AuditEntry> {
    let (out, err) = succeeds(host, &[args, &["--json"]].concat()).await;
    assert_eq!(err, "");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn actions(entries: &[AuditEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.action.as_str()).collect()
}

#[tokio::test]
async fn the_log_is_listed_by_kind_device_and_time() {
    let host = TestHost::start(|setup| {
        setup.movable_clock();
    })
    .await;
    let (out, err) = succeeds(&host, &[]).await;
    assert!(out.is_empty() && err.contains("nothing has happened on this host yet"), "{out}{err}");
    let phone = host.pair_device("Old phone").await;
    host.revoke(&phone).await;
    host.set_clock("+3d");
    let editor = host.add_device("寝室").await;

    let (out, _) = succeeds(&host, &[]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("NUMBER") && lines[0].contains("WHAT"), "{out}");
    assert!(lines[1].contains("寝室") && lines[1].contains("just now"), "the newest first: {out}");
    let revoked = lines.iter().find(|line| line.contains("device.revoked")).unwrap();
    assert!(revoked.contains("Old phone") && revoked.contains("owner") && revoked.contains("3 days ago"), "{out}");

    let all = listed(&host, &[]).await;
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id), "{all:?}");
    for kind in ["device.revoked", "device"] {
        let found = listed(&host, &["--kind", kind]).await;
        let wanted = |action: &&str| *action == kind || action.starts_with(&format!("{kind}."));
        let wanted: Vec<&str> = actions(&all).into_iter().filter(wanted).collect();
        assert!(!found.is_empty() && actions(&found) == wanted, "{kind}: {found:?}");
    }
    assert_eq!(listed(&host, &["--kind", "dev"]).await.len(), 0, "no part of a word");
    for name in ["old phone", &phone.device_id.to_string()] {
        let found = listed(&host, &["--device", name]).await;
        assert!(actions(&found).contains(&"device.revoked"), "{found:?}");
        assert!(found.iter().all(|entry| entry.device_id == Some(phone.device_id)), "{found:?}");
    }
    let late = listed(&host, &["--since", "1d"]).await;
    assert!(late.iter().any(|entry| entry.device_id == Some(editor.device_id)), "{late:?}");
    assert!(late.len() < all.len() && actions(&late) == actions(&all)[..late.len()], "{late:?}");
    assert_eq!(listed(&host, &["--since", &all[0].at]).await[0].id, all[0].id);
    let (out, err) = succeeds(&host, &["--kind", "nothing.such"]).await;
    assert!(out.is_empty() && err.contains("no such entry"), "{out}{err}");
    for (args, wanted) in [
        (&["audit", "--device", "nobody"][..], 1),
        (&["audit", "--since", "yesterday"], 2),
        (&["audit", "--follow", "--before", "7"], 2),
    ] {
        let (code, out, err) = Running::start(host.command(args)).ended(PATIENCE).await;
        assert_eq!((code, out.as_str()), (wanted, ""), "{args:?}: {err}");
    }
}

#[tokio::test]
async fn a_long_log_comes_page_by_page_and_whole() {
    let mut host = TestHost::start(|_| {}).await;
    host.stop().await;
    let db = rusqlite::Connection::open(host.state_dir().join("couplet.db")).unwrap();
    let now = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S%.3f").to_string();
    db.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1234)
         INSERT INTO audit (at, action, actor) SELECT ?, 'offer.created', 'owner' FROM n",
        [now],
    )
    .unwrap();
    drop(db);
    host.restart().await;
    let all = listed(&host, &["--limit", "5000"]).await;
    assert_eq!(all.len(), 1234);
    assert_eq!(listed(&host, &["--limit", "1000"]).await.len(), 1000);

    let (mut numbers, mut before) = (Vec::new(), None::<String>);
    loop {
        let mut args = vec!["--limit", "617"];
        args.extend(before.iter().flat_map(|before| ["--before", before]));
        let (out, err) = succeeds(&host, &args).await;
        numbers.extend(out.lines().skip(1).map(|line| line.split(' ').next().unwrap().parse::<i64>().unwrap()));
        // The last page is full too, and the one behind it empty.
        let Some((_, next)) = err.split_once("couplet audit --before ") else { break };
        before = Some(next.trim().to_owned());
    }
    assert_eq!(numbers, all.iter().map(|entry| entry.id).collect::<Vec<_>>());
}

#[tokio::test]
async fn following_shows_what_comes_once_and_ends_in_good_order() {
    let host = TestHost::start(|_| {}).await;
    let first = host.add_device("First").await;
    let mut following = Running::start(host.command(&["audit", "--follow", "--json"]));
    let is_about = |id: String| move |line: &str| line.contains(&id);
    following.wait_for_line(PATIENCE, is_about(first.device_id.to_string())).await;
    let second = host.add_device("Second").await;
    host.revoke(&first).await;
    following.wait_for_line(PATIENCE, is_about(second.device_id.to_string())).await;
    following.wait_for_line(PATIENCE, |line| line.contains("device.revoked")).await;
    following.signal("INT");
    let out = following.succeeds(PATIENCE).await;
    let entries: Vec<AuditEntry> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.windows(2).all(|pair| pair[0].id < pair[1].id), "each once, the newest last: {out}");
    let list: AuditList = host.owner().expect(Method::GET, "/api/audit", 200, None).await;
    assert_eq!(entries.len(), list.entries.len(), "{out}");
    // The host goes: whoever follows learns of it.
    let mut following = Running::start(host.command(&["audit", "--follow"]));
    following.wait_for_line(PATIENCE, |line| line.contains("First")).await;
    let mut host = host;
    host.stop().await;
    assert_eq!(following.wait(PATIENCE).await.code(), Some(5), "{}", following.written());
}

#[tokio::test]
async fn a_query_that_means_nothing_is_refused() {
    let host = TestHost::start(|_| {}).await;
    host.add_device("Phone").await;
    for query in ["before=x", "since=yesterday", "device=phone", "limit=-1"] {
        let answer = host.owner().get(&format!("/api/audit?{query}")).send().await.unwrap();
        problem::expect(answer, Code::MalformedQuery).await;
    }
    let list: AuditList = host.owner().expect(Method::GET, "/api/audit?limit=0", 200, None).await;
    assert!(list.entries.is_empty());
    // What is asked for is a value, and never a part of the statement.
    let path = "/api/audit?action=x'%20OR%20'1'='1";
    let list: AuditList = host.owner().expect(Method::GET, path, 200, None).await;
    assert!(list.entries.is_empty());
}
