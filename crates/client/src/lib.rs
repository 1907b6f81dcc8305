//! The device's side of Couplet, and the sealed stream that both ends share.

pub mod sealed;
