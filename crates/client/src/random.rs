//! The operating system's generator.

use couplet_protocol::StaticSecret;
use couplet_protocol::secret::Entropy;
use zeroize::Zeroizing;

/// The operating system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operating system's random generator does not work")]
pub struct NoRandomness;

/// 32 fresh bytes.
pub(crate) fn entropy() -> Result<Entropy, NoRandomness> {
    bytes().map(|bytes| Entropy::new(*bytes))
}

/// A new key for one host.
pub(crate) fn static_secret() -> Result<StaticSecret, NoRandomness> {
    StaticSecret::new(*bytes()?).map_err(|_| NoRandomness)
}

/// A number in 0..1.
pub(crate) fn fraction() -> f64 {
    // Without randomness there is none to spread: the whole time is waited.
    getrandom::u32().map_or(1.0, |number| f64::from(number) / f64::from(u32::MAX))
}

/// A few bytes, in hex.
pub(crate) fn tag() -> Result<String, NoRandomness> {
    getrandom::u64().map(|number| format!("{number:016x}")).map_err(|_| NoRandomness)
}

fn bytes() -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}
