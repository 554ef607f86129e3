//! What the engine counts. Every frame that goes no further has one [`DropReason`], counted once; and
//! beside it the [`Place`] where that happened.

use crate::table::{interface::InterfaceId, zone::ZoneId};
use std::collections::BTreeMap;

/// Why a received or outgoing packet went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DropReason {
    // link
    EthernetTruncated,
    NotForThisStation,
    UnknownEtherType,
    LinkDown,
    Filtered,
    FilterRejected,
    InspectorRefused,
    InspectorAbsent,
    InspectorFull,
    InspectorLate,
    InspectorStale,
    VlanMalformed,
    VlanUnknown,
    BondMemberIdle,
    LacpMalformed,
    BridgePortClosed,
    BridgeSpoofed,
    BridgeLoop,
    BridgeReserved,
    BridgeFloodLimited,
    OffloadUnsupported,
    ArpMalformed,
    ArpUnsolicited,
    ArpNotForUs,
    ArpConflict,
    // IPv4
    Ipv4Truncated,
    Ipv4Malformed,
    Ipv4Checksum,
    Ipv4SourceRoute,
    Martian,
    ReversePath,
    NotLocal,
    NotJoined,
    UnknownProtocol,
    OtherZone,
    FragmentOverlap,
    FragmentTooBig,
    FragmentLimit,
    ReassemblyTimeout,
    // IGMP
    IgmpMalformed,
    IgmpChecksum,
    IgmpIgnored,
    // DHCP
    DhcpMalformed,
    DhcpUnmatched,
    // ICMP
    IcmpMalformed,
    IcmpChecksum,
    IcmpIgnored,
    IcmpUnmatched,
    IcmpRateLimited,
    // connection tracking and translation
    ConntrackFull,
    ConntrackSourceLimit,
    ConntrackClash,
    NatExhausted,
    // UDP
    UdpMalformed,
    UdpChecksum,
    UdpNoSocket,
    ReceiveQueueFull,
    // TCP
    TcpMalformed,
    TcpChecksum,
    TcpNoSocket,
    TcpListenUnexpected,
    TcpBadCookie,
    SynQueueFull,
    SynShareFull,
    AcceptQueueFull,
    TcpPaws,
    TcpOutOfWindow,
    TcpBadAck,
    TcpNoAck,
    TcpDeferred,
    TcpBlindReset,
    TcpBlindSyn,
    TcpChallengeAckLimited,
    TcpDataAfterClose,
    TcpOutOfOrderLimit,
    // forwarding and output
    TtlExceeded,
    NoRoute,
    RouteBlackhole,
    RouteUnreachable,
    RouteProhibited,
    NeighborUnresolved,
    NeighborTableFull,
    EgressQueueFull,
    LoopbackQueueFull,
    MessageTooLong,
    /// No loss, and never counted: the packet waits in `table::inspector`, and whoever has it goes no
    /// further with it.
    Parked,
}

impl DropReason {
    /// Every reason, in the order in which a report shows them.
    pub const ALL: &'static [Self] = &[
        Self::EthernetTruncated,
        Self::NotForThisStation,
        Self::UnknownEtherType,
        Self::LinkDown,
        Self::Filtered,
        Self::FilterRejected,
        Self::InspectorRefused,
        Self::InspectorAbsent,
        Self::InspectorFull,
        Self::InspectorLate,
        Self::InspectorStale,
        Self::VlanMalformed,
        Self::VlanUnknown,
        Self::BondMemberIdle,
        Self::LacpMalformed,
        Self::BridgePortClosed,
        Self::BridgeSpoofed,
        Self::BridgeLoop,
        Self::BridgeReserved,
        Self::BridgeFloodLimited,
        Self::OffloadUnsupported,
        Self::ArpMalformed,
        Self::ArpUnsolicited,
        Self::ArpNotForUs,
        Self::ArpConflict,
        Self::Ipv4Truncated,
        Self::Ipv4Malformed,
        Self::Ipv4Checksum,
        Self::Ipv4SourceRoute,
        Self::Martian,
        Self::ReversePath,
        Self::NotLocal,
        Self::NotJoined,
        Self::UnknownProtocol,
        Self::OtherZone,
        Self::FragmentOverlap,
        Self::FragmentTooBig,
        Self::FragmentLimit,
        Self::ReassemblyTimeout,
        Self::IgmpMalformed,
        Self::IgmpChecksum,
        Self::IgmpIgnored,
        Self::DhcpMalformed,
        Self::DhcpUnmatched,
        Self::IcmpMalformed,
        Self::IcmpChecksum,
        Self::IcmpIgnored,
        Self::IcmpUnmatched,
        Self::IcmpRateLimited,
        Self::ConntrackFull,
        Self::ConntrackSourceLimit,
        Self::ConntrackClash,
        Self::NatExhausted,
        Self::UdpMalformed,
        Self::UdpChecksum,
        Self::UdpNoSocket,
        Self::ReceiveQueueFull,
        Self::TcpMalformed,
        Self::TcpChecksum,
        Self::TcpNoSocket,
        Self::TcpListenUnexpected,
        Self::TcpBadCookie,
        Self::SynQueueFull,
        Self::SynShareFull,
        Self::AcceptQueueFull,
        Self::TcpPaws,
        Self::TcpOutOfWindow,
        Self::TcpBadAck,
        Self::TcpNoAck,
        Self::TcpDeferred,
        Self::TcpBlindReset,
        Self::TcpBlindSyn,
        Self::TcpChallengeAckLimited,
        Self::TcpDataAfterClose,
        Self::TcpOutOfOrderLimit,
        Self::TtlExceeded,
        Self::NoRoute,
        Self::RouteBlackhole,
        Self::RouteUnreachable,
        Self::RouteProhibited,
        Self::NeighborUnresolved,
        Self::NeighborTableFull,
        Self::EgressQueueFull,
        Self::LoopbackQueueFull,
        Self::MessageTooLong,
    ];

    /// The name a user sees, and what it means.
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::EthernetTruncated => ("ethernet-truncated", "shorter than an Ethernet header"),
            Self::NotForThisStation => ("not-for-this-station", "another station's MAC address"),
            Self::UnknownEtherType => ("unknown-ether-type", "neither IPv4 nor ARP"),
            Self::Filtered => ("filtered", "a rule of the filter, or a chain's policy, drops it"),
            Self::FilterRejected => {
                ("filter-rejected", "a rule of the filter rejects it; its sender was told")
            }
            Self::InspectorRefused => ("inspector-refused", "a program that inspects drops it"),
            Self::InspectorAbsent => {
                ("inspector-absent", "a rule queues it, and no program inspects the queue")
            }
            Self::InspectorFull => {
                ("inspector-full", "too much waits for the program that inspects it")
            }
            Self::InspectorLate => {
                ("inspector-late", "the program that inspects it gave no answer in time")
            }
            Self::InspectorStale => {
                ("inspector-stale", "its flow was gone when the inspector's answer came")
            }
            Self::LinkDown => ("link-down", "the interface is down, or all links below it"),
            Self::VlanMalformed => ("vlan-malformed", "a VLAN tag cut off, or of VLAN 4095"),
            Self::VlanUnknown => ("vlan-unknown", "tagged for a VLAN that is not here"),
            Self::BondMemberIdle => ("bond-member-idle", "came by a member that is not in use"),
            Self::LacpMalformed => ("lacp-malformed", "a slow protocol's frame, but no LACPDU"),
            Self::BridgePortClosed => ("bridge-port-closed", "came by a port closed as in a loop"),
            Self::BridgeSpoofed => ("bridge-spoofed", "a sender that may not be behind this port"),
            Self::BridgeLoop => ("bridge-loop", "the port leads back to the bridge: now closed"),
            Self::BridgeReserved => ("bridge-reserved", "for one link only (01:80:c2:00:00:0x)"),
            Self::BridgeFloodLimited => ("bridge-flood-limited", "too many frames for everybody"),
            Self::OffloadUnsupported => ("offload-unsupported", "its device can't cut or sum it"),
            Self::ArpMalformed => ("arp-malformed", "not ARP for IPv4 over Ethernet"),
            Self::ArpUnsolicited => ("arp-unsolicited", "an answer nobody asked for"),
            Self::ArpNotForUs => ("arp-not-for-us", "asks for another machine's address"),
            Self::ArpConflict => ("arp-conflict", "another station claims an address of ours"),
            Self::Ipv4Truncated => ("ipv4-truncated", "shorter than its header says"),
            Self::Ipv4Malformed => ("ipv4-malformed", "bad version, length or option"),
            Self::Ipv4Checksum => ("ipv4-checksum", "header checksum wrong"),
            Self::Ipv4SourceRoute => ("ipv4-source-route", "source routing is refused"),
            Self::Martian => ("martian", "an address that can't be on a wire"),
            Self::ReversePath => ("reverse-path", "its answer would go another way (RFC 3704)"),
            Self::NotLocal => ("not-local", "addressed to another host"),
            Self::NotJoined => ("not-joined", "no socket wants this group from there"),
            Self::UnknownProtocol => ("unknown-protocol", "no such transport protocol here"),
            Self::OtherZone => ("other-zone", "from one zone to another that no rule lets it to"),
            Self::FragmentOverlap => ("fragment-overlap", "overlaps another fragment"),
            Self::FragmentTooBig => ("fragment-too-big", "ends past 65,535 bytes"),
            Self::FragmentLimit => ("fragment-limit", "too many fragments are being held"),
            Self::ReassemblyTimeout => ("reassembly-timeout", "the other fragments never came"),
            Self::IgmpMalformed => ("igmp-malformed", "not a whole IGMP message of this link"),
            Self::IgmpChecksum => ("igmp-checksum", "IGMP checksum wrong"),
            Self::IgmpIgnored => ("igmp-ignored", "for routers, or a kind nobody knows"),
            Self::DhcpMalformed => ("dhcp-malformed", "not a whole answer of a DHCP server"),
            Self::DhcpUnmatched => ("dhcp-unmatched", "not what the DHCP client waits for"),
            Self::IcmpMalformed => ("icmp-malformed", "not a whole ICMP message"),
            Self::IcmpChecksum => ("icmp-checksum", "ICMP checksum wrong"),
            Self::IcmpIgnored => ("icmp-ignored", "a type that is not acted on"),
            Self::IcmpUnmatched => ("icmp-unmatched", "quotes no live flow"),
            Self::IcmpRateLimited => ("icmp-rate-limited", "answers to this host are limited"),
            Self::ConntrackFull => {
                ("conntrack-full", "begins a flow, and the table of flows has no room")
            }
            Self::ConntrackSourceLimit => {
                ("conntrack-source-limit", "its source has begun as many flows as one may")
            }
            Self::ConntrackClash => {
                ("conntrack-clash", "its answers could not be told from another flow's")
            }
            Self::NatExhausted => ("nat-exhausted", "no address or port is left for its flow"),
            Self::UdpMalformed => ("udp-malformed", "shorter than its UDP header says"),
            Self::UdpChecksum => ("udp-checksum", "UDP checksum wrong"),
            Self::UdpNoSocket => ("udp-no-socket", "no program has this UDP port"),
            Self::ReceiveQueueFull => ("receive-queue-full", "the program reads too slowly"),
            Self::TcpMalformed => ("tcp-malformed", "bad header length or option"),
            Self::TcpChecksum => ("tcp-checksum", "TCP checksum wrong"),
            Self::TcpNoSocket => ("tcp-no-socket", "no connection and no listener"),
            Self::TcpListenUnexpected => ("tcp-listen-unexpected", "a listener expects a SYN"),
            Self::TcpBadCookie => ("tcp-bad-cookie", "acknowledges no SYN cookie of ours"),
            Self::SynQueueFull => ("syn-queue-full", "too many half-open connections"),
            Self::SynShareFull => (
                "syn-share-full",
                "the listener's user has as many half-open connections as he may",
            ),
            Self::AcceptQueueFull => ("accept-queue-full", "the program accepts too slowly"),
            Self::TcpPaws => ("tcp-paws", "timestamp older than one seen (RFC 7323)"),
            Self::TcpOutOfWindow => ("tcp-out-of-window", "sequence number outside the window"),
            Self::TcpBadAck => ("tcp-bad-ack", "acknowledges what was never sent"),
            Self::TcpNoAck => ("tcp-no-ack", "a segment without ACK"),
            Self::TcpDeferred => {
                ("tcp-deferred", "the end of a handshake, which counts once text comes")
            }
            Self::TcpBlindReset => ("tcp-blind-reset", "RST without the exact number (RFC 5961)"),
            Self::TcpBlindSyn => ("tcp-blind-syn", "SYN inside a connection (RFC 5961)"),
            Self::TcpChallengeAckLimited => ("tcp-challenge-ack-limited", "too many challenges"),
            Self::TcpDataAfterClose => ("tcp-data-after-close", "nobody is left to read it"),
            Self::TcpOutOfOrderLimit => ("tcp-out-of-order-limit", "too many holes at once"),
            Self::TtlExceeded => ("ttl-exceeded", "passed as many routers as it may"),
            Self::NoRoute => ("no-route", "no route to the destination"),
            Self::RouteBlackhole => ("route-blackhole", "its route says to drop it"),
            Self::RouteUnreachable => ("route-unreachable", "its route says unreachable"),
            Self::RouteProhibited => ("route-prohibited", "its route says prohibited"),
            Self::NeighborUnresolved => ("neighbor-unresolved", "the next hop answers no ARP"),
            Self::NeighborTableFull => ("neighbor-table-full", "too many neighbors at once"),
            Self::EgressQueueFull => ("egress-queue-full", "the device takes frames too slowly"),
            Self::LoopbackQueueFull => ("loopback-queue-full", "too much local traffic waits"),
            Self::Parked => ("parked", "waits for an inspector's answer"),
            Self::MessageTooLong => ("message-too-long", "longer than the path takes unfragmented"),
        }
    }
}

/// Where a packet was lost, and whose it was, as far as that was known by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// By which it came, or was about to leave.
    pub interface: Option<InterfaceId>,
    /// Of the socket that it was for, or that sent it.
    pub user: Option<u32>,
    /// From which zone it would have gone to which.
    pub crossing: Option<(ZoneId, ZoneId)>,
}

impl Place {
    pub(crate) fn at(interface: InterfaceId) -> Self {
        Self { interface: Some(interface), ..Self::default() }
    }
}

/// Rows of drops by place: a few reasons for each of hundreds of interfaces or users. What comes past
/// them is counted by its reason alone.
const MAX_PLACES: usize = 4096;

/// Totals since the shard began.
#[derive(Clone, Debug)]
pub struct Counters {
    drops: [u64; DropReason::ALL.len()],
    places: BTreeMap<(DropReason, Place), u64>,
    /// Of the packet under way.
    pub(crate) place: Place,
    pub frames_received: u64,
    /// Of TCP segments that continued one before, and were received as one with it.
    pub frames_merged: u64,
    pub frames_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub packets_forwarded: u64,
    pub tcp_segments_received: u64,
    pub tcp_segments_sent: u64,
    pub tcp_retransmissions: u64,
    pub tcp_connections_opened: u64,
    pub tcp_connections_accepted: u64,
    pub tcp_resets_sent: u64,
    /// SYN cookies: sent, answered, and answers that were none's.
    pub tcp_syn_cookies_sent: u64,
    pub tcp_syn_cookies_answered: u64,
    pub tcp_syn_cookies_refused: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: [0; DropReason::ALL.len()],
            places: BTreeMap::new(),
            place: Place::default(),
            frames_received: 0,
            frames_merged: 0,
            frames_sent: 0,
            bytes_received: 0,
            bytes_sent: 0,
            packets_forwarded: 0,
            tcp_segments_received: 0,
            tcp_segments_sent: 0,
            tcp_retransmissions: 0,
            tcp_connections_opened: 0,
            tcp_connections_accepted: 0,
            tcp_resets_sent: 0,
            tcp_syn_cookies_sent: 0,
            tcp_syn_cookies_answered: 0,
            tcp_syn_cookies_refused: 0,
        }
    }
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: DropReason) {
        if reason == DropReason::Parked {
            return;
        }
        if let Some(count) = self.drops.get_mut(reason as usize) {
            *count += 1;
        }
        let key = (reason, self.place);
        if let Some(count) = self.places.get_mut(&key) {
            *count += 1;
        } else if self.places.len() < MAX_PLACES {
            self.places.insert(key, 1);
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).copied().unwrap_or(0)
    }

    /// The reasons that happened, and how often.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|r| (*r, self.dropped(*r))).filter(|(_, count)| *count > 0)
    }

    /// The same by place; what happened after the rows ran out is in the totals alone.
    pub fn drops_by_place(&self) -> impl Iterator<Item = (DropReason, Place, u64)> + '_ {
        self.places.iter().map(|((reason, place), count)| (*reason, *place, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_is_counted_by_reason_and_by_place() {
        let mut counters = Counters::default();
        let lan = Place::at(InterfaceId(1));
        let his = Place { user: Some(1000), ..lan };
        for place in [lan, his, his] {
            counters.place = place;
            counters.drop(DropReason::UdpNoSocket);
        }
        assert_eq!(counters.dropped(DropReason::UdpNoSocket), 3);
        let rows: Vec<_> = counters.drops_by_place().collect();
        let row = |place, count| (DropReason::UdpNoSocket, place, count);
        assert_eq!(rows, [row(lan, 1), row(his, 2)]);
    }

    #[test]
    fn places_run_out_and_totals_do_not() {
        let mut counters = Counters::default();
        for user in 0..MAX_PLACES as u32 + 10 {
            counters.place.user = Some(user);
            counters.drop(DropReason::TcpBadAck);
        }
        assert_eq!(counters.drops_by_place().count(), MAX_PLACES);
        assert_eq!(counters.dropped(DropReason::TcpBadAck), MAX_PLACES as u64 + 10);
    }
}
