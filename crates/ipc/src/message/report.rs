//! Rows of reports: sockets, users, interfaces, neighbors.

use super::{TcpInfo, TcpState};
use crate::{link::LinkState, route::RouteScope};
use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRow {
    pub id: u64,
    pub protocol: String,
    pub local: SocketAddr,
    pub remote: Option<SocketAddr>,
    pub state: TcpState,
    pub receive_queue: u64,
    pub send_queue: u64,
    /// Datagrams, packets or frames lost for want of reading.
    pub lost: u64,
    /// Who owns it: `None` for what the engine finishes on its own (TIME-WAIT, orphans).
    pub owner: Option<Owner>,
    /// Its bytes pass between two programs of this host without the daemon.
    pub cut_through: bool,
    /// Who is at the other end, if that is a program on this host.
    pub peer: Option<Owner>,
    pub tcp: Option<Box<TcpInfo>>,
}

/// Who has the other end of a connection on this host: the principal that made that socket, or whose
/// listener it came to, by the kernel's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// `pid` is 0 where the asker's PID namespace has no number for the process.
    pub owner: Owner,
    /// Supplementary, in ascending order.
    pub groups: Vec<u32>,
    /// The zone that the other end's address is in.
    pub zone: String,
}

/// The kernel's word about the process that opened the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub pid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Empty when unknown.
    pub executable: String,
    /// Its path, empty when unknown.
    pub cgroup: String,
    /// The process is gone, and another may have its number; what it made lives on.
    pub ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Name and value, in the order of a report.
    pub counters: Vec<(String, u64)>,
    pub drops: Vec<DropRow>,
    pub confinement: Confinement,
}

/// What the daemon itself may do, by the kernel's word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    pub user: u32,
    /// As capabilities(7) has them, in lower case and without their prefix.
    pub capabilities: Vec<String>,
    pub no_new_privileges: bool,
    /// How many system calls it may make; `None`: any.
    pub system_calls: Option<u32>,
    /// The version of Landlock that holds.
    pub landlock: Option<u32>,
}

impl fmt::Display for Confinement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user, capabilities, no_new_privileges, system_calls, landlock } = self;
        let capabilities = match capabilities.as_slice() {
            [] => "no capabilities".into(),
            // Root's are all there are, which is too many to read.
            many if many.len() > 8 => format!("{} capabilities", many.len()),
            few => format!("capabilities {}", few.join(" ")),
        };
        let privileges = if *no_new_privileges { "no new privileges" } else { "new privileges" };
        write!(formatter, "user {user}, {capabilities}, {privileges}, ")?;
        match system_calls {
            Some(count) => write!(formatter, "{count} system calls, ")?,
            None => write!(formatter, "any system call, ")?,
        }
        match landlock {
            Some(version) => write!(formatter, "landlock version {version}"),
            None => write!(formatter, "no landlock"),
        }
    }
}

/// What a user has of the daemon, and has had since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillRow {
    pub user: u32,
    /// Now.
    pub sessions: u64,
    pub sockets: u64,
    /// Bytes that wait in the sockets, either way.
    pub queued: u64,
    /// Bytes of memory that their buffers and queues take.
    pub memory: u64,
    /// Since the start, packets for the user's sockets, or from them, that went no further.
    pub drops: u64,
    /// Since the start, as what follows.
    pub requests: u64,
    /// Acts beyond the user's quota.
    pub refused: u64,
    pub bytes_to_programs: u64,
    pub bytes_from_programs: u64,
    /// Spent by the daemon on sessions and sockets.
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropRow {
    pub name: String,
    pub meaning: String,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// As programs see it: Linux's count from 1.
    pub id: u32,
    pub name: String,
    pub device: String,
    pub mac: [u8; 6],
    pub mtu: u32,
    pub addresses: Vec<AddressRow>,
    pub up: bool,
    pub state: LinkState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRow {
    pub address: IpAddr,
    /// Of the prefix.
    pub length: u8,
    /// Another address of the interface is in the same subnet, and goes before it.
    pub secondary: bool,
    /// Being probed for, and not in use yet.
    pub tentative: bool,
    /// Another station has it: not in use.
    pub conflict: bool,
    pub label: Option<String>,
    /// `None`: as the address says.
    pub scope: Option<RouteScope>,
    pub peer: Option<(IpAddr, u8)>,
    /// Seconds that it still lasts, and is preferred; `None`: for ever.
    pub valid: Option<u32>,
    pub preferred: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborRow {
    pub address: IpAddr,
    pub interface: String,
    pub mac: Option<[u8; 6]>,
    /// As ip-neighbour(8) names it: REACHABLE, STALE, DELAY, PROBE, INCOMPLETE, FAILED, PERMANENT,
    /// NOARP; nothing for a proxy.
    pub state: String,
    /// The interface answers for this host, which is elsewhere.
    pub proxy: bool,
    pub usage: NeighborUsage,
}

/// Seconds since a neighbor's entry was used, confirmed and changed, and how many questions it has not
/// answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborUsage {
    pub used: u64,
    pub confirmed: u64,
    pub updated: u64,
    pub probes: u8,
}

/// A multicast group that is joined on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRow {
    /// Of the interface.
    /// As programs see it: Linux's count from 1.
    pub id: u32,
    pub interface: String,
    /// `None`: joined by the link address alone.
    pub group: Option<IpAddr>,
    pub mac: [u8; 6],
    /// How many sockets joined it; the stack itself counts as one.
    pub users: u32,
}
