//! What is asked: by whom, to do what.

use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Who asks, as far as rules can ask about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    pub user: u32,
    pub group: u32,
    /// Supplementary.
    pub groups: &'a [u32],
    /// `None`: not known, so no rule that names one applies.
    pub executable: Option<&'a str>,
    /// The path of the control group; rules that name it or one above apply.
    pub cgroup: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    Tcp,
    Udp,
    /// Echo requests; the port is always 0.
    Icmp,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// What a packet or raw socket does with frames or packets of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Access {
    /// Gets copies.
    Observe,
    /// Shares what comes with others: each frame goes to one of them.
    Share,
    /// Takes what comes away from everybody else.
    Claim,
    /// Sends what it likes.
    Inject,
    /// Gets copies of what the stack made of frames: at stages of their way, where they end too.
    Tap,
    /// Its claims go before those of others.
    Precede,
    /// Decides what becomes of packets. With packet sockets' acts only.
    Inspect,
}

impl Access {
    pub const ALL: [Self; 7] = [
        Self::Observe,
        Self::Share,
        Self::Claim,
        Self::Inject,
        Self::Tap,
        Self::Precede,
        Self::Inspect,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Share => "share",
            Self::Claim => "claim",
            Self::Inject => "inject",
            Self::Tap => "tap",
            Self::Precede => "precede",
            Self::Inspect => "inspect",
        }
    }
}

/// One thing that somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    /// To an address (or the wildcard) and a port; 0 is one that the stack chooses.
    Bind { protocol: Protocol, local: SocketAddr },
    /// TCP: to let others connect there.
    Listen { local: SocketAddr },
    /// TCP: to connect; UDP and ICMP: to send there.
    Connect { protocol: Protocol, remote: SocketAddr },
    /// To hear what is for a group.
    Multicast { group: IpAddr },
    /// With a raw IP socket; `None`: on every interface.
    Raw { interface: Option<&'a str>, access: Access },
    /// With a packet socket; `None`: on every interface.
    Packet { interface: Option<&'a str>, access: Access },
    /// To read the daemon's reports.
    Inspect,
    /// To change how the daemon is set up, or end it.
    Administer,
}

impl Act<'_> {
    pub const fn kind(&self) -> ActKind {
        match self {
            Self::Bind { .. } => ActKind::Bind,
            Self::Listen { .. } => ActKind::Listen,
            Self::Connect { .. } => ActKind::Connect,
            Self::Multicast { .. } => ActKind::Multicast,
            Self::Raw { .. } => ActKind::Raw,
            Self::Packet { .. } => ActKind::Packet,
            Self::Inspect => ActKind::Inspect,
            Self::Administer => ActKind::Administer,
        }
    }
}

/// As in a rule: `bind 10.0.0.2:80`.
impl fmt::Display for Act<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind().name())?;
        match self {
            Self::Bind { protocol, local: at } | Self::Connect { protocol, remote: at } => {
                write!(f, " {} {at}", protocol.name())
            }
            Self::Listen { local } => write!(f, " {local}"),
            Self::Multicast { group } => write!(f, " {group}"),
            Self::Raw { interface, access } | Self::Packet { interface, access } => {
                write!(f, " {} {}", access.name(), interface.unwrap_or("*"))
            }
            Self::Inspect | Self::Administer => Ok(()),
        }
    }
}

/// The kinds of [`Act`], which have a default each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ActKind {
    Bind,
    Listen,
    Connect,
    Multicast,
    Raw,
    Packet,
    Inspect,
    Administer,
}

impl ActKind {
    pub const ALL: [Self; 8] = [
        Self::Bind,
        Self::Listen,
        Self::Connect,
        Self::Multicast,
        Self::Raw,
        Self::Packet,
        Self::Inspect,
        Self::Administer,
    ];

    /// The word for it, in rules and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Multicast => "multicast",
            Self::Raw => "raw",
            Self::Packet => "packet",
            Self::Inspect => "inspect",
            Self::Administer => "administer",
        }
    }
}
