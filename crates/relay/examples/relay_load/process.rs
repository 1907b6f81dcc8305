//! What a process and its children have used, as Linux tells it.

use std::fs;

/// A process and its children.
pub(crate) struct Process(Vec<u32>);

impl Process {
    pub(crate) fn new(pid: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        Process(std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect())
    }

    /// User and system time, in seconds: that of threads which have ended too.
    pub(crate) fn cpu(&self) -> f64 {
        let ticks = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let fields = stat.rsplit_once(") ").unwrap().1.split(' ').skip(11).take(2);
            fields.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>()
        };
        // USER_HZ is 100 wherever Linux runs.
        self.0.iter().map(ticks).sum::<f64>() / 100.0
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident(&self) -> f64 {
        let of = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap()
        };
        self.0.iter().map(of).sum()
    }
}
