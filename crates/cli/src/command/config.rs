//! `couplet config show`.

use couplet_protocol::Code;
use serde_json::{Map, Value, json};

use super::Global;
use crate::args::ConfigCommand;
use crate::config::{self, Environment, Flat, Loaded};
use crate::failure::Failure;
use crate::output;

/// Prints every setting in effect.
pub(super) fn run(global: &Global, command: ConfigCommand) -> anyhow::Result<()> {
    let ConfigCommand::Show { settings, origin, json } = command;
    let loaded = config::load(global, &settings, &Environment::of_process()?)?;
    // What `serve` would refuse is not in effect.
    loaded.config.checked().map_err(|error| Failure::of(Code::ConfigInvalid, format!("{error}.")))?;
    Ok(show(&loaded, origin, json.json)?)
}

/// Prints what was loaded.
pub(super) fn show(loaded: &Loaded<impl Flat>, origin: bool, json: bool) -> std::io::Result<()> {
    if json { output::json(&as_json(loaded, origin)) } else { output::line(&as_toml(loaded, origin)) }
}

/// One member for each key; with origins `{"value": …, "origin": {"kind": "env", "name": "COUPLET_LISTEN"}}`.
fn as_json(loaded: &Loaded<impl Flat>, origin: bool) -> Value {
    let member = |(key, value): (String, Value)| {
        let origin_of_key = loaded.origin(&key);
        let (kind, name) = origin_of_key.split_once(' ').unwrap_or((&origin_of_key, ""));
        let name = if name.is_empty() { Value::Null } else { name.into() };
        let value = if origin { json!({"value": value, "origin": {"kind": kind, "name": name}}) } else { value };
        (key, value)
    };
    Value::Object(loaded.config.flat().into_iter().map(member).collect::<Map<_, _>>())
}

/// Lines that a configuration file may hold, with the origin as their comment.
fn as_toml(loaded: &Loaded<impl Flat>, origin: bool) -> String {
    let flat = loaded.config.flat();
    let lines: Vec<(String, &str)> =
        flat.iter().map(|(key, v)| (format!("{key} = {}", toml(v)), key.as_str())).collect();
    let width = lines.iter().map(|(line, _)| line.len()).filter(|len| *len <= 48).max().unwrap_or(0);
    let with_origin = |(line, key): &(String, &str)| match origin {
        true => format!("{line:width$}  # {}", loaded.origin(key)),
        false => line.clone(),
    };
    lines.iter().map(with_origin).collect::<Vec<_>>().join("\n")
}

fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{} = {}", toml_key(name), toml(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        // JSON's strings, numbers and truth values are TOML's too.
        plain => plain.to_string(),
    }
}

fn toml_key(name: &str) -> String {
    let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Settings;

    fn loaded() -> Loaded {
        let environment = Environment {
            variables: [("COUPLET_LIMITS__MAX_OFFERS".to_owned(), "3".to_owned())].into(),
            state_dir: Some("/s".into()),
            machine: "studio \"7\"".into(),
            ..Environment::default()
        };
        let settings = Settings { apps: vec!["web=http://h:1".into()], ..Settings::default() };
        config::load(&Global::default(), &settings, &environment).unwrap()
    }

    #[test]
    fn what_is_shown_can_be_put_into_a_file() {
        let text = as_toml(&loaded(), true);
        for line in [
            "state_dir = \"/s\"                      # default",
            "server_name = \"studio \\\"7\\\"\"",
            "apps = [{ name = \"web\", upstream = \"http://h:1\", headers = {} }]  # flag APP",
            "limits.max_offers = 3",
            "# env COUPLET_LIMITS__MAX_OFFERS",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, &text).unwrap();
        let global = Global { config: Some(path), ..Global::default() };
        let again = config::load(&global, &Settings::default(), &Environment::default()).unwrap();
        assert_eq!(again.config.apps, loaded().config.apps);
        assert_eq!(again.config.limits, loaded().config.limits);
    }

    #[test]
    fn json_has_each_key_with_its_value_or_its_origin_too() {
        let plain = as_json(&loaded(), false);
        assert_eq!((&plain["approve"], &plain["limits.max_offers"]), (&json!("relay"), &json!(3)));
        let origins = as_json(&loaded(), true);
        assert_eq!(
            origins["limits.max_offers"],
            json!({"value": 3, "origin": {"kind": "env", "name": "COUPLET_LIMITS__MAX_OFFERS"}})
        );
        assert_eq!(origins["approve"]["origin"], json!({"kind": "default", "name": null}));
    }
}
