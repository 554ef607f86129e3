use super::*;
use crate::{layer::fixture::*, request::Request, table::membership::Filter, time::Duration};
use narrows_wire::{address::MacAddr, igmp, ipv4};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

fn change(host: &mut Host, socket: SocketId, change: MembershipChange) -> Result<(), Error> {
    let (group, interface) = (GROUP, GroupInterface::Address(OWN));
    let request = Request::Membership { socket, group, interface, change };
    host.shard.request(host.now, crate::request::Principal::user(1), request).map(drop)
}

fn source(last: u8) -> Ipv4Addr {
    [10, 0, 0, last].into()
}

/// A host with a socket that is in the group, and has said so.
fn joined() -> (Host, SocketId) {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (ANY, 1000));
    change(&mut host, socket, MembershipChange::Join).expect("joined");
    host.pass(Duration::from_secs(5));
    host.sent();
    (host, socket)
}

/// A message in a frame from the router.
fn from_router(header: &ipv4::Header, message: &[u8]) -> Vec<u8> {
    let mac = MacAddr::of_group(header.destination);
    frame(mac, narrows_wire::ethernet::EtherType::IPV4, &packet(header, message))
}

const HEADER: ipv4::Header =
    ipv4::Header { ttl: 1, protocol: ipv4::Protocol::IGMP, destination: ALL_SYSTEMS, ..PACKET };

fn query(code: u8, group: Ipv4Addr, rest: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0x11, code, 0, 0][..], &group.octets(), rest].concat();
    igmp::complete(&mut bytes);
    bytes
}

/// What leaves, as destination and message without its checksum.
fn said(host: &mut Host, time: Duration) -> Vec<(Ipv4Addr, Vec<u8>)> {
    host.pass(time);
    let frames = host.sent();
    frames
        .iter()
        .map(|frame| {
            let (link, packet) = read_packet(frame);
            let ipv4::Header { ttl, tos, protocol, source, destination, .. } = packet.header;
            assert_eq!((ttl, tos, protocol), (1, 0xc0, ipv4::Protocol::IGMP));
            assert_eq!((source, packet.options), (OWN, &ipv4::ROUTER_ALERT[..]));
            assert_eq!(link.destination, MacAddr::of_group(destination));
            assert!(igmp::Message::parse(packet.payload).is_ok());
            let mut message = packet.payload.to_vec();
            message[2..4].fill(0);
            (destination, message)
        })
        .collect()
}

fn report_v3(records: &[(u8, &[u8])]) -> (Ipv4Addr, Vec<u8>) {
    let mut message = vec![0x22, 0, 0, 0, 0, 0, 0, records.len() as u8];
    for (kind, sources) in records {
        message.extend([*kind, 0, 0, sources.len() as u8]);
        message.extend(GROUP.octets());
        message.extend(sources.iter().flat_map(|last| source(*last).octets()));
    }
    (igmp::ALL_V3_ROUTERS, message)
}

#[test]
fn joining_and_leaving_is_told_twice_each() {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (ANY, 1000));
    change(&mut host, socket, MembershipChange::Join).expect("joined");
    let told = said(&mut host, Duration::ZERO);
    assert_eq!(told, [report_v3(&[(4, &[])])], "at once");
    assert_eq!(said(&mut host, Duration::from_secs(99)), [report_v3(&[(4, &[])])]);
    change(&mut host, socket, MembershipChange::Leave).expect("left");
    let left = report_v3(&[(3, &[])]);
    assert_eq!(said(&mut host, Duration::from_secs(99)), [left.clone(), left]);
}

#[test]
fn sources_are_told_as_they_change() {
    let mut host = Host::new();
    let socket = host.socket(Request::OpenUdp, (ANY, 1000));
    for (step, records) in [
        (MembershipChange::JoinSource(source(7)), &[(5, &[7][..])][..]),
        (MembershipChange::JoinSource(source(8)), &[(5, &[8])]),
        (MembershipChange::LeaveSource(source(7)), &[(6, &[7])]),
        (MembershipChange::LeaveSource(source(8)), &[(6, &[8])]),
        (MembershipChange::Join, &[(4, &[])]),
        (MembershipChange::Block(source(9)), &[(6, &[9])]),
        (MembershipChange::Unblock(source(9)), &[(5, &[9])]),
        (MembershipChange::Set(Filter::NOBODY), &[(3, &[])]),
    ] {
        change(&mut host, socket, step.clone()).expect("changed");
        let told = said(&mut host, Duration::from_secs(99));
        assert_eq!(told, [report_v3(records), report_v3(records)], "{step:?}");
    }
}

#[test]
fn a_closed_socket_leaves() {
    let (mut host, socket) = joined();
    host.request(Request::Close { socket });
    let left = report_v3(&[(3, &[])]);
    assert_eq!(said(&mut host, Duration::from_secs(99)), [left.clone(), left]);
}

#[test]
fn queries_are_answered_in_the_words_of_their_version() {
    let v1 = (GROUP, igmp::report(igmp::Version::V1, GROUP).to_vec());
    let v2 = (GROUP, igmp::report(igmp::Version::V2, GROUP).to_vec());
    let without_checksum = |(to, mut message): (Ipv4Addr, Vec<u8>)| {
        message[2..4].fill(0);
        (to, message)
    };
    for (query, answer) in [
        (query(100, ANY, &[2, 125, 0, 0]), report_v3(&[(2, &[])])),
        (query(100, GROUP, &[2, 125, 0, 0]), report_v3(&[(2, &[])])),
        (query(100, GROUP, &[2, 125, 0, 1, 10, 0, 0, 7]), report_v3(&[(1, &[7])])),
        (query(0, ANY, &[2, 125, 0, 0]), report_v3(&[(2, &[])])),
        (query(100, ANY, &[]), without_checksum(v2.clone())),
        (query(100, GROUP, &[]), without_checksum(v2)),
        (query(0, ANY, &[]), without_checksum(v1)),
    ] {
        let (mut host, _) = joined();
        host.receive(&from_router(&HEADER, &query));
        assert_eq!(said(&mut host, Duration::from_secs(99)), [answer], "{query:?}");
        assert_eq!(host.drops(), []);
    }
}

#[test]
fn leaving_is_told_to_routers_of_version_2() {
    let (mut host, socket) = joined();
    host.receive(&from_router(&HEADER, &query(100, ANY, &[])));
    host.pass(Duration::from_secs(20));
    host.sent();
    change(&mut host, socket, MembershipChange::Leave).expect("left");
    let mut leave = igmp::leave(GROUP).to_vec();
    leave[2..4].fill(0);
    assert_eq!(said(&mut host, Duration::from_secs(99)), [(igmp::ALL_ROUTERS, leave)]);
}

#[test]
fn groups_that_nobody_joined_are_not_answered_for() {
    let mut host = Host::new();
    for group in [ANY, GROUP, ALL_SYSTEMS] {
        host.receive(&from_router(&HEADER, &query(10, group, &[2, 125, 0, 0])));
    }
    assert_eq!(said(&mut host, Duration::from_secs(99)), []);
}

#[test]
fn what_is_no_query_of_this_link_is_dropped_with_a_reason() {
    let good = query(100, ANY, &[2, 125, 0, 0]);
    let mut broken = good.clone();
    broken[1] ^= 1;
    let elsewhere = ipv4::Header { ttl: 64, ..HEADER };
    let spoofed = ipv4::Header { source: OWN, ..HEADER };
    let unjoined = ipv4::Header { destination: [224, 0, 0, 9].into(), ..HEADER };
    for (frame, reason) in [
        (from_router(&elsewhere, &good), DropReason::IgmpMalformed),
        (from_router(&HEADER, &good[..7]), DropReason::IgmpMalformed),
        (from_router(&HEADER, &query(1, [10, 0, 0, 1].into(), &[])), DropReason::IgmpMalformed),
        (from_router(&HEADER, &query(1, GROUP, &[2, 125, 255, 255])), DropReason::IgmpMalformed),
        (from_router(&HEADER, &broken), DropReason::IgmpChecksum),
        (from_router(&HEADER, &igmp::leave(GROUP)), DropReason::IgmpIgnored),
        (from_router(&spoofed, &good), DropReason::Martian),
        (from_router(&unjoined, &good), DropReason::NotForThisStation),
    ] {
        let (mut host, _) = joined();
        assert_eq!(host.refused(&frame), reason);
        assert_eq!(said(&mut host, Duration::from_secs(99)), []);
    }
    // A query about one group that goes to another.
    let (mut host, _) = joined();
    let other = ipv4::Header { destination: GROUP, ..HEADER };
    let about_another = query(1, [239, 9, 9, 9].into(), &[2, 125, 0, 0]);
    assert_eq!(host.refused(&from_router(&other, &about_another)), DropReason::IgmpMalformed);
}

/// A querier without an address yet (RFC 3376 §4.2.13 says so of hosts; switches ask like that).
#[test]
fn a_query_from_nobody_is_answered() {
    let (mut host, _) = joined();
    let nobody = ipv4::Header { source: ANY, ..HEADER };
    host.receive(&from_router(&nobody, &query(10, ANY, &[2, 125, 0, 0])));
    assert_eq!(said(&mut host, Duration::from_secs(99)).len(), 1);
}

#[test]
fn many_groups_take_several_reports() {
    let mut host = Host::new();
    for number in 0..400u32 {
        if number % 20 == 0 {
            let socket = host.socket(Request::OpenUdp, (ANY, 1000 + number as u16));
            for group in number..number + 20 {
                let group = Ipv4Addr::from(0xef00_0000 + group);
                let interface = GroupInterface::Interface(ETH);
                let change = MembershipChange::Join;
                host.request(Request::Membership { socket, group, interface, change });
            }
        }
    }
    host.pass(Duration::from_secs(5));
    host.sent();
    host.receive(&from_router(&HEADER, &query(10, ANY, &[2, 125, 0, 0])));
    let told = said(&mut host, Duration::from_secs(99));
    let records: Vec<usize> = told
        .iter()
        .map(|(_, message)| {
            assert!(24 + message.len() <= 1500);
            usize::from(u16::from_be_bytes([message[6], message[7]]))
        })
        .collect();
    assert_eq!((records.len(), records.iter().sum::<usize>()), (3, 400), "{records:?}");
}

#[test]
fn refusals() {
    let mut host = Host::new();
    let udp = host.socket(Request::OpenUdp, (ANY, 1000));
    let ping = host.socket(Request::OpenPing, (ANY, 1000));
    let any = GroupInterface::Any;
    for (socket, group, interface, error) in [
        (ping, GROUP, any, Error::InvalidState),
        (udp, PEER, any, Error::InvalidArgument),
        (udp, ANY, any, Error::InvalidArgument),
        (udp, GROUP, GroupInterface::Address(PEER), Error::NoSuchInterface),
        (udp, GROUP, GroupInterface::Interface(InterfaceId(9)), Error::NoSuchInterface),
    ] {
        let change = MembershipChange::Join;
        let request = Request::Membership { socket, group, interface, change };
        let refused = host.shard.request(host.now, crate::request::Principal::user(1), request);
        assert_eq!(refused, Err(error), "{group} {interface:?}");
    }
    // Without a word about the interface, the route decides.
    let change = MembershipChange::Join;
    host.request(Request::Membership { socket: udp, group: GROUP, interface: any, change });
    assert!(host.shard.memberships.wants(ETH, GROUP, PEER));
}
