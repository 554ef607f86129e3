//! A rule: steps, taken in order until one says no or decides.

use super::{
    field::Field,
    ranges::Ranges,
    state::{CounterId, LimitId, QuotaId},
};
use core::{net::Ipv4Addr, time::Duration};
use narrows_wire::{icmpv4::Unreachable, rewrite::End};

/// The place of a chain in its [`super::Filter`].
pub type ChainId = usize;
/// The place of a set.
pub type SetId = usize;

/// The most fields that are looked up as one.
pub const MAX_KEY: usize = 8;

#[derive(Clone, Debug, Default)]
pub struct Rule {
    pub steps: Box<[Step]>,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// Goes on if the field, less the bits that are not in `mask`, is in `ranges`; or is not.
    Match {
        field: Field,
        mask: u128,
        ranges: Ranges,
        negate: bool,
    },
    /// Goes on if two fields are as `equal` says.
    Compare {
        field: Field,
        other: Field,
        equal: bool,
    },
    /// Goes on if the fields are in a set; or are not.
    Lookup {
        key: Box<[Field]>,
        set: SetId,
        negate: bool,
    },
    /// Does what the map says; goes on if it says nothing.
    VerdictMap {
        key: Box<[Field]>,
        map: SetId,
    },
    Counter(CounterId),
    /// Goes on as long as (or `over`: once no longer) the rate is kept.
    Limit {
        limit: LimitId,
        over: bool,
    },
    /// Goes on until (or `over`: once) so much has passed.
    Quota {
        quota: QuotaId,
        over: bool,
    },
    Log(u32),
    /// to = from & `and` ^ `xor`.
    SetMark {
        to: Mark,
        from: Mark,
        and: u32,
        xor: u32,
    },
    /// The mark that a map has for the fields; goes on without if it has none.
    MapMark {
        to: Mark,
        key: Box<[Field]>,
        map: SetId,
    },
    /// Adds the fields to a set; `refresh`: an element that is there begins anew. Goes on unless the
    /// set is full.
    Add {
        key: Box<[Field]>,
        set: SetId,
        timeout: Option<Duration>,
        refresh: bool,
    },
    Delete {
        key: Box<[Field]>,
        set: SetId,
    },
    /// The packet is of no flow.
    Untrack,
    /// The packet's flow gets another end, and the packet is accepted.
    Translate(Translate),
    Verdict(Verdict),
    Reject(Reject),
    /// Whoever inspects the queue decides.
    Queue(Queue),
}

/// The queues among which flows are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    pub first: u16,
    pub last: u16,
    /// Where nobody inspects, packets pass.
    pub bypass: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Packet,
    /// Of its flow; nothing is set where it has none.
    Flow,
}

/// `snat`, `dnat`, `masquerade` and `redirect`.
#[derive(Clone, Debug)]
pub struct Translate {
    pub end: End,
    pub to: To,
    pub ports: Option<Ports>,
    pub random: bool,
    pub persistent: bool,
}

#[derive(Clone, Debug)]
pub enum Ports {
    Range(u16, u16),
    /// What a map has for the fields. Goes on with the next rule if it has nothing.
    Map {
        key: Box<[Field]>,
        map: SetId,
    },
}

#[derive(Clone, Debug)]
pub enum To {
    Place(Place),
    /// What a map has for the fields: an address, or (`port`) an address and 16 bits of a port after it.
    /// Goes on with the next rule if it has nothing.
    Map {
        key: Box<[Field]>,
        map: SetId,
        port: bool,
    },
}

/// The address that a flow's end gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// That it has.
    Same,
    Range(Ipv4Addr, Ipv4Addr),
    /// That of the interface by which it leaves.
    Interface,
    /// This host's, where the packet is.
    Here,
}

/// What a rule decided about a flow's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub end: End,
    pub place: Place,
    pub ports: Option<(u16, u16)>,
    pub random: bool,
    pub persistent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ends the base chain well.
    Accept,
    Drop,
    /// The next rule.
    Continue,
    /// Back to after the jump; in a base chain, its policy.
    Return,
    Jump(ChainId),
    /// As a jump from which one returns to where the last jump was.
    Goto(ChainId),
}

/// How a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    Icmp(Unreachable),
    /// A reset; what isn't TCP is dropped.
    TcpReset,
}
