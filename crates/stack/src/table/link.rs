//! How interfaces stand upon each other. Invariant: following `lower` or a bond's members or a
//! bridge's ports downwards ends at devices after at most [`MAX_DEPTH`] steps, and an interface has
//! at most one master.
//!
//! ```text
//!     lan.100                 a VLAN: tags what it sends, has a tag's frames
//!        │ lower
//!      bond0                  a bond: several links as one
//!      ╱   ╲ members          (they have it as their master)
//!   eth1   eth2               devices
//! ```
//!
//! What a bond or a bridge knows lives in [`LinkKind`], so there is no bond's state without a bond.

use crate::{
    request::Error,
    table::{bond::Bond, bridge::Bridge, interface::InterfaceId},
    time::Instant,
};
use narrows_wire::{address::MacAddr, vlan::Tag};
use std::collections::BTreeMap;

/// Levels of interfaces upon each other: a VLAN in a VLAN on a bridge on a bond is four; more says
/// that somebody is building by mistake.
pub const MAX_DEPTH: usize = 8;

/// What an interface is.
#[derive(Clone, Debug)]
pub enum LinkKind {
    /// A device carries its frames (for the loopback: nobody).
    Device,
    /// The frames of `lower` that have this tag.
    Vlan {
        lower: InterfaceId,
        tag: Tag,
    },
    Bond(Box<Bond>),
    Bridge(Box<Bridge>),
    /// The members of a private zone are all there is on it: its frames go nowhere.
    Private,
}

/// Set by the operator; `None`: as what it stands upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    pub mac: Option<MacAddr>,
    pub mtu: Option<u16>,
}

/// What passed an interface since it was made. A frame that stands for several segments counts once,
/// as it does in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    /// Frames from its device that went no further, whatever for.
    pub rx_dropped: u64,
    pub rx_multicast: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// Frames that its device had no room or no means for.
    pub tx_dropped: u64,
}

impl Traffic {
    pub(crate) fn received(&mut self, bytes: usize, multicast: bool) {
        self.rx_packets += 1;
        self.rx_bytes += bytes as u64;
        self.rx_multicast += u64::from(multicast);
    }

    pub(crate) fn sent(&mut self, packets: u64, bytes: u64) {
        self.tx_packets += packets;
        self.tx_bytes += bytes;
    }
}

#[derive(Clone, Debug)]
pub struct Link {
    pub kind: LinkKind,
    /// The bond or bridge it is part of.
    pub master: Option<InterfaceId>,
    /// The VLANs on it.
    pub vlans: BTreeMap<Tag, InterfaceId>,
    /// Set up by the operator: nothing passes an interface that is not.
    pub up: bool,
    /// Of a device: is something at the other end of its wire?
    pub carrier: bool,
    /// Takes frames for other stations too.
    pub promiscuous: bool,
    /// What the operator set for it, rather than leave it to what is below.
    pub own: Own,
    /// Interfaces of one number are named together by routes and filters; 0: the default.
    pub group: u32,
    pub traffic: Traffic,
}

impl Link {
    fn new(kind: LinkKind) -> Self {
        Self {
            kind,
            master: None,
            vlans: BTreeMap::new(),
            up: true,
            carrier: true,
            promiscuous: false,
            own: Own::default(),
            group: 0,
            traffic: Traffic::default(),
        }
    }

    /// Does a device carry its frames as they are?
    pub fn is_device(&self) -> bool {
        matches!(self.kind, LinkKind::Device)
    }

    pub fn bond(&self) -> Option<&Bond> {
        match &self.kind {
            LinkKind::Bond(bond) => Some(bond),
            _ => None,
        }
    }

    pub fn bridge(&self) -> Option<&Bridge> {
        match &self.kind {
            LinkKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }
}

/// By interface.
#[derive(Clone, Debug)]
pub struct LinkTable {
    links: Vec<Option<Link>>,
}

impl Default for LinkTable {
    fn default() -> Self {
        Self::new()
    }
}

impl LinkTable {
    /// The loopback alone.
    pub fn new() -> Self {
        Self { links: vec![Some(Link::new(LinkKind::Device))] }
    }

    pub fn get(&self, id: InterfaceId) -> Option<&Link> {
        self.links.get(usize::from(id.0))?.as_ref()
    }

    pub fn get_mut(&mut self, id: InterfaceId) -> Option<&mut Link> {
        self.links.get_mut(usize::from(id.0))?.as_mut()
    }

    pub fn iter(&self) -> impl Iterator<Item = (InterfaceId, &Link)> {
        let numbered = (0u16..).zip(&self.links);
        numbered.filter_map(|(index, link)| Some((InterfaceId(index), link.as_ref()?)))
    }

    pub fn bond_mut(&mut self, id: InterfaceId) -> Option<&mut Bond> {
        match &mut self.get_mut(id)?.kind {
            LinkKind::Bond(bond) => Some(bond),
            _ => None,
        }
    }

    pub fn bridge_mut(&mut self, id: InterfaceId) -> Option<&mut Bridge> {
        match &mut self.get_mut(id)?.kind {
            LinkKind::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    /// An interface of that kind, without members. [`Error::NoSuchInterface`]: what a VLAN is to
    /// stand on. [`Error::InUse`]: it has that VLAN already. [`Error::LimitReached`]: [`MAX_DEPTH`].
    pub fn add(&mut self, id: InterfaceId, kind: LinkKind) -> Result<(), Error> {
        if let LinkKind::Vlan { lower, tag } = kind {
            if lower == InterfaceId::LOOPBACK {
                return Err(Error::InvalidArgument);
            }
            let depth = self.depth(lower);
            let below = self.get_mut(lower).ok_or(Error::NoSuchInterface)?;
            if depth >= MAX_DEPTH {
                return Err(Error::LimitReached);
            }
            if below.vlans.contains_key(&tag) {
                return Err(Error::InUse);
            }
            below.vlans.insert(tag, id);
        }
        let index = usize::from(id.0);
        if self.links.len() <= index {
            self.links.resize_with(index + 1, || None);
        }
        if let Some(place) = self.links.get_mut(index) {
            *place = Some(Link::new(kind));
        }
        Ok(())
    }

    /// May `member` become part of `master`? [`Error::InUse`]: it is part of one already.
    /// [`Error::LinkLoop`]: it stands
    /// upon `master`. [`Error::InvalidArgument`]: it is the loopback,
    /// or `master` neither a bond nor a bridge. [`Error::LimitReached`]: [`MAX_DEPTH`].
    pub fn may_enslave(&self, member: InterfaceId, master: InterfaceId) -> Result<(), Error> {
        let link = self.get(member).ok_or(Error::NoSuchInterface)?;
        let above = self.get(master).ok_or(Error::NoSuchInterface)?;
        if member == InterfaceId::LOOPBACK || (above.bond().is_none() && above.bridge().is_none()) {
            return Err(Error::InvalidArgument);
        }
        if link.master.is_some() {
            return Err(Error::InUse);
        }
        if self.at_and_above(master).contains(&member) {
            return Err(Error::LinkLoop);
        }
        let depth = self.depth(member) + 1 + self.height(master);
        if depth > MAX_DEPTH { Err(Error::LimitReached) } else { Ok(()) }
    }

    /// Takes an interface out that nothing stands upon and that is part of nothing; else
    /// [`Error::InUse`].
    pub fn remove(&mut self, id: InterfaceId) -> Result<(), Error> {
        let link = self.get(id).ok_or(Error::NoSuchInterface)?;
        let empty = self.members(id).next().is_none();
        if link.master.is_some() || !link.vlans.is_empty() || !empty {
            return Err(Error::InUse);
        }
        if let LinkKind::Vlan { lower, tag } = link.kind
            && let Some(below) = self.get_mut(lower)
        {
            below.vlans.remove(&tag);
        }
        if let Some(place) = self.links.get_mut(usize::from(id.0)) {
            *place = None;
        }
        Ok(())
    }

    /// The members of a bond or the ports of a bridge, in the order they were added.
    pub fn members(&self, id: InterfaceId) -> impl Iterator<Item = InterfaceId> + '_ {
        let (members, ports) = match self.get(id).map(|link| &link.kind) {
            Some(LinkKind::Bond(bond)) => (Some(bond.members()), None),
            Some(LinkKind::Bridge(bridge)) => (None, Some(bridge.ports())),
            _ => (None, None),
        };
        members.into_iter().flatten().chain(ports.into_iter().flatten())
    }

    /// What an interface stands upon directly.
    pub fn below(&self, id: InterfaceId) -> impl Iterator<Item = InterfaceId> + '_ {
        let lower = match self.get(id).map(|link| &link.kind) {
            Some(LinkKind::Vlan { lower, .. }) => Some(*lower),
            _ => None,
        };
        lower.into_iter().chain(self.members(id))
    }

    /// What stands upon an interface directly: its master and its VLANs.
    pub fn above(&self, id: InterfaceId) -> impl Iterator<Item = InterfaceId> + '_ {
        let link = self.get(id);
        let vlans = link.map(|link| link.vlans.values().copied());
        link.and_then(|link| link.master).into_iter().chain(vlans.into_iter().flatten())
    }

    /// The interface itself, and all that stands upon it.
    pub fn at_and_above(&self, id: InterfaceId) -> Vec<InterfaceId> {
        let mut found = vec![id];
        let mut at = 0;
        while let Some(next) = found.get(at).copied() {
            let above: Vec<_> = self.above(next).filter(|id| !found.contains(id)).collect();
            found.extend(above);
            at += 1;
        }
        found
    }

    /// Levels from an interface down to the devices, itself included.
    fn depth(&self, id: InterfaceId) -> usize {
        1 + self.below(id).map(|below| self.depth(below)).max().unwrap_or(0)
    }

    /// Levels above an interface.
    fn height(&self, id: InterfaceId) -> usize {
        self.above(id).map(|above| 1 + self.height(above)).max().unwrap_or(0)
    }

    /// When a bond or a bridge next has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        let timeouts = self.links.iter().flatten().filter_map(|link| match &link.kind {
            LinkKind::Bond(bond) => bond.next_timeout(),
            LinkKind::Bridge(bridge) => bridge.next_timeout(),
            LinkKind::Device | LinkKind::Vlan { .. } | LinkKind::Private => None,
        });
        timeouts.min()
    }

    /// Can frames reach a wire? An interface on others can if one of them can.
    pub fn is_running(&self, id: InterfaceId) -> bool {
        let Some(link) = self.get(id) else { return false };
        link.up
            && match &link.kind {
                LinkKind::Device => link.carrier,
                LinkKind::Private => true,
                LinkKind::Vlan { lower, .. } => self.is_running(*lower),
                LinkKind::Bond(bond) => bond.is_running(),
                LinkKind::Bridge(bridge) => bridge.ports().any(|port| self.is_running(port)),
            }
    }
}
