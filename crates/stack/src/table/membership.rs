//! Which groups sockets have joined on which interfaces, and from whom they want to hear there.
//! Invariant: an interface's filter for a group is what the filters of its sockets add up to
//! (RFC 3376 §3.2); no list is longer than its limit.
//!
//! A socket is a member with a [`Filter`]: of everybody but some, or of some alone. Not being a
//! member is the same as wanting nobody.

use crate::{
    config::Limits,
    request::{Error, SocketId},
    table::interface::InterfaceId,
};
use core::net::Ipv4Addr;
use narrows_wire::address::MacAddr;
use std::collections::{BTreeMap, BTreeSet};

/// A group on the link of an interface.
pub type GroupKey = (InterfaceId, Ipv4Addr);

/// RFC 1112 §4: every host is a member, without saying so.
pub const ALL_SYSTEMS: Ipv4Addr = narrows_wire::igmp::ALL_SYSTEMS;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilterMode {
    /// Only the sources listed.
    Include,
    /// All but the sources listed.
    Exclude,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub mode: FilterMode,
    pub sources: BTreeSet<Ipv4Addr>,
}

impl Filter {
    /// Of who is no member.
    pub const NOBODY: Self = Self { mode: FilterMode::Include, sources: BTreeSet::new() };
    /// Of who joined without further words.
    pub const EVERYBODY: Self = Self { mode: FilterMode::Exclude, sources: BTreeSet::new() };

    pub fn admits(&self, source: Ipv4Addr) -> bool {
        (self.mode == FilterMode::Include) == self.sources.contains(&source)
    }

    pub fn is_nobody(&self) -> bool {
        self.mode == FilterMode::Include && self.sources.is_empty()
    }

    /// What several add up to (RFC 3376 §3.2).
    fn merge<'a>(filters: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |mode| filters.clone().filter(move |filter| filter.mode == mode);
        let wanted = of(FilterMode::Include).flat_map(|filter| &filter.sources).copied();
        let mut excluding = of(FilterMode::Exclude);
        let Some(first) = excluding.next() else {
            let sources: BTreeSet<_> = wanted.collect();
            return match sources.len() {
                0..=MAX_MERGED => Self { mode: FilterMode::Include, sources },
                _ => Self::EVERYBODY,
            };
        };
        let mut sources = first.sources.clone();
        for filter in excluding {
            sources.retain(|source| filter.sources.contains(source));
        }
        for source in wanted {
            sources.remove(&source);
        }
        Self { mode: FilterMode::Exclude, sources }
    }
}

/// What a program asks of one membership of its socket (RFC 3678 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// Everybody's packets (IP_ADD_MEMBERSHIP).
    Join,
    Leave,
    /// Packets of one source more (IP_ADD_SOURCE_MEMBERSHIP).
    JoinSource(Ipv4Addr),
    /// The last one ends the membership.
    LeaveSource(Ipv4Addr),
    /// Everybody's but also not this one's (IP_BLOCK_SOURCE).
    Block(Ipv4Addr),
    Unblock(Ipv4Addr),
    /// The whole filter anew (IP_MSFILTER).
    Set(Filter),
}

/// What became of the interface's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub key: GroupKey,
    pub before: Filter,
    pub after: Filter,
}

#[derive(Debug)]
struct Group {
    members: BTreeMap<SocketId, Filter>,
    merged: Filter,
}

/// Sources of an interface's filter, over all its sockets: what one report can list. With more the
/// link is asked for everybody's packets, and only the sockets' own filters choose.
const MAX_MERGED: usize = 256;

#[derive(Debug, Default)]
pub struct MembershipTable {
    groups: BTreeMap<GroupKey, Group>,
    joined: BTreeMap<SocketId, BTreeSet<GroupKey>>,
    /// How many of the groups share a link address.
    macs: BTreeMap<(InterfaceId, MacAddr), usize>,
}

impl MembershipTable {
    /// Errors are Linux's: [`Error::AddressInUse`]: a member already. [`Error::AddressNotAvailable`]:
    /// no such member, or source. [`Error::InvalidArgument`]: a change for the other mode.
    pub(crate) fn change(
        &mut self,
        limits: &Limits,
        socket: SocketId,
        key: GroupKey,
        change: &MembershipChange,
    ) -> Result<Transition, Error> {
        let held = self.groups.get(&key).and_then(|group| group.members.get(&socket));
        let filter = changed(held, change)?;
        if filter.sources.len() > limits.multicast_sources {
            return Err(Error::LimitReached);
        }
        // Joining without a source yet is no membership for the network, but one of the socket.
        let leaves = filter.is_nobody() && !matches!(change, MembershipChange::Set(_));
        if held.is_none() && !leaves {
            let joined = self.joined.get(&socket).map_or(0, BTreeSet::len);
            let known = self.groups.contains_key(&key);
            if joined >= limits.multicast_groups_per_socket
                || !known && self.groups.len() >= limits.multicast_groups
            {
                return Err(Error::LimitReached);
            }
        }
        Ok(self.put(socket, key, (!leaves).then_some(filter)))
    }

    /// A socket is gone.
    pub(crate) fn forget(&mut self, socket: SocketId) -> Vec<Transition> {
        let keys = self.joined.get(&socket).cloned().unwrap_or_default();
        keys.into_iter().map(|key| self.put(socket, key, None)).collect()
    }

    /// An interface is gone.
    pub(crate) fn remove_interface(&mut self, interface: InterfaceId) {
        self.groups.retain(|(at, _), _| *at != interface);
        self.macs.retain(|(at, _), _| *at != interface);
        for keys in self.joined.values_mut() {
            keys.retain(|(at, _)| *at != interface);
        }
        self.joined.retain(|_, keys| !keys.is_empty());
    }

    /// The socket's membership that a program means: on that interface, or the first there is.
    pub(crate) fn find(
        &self,
        socket: SocketId,
        interface: Option<InterfaceId>,
        group: Ipv4Addr,
    ) -> Option<GroupKey> {
        let mut keys = self.joined.get(&socket)?.iter();
        let is_meant = |key: &&GroupKey| key.1 == group && interface.is_none_or(|at| at == key.0);
        keys.find(is_meant).copied()
    }

    /// Does anybody here want packets for the group from there? Asked before a socket is looked for.
    pub fn wants(&self, interface: InterfaceId, group: Ipv4Addr, source: Ipv4Addr) -> bool {
        group == ALL_SYSTEMS
            || self.groups.get(&(interface, group)).is_some_and(|found| found.merged.admits(source))
    }

    /// Is that the link address of a group joined on the interface?
    pub fn takes(&self, interface: InterfaceId, mac: MacAddr) -> bool {
        mac == MacAddr::of_group(ALL_SYSTEMS) || self.macs.contains_key(&(interface, mac))
    }

    /// What a socket says of packets for the group; `None`: it is no member.
    pub fn admits(
        &self,
        socket: SocketId,
        interface: InterfaceId,
        group: Ipv4Addr,
        source: Ipv4Addr,
    ) -> Option<bool> {
        let filter = self.groups.get(&(interface, group))?.members.get(&socket)?;
        Some(filter.admits(source))
    }

    /// The groups joined on an interface, with how many sockets, and from whom.
    pub fn of(
        &self,
        interface: InterfaceId,
    ) -> impl Iterator<Item = (Ipv4Addr, usize, &Filter)> + '_ {
        let all = (interface, Ipv4Addr::UNSPECIFIED)..=(interface, Ipv4Addr::BROADCAST);
        let groups = self.groups.range(all);
        groups.map(|((_, group), found)| (*group, found.members.len(), &found.merged))
    }

    pub fn filter(&self, key: GroupKey) -> &Filter {
        self.groups.get(&key).map_or(const { &Filter::NOBODY }, |group| &group.merged)
    }

    /// Sets what a socket wants; `None`: it leaves.
    fn put(&mut self, socket: SocketId, key: GroupKey, filter: Option<Filter>) -> Transition {
        let before = self.filter(key).clone();
        let mac = (key.0, MacAddr::of_group(key.1));
        if !self.groups.contains_key(&key) {
            *self.macs.entry(mac).or_default() += 1;
        }
        let empty = || Group { members: BTreeMap::new(), merged: Filter::NOBODY };
        let group = self.groups.entry(key).or_insert_with(empty);
        let keys = self.joined.entry(socket).or_default();
        match filter {
            Some(filter) => {
                group.members.insert(socket, filter);
                keys.insert(key);
            }
            None => {
                group.members.remove(&socket);
                keys.remove(&key);
            }
        }
        group.merged = Filter::merge(group.members.values());
        let after = group.merged.clone();
        if group.members.is_empty() {
            self.groups.remove(&key);
            match self.macs.get_mut(&mac) {
                Some(groups) if *groups > 1 => *groups -= 1,
                _ => {
                    self.macs.remove(&mac);
                }
            }
        }
        if keys.is_empty() {
            self.joined.remove(&socket);
        }
        Transition { key, before, after }
    }
}

/// The filter that a change makes of one that is held.
fn changed(held: Option<&Filter>, change: &MembershipChange) -> Result<Filter, Error> {
    let member = || held.cloned().ok_or(Error::AddressNotAvailable);
    let of = |mode| {
        let filter = member()?;
        if filter.mode == mode { Ok(filter) } else { Err(Error::InvalidArgument) }
    };
    let insert = |mut filter: Filter, source| match filter.sources.insert(source) {
        true => Ok(filter),
        false => Err(Error::AddressNotAvailable),
    };
    let remove = |mut filter: Filter, source| match filter.sources.remove(source) {
        true => Ok(filter),
        false => Err(Error::AddressNotAvailable),
    };
    match change {
        MembershipChange::Join if held.is_some() => Err(Error::AddressInUse),
        MembershipChange::Join => Ok(Filter::EVERYBODY),
        MembershipChange::Leave => member().map(|_| Filter::NOBODY),
        MembershipChange::JoinSource(source) if held.is_none() => insert(Filter::NOBODY, *source),
        MembershipChange::JoinSource(source) => insert(of(FilterMode::Include)?, *source),
        MembershipChange::LeaveSource(source) => remove(of(FilterMode::Include)?, source),
        MembershipChange::Block(source) => insert(of(FilterMode::Exclude)?, *source),
        MembershipChange::Unblock(source) => remove(of(FilterMode::Exclude)?, source),
        MembershipChange::Set(filter) => Ok(filter.clone()),
    }
}

#[cfg(test)]
mod tests;
