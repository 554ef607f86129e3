//! A rule: steps, taken in order until one says no or decides.

use super::{
    field::Field,
    ranges::Ranges,
    state::{CounterId, LimitId, QuotaId},
};
use core::time::Duration;
use narrows_wire::icmpv4::Unreachable;

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
    /// mark = mark & `and` ^ `xor`.
    SetMark {
        and: u32,
        xor: u32,
    },
    /// The mark that a map has for the fields; goes on without if it has none.
    MapMark {
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
    Verdict(Verdict),
    Reject(Reject),
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
