//! The list of attacks.

use super::scene::Attacker;

/// One attack, by the function of `scripts/attack.py` that makes it.
pub struct Attack {
    pub script: &'static str,
    pub by: Attacker,
    pub judge: Judge,
    /// On the kernel there is nothing alike.
    pub only_narrows: bool,
    pub tries: &'static str,
    pub because: &'static str,
}

/// When it is tried, and who says what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// While the victims talk: the attacker, and whether they still can afterwards.
    Attacker,
    /// The same, while the attacker holds what it took; another client must find the server too.
    Held,
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
    Attack { script, by, judge, only_narrows: false, tries, because }
}

const fn on_the_daemon(
    script: &'static str,
    judge: Judge,
    tries: &'static str,
    because: &'static str,
) -> Attack {
    Attack { script, by: User, judge, only_narrows: true, tries, because }
}

use Attacker::{Member, Root, RootBeneath, User, Wire};

pub const ATTACKS: &[Attack] = &[
    attack("connect", User, Judge::Attacker, "connect to the server", NO_NETWORK),
    attack("send", User, Judge::Attacker, "send the server a datagram", NO_NETWORK),
    attack("connect", Member, Judge::Attacker, "connect to the server", NO_NETWORK),
    attack("send", Member, Judge::Attacker, "send the server a datagram", NO_NETWORK),
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
        "pose_in_user_namespace",
        User,
        Judge::Attacker,
        "the same as the client's user in a user namespace of its own",
        "the daemon asks the kernel who it is where the daemon runs",
    ),
    attack(
        "reuse_pid",
        User,
        Judge::Attacker,
        "the same with the process number of a client that has died",
        "a session is of a process, by its descriptor, and not of a number",
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
        "listen_raw",
        Root,
        Judge::Attacker,
        "listen with raw sockets of their protocols",
        "a raw socket hears what is for addresses that its owner may use",
    ),
    Attack {
        by: Root,
        ..on_the_daemon(
            "claim_everything",
            Judge::Attacker,
            "claim every frame of every interface",
            NO_FRAME,
        )
    },
    Attack {
        by: Root,
        ..on_the_daemon(
            "inspect_everything",
            Judge::Attacker,
            "decide about every packet, at every hook",
            "who inspects is given no packet of a zone that he is not admitted to",
        )
    },
    Attack {
        by: Root,
        ..on_the_daemon(
            "tap_everything",
            Judge::Attacker,
            "tap every stage of every packet's way",
            NO_FRAME,
        )
    },
    Attack {
        by: Root,
        ..on_the_daemon(
            "dump_everything",
            Judge::Attacker,
            "dump every frame at every stage",
            NO_FRAME,
        )
    },
    Attack {
        by: Root,
        ..on_the_daemon("trace_everything", Judge::Attacker, "trace every packet", NO_FRAME)
    },
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
    attack(
        "finish",
        Root,
        Judge::Attacker,
        "learn their sequence numbers, and end their connection (FIN)",
        NO_FRAME,
    ),
    attack(
        "inject",
        Root,
        Judge::Attacker,
        "learn their sequence numbers, and say something in their connection",
        NO_FRAME,
    ),
    attack(
        "guess",
        Root,
        Judge::Attacker,
        "reset, end and add to their connection by guessed numbers",
        "what carries a member's address comes from that member's socket, or is dropped",
    ),
    attack(
        "inject_frame",
        Root,
        Judge::Attacker,
        "put a frame from the client into every interface, by packet sockets",
        NO_FRAME,
    ),
    attack(
        "inject_frame",
        RootBeneath,
        Judge::Attacker,
        "the same with the kernel's own sockets, beneath the daemon",
        NO_FRAME,
    ),
    attack(
        "unreachable",
        Root,
        Judge::Attacker,
        "tell the client by ICMP that the server's port is unreachable",
        NO_ERROR,
    ),
    attack(
        "too_big_for_their_connection",
        Root,
        Judge::Attacker,
        "tell the client by ICMP that their connection's packets are too big",
        NO_ERROR,
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
        "unreachable",
        Wire,
        Judge::Attacker,
        "tell the client by ICMP that the server's port is unreachable, for all ports it may have",
        NOT_BY_WIRE,
    ),
    attack(
        "too_big",
        Wire,
        Judge::Attacker,
        "the same, that their packets are too big",
        NOT_BY_WIRE,
    ),
    attack("redirect", Wire, Judge::Attacker, "the same, of another way (redirect)", NOT_BY_WIRE),
    attack(
        "ask_by_arp",
        Wire,
        Judge::Attacker,
        "ask by ARP for the server's address",
        "no interface answers for another zone's addresses",
    ),
    attack(
        "exhaust_ports",
        User,
        Judge::Held,
        "take all ports that the client could be given",
        "ports are held at the holder's addresses",
    ),
    attack(
        "exhaust_memory",
        User,
        Judge::Held,
        "fill the buffers of many connections with itself",
        "the stack's memory is shared out by user",
    ),
    attack(
        "syn_flood",
        Wire,
        Judge::Attacker,
        "begin handshakes with the server, and leave them",
        NOT_BY_WIRE,
    ),
    attack(
        "fill_neighbors",
        User,
        Judge::Attacker,
        "fill the neighbor table",
        "members need no neighbors",
    ),
    attack("fill_reassembly", Wire, Judge::Attacker, "fill the memory for reassembly", NOT_BY_WIRE),
    attack("flood_broadcast", Wire, Judge::Attacker, "flood them with broadcasts", NOT_BY_WIRE),
    attack(
        "flood_broadcast",
        User,
        Judge::Attacker,
        "flood them with broadcasts",
        "a private zone has no broadcast",
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
    attack("debug", User, Judge::Attacker, "debug the server (ptrace)", "the kernel's own rules"),
    on_the_daemon(
        "false_credentials",
        Judge::Attacker,
        "tell the daemon a process and a user that it is not (SCM_CREDENTIALS)",
        "the kernel's own rules; and the daemon goes by no program's word",
    ),
    on_the_daemon(
        "guess_handles",
        Judge::Attacker,
        "ask about others' sockets, by descriptors of its own making",
        "having a socket's descriptor is what names it",
    ),
    on_the_daemon(
        "replay",
        Judge::Attacker,
        "say a session's messages again, whole and corrupted",
        "what is asked is decided anew for who asks",
    ),
    on_the_daemon(
        "garbage",
        Judge::Attacker,
        "disturb the daemon: sessions of noise, with stray descriptors",
        "such a session ends, and no other",
    ),
    on_the_daemon(
        "many_sessions",
        Judge::Held,
        "open sessions from many processes (a fork bomb)",
        "sessions have a quota for each user",
    ),
    attack(
        "stop_with_full_buffers",
        User,
        Judge::Held,
        "stop itself (SIGSTOP) with all its buffers full",
        "nobody waits for a program but itself",
    ),
];

const NO_NETWORK: &str = "there is no such network for who is not admitted";
const NO_ADDRESS: &str = "the address is that member's alone";
const NO_FRAME: &str = "a private zone has no frames: its traffic stays in the daemon's memory";
const NO_ERROR: &str = "errors about a member's packets come from that zone, or are dropped";
const NOT_BY_WIRE: &str = "what comes by another zone's interface is dropped (`other-zone`)";
