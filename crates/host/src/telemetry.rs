//! The log: to stderr, without secrets.
//!
//! What comes from outside cannot forge lines: control characters are escaped.
//!
//! Secret types print `[redacted]`. Behind them stands this: a field whose name contains `token` is dropped, unless
//! its value is a whole number, a length. And what the HTTP libraries below us would say at `debug` and `trace`,
//! where they print what passes through them, is cut off at `info`.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// Libraries whose finer levels print requests.
const QUIET: [&str; 6] = ["hyper=info", "hyper_util=info", "h2=info", "tower=info", "axum=info", "mio=info"];

/// Starts logging to stderr. `filter` is as in `RUST_LOG`; false when a log is already set up.
pub fn init(filter: &str, ansi: bool) -> bool {
    let mut filter = EnvFilter::builder().parse_lossy(filter);
    for directive in QUIET {
        if let Ok(directive) = directive.parse() {
            filter = filter.add_directive(directive);
        }
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(std::io::stderr);
    log.fmt_fields(WithoutSecrets).try_init().is_ok()
}

/// Formats fields as `name=value` and drops those that could hold a secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct WithoutSecrets;

impl<'w> FormatFields<'w> for WithoutSecrets {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        let mut line = Line { writer, result: Ok(()), empty: true };
        fields.record(&mut line);
        line.result
    }
}

struct Line<'w> {
    writer: Writer<'w>,
    result: fmt::Result,
    empty: bool,
}

impl Line<'_> {
    fn put(&mut self, field: &Field, value: &dyn Debug) {
        if self.result.is_err() {
            return;
        }
        let gap = if std::mem::take(&mut self.empty) { "" } else { " " };
        let mut writer = Escaped(&mut self.writer);
        self.result = match field.name() {
            "message" => write!(writer, "{gap}{value:?}"),
            name => write!(writer, "{gap}{name}={value:?}"),
        };
    }
}

/// Writes control characters as a terminal does not take them: a value is one line, and moves no cursor.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, control)) = rest.char_indices().find(|(_, c)| c.is_control()) {
            write!(self.0, "{}{}", &rest[..at], control.escape_default())?;
            rest = &rest[at + control.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

fn may_hold_a_secret(field: &Field) -> bool {
    field.name().to_ascii_lowercase().contains("token")
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if !may_hold_a_secret(field) {
            self.put(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, &value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log has of what this says.
    fn logged(say: impl FnOnce()) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let log = tracing_subscriber::fmt()
            .with_ansi(false)
            .fmt_fields(WithoutSecrets)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, say);
        let written = captured.0.lock().unwrap().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn what_comes_from_outside_forges_no_line() {
        let hostile = "a\nINFO forged\r\u{1b}[2J\u{9b}b";
        let log = logged(|| tracing::info!(said = %hostile, "{hostile}"));
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(!log.trim_end().contains(|c: char| c.is_control()), "{log}");
        assert!(log.contains("said=a\\nINFO forged\\r\\u{1b}[2J\\u{9b}b"), "{log}");
    }

    #[test]
    fn a_token_field_is_dropped_unless_it_is_a_length() {
        let log = logged(|| {
            let span = tracing::info_span!("s", pair_token = "canary1", port = 1);
            let _entered = span.enter();
            tracing::info!(token = "canary2", device_Token = ?"canary3", my_token_x = %"canary4", token_len = 32_usize,
                host = "h", "pairing.url.generated");
        });
        assert!(!log.contains("canary"), "{log}");
        assert!(log.contains("pairing.url.generated token_len=32 host=\"h\""), "{log}");
        assert!(log.contains("port=1"), "{log}");
    }
}
