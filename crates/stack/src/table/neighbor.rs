//! Link addresses of neighbors. Invariant: at most the limit's entries; a pinned one never changes; and who
//! has fewer entries than another loses none for his.
//!
//! The table decides and the ARP layer acts: each method says what is to be sent or told.
//!
//! ```text
//!                answer, or a request from it           time           used
//!   INCOMPLETE ─────────────────────────────▶ REACHABLE ─────▶ STALE ───────▶ DELAY
//!    ▲     │ no answer                         ▲  │ another claims            │ no word from the
//!    │     ▼                                   │  ▼ the address               ▼ layer above
//!    │   FAILED                    its answer, └──── PROBE ◀──────────────────┘
//!    └───────────── silent to unicast ───────────────┘
//! ```
//!
//! The states are those of RFC 4861 §7.3.2 and of ip-neighbour(8). A neighbor in use whose
//! confirmation is old is first given a moment (DELAY) in which the layer above may confirm it by
//! progress, then asked alone (PROBE), then everybody is asked (INCOMPLETE).
//!
//! A link address is believed when the neighbor answers a question of ours. What anybody says
//! without being asked makes no entry and moves no traffic: if it contradicts an entry, the holder
//! of the old address is asked whether it is still there, and only if it is silent is everybody
//! asked anew. While it is asked the old address stays in use. Linux differs: it follows the last
//! that spoke, once a second at most.
//!
//! An entry is on the account of the user whose packet first asked for it ([`share`]), and of nobody once
//! another has used it too. When there is no room, the largest account pays.

mod change;
mod share;
mod state;

pub(crate) use change::SetError;
pub use change::{NeighborChange, NeighborMode, NeighborSetting};

use crate::{
    counters::DropReason,
    table::{
        egress::Frame,
        interface::InterfaceId,
        rate_limit::{Pace, Rate},
    },
    time::{Duration, Instant},
};
use core::net::IpAddr;
use narrows_wire::address::MacAddr;
use share::Shares;
use state::{Entry, State};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighborState {
    Incomplete,
    Reachable,
    Stale,
    Delay,
    Probe,
    Failed,
    Permanent,
    NoArp,
}

/// One row of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub interface: InterfaceId,
    pub address: IpAddr,
    pub mac: Option<MacAddr>,
    pub state: NeighborState,
    /// When something was last sent to it, its link address confirmed, its state changed.
    pub used: Instant,
    pub confirmed: Instant,
    pub updated: Instant,
    /// Questions that it has not answered.
    pub probes: u8,
}

/// Names an entry.
pub(crate) type NeighborKey = (InterfaceId, IpAddr);

/// The user on whose account an entry is; `None`: the host's.
pub(crate) type Payer = Option<u32>;

/// A datagram's frames, whole but for the destination's link address.
pub(crate) type PendingDatagram = Vec<Frame>;

/// What a next hop's entry says, and what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Known(MacAddr),
    /// Not known: ask everybody.
    Ask,
    /// Asked already.
    Pending,
    /// Asked in vain a moment ago.
    Failed,
    /// No room for another entry.
    Full,
}

/// On what occasion a neighbor named its link address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// It answered, to us alone.
    Reply,
    /// It asked for an address of ours, so it is about to talk to us; or it announced itself where
    /// the operator wants that noted.
    RequestForUs,
    /// It said so to everybody, or answered nobody's question.
    Announcement,
}

/// What is known of a neighbor that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Alive,
    /// Not heard of for a while: ask it alone.
    Probe(MacAddr),
    /// Not known: ask everybody.
    Ask,
    /// It does not answer.
    Dead,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// The address is usable now; these waited for it.
    Resolved(VecDeque<PendingDatagram>),
    /// It is what was known, or news that nothing depends on.
    Noted,
    /// It contradicts this known address: ask its holder.
    Contested(MacAddr),
    /// Nobody asked, or there is no room.
    Ignored,
}

/// What became due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Ask(NeighborKey),
    Probe(NeighborKey, MacAddr),
    /// It never answered; these waited for it.
    Failed(NeighborKey, VecDeque<PendingDatagram>),
    /// An entry grew old.
    Aged,
}

/// Linux's mcast_solicit and ucast_solicit, and retrans_time.
const TRIES: u8 = 3;
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// RFC 4861 §10, DELAY_FIRST_PROBE_TIME: about how long an answer of the other end takes at most.
const DELAY_FIRST_PROBE: Duration = Duration::from_secs(5);
/// How long a neighbor that did not answer is not asked again: short, because hosts come back.
const FAILED_HOLD: Duration = Duration::from_secs(1);
/// A confirmed address is not put in question again for so long: a storm of false claims must not
/// become a storm of probes.
const CONFIRMED_HOLD: Duration = Duration::from_secs(1);
/// The share of the table that unanswered questions may take; the rest stays for who answers.
const INCOMPLETE_SHARE: usize = 4;
/// Memory of datagrams that wait, over all entries: what one full window of a scan may cost.
const PENDING_BYTES: usize = 4 << 20;
/// Questions to everybody disturb every host of the link: as many as may be unanswered at a time.
const REQUESTS: Rate = Rate { interval: Duration::from_millis(4), burst: 256 };

#[derive(Clone, Debug, Default)]
pub struct NeighborTable {
    entries: BTreeMap<NeighborKey, Entry>,
    deadlines: BTreeSet<(Instant, NeighborKey)>,
    /// On whose account entries are, and which of those may go.
    shares: Shares,
    incomplete: usize,
    pending_bytes: usize,
    requests: Pace,
}

impl NeighborTable {
    pub fn iter(&self) -> impl Iterator<Item = Neighbor> {
        self.entries.iter().map(|((interface, address), entry)| Neighbor {
            interface: *interface,
            address: *address,
            mac: entry.state.mac(),
            state: entry.state.report(),
            used: entry.used,
            confirmed: entry.updated,
            updated: entry.since,
            probes: entry.state.probes(),
        })
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The link address of a neighbor, as far as it is known.
    pub(crate) fn address_of(&self, key: NeighborKey) -> Option<MacAddr> {
        self.entries.get(&key)?.state.mac()
    }

    /// Forgets the neighbors on an interface that goes.
    pub(crate) fn remove_interface(&mut self, interface: InterfaceId) {
        let keys: Vec<_> = self.entries.keys().copied().collect();
        for key in keys.into_iter().filter(|(at, _)| *at == interface) {
            self.take(key);
        }
    }

    /// When `expire` next has something to do.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// May a question be put to everybody now? Counts it if so.
    pub(crate) fn may_ask(&mut self, now: Instant) -> bool {
        self.requests.take(now, REQUESTS, 0)
    }

    /// What is known of a next hop that `payer`'s packet is about to go to.
    pub(crate) fn lookup(
        &mut self,
        now: Instant,
        limit: usize,
        key: NeighborKey,
        payer: Payer,
    ) -> Lookup {
        let held = self.entries.get(&key).and_then(|entry| entry.payer);
        if held.is_some() && held != payer {
            // Nobody's alone from now on.
            self.charge(key, None);
        }
        let entry = self.entries.get_mut(&key);
        let state = entry.map(|entry| {
            entry.used = now;
            &entry.state
        });
        match state {
            Some(State::Reachable { mac, until }) if now < *until => Lookup::Known(*mac),
            Some(
                State::Fixed { mac, .. } | State::Delay { mac, .. } | State::Probe { mac, .. },
            ) => Lookup::Known(*mac),
            Some(State::Reachable { mac, .. } | State::Stale { mac }) => {
                let mac = *mac;
                self.change(now, key, State::Delay { mac, until: now + DELAY_FIRST_PROBE });
                Lookup::Known(mac)
            }
            Some(State::Incomplete { .. }) => Lookup::Pending,
            Some(State::Failed { until }) if now < *until => Lookup::Failed,
            Some(State::Failed { .. }) | None => self.begin_asking(now, limit, key, payer),
        }
    }

    /// Looks after a neighbor that may not be in use: one not heard of for so long is asked.
    pub(crate) fn watch(
        &mut self,
        now: Instant,
        limit: usize,
        key: NeighborKey,
        patience: Duration,
    ) -> Watched {
        let Some(entry) = self.entries.get(&key) else {
            return self.watch_anew(now, limit, key);
        };
        let heard = entry.updated + patience > now;
        match entry.state {
            State::Fixed { .. } | State::Probe { .. } => Watched::Alive,
            State::Reachable { .. } if heard => Watched::Alive,
            State::Reachable { mac, .. } | State::Stale { mac } | State::Delay { mac, .. } => {
                self.begin_probing(now, key, mac, 1);
                Watched::Probe(mac)
            }
            State::Incomplete { .. } => Watched::Dead,
            State::Failed { until } if now < until => Watched::Dead,
            State::Failed { .. } => self.watch_anew(now, limit, key),
        }
    }

    fn watch_anew(&mut self, now: Instant, limit: usize, key: NeighborKey) -> Watched {
        match self.begin_asking(now, limit, key, None) {
            Lookup::Ask => Watched::Ask,
            // No room to find out.
            _ => Watched::Dead,
        }
    }

    /// The layer above knows that packets sent to this neighbor arrive (RFC 4861 §7.3.1): it is
    /// `reachable` for so long from now on. Cheap if that was said not long ago.
    pub(crate) fn confirm(&mut self, now: Instant, key: NeighborKey, reachable: Duration) {
        let Some(entry) = self.entries.get(&key) else { return };
        let until = now + reachable;
        let mac = match &entry.state {
            State::Reachable { until: held, .. } if now + reachable / 2 < *held => return,
            State::Reachable { mac, .. }
            | State::Stale { mac }
            | State::Delay { mac, .. }
            | State::Probe { mac, .. } => *mac,
            State::Incomplete { .. } | State::Failed { .. } | State::Fixed { .. } => return,
        };
        self.replace(key, Entry::new(State::Reachable { mac, until }, now));
    }

    /// Keeps a datagram until its next hop answers, and says how many others went for it: the
    /// oldest goes when too many wait (RFC 1122 §2.3.2.2 wants the latest kept).
    pub(crate) fn hold(
        &mut self,
        key: NeighborKey,
        limit: usize,
        datagram: PendingDatagram,
    ) -> Result<usize, DropReason> {
        let Some(Entry { state: State::Incomplete { pending, .. }, .. }) =
            self.entries.get_mut(&key)
        else {
            return Err(DropReason::NeighborUnresolved);
        };
        let mut dropped = 0;
        while !pending.is_empty() && pending.len() >= limit {
            let oldest = pending.pop_front();
            self.pending_bytes -= oldest.as_ref().map_or(0, bytes_of);
            dropped += 1;
        }
        let bytes = bytes_of(&datagram);
        if limit == 0 || self.pending_bytes + bytes > PENDING_BYTES {
            return Err(DropReason::NeighborUnresolved);
        }
        self.pending_bytes += bytes;
        pending.push_back(datagram);
        Ok(dropped)
    }

    /// Does any entry hold a datagram?
    pub(crate) fn holds_any(&self) -> bool {
        self.entries.values().any(|entry| {
            matches!(&entry.state, State::Incomplete { pending, .. } if !pending.is_empty())
        })
    }

    /// The first frame that waits for a neighbor.
    pub(crate) fn first_pending(&self, key: NeighborKey) -> Option<&[u8]> {
        match &self.entries.get(&key)?.state {
            State::Incomplete { pending, .. } => Some(pending.front()?.first()?.bytes.as_slice()),
            _ => None,
        }
    }

    /// A neighbor named its link address. An answered question makes it `reachable` for so long.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        limit: usize,
        key: NeighborKey,
        mac: MacAddr,
        claim: Claim,
        reachable: Duration,
    ) -> Learned {
        let Some(entry) = self.entries.get(&key) else {
            if claim != Claim::RequestForUs || self.entries.len() >= limit {
                return Learned::Ignored;
            }
            self.put(key, Entry::new(State::Stale { mac }, now));
            return Learned::Noted;
        };
        let confirmed = State::Reachable { mac, until: now + reachable };
        let held_since = entry.updated;
        match &entry.state {
            State::Fixed { .. } => Learned::Ignored,
            State::Incomplete { .. } => {
                let answered = claim == Claim::Reply;
                let state = if answered { confirmed } else { State::Stale { mac } };
                Learned::Resolved(self.replace(key, Entry::new(state, now)))
            }
            State::Failed { .. } => {
                self.replace(key, Entry::new(State::Stale { mac }, now));
                Learned::Noted
            }
            State::Probe { mac: held, .. } if *held == mac && claim == Claim::Reply => {
                self.replace(key, Entry::new(confirmed, now));
                Learned::Noted
            }
            State::Probe { .. } => Learned::Ignored,
            State::Reachable { mac: held, .. }
            | State::Stale { mac: held }
            | State::Delay { mac: held, .. } => {
                if *held == mac {
                    return if claim == Claim::Reply { Learned::Ignored } else { Learned::Noted };
                }
                let held = *held;
                if now < held_since + CONFIRMED_HOLD {
                    return Learned::Ignored;
                }
                // One question only: who moved to another link address waits no longer than that.
                self.begin_probing(now, key, held, TRIES);
                Learned::Contested(held)
            }
        }
    }

    /// Does what is due of one entry; call until it gives `None`.
    pub(crate) fn expire(&mut self, now: Instant, limit: usize) -> Option<Due> {
        let (deadline, key) = *self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        let Entry { state, updated, used, payer, .. } = self.take(key)?;
        let ask_again = now + ASK_INTERVAL;
        let (state, due) = match state {
            State::Incomplete { tries, pending, .. } if tries < TRIES => {
                (State::Incomplete { tries: tries + 1, ask_again, pending }, Due::Ask(key))
            }
            State::Incomplete { pending, .. } => {
                (State::Failed { until: now + FAILED_HOLD }, Due::Failed(key, pending))
            }
            State::Delay { mac, .. } => {
                (State::Probe { mac, tries: 1, ask_again }, Due::Probe(key, mac))
            }
            State::Probe { mac, tries, .. } if tries < TRIES => {
                (State::Probe { mac, tries: tries + 1, ask_again }, Due::Probe(key, mac))
            }
            // It does not answer any more: perhaps another has the address now.
            State::Probe { .. } if self.incomplete < limit.div_ceil(INCOMPLETE_SHARE) => {
                let pending = VecDeque::new();
                (State::Incomplete { tries: 1, ask_again, pending }, Due::Ask(key))
            }
            State::Reachable { mac, .. } => (State::Stale { mac }, Due::Aged),
            // Forgotten: whoever needs it asks everybody.
            State::Probe { .. } | State::Failed { .. } => return Some(Due::Aged),
            // These have no deadline.
            State::Stale { .. } | State::Fixed { .. } => (state, Due::Aged),
        };
        self.put(key, Entry { state, updated, since: now, used, payer });
        Some(due)
    }

    fn begin_asking(
        &mut self,
        now: Instant,
        limit: usize,
        key: NeighborKey,
        payer: Payer,
    ) -> Lookup {
        let left = limit.div_ceil(INCOMPLETE_SHARE).saturating_sub(self.incomplete);
        // A user has at most as many questions open as others could still open: who scans a network leaves
        // half of the room to the next, and that one half of the rest.
        let most = if payer.is_some() { left } else { usize::MAX };
        if left == 0 || self.shares.incomplete_of(payer) >= most {
            return Lookup::Full;
        }
        if !self.entries.contains_key(&key) && !self.make_room(limit) {
            return Lookup::Full;
        }
        let ask_again = now + ASK_INTERVAL;
        let state = State::Incomplete { tries: 1, ask_again, pending: VecDeque::new() };
        self.replace(key, Entry { payer, ..Entry::new(state, now) });
        Lookup::Ask
    }

    /// `tries`: how many of the questions count as put already, this one included.
    fn begin_probing(&mut self, now: Instant, key: NeighborKey, mac: MacAddr, tries: u8) {
        self.change(now, key, State::Probe { mac, tries, ask_again: now + ASK_INTERVAL });
    }

    /// Another state on the same grounds.
    fn change(&mut self, now: Instant, key: NeighborKey, state: State) {
        if let Some(entry) = self.take(key) {
            self.put(key, Entry { state, since: now, ..entry });
        }
    }

    /// Puts an entry on another account.
    fn charge(&mut self, key: NeighborKey, payer: Payer) {
        if let Some(entry) = self.take(key) {
            self.put(key, Entry { payer, ..entry });
        }
    }

    /// Lets the oldest unconfirmed entry of the largest account go if there is no room, or the oldest
    /// confirmed one.
    fn make_room(&mut self, limit: usize) -> bool {
        while self.entries.len() >= limit {
            let Some(key) = self.shares.first_to_go() else { return false };
            self.take(key);
        }
        true
    }

    /// Puts an entry in the place of another, and gives the datagrams that waited for that. It is on the
    /// same account if nobody else's is given.
    fn replace(&mut self, key: NeighborKey, entry: Entry) -> VecDeque<PendingDatagram> {
        let before = self.take(key);
        let used = before.as_ref().map_or(entry.used, |before| before.used);
        let payer = entry.payer.or(before.as_ref().and_then(|before| before.payer));
        self.put(key, Entry { used, payer, ..entry });
        match before {
            Some(Entry { state: State::Incomplete { pending, .. }, .. }) => pending,
            _ => VecDeque::new(),
        }
    }

    fn put(&mut self, key: NeighborKey, entry: Entry) {
        if let Some(deadline) = entry.state.deadline() {
            self.deadlines.insert((deadline, key));
        }
        self.shares.put(key, &entry);
        if let State::Incomplete { pending, .. } = &entry.state {
            self.incomplete += 1;
            self.pending_bytes += pending.iter().map(bytes_of).sum::<usize>();
        }
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: NeighborKey) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        if let Some(deadline) = entry.state.deadline() {
            self.deadlines.remove(&(deadline, key));
        }
        self.shares.take(key, &entry);
        if let State::Incomplete { pending, .. } = &entry.state {
            self.incomplete -= 1;
            self.pending_bytes -= pending.iter().map(bytes_of).sum::<usize>();
        }
        Some(entry)
    }
}

fn bytes_of(datagram: &PendingDatagram) -> usize {
    datagram.iter().map(|frame| frame.bytes.len()).sum()
}

#[cfg(test)]
mod tests;
