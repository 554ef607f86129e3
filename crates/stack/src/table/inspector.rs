//! Programs that decide about packets, and the packets that wait for their answers. Invariant: each inspector
//! has at most as many packets and bytes waiting as it said and the limits allow, and of packets of one flow
//! that wait for it none goes on before those that came earlier.
//!
//! An inspector answers in whatever order it likes: an answer about a packet behind others of its flow is
//! kept until it is their turn. What is never answered ends by its deadline, as the inspector has chosen.

use crate::{
    bpf::Program,
    filter::Hook,
    random::Key,
    request::Principal,
    table::interface::InterfaceId,
    time::{Duration, Instant},
};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Programs that inspect at once: each costs a packet that is given to inspectors a look.
pub const MAX_INSPECTORS: usize = 64;

/// Packets that may wait for one inspector: at 100,000 a second, 40 ms of them.
pub const MAX_ROOM: usize = 4096;

/// Bytes that may wait for one inspector: sixty-four of the largest packets.
pub const MAX_BYTES: usize = 4 << 20;

/// What a packet that waits costs beside its bytes.
const OVERHEAD: usize = 256;

/// The longest that an answer may take: longer than a person needs to say yes, and shorter than TCP gives up.
pub const MAX_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InspectorId(pub u32);

/// Which packets an inspector is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those that rules give to this queue.
    Queue(u16),
    /// All at this hook, behind its rules.
    Hook(Hook),
}

/// What an inspector wants.
#[derive(Clone, Debug)]
pub struct Terms {
    pub source: Source,
    /// `None`: on every interface that it may see.
    pub interface: Option<InterfaceId>,
    /// Of the packet, from its IPv4 header on.
    pub filter: Option<Program>,
    /// Bytes of each packet at most.
    pub snap: usize,
    /// Without an answer, packets go on; else they are dropped.
    pub open: bool,
    /// How long an answer may take.
    pub patience: Duration,
    /// Packets that may wait.
    pub room: usize,
}

/// What became of an inspector's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub given: u64,
    pub accepted: u64,
    pub dropped: u64,
    /// Of the accepted: those that it gave another mark, or other bytes.
    pub marked: u64,
    pub rewritten: u64,
    /// Not given, because too many waited.
    pub full: u64,
    /// Not answered in time, or not before the inspector ended.
    pub late: u64,
    /// Answers that came when the packet was gone.
    pub stale: u64,
    /// Answers that make no sense.
    pub lies: u64,
}

/// What an inspector says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Drop,
    /// It goes on, with this mark if one is given.
    Accept {
        mark: Option<u32>,
    },
}

/// An answer that makes no sense. It is counted and has no other effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    #[error("no packet with this number was given")]
    Unknown,
    #[error("the packet is gone, or has been answered")]
    Stale,
    #[error("what the packet is to become is no packet, or not of the same flow")]
    Rewrite,
}

/// How a packet's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Dropped,
    Accepted {
        mark: Option<u32>,
    },
    /// Without an answer.
    Late {
        open: bool,
    },
}

#[derive(Debug)]
struct Waiting<P> {
    packet: P,
    flow: u64,
    cost: usize,
    deadline: Instant,
    end: Option<End>,
}

#[derive(Debug)]
pub struct Inspector<P> {
    pub principal: Principal,
    pub terms: Terms,
    pub tally: Tally,
    waiting: BTreeMap<u64, Waiting<P>>,
    /// By flow, in the order in which they came.
    flows: HashMap<u64, VecDeque<u64>, Key>,
    untold: VecDeque<u64>,
    bytes: usize,
    next: u64,
}

impl<P> Inspector<P> {
    /// Packets that wait for an answer, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// The next packet that it was not told of.
    pub fn poll(&mut self) -> Option<(u64, &P)> {
        loop {
            let id = self.untold.pop_front()?;
            if self.waiting.contains_key(&id) {
                return self.waiting.get(&id).map(|waiting| (id, &waiting.packet));
            }
        }
    }

    /// It could not be told now.
    pub fn untell(&mut self, id: u64) {
        self.untold.push_front(id);
    }

    /// The packet of that number, if it still waits for an answer.
    pub fn unanswered(&mut self, id: u64) -> Result<&mut P, Lie> {
        match self.waiting.get_mut(&id) {
            Some(Waiting { packet, end: None, .. }) => Ok(packet),
            _ if id < self.next => Err(Lie::Stale),
            _ => Err(Lie::Unknown),
        }
    }

    fn park(&mut self, now: Instant, flow: u64, bytes: usize, packet: P) {
        let (id, cost) = (self.next, bytes + OVERHEAD);
        self.next += 1;
        self.bytes += cost;
        self.tally.given += 1;
        let deadline = now + self.terms.patience;
        self.waiting.insert(id, Waiting { packet, flow, cost, deadline, end: None });
        self.flows.entry(flow).or_default().push_back(id);
        self.untold.push_back(id);
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < self.terms.room.min(MAX_ROOM)
            && self.bytes.saturating_add(bytes + OVERHEAD) <= MAX_BYTES
    }

    fn settle(&mut self, id: u64, end: End) -> Vec<(P, End)> {
        let Some(waiting) = self.waiting.get_mut(&id) else { return Vec::new() };
        waiting.end = Some(end);
        let flow = waiting.flow;
        let mut released = Vec::new();
        let Some(line) = self.flows.get_mut(&flow) else { return released };
        while let Some(first) = line.front() {
            if self.waiting.get(first).is_none_or(|waiting| waiting.end.is_none()) {
                break;
            }
            if let Some(Waiting { packet, cost, end: Some(end), .. }) = self.waiting.remove(first) {
                self.bytes = self.bytes.saturating_sub(cost);
                released.push((packet, end));
            }
            line.pop_front();
        }
        if line.is_empty() {
            self.flows.remove(&flow);
        }
        released
    }

    fn late(&mut self) -> End {
        self.tally.late += 1;
        End::Late { open: self.terms.open }
    }
}

/// All inspectors. `P`: a packet that waits.
#[derive(Debug)]
pub struct Inspectors<P> {
    members: BTreeMap<u32, Inspector<P>>,
    key: Key,
    serial: u32,
}

impl<P> Inspectors<P> {
    pub fn new(key: Key) -> Self {
        Self { members: BTreeMap::new(), key, serial: 0 }
    }

    /// `None`: there are as many as there may be.
    pub fn attach(&mut self, principal: Principal, terms: Terms) -> Option<InspectorId> {
        if self.members.len() >= MAX_INSPECTORS {
            return None;
        }
        self.serial = self.serial.checked_add(1)?;
        let inspector = Inspector {
            principal,
            terms,
            tally: Tally::default(),
            waiting: BTreeMap::new(),
            flows: HashMap::with_hasher(self.key),
            untold: VecDeque::new(),
            bytes: 0,
            next: 0,
        };
        self.members.insert(self.serial, inspector);
        Some(InspectorId(self.serial))
    }

    /// Ends an inspector; what waits for it is left without an answer, in the order in which it came.
    pub fn detach(&mut self, id: InspectorId) -> Vec<(P, End)> {
        let Some(mut gone) = self.members.remove(&id.0) else { return Vec::new() };
        let waiting = std::mem::take(&mut gone.waiting).into_values();
        let end = |waiting: Waiting<P>| {
            let end = waiting.end.unwrap_or_else(|| gone.late());
            (waiting.packet, end)
        };
        waiting.map(end).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (InspectorId, &Inspector<P>)> {
        self.members.iter().map(|(id, inspector)| (InspectorId(*id), inspector))
    }

    pub fn get_mut(&mut self, id: InspectorId) -> Option<&mut Inspector<P>> {
        self.members.get_mut(&id.0)
    }

    /// Is anybody given all packets of this hook?
    pub fn attached(&self, hook: Hook) -> bool {
        self.members.values().any(|member| member.terms.source == Source::Hook(hook))
    }

    /// Who is given a flow's packets, of those who take packets of one of the queues and whom `may` allows.
    /// All packets of a flow go to the same one, as long as they are the same ones.
    pub fn choose(
        &self,
        (first, last): (u16, u16),
        flow: u64,
        mut may: impl FnMut(&Inspector<P>) -> bool,
    ) -> Option<InspectorId> {
        let queue = first + (flow % (u64::from(last.saturating_sub(first)) + 1)) as u16;
        // Asked once each: there are no more members than a set of bits can have.
        const { assert!(MAX_INSPECTORS <= u64::BITS as usize) };
        let takes = |member: &Inspector<P>| member.terms.source == Source::Queue(queue);
        let mut allowed: u64 = 0;
        for (at, (_, member)) in self.iter().enumerate() {
            allowed |= u64::from(takes(member) && may(member)) << at;
        }
        let nth = (flow >> 32) % u64::from(allowed.count_ones().max(1));
        for _ in 0..nth {
            allowed &= allowed - 1;
        }
        let at = (allowed != 0).then(|| allowed.trailing_zeros())?;
        self.iter().nth(at as usize).map(|(id, _)| id)
    }

    /// What flows are told apart by here.
    pub fn flow_of(&self, flow: &impl core::hash::Hash) -> u64 {
        self.key.hash(flow)
    }

    /// Has a packet wait. `Err`: too many do; what the inspector has chosen for that.
    pub fn park(
        &mut self,
        now: Instant,
        id: InspectorId,
        flow: u64,
        bytes: usize,
        packet: impl FnOnce() -> P,
    ) -> Result<(), bool> {
        let member = self.members.get_mut(&id.0).ok_or(false)?;
        if !member.has_room(bytes) {
            member.tally.full += 1;
            return Err(member.terms.open);
        }
        member.park(now, flow, bytes, packet());
        Ok(())
    }

    /// What an inspector says of a packet; the packets that go on then, or end.
    pub fn answer(
        &mut self,
        id: InspectorId,
        packet: u64,
        answer: Answer,
    ) -> Result<Vec<(P, End)>, Lie> {
        let member = self.members.get_mut(&id.0).ok_or(Lie::Unknown)?;
        member.unanswered(packet)?;
        let end = match answer {
            Answer::Drop => {
                member.tally.dropped += 1;
                End::Dropped
            }
            Answer::Accept { mark } => {
                member.tally.accepted += 1;
                member.tally.marked += u64::from(mark.is_some());
                End::Accepted { mark }
            }
        };
        Ok(member.settle(packet, end))
    }

    /// The next packets whose time is over, and those that they held up.
    pub fn expire(&mut self, now: Instant) -> Option<(InspectorId, Vec<(P, End)>)> {
        // The first that came is the first that is due; it has no answer, or it would not be here.
        let overdue = |(id, member): (&u32, &Inspector<P>)| {
            let (packet, waiting) = member.waiting.first_key_value()?;
            (waiting.deadline <= now).then_some((*id, *packet))
        };
        let (id, packet) = self.members.iter().find_map(overdue)?;
        let member = self.members.get_mut(&id)?;
        let end = member.late();
        Some((InspectorId(id), member.settle(packet, end)))
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let first = |member: &Inspector<P>| member.waiting.values().next().map(|w| w.deadline);
        self.members.values().filter_map(first).min()
    }
}

#[cfg(test)]
mod tests;
