//! The list of attacks.

use super::scene::Attacker;

/// One attack, by the function of `scripts/attack.py` that makes it.
pub struct Attack {
    pub script: &'static str,
    pub by: Attacker,
    pub judge: Judge,
    pub tries: &'static str,
    pub because: &'static str,
}

/// When it is tried, and who says what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// While the victims talk: the attacker, and whether they still can afterwards.
    Attacker,
    /// The same, where the kernel has nothing alike.
    OnlyNarrows,
    /// Before the server starts: the attacker.
    BeforeTheServer,
    /// Before the server starts: whether it still can, and its client finds it.
    ServerMustStart,
}

const fn attack(
    script: &'static str,
    by: Attacker,
    judge: Judge,
    tries: &'static str,
    because: &'static str,
) -> Attack {
    Attack { script, by, judge, tries, because }
}

use Attacker::{Root, RootBeneath, User, Wire};

pub const ATTACKS: &[Attack] = &[
    attack("connect", User, Judge::Attacker, "connect to the server", NO_NETWORK),
    attack("send", User, Judge::Attacker, "send the server a datagram", NO_NETWORK),
    attack("connect", Root, Judge::Attacker, "connect to the server", NO_NETWORK),
    attack(
        "bind",
        User,
        Judge::BeforeTheServer,
        "take the server's address and port before it starts (or while it restarts)",
        NO_ADDRESS,
    ),
    attack(
        "bind_everywhere",
        User,
        Judge::ServerMustStart,
        "keep the server from starting, by the wildcard at its port",
        "a wildcard stands for the addresses of its owner",
    ),
    attack(
        "bind_while_it_runs",
        User,
        Judge::Attacker,
        "share the server's port (SO_REUSEADDR, SO_REUSEPORT)",
        NO_ADDRESS,
    ),
    attack(
        "pose_as_client",
        User,
        Judge::Attacker,
        "connect from the client's address",
        NO_ADDRESS,
    ),
    attack(
        "bind_to_interface",
        User,
        Judge::Attacker,
        "send by their interface (SO_BINDTODEVICE)",
        "there is no such interface for who is not admitted",
    ),
    attack(
        "join_group",
        User,
        Judge::Attacker,
        "join a multicast group on their interface",
        "there is no such interface for who is not admitted",
    ),
    attack("sniff", Root, Judge::Attacker, "listen on every interface, promiscuous", NO_FRAME),
    attack(
        "sniff",
        RootBeneath,
        Judge::Attacker,
        "the same with the kernel's own sockets, beneath the daemon",
        NO_FRAME,
    ),
    attack(
        "spoof",
        Root,
        Judge::Attacker,
        "send the server a raw datagram as from the client",
        "what carries a member's address comes from that member's socket, or is dropped",
    ),
    attack(
        "spoof",
        RootBeneath,
        Judge::Attacker,
        "the same with the kernel's own sockets, beneath the daemon",
        "the kernel knows neither address",
    ),
    attack(
        "reset",
        Root,
        Judge::Attacker,
        "learn their sequence numbers, and reset their connection",
        NO_FRAME,
    ),
    attack("connect", Wire, Judge::Attacker, "connect to the server", NOT_BY_WIRE),
    attack("send", Wire, Judge::Attacker, "send the server a datagram", NOT_BY_WIRE),
    attack(
        "spoof_from_the_wire",
        Wire,
        Judge::Attacker,
        "send the server a datagram as from the client",
        "a source that is an address of this host is a martian",
    ),
    attack(
        "ask_by_arp",
        Wire,
        Judge::Attacker,
        "ask by ARP for the server's address",
        "no interface answers for another zone's addresses",
    ),
    attack(
        "steal_descriptor",
        User,
        Judge::Attacker,
        "take the server's descriptors by number (pidfd_getfd)",
        "the kernel's own rules",
    ),
    attack(
        "read_memory",
        User,
        Judge::Attacker,
        "read the server's memory (/proc/PID/mem)",
        "the kernel's own rules",
    ),
    attack(
        "garbage",
        User,
        Judge::OnlyNarrows,
        "disturb the daemon: sessions of noise, with stray descriptors",
        "such a session ends, and no other",
    ),
    attack(
        "stop_with_full_buffers",
        User,
        Judge::Attacker,
        "stop itself (SIGSTOP) with all its buffers full",
        "nobody waits for a program but itself",
    ),
];

const NO_NETWORK: &str = "there is no such network for who is not admitted";
const NO_ADDRESS: &str = "the address is that member's alone";
const NO_FRAME: &str = "a private zone has no frames: its traffic stays in the daemon's memory";
const NOT_BY_WIRE: &str = "what comes by another zone's interface is dropped (`other-zone`)";
