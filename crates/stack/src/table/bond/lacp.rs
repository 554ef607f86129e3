//! One port of an aggregate and the machines that run it (IEEE 802.1AX-2014 §6.4): receive,
//! periodic transmission, mux (coupled) and, over all ports of a bond, selection.
//!
//! Of the standard's choices: one aggregate is in use at a time, ports that belong to another peer
//! stay in reserve, and while no port has a peer that speaks LACP the first running one is used by
//! itself, so that a link to a plain switch works.

use crate::{
    table::rate_limit::{Pace, Rate},
    time::{Duration, Instant},
};
use narrows_wire::{
    address::MacAddr,
    lacp::{Information, Lacpdu, State},
};

/// §6.4.4: the constants.
const FAST_PERIODIC: Duration = Duration::from_secs(1);
const SLOW_PERIODIC: Duration = Duration::from_secs(30);
const SHORT_TIMEOUT: Duration = Duration::from_secs(3);
const LONG_TIMEOUT: Duration = Duration::from_secs(90);
const AGGREGATE_WAIT: Duration = Duration::from_secs(2);

/// §6.4.16: no more than three LACPDUs in a fast interval.
const TRANSMIT_RATE: Rate = Rate { interval: Duration::from_millis(334), burst: 3 };

/// What Linux sets unless told otherwise.
const SYSTEM_PRIORITY: u16 = 0xffff;
const PORT_PRIORITY: u16 = 0xff;
/// All ports of a bond have this key: they may all be aggregated.
const KEY: u16 = 1;

/// The receive machine (§6.4.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    /// The wire is down, or LACP is not asked for.
    Disabled,
    /// The peer is not known, or no longer: it is asked to speak soon.
    Expired { until: Instant },
    /// The peer does not speak LACP.
    Defaulted,
    /// The peer speaks.
    Current { until: Instant },
}

/// The mux machine, collecting and distributing together (§6.4.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mux {
    Detached,
    /// Others that belong to the same aggregate may come up just now.
    Waiting {
        until: Instant,
    },
    /// Part of the aggregate, as far as we are concerned.
    Attached,
    /// The peer agrees: frames pass.
    Distributing,
}

#[derive(Clone, Debug)]
pub struct Port {
    actor: Information,
    partner: Information,
    receive: Receive,
    mux: Mux,
    selected: bool,
    /// "Need to transmit".
    ntt: bool,
    next_periodic: Option<Instant>,
    pace: Pace,
}

impl Port {
    /// `system`: the bond's address; `number`: its own among the system's ports, not 0.
    pub fn new(system: MacAddr, number: u16, fast: bool) -> Self {
        let state = State::ACTIVITY | State::AGGREGATION | State::DEFAULTED;
        let actor = Information {
            system_priority: SYSTEM_PRIORITY,
            system,
            key: KEY,
            port_priority: PORT_PRIORITY,
            port: number,
            state: state.with(State::SHORT_TIMEOUT, fast),
        };
        Self {
            actor,
            partner: Information::default(),
            receive: Receive::Disabled,
            mux: Mux::Detached,
            selected: false,
            ntt: false,
            next_periodic: None,
            pace: Pace::default(),
        }
    }

    pub fn actor(&self) -> &Information {
        &self.actor
    }

    /// The peer, as it said itself; all zeros when it said nothing.
    pub fn partner(&self) -> &Information {
        &self.partner
    }

    pub fn is_collecting(&self) -> bool {
        self.mux == Mux::Distributing
    }

    pub fn is_distributing(&self) -> bool {
        self.mux == Mux::Distributing
    }

    pub fn set_fast(&mut self, fast: bool) {
        self.set(State::SHORT_TIMEOUT, fast);
    }

    /// The wire came up or went down.
    pub fn enable(&mut self, now: Instant, on: bool) {
        match (on, self.receive) {
            (true, Receive::Disabled) => self.expire(now),
            (false, _) => {
                self.receive = Receive::Disabled;
                self.partner.state = self.partner.state.with(State::SYNCHRONIZATION, false);
                self.selected = false;
                self.next_periodic = None;
                self.move_to(Mux::Detached);
                self.ntt = false;
            }
            (true, _) => {}
        }
    }

    /// An LACPDU of the peer's.
    pub fn receive(&mut self, now: Instant, pdu: &Lacpdu) {
        // Our own, by a loop in the wiring.
        let looped = pdu.actor.system == self.actor.system;
        if self.receive == Receive::Disabled || looped {
            return;
        }
        let identity = |end: &Information| Information {
            state: State(end.state.0 & State::AGGREGATION.0),
            ..*end
        };
        // update_Selected
        if identity(&pdu.actor) != identity(&self.partner) {
            self.selected = false;
        }
        let echoed = identity(&pdu.partner) == identity(&self.actor);
        // update_NTT
        let matters = State::ACTIVITY | State::SHORT_TIMEOUT | State::SYNCHRONIZATION;
        let differs = (pdu.partner.state.0 ^ self.actor.state.0) & matters.0 != 0;
        self.ntt |= !echoed || differs;
        // recordPDU: in step only if it speaks of us, or wants to be alone.
        let alone = !pdu.actor.state.has(State::AGGREGATION);
        let in_step = pdu.actor.state.has(State::SYNCHRONIZATION) && (echoed || alone);
        self.partner = pdu.actor;
        self.partner.state = pdu.actor.state.with(State::SYNCHRONIZATION, in_step);
        self.set(State::DEFAULTED, false);
        self.set(State::EXPIRED, false);
        let short = self.actor.state.has(State::SHORT_TIMEOUT);
        let patience = if short { SHORT_TIMEOUT } else { LONG_TIMEOUT };
        self.receive = Receive::Current { until: now + patience };
        self.pace_periodic(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        match self.receive {
            Receive::Current { until } if until <= now => self.expire(now),
            Receive::Expired { until } if until <= now => {
                // recordDefault
                self.receive = Receive::Defaulted;
                self.partner = Information::default();
                self.selected = false;
                self.set(State::DEFAULTED, true);
                self.set(State::EXPIRED, false);
            }
            _ => {}
        }
        if self.next_periodic.is_some_and(|at| at <= now) {
            self.ntt = true;
            self.next_periodic = None;
            self.pace_periodic(now);
        }
    }

    /// What is to be said now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Lacpdu> {
        let speaks = self.receive != Receive::Disabled;
        if !self.ntt || !speaks || !self.pace.take(now, TRANSMIT_RATE, 0) {
            return None;
        }
        self.ntt = false;
        Some(Lacpdu { actor: self.actor, partner: self.partner })
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let receive = match self.receive {
            Receive::Expired { until } | Receive::Current { until } => Some(until),
            Receive::Disabled | Receive::Defaulted => None,
        };
        let mux = match self.mux {
            Mux::Waiting { until } => Some(until),
            _ => None,
        };
        [receive, mux, self.next_periodic].into_iter().flatten().min()
    }

    /// The peer is lost: it is asked to speak soon.
    fn expire(&mut self, now: Instant) {
        self.receive = Receive::Expired { until: now + SHORT_TIMEOUT };
        let state = self.partner.state.with(State::SYNCHRONIZATION, false);
        self.partner.state = state.with(State::SHORT_TIMEOUT, true);
        self.set(State::EXPIRED, true);
        self.ntt = true;
        self.next_periodic = None;
        self.pace_periodic(now);
    }

    /// §6.4.13: as often as the peer wants to hear.
    fn pace_periodic(&mut self, now: Instant) {
        let fast = self.partner.state.has(State::SHORT_TIMEOUT);
        let at = now + if fast { FAST_PERIODIC } else { SLOW_PERIODIC };
        self.next_periodic = Some(self.next_periodic.map_or(at, |earlier| earlier.min(at)));
    }

    fn set(&mut self, bits: State, on: bool) {
        let state = self.actor.state.with(bits, on);
        self.ntt |= state != self.actor.state;
        self.actor.state = state;
    }

    fn move_to(&mut self, mux: Mux) {
        self.mux = mux;
        let attached = matches!(mux, Mux::Attached | Mux::Distributing);
        self.set(State::SYNCHRONIZATION, attached);
        let passing = mux == Mux::Distributing;
        self.set(State::COLLECTING, passing);
        self.set(State::DISTRIBUTING, passing);
    }

    /// The aggregate that the port could be part of: who its peer is. `None`: it has none.
    fn aggregate(&self) -> Option<(u16, MacAddr, u16)> {
        let current = matches!(self.receive, Receive::Current { .. });
        let Information { system_priority, system, key, state, .. } = self.partner;
        (current && state.has(State::AGGREGATION)).then_some((system_priority, system, key))
    }

    fn may_be_alone(&self) -> bool {
        match self.receive {
            Receive::Defaulted => true,
            Receive::Current { .. } => !self.partner.state.has(State::AGGREGATION),
            Receive::Disabled | Receive::Expired { .. } => false,
        }
    }

    /// A peer that speaks no LACP is as if it agreed.
    fn peer_in_step(&self) -> bool {
        self.receive == Receive::Defaulted || self.partner.state.has(State::SYNCHRONIZATION)
    }

    fn step_mux(&mut self, now: Instant) {
        loop {
            let next = match self.mux {
                Mux::Detached if self.selected => Mux::Waiting { until: now + AGGREGATE_WAIT },
                Mux::Waiting { .. } if !self.selected => Mux::Detached,
                Mux::Waiting { until } if until <= now => Mux::Attached,
                Mux::Attached if !self.selected => Mux::Detached,
                Mux::Attached if self.peer_in_step() => Mux::Distributing,
                Mux::Distributing if !self.selected || !self.peer_in_step() => Mux::Attached,
                _ => return,
            };
            self.move_to(next);
        }
    }
}

/// Selection (§6.4.14): the ports of one peer together, and no others. The aggregate in use stays
/// while it has a port; else the one with most ports is taken.
pub fn select(now: Instant, ports: &mut [&mut Port]) {
    let held = ports.iter().find(|port| port.selected).and_then(|port| port.aggregate());
    let size = |id| ports.iter().filter(|port| port.aggregate() == Some(id)).count();
    // Of equals the first.
    let largest = ports.iter().rev().filter_map(|port| port.aggregate()).max_by_key(|id| size(*id));
    let chosen = held.or(largest);
    let alone = match chosen {
        Some(_) => None,
        None => ports.iter().position(|port| port.may_be_alone()),
    };
    for (index, port) in ports.iter_mut().enumerate() {
        port.selected = match chosen {
            Some(id) => port.aggregate() == Some(id),
            None => alone == Some(index),
        };
        port.step_mux(now);
    }
}

#[cfg(test)]
mod tests;
