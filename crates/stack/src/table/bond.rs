//! Several links as one (Linux's bonding, IEEE 802.1AX). Invariant: `usable` lists the members that
//! frames may leave by, in their order, and `active` is one of them.
//!
//! | mode | frames leave by | and are taken from |
//! |---|---|---|
//! | active-backup | one member; another when it fails | that one |
//! | balance-xor | the member that a hash of the flow picks | all |
//! | balance-rr | one after the other | all |
//! | 802.3ad | as balance-xor, of the members that LACP agreed on | those |
//!
//! A member is usable while it is running, while ARP monitoring hears it (if that is asked for),
//! and with 802.3ad while its peer is in step. A wire that flaps is believed only after a delay, if
//! that is asked for; while there is no other, at once, as in Linux. Each change of what is usable is
//! an answer of the method that made it; the layer acts on it.

pub mod lacp;
mod monitor;

use crate::{
    table::interface::InterfaceId,
    time::{Duration, Instant},
};
use lacp::Port;
pub use monitor::ArpMonitor;
use narrows_wire::{address::MacAddr, lacp::Lacpdu};

/// Members of one bond: as many as a switch aggregates.
pub const MAX_MEMBERS: usize = 16;

/// How members share the work; named as in Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BondMode {
    #[default]
    RoundRobin,
    ActiveBackup,
    Xor,
    Lacp,
}

impl BondMode {
    pub const ALL: [Self; 4] = [Self::RoundRobin, Self::ActiveBackup, Self::Xor, Self::Lacp];

    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "balance-rr",
            Self::ActiveBackup => "active-backup",
            Self::Xor => "balance-xor",
            Self::Lacp => "802.3ad",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What of a frame decides which member it leaves by; as xmit_hash_policy of Linux.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashPolicy {
    #[default]
    Layer2,
    Layer23,
    Layer34,
}

impl HashPolicy {
    pub const ALL: [Self; 3] = [Self::Layer2, Self::Layer23, Self::Layer34];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Layer2 => "layer2",
            Self::Layer23 => "layer2+3",
            Self::Layer34 => "layer3+4",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What of a frame the hashes are made of; of a layer that it has not, zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowDigest {
    /// The last bytes of both MAC addresses and the type, in an exclusive or.
    pub layer2: u32,
    /// Both IP addresses.
    pub layer3: u32,
    /// The ports, as they stand in the header.
    pub layer4: u32,
}

impl FlowDigest {
    /// The formulas of Linux's bonding documentation, so that who knows one knows the other.
    pub fn hash(&self, policy: HashPolicy) -> u32 {
        let fold = |hash: u32| {
            let hash = hash ^ (hash >> 16);
            hash ^ (hash >> 8)
        };
        match policy {
            HashPolicy::Layer2 => self.layer2,
            HashPolicy::Layer23 => fold(self.layer2 ^ self.layer3),
            HashPolicy::Layer34 => fold(self.layer4 ^ self.layer3),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BondSettings {
    pub mode: BondMode,
    pub hash: HashPolicy,
    /// With active-backup: the member preferred whenever it is usable.
    pub primary: Option<InterfaceId>,
    /// With 802.3ad: ask the peer to speak every second, not every thirty.
    pub lacp_fast: bool,
    pub monitor: Option<ArpMonitor>,
    /// With 802.3ad: the bond has a carrier only while so many members are usable. The other modes
    /// take no notice, as in Linux.
    pub min_links: u8,
    /// How long a wire has to be there until its member is used, while another is.
    pub up_delay: Duration,
    /// How long it has to be gone until its member is given up.
    pub down_delay: Duration,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub interface: InterfaceId,
    /// The interface is up, and so is its wire.
    pub running: bool,
    /// The same as the bond takes it, after the delays.
    pub linked: bool,
    /// When it takes `running` for true.
    believed_at: Option<Instant>,
    /// ARP monitoring hears it; always so without monitoring.
    pub heard: bool,
    /// When a frame last came in by it.
    pub last_heard: Instant,
    /// How often it became unusable.
    pub failures: u64,
    pub lacp: Port,
}

/// What is to be done after a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// Frames that wait for a member have to find their way anew.
    pub usable: bool,
    /// Tell the neighbors that our addresses are behind another wire now.
    pub announce: bool,
}

#[derive(Clone, Debug)]
pub struct Bond {
    pub settings: BondSettings,
    members: Vec<Member>,
    usable: Vec<InterfaceId>,
    active: Option<InterfaceId>,
    /// Of balance-rr: how many frames have left.
    turn: usize,
    next_probe: Option<Instant>,
}

impl Bond {
    pub fn new(settings: BondSettings) -> Self {
        Self {
            settings,
            members: Vec::new(),
            usable: Vec::new(),
            active: None,
            turn: 0,
            next_probe: None,
        }
    }

    pub fn members(&self) -> impl Iterator<Item = InterfaceId> + '_ {
        self.members.iter().map(|member| member.interface)
    }

    /// Members with what is known of them.
    pub fn report(&self) -> &[Member] {
        &self.members
    }

    /// The member in use, of active-backup.
    pub fn active(&self) -> Option<InterfaceId> {
        self.active
    }

    pub fn is_usable(&self, member: InterfaceId) -> bool {
        self.usable.contains(&member)
    }

    pub fn is_running(&self) -> bool {
        let lacp = self.settings.mode == BondMode::Lacp;
        let least = if lacp { usize::from(self.settings.min_links) } else { 0 };
        self.usable.len() >= least.max(1)
    }

    /// Is there room for another member?
    pub fn has_room(&self) -> bool {
        self.members.len() < MAX_MEMBERS
    }

    /// A new member; `system`: the bond's own address, for LACP.
    pub fn add(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        system: MacAddr,
        running: bool,
    ) -> Change {
        let lacp = Port::new(system, interface.0, self.settings.lacp_fast);
        self.members.push(Member {
            interface,
            running: false,
            linked: false,
            believed_at: None,
            heard: true,
            last_heard: now,
            failures: 0,
            lacp,
        });
        self.begin_monitoring(now);
        self.set_running(now, interface, running)
    }

    pub fn remove(&mut self, now: Instant, interface: InterfaceId) -> Change {
        self.members.retain(|member| member.interface != interface);
        self.settle(now)
    }

    /// A member's wire, or the member itself, came up or went down.
    pub fn set_running(&mut self, now: Instant, interface: InterfaceId, running: bool) -> Change {
        let (up, down) = (self.settings.up_delay, self.settings.down_delay);
        if let Some(member) = self.member_mut(interface) {
            member.running = running;
            let delay = if running { up } else { down };
            let again = running == member.linked;
            member.believed_at =
                if again { None } else { member.believed_at.or(Some(now + delay)) };
        }
        self.believe(now);
        self.settle(now)
    }

    /// The operator prefers another member, or another way to share the work.
    pub fn set(&mut self, now: Instant, settings: BondSettings) -> Change {
        self.settings = settings;
        let (lacp, fast) = (self.settings.mode == BondMode::Lacp, self.settings.lacp_fast);
        for member in &mut self.members {
            member.lacp.set_fast(fast);
            member.lacp.enable(now, member.linked && lacp);
            member.heard = true;
            member.last_heard = now;
        }
        self.begin_monitoring(now);
        self.settle(now)
    }

    /// A frame came in by a member: is it to be taken? A member in reserve hears what was meant for
    /// the one in use too.
    pub fn accepts(&mut self, now: Instant, interface: InterfaceId) -> bool {
        let monitored = self.settings.monitor.is_some();
        let Some(member) = self.member_mut(interface) else { return false };
        if monitored {
            member.last_heard = now;
        }
        match self.settings.mode {
            BondMode::ActiveBackup => self.active == Some(interface),
            BondMode::RoundRobin | BondMode::Xor => true,
            BondMode::Lacp => self.member_mut(interface).is_some_and(|m| m.lacp.is_collecting()),
        }
    }

    /// The member that a frame leaves by. `at`: the member whose turn to send it is, which
    /// balance-rr sticks to.
    pub fn choose(&mut self, digest: &FlowDigest, at: Option<InterfaceId>) -> Option<InterfaceId> {
        if !self.is_running() {
            return None;
        }
        let count = self.usable.len();
        let index = match self.settings.mode {
            BondMode::ActiveBackup => return self.active,
            BondMode::Xor | BondMode::Lacp => digest.hash(self.settings.hash) as usize,
            BondMode::RoundRobin => {
                if let Some(at) = at.filter(|at| self.usable.contains(at)) {
                    return Some(at);
                }
                self.turn = self.turn.wrapping_add(1);
                self.turn
            }
        };
        self.usable.get(index.checked_rem(count)?).copied()
    }

    /// An LACPDU came in by a member.
    pub fn receive_lacp(&mut self, now: Instant, interface: InterfaceId, pdu: &Lacpdu) -> Change {
        if self.settings.mode == BondMode::Lacp
            && let Some(member) = self.member_mut(interface)
        {
            member.lacp.receive(now, pdu);
        }
        self.settle(now)
    }

    /// The next LACPDU to send, and by which member.
    pub fn poll_lacp(&mut self, now: Instant) -> Option<(InterfaceId, Lacpdu)> {
        self.members.iter_mut().find_map(|member| {
            let pdu = member.lacp.poll_transmit(now)?;
            Some((member.interface, pdu))
        })
    }

    /// Does what is due of LACP; monitoring is asked for with `poll_probe`.
    pub fn handle_timeout(&mut self, now: Instant) -> Change {
        for member in &mut self.members {
            member.lacp.handle_timeout(now);
        }
        self.believe(now);
        self.settle(now)
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let lacp = self.members.iter().filter_map(|member| member.lacp.next_timeout());
        let delayed = self.members.iter().filter_map(|member| member.believed_at);
        lacp.chain(delayed).chain(self.next_probe).min()
    }

    /// Takes wires for what they have been long enough. While no member has one, the first to come is
    /// not waited for.
    fn believe(&mut self, now: Instant) {
        let lacp = self.settings.mode == BondMode::Lacp;
        for member in &mut self.members {
            if member.believed_at.is_some_and(|at| at <= now) {
                (member.linked, member.believed_at) = (member.running, None);
                member.lacp.enable(now, member.linked && lacp);
            }
        }
        if self.members.iter().any(|member| member.linked) {
            return;
        }
        for member in self.members.iter_mut().filter(|member| member.running) {
            (member.linked, member.believed_at) = (true, None);
            member.lacp.enable(now, lacp);
        }
    }

    fn member_mut(&mut self, interface: InterfaceId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.interface == interface)
    }

    /// Works out anew which members are usable, and which one is in use.
    fn settle(&mut self, now: Instant) -> Change {
        if self.settings.mode == BondMode::Lacp {
            let mut ports: Vec<_> =
                self.members.iter_mut().map(|member| &mut member.lacp).collect();
            lacp::select(now, &mut ports);
        }
        let lacp = self.settings.mode == BondMode::Lacp;
        let before = core::mem::take(&mut self.usable);
        for member in &mut self.members {
            let usable = member.linked && member.heard && (!lacp || member.lacp.is_distributing());
            if usable {
                self.usable.push(member.interface);
            } else if before.contains(&member.interface) {
                member.failures += 1;
            }
        }
        let preferred = [self.settings.primary, self.active];
        let kept = preferred.into_iter().flatten().find(|id| self.usable.contains(id));
        let active = kept.or(self.usable.first().copied());
        let moved = core::mem::replace(&mut self.active, active) != active;
        // It has been silent for want of a reason to speak to us.
        if moved && let Some(member) = active.and_then(|id| self.member_mut(id)) {
            member.last_heard = now;
        }
        let usable = before != self.usable || moved;
        // The peers of the other modes are one switch, which knows where we are.
        let announce =
            moved && active.is_some() && matches!(self.settings.mode, BondMode::ActiveBackup);
        Change { usable, announce }
    }
}
