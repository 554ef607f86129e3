//! What programs set on a socket at the level of IP, with Linux's defaults.

use crate::table::interface::InterfaceId;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpSettings {
    /// IP_TTL, for packets to one host or a broadcast address.
    pub ttl: u8,
    /// IP_TOS: the differentiated services field (RFC 2474), with ECN (RFC 3168).
    pub tos: u8,
    /// SO_MARK: what rules may ask for (ip-rule(8), fwmark).
    pub mark: u32,
    /// SO_BROADCAST: may send to broadcast addresses.
    pub broadcast: bool,
    /// IP_MTU_DISCOVER.
    pub path_mtu: PathMtuDiscovery,
    /// IP_RECVERR: errors are told even if the socket isn't connected, or if they may pass; and
    /// kept in the error queue.
    pub receive_errors: bool,
    /// SO_BINDTODEVICE: sends and receives by this interface alone.
    pub device: Option<InterfaceId>,
    /// IP_MULTICAST_TTL, for packets to a group; 0: they stay on this host.
    pub multicast_ttl: u8,
    /// IP_MULTICAST_LOOP: what is sent to a group is also heard on this host.
    pub multicast_loop: bool,
    /// IP_MULTICAST_IF: packets to a group leave by it, unless `device` says otherwise.
    pub multicast_interface: Option<InterfaceId>,
    /// IP_MULTICAST_ALL: hears what is for groups that another socket of the host joined.
    pub multicast_all: bool,
}

impl IpSettings {
    /// What hosts send with (RFC 1700, and every current system).
    pub const DEFAULT_TTL: u8 = 64;
}

impl Default for IpSettings {
    fn default() -> Self {
        Self {
            ttl: Self::DEFAULT_TTL,
            tos: 0,
            mark: 0,
            broadcast: false,
            path_mtu: PathMtuDiscovery::Want,
            receive_errors: false,
            device: None,
            multicast_ttl: 1,
            multicast_loop: true,
            multicast_interface: None,
            multicast_all: true,
        }
    }
}

/// Whether packets may be fragmented (ip(7), IP_MTU_DISCOVER).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// Always, also on the way.
    Dont,
    /// Here, where they are longer than the path takes; never on the way.
    Want,
    /// Never: what is longer than the path takes is refused.
    Do,
    /// As `Do`, by the interface's MTU: to find out what the path takes.
    Probe,
    /// As `Dont`, by the interface's MTU: routers' word on the path is not believed.
    Interface,
    /// As `Interface`.
    Omit,
}

impl PathMtuDiscovery {
    /// Must a datagram be refused that is longer than the path takes?
    pub fn refuses(self) -> bool {
        matches!(self, Self::Do | Self::Probe)
    }

    /// Does a packet that needn't be fragmented here forbid it to others?
    pub fn forbids_fragments(self) -> bool {
        matches!(self, Self::Want | Self::Do | Self::Probe)
    }
}
