//! A VLAN in another zone than its link: who has the link sees nothing of it.

use super::*;
use crate::{
    layer::packet,
    request::FrameAddress,
    table::{
        packet_socket::EVERY_PROTOCOL,
        watch::{Record, Stages, Watch},
    },
};
use narrows_wire::ethernet::HEADER_LEN;

const LAB_VLAN: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 2);
const VLAN_PEER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 7);

fn tag() -> Tag {
    Tag { protocol: TagProtocol::Dot1q, id: VlanId::new(7).expect("a VLAN") }
}

/// VLAN 7 of the public interface, in the zone `lab`.
fn with_vlan() -> (Site, InterfaceId) {
    let mut site = site(HostModel::Strong);
    let link = NewLink::Vlan { lower: ETH, tag: tag() };
    let Ok(Reply::Interface(vlan)) =
        site.ask(Principal::HOST, Request::AddLink { name: "eth0.7".into(), link })
    else {
        panic!("no VLAN")
    };
    site.host.request(Request::SetZone { interface: vlan, zone: lab_zone() });
    site.host.request(Request::AddAddress { interface: vlan, prefix: prefix("10.7.0.2/24") });
    let request =
        Request::PinNeighbor { interface: vlan, address: VLAN_PEER.into(), mac: PEER_MAC };
    site.host.request(request);
    (site, vlan)
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(HEADER_LEN - 2);
    [addresses, &[0x81, 0x00, 0, 7], rest].concat()
}

fn packet_socket(site: &mut Site, who: Principal) -> SocketId {
    site.open(who, Request::OpenPacket { cooked: false, protocol: EVERY_PROTOCOL })
}

#[test]
fn each_has_its_own_zone_and_follows_out_of_a_common_one() {
    let (mut site, vlan) = with_vlan();
    let zones = |site: &Site| {
        [ETH, vlan].map(|id| site.host.shard.interface(id).expect("there").zone.number())
    };
    assert_eq!(zones(&site), [0, 1]);
    for (moved, to, expected) in [(ETH, 3, [3, 1]), (vlan, 3, [3, 3]), (ETH, 0, [0, 0])] {
        site.host.request(Request::SetZone { interface: moved, zone: zone(to) });
        assert_eq!(zones(&site), expected);
    }
}

#[test]
fn its_traffic_is_its_own_zones() {
    let (mut site, _) = with_vlan();
    let technicians = site.bound(TECHNICIAN, at(LAB_VLAN, 7)).expect("bound");
    let strangers = site.bound(STRANGER, at(Ipv4Addr::UNSPECIFIED, 7)).expect("bound");
    let to_vlan = datagram(VLAN_PEER, LAB_VLAN);
    site.host.receive(&tagged(&to_vlan));
    assert_eq!(site.heard(technicians), Some(at(VLAN_PEER, 5000)));
    assert_eq!(site.heard(strangers), None);
    // The same without the tag is public's, and so is what has the tag and a public address.
    assert_eq!(site.host.refused(&to_vlan), DropReason::OtherZone);
    assert_eq!(site.host.refused(&tagged(&datagram(PEER, OWN))), DropReason::OtherZone);
    let out = site.open(STRANGER, Request::OpenUdp);
    assert_eq!(site.send(out, at(LAB_VLAN, 7)), Err(Error::OtherZone));
    assert_eq!(site.sent(), [0; 3]);
}

#[test]
fn packet_sockets_and_captures_on_the_link_see_what_they_are_admitted_to() {
    let (mut site, _) = with_vlan();
    let sockets = [STRANGER, TECHNICIAN].map(|who| packet_socket(&mut site, who));
    // Nobody is told that there is none.
    site.bound(TECHNICIAN, at(LAB_VLAN, 7)).expect("bound");
    site.bound(STRANGER, at(OWN, 7)).expect("bound");
    let watch = Watch {
        interface: Some(ETH),
        filter: None,
        stages: Stages::RECEIVE,
        journeys: false,
        sees_claimed: false,
        snap: 1 << 16,
    };
    let strangers = site.host.shard.watch(STRANGER, watch.clone()).expect("room");
    let technicians = site.host.shard.watch(TECHNICIAN, watch).expect("room");
    let tagged = tagged(&datagram(VLAN_PEER, LAB_VLAN));
    for (frame, copies, told) in [
        // The technician's hears of a frame at the link, and at the VLAN.
        (tagged, [0, 2], vec![technicians]),
        (datagram(PEER, OWN), [1, 1], vec![strangers, technicians]),
    ] {
        site.host.receive(&frame);
        let heard = sockets.map(|socket| {
            std::iter::from_fn(|| site.host.shard.receive_frame(socket).ok()).count()
        });
        assert_eq!(heard, copies);
        let mut seen = Vec::new();
        while let Some((audience, record)) = site.host.shard.poll_record() {
            if matches!(&record, Record::Sight(sight) if sight.interface == ETH) {
                seen.extend(audience.members());
            }
        }
        assert_eq!(seen, told);
    }
}

#[test]
fn nobody_tags_his_frames_into_it() {
    let (mut site, _) = with_vlan();
    let tagged = tagged(&datagram(OWN, VLAN_PEER));
    let to = FrameAddress { interface: Some(ETH), ..FrameAddress::default() };
    for (who, leave) in [(STRANGER, 0), (TECHNICIAN, 1)] {
        let socket = packet_socket(&mut site, who);
        let before = site.host.dropped(DropReason::OtherZone);
        packet::send(&mut site.host.shard, socket, &to, &tagged).expect("taken");
        assert_eq!(site.sent(), [leave, 0, 0], "{who:?}");
        let dropped = site.host.dropped(DropReason::OtherZone) - before;
        assert_eq!(dropped, 1 - leave as u64, "{who:?}");
    }
}
