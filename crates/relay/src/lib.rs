//! The relay: carries sealed sessions between devices and hosts that share no network, and reads none of them.
//!
//! [`Relay`] is the whole of it: two listeners with TLS, one for devices and one for hosts, whose certificates are of the
//! relay's own CA. What must outlive a restart is the [`Registry`]'s; what is live only is `live` and `sessions`. A session
//! is asked for at `POST /pair`, told to its host on the host's event stream, and carried by `bridge` once both ends have
//! come.
#![forbid(unsafe_code)]

pub mod account;
mod authority;
mod bridge;
pub mod clock;
pub mod config;
pub mod control;
mod drain;
mod failpoint;
mod host;
mod http;
mod listener;
mod live;
mod lockout;
mod metrics;
mod places;
mod plain;
mod problem;
mod quota;
mod rate;
mod record;
#[cfg(feature = "failpoints")]
mod recording;
pub mod registry;
mod relay;
pub mod room;
mod rooms_door;
mod sessions;
mod shared;
mod sockets;
mod source;
mod state;
pub mod store;
mod tasks;
mod tls;
mod wire;

pub use account::Accounts;
pub use clock::Clock;
pub use config::Config;
pub use host::{Host, HostId, HostKey};
pub use record::Fault;
pub use registry::Registry;
pub use relay::{Bound, Ready, Relay, StartError};
