//! Bonds: what their members hear, LACP, ARP monitoring, and what a failover moves.

use super::{Ascent, is_slow, output, state::arm};
use crate::{
    Instant, InterfaceId, Shard,
    counters::DropReason,
    layer::{arp, tcp},
    table::{bond::Change, egress::Frame},
};
use core::net::Ipv4Addr;
use narrows_wire::{
    address::MacAddr,
    arp::{Operation, Packet},
    ethernet::{self, EtherType},
    lacp::{self, Lacpdu},
    offload::TxOffload,
};

/// A frame that came in by a member: does it go on to the bond?
pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    bond: InterfaceId,
    member: InterfaceId,
    frame: &Ascent<'_>,
) -> Result<bool, DropReason> {
    let state = shard.links.bond_mut(bond).ok_or(DropReason::LinkDown)?;
    let accepted = state.accepts(now, member);
    if is_slow(frame) {
        let pdu = Lacpdu::parse(frame.payload).map_err(|_| DropReason::LacpMalformed)?;
        if frame.header.destination != lacp::DESTINATION {
            return Err(DropReason::LacpMalformed);
        }
        let change = state.receive_lacp(now, member, &pdu);
        act(shard, now, bond, change);
        return Ok(false);
    }
    if accepted { Ok(true) } else { Err(DropReason::BondMemberIdle) }
}

/// Does what a change asks for, and says what LACP has to say.
pub(super) fn act(shard: &mut Shard, now: Instant, bond: InterfaceId, change: Change) {
    if change.usable {
        requeue(shard, bond);
    }
    while let Some((member, pdu)) = shard.links.bond_mut(bond).and_then(|b| b.poll_lacp(now)) {
        send_lacpdu(shard, member, &pdu);
    }
    if change.announce {
        announce(shard, bond);
    }
    arm(shard);
}

pub(super) fn handle_timeout(shard: &mut Shard, now: Instant, bond: InterfaceId) {
    let Some(state) = shard.links.bond_mut(bond) else { return };
    let change = state.handle_timeout(now);
    let probe = state.poll_probe(now);
    act(shard, now, bond, change);
    if let Some((change, members)) = probe {
        act(shard, now, bond, change);
        probe_targets(shard, now, bond, &members);
    }
}

/// What waits for members that nothing leaves by any more finds another way.
fn requeue(shard: &mut Shard, bond: InterfaceId) {
    let Some(state) = shard.links.get(bond).and_then(|link| link.bond()) else { return };
    let idle: Vec<_> = state.members().filter(|member| !state.is_usable(*member)).collect();
    for member in idle {
        abandon(shard, member, Some(bond));
    }
}

/// Empties the queue of a device that nothing leaves by any more. `via`: who may know another way for
/// the frames.
pub(super) fn abandon(shard: &mut Shard, device: InterfaceId, via: Option<InterfaceId>) {
    let (frames, connections) = shard.egress.take(device);
    for frame in frames {
        // LACPDUs speak of the member they were for, and leave by it though nothing else does.
        let slow = frame.bytes.get(12..14) == Some(&EtherType::SLOW.0.to_be_bytes()[..]);
        let result = match via {
            Some(_) if slow => output(shard, device, frame),
            Some(via) => output(shard, via, frame),
            None => Err(DropReason::LinkDown),
        };
        if let Err(reason) = result {
            shard.drop(reason);
        }
    }
    for connection in connections {
        tcp::reschedule(shard, connection);
    }
}

fn send_lacpdu(shard: &mut Shard, member: InterfaceId, pdu: &Lacpdu) {
    let Some(source) = shard.interfaces.get(member).map(|station| station.settings.mac) else {
        return;
    };
    let header =
        ethernet::Header { destination: lacp::DESTINATION, source, ether_type: EtherType::SLOW };
    let mut body = [0; lacp::LEN];
    pdu.emit(&mut body);
    send(shard, member, &header, &body);
}

/// Says to everybody, of each address of the bond and of what stands upon it, that it is here: so
/// that switches send what is for us by the member in use now.
fn announce(shard: &mut Shard, bond: InterfaceId) {
    for interface in shard.links.at_and_above(bond) {
        arp::conflict::announce_all(shard, interface);
    }
}

fn probe_targets(shard: &mut Shard, now: Instant, bond: InterfaceId, members: &[InterfaceId]) {
    let Some(state) = shard.links.get(bond).and_then(|link| link.bond()) else { return };
    let targets = state.settings.monitor.as_ref().map(|monitor| monitor.targets.clone());
    let Some(mac) = shard.interfaces.get(bond).map(|station| station.settings.mac) else { return };
    for target in targets.unwrap_or_default() {
        let Some(source) = shard.interfaces.source_for(bond, target) else { continue };
        // So that there is an entry that the answers belong to.
        arp::resolve(shard, now, bond, target, source);
        for member in members {
            ask(shard, *member, mac, source, target);
        }
    }
}

/// A broadcast question who has `target`.
fn ask(shard: &mut Shard, by: InterfaceId, mac: MacAddr, source: Ipv4Addr, target: Ipv4Addr) {
    let packet = Packet {
        operation: Operation::Request,
        sender_mac: mac,
        sender_ip: source,
        target_mac: MacAddr::ZERO,
        target_ip: target,
    };
    let header = ethernet::Header {
        destination: MacAddr::BROADCAST,
        source: mac,
        ether_type: EtherType::ARP,
    };
    let mut body = [0; narrows_wire::arp::LEN];
    packet.emit(&mut body);
    send(shard, by, &header, &body);
}

fn send(shard: &mut Shard, interface: InterfaceId, header: &ethernet::Header, body: &[u8]) {
    let mut link = [0; ethernet::HEADER_LEN];
    header.emit(&mut link);
    let frame = Frame { bytes: [&link[..], body].concat(), offload: TxOffload::default() };
    if let Err(reason) = output(shard, interface, frame) {
        shard.drop(reason);
    }
}
