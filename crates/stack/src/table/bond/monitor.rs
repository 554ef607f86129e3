//! Links that look fine and carry nothing, found by asking: every interval a host that always
//! answers is asked for its address by ARP, and a member by which nothing at all came in for two
//! intervals counts as failed. (Linux: arp_interval, arp_ip_target, without arp_validate.)
//!
//! With active-backup only the member in use asks, because a question sent by another would tell
//! switches that we are behind that one. So only the member in use can be found silent; the next one
//! is then tried, and the silent ones are given another chance when none is left.

use super::{Bond, BondMode, Change};
use crate::{
    table::interface::InterfaceId,
    time::{Duration, Instant},
};
use core::net::Ipv4Addr;

/// Intervals without a frame after which a member has failed: one question or answer may get lost.
const SILENT_INTERVALS: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpMonitor {
    pub interval: Duration,
    /// Who is asked: hosts of the bond's own network.
    pub targets: Vec<Ipv4Addr>,
}

impl Bond {
    pub(super) fn begin_monitoring(&mut self, now: Instant) {
        match &self.settings.monitor {
            Some(monitor) if self.next_probe.is_none() => {
                self.next_probe = Some(now + monitor.interval);
            }
            Some(_) => {}
            None => self.next_probe = None,
        }
    }

    /// Judges the members if it is time, and says by which ones to ask now.
    pub fn poll_probe(&mut self, now: Instant) -> Option<(Change, Vec<InterfaceId>)> {
        let monitor = self.settings.monitor.as_ref()?;
        if self.next_probe? > now {
            return None;
        }
        self.next_probe = Some(now + monitor.interval);
        let patience = monitor.interval * SILENT_INTERVALS;
        let (one, active) = (self.settings.mode == BondMode::ActiveBackup, self.active);
        for member in &mut self.members {
            let silent = now.since(member.last_heard) > patience;
            if !one || active == Some(member.interface) || !silent {
                member.heard = !silent;
            }
        }
        if one && !self.members.iter().any(|member| member.running && member.heard) {
            self.try_the_next(now);
        }
        let change = self.settle(now);
        let asking = self.members.iter().filter(|member| member.running);
        let asking = asking.map(|member| member.interface);
        Some((change, asking.filter(|id| !one || self.active == Some(*id)).collect()))
    }

    /// None is heard: one that has been silent gets as long again as the others had.
    fn try_the_next(&mut self, now: Instant) {
        let running: Vec<_> = self.members.iter().filter(|member| member.running).collect();
        let last = running.iter().position(|member| Some(member.interface) == self.active);
        let next = last.map_or(0, |at| at + 1).checked_rem(running.len());
        let next = next.and_then(|at| running.get(at)).map(|member| member.interface);
        if let Some(member) = next.and_then(|id| self.member_mut(id)) {
            member.heard = true;
            member.last_heard = now;
        }
    }
}
