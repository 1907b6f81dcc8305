//! What the operator sees in numbers: Prometheus' text format.

use std::fmt;

use metrics::{Counter, Gauge, Key, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

const ABOUT: Metadata<'static> = Metadata::new("couplet::relay", Level::INFO, None);

/// The numbers of one relay.
pub(crate) struct Metrics {
    shown: PrometheusHandle,
    /// Hosts with an event stream.
    hosts: Gauge,
    /// Sessions that are open or coming to be.
    sessions: Gauge,
    /// Connections of devices.
    device_sockets: Gauge,
    /// Connections of hosts.
    host_sockets: Gauge,
    /// Rooms open at `/rooms`.
    rooms: Gauge,
    /// Sessions with both ends.
    pub(crate) bridges: Gauge,
    /// Bytes carried.
    pub(crate) bytes: Counter,
    /// Sessions opened.
    pub(crate) opened: Counter,
    /// Joins that were refused.
    pub(crate) refused: Counter,
    /// Certificates given to hosts.
    pub(crate) enrolled: Counter,
    /// Connections that were turned away because there were too many.
    pub(crate) turned_away: Counter,
    /// TLS handshakes that failed.
    pub(crate) handshakes_failed: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// What is read off when somebody asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) hosts: usize,
    pub(crate) sessions: usize,
    pub(crate) device_sockets: usize,
    pub(crate) host_sockets: usize,
    pub(crate) rooms: usize,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        // Of this relay, not of the process: a process may run several.
        let recorder = PrometheusBuilder::new().build_recorder();
        let gauge = |name: &'static str, about: &'static str| {
            recorder.describe_gauge(name.into(), None, about.into());
            recorder.register_gauge(&Key::from_static_name(name), &ABOUT)
        };
        let counter = |name: &'static str, unit: Option<Unit>, about: &'static str| {
            recorder.describe_counter(name.into(), unit, about.into());
            recorder.register_counter(&Key::from_static_name(name), &ABOUT)
        };
        Metrics {
            hosts: gauge("couplet_relay_hosts_online", "Hosts with an event stream"),
            sessions: gauge("couplet_relay_sessions", "Sessions that are open or coming to be"),
            device_sockets: gauge("couplet_relay_device_sockets", "Connections on the devices' listener"),
            host_sockets: gauge("couplet_relay_host_sockets", "Connections on the hosts' listener"),
            rooms: gauge("couplet_relay_open_rooms", "Rooms that are open at /rooms"),
            bridges: gauge("couplet_relay_bridges", "Sessions whose both ends are there"),
            bytes: counter("couplet_relay_bytes_total", Some(Unit::Bytes), "Bytes carried between the ends"),
            opened: counter("couplet_relay_sessions_opened_total", None, "Sessions opened"),
            refused: counter("couplet_relay_joins_refused_total", None, "Requests of devices that were refused"),
            enrolled: counter("couplet_relay_certificates_total", None, "Certificates given to hosts"),
            turned_away: counter("couplet_relay_turned_away_total", None, "Connections refused: too many"),
            handshakes_failed: counter("couplet_relay_handshakes_failed_total", None, "TLS handshakes that failed"),
            shown: recorder.handle(),
        }
    }

    /// The text for a scrape.
    pub(crate) fn render(&self, levels: Levels) -> String {
        // A count of connections is far below 2^53.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let set = |gauge: &Gauge, value: usize| gauge.set(value as f64);
        set(&self.hosts, levels.hosts);
        set(&self.sessions, levels.sessions);
        set(&self.device_sockets, levels.device_sockets);
        set(&self.host_sockets, levels.host_sockets);
        set(&self.rooms, levels.rooms);
        self.shown.run_upkeep();
        self.shown.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_page_names_every_number() {
        let page = include_str!("../../../docs/relay-operators.md");
        let documented = page.lines().filter_map(|line| line.strip_prefix("| `couplet_relay_")?.split('`').next());
        let levels = Levels { hosts: 0, sessions: 0, device_sockets: 0, host_sockets: 0, rooms: 0 };
        let text = Metrics::new().render(levels);
        let shown = text.lines().filter_map(|line| line.strip_prefix("couplet_relay_")?.split(' ').next());
        let [mut documented, mut shown] = [documented.collect::<Vec<_>>(), shown.collect()];
        documented.sort_unstable();
        shown.sort_unstable();
        assert!(shown.len() > 10);
        assert_eq!(documented, shown);
    }
}
