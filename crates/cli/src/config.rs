//! The settings of a host: flag, else `COUPLET_*`, else the file, else the default; and where each value came from.

mod error;
mod keys;
pub(crate) mod relay;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use couplet_host::Config;
use couplet_host::config::App;
use couplet_protocol::Code;
use etcetera::BaseStrategy;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use crate::args::{Global, Settings};
use crate::failure::Failure;

pub(crate) use keys::Flat;

/// What is logged: `COUPLET_LOG` is the more exact of the two variables, so it wins.
pub(crate) fn log_filter(default: &str) -> String {
    let named = |name| std::env::var(name).ok().filter(|filter| !filter.is_empty());
    named("COUPLET_LOG").or_else(|| named("RUST_LOG")).unwrap_or_else(|| default.to_owned())
}

/// What the machine and the process's environment say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    /// The variables whose names begin with `COUPLET_`.
    pub(crate) variables: BTreeMap<String, String>,
    /// Where the configuration file is when nobody says otherwise.
    pub(crate) config_file: Option<PathBuf>,
    /// Where the state is kept when nobody says otherwise.
    pub(crate) state_dir: Option<PathBuf>,
    /// This machine's name.
    pub(crate) machine: String,
}

impl Environment {
    /// This process's.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with("COUPLET_")) else { continue };
            let text = value.into_string().map_err(|_| invalid(format!("{name} is not UTF-8: write it anew.")))?;
            // An empty variable is how scripts say "not set".
            if !text.is_empty() {
                variables.insert(name.to_owned(), text);
            }
        }
        // Services may have no home; then the folder must be named.
        let base = etcetera::choose_base_strategy().ok();
        Ok(Environment {
            variables,
            config_file: base.as_ref().map(|base| base.config_dir().join("couplet").join("config.toml")),
            state_dir: base.as_ref().and_then(BaseStrategy::state_dir).map(|dir| dir.join("couplet")),
            machine: machine_name(),
        })
    }
}

/// This machine's name.
pub(crate) fn machine_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let name = name.strip_suffix(".local").unwrap_or(&name).trim().to_owned();
    if name.is_empty() { "couplet".to_owned() } else { name }
}

/// A configuration that can be used, and the layers that it came from.
#[derive(Clone, Debug)]
pub(crate) struct Loaded<C = Config> {
    /// The values.
    pub(crate) config: C,
    layers: Figment,
}

impl<C> Loaded<C> {
    /// Where the value of a key such as `limits.max_devices` came from: `flag --listen`, `env COUPLET_LISTEN`,
    /// `file /path`, `default`.
    pub(crate) fn origin(&self, key: &str) -> String {
        self.layers.find_metadata(key).map_or_else(|| DEFAULT.to_owned(), |metadata| metadata.name.to_string())
    }
}

const DEFAULT: &str = "default";
/// A setting of hosts, and of devices by its variable alone.
const ACCOUNT_TOKEN_FILE: &str = "relay_account_token_file";
/// Its variable, which is none of a relay's own for all its beginning.
pub(crate) const ACCOUNT_TOKEN_VARIABLE: &str = "COUPLET_RELAY_ACCOUNT_TOKEN_FILE";
/// Which relay a device shows its token to.
pub(crate) const ACCOUNT_AT_VARIABLE: &str = "COUPLET_RELAY_ACCOUNT_AT";

/// One source of values.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::of(Code::ConfigInvalid, detail)
}

/// Puts the layers together and checks every value and key.
pub(crate) fn load(global: &Global, settings: &Settings, environment: &Environment) -> Result<Loaded, Failure> {
    let mut layers = Figment::new().merge(defaults(environment)?);
    if let Some(file) = file(global, environment)? {
        layers = layers.merge(file);
    }
    for layer in variables(environment)? {
        layers = layers.merge(layer);
    }
    for layer in flags(global, settings)? {
        layers = layers.merge(layer);
    }
    let config = layers.extract::<Config>().map_err(|error| error::explain(error, &layers))?;
    Ok(Loaded { config, layers })
}

/// The state folder alone, for the commands that talk with a running host.
pub(crate) fn state_dir(global: &Global) -> Result<PathBuf, Failure> {
    Ok(load(global, &Settings::default(), &Environment::of_process()?)?.config.state_dir)
}

fn defaults(environment: &Environment) -> Result<Layer, Failure> {
    let config = Config::new(environment.state_dir.clone().unwrap_or_default(), environment.machine.clone());
    let mut values = into_dict(Value::serialize(config).map_err(|error| invalid(error.to_string()))?);
    if environment.state_dir.is_none() {
        values.remove("state_dir");
    }
    Ok(Layer { name: DEFAULT.to_owned(), values })
}

fn file(global: &Global, environment: &Environment) -> Result<Option<Layer>, Failure> {
    let named = global.config.clone().or_else(|| environment.variables.get("COUPLET_CONFIG").map(PathBuf::from));
    read_file(named, environment.config_file.as_ref())
}

/// The file that was named, or the usual one where it exists.
fn read_file(named: Option<PathBuf>, usual: Option<&PathBuf>) -> Result<Option<Layer>, Failure> {
    let Some(path) = named.as_ref().or(usual) else { return Ok(None) };
    match std::fs::read_to_string(path) {
        Ok(text) => parse_file(path, &text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(invalid(format!("{} cannot be read: {error}.", path.display()))),
    }
}

fn parse_file(path: &Path, text: &str) -> Result<Layer, Failure> {
    let values = Toml::from_str::<Dict>(text).map_err(|error| {
        // The parser's own text would quote the line, and a line may hold an app's secret.
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        invalid(format!("{}, line {line}: {}.", path.display(), error.message()))
    })?;
    Ok(Layer { name: format!("file {}", path.display()), values })
}

fn variables(environment: &Environment) -> Result<Vec<Layer>, Failure> {
    let keys = keys::all();
    keys::check_names(&keys, environment.variables.keys())?;
    read_variables(&keys, environment)
}

fn read_variables(keys: &[keys::Key], environment: &Environment) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    for key in keys {
        let Some(text) = environment.variables.get(&key.variable) else { continue };
        let value = key.kind.read(text).map_err(|why| invalid(format!("{}: {why}.", key.variable)))?;
        layers.push(layer(format!("env {}", key.variable), &key.path, value));
    }
    Ok(layers)
}

fn state_dir_flag(global: &Global) -> Result<Option<String>, Failure> {
    let not_utf8 = |_| invalid("--state-dir is not UTF-8: choose another folder.");
    global.state_dir.clone().map(|dir| dir.into_os_string().into_string().map_err(not_utf8)).transpose()
}

fn flags(global: &Global, settings: &Settings) -> Result<Vec<Layer>, Failure> {
    let mut layers = Vec::new();
    let mut text = |flag: &str, key: &str, value: Option<String>| {
        layers.extend(value.map(|value| layer(format!("flag {flag}"), key, Value::from(value))));
    };
    text("--state-dir", "state_dir", state_dir_flag(global)?);
    text("--approve", "approve", settings.approve.clone());
    text("--lan-pairing", "lan_pairing", settings.lan_pairing.clone());
    text("--name", "server_name", settings.name.clone());
    text("--relay-account-token-file", ACCOUNT_TOKEN_FILE, settings.relay_account_token_file.clone());
    text("--relay", "relay", settings.relay.then(|| "required".to_owned()));
    text("--no-relay", "relay", settings.no_relay.then(|| "off".to_owned()));
    for (flag, key, values) in [("--listen", "listen", &settings.listen), ("--gateway", "gateway", &settings.gateway)] {
        if !values.is_empty() {
            layers.push(layer(format!("flag {flag}"), key, Value::from(values.clone())));
        }
    }
    if !settings.apps.is_empty() {
        let apps = read_apps(settings.apps.iter().map(String::as_str)).map_err(|why| invalid(format!("{why}.")))?;
        layers.push(layer("flag APP".to_owned(), "apps", apps));
    }
    Ok(layers)
}

fn read_apps<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let apps: Vec<App> = texts.map(App::parse).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    Value::serialize(apps).map_err(|error| error.to_string())
}

fn layer(name: String, key: &str, value: Value) -> Layer {
    Layer { name, values: into_dict(figment::util::nest(key, value)) }
}

fn into_dict(value: Value) -> Dict {
    match value {
        Value::Dict(_, dict) => dict,
        _ => Dict::new(),
    }
}

#[cfg(test)]
mod tests;
