//! Stand-in for the log.

/// Logs to stderr what `filter` lets through.
pub fn init(filter: &str, ansi: bool) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(ansi)
        .with_writer(std::io::stderr)
        .try_init();
}
