//! Who watches packets pass, and what waits to be told them. Invariant: what waits never exceeds the
//! limit; what comes past it is lost to those it was for, and counted there.
//!
//! Two things can be told: a [`Sight`], a copy of a frame at one stage of its way, and a [`Journey`], the
//! frame with every decision about it and what decided.

pub use crate::layer::route::Cast;
use crate::{
    bpf::Program,
    counters::DropReason,
    filter::{Hook, Outcome, rule::ChainId},
    request::{Principal, SocketId},
    table::{
        inspector::{End, InspectorId},
        interface::InterfaceId,
        packet_socket::PacketType,
        route::TableId,
    },
    time::Instant,
};
use core::net::Ipv4Addr;
use narrows_wire::address::Prefix;
use std::{collections::VecDeque, mem};

/// Each costs every frame a look while it is there; and a mask of them is one number.
pub const MAX_WATCHERS: usize = 32;

/// Bytes that wait to be told: several turns of a daemon at full speed.
const MAX_QUEUED: usize = 16 << 20;

/// What a record costs beside its bytes.
const OVERHEAD: usize = 256;

/// Decisions about one packet: more than the longest way has, bridges and tags included.
pub const MAX_STEPS: usize = 64;

bitflags::bitflags! {
    /// Where on its way a frame is copied.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stages: u8 {
        /// As it comes by each interface, before anything acts on it.
        const RECEIVE = 1;
        /// Behind the filter's `ingress` and `prerouting`, before it is decided whose it is.
        const FILTER = 2;
        /// A whole datagram for this host, behind the filter's `input`.
        const REASSEMBLED = 4;
        /// On its way down, at each interface.
        const TRANSMIT = 8;
        /// Where it ends.
        const DROP = 16;
    }
}

/// What somebody wants to be told.
#[derive(Clone, Debug)]
pub struct Watch {
    /// `None`: of every interface that he may see.
    pub interface: Option<InterfaceId>,
    /// Of the frame with its Ethernet header, tags included.
    pub filter: Option<Program>,
    pub stages: Stages,
    /// Whole ways, with every decision.
    pub journeys: bool,
    /// Frames too that are a packet socket's alone.
    pub sees_claimed: bool,
    /// Bytes of each frame at most.
    pub snap: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatcherId(pub(crate) u8);

/// A frame at one stage of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    pub seen: Instant,
    /// One of them.
    pub stage: Stages,
    pub interface: InterfaceId,
    pub kind: PacketType,
    /// Whose socket it is for or from, where that is known by now.
    pub user: Option<u32>,
    /// At [`Stages::DROP`].
    pub reason: Option<DropReason>,
    /// Bytes of the whole frame.
    pub length: usize,
    pub bytes: Box<[u8]>,
}

/// One decision about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It came by this interface, or climbed to it.
    At(InterfaceId),
    /// The filter's chains of a hook were asked.
    Filter { hook: Hook, outcome: Outcome, by: Option<Decided> },
    /// It is for this host.
    Local(Cast),
    /// It is for another host, by this entry.
    Forward { interface: InterfaceId, next_hop: Ipv4Addr, entry: Option<Entry> },
    /// A fragment that waits for the others.
    Held,
    /// The last fragment of a datagram of that length.
    Whole { length: usize },
    /// The socket it is for; of a connection that ended, none.
    Socket { id: Option<SocketId>, role: Role },
    /// It waits until the next hop says its link address.
    Unresolved { interface: InterfaceId, next_hop: Ipv4Addr },
    /// It waits for an inspector's answer; or has it, and goes on or ends.
    Inspected { inspector: InspectorId, end: Option<End> },
    /// A frame left, or waits for its device: the packet itself, or an answer.
    Sent { interface: InterfaceId, bytes: Box<[u8]> },
    /// Something that it led to went no further.
    Lost(DropReason),
}

/// What a segment or datagram found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Connection,
    HalfOpen,
    TimeWait,
    Listener,
    Datagram,
    /// A raw one, which gets a copy.
    Raw,
    /// A packet socket that has claimed the frame.
    Holder,
    /// There is none.
    Nobody,
}

/// The rule that had the last word; `None`: the chain's policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    pub chain: ChainId,
    pub rule: Option<usize>,
}

/// Of a route table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub to: Prefix,
    pub table: TableId,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was taken: the steps say by whom.
    Taken,
    /// This host sent it.
    Sent,
    Dropped(DropReason),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journey {
    pub seen: Instant,
    pub interface: InterfaceId,
    pub kind: PacketType,
    pub user: Option<u32>,
    pub length: usize,
    pub bytes: Box<[u8]>,
    pub steps: Vec<Step>,
    pub fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Sight(Sight),
    Journey(Box<Journey>),
}

impl Record {
    fn bytes(&self) -> usize {
        let steps = |journey: &Journey| journey.steps.len() * mem::size_of::<Step>();
        match self {
            Self::Sight(sight) => sight.bytes.len(),
            Self::Journey(journey) => journey.bytes.len() + steps(journey),
        }
    }
}

/// For whom something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audience(u32);

impl Audience {
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn add(&mut self, watcher: WatcherId) {
        self.0 |= 1 << watcher.0;
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn members(self) -> impl Iterator<Item = WatcherId> {
        (0..MAX_WATCHERS as u8).filter(move |at| self.0 & 1 << at != 0).map(WatcherId)
    }
}

#[derive(Debug)]
pub struct Watcher {
    pub(crate) principal: Principal,
    pub(crate) watch: Watch,
    lost: u64,
}

/// A packet whose way is being written down.
#[derive(Debug, Default)]
pub(crate) struct Underway {
    /// Who still follows it; empty: nobody does.
    pub audience: Audience,
    pub steps: Vec<Step>,
}

#[derive(Debug, Default)]
pub struct Watchers {
    members: [Option<Box<Watcher>>; MAX_WATCHERS],
    /// Packet sockets that hear of frames at stages.
    pub(crate) taps: Vec<SocketId>,
    queue: VecDeque<(Audience, Record)>,
    bytes: usize,
    /// Of the frame that is being received; `None`: none is.
    pub(crate) received: Option<Underway>,
    /// The link header that it came with.
    pub(crate) link: [u8; narrows_wire::ethernet::HEADER_LEN],
    /// What was decided since the call began, of packets that this host makes.
    pub(crate) made: Vec<Step>,
}

impl Watchers {
    pub(crate) fn add(&mut self, principal: Principal, watch: Watch) -> Option<WatcherId> {
        let at = self.members.iter().position(Option::is_none)?;
        self.members[at] = Some(Box::new(Watcher { principal, watch, lost: 0 }));
        Some(WatcherId(at as u8))
    }

    /// True: nobody is left.
    pub(crate) fn remove(&mut self, id: WatcherId) -> bool {
        if let Some(place) = self.members.get_mut(usize::from(id.0)) {
            *place = None;
        }
        let gone = !(1 << id.0);
        for (audience, _) in &mut self.queue {
            audience.0 &= gone;
        }
        self.is_empty()
    }

    /// Nobody is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.taps.is_empty() && self.members.iter().all(Option::is_none)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WatcherId, &Watcher)> {
        let numbered = self.members.iter().enumerate();
        numbered.filter_map(|(at, member)| Some((WatcherId(at as u8), member.as_deref()?)))
    }

    /// Does anybody want to know what passes there?
    pub(crate) fn are_about(&self, interface: InterfaceId) -> bool {
        self.iter().any(|(_, member)| member.watch.interface.is_none_or(|only| only == interface))
    }

    /// Bytes that the one of `audience` who wants most wants of a frame.
    pub(crate) fn snap(&self, audience: Audience) -> usize {
        let of = |(id, member): (WatcherId, &Watcher)| {
            (audience.0 & 1 << id.0 != 0).then_some(member.watch.snap)
        };
        self.iter().filter_map(of).max().unwrap_or(0)
    }

    pub(crate) fn push(&mut self, audience: Audience, record: Record) {
        let cost = record.bytes() + OVERHEAD;
        if self.bytes + cost > MAX_QUEUED {
            for id in audience.members() {
                if let Some(Some(member)) = self.members.get_mut(usize::from(id.0)) {
                    member.lost += 1;
                }
            }
            return;
        }
        self.bytes += cost;
        self.queue.push_back((audience, record));
    }

    pub(crate) fn pop(&mut self) -> Option<(Audience, Record)> {
        let (audience, record) = self.queue.pop_front()?;
        self.bytes = self.bytes.saturating_sub(record.bytes() + OVERHEAD);
        Some((audience, record))
    }

    pub(crate) fn take_lost(&mut self, id: WatcherId) -> u64 {
        let member = self.members.get_mut(usize::from(id.0)).and_then(Option::as_mut);
        member.map_or(0, |member| mem::take(&mut member.lost))
    }

    /// Notes a decision about the packet at hand.
    pub(crate) fn note(&mut self, step: Step) {
        let steps = match &mut self.received {
            Some(underway) if underway.audience.is_empty() => return,
            Some(underway) => &mut underway.steps,
            None => &mut self.made,
        };
        if steps.len() < MAX_STEPS {
            steps.push(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch {
            interface: None,
            filter: None,
            stages: Stages::RECEIVE,
            journeys: false,
            sees_claimed: true,
            snap: 1 << 20,
        }
    }

    fn sight(length: usize) -> Record {
        Record::Sight(Sight {
            seen: Instant::ZERO,
            stage: Stages::RECEIVE,
            interface: InterfaceId(1),
            kind: PacketType::Host,
            user: None,
            reason: None,
            length,
            bytes: vec![0; length].into(),
        })
    }

    #[test]
    fn what_does_not_fit_is_lost_to_those_it_was_for() {
        let mut watchers = Watchers::default();
        let [one, other] = [0, 1].map(|_| watchers.add(Principal::HOST, watch()).unwrap());
        let (mut both, mut first) = (Audience::default(), Audience::default());
        both.add(one);
        both.add(other);
        first.add(one);
        watchers.push(both, sight(MAX_QUEUED - OVERHEAD));
        watchers.push(first, sight(1));
        assert_eq!((watchers.take_lost(one), watchers.take_lost(other)), (1, 0));
        assert_eq!(watchers.take_lost(one), 0);
        assert_eq!(watchers.pop().map(|(audience, _)| audience), Some(both));
        watchers.push(first, sight(1));
        assert!(watchers.pop().is_some() && watchers.pop().is_none());
        assert_eq!(watchers.bytes, 0);
    }

    #[test]
    fn places_are_given_again_and_what_waited_is_not_told_the_next() {
        let mut watchers = Watchers::default();
        let all: Vec<_> =
            (0..MAX_WATCHERS).map_while(|_| watchers.add(Principal::HOST, watch())).collect();
        assert_eq!(all.len(), MAX_WATCHERS);
        assert_eq!(watchers.add(Principal::HOST, watch()), None);
        let mut audience = Audience::default();
        audience.add(all[5]);
        watchers.push(audience, sight(1));
        assert!(!watchers.remove(all[5]));
        assert_eq!(watchers.add(Principal::HOST, watch()), Some(all[5]));
        assert!(watchers.pop().is_some_and(|(audience, _)| audience.is_empty()));
        let last = all.into_iter().fold(false, |_, id| watchers.remove(id));
        assert!(last);
    }

    #[test]
    fn a_way_has_an_end() {
        let mut watchers = Watchers::default();
        let mut audience = Audience::default();
        audience.add(WatcherId(0));
        watchers.received = Some(Underway { audience, steps: Vec::new() });
        for _ in 0..MAX_STEPS + 5 {
            watchers.note(Step::Held);
        }
        assert_eq!(watchers.received.map(|underway| underway.steps.len()), Some(MAX_STEPS));
    }
}
