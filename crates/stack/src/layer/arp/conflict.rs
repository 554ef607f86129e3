//! Another station with an address of ours (RFC 5227): probes before an address is used,
//! announcements when it is, and its defence. What to do when is the claim table's decision.

use super::{Instant, InterfaceId, Packet, Shard, is_probe, send};
use crate::{
    counters::DropReason,
    event::{ConflictOutcome, Notice},
    layer::autoconf,
    table::{
        conflict::{Due, Verdict},
        timer::TimerKey,
    },
};
use core::net::{IpAddr, Ipv4Addr};
use narrows_wire::{address::MacAddr, arp::Operation};

/// Does the packet claim an address that is, or is about to be, ours?
pub(super) fn input(
    shard: &mut Shard,
    now: Instant,
    interface: InterfaceId,
    packet: &Packet,
) -> Result<(), DropReason> {
    let probe = is_probe(packet);
    let address = if probe { packet.target_ip } else { packet.sender_ip };
    let verdict = shard.claims.contest(now, (interface, address), probe);
    let outcome = match verdict {
        Verdict::None => return Ok(()),
        Verdict::Bear => return Err(DropReason::ArpConflict),
        Verdict::Defend => {
            announce(shard, interface, address);
            ConflictOutcome::Defended
        }
        Verdict::Refused => ConflictOutcome::GivenUp,
        Verdict::Lost(prefix) => {
            shard.release_address(interface, prefix);
            ConflictOutcome::GivenUp
        }
    };
    arm(shard);
    let by = packet.sender_mac;
    shard.tell(Notice::AddressConflict { interface, address, by, outcome });
    if outcome == ConflictOutcome::GivenUp {
        autoconf::lost(shard, now, interface, address);
    }
    Err(DropReason::ArpConflict)
}

/// Probes and announces what is due; arms the timer again.
pub(crate) fn handle_timeout(shard: &mut Shard, now: Instant) {
    while let Some(due) = shard.claims.expire(now, &mut shard.random) {
        match due {
            Due::Probe((interface, address)) => probe(shard, interface, address),
            Due::Announce((interface, address)) => announce(shard, interface, address),
            Due::Won((interface, address), prefix) => {
                // The table was full, or another interface was given the address meanwhile.
                if shard.take_address(interface, prefix).is_err() {
                    shard.claims.remove((interface, address));
                    continue;
                }
                announce(shard, interface, address);
                autoconf::won(shard, interface);
            }
        }
    }
    arm(shard);
}

/// Says to everybody on the link that `address` is at this interface (RFC 5227 §2.3).
pub(crate) fn announce(shard: &mut Shard, interface: InterfaceId, address: Ipv4Addr) {
    request(shard, interface, address, address);
}

/// Announces every address of an interface: when packets for them must take another way from now
/// on, as after the failure of a link.
pub(crate) fn announce_all(shard: &mut Shard, interface: InterfaceId) {
    let Some(station) = shard.interfaces.get(interface) else { return };
    let addresses: Vec<IpAddr> = station.addresses.iter().map(|own| own.address()).collect();
    for address in addresses {
        if let IpAddr::V4(address) = address {
            announce(shard, interface, address);
        }
    }
}

/// Asks if anybody has `address`, on behalf of nobody (RFC 5227 §2.1.1).
fn probe(shard: &mut Shard, interface: InterfaceId, address: Ipv4Addr) {
    request(shard, interface, Ipv4Addr::UNSPECIFIED, address);
}

fn request(shard: &mut Shard, interface: InterfaceId, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
    let Some(station) = shard.interfaces.get(interface) else { return };
    let packet = Packet {
        operation: Operation::Request,
        sender_mac: station.settings.mac,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    if let Err(reason) = send(shard, interface, MacAddr::BROADCAST, &packet) {
        shard.drop(reason);
    }
}

pub(crate) fn arm(shard: &mut Shard) {
    match shard.claims.next_timeout() {
        Some(at) => shard.timers.arm(TimerKey::Claims, at),
        None => shard.timers.cancel(TimerKey::Claims),
    }
}
