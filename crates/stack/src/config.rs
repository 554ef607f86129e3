//! What the engine can be told at its start. Every limit has a name and a reason here.

use crate::{tcp::Settings, time::Duration};

#[derive(Clone, Debug)]
pub struct Config {
    pub limits: Limits,
    /// What new TCP sockets start with.
    pub tcp: Settings,
    /// Ephemeral ports, both ends included: Linux's range.
    pub ephemeral_ports: (u16, u16),
    /// The time of day in UT when the clock of the engine was 0, for timestamps of ICMP and IPv4; `None`:
    /// nobody knows.
    pub time_of_day: Option<Duration>,
    /// Are ICMP timestamp requests answered?
    pub icmp_timestamps: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tcp: Settings::default(),
            ephemeral_ports: (32768, 60999),
            time_of_day: None,
            icmp_timestamps: false,
        }
    }
}

/// "Full" is a result with a name, never a growth.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sockets of all kinds.
    pub sockets: usize,
    /// Half-open connections per listener: past it SYNs are dropped.
    pub half_open: usize,
    /// Connections in TIME-WAIT: past it the oldest ends early.
    pub time_wait: usize,
    pub time_wait_duration: Duration,
    /// The longest accept queue, whatever a program asks for (Linux: somaxconn).
    pub backlog: usize,
    /// Neighbor entries per shard.
    pub neighbors: usize,
    /// Packets held for one neighbor that is being resolved.
    pub neighbor_pending: usize,
    /// Multicast groups that one socket may join, and sources in one of its filters: Linux's
    /// igmp_max_memberships and igmp_max_msf.
    pub multicast_groups_per_socket: usize,
    pub multicast_sources: usize,
    /// Groups joined on all interfaces: more than any program on one machine listens to, and few
    /// enough to report within a second.
    pub multicast_groups: usize,
    /// Bytes of fragments held, over all datagrams; and of one source.
    pub reassembly_bytes: usize,
    pub reassembly_bytes_per_source: usize,
    /// Routes of all tables: a full Internet table, and as much again.
    pub routes: usize,
    /// Datagrams being reassembled; and fragments of one.
    pub reassembly_datagrams: usize,
    pub reassembly_fragments: usize,
    pub reassembly_timeout: Duration,
    /// Frames other than TCP data waiting for one interface; and bytes of them: a quarter of a
    /// second of a gigabit, however large frames are.
    pub egress_queue: usize,
    pub egress_bytes: usize,
    /// Packets in flight between sockets of this machine.
    pub loopback_queue: usize,
    /// Datagram bytes waiting in one UDP or ping socket.
    pub datagram_bytes: usize,
    /// Errors waiting in one UDP or ping socket that asked for them: some for each datagram in
    /// flight of a traceroute, few enough for a stranger's forgeries to cost nothing.
    pub queued_errors: usize,
    /// Free ring buffers kept warm.
    pub pooled_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: 1 << 20,
            half_open: 4096,
            time_wait: 1 << 17,
            time_wait_duration: Duration::from_secs(60),
            backlog: 4096,
            neighbors: 1024,
            neighbor_pending: 16,
            routes: 1 << 21,
            multicast_groups_per_socket: 20,
            multicast_sources: 10,
            multicast_groups: 4096,
            reassembly_bytes: 4 << 20,
            reassembly_bytes_per_source: 1 << 20,
            reassembly_datagrams: 1024,
            reassembly_fragments: 256,
            reassembly_timeout: Duration::from_secs(15),
            egress_queue: 4096,
            egress_bytes: 32 << 20,
            loopback_queue: 4096,
            datagram_bytes: 212_992,
            queued_errors: 64,
            pooled_bytes: 64 << 20,
        }
    }
}
