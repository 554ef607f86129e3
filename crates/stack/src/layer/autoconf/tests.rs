use super::*;
use crate::{
    Shard,
    layer::fixture::*,
    request,
    table::{
        arp_policy::{ArpPolicy, ConflictDetection},
        conflict::Unusable,
    },
    time::Duration,
};
use narrows_wire::dhcp::{ReplyKind, RequestKind};

const SERVER: Ipv4Addr = PEER;
const LEASED: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

/// A host whose interface has no address.
fn host() -> Host {
    let mut host = Host {
        shard: Shard::new(crate::Config::default(), [8; 16]),
        now: Instant::from_millis(1000),
    };
    let settings = crate::table::interface::InterfaceSettings {
        name: "eth0".to_owned(),
        mac: OWN_MAC,
        mtu: 1500,
        capabilities: Default::default(),
        routing: Default::default(),
    };
    host.request(request::Request::AddInterface { settings });
    host
}

fn find_by(host: &mut Host, source: AddressSource) {
    host.request(request::Request::SetAddressSource { interface: ETH, source });
}

fn detect(host: &mut Host, conflict_detection: ConflictDetection) {
    let policy = ArpPolicy { conflict_detection, ..ArpPolicy::default() };
    host.request(request::Request::SetArpPolicy { interface: ETH, policy });
}

/// Kind and transaction of the messages for servers that leave, with where they go.
fn asked(host: &mut Host) -> Vec<(u8, [u8; 4], Ipv4Addr)> {
    let frames = host.sent();
    let of_server = frames.iter().filter(|frame| !is_arp(frame)).map(|frame| {
        let (_, packet) = read_packet(frame);
        let (header, message) = udp::Header::parse(packet.payload).expect("UDP");
        assert_eq!((header.source_port, header.destination_port), (CLIENT_PORT, SERVER_PORT));
        let sum = udp_sum(packet.header.source, packet.header.destination, packet.payload);
        assert_eq!(sum.expect("short enough").finish(), 0);
        let transaction = message[4..8].try_into().expect("four bytes");
        (message[242], transaction, packet.header.destination)
    });
    of_server.collect()
}

/// A server's answer, as a frame to everybody.
fn answer(kind: ReplyKind, transaction: [u8; 4]) -> Vec<u8> {
    let mut message = [0; REQUEST_LEN];
    Request {
        kind: RequestKind::Discover,
        transaction: u32::from_be_bytes(transaction),
        seconds: 0,
        client: Ipv4Addr::UNSPECIFIED,
        mac: OWN_MAC,
        requested: None,
        server: None,
    }
    .emit(&mut message);
    message[0] = 2;
    message[16..20].copy_from_slice(&LEASED.octets());
    let kind = match kind {
        ReplyKind::Offer => 2,
        ReplyKind::Ack => 5,
        ReplyKind::Nak => 6,
    };
    let options = [
        53, 1, kind, 54, 4, 10, 0, 0, 1, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 0, 1, 51, 4, 0, 0,
        14, 16, 255,
    ];
    message[240..240 + options.len()].copy_from_slice(&options);
    let header = ipv4::Header { source: SERVER, destination: Ipv4Addr::BROADCAST, ..PACKET };
    let datagram = super::super::fixture::udp(&header, SERVER_PORT, CLIENT_PORT, &message);
    frame(MacAddr::BROADCAST, EtherType::IPV4, &packet(&header, &datagram))
}

/// A host that was granted its address.
fn leased(detection: ConflictDetection) -> Host {
    let mut host = host();
    detect(&mut host, detection);
    find_by(&mut host, AddressSource::Dhcp);
    let discovers = asked(&mut host);
    let [(1, transaction, Ipv4Addr::BROADCAST)] = discovers[..] else { panic!("{discovers:?}") };
    host.receive(&answer(ReplyKind::Offer, transaction));
    let requests = asked(&mut host);
    assert_eq!(requests, [(3, transaction, Ipv4Addr::BROADCAST)]);
    host.receive(&answer(ReplyKind::Ack, transaction));
    assert_eq!(host.drops(), []);
    host
}

fn gateway(host: &Host) -> Option<Ipv4Addr> {
    path(&host.shard, None, REMOTE).ok().map(|path| path.next_hop)
}

#[test]
fn an_address_and_a_gateway_are_leased() {
    let mut host = leased(ConflictDetection::Off);
    assert_eq!(host.shard.interfaces.owner(LEASED.into()), Some(ETH));
    assert_eq!(gateway(&host), Some(SERVER));
    let notice = Notice::Leased {
        interface: ETH,
        prefix: prefix("10.0.0.50/24"),
        router: Some(SERVER),
        name_servers: [None; 3],
        server: SERVER,
        lasts: Duration::from_secs(3600),
    };
    assert_eq!(host.shard.poll_notice(), Some(notice));
    // The lease is renewed where it came from, and over when nobody answers.
    let mut host = host.pinned();
    host.pass(Duration::from_secs(1801));
    let renewals = asked(&mut host);
    assert!(matches!(renewals[..], [(3, _, SERVER)]), "{renewals:?}");
    host.pass(Duration::from_secs(1800));
    assert_eq!(host.shard.interfaces.owner(LEASED.into()), None);
    assert_eq!(gateway(&host), None);
    let ended = Notice::LeaseEnded { interface: ETH, prefix: prefix("10.0.0.50/24") };
    assert_eq!(host.shard.poll_notice(), Some(ended));
}

#[test]
fn a_lease_is_given_back_when_it_is_not_wanted_any_more() {
    for ends in [false, true] {
        let mut host = leased(ConflictDetection::Off).pinned();
        match ends {
            true => host.shard.release_leases(host.now),
            false => find_by(&mut host, AddressSource::Static),
        }
        let releases = asked(&mut host);
        assert!(matches!(releases[..], [(7, _, SERVER)]), "{releases:?}");
        assert_eq!(host.shard.interfaces.owner(LEASED.into()).is_some(), ends);
        // It is asked for again, not taken for granted.
        let remembered = Remembered { address: LEASED, until: host.now };
        let remembers: Vec<_> = host.shard.remembered_leases().collect();
        assert_eq!(remembers, [(OWN_MAC, remembered)]);
    }
}

#[test]
fn the_server_is_found_to_give_a_lease_back() {
    let mut host = leased(ConflictDetection::Off);
    host.sent();
    find_by(&mut host, AddressSource::Static);
    assert_eq!(asked(&mut host), []);
    assert!(host.shard.waits_for_neighbors());
    host.receive(&arp_frame(&narrows_wire::arp::Packet {
        operation: narrows_wire::arp::Operation::Reply,
        sender_mac: PEER_MAC,
        sender_ip: SERVER,
        target_mac: OWN_MAC,
        target_ip: LEASED,
    }));
    assert!(matches!(asked(&mut host)[..], [(7, _, SERVER)]));
    assert!(!host.shard.waits_for_neighbors());
}

#[test]
fn a_lease_is_recalled_by_the_link_address_it_was_granted_to() {
    for (mac, kind) in [(OWN_MAC, 3), (PEER_MAC, 1)] {
        let mut host = host();
        let lease = Remembered { address: LEASED, until: host.now + Duration::from_secs(60) };
        host.shard.recall_lease(mac, lease);
        find_by(&mut host, AddressSource::Dhcp);
        let asks = asked(&mut host);
        let [(asked_for, transaction, Ipv4Addr::BROADCAST)] = asks[..] else { panic!("{asks:?}") };
        assert_eq!(asked_for, kind);
        if kind == 3 {
            host.receive(&answer(ReplyKind::Nak, transaction));
            assert_eq!(host.shard.remembered_leases().count(), 0);
            assert!(matches!(asked(&mut host)[..], [(1, _, _)]));
            assert_eq!(host.drops(), []);
        }
    }
}

#[test]
fn what_is_no_answer_is_dropped_with_a_reason() {
    let mut host = host();
    find_by(&mut host, AddressSource::Dhcp);
    let transaction = asked(&mut host)[0].1;
    let mut good = answer(ReplyKind::Offer, transaction);
    let other = answer(ReplyKind::Offer, [0; 4]);
    assert_eq!(host.refused(&other), DropReason::DhcpUnmatched);
    let at = good.len() - 20;
    good[at] ^= 1;
    assert_eq!(host.refused(&good), DropReason::UdpChecksum);
    good[at] ^= 1;
    let header = ipv4::Header { source: SERVER, destination: Ipv4Addr::BROADCAST, ..PACKET };
    for message in [&[][..], &[2; 239], &[0; 300]] {
        let datagram = super::super::fixture::udp(&header, SERVER_PORT, CLIENT_PORT, message);
        let frame = frame(MacAddr::BROADCAST, EtherType::IPV4, &packet(&header, &datagram));
        assert_eq!(host.refused(&frame), DropReason::DhcpMalformed);
    }
    host.receive(&good);
    assert_eq!(asked(&mut host).len(), 1);
}

#[test]
fn servers_are_not_listened_to_unless_asked() {
    let mut host = host();
    assert_ne!(host.refused(&answer(ReplyKind::Ack, [0; 4])), DropReason::DhcpUnmatched);
    let mut host = leased(ConflictDetection::Off).pinned();
    find_by(&mut host, AddressSource::Static);
    assert_eq!(host.shard.interfaces.owner(LEASED.into()), None);
    assert_eq!((gateway(&host), host.shard.next_timeout()), (None, None));
}

#[test]
fn a_leased_address_is_probed_for_and_declined_if_somebody_has_it() {
    for taken in [false, true] {
        let mut host = leased(ConflictDetection::Probe);
        assert_eq!(gateway(&host), None, "not before the address is ours");
        if taken {
            host.receive(&arp_frame(&narrows_wire::arp::Packet {
                operation: narrows_wire::arp::Operation::Request,
                sender_mac: PEER_MAC,
                sender_ip: LEASED,
                target_mac: MacAddr::ZERO,
                target_ip: LEASED,
            }));
            let declines = asked(&mut host);
            assert!(matches!(declines[..], [(4, _, Ipv4Addr::BROADCAST)]), "{declines:?}");
            assert_eq!(host.shard.unusable_addresses(ETH).count(), 0);
        }
        host.pass(Duration::from_secs(9));
        assert_eq!(host.shard.interfaces.owner(LEASED.into()).is_some(), !taken);
        assert_eq!(gateway(&host), (!taken).then_some(SERVER));
    }
}

#[test]
fn a_link_local_address_is_probed_for_and_another_taken_if_somebody_has_it() {
    let mut host = host();
    find_by(&mut host, AddressSource::LinkLocal);
    let tentative = |host: &Host| {
        let mut rows = host.shard.unusable_addresses(ETH);
        let row = rows.next();
        assert_eq!(rows.next(), None);
        row
    };
    let (first, state) = tentative(&host).expect("one is tried");
    assert_eq!((state, first.length()), (Unusable::Tentative, 16));
    let IpAddr::V4(taken) = first.address() else { panic!() };
    host.receive(&arp_frame(&narrows_wire::arp::Packet {
        operation: narrows_wire::arp::Operation::Request,
        sender_mac: PEER_MAC,
        sender_ip: taken,
        target_mac: MacAddr::ZERO,
        target_ip: taken,
    }));
    let (second, _) = tentative(&host).expect("another is tried");
    assert_ne!(second, first);
    host.pass(Duration::from_secs(9));
    assert_eq!(tentative(&host), None);
    assert_eq!(host.shard.interfaces.owner(second.address()), Some(ETH));
    assert_eq!(host.shard.interfaces.owner(first.address()), None);
}
