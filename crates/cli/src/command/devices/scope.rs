//! What `couplet devices scope` changes.

use couplet_protocol::Code;
use couplet_protocol::api::{DeviceInfo, UpdateDeviceRequest};
use jiff::{SignedDuration, Timestamp};

use crate::args::ScopeArgs;
use crate::failure::Failure;

/// The change to a device: what the command line does not name stays as it is.
pub(super) fn change(args: &ScopeArgs, device: &DeviceInfo, now: Timestamp) -> Result<UpdateDeviceRequest, Failure> {
    let mut scope = device.scope.clone();
    if args.read_only || args.read_write {
        scope.read_only = args.read_only;
    }
    if args.all_paths || !args.path.is_empty() {
        scope.paths.clone_from(&args.path);
    }
    let scope =
        scope.checked().map_err(|error| Failure::of(Code::ScopeInvalid, format!("A limit is wrong: {error}.")))?;
    let scope = Some(scope).filter(|scope| *scope != device.scope);
    Ok(UpdateDeviceRequest { device_name: None, scope, expires_at: end(args, now)? })
}

fn end(args: &ScopeArgs, now: Timestamp) -> Result<Option<Option<String>>, Failure> {
    let far = || Failure::of(Code::ScopeInvalid, "That is too far away: use --forever.");
    let at = match (args.until, args.span) {
        (Some(at), _) => at,
        (None, Some(seconds)) => now.checked_add(SignedDuration::from_secs(seconds)).map_err(|_| far())?,
        (None, None) => return Ok(args.forever.then_some(None)),
    };
    Ok(Some(Some(format!("{at:.0}"))))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use couplet_protocol::scope::Scope;

    use super::super::tests::device;
    use super::*;
    use crate::args::{Cli, Command, DevicesCommand};

    fn changed(line: &str) -> Result<serde_json::Value, Failure> {
        let line = format!("couplet devices scope x {line}");
        let Command::Devices(devices) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else { panic!() };
        let Some(DevicesCommand::Scope(args)) = devices.command else { panic!() };
        let mut device = device(1, "x");
        device.scope = Scope { read_only: false, paths: vec!["/api".into()] };
        let change = change(&args, &device, "2026-01-10T12:00:00.75Z".parse().unwrap())?;
        Ok(serde_json::to_value(change).unwrap())
    }

    #[test]
    fn only_what_is_named_changes() {
        for (line, body) in [
            ("--read-only", r#"{"scope":{"read_only":true,"paths":["/api"]}}"#),
            ("--all-paths", r#"{"scope":{"read_only":false,"paths":[]}}"#),
            ("--read-only --path /a --path /b/", r#"{"scope":{"read_only":true,"paths":["/a","/b"]}}"#),
            ("--for 7d", r#"{"expires_at":"2026-01-17T12:00:00Z"}"#),
            ("--until 2027-01-31T12:00:00+01:00", r#"{"expires_at":"2027-01-31T11:00:00Z"}"#),
            ("--forever", r#"{"expires_at":null}"#),
            ("--read-write", "{}"),
        ] {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(changed(line).unwrap(), body, "{line}");
        }
    }

    #[test]
    fn paths_that_could_never_match_are_refused_here() {
        for line in ["--path api", "--path /a/../b", "--path /a%2f", "--for 900000w"] {
            assert!(changed(line).unwrap_err().is(Code::ScopeInvalid), "{line}");
        }
    }
}
