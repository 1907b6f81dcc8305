//! `couplet devices`.

mod scope;

use couplet_protocol::Code;
use couplet_protocol::api::{
    AddDeviceRequest, DeviceCredential, DeviceInfo, DeviceKind, DeviceList, NetworkPath, UpdateDeviceRequest,
};
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};

use super::Global;
use crate::args::{Devices, DevicesCommand, List, ScopeArgs};
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{self, plain};
use crate::select::{self, Pick};
use crate::{table, time};

const PATH: &str = "/api/pair/devices";

impl Pick for DeviceInfo {
    fn id(&self) -> String {
        self.device_id.to_string()
    }

    fn name(&self) -> &str {
        self.device_name.as_str()
    }
}

/// Runs one of the commands.
pub(super) async fn run(global: &Global, args: Devices) -> anyhow::Result<()> {
    let client = super::client(global).await?;
    match args.command.unwrap_or(DevicesCommand::List(args.list)) {
        DevicesCommand::List(args) => list(&client, args).await,
        DevicesCommand::Add { name, json } => add(&client, name, json.json).await,
        DevicesCommand::Rename { device, name, json } => {
            let change = UpdateDeviceRequest { device_name: Some(name), ..UpdateDeviceRequest::default() };
            let device = find(&client, &device).await?;
            update(&client, &device, &change, json.json).await
        }
        DevicesCommand::Scope(args) => limit(&client, &args).await,
        DevicesCommand::Revoke { device, yes, json } => {
            let may_ask = !global.no_input && output::can_ask();
            revoke(&client, &device, yes, may_ask, json.json).await
        }
    }
}

async fn list(client: &Client, args: List) -> anyhow::Result<()> {
    let path = if args.active { format!("{PATH}?state=active") } else { PATH.to_owned() };
    let answer: Value = client.get(&path).await?;
    if args.json.json {
        return Ok(output::json(&answer)?);
    }
    let devices = serde_json::from_value::<DeviceList>(answer)?.devices;
    if devices.is_empty() {
        output::message("No device is paired yet. Next: couplet pair");
        return Ok(());
    }
    Ok(output::line(&as_table(&devices, Timestamp::now()))?)
}

async fn add(client: &Client, name: String, json: bool) -> anyhow::Result<()> {
    let request = AddDeviceRequest { device_name: name, kind: Some(DeviceKind::Bearer) };
    let answer: Value = client.json(Method::POST, PATH, Some(&request)).await?;
    if json {
        output::json(&answer)?;
    } else {
        output::line(&serde_json::from_value::<DeviceCredential>(answer)?.device_token)?;
    }
    output::message("This token is shown this once. Who has it can use your apps as this device.");
    Ok(())
}

async fn limit(client: &Client, args: &ScopeArgs) -> anyhow::Result<()> {
    let device = find(client, &args.device).await?;
    let change = scope::change(args, &device, Timestamp::now())?;
    update(client, &device, &change, args.json.json).await
}

async fn update(client: &Client, device: &DeviceInfo, change: &UpdateDeviceRequest, json: bool) -> anyhow::Result<()> {
    let path = format!("{PATH}/{}", device.device_id);
    let answer: Value = client.json(Method::PATCH, &path, Some(change)).await?;
    if json {
        return Ok(output::json(&answer)?);
    }
    let device: DeviceInfo = serde_json::from_value(answer)?;
    output::message(&format!("{} is now {}.", device.device_name, state(&device, Timestamp::now())));
    Ok(())
}

async fn revoke(client: &Client, wanted: &str, yes: bool, may_ask: bool, json: bool) -> anyhow::Result<()> {
    if !yes && !may_ask {
        let detail = "There is nobody to ask. If you mean it, add --yes.";
        return Err(Failure::new(Exit::Usage, "Revoking needs a confirmation", detail).into());
    }
    let device = find(client, wanted).await?;
    let name = &device.device_name;
    let question = format!(
        "Revoke {name} ({}), paired {}? Its access ends at once.",
        select::short(device.device_id),
        time::day(&device.paired_at)
    );
    if !yes && !output::confirm(&question)? {
        return Err(Failure::new(Exit::Refused, "Nothing was revoked", "").into());
    }
    client.done(Method::DELETE, &format!("{PATH}/{}", device.device_id)).await?;
    if json {
        output::json(&json!({"device_id": device.device_id, "device_name": name, "revoked": true}))?;
    } else {
        output::message(&format!("{name} is revoked."));
    }
    Ok(())
}

/// One of the active devices.
async fn find(client: &Client, wanted: &str) -> Result<DeviceInfo, Failure> {
    let devices = client.get::<DeviceList>(&format!("{PATH}?state=active")).await?.devices;
    select::pick(&devices, wanted, Code::NoSuchDevice).cloned()
}

fn as_table(devices: &[DeviceInfo], now: Timestamp) -> String {
    let row = |device: &DeviceInfo| {
        [
            select::short(device.device_id),
            device.device_name.to_string(),
            device.device_model.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
            kind(device.kind).to_owned(),
            time::day(&device.paired_at),
            seen(device, now),
            state(device, now),
        ]
    };
    let rows: Vec<_> = devices.iter().map(row).collect();
    table::render(["ID", "NAME", "MODEL", "KIND", "PAIRED", "LAST SEEN", "STATE"], &rows)
}

/// When it was last here, and by which way if that was not the LAN.
fn seen(device: &DeviceInfo, now: Timestamp) -> String {
    match (device.session, device.path, &device.last_seen) {
        (Some(NetworkPath::Lan), ..) => "now (lan)".to_owned(),
        (Some(NetworkPath::Relay), ..) => "now (relay)".to_owned(),
        (None, Some(NetworkPath::Relay), Some(at)) => format!("{} (relay)", time::ago(at, now)),
        (None, _, Some(at)) => time::ago(at, now),
        (None, _, None) => "never used".to_owned(),
    }
}

fn kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Mobile => "mobile",
        DeviceKind::Bearer => "bearer",
        DeviceKind::Desktop => "desktop",
        DeviceKind::Browser => "browser",
        DeviceKind::Watch => "watch",
        DeviceKind::Other => "other",
    }
}

/// `active`, with its limits, or why not.
fn state(device: &DeviceInfo, now: Timestamp) -> String {
    if let Some(at) = &device.revoked_at {
        return format!("revoked {}", time::ago(at, now));
    }
    if let Some(at) = device.expires_at.as_ref().filter(|at| time::seconds_until(at, now) == 0) {
        return format!("expired {}", time::ago(at, now));
    }
    let mut limits = Vec::new();
    if device.scope.read_only {
        limits.push("read-only".to_owned());
    }
    if !device.scope.paths.is_empty() {
        limits.push(plain(&device.scope.paths.join(" ")));
    }
    limits.extend(device.expires_at.as_ref().map(|at| format!("until {}", time::day(at))));
    if limits.is_empty() { "active".to_owned() } else { format!("active ({})", limits.join(", ")) }
}

#[cfg(test)]
mod tests {
    use couplet_protocol::name::{DeviceModel, DeviceName};
    use couplet_protocol::scope::Scope;

    use uuid::Uuid;

    use super::*;

    pub(super) fn device(id: u128, name: &str) -> DeviceInfo {
        DeviceInfo {
            device_id: Uuid::from_u128(id),
            device_name: DeviceName::parse(name).unwrap(),
            device_model: None,
            platform: None,
            kind: DeviceKind::Mobile,
            paired_at: "2026-01-10T12:00:00Z".into(),
            last_seen: None,
            revoked_at: None,
            path: None,
            session: None,
            scope: Scope::default(),
            expires_at: None,
        }
    }

    #[test]
    fn the_table_says_state_and_use_in_words() {
        let now: Timestamp = "2026-01-10T14:32:00Z".parse().unwrap();
        let mut ipad = device(0x3f2a << 112, "iPad Pro");
        ipad.device_model = Some(DeviceModel::parse("iPad Pro 12.9-inch").unwrap());
        ipad.last_seen = Some("2026-01-10T14:30:00Z".into());
        let mut editor = device(0x0bad << 112, "寝室");
        editor.kind = DeviceKind::Bearer;
        editor.scope = Scope { read_only: true, paths: vec!["/api".into()] };
        editor.expires_at = Some("2026-02-01T00:00:00Z".into());
        let mut old = device(0x1 << 112, "Old");
        old.revoked_at = Some("2026-01-10T12:32:00Z".into());
        let mut late = device(0x2 << 112, "Late");
        late.expires_at = Some("2026-01-10T14:00:00Z".into());
        let mut far = device(0x3 << 112, "Far");
        (far.last_seen, far.path) = (Some("2026-01-10T14:30:00Z".into()), Some(NetworkPath::Relay));
        let mut here = device(0x4 << 112, "Here");
        here.session = Some(NetworkPath::Relay);
        assert_eq!(
            as_table(&[ipad, editor, old, late, far, here], now),
            "\
ID        NAME      MODEL               KIND    PAIRED      LAST SEEN          STATE
3f2a0000  iPad Pro  iPad Pro 12.9-inch  mobile  2026-01-10  2 min ago          active
0bad0000  寝室      -                   bearer  2026-01-10  never used         active (read-only, /api, until 2026-02-01)
00010000  Old       -                   mobile  2026-01-10  never used         revoked 2 h ago
00020000  Late      -                   mobile  2026-01-10  never used         expired 32 min ago
00030000  Far       -                   mobile  2026-01-10  2 min ago (relay)  active
00040000  Here      -                   mobile  2026-01-10  now (relay)        active"
        );
    }
}
