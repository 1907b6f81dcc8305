//! The settings of a relay: flag, else `COUPLET_RELAY_*`, else `relay.toml`, else the default.

use std::path::{Path, PathBuf};

use couplet_relay::Config;
use couplet_relay::config::Limits;
use figment::Figment;
use figment::value::Value;
use serde_json::Value as Json;

use super::keys::{Flat, Key, Kind, check_names, flatten};
use super::{
    ACCOUNT_AT_VARIABLE, ACCOUNT_TOKEN_VARIABLE, DEFAULT, Environment, Layer, Loaded, error, into_dict, invalid, layer,
    read_file, read_variables, state_dir_flag,
};
use crate::args::{Global, RelaySettings};
use crate::failure::Failure;

impl Flat for Config {
    fn flat(&self) -> Vec<(String, Json)> {
        flatten(self, keys())
    }
}

/// Every setting. Those of `limits` are taken from the type, so that none can be forgotten.
fn keys() -> Vec<Key> {
    let key = |(path, kind): (&str, Kind)| {
        let variable = format!("COUPLET_RELAY_{}", path.replace('.', "__").to_uppercase());
        Key { path: path.to_owned(), variable, kind }
    };
    let mut keys: Vec<Key> = [
        ("state_dir", Kind::Text),
        ("name", Kind::Text),
        ("hosts_name", Kind::Text),
        ("listen", Kind::List),
        ("hosts_listen", Kind::List),
        ("private", Kind::List),
        ("apps_domain", Kind::Text),
        ("apps_cert", Kind::Text),
        ("apps_key", Kind::Text),
        ("tls_cert", Kind::Text),
        ("tls_key", Kind::Text),
        ("dev", Kind::Switch),
        ("account_issuers", Kind::List),
        ("account_audience", Kind::Text),
        ("account_ca", Kind::Text),
    ]
    .map(key)
    .into();
    if let Ok(Json::Object(limits)) = serde_json::to_value(Limits::default()) {
        keys.extend(limits.keys().map(|name| key((&format!("limits.{name}"), Kind::Number))));
    }
    keys
}

/// Puts the layers together and checks every key.
pub(crate) fn load(
    global: &Global,
    settings: &RelaySettings,
    environment: &Environment,
) -> Result<Loaded<Config>, Failure> {
    let beside = |path: &PathBuf, name: &str| path.with_file_name(name);
    let folder = environment.state_dir.as_ref().map(|dir| beside(dir, "couplet-relay"));
    let mut layers = Figment::new().merge(defaults(folder.as_deref())?);
    let named = environment.variables.get("COUPLET_RELAY_CONFIG").map(PathBuf::from);
    let usual = environment.config_file.as_ref().map(|file| beside(file, "relay.toml"));
    if let Some(file) = read_file(global.config.clone().or(named), usual.as_ref())? {
        layers = layers.merge(file);
    }
    let keys = keys();
    let others = |name: &&String| {
        let of_others = ["COUPLET_RELAY_CONFIG", ACCOUNT_TOKEN_VARIABLE, ACCOUNT_AT_VARIABLE];
        name.starts_with("COUPLET_RELAY_") && !of_others.contains(&name.as_str())
    };
    check_names(&keys, environment.variables.keys().filter(others))?;
    for layer in read_variables(&keys, environment)?.into_iter().chain(flags(global, settings)?) {
        layers = layers.merge(layer);
    }
    if layers.find_value("state_dir").is_err() {
        let next = "No home folder is known: name the state folder with --state-dir or COUPLET_RELAY_STATE_DIR.";
        return Err(invalid(next));
    }
    let config = layers.extract::<Config>().map_err(|error| error::explain(error, &layers))?;
    Ok(Loaded { config, layers })
}

/// The state folder alone, for the commands that talk with a running relay.
pub(crate) fn state_dir(global: &Global) -> Result<PathBuf, Failure> {
    Ok(load(global, &RelaySettings::default(), &Environment::of_process()?)?.config.state_dir)
}

fn defaults(folder: Option<&Path>) -> Result<Layer, Failure> {
    let config = Config::new(folder.unwrap_or(Path::new("")));
    let mut values = into_dict(Value::serialize(config).map_err(|error| invalid(error.to_string()))?);
    if folder.is_none() {
        values.remove("state_dir");
    }
    Ok(Layer { name: DEFAULT.to_owned(), values })
}

fn flags(global: &Global, settings: &RelaySettings) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    let mut set = |flag: &str, key: &str, value: Option<Value>| {
        layers.extend(value.map(|value| layer(format!("flag {flag}"), key, value)));
    };
    let path = |flag: &str, path: &Option<PathBuf>| match path.as_ref().map(|path| path.to_str()) {
        Some(None) => Err(invalid(format!("{flag} is not UTF-8: choose another file."))),
        Some(Some(path)) => Ok(Some(Value::from(path))),
        None => Ok(None),
    };
    let list = |values: &Vec<String>| (!values.is_empty()).then(|| Value::from(values.clone()));
    set("--state-dir", "state_dir", state_dir_flag(global)?.map(Value::from));
    set("--name", "name", settings.name.clone().map(Value::from));
    set("--hosts-name", "hosts_name", settings.hosts_name.clone().map(Value::from));
    set("--listen", "listen", list(&settings.listen));
    set("--hosts-listen", "hosts_listen", list(&settings.hosts_listen));
    set("--private", "private", list(&settings.private));
    set("--apps-domain", "apps_domain", settings.apps_domain.clone().map(Value::from));
    set("--apps-cert", "apps_cert", path("--apps-cert", &settings.apps_cert)?);
    set("--apps-key", "apps_key", path("--apps-key", &settings.apps_key)?);
    set("--tls-cert", "tls_cert", path("--tls-cert", &settings.tls_cert)?);
    set("--tls-key", "tls_key", path("--tls-key", &settings.tls_key)?);
    set("--dev", "dev", settings.dev.then(|| Value::from(true)));
    Ok(layers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment { state_dir: Some("/home/a/.local/state/couplet".into()), ..Environment::default() }
    }

    #[test]
    fn every_key_of_the_configuration_has_its_variable() {
        let config = serde_json::to_value(Config::new("/s")).unwrap();
        for name in config.as_object().unwrap().keys() {
            assert!(keys().iter().any(|key| key.path == *name || key.path.starts_with(&format!("{name}."))), "{name}");
        }
        assert!(keys().iter().any(|key| key.variable == "COUPLET_RELAY_LIMITS__HOST_SESSIONS"));
    }

    #[test]
    fn a_flag_wins_over_a_variable_and_that_over_the_default() {
        let mut environment = environment();
        for (name, value) in [
            ("COUPLET_RELAY_LISTEN", "127.0.0.1:1, 127.0.0.1:2"),
            ("COUPLET_RELAY_DEV", "1"),
            ("COUPLET_RELAY_NAME", "one.example"),
            // The host's, which a relay does not look at.
            ("COUPLET_STATE_DIR", "/elsewhere"),
            (ACCOUNT_TOKEN_VARIABLE, "/elsewhere"),
            (ACCOUNT_AT_VARIABLE, "relay.example"),
        ] {
            environment.variables.insert(name.to_owned(), value.to_owned());
        }
        let settings = RelaySettings { name: Some("two.example".into()), ..RelaySettings::default() };
        let loaded = load(&Global::default(), &settings, &environment).unwrap();
        let config = &loaded.config;
        assert_eq!((config.name.as_str(), config.dev, config.listen.len()), ("two.example", true, 2));
        assert_eq!(config.state_dir, Path::new("/home/a/.local/state/couplet-relay"));
        let origins = ["name", "dev", "private"].map(|key| loaded.origin(key));
        assert_eq!(origins, ["flag --name", "env COUPLET_RELAY_DEV", "default"]);
    }

    #[test]
    fn what_is_misspelt_is_said() {
        let mut environment = environment();
        environment.variables.insert("COUPLET_RELAY_LISTN".to_owned(), "x".to_owned());
        let failure = load(&Global::default(), &RelaySettings::default(), &environment).unwrap_err();
        assert!(failure.detail.contains("COUPLET_RELAY_LISTEN"), "{failure}");
        let failure = load(&Global::default(), &RelaySettings::default(), &Environment::default()).unwrap_err();
        assert!(failure.detail.contains("COUPLET_RELAY_STATE_DIR"), "{failure}");
    }

    #[test]
    fn the_help_names_the_variables_that_are_read() {
        use clap::CommandFactory;
        let mut command = crate::args::Cli::command();
        let relay = command.find_subcommand_mut("relay").unwrap();
        let help = relay.find_subcommand_mut("serve").unwrap().render_help().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let named: Vec<&str> =
            help.split("[env: COUPLET_RELAY_").skip(1).map(|t| t.split(']').next().unwrap()).collect();
        assert!(named.len() >= 8, "{help}");
        for name in named {
            assert!(keys().iter().any(|key| key.variable == format!("COUPLET_RELAY_{name}")), "{name}");
        }
    }
}
