//! `couplet audit`: who did what, from the host's log.

use std::collections::HashMap;
use std::time::Duration;

use couplet_protocol::Code;
use couplet_protocol::api::{AuditEntry, AuditList, DeviceInfo, DeviceList};
use jiff::Timestamp;
use uuid::Uuid;

use super::Global;
use crate::args::Audit;
use crate::client::{Client, Events};
use crate::failure::Failure;
use crate::output::{self, plain};
use crate::signals::Signals;
use crate::{select, table, time};

/// How many entries the host lists at once.
const PAGE: u32 = 500;
/// How often it is looked for what no event tells of.
const LOOK: Duration = Duration::from_secs(2);

/// Lists the log, and follows it.
pub(super) async fn run(global: &Global, args: &Audit) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    let devices = client.get::<DeviceList>("/api/pair/devices").await?.devices;
    let log = Log { client, filter: filter(args, &devices)?, json: args.json.json };
    // Before the list, so that nothing falls between it and what follows.
    let following = match args.follow {
        true => Some((Signals::new()?, log.client.events().await?)),
        false => None,
    };
    let mut entries = log.newest(args.limit, args.before).await?;
    let last = entries.first().map(|entry| entry.id);
    let oldest = entries.last().map(|entry| entry.id);
    if let Some((signals, events)) = following {
        entries.reverse();
        log.show(&entries, &devices, true)?;
        return log.follow(last.unwrap_or_default(), devices, signals, events).await;
    }
    if entries.is_empty() && !log.json {
        output::message(match log.filter.is_empty() && args.before.is_none() {
            true => "The log is empty: nothing has happened on this host yet. Next: couplet pair",
            false => "The log has no such entry.",
        });
        return Ok(());
    }
    log.show(&entries, &devices, true)?;
    if let Some(oldest) = oldest
        && !log.json
        && entries.len() == args.limit as usize
    {
        output::message(&format!("Older ones: couplet audit --before {oldest}"));
    }
    Ok(())
}

/// The part of the query that stays the same from page to page.
fn filter(args: &Audit, devices: &[DeviceInfo]) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut filter = Vec::new();
    if let Some(at) = args.since {
        filter.push(("since", at.to_string()));
    }
    if let Some(kind) = &args.kind {
        filter.push(("action", kind.trim().to_owned()));
    }
    if let Some(wanted) = &args.device {
        let id = match wanted.trim().parse::<Uuid>() {
            // One that the list has forgotten may still be in the log.
            Ok(id) => id,
            Err(_) => select::pick(devices, wanted, Code::NoSuchDevice)?.device_id,
        };
        filter.push(("device", id.to_string()));
    }
    Ok(filter)
}

struct Log {
    client: Client,
    filter: Vec<(&'static str, String)>,
    json: bool,
}

impl Log {
    async fn page(&self, more: &[(&str, String)]) -> Result<Vec<AuditEntry>, Failure> {
        let pairs = self.filter.iter().map(|(name, value)| (*name, value)).chain(more.iter().map(|(n, v)| (*n, v)));
        let mut query = Vec::new();
        for (name, value) in pairs {
            query.push(format!("{name}={}", encoded(value)));
        }
        Ok(self.client.get::<AuditList>(&format!("/api/audit?{}", query.join("&"))).await?.entries)
    }

    /// The newest entries, newest first.
    async fn newest(&self, limit: u32, mut before: Option<i64>) -> Result<Vec<AuditEntry>, Failure> {
        let mut entries = Vec::new();
        loop {
            let left = limit - u32::try_from(entries.len()).unwrap_or(limit).min(limit);
            let mut more = vec![("limit", left.min(PAGE).to_string())];
            more.extend(before.map(|before| ("before", before.to_string())));
            let page = self.page(&more).await?;
            let is_last = page.len() < left.min(PAGE) as usize || left <= PAGE;
            before = page.last().map(|entry| entry.id);
            entries.extend(page);
            if is_last {
                return Ok(entries);
            }
        }
    }

    /// All that came after an entry, oldest first.
    async fn after(&self, last: i64) -> Result<Vec<AuditEntry>, Failure> {
        let (mut entries, mut before) = (Vec::new(), None::<i64>);
        loop {
            let mut more = vec![("after", last.to_string())];
            more.extend(before.map(|before| ("before", before.to_string())));
            let page = self.page(&more).await?;
            let is_last = page.len() < PAGE as usize;
            before = page.last().map(|entry| entry.id);
            entries.extend(page);
            if is_last {
                entries.reverse();
                return Ok(entries);
            }
        }
    }

    async fn follow(
        &self,
        mut last: i64,
        mut devices: Vec<DeviceInfo>,
        mut signals: Signals,
        mut events: Events,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                event = events.next() => drop(event?),
                () = tokio::time::sleep(LOOK) => {}
                _ = signals.next() => return Ok(()),
            }
            let entries = self.after(last).await?;
            let Some(newest) = entries.last() else { continue };
            last = newest.id;
            let is_known = |id: Uuid| devices.iter().any(|device| device.device_id == id);
            if entries.iter().filter_map(|entry| entry.device_id).any(|id| !is_known(id)) {
                devices = self.client.get::<DeviceList>("/api/pair/devices").await?.devices;
            }
            self.show(&entries, &devices, false)?;
        }
    }

    fn show(&self, entries: &[AuditEntry], devices: &[DeviceInfo], headed: bool) -> std::io::Result<()> {
        if self.json {
            return entries.iter().try_for_each(output::json);
        }
        let names = devices.iter().map(|device| (device.device_id, device.device_name.as_str())).collect();
        let text = as_table(entries, &names, Timestamp::now());
        match headed {
            true => output::line(&text),
            false => text.lines().skip(1).try_for_each(output::line),
        }
    }
}

/// A value within a query (RFC 3986, 3.4).
fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(one).collect()
}

fn as_table(entries: &[AuditEntry], names: &HashMap<Uuid, &str>, now: Timestamp) -> String {
    let row = |entry: &AuditEntry| {
        let device = entry.device_id.map(|id| names.get(&id).map_or_else(|| select::short(id), |name| plain(name)));
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            entry.id.to_string(),
            time::ago(&entry.at, now),
            plain(&entry.action),
            plain(&entry.actor),
            or_dash(device),
            or_dash(entry.network.as_deref().map(plain)),
            entry.detail.as_deref().map(plain).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = entries.iter().map(row).collect();
    table::render(["NUMBER", "WHEN", "WHAT", "WHO", "DEVICE", "FROM", "MORE"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_devices_and_shows_nothing_that_steers_the_terminal() {
        let id = Uuid::from_u128(0x3f2a << 112);
        let entry = AuditEntry {
            id: 7,
            at: "2026-01-10T12:00:00Z".into(),
            action: "device.revoked".into(),
            actor: "owner".into(),
            pairing_id: None,
            device_id: Some(id),
            network: Some("192.168.1.7".into()),
            detail: Some("iPad\u{1b}[2J".into()),
        };
        let now = "2026-01-10T12:05:00Z".parse().unwrap();
        let of = |names| as_table(std::slice::from_ref(&entry), &names, now);
        assert_eq!(
            of(HashMap::from([(id, "寝室")])),
            "NUMBER  WHEN       WHAT            WHO    DEVICE  FROM         MORE\n\
             7       5 min ago  device.revoked  owner  寝室    192.168.1.7  iPad[2J"
        );
        assert!(of(HashMap::new()).contains("3f2a0000"));
    }

    #[test]
    fn what_is_asked_for_stays_one_value() {
        assert_eq!(encoded("2026-01-10T12:00:00+01:00"), "2026-01-10T12:00:00%2B01:00");
        assert_eq!(encoded("a&limit=1"), "a%26limit%3D1");
    }
}
