//! The machine a result belongs to.

use serde::Serialize;
use std::{fmt, fs, thread};

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    /// CPUs this process may use.
    pub cpus: usize,
    pub memory_gib: u64,
    pub kernel: String,
    pub congestion_control: String,
}

impl Machine {
    /// What /proc tells of this machine; `unknown` where it doesn't.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| key.trim() == name)
                .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
        };
        let kib = field(&read("/proc/meminfo"), "MemTotal");
        let kib: u64 = kib.trim_end_matches(" kB").parse().unwrap_or(0);
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (kib + (1 << 19)) >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion_control: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cpus, memory_gib, kernel, congestion_control } = self;
        write!(
            f,
            "{processor}, {cpus} CPUs, {memory_gib} GiB, Linux {kernel} ({congestion_control})"
        )
    }
}
