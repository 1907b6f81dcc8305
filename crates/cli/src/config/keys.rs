//! The keys of the configuration, their variables, and how a variable's text is read.

use std::collections::BTreeSet;

use couplet_host::config::Limits;
use figment::value::Value;
use serde_json::Value as Json;

use super::{ACCOUNT_AT_VARIABLE, ACCOUNT_TOKEN_FILE, invalid, read_apps};
use crate::failure::Failure;
use crate::nearest::distance;

/// How the text of a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// Separated by commas.
    List,
    /// As `APP` on the command line, separated by commas.
    Apps,
    /// `true` or `false`, `1` or `0`.
    Switch,
}

impl Kind {
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let items = || text.split(',').map(str::trim).filter(|item| !item.is_empty());
        match self {
            Kind::Text => Ok(Value::from(text)),
            Kind::Number => text.trim().parse::<u64>().map(Value::from).map_err(|_| format!("{text:?} is no number")),
            Kind::List => Ok(Value::from(items().map(str::to_owned).collect::<Vec<_>>())),
            Kind::Apps => read_apps(items()),
            Kind::Switch => match text.trim().to_ascii_lowercase().as_str() {
                "1" | "true" | "yes" | "on" => Ok(Value::from(true)),
                "0" | "false" | "no" | "off" => Ok(Value::from(false)),
                _ => Err(format!("{text:?} is neither true nor false")),
            },
        }
    }
}

/// One setting.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// In the file: `limits.max_devices`.
    pub(super) path: String,
    /// In the environment: `COUPLET_LIMITS__MAX_DEVICES`.
    pub(super) variable: String,
    pub(super) kind: Kind,
}

/// Every setting. Those of `limits` are taken from the type, so that none can be forgotten, by their names.
pub(super) fn all() -> Vec<Key> {
    let mut keys: Vec<Key> = [
        ("state_dir", Kind::Text),
        ("server_name", Kind::Text),
        ("listen", Kind::List),
        ("gateway", Kind::List),
        ("apps", Kind::Apps),
        ("approve", Kind::Text),
        ("lan_pairing", Kind::Text),
        ("discovery", Kind::Switch),
        ("allowed_hosts", Kind::List),
        ("allowed_origins", Kind::List),
        ("trusted_networks", Kind::List),
        ("trusted_proxies", Kind::List),
        ("relay", Kind::Text),
        (ACCOUNT_TOKEN_FILE, Kind::Text),
        ("phone_name", Kind::Text),
        ("phone_listen", Kind::List),
        ("phone_apps_domain", Kind::Text),
        ("phone_cert", Kind::Text),
        ("phone_key", Kind::Text),
    ]
    .map(|(path, kind)| Key { path: path.to_owned(), variable: variable(path), kind })
    .into();
    if let Ok(Json::Object(limits)) = serde_json::to_value(Limits::default()) {
        let names: BTreeSet<_> = limits.keys().collect();
        keys.extend(names.into_iter().map(|name| {
            let path = format!("limits.{name}");
            Key { variable: variable(&path), path, kind: Kind::Number }
        }));
    }
    keys
}

fn variable(path: &str) -> String {
    match path {
        // After its flag, as all the others are.
        "server_name" => "COUPLET_NAME".to_owned(),
        _ => format!("COUPLET_{}", path.replace('.', "__").to_uppercase()),
    }
}

/// Variables that set no key of the configuration.
const OTHERS: [&str; 5] = ["COUPLET_CONFIG", "COUPLET_JSON", "COUPLET_LOG", "COUPLET_NO_INPUT", ACCOUNT_AT_VARIABLE];

/// Refuses a misspelt variable: `COUPLET_APROVE=always` must not leave the host open. Names that resemble none of
/// ours stay unnoticed, because others set such ones too (Kubernetes does, for a service called couplet).
pub(super) fn check_names<'a>(keys: &[Key], names: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    let known = || keys.iter().map(|key| key.variable.as_str()).chain(OTHERS);
    for name in names.filter(|name| !known().any(|known| known == name.as_str())) {
        let near = known().map(|known| (distance(name, known), known)).min();
        match near {
            Some((0..=2, near)) => {
                return Err(invalid(format!("The variable {name} is no setting: did you mean {near}?")));
            }
            _ if name.starts_with("COUPLET_LIMITS_") => {
                let limits: Vec<&str> = known().filter(|known| known.starts_with("COUPLET_LIMITS__")).collect();
                return Err(invalid(format!(
                    "The variable {name} is no setting. The limits are {}.",
                    limits.join(", ")
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A configuration that can be shown.
pub(crate) trait Flat {
    /// Every key with its value, the tables of `limits` unfolded, and the values of apps' headers hidden.
    fn flat(&self) -> Vec<(String, Json)>;
}

impl Flat for couplet_host::Config {
    fn flat(&self) -> Vec<(String, Json)> {
        flatten(self, all())
    }
}

pub(super) fn flatten(config: &impl serde::Serialize, keys: Vec<Key>) -> Vec<(String, Json)> {
    let Ok(mut json) = serde_json::to_value(config) else { return Vec::new() };
    keys.into_iter()
        .map(|key| {
            let pointer = format!("/{}", key.path.replace('.', "/"));
            let mut value = json.pointer_mut(&pointer).map(Json::take).unwrap_or_default();
            if key.kind == Kind::Apps {
                hide_headers(&mut value);
            }
            (key.path, value)
        })
        .collect()
}

fn hide_headers(apps: &mut Json) {
    for app in apps.as_array_mut().into_iter().flatten() {
        for value in app.get_mut("headers").and_then(Json::as_object_mut).into_iter().flat_map(|map| map.values_mut()) {
            *value = "[redacted]".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_configuration_has_its_variable() {
        let config = serde_json::to_value(couplet_host::Config::new("/s", "n")).unwrap();
        let keys = all();
        for name in config.as_object().unwrap().keys() {
            assert!(keys.iter().any(|key| key.path == *name || key.path.starts_with(&format!("{name}."))), "{name}");
        }
        assert!(keys.iter().any(|key| key.variable == "COUPLET_LIMITS__MAX_DEVICES"));
    }

    #[test]
    fn the_help_names_the_variables_that_are_read() {
        use clap::CommandFactory;
        let mut command = crate::args::Cli::command();
        let help = command.find_subcommand_mut("serve").unwrap().render_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let named: Vec<&str> =
            help.split("[env: ").skip(1).map(|rest| rest.split([']', '=']).next().unwrap()).collect();
        assert!(named.len() >= 6, "{help}");
        for name in named {
            let known = all().iter().any(|key| key.variable == name) || OTHERS.contains(&name);
            assert!(known, "{name}");
        }
    }
}
