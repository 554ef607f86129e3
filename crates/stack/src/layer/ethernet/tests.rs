use super::*;
use crate::layer::fixture::*;
use narrows_wire::address::MacAddr;

#[test]
fn frames_for_this_station_and_for_all_are_taken() {
    let mut host = Host::with_peer();
    host.receive(&ping(&PACKET));
    assert_eq!(host.sent().len(), 1);
    let question = arp_frame(&narrows_wire::arp::Packet {
        operation: narrows_wire::arp::Operation::Request,
        sender_mac: PEER_MAC,
        sender_ip: PEER,
        target_mac: MacAddr::ZERO,
        target_ip: OWN,
    });
    host.receive(&question);
    assert_eq!(host.sent().len(), 1);
    assert_eq!(host.drops(), []);
}

#[test]
fn frames_for_others_are_not() {
    for (what, destination) in [
        ("another station", PEER_MAC),
        ("a group nobody joined", MacAddr([1, 0, 0x5e, 0, 0, 9])),
        ("no address", MacAddr::ZERO),
    ] {
        let mut host = Host::with_peer();
        let mut frame = ping(&PACKET);
        frame[..6].copy_from_slice(&destination.0);
        assert_eq!(host.refused(&frame), DropReason::NotForThisStation, "{what}");
        assert!(host.sent().is_empty(), "{what}");
    }
}

#[test]
fn what_is_no_frame() {
    let mut host = Host::with_peer();
    for len in 0..14 {
        host.receive(&ping(&PACKET)[..len]);
    }
    assert_eq!(host.drops(), [(DropReason::EthernetTruncated, 14)]);
}

#[test]
fn protocols_that_nobody_speaks() {
    for ether_type in [0x0000, 0x05dc, 0x8100, 0x86dd, 0x88cc, 0xffff] {
        let mut host = Host::with_peer();
        let frame = frame(OWN_MAC, EtherType(ether_type), &[0; 46]);
        assert_eq!(host.refused(&frame), DropReason::UnknownEtherType, "{ether_type:#06x}");
    }
}

#[test]
fn no_device_delivers_to_the_loopback_or_to_nowhere() {
    let mut host = Host::with_peer();
    for interface in [InterfaceId::LOOPBACK, InterfaceId(9)] {
        host.receive_on(interface, &ping(&PACKET));
    }
    assert_eq!(host.drops(), [(DropReason::NotForThisStation, 2)]);
}
