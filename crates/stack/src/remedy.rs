//! What an operator can do about each reason for which packets go no further.

use crate::counters::DropReason;

impl DropReason {
    /// One line: what to look at or change, and where nothing is wrong, that. Beside what
    /// [`DropReason::describe`] says of the packet.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::EthernetTruncated => "look at the cable, the driver or whoever makes such frames",
            Self::NotForThisStation => "none needed: other stations' traffic that the device shows",
            Self::UnknownEtherType => "none needed; a packet socket can take such frames",
            Self::LinkDown => "`narrows link set NAME up`, or join the wire below it",
            Self::Filtered => "`narrows trace` names the rule; `narrows nft list ruleset` has all",
            Self::FilterRejected => "change the rule that says reject, if it should pass",
            Self::InspectorRefused => "`narrows ss --inspectors` shows whose program decides so",
            Self::InspectorAbsent => "start the program, or write `flags bypass` into the rule",
            Self::InspectorFull => "see why the program is slow; more of them can share a queue",
            Self::InspectorLate => "see why the program is slow or stopped, or give it longer",
            Self::InspectorStale => "none needed, unless flows are flushed again and again",
            Self::Parked => "none needed: its inspector has not answered yet",
            Self::VlanMalformed => "look at the switch or driver that writes the tags",
            Self::VlanUnknown => {
                "`narrows link add` a VLAN of that number, or take it off the trunk"
            }
            Self::BondMemberIdle => "set both ends to the same bonding mode; see `narrows bond`",
            Self::LacpMalformed => "look at what the switch runs on that port",
            Self::BridgePortClosed => "find the loop behind the port; it opens again by itself",
            Self::BridgeSpoofed => "see `narrows bridge fdb` for where that sender belongs",
            Self::BridgeLoop => {
                "take one of the two cables between the bridge and that switch away"
            }
            Self::BridgeReserved => "none needed: no bridge passes these on",
            Self::BridgeFloodLimited => {
                "find who sends so many broadcasts, or raise the port's limit"
            }
            Self::OffloadUnsupported => "switch segmentation off where the packet enters",
            Self::ArpMalformed => "find the sender by `narrows dump --drops arp`",
            Self::ArpUnsolicited => "none needed; if it is right, `narrows neigh replace` it",
            Self::ArpNotForUs => "none needed: broadcasts reach every station",
            Self::ArpConflict => "give one of the two stations another address",
            Self::Ipv4Truncated => "look at MTUs and at the driver on the way",
            Self::Ipv4Malformed => "find the sender: no host makes these by accident",
            Self::Ipv4Checksum => "a bad link or memory on the way; look at error counts there",
            Self::Ipv4SourceRoute => "none: whoever needs it must go another way (RFC 7126)",
            Self::Martian => "find who sends from or to such addresses; at the router, filter them",
            Self::ReversePath => {
                "add the route back, or set the interface's `reverse_path` to loose"
            }
            Self::NotLocal => "add the address, or set `forward` if this host is a router",
            Self::NotJoined => "none needed, unless a program forgot to join the group",
            Self::UnknownProtocol => "none: its sender was told so",
            Self::OtherZone => "a `[[zone]]` rule can let it cross; `narrows zone` shows the rules",
            Self::FragmentOverlap => "an attack or a broken host: filter its address",
            Self::FragmentTooBig => "an attack (ping of death): filter its address",
            Self::FragmentLimit => "a lossy path or an attack: avoid fragments by a smaller MTU",
            Self::ReassemblyTimeout => "look for loss on the path; lower the sender's MTU",
            Self::IgmpMalformed => "look at the router or switch that speaks IGMP there",
            Self::IgmpChecksum => "a bad link, or a forged message",
            Self::IgmpIgnored => "none needed: this host is no multicast router",
            Self::DhcpMalformed => "look at the DHCP server, or at who plays one",
            Self::DhcpUnmatched => "none, if one server answers twice; else look for a second one",
            Self::IcmpMalformed => "find the sender by `narrows dump --drops icmp`",
            Self::IcmpChecksum => "a bad link, or a forged message: look at error counts",
            Self::IcmpIgnored => "none needed: redirects and the like are not believed here",
            Self::IcmpUnmatched => "late answers, or forged ones; many of them are an attack",
            Self::IcmpRateLimited => "none: the limit keeps others from using this host",
            Self::ConntrackFull => "raise `max` in [conntrack], or find who begins so many flows",
            Self::ConntrackSourceLimit => {
                "`narrows ct list -s ADDRESS` shows its flows; raise `max_per_source`"
            }
            Self::ConntrackClash => "let a rule give its source another port: `masquerade random`",
            Self::NatExhausted => "give the rule more addresses or ports to translate to",
            Self::UdpMalformed => "look at the program that makes these datagrams",
            Self::UdpChecksum => "a bad link, or an offload that does not complete sums",
            Self::UdpNoSocket => "start the program, or find who still asks for it",
            Self::ReceiveQueueFull => "raise SO_RCVBUF, or give the program more time",
            Self::TcpMalformed => "find the sender: its TCP is broken or hostile",
            Self::TcpChecksum => "a bad link, or a sum that its device was to complete",
            Self::TcpNoSocket => "start the program that listens there, or look for a port scan",
            Self::TcpListenUnexpected => "left over from before a restart, or a scan",
            Self::TcpBadCookie => {
                "none: a guess during a SYN flood, or an answer that came too late"
            }
            Self::SynQueueFull => {
                "a SYN flood: let [tcp] syncookies be 1, or listen(2) with a longer backlog"
            }
            Self::SynShareFull => {
                "a SYN flood of a user's listeners: [tcp] syncookies = 1, or raise his half_open"
            }
            Self::AcceptQueueFull => "raise listen(2)'s backlog, or the number of workers",
            Self::TcpPaws => "none, if few: old duplicates; many mean a middlebox mixes flows",
            Self::TcpOutOfWindow => "none, if few: late copies; many mean blind injection",
            Self::TcpBadAck => "look for a forger, or a peer that crashed and came back",
            Self::TcpNoAck => "a scan, or a broken middlebox",
            Self::TcpDeferred => "none needed: TCP_DEFER_ACCEPT asks for it",
            Self::TcpBlindReset => "none: if the peer means it, it answers the challenge",
            Self::TcpBlindSyn => "none: a peer that restarted answers the challenge with a reset",
            Self::TcpChallengeAckLimited => "somebody tries numbers: filter his address",
            Self::TcpDataAfterClose => "none: the peer was reset; let it stop before close(2)",
            Self::TcpOutOfOrderLimit => "look for loss or reordering on the path",
            Self::TtlExceeded => "traceroute's work; if not, look for a routing loop",
            Self::NoRoute => {
                "`narrows route add` one; `narrows route get ADDRESS` shows what is found"
            }
            Self::RouteBlackhole => "`narrows route del` the blackhole, if it is not meant",
            Self::RouteUnreachable => {
                "`narrows route del` the unreachable route, if it is not meant"
            }
            Self::RouteProhibited => "`narrows route del` the prohibit route, if it is not meant",
            Self::NeighborUnresolved => "is the host up, on this link, and its address right?",
            Self::NeighborTableFull => "a scan of the subnet, or a prefix that is too wide",
            Self::EgressQueueFull => {
                "the link is slower than what is sent: shape it, or pace senders"
            }
            Self::LoopbackQueueFull => "receivers on this host are too slow for their senders",
            Self::MessageTooLong => "let ICMP through, so that senders learn the path's MTU",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_says_in_one_line_what_it_means_and_what_to_do() {
        let mut seen = BTreeSet::new();
        for reason in DropReason::ALL {
            let (name, meaning) = reason.describe();
            for line in [name, meaning, reason.remedy()] {
                assert!(!line.is_empty() && line.len() <= 80 && !line.contains('\n'), "{line}");
                assert!(seen.insert(line), "said twice: {line}");
            }
        }
    }

    #[test]
    fn every_reason_is_listed_at_its_place() {
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, at, "{reason:?}");
        }
    }
}
