use super::*;
use crate::layer::fixture::{is_arp, ping};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

struct Bonded {
    host: Host,
    bond: InterfaceId,
    members: [InterfaceId; 2],
}

/// Two devices as one, at 10.8.0.2/24, that knows its peer.
fn bonded(settings: BondSettings) -> Bonded {
    let mut host = Host::new();
    let members = [host.add_device("a", OWN_MAC), host.add_device("b", SECOND_MAC)];
    let bond = host.add_link("bond0", NewLink::Bond(settings));
    host.enslave(&members, bond);
    host.address(bond, "10.8.0.2/24");
    host.know(bond, THEIRS, PEER_MAC);
    let mut bonded = Bonded { host, bond, members };
    bonded.sent();
    bonded
}

impl Bonded {
    fn sent(&mut self) -> [Vec<Vec<u8>>; 2] {
        self.members.map(|member| self.host.sent_on(member))
    }

    /// How many frames leave by each member.
    fn counts(&mut self) -> [usize; 2] {
        self.sent().map(|frames| frames.len())
    }

    fn carrier(&mut self, member: usize, on: bool) {
        self.host.set(self.members[member], LinkChange::Carrier(on));
    }

    fn ping(&mut self, member: usize) -> Vec<DropReason> {
        let header = ipv4::Header { source: THEIRS, destination: OURS, ..PACKET };
        self.host.refused_on(self.members[member], &ping(&header))
    }
}

fn mode(mode: BondMode) -> BondSettings {
    BondSettings { mode, ..BondSettings::default() }
}

#[test]
fn a_backup_takes_over_and_says_so() {
    let mut bonded = bonded(mode(BondMode::ActiveBackup));
    assert_eq!(bonded.ping(0), []);
    assert_eq!(bonded.counts(), [1, 0]);
    assert_eq!(bonded.ping(1), [DropReason::BondMemberIdle]);
    bonded.carrier(0, false);
    let [none, announced] = bonded.sent();
    assert_eq!((none.len(), announced.len()), (0, 1));
    let (header, packet) = read_arp(&announced[0]);
    // RFC 5227 §3: both addresses are the one announced; and the bond has its first member's MAC.
    assert_eq!((packet.sender_ip, packet.target_ip), (OURS, OURS));
    assert_eq!((header.source, packet.sender_mac), (OWN_MAC, OWN_MAC));
    assert!(header.destination.is_broadcast());
    assert_eq!(bonded.ping(1), []);
    assert_eq!(bonded.counts(), [0, 1]);
    // Who has the work keeps it, unless there is a preference.
    bonded.carrier(0, true);
    assert_eq!(bonded.counts(), [0, 0]);
    assert_eq!(bonded.ping(0), [DropReason::BondMemberIdle]);
    let primary = Some(bonded.members[0]);
    let settings = LinkSettings::Bond(BondSettings { primary, ..mode(BondMode::ActiveBackup) });
    bonded.host.request(Request::ConfigureLink { interface: bonded.bond, settings });
    assert_eq!(bonded.counts(), [1, 0]);
}

#[test]
fn a_wire_that_flaps_is_believed_after_a_delay() {
    let (up_delay, down_delay) = (Duration::from_millis(200), Duration::from_millis(50));
    let settings = BondSettings { up_delay, down_delay, ..mode(BondMode::ActiveBackup) };
    let mut bonded = bonded(settings);
    let pass = |bonded: &mut Bonded, ms| {
        bonded.host.pass(Duration::from_millis(ms));
        let link = bonded.host.shard.links().get(bonded.bond).expect("a bond");
        link.bond().expect("a bond").active()
    };
    assert!(pass(&mut bonded, 200).is_some(), "the second wire was waited for");
    let [first, second] = bonded.members.map(Some);
    bonded.carrier(0, false);
    assert_eq!(pass(&mut bonded, 49), first);
    bonded.carrier(0, true);
    assert_eq!(pass(&mut bonded, 500), first, "it was not gone for long");
    bonded.carrier(0, false);
    assert_eq!(pass(&mut bonded, 49), first);
    assert_eq!(pass(&mut bonded, 2), second);
    // Back, but not for long enough to be trusted when the other goes.
    bonded.carrier(0, true);
    assert_eq!(pass(&mut bonded, 100), second);
    bonded.carrier(1, false);
    assert_eq!(pass(&mut bonded, 49), second);
    assert_eq!(pass(&mut bonded, 2), first, "with no other nothing is waited for");
}

#[test]
fn what_waits_for_a_failed_member_leaves_by_another() {
    for mode in [BondMode::ActiveBackup, BondMode::Xor, BondMode::RoundRobin] {
        let mut bonded = bonded(super::bond::mode(mode));
        for port in 1000..1020 {
            bonded.host.say(OURS, port, THEIRS);
        }
        bonded.carrier(0, false);
        let [lost, sent] = bonded.sent();
        let datagrams = sent.iter().filter(|frame| !is_arp(frame)).count();
        assert_eq!((lost.len(), datagrams), (0, 20), "{mode:?}");
        assert_eq!(bonded.host.drops(), []);
    }
}

#[test]
fn other_modes_than_802_3ad_need_one_link() {
    for mode in [BondMode::Xor, BondMode::ActiveBackup, BondMode::RoundRobin] {
        let mut bonded = bonded(BondSettings { min_links: 2, ..super::bond::mode(mode) });
        bonded.carrier(0, false);
        assert!(bonded.host.shard.links().is_running(bonded.bond), "{mode:?}");
        assert_eq!(bonded.ping(1), [], "{mode:?}");
        assert_eq!(bonded.counts()[1], 1 + usize::from(mode == BondMode::ActiveBackup), "{mode:?}");
    }
}

#[test]
fn without_a_link_nothing_leaves() {
    let mut bonded = bonded(mode(BondMode::Xor));
    bonded.carrier(0, false);
    bonded.carrier(1, false);
    assert_eq!(bonded.ping(0), [DropReason::LinkDown]);
    let Reply::Socket(socket) = bonded.host.request(Request::OpenTcp) else { panic!("no socket") };
    let remote = SocketAddr::new(THEIRS.into(), 80);
    bonded.host.request(Request::Connect { socket, remote });
    assert_eq!(bonded.counts(), [0, 0]);
    let Reply::Error(error) = bonded.host.request(Request::TakeError { socket }) else {
        panic!("no answer")
    };
    assert_eq!(error, Some(Error::HostUnreachable));
}

#[test]
fn round_robin_takes_turns() {
    let mut bonded = bonded(mode(BondMode::RoundRobin));
    for port in 1000..1010 {
        bonded.host.say(OURS, port, THEIRS);
    }
    assert_eq!(bonded.counts(), [5, 5]);
}

#[test]
fn a_flow_stays_with_its_member_and_flows_are_spread() {
    // What differs between the datagrams: nothing, the addresses, the ports.
    let cases = [(HashPolicy::Layer2, 1), (HashPolicy::Layer23, 1), (HashPolicy::Layer34, 2)];
    for (hash, used) in cases {
        let mut bonded = bonded(BondSettings { hash, ..mode(BondMode::Xor) });
        let mut members = [0, 0];
        for port in 1000..1032 {
            bonded.host.say(OURS, port, THEIRS);
            let first = bonded.counts();
            bonded.host.say(OURS, port, THEIRS);
            assert_eq!(bonded.counts(), first, "{hash:?}");
            members = [members[0] + first[0], members[1] + first[1]];
        }
        let busy = members.iter().filter(|count| **count > 0).count();
        assert_eq!(busy, used, "{hash:?}: {members:?}");
    }
}

#[test]
fn a_member_that_is_silent_is_asked_and_replaced() {
    let monitor = ArpMonitor { interval: Duration::from_secs(1), targets: vec![THEIRS] };
    let settings = BondSettings { monitor: Some(monitor), ..mode(BondMode::ActiveBackup) };
    let mut bonded = bonded(settings);
    let reply = |target_mac| arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: PEER_MAC,
        sender_ip: THEIRS,
        target_mac,
        target_ip: OURS,
    };
    for _ in 0..5 {
        bonded.host.pass(Duration::from_millis(1010));
        let [asked, not] = bonded.sent();
        assert_eq!((asked.len(), not.len()), (1, 0));
        let (_, question) = read_arp(&asked[0]);
        assert_eq!((question.sender_ip, question.target_ip), (OURS, THEIRS));
        bonded
            .host
            .receive_on(bonded.members[0], &crate::layer::fixture::arp_frame(&reply(OWN_MAC)));
    }
    // From now on nobody answers.
    bonded.host.pass(Duration::from_secs(4));
    // The questions that had not left go the new way.
    let [old, new] = bonded.counts();
    assert!(old == 0 && new > 1, "{old} and {new}");
    assert_eq!(bonded.ping(1), []);
    assert_eq!(bonded.counts(), [0, 1]);
}

#[test]
fn a_bond_and_its_vlan_move_together() {
    let mut bonded = bonded(mode(BondMode::ActiveBackup));
    let vlan = NewLink::Vlan { lower: bonded.bond, tag: customer(3) };
    let vlan = bonded.host.add_link("bond0.3", vlan);
    bonded.host.address(vlan, "10.3.0.2/24");
    bonded.sent();
    bonded.carrier(0, false);
    let [_, announced] = bonded.sent();
    assert_eq!(announced.len(), 2);
    assert_eq!(announced[1][12..18], [0x81, 0, 0, 3, 8, 6]);
    bonded.host.request(Request::Release { member: bonded.members[1] });
    let bond = bonded.host.shard.links.get(bonded.bond).and_then(|link| link.bond());
    assert_eq!(bond.map(|bond| bond.members().count()), Some(1));
}

#[test]
fn frames_of_slow_protocols_are_for_the_member_alone() {
    let mut bonded = bonded(mode(BondMode::Xor));
    let mut frame = vec![0; 60];
    let header = ethernet::Header {
        destination: narrows_wire::lacp::DESTINATION,
        source: PEER_MAC,
        ether_type: EtherType::SLOW,
    };
    header.emit(frame.first_chunk_mut().expect("room"));
    assert_eq!(bonded.host.refused_on(bonded.members[0], &frame), [DropReason::LacpMalformed]);
}
