//! A wrong setting, said so that it can be found and corrected: where it stands, which key, what to write.

use figment::Figment;
use figment::error::Kind;

use super::invalid;
use crate::failure::Failure;
use crate::nearest::nearest;

pub(super) fn explain(error: figment::Error, layers: &Figment) -> Failure {
    let path = error.path.join(".");
    match &error.kind {
        Kind::UnknownField(field, known) => unknown_key(&path, field, known, &error, layers),
        Kind::UnknownVariant(value, known) => {
            let origin = origin(&path, &error, layers);
            invalid(format!("{origin}: {path} is {value:?}; it may be {}.", known.join(", ")))
        }
        Kind::MissingField(field) if field == "state_dir" => {
            invalid("No home folder is known: name the state folder with --state-dir or COUPLET_STATE_DIR.")
        }
        Kind::MissingField(field) => {
            invalid(format!("{}: {path} lacks the key {field:?}.", origin(&path, &error, layers)))
        }
        kind => invalid(format!("{}: {path}: {kind}.", origin(&path, &error, layers))),
    }
}

fn unknown_key(path: &str, field: &str, known: &[&str], error: &figment::Error, layers: &Figment) -> Failure {
    // Some figment paths end in the unknown field, some in the table that holds it.
    let table = path.strip_suffix(field).unwrap_or(path).trim_end_matches('.');
    let key = if table.is_empty() { field.to_owned() } else { format!("{table}.{field}") };
    let mut near = nearest(field, known.iter().copied());
    if near.is_empty() {
        near = known.to_vec();
    }
    let near: Vec<String> = near
        .into_iter()
        .map(|name| if table.is_empty() { name.to_owned() } else { format!("{table}.{name}") })
        .collect();
    let origin = origin(&key, error, layers);
    invalid(format!("{origin}: there is no key {key:?}. Did you mean {}?", near.join(", ")))
}

/// The source of the value: the most exact one that figment knows.
fn origin(key: &str, error: &figment::Error, layers: &Figment) -> String {
    let table = key.split('.').next().unwrap_or(key);
    let metadata = layers.find_metadata(key).or(error.metadata.as_ref()).or_else(|| layers.find_metadata(table));
    metadata.map_or_else(|| "configuration".to_owned(), |metadata| metadata.name.to_string())
}
