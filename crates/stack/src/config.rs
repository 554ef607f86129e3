//! What the engine can be told at its start. Every limit has a name and a reason here.

use crate::{
    tcp::{
        Settings, accurate_ecn::CountersSent, congestion::Algorithm, ecn::EcnMode,
        mtu_probe::MtuProbing,
    },
    time::Duration,
};
use core::{hash::Hasher, net::IpAddr};
use narrows_wire::fast_open::Cookie;
use siphasher::sip::SipHasher24;

#[derive(Clone, Debug)]
pub struct Config {
    pub limits: Limits,
    /// What new TCP sockets start with.
    pub tcp: Settings,
    pub fast_open: FastOpenConfig,
    pub syn_cookies: SynCookies,
    pub conntrack: ConntrackConfig,
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
            fast_open: FastOpenConfig::default(),
            syn_cookies: SynCookies::WhenFull,
            conntrack: ConntrackConfig::default(),
            ephemeral_ports: (32768, 60999),
            time_of_day: None,
            icmp_timestamps: false,
        }
    }
}

/// What an operator may set of TCP on the whole host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpDefaults {
    pub congestion: Algorithm,
    pub ecn: EcnMode,
    pub ecn_option: CountersSent,
    pub mtu_probing: MtuProbing,
    pub syn_cookies: SynCookies,
}

impl Default for TcpDefaults {
    fn default() -> Self {
        let Config { tcp, syn_cookies, .. } = Config::default();
        let Settings { congestion, ecn, ecn_option, mtu_probing, .. } = tcp;
        Self { congestion, ecn, ecn_option, mtu_probing, syn_cookies }
    }
}

impl Config {
    pub fn set_tcp_defaults(&mut self, defaults: &TcpDefaults) {
        self.tcp.congestion = defaults.congestion;
        self.tcp.ecn = defaults.ecn;
        self.tcp.ecn_option = defaults.ecn_option;
        self.tcp.mtu_probing = defaults.mtu_probing;
        self.syn_cookies = defaults.syn_cookies;
    }
}

/// When listeners answer SYNs with cookies (Linux: net.ipv4.tcp_syncookies 0, 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynCookies {
    Never,
    /// A listener has as many handshakes under way as it may have.
    WhenFull,
    Always,
}

/// Fast open (RFC 7413) on the whole host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpenConfig {
    pub mode: FastOpenMode,
    /// For cookies that other hosts of the same address have made, or will; `None`: one made at the
    /// start. TCP_FASTOPEN_KEY's second is still accepted.
    pub keys: [Option<FastOpenKey>; 2],
}

impl Default for FastOpenConfig {
    fn default() -> Self {
        Self { mode: FastOpenMode::CLIENT | FastOpenMode::SERVER, keys: [None; 2] }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FastOpenKey(pub [u8; 16]);

impl FastOpenKey {
    /// The cookie that `client` has to show at `server`: the keyed hash of both addresses, as Linux
    /// makes it, so that machines which share a key and an address share cookies.
    pub fn cookie(&self, client: IpAddr, server: IpAddr) -> Cookie {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        for address in [client, server] {
            match address {
                IpAddr::V4(address) => hasher.write(&address.octets()),
                IpAddr::V6(address) => hasher.write(&address.octets()),
            }
        }
        // Eight octets always make a cookie.
        Cookie::new(&hasher.finish().to_le_bytes()).unwrap_or_default()
    }
}

impl core::fmt::Debug for FastOpenKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FastOpenKey(secret)")
    }
}

bitflags::bitflags! {
    /// As Linux numbers them in net.ipv4.tcp_fastopen. Unlike there, listeners that ask for it have
    /// it without further ado: it is theirs to say if they can take a request twice (RFC 7413 §2.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FastOpenMode: u32 {
        const CLIENT = 1;
        const SERVER = 2;
        /// SYNs carry text without a cookie.
        const CLIENT_WITHOUT_COOKIE = 4;
        const SERVER_WITHOUT_COOKIE = 0x200;
        /// Listeners need not ask.
        const EVERY_LISTENER = 0x400;
    }
}

/// Connection tracking (see [`crate::conntrack`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackConfig {
    /// Is it on without a rule that asks for it?
    pub always: bool,
    /// Flows in all: Linux's nf_conntrack_max on a machine of some gigabytes. Past it, flows that are not assured
    /// make room.
    pub flows: usize,
    /// Flows that one address may have begun: as many as it has ports to a server, with half of the table left
    /// for others if several do their worst.
    pub flows_per_source: usize,
    pub timeouts: ConntrackTimeouts,
}

impl Default for ConntrackConfig {
    fn default() -> Self {
        Self {
            always: false,
            flows: 1 << 18,
            flows_per_source: 1 << 16,
            timeouts: ConntrackTimeouts::default(),
        }
    }
}

/// How long a flow may be silent before it is forgotten: Linux's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConntrackTimeouts {
    pub tcp_syn_sent: Duration,
    pub tcp_syn_recv: Duration,
    /// Five days: more than the two hours and four minutes of RFC 5382 §5.
    pub tcp_established: Duration,
    pub tcp_fin_wait: Duration,
    pub tcp_close_wait: Duration,
    pub tcp_last_ack: Duration,
    pub tcp_time_wait: Duration,
    pub tcp_close: Duration,
    /// Of who sends the same over and over, or into a closed window.
    pub tcp_retransmitting: Duration,
    /// While something is sent that nobody acknowledged.
    pub tcp_unacknowledged: Duration,
    pub udp: Duration,
    /// Answered, and for longer than `udp_becomes_stream`.
    pub udp_stream: Duration,
    pub udp_becomes_stream: Duration,
    pub icmp: Duration,
    /// Of other protocols.
    pub generic: Duration,
}

impl Default for ConntrackTimeouts {
    fn default() -> Self {
        Self {
            tcp_syn_sent: Duration::from_secs(120),
            tcp_syn_recv: Duration::from_secs(60),
            tcp_established: Duration::from_secs(432_000),
            tcp_fin_wait: Duration::from_secs(120),
            tcp_close_wait: Duration::from_secs(60),
            tcp_last_ack: Duration::from_secs(30),
            tcp_time_wait: Duration::from_secs(120),
            tcp_close: Duration::from_secs(10),
            tcp_retransmitting: Duration::from_secs(300),
            tcp_unacknowledged: Duration::from_secs(300),
            udp: Duration::from_secs(30),
            udp_stream: Duration::from_secs(120),
            udp_becomes_stream: Duration::from_secs(2),
            icmp: Duration::from_secs(30),
            generic: Duration::from_secs(600),
        }
    }
}

/// "Full" is a result with a name, never a growth.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Sockets of all kinds.
    pub sockets: usize,
    /// Half-open connections per listener, however long its accept queue may be: past it SYNs get
    /// cookies, or are dropped (Linux: tcp_max_syn_backlog).
    pub half_open: usize,
    /// The same for all listeners of one user, unless he has another limit of his own.
    pub half_open_per_user: usize,
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
            half_open_per_user: 1 << 16,
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

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    /// As Linux makes it with this key, for others to accept.
    #[test]
    fn cookies_are_linuxs() {
        let key = [0xa1_u8, 0xb2, 0xc3, 0xd4].map(|octet| [octet; 4]).concat();
        let key = key.try_into().expect("four times four octets");
        let (client, server) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 168, 0, 1));
        let made = FastOpenKey(key).cookie(client.into(), server.into());
        assert_eq!(made.as_slice(), [0x30, 0x21, 0xb9, 0xd8, 0x89, 0x01, 0x7e, 0xeb]);
    }
}
