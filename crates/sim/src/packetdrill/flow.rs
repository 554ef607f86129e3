//! Which sequence numbers, ports and timestamps of the real connection stand for which of the
//! script's.
//!
//! A script counts from the initial sequence numbers, except in SYN segments, where it names them.
//! The remote host's are the script's own; the stack chooses its own, seen in its first SYN.

/// An initial sequence number: the script's and the real one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Initial {
    script: u32,
    real: u32,
}

impl Initial {
    /// What to add to a number of the script.
    fn offset(self, syn: bool) -> u32 {
        if syn { self.real.wrapping_sub(self.script) } else { self.real }
    }
}

/// How far the connection is, as far as the meaning of packets depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Neither listening nor connecting.
    #[default]
    Closed,
    /// The next packet that comes begins a connection.
    Listening,
    /// The next SYN that leaves begins one.
    Connecting,
    /// The SYN left, no answer came.
    SynSent,
    /// A packet for the listener came.
    Contacted,
    Open,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    pub phase: Phase,
    pub local_port: u16,
    pub remote_port: u16,
    local: Initial,
    remote: Initial,
    /// The stack's timestamps: the script's and the real ones.
    stamps: Vec<(u32, u32)>,
}

impl Flow {
    /// The stack is about to send a SYN from the one port to the other.
    pub(super) fn connecting(local_port: u16, remote_port: u16) -> Self {
        Self { phase: Phase::Connecting, local_port, remote_port, ..Self::default() }
    }

    /// A packet of the script is about to be given to the stack.
    pub(super) fn inbound(&mut self, syn: bool, ack: bool, sequence: u32) {
        let begins = match self.phase {
            Phase::Listening => syn && !ack,
            Phase::SynSent => syn,
            _ => false,
        };
        if begins {
            self.remote = Initial { script: sequence, real: sequence };
            self.phase = if self.phase == Phase::SynSent { Phase::Open } else { Phase::Contacted };
        }
    }

    /// A SYN of the stack: the script's number for it and the real one.
    pub(super) fn outbound_syn(&mut self, script: u32, real: u32) {
        if matches!(self.phase, Phase::Connecting | Phase::Contacted) {
            self.local = Initial { script, real };
            self.phase = if self.phase == Phase::Connecting { Phase::SynSent } else { Phase::Open };
        }
    }

    /// Numbers of the stack's own octets.
    pub(super) fn local_to_real(&self, script: u32, syn: bool) -> u32 {
        script.wrapping_add(self.local.offset(syn))
    }

    pub(super) fn local_to_script(&self, real: u32, syn: bool) -> u32 {
        real.wrapping_sub(self.local.offset(syn))
    }

    /// Numbers of the remote host's octets.
    pub(super) fn remote_to_real(&self, script: u32, syn: bool) -> u32 {
        script.wrapping_add(self.remote.offset(syn))
    }

    pub(super) fn remote_to_script(&self, real: u32, syn: bool) -> u32 {
        real.wrapping_sub(self.remote.offset(syn))
    }

    /// The stack sent `real` where the script has `script`. `tick`: microseconds between two
    /// values, if the script says so; false: then it is not what the first one lets expect.
    pub(super) fn stamp(&mut self, script: u32, real: u32, tolerance: u32) -> bool {
        let fits = self.stamps.first().is_none_or(|&(first_script, first_real)| {
            let (expected, came) =
                (script.wrapping_sub(first_script), real.wrapping_sub(first_real));
            (came.wrapping_sub(expected) as i32).unsigned_abs() <= tolerance
        });
        self.stamps.push((script, real));
        fits
    }

    /// The value that the script echoes.
    pub(super) fn echo(&self, script: u32) -> u32 {
        let exact = self.stamps.iter().rev().find(|(known, _)| *known == script);
        match (exact, self.stamps.first()) {
            (Some((_, real)), _) => *real,
            // Counted from the first.
            (None, Some((first, real))) => real.wrapping_add(script.wrapping_sub(*first)),
            (None, None) => script,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passive_open_learns_both_numbers() {
        let mut flow = Flow { phase: Phase::Listening, ..Flow::default() };
        assert_eq!(flow.remote_to_real(17, false), 17);
        flow.inbound(true, false, 100);
        flow.outbound_syn(0, 5000);
        assert_eq!(flow.phase, Phase::Open);
        assert_eq!((flow.remote_to_real(1, false), flow.remote_to_real(100, true)), (101, 100));
        assert_eq!((flow.local_to_real(1, false), flow.local_to_script(5001, false)), (5001, 1));
        flow.inbound(true, false, 900);
        assert_eq!(flow.remote_to_script(101, false), 1, "a later SYN changes nothing");
    }

    #[test]
    fn an_active_open_learns_both_numbers() {
        let mut flow = Flow { phase: Phase::Connecting, ..Flow::default() };
        flow.outbound_syn(0, 77);
        flow.inbound(true, true, 1234);
        assert_eq!((flow.local_to_real(1, true), flow.remote_to_real(1, false)), (78, 1235));
    }

    #[test]
    fn timestamps_stand_for_each_other() {
        let mut flow = Flow::default();
        assert_eq!(flow.echo(9), 9);
        assert!(flow.stamp(100, 7000, 4));
        assert!(flow.stamp(110, 7013, 4));
        assert!(!flow.stamp(110, 7015, 4));
        assert_eq!((flow.echo(100), flow.echo(120)), (7000, 7020));
    }
}
