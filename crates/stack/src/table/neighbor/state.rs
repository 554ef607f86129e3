//! What is known of one neighbor, and what follows from that.

use super::{NeighborState, Payer, PendingDatagram, TRIES};
use crate::time::Instant;
use narrows_wire::address::MacAddr;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Asked; datagrams wait for the answer.
    Incomplete { tries: u8, ask_again: Instant, pending: VecDeque<PendingDatagram> },
    /// Answered not long ago.
    Reachable { mac: MacAddr, until: Instant },
    /// Answered long ago, or said so without being asked.
    Stale { mac: MacAddr },
    /// Stale and in use: for a moment the layer above may say that it is there.
    Delay { mac: MacAddr, until: Instant },
    /// In use and asked again, alone.
    Probe { mac: MacAddr, tries: u8, ask_again: Instant },
    /// Did not answer.
    Failed { until: Instant },
    /// Set by the operator: nothing that arrives changes it. Only a permanent one is never let go.
    Fixed { mac: MacAddr, permanent: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub state: State,
    /// When its link address was last learned or confirmed.
    pub updated: Instant,
    /// In this state since.
    pub since: Instant,
    /// When something was last sent to it, or would have been.
    pub used: Instant,
    /// On whose account it is.
    pub payer: Payer,
}

impl Entry {
    /// News of a neighbor, on the host's account.
    pub fn new(state: State, now: Instant) -> Self {
        Self { state, updated: now, since: now, used: now, payer: None }
    }
}

/// Who goes first when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Worth {
    Unconfirmed,
    Confirmed,
}

impl State {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Incomplete { ask_again, .. } | Self::Probe { ask_again, .. } => Some(*ask_again),
            Self::Reachable { until, .. } | Self::Delay { until, .. } | Self::Failed { until } => {
                Some(*until)
            }
            Self::Stale { .. } | Self::Fixed { .. } => None,
        }
    }

    /// `None`: it may not go. Connections wait for the answer of an incomplete one.
    pub(super) fn worth(&self) -> Option<Worth> {
        match self {
            Self::Incomplete { .. } | Self::Fixed { permanent: true, .. } => None,
            Self::Failed { .. } | Self::Stale { .. } | Self::Delay { .. } | Self::Probe { .. } => {
                Some(Worth::Unconfirmed)
            }
            Self::Reachable { .. } | Self::Fixed { permanent: false, .. } => Some(Worth::Confirmed),
        }
    }

    pub(super) fn mac(&self) -> Option<MacAddr> {
        match self {
            Self::Incomplete { .. } | Self::Failed { .. } => None,
            Self::Reachable { mac, .. }
            | Self::Stale { mac }
            | Self::Delay { mac, .. }
            | Self::Probe { mac, .. }
            | Self::Fixed { mac, .. } => Some(*mac),
        }
    }

    /// Questions it was asked and has not answered.
    pub(super) fn probes(&self) -> u8 {
        match self {
            Self::Incomplete { tries, .. } | Self::Probe { tries, .. } => *tries,
            Self::Failed { .. } => TRIES,
            _ => 0,
        }
    }

    pub(super) fn report(&self) -> NeighborState {
        match self {
            Self::Incomplete { .. } => NeighborState::Incomplete,
            Self::Reachable { .. } => NeighborState::Reachable,
            Self::Stale { .. } => NeighborState::Stale,
            Self::Delay { .. } => NeighborState::Delay,
            Self::Probe { .. } => NeighborState::Probe,
            Self::Failed { .. } => NeighborState::Failed,
            Self::Fixed { permanent: true, .. } => NeighborState::Permanent,
            Self::Fixed { permanent: false, .. } => NeighborState::NoArp,
        }
    }
}
