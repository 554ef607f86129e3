//! A learning switch (IEEE 802.1D). Invariant: at most the limit's addresses are known, each behind
//! one of the ports, and one that the operator set stays where it was set.
//!
//! Beyond what 802.1D has, ports defend the others: a port can be bound to a list of addresses that
//! may speak by it, what is flooded is limited per port, and a port by which our own frames come
//! back, or addresses keep moving to, is closed for a while ([`LOOP_HOLD`]): it is part of a loop.

use crate::{
    counters::DropReason,
    table::{
        interface::InterfaceId,
        rate_limit::{Pace, Rate},
    },
    time::{Duration, Instant},
};
use narrows_wire::address::MacAddr;
use std::collections::{BTreeMap, BTreeSet};

/// Ports of one bridge (Linux: BR_MAX_PORTS).
pub const MAX_PORTS: usize = 1024;

/// How long a port that is part of a loop stays closed: long enough that a storm dies, short enough
/// that a corrected wiring is found without an operator.
const LOOP_HOLD: Duration = Duration::from_secs(10);

/// Moves of addresses to one port that are not strange: a host that changed its place, or two. More
/// in [`MOVES_INTERVAL`] is a loop.
const MOVES: u32 = 16;
const MOVES_INTERVAL: Duration = Duration::from_secs(1);

/// Looks at the whole table in one ageing time: an address is forgotten that much of it late.
const SWEEPS: u32 = 8;

/// Addresses that stations of one link speak to and no bridge passes on (802.1D §7.12.6).
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0, 0];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSettings {
    /// How long an address that says nothing is remembered.
    pub ageing: Duration,
    /// Addresses learned.
    pub max_addresses: usize,
    /// Frames a second that one port may have flooded to all others; 0: none.
    pub flood_limit: u32,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self {
            // 802.1D §7.9.2, table 7-5.
            ageing: Duration::from_secs(300),
            // Stations of a large link; an attacker who floods addresses gains nothing beyond.
            max_addresses: 4096,
            // More broadcasts than any healthy link has; a storm has a hundred times that.
            flood_limit: 10_000,
        }
    }
}

#[derive(Clone, Debug)]
struct Port {
    interface: InterfaceId,
    /// Who may speak by it; `None`: everybody.
    bound: Option<BTreeSet<MacAddr>>,
    floods: Pace,
    moves: Pace,
    /// Closed until then, because it is part of a loop.
    closed: Option<Instant>,
}

/// One row of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub mac: MacAddr,
    pub port: InterfaceId,
    /// `None`: set by the operator, and stays.
    pub seen: Option<Instant>,
}

/// Where a frame goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    Port(InterfaceId),
    /// All ports but the one it came by.
    Flood,
    /// Nowhere: its destination is behind the port it came by.
    Nowhere,
}

#[derive(Clone, Debug)]
pub struct Bridge {
    settings: BridgeSettings,
    ports: Vec<Port>,
    fdb: BTreeMap<MacAddr, FdbEntry>,
    next_sweep: Option<Instant>,
}

impl Bridge {
    pub fn new(settings: BridgeSettings) -> Self {
        Self { settings, ports: Vec::new(), fdb: BTreeMap::new(), next_sweep: None }
    }

    pub fn settings(&self) -> BridgeSettings {
        self.settings
    }

    pub fn set(&mut self, settings: BridgeSettings) {
        self.settings = settings;
    }

    pub fn ports(&self) -> impl Iterator<Item = InterfaceId> + '_ {
        self.ports.iter().map(|port| port.interface)
    }

    pub fn has_room(&self) -> bool {
        self.ports.len() < MAX_PORTS
    }

    /// Is a port closed because it is part of a loop?
    pub fn is_closed(&self, interface: InterfaceId) -> bool {
        self.port(interface).is_some_and(|port| port.closed.is_some())
    }

    /// Who may speak by a port; `None`: everybody.
    pub fn binding(&self, interface: InterfaceId) -> Option<&BTreeSet<MacAddr>> {
        self.port(interface)?.bound.as_ref()
    }

    pub fn add(&mut self, interface: InterfaceId) {
        self.ports.push(Port {
            interface,
            bound: None,
            floods: Pace::default(),
            moves: Pace::default(),
            closed: None,
        });
    }

    /// A port goes, and what is known to be behind it.
    pub fn remove(&mut self, interface: InterfaceId) {
        self.ports.retain(|port| port.interface != interface);
        self.fdb.retain(|_, entry| entry.port != interface);
    }

    /// From now on only these may speak by the port; what others are known behind it is forgotten.
    pub fn bind(&mut self, interface: InterfaceId, bound: Option<BTreeSet<MacAddr>>) -> bool {
        let Some(port) = self.port_mut(interface) else { return false };
        if let Some(allowed) = &bound {
            let stays = |entry: &FdbEntry| {
                entry.port != interface || entry.seen.is_none() || allowed.contains(&entry.mac)
            };
            port.bound.clone_from(&bound);
            self.fdb.retain(|_, entry| stays(entry));
        } else {
            port.bound = None;
        }
        true
    }

    /// An address that the operator says is behind a port. False: there is no such port, the address
    /// is no station's, or no room.
    pub fn pin(&mut self, mac: MacAddr, port: InterfaceId) -> bool {
        let room = self.fdb.len() < self.settings.max_addresses || self.fdb.contains_key(&mac);
        if !mac.is_unicast() || self.port(port).is_none() || !room {
            return false;
        }
        self.fdb.insert(mac, FdbEntry { mac, port, seen: None });
        true
    }

    /// Forgets an address; false: it is not known behind that port.
    pub fn forget(&mut self, mac: MacAddr, port: InterfaceId) -> bool {
        let known = self.fdb.get(&mac).is_some_and(|entry| entry.port == port);
        known && self.fdb.remove(&mac).is_some()
    }

    pub fn entries(&self) -> impl Iterator<Item = FdbEntry> + '_ {
        self.fdb.values().copied()
    }

    /// A frame came in by a port: learns where its sender is, and says where it goes on to. `own`: the
    /// bridge's address. The caller takes what is for the bridge itself, or for a group, beside that.
    pub fn receive(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        source: MacAddr,
        destination: MacAddr,
        own: MacAddr,
    ) -> Result<Forwarding, DropReason> {
        let flood_limit = self.settings.flood_limit;
        let port = self.port_mut(interface).ok_or(DropReason::NotForThisStation)?;
        if port.closed.is_some() {
            return Err(DropReason::BridgePortClosed);
        }
        if !source.is_unicast() || port.bound.as_ref().is_some_and(|who| !who.contains(&source)) {
            return Err(DropReason::BridgeSpoofed);
        }
        if source == own {
            port.closed = Some(now + LOOP_HOLD);
            return Err(DropReason::BridgeLoop);
        }
        self.learn(now, interface, source)?;
        let [head @ .., last] = destination.0;
        if head == RESERVED && last < 0x10 {
            return Err(DropReason::BridgeReserved);
        }
        if destination == own {
            return Ok(Forwarding::Nowhere);
        }
        match self.forwarding(destination) {
            Forwarding::Port(port) if port == interface => Ok(Forwarding::Nowhere),
            Forwarding::Flood => {
                let port = self.port_mut(interface).ok_or(DropReason::NotForThisStation)?;
                if flood_limit > 0 && !port.floods.take(now, flood_rate(flood_limit), 0) {
                    return Err(DropReason::BridgeFloodLimited);
                }
                Ok(Forwarding::Flood)
            }
            forwarding => Ok(forwarding),
        }
    }

    /// Where a frame for `destination` leaves by.
    pub fn forwarding(&self, destination: MacAddr) -> Forwarding {
        match self.fdb.get(&destination) {
            Some(entry) => Forwarding::Port(entry.port),
            None => Forwarding::Flood,
        }
    }

    /// Forgets who was not heard for long, and opens ports again.
    pub fn handle_timeout(&mut self, now: Instant) {
        for port in &mut self.ports {
            port.closed = port.closed.filter(|until| *until > now);
        }
        if self.next_sweep.is_none_or(|at| at > now) {
            return;
        }
        let ageing = self.settings.ageing;
        self.fdb.retain(|_, entry| entry.seen.is_none_or(|seen| now < seen + ageing));
        let oldest = self.fdb.values().filter_map(|entry| entry.seen).min();
        // All that ages until then goes at once: one look at the table, however many they are.
        let earliest = now + ageing / SWEEPS;
        self.next_sweep = oldest.map(|seen| earliest.max(seen + ageing));
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let closed = self.ports.iter().filter_map(|port| port.closed);
        closed.chain(self.next_sweep).min()
    }

    fn learn(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        mac: MacAddr,
    ) -> Result<(), DropReason> {
        let (ageing, full) = (self.settings.ageing, self.fdb.len() >= self.settings.max_addresses);
        let fresh = FdbEntry { mac, port: interface, seen: Some(now) };
        match self.fdb.get_mut(&mac) {
            Some(entry) if entry.port == interface => {
                entry.seen = entry.seen.map(|_| now);
                return Ok(());
            }
            // It says it is elsewhere than the operator knows.
            Some(FdbEntry { seen: None, .. }) => return Err(DropReason::BridgeSpoofed),
            Some(entry) => {
                *entry = fresh;
                return self.count_move(now, interface);
            }
            None if full => return Ok(()),
            None => self.fdb.insert(mac, fresh),
        };
        self.next_sweep = self.next_sweep.or(Some(now + ageing));
        Ok(())
    }

    fn count_move(&mut self, now: Instant, interface: InterfaceId) -> Result<(), DropReason> {
        const RATE: Rate = Rate {
            interval: Duration::from_nanos(MOVES_INTERVAL.as_nanos() as u64 / MOVES as u64),
            burst: MOVES,
        };
        let port = self.port_mut(interface).ok_or(DropReason::NotForThisStation)?;
        if port.moves.take(now, RATE, 0) {
            return Ok(());
        }
        port.closed = Some(now + LOOP_HOLD);
        self.fdb.retain(|_, entry| entry.port != interface || entry.seen.is_none());
        Err(DropReason::BridgeLoop)
    }

    fn port(&self, interface: InterfaceId) -> Option<&Port> {
        self.ports.iter().find(|port| port.interface == interface)
    }

    fn port_mut(&mut self, interface: InterfaceId) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.interface == interface)
    }
}

fn flood_rate(per_second: u32) -> Rate {
    let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
    // A burst of a tenth of a second.
    Rate { interval, burst: (per_second / 10).max(1) }
}
