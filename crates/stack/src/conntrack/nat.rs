//! Choosing another end for a flow (RFC 3022, RFC 4787 §4).
//!
//! A source keeps its port if it can, as Linux and RFC 4787 §4.2.1 have it. Where it can't, or a rule says
//! `random`, the port is drawn: nobody can tell beforehand which (RFC 6056 §3). Well-known ports stay among
//! themselves (RFC 4787 §4.2.2). What a range of addresses gives is a keyed hash of who talks to whom.

use super::{
    flow::Status,
    table::{Conntrack, FlowId},
    tuple::{Direction, Tuple},
};
use crate::{counters::DropReason, random::Random};
use core::net::Ipv4Addr;
use narrows_wire::rewrite::End;

/// What a rule says about another end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub end: End,
    /// First and last; `None`: it stays.
    pub addresses: Option<(Ipv4Addr, Ipv4Addr)>,
    pub ports: Option<(u16, u16)>,
    /// The port is drawn even if its own is free.
    pub random: bool,
    /// The same address for a source whomever it talks to.
    pub persistent: bool,
}

impl Wanted {
    /// Nothing in particular.
    pub fn none(end: End) -> Self {
        Self { end, addresses: None, ports: None, random: false, persistent: false }
    }
}

/// Ports tried: in a table whose ports are taken by half, all of these are with a probability of 2⁻¹²⁸.
const TRIES: u32 = 128;

impl Conntrack {
    /// Gives a flow that is not confirmed yet another end, once for each of its ends.
    pub(crate) fn translate(
        &mut self,
        random: &mut Random,
        id: FlowId,
        wanted: &Wanted,
    ) -> Result<(), DropReason> {
        let (done, changed) = match wanted.end {
            End::Source => (Status::SNAT_DONE, Status::SNAT),
            End::Destination => (Status::DNAT_DONE, Status::DNAT),
        };
        let Some(flow) = self.get(id) else { return Ok(()) };
        if flow.status.intersects(done | Status::CONFIRMED) {
            return Ok(());
        }
        let current = flow.tuple(Direction::Reply).inverse();
        let chosen = self.choose(random, id, &current, wanted)?;
        if chosen != current {
            self.set_reply(id, chosen.inverse());
        }
        if let Some(flow) = self.get_mut(id) {
            flow.status |= done;
            flow.status.set(changed, chosen != current);
        }
        Ok(())
    }

    fn choose(
        &self,
        random: &mut Random,
        id: FlowId,
        current: &Tuple,
        wanted: &Wanted,
    ) -> Result<Tuple, DropReason> {
        let (own_address, own_port) = match wanted.end {
            End::Source => (current.source, current.source_port),
            End::Destination => (current.destination, current.destination_port),
        };
        let address = match wanted.addresses {
            None => own_address,
            Some((first, last)) => self.pick(current, first, last, wanted.persistent),
        };
        let with = |port| match wanted.end {
            End::Source => current.with_source(address, port),
            End::Destination => current.with_destination(address, port),
        };
        let is_free = |tuple: &Tuple| !self.is_taken(&tuple.inverse(), id);
        let ports = wanted.ports.filter(|_| current.has_ports());
        let within = ports.is_none_or(|(low, high)| (low..=high).contains(&own_port));
        // Of who is translated at its destination, the source sees to it that answers can be told apart.
        let fixed = wanted.end == End::Destination && ports.is_none_or(|(low, high)| low == high);
        if fixed {
            return Ok(with(ports.map_or(own_port, |(port, _)| port)));
        }
        let keeps = within && !wanted.random;
        if !current.has_ports() || keeps && is_free(&with(own_port)) {
            let tuple = with(own_port);
            return is_free(&tuple).then_some(tuple).ok_or(DropReason::NatExhausted);
        }
        let (low, high) = ports.unwrap_or_else(|| likewise(own_port));
        let width = u32::from(high.saturating_sub(low)) + 1;
        let start = random.below(width);
        for attempt in 0..width.min(TRIES) {
            // All of a small range, in turn; of a large one, any.
            let offset = match width <= TRIES {
                true => (start + attempt) % width,
                false => random.below(width),
            };
            let tuple = with(low.saturating_add(offset as u16));
            if is_free(&tuple) {
                return Ok(tuple);
            }
        }
        Err(DropReason::NatExhausted)
    }

    /// An address of a range, the same for all that one host says to another, or (`persistent`) to anyone.
    fn pick(&self, current: &Tuple, first: Ipv4Addr, last: Ipv4Addr, persistent: bool) -> Ipv4Addr {
        let (first, last) = (first.to_bits(), last.to_bits());
        let Some(width) = last.checked_sub(first).filter(|width| *width > 0) else {
            return first.into();
        };
        let other = if persistent { Ipv4Addr::UNSPECIFIED } else { current.destination };
        let hash = self.key.hash(&(current.source, other)) >> 32;
        let offset = (hash * (u64::from(width) + 1)) >> 32;
        Ipv4Addr::from_bits(first.wrapping_add(offset as u32))
    }
}

/// Ports of the same kind (RFC 4787 §4.2.2), as Linux divides them.
fn likewise(port: u16) -> (u16, u16) {
    match port {
        0..512 => (1, 511),
        512..1024 => (600, 1023),
        _ => (1024, u16::MAX),
    }
}
