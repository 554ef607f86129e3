//! Groups of packet sockets of which one gets each frame (PACKET_FANOUT). Invariant: a group has a
//! member, and all members are of one principal and hear the same.

use crate::request::{Error, Principal, SocketId};
use std::collections::BTreeMap;

/// Groups of a shard, and members of a group: Linux's numbers are 65,536 and 256 by default.
const MAX_GROUPS: usize = 1024;
const MAX_MEMBERS: usize = 256;

/// How the member is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FanoutMode {
    /// By the flow's hash.
    Hash,
    /// One after the other.
    RoundRobin,
    /// By the CPU that received it. A shard is one, so this is always the first.
    Cpu,
    /// The first whose queue has room.
    Rollover,
    Random,
}

/// What all members of a group have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanoutKind {
    pub mode: FanoutMode,
    /// If the chosen one has no room, the next one that has.
    pub rollover: bool,
}

#[derive(Debug)]
struct Group {
    kind: FanoutKind,
    principal: Principal,
    members: Vec<SocketId>,
    next: usize,
}

#[derive(Debug, Default)]
pub struct Fanouts {
    groups: BTreeMap<u16, Group>,
}

/// A user's programs share, of whatever group they are, if they are in the same zones.
fn of_one(one: Principal, other: Principal) -> bool {
    (one.uid, one.admission) == (other.uid, other.admission)
}

impl Fanouts {
    /// [`Error::InvalidArgument`]: the group is of another kind, or another principal's.
    /// [`Error::LimitReached`].
    pub fn join(
        &mut self,
        id: u16,
        kind: FanoutKind,
        principal: Principal,
        socket: SocketId,
    ) -> Result<(), Error> {
        if !self.groups.contains_key(&id) && self.groups.len() >= MAX_GROUPS {
            return Err(Error::LimitReached);
        }
        let new = Group { kind, principal, members: Vec::new(), next: 0 };
        let group = self.groups.entry(id).or_insert(new);
        if group.kind != kind || !of_one(group.principal, principal) {
            return Err(Error::InvalidArgument);
        }
        if group.members.len() >= MAX_MEMBERS {
            return Err(Error::LimitReached);
        }
        group.members.push(socket);
        Ok(())
    }

    /// A number that no group has.
    pub fn unused(&self) -> Option<u16> {
        (1..=u16::MAX).find(|id| !self.groups.contains_key(id))
    }

    /// Some member, which hears what all do.
    pub fn any_member(&self, id: u16) -> Option<SocketId> {
        self.groups.get(&id)?.members.first().copied()
    }

    pub fn leave(&mut self, id: u16, socket: SocketId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        group.members.retain(|member| *member != socket);
        if group.members.is_empty() {
            self.groups.remove(&id);
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = u16> {
        self.groups.keys().copied()
    }

    /// The member that gets a frame: `hash` is its flow's, `has_room` says whose queue takes it.
    pub fn choose(
        &mut self,
        id: u16,
        hash: u64,
        random: u32,
        has_room: impl Fn(SocketId) -> bool,
    ) -> Option<SocketId> {
        let group = self.groups.get_mut(&id)?;
        let count = group.members.len();
        let first = match group.kind.mode {
            FanoutMode::Hash => (hash % count.max(1) as u64) as usize,
            FanoutMode::RoundRobin => {
                let next = group.next;
                group.next = next.wrapping_add(1);
                next % count.max(1)
            }
            FanoutMode::Cpu => 0,
            FanoutMode::Rollover => group.next % count.max(1),
            FanoutMode::Random => random as usize % count.max(1),
        };
        let rolls = group.kind.rollover || group.kind.mode == FanoutMode::Rollover;
        let from_first = || group.members.iter().cycle().skip(first).take(count).copied();
        let chosen = from_first().enumerate().find(|(_, member)| !rolls || has_room(*member));
        let (steps, chosen) = chosen.or_else(|| from_first().enumerate().next())?;
        if group.kind.mode == FanoutMode::Rollover {
            group.next = first + steps;
        }
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(slot: u32) -> SocketId {
        SocketId { slot, generation: 1 }
    }

    fn who(uid: u32) -> Principal {
        Principal { uid, ..Principal::default() }
    }

    fn group(mode: FanoutMode, rollover: bool) -> Fanouts {
        let mut fanouts = Fanouts::default();
        for slot in 0..3 {
            let kind = FanoutKind { mode, rollover };
            fanouts.join(7, kind, who(1), socket(slot)).expect("room");
        }
        fanouts
    }

    fn chosen(fanouts: &mut Fanouts, full: &[u32]) -> Vec<u32> {
        (0..6)
            .map(|turn| {
                let room = |id: SocketId| !full.contains(&id.slot);
                fanouts.choose(7, turn, turn as u32 + 1, room).expect("a member").slot
            })
            .collect()
    }

    #[test]
    fn each_mode_chooses_as_it_says() {
        for (mode, rollover, full, expected) in [
            (FanoutMode::Hash, false, &[][..], [0, 1, 2, 0, 1, 2]),
            (FanoutMode::Hash, false, &[1], [0, 1, 2, 0, 1, 2]),
            (FanoutMode::Hash, true, &[1], [0, 2, 2, 0, 2, 2]),
            (FanoutMode::RoundRobin, false, &[], [0, 1, 2, 0, 1, 2]),
            (FanoutMode::Cpu, false, &[0], [0; 6]),
            (FanoutMode::Cpu, true, &[0, 1], [2; 6]),
            (FanoutMode::Rollover, false, &[], [0; 6]),
            (FanoutMode::Rollover, false, &[0], [1; 6]),
            (FanoutMode::Rollover, false, &[0, 1, 2], [0; 6]),
            (FanoutMode::Random, false, &[], [1, 2, 0, 1, 2, 0]),
        ] {
            let mut fanouts = group(mode, rollover);
            assert_eq!(chosen(&mut fanouts, full), expected, "{mode:?} {rollover} {full:?}");
        }
    }

    #[test]
    fn a_group_is_of_one_kind_and_one_principal_and_ends_with_its_members() {
        let mut fanouts = group(FanoutMode::Hash, false);
        let other = FanoutKind { mode: FanoutMode::Hash, rollover: true };
        let same = FanoutKind { rollover: false, ..other };
        let refused = Err(Error::InvalidArgument);
        assert_eq!(fanouts.join(7, other, who(1), socket(9)), refused);
        assert_eq!(fanouts.join(7, same, who(2), socket(9)), refused);
        assert_eq!(fanouts.unused(), Some(1));
        (0..3).for_each(|slot| fanouts.leave(7, socket(slot)));
        assert_eq!(fanouts.any_member(7), None);
        assert_eq!(fanouts.join(7, other, who(2), socket(9)), Ok(()));
    }
}
