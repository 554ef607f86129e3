use super::*;
use crate::layer::fixture::{OWN, ping, read_packet};

/// VLAN 100 on the device, at 10.1.0.2/24.
fn host() -> (Host, InterfaceId) {
    let mut host = Host::with_peer();
    let vlan = host.add_link("v", NewLink::Vlan { lower: ETH, tag: customer(100) });
    host.address(vlan, "10.1.0.2/24");
    host.know(vlan, FAR, PEER_MAC);
    (host, vlan)
}

const FAR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);

fn far_ping() -> Vec<u8> {
    ping(&ipv4::Header { source: FAR, destination: NEAR, ..PACKET })
}

#[test]
fn a_vlan_answers_with_its_tag() {
    let (mut host, _) = host();
    host.receive(&tagged(customer(100), &far_ping()));
    let reply = host.sent_one();
    assert_eq!(reply[12..18], [0x81, 0, 0, 100, 8, 0]);
    let untagged = [&reply[..12], &reply[16..]].concat();
    assert_eq!(read_packet(&untagged).1.header.destination, FAR);
}

#[test]
fn a_vlan_and_what_it_is_on_do_not_mix() {
    let (mut host, _) = host();
    // The VLAN's address by the device, and the device's by the VLAN: strong host.
    assert_eq!(host.refused(&far_ping()), DropReason::NotLocal);
    assert_eq!(host.refused(&tagged(customer(100), &ping(&PACKET))), DropReason::NotLocal);
}

#[test]
fn tags_that_are_not_here() {
    let (mut host, _) = host();
    let with = |bytes: [u8; 4]| [&far_ping()[..12], &bytes, &far_ping()[12..]].concat();
    for (frame, reason) in [
        (tagged(customer(101), &far_ping()), DropReason::VlanUnknown),
        (tagged(tag(TagProtocol::Dot1ad, 100), &far_ping()), DropReason::VlanUnknown),
        (tagged(customer(100), &tagged(customer(100), &far_ping())), DropReason::VlanUnknown),
        (with([0x81, 0, 0x0f, 0xff]), DropReason::VlanMalformed),
        (with([0x81, 0, 0, 100])[..17].to_vec(), DropReason::VlanMalformed),
    ] {
        assert_eq!(host.refused(&frame), reason, "{frame:02x?}");
    }
    // Hundreds of priority tags are taken off one by one, and then the frame is too short.
    let deep = [&far_ping()[..12], &[0x81, 0, 0xe0, 0].repeat(300)[..]].concat();
    assert_eq!(host.refused(&deep), DropReason::VlanMalformed);
}

#[test]
fn a_tag_with_a_priority_alone_changes_nothing() {
    let mut host = Host::with_peer();
    let frame = ping(&PACKET);
    host.receive(&[&frame[..12], &[0x81, 0, 0xe0, 0], &frame[12..]].concat());
    assert_eq!(read_packet(&host.sent_one()).1.header.destination, PEER);
}

#[test]
fn a_vlan_in_a_vlan_has_both_tags_the_providers_outside() {
    let mut host = Host::with_peer();
    let outer = tag(TagProtocol::Dot1ad, 200);
    let provider = host.add_link("s", NewLink::Vlan { lower: ETH, tag: outer });
    let inner = host.add_link("c", NewLink::Vlan { lower: provider, tag: customer(100) });
    host.address(inner, "10.1.0.2/24");
    host.know(inner, FAR, PEER_MAC);
    host.receive(&tagged(outer, &tagged(customer(100), &far_ping())));
    let reply = host.sent_one();
    assert_eq!(reply[12..22], [0x88, 0xa8, 0, 200, 0x81, 0, 0, 100, 8, 0]);
    // TCP's segments have the same header.
    let Reply::Socket(socket) = host.request(Request::OpenTcp) else { panic!("no socket") };
    host.request(Request::Connect { socket, remote: SocketAddr::new(FAR.into(), 80) });
    let syn = host.sent_one();
    assert_eq!(syn[..22], reply[..22]);
    assert_eq!(read_packet(&[&syn[..12], &syn[20..]].concat()).1.header.protocol.0, 6);
}

#[test]
fn arp_on_a_vlan_has_its_tag() {
    let mut host = Host::with_peer();
    let vlan = host.add_link("v", NewLink::Vlan { lower: ETH, tag: customer(100) });
    host.address(vlan, "10.1.0.2/24");
    host.sent();
    host.say(NEAR, 77, FAR);
    let question = host.sent_one();
    assert_eq!(question[12..18], [0x81, 0, 0, 100, 8, 6]);
    let (header, packet) = read_arp(&[&question[..12], &question[16..]].concat());
    assert!(header.destination.is_broadcast());
    assert_eq!((packet.sender_ip, packet.target_ip), (NEAR, FAR));
    assert_eq!(header.source, OWN_MAC);
    assert_ne!(packet.sender_ip, OWN);
}
