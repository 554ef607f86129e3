use super::*;
use crate::{
    layer::fixture::*,
    request::{Principal, Request},
};
use core::net::SocketAddr;
use std::collections::BTreeSet;

const DATAGRAM: Datagram<'_> = Datagram {
    source: OWN,
    destination: PEER,
    protocol: Protocol(99),
    ttl: 64,
    tos: 0,
    dont_fragment: false,
    mark: 0,
    principal: Principal::HOST,
    output: None,
    segment_size: None,
    heard_here: false,
    options: &[],
    payload: &[],
};

/// A host with a second interface, eth1: 10.1.0.2/24.
fn two_interfaces() -> (Host, InterfaceId) {
    let mut host = Host::with_peer();
    let second = host.add_interface("eth1", MacAddr([2, 0, 0, 0, 1, 2]), "10.1.0.2/24");
    (host, second)
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

#[test]
fn the_route_names_interface_next_hop_and_source() {
    let (mut host, second) = two_interfaces();
    let via = Some(address("10.1.0.9"));
    host.request(add_route("172.16.0.0/12", second, via));
    for (destination, interface, next_hop, source) in [
        ("10.0.0.1", ETH, "10.0.0.1", "10.0.0.2"),
        ("192.0.2.9", ETH, "10.0.0.1", "10.0.0.2"),
        ("10.1.0.7", second, "10.1.0.7", "10.1.0.2"),
        ("172.16.5.5", second, "10.1.0.9", "10.1.0.2"),
    ] {
        let path = path(&host.shard, None, address(destination)).expect("a path");
        let (next_hop, source) = (address(next_hop), address(source));
        assert_eq!(
            path,
            Path { interface, next_hop, source, mtu: 1500, broadcast: false },
            "{destination}"
        );
    }
}

#[test]
fn own_addresses_go_by_the_loopback() {
    let (host, _) = two_interfaces();
    for (destination, source) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.8.8.8", "127.0.0.1"),
        ("10.0.0.2", "10.0.0.2"),
        ("10.1.0.2", "10.1.0.2"),
    ] {
        let path = path(&host.shard, None, address(destination)).expect("a path");
        assert_eq!(path.interface, InterfaceId::LOOPBACK, "{destination}");
        assert_eq!((path.source, path.mtu), (address(source), 65_535), "{destination}");
    }
}

#[test]
fn there_is_no_way_to_what_is_no_host() {
    let (host, _) = two_interfaces();
    for destination in ["0.0.0.0", "0.0.0.1", "240.0.0.1", "10.0.0.0"] {
        let error = path(&host.shard, None, address(destination));
        assert_eq!(error, Err(Error::NetworkUnreachable), "{destination}");
    }
}

#[test]
fn groups_are_on_the_link_of_the_source_or_of_the_route() {
    let (host, second) = two_interfaces();
    let group = address("239.1.1.1");
    let to = |source: Option<Ipv4Addr>| {
        path(&host.shard, source, group).map(|path| (path.interface, path.next_hop, path.source))
    };
    assert_eq!(to(None), Ok((ETH, group, OWN)), "by the default route, but to no gateway");
    let other = address("10.1.0.2");
    assert_eq!(to(Some(other)), Ok((second, group, other)));
    let empty = crate::Shard::new(crate::Config::default(), [1; 16]);
    assert_eq!(path(&empty, None, group), Err(Error::NetworkUnreachable));
}

#[test]
fn broadcasts_go_to_the_link_they_are_for() {
    let (host, second) = two_interfaces();
    for (source, destination, interface) in [
        (None, "10.0.0.255", ETH),
        (None, "10.1.0.255", second),
        (None, "255.255.255.255", ETH),
        (Some("10.0.0.2"), "255.255.255.255", ETH),
        (Some("10.1.0.2"), "255.255.255.255", second),
    ] {
        let path = path(&host.shard, source.map(address), address(destination)).expect("a path");
        let next_hop = address(destination);
        assert_eq!((path.interface, path.next_hop), (interface, next_hop), "{destination}");
        assert!(path.broadcast, "{destination}");
    }
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    let mut host = Host::with_peer();
    host.request(remove_route("0.0.0.0/0"));
    assert_eq!(path(&host.shard, None, REMOTE), Err(Error::NetworkUnreachable));
    assert_eq!(path(&host.shard, None, PEER).map(|path| path.next_hop), Ok(PEER));
    let datagram = Datagram { destination: REMOTE, ..DATAGRAM };
    let refused = output(&mut host.shard, host.now, &datagram);
    assert_eq!(refused, Err(DropReason::NoRoute));
}

/// Strong host: a packet leaves by the interface that has its source address.
#[test]
fn the_source_address_decides_the_interface() {
    let (mut host, second) = two_interfaces();
    let (first_source, second_source) = (Some(OWN), Some(address("10.1.0.2")));
    let from = |host: &Host, source, destination: &str| {
        path(&host.shard, source, address(destination)).map(|path| (path.interface, path.next_hop))
    };
    let unreachable = Err(Error::NetworkUnreachable);
    assert_eq!(from(&host, first_source, "192.0.2.9"), Ok((ETH, PEER)));
    assert_eq!(from(&host, second_source, "192.0.2.9"), unreachable);
    assert_eq!(from(&host, second_source, "10.0.0.1"), unreachable);
    assert_eq!(from(&host, first_source, "10.1.0.7"), Ok((ETH, PEER)), "by the gateway");
    assert_eq!(from(&host, Some(Ipv4Addr::LOCALHOST), "10.0.0.1"), unreachable);
    assert_eq!(from(&host, Some(PEER), "10.0.0.1"), Err(Error::AddressNotAvailable));
    let local = from(&host, first_source, "10.1.0.2");
    assert_eq!(local, Ok((InterfaceId::LOOPBACK, address("10.1.0.2"))));
    // A subnet has one route, but both interfaces reach it.
    let same_subnet = Request::AddAddress { interface: second, prefix: prefix("10.0.0.3/24") };
    host.request(same_subnet);
    let third_source = Some(address("10.0.0.3"));
    assert_eq!(from(&host, third_source, "10.0.0.1"), Ok((second, PEER)));
    assert_eq!(from(&host, first_source, "10.0.0.1"), Ok((ETH, PEER)));
}

#[test]
fn an_interface_without_an_address_sends_nothing() {
    let mut host = Host::with_peer();
    host.request(Request::RemoveAddress { interface: ETH, prefix: prefix("10.0.0.2/24") });
    assert_eq!(path(&host.shard, None, REMOTE), Err(Error::AddressNotAvailable));
}

#[test]
fn a_subnet_is_reached_as_long_as_an_address_is_in_it() {
    let mut host = Host::with_peer();
    let (first, second) = (prefix("10.0.0.2/24"), prefix("10.0.0.3/24"));
    host.request(Request::AddAddress { interface: ETH, prefix: second });
    host.request(Request::RemoveAddress { interface: ETH, prefix: first });
    host.request(remove_route("0.0.0.0/0"));
    let source = path(&host.shard, None, PEER).map(|path| path.source);
    assert_eq!(source, Ok(address("10.0.0.3")));
    host.request(Request::RemoveAddress { interface: ETH, prefix: second });
    assert_eq!(path(&host.shard, None, PEER), Err(Error::NetworkUnreachable));
}

#[test]
fn a_datagram_that_fits_is_one_packet() {
    let mut host = Host::with_peer();
    let payload = [5; 1480];
    let datagram = Datagram { tos: 0x10, ttl: 7, payload: &payload, ..DATAGRAM };
    output(&mut host.shard, host.now, &datagram).expect("sent");
    let frame = host.sent_one();
    let (link, sent) = read_packet(&frame);
    assert_eq!((link.destination, link.source), (PEER_MAC, OWN_MAC));
    let header = sent.header;
    assert_eq!((header.tos, header.ttl, header.protocol), (0x10, 7, Protocol(99)));
    assert_eq!((header.source, header.destination), (OWN, PEER));
    assert!(!header.is_fragment());
    assert_eq!(sent.payload, payload);
}

#[test]
fn a_datagram_that_does_not_fit_is_cut() {
    for (len, pieces) in [(1481, 2), (2960, 2), (2961, 3), (65_515, 45)] {
        let mut host = Host::with_peer();
        let payload: Vec<u8> = (0..len).map(|index| index as u8).collect();
        let datagram = Datagram { payload: &payload, ..DATAGRAM };
        output(&mut host.shard, host.now, &datagram).expect("sent");
        let frames = host.sent();
        assert_eq!(frames.len(), pieces, "{len}");
        let packets: Vec<_> = frames.iter().map(|frame| read_packet(frame).1).collect();
        let mut joined = Vec::new();
        for (index, piece) in packets.iter().enumerate() {
            assert!(piece.header_bytes.len() + piece.payload.len() <= 1500);
            assert_eq!(usize::from(piece.header.fragment_offset), joined.len());
            assert_eq!(piece.header.more_fragments, index + 1 < pieces);
            assert_eq!(piece.header.identification, packets[0].header.identification);
            joined.extend_from_slice(piece.payload);
        }
        assert_eq!(joined, payload, "{len}");
    }
}

#[test]
fn what_may_not_be_cut_is_too_long() {
    let mut host = Host::with_peer();
    let payload = vec![0; 65_516];
    for (len, dont_fragment, result) in [
        (1480, true, Ok(())),
        (1481, true, Err(DropReason::MessageTooLong)),
        (65_516, true, Err(DropReason::MessageTooLong)),
        (65_516, false, Err(DropReason::MessageTooLong)),
    ] {
        let datagram = Datagram { dont_fragment, payload: &payload[..len], ..DATAGRAM };
        assert_eq!(output(&mut host.shard, host.now, &datagram), result, "{len}");
    }
    let local = Datagram { destination: OWN, payload: &payload, ..DATAGRAM };
    let refused = output(&mut host.shard, host.now, &local);
    assert_eq!(refused, Err(DropReason::MessageTooLong));
}

#[test]
fn identifications_are_zero_or_unpredictable() {
    let mut host = Host::with_peer();
    let header = ipv4::Header { dont_fragment: true, ..PACKET };
    for _ in 0..10 {
        assert_eq!(identification(&mut host.shard, &header, 1), 0);
    }
    let drawn: Vec<u16> = (0..1000).map(|_| identification(&mut host.shard, &PACKET, 1)).collect();
    let different: BTreeSet<_> = drawn.iter().collect();
    assert_eq!(different.len(), 1000, "none comes back soon");
    let steps: BTreeSet<_> = drawn.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 4, "no plain counter: {}", steps.len());
}

#[test]
fn a_queue_that_is_full_takes_no_more() {
    let mut host = Host::with_peer();
    let limit = host.shard.config.limits.egress_queue;
    let payload = [0; 100];
    let datagram = Datagram { payload: &payload, ..DATAGRAM };
    for _ in 0..limit {
        assert_eq!(output(&mut host.shard, host.now, &datagram), Ok(()));
    }
    let refused = output(&mut host.shard, host.now, &datagram);
    assert_eq!(refused, Err(DropReason::EgressQueueFull));
    let local = Datagram { destination: OWN, ..datagram };
    for _ in 0..host.shard.config.limits.loopback_queue {
        assert_eq!(output(&mut host.shard, host.now, &local), Ok(()));
    }
    let refused = output(&mut host.shard, host.now, &local);
    assert_eq!(refused, Err(DropReason::LoopbackQueueFull));
}

/// The smallest MTU there is: fragments of 48 bytes.
#[test]
fn small_links_cut_small() {
    let mut host = Host::with_peer();
    let settings = crate::table::interface::InterfaceSettings {
        name: "tiny".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 2, 2]),
        mtu: 68,
        capabilities: Default::default(),
        routing: Default::default(),
    };
    let request = Request::AddInterface { settings };
    let reply = host.shard.request(host.now, Principal::user(0), request).expect("granted");
    let crate::Reply::Interface(tiny) = reply else { panic!("{reply:?}") };
    host.request(Request::AddAddress { interface: tiny, prefix: prefix("10.2.0.2/24") });
    let neighbor = address("10.2.0.1");
    let mac = PEER_MAC;
    host.request(Request::PinNeighbor { interface: tiny, address: neighbor.into(), mac });
    let socket = host.socket(Request::OpenUdp, (address("10.2.0.2"), 9));
    let to = SocketAddr::new(neighbor.into(), 7);
    host.shard.send_to(host.now, socket, Some(to), &[1; 500]).expect("sent");
    let frames = host.sent_on(tiny);
    assert_eq!(frames.len(), 508usize.div_ceil(48));
    assert!(frames.iter().all(|frame| frame.len() <= 14 + 68));
}
