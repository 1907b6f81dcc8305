//! The operating system's generator, the only source of randomness here (`rng: "os-csprng"`).

/// What `/health` says of it, so that a client can refuse a host that makes its secrets otherwise.
pub(crate) const SOURCE: &str = "os-csprng";

/// Random bytes of the operating system's generator.
///
/// Aborts when the system has none to give: a host that cannot make secrets must not go on.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(target: "couplet::host", %error, "the operating system's generator failed");
        std::process::abort();
    }
    bytes
}

/// A random UUID (version 4).
pub(crate) fn uuid() -> uuid::Uuid {
    uuid::Builder::from_random_bytes(bytes()).into_uuid()
}
