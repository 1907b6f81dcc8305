//! The relay: carries sealed sessions between devices and hosts that share no network, and reads none of them.
#![forbid(unsafe_code)]

pub mod account;
pub mod clock;
pub mod host;
pub mod lockout;
mod record;
pub mod registry;
pub mod room;
pub mod rooms_door;
pub mod store;

pub use account::Accounts;
pub use clock::Clock;
pub use host::{Host, HostId, HostKey};
pub use record::Fault;
pub use registry::Registry;
pub use rooms_door::RoomsDoor;
