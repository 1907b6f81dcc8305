//! The relay: carries sealed sessions between devices and hosts that share no network, and reads none of them.
#![forbid(unsafe_code)]
