//! Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them, the
//! receiver tells the sender, the sender reduces and says that it did.
//!
//! Both ends must want it in their SYNs. As on Linux, a program's own connections don't ask unless
//! they are told to, and those that ask us get it. A mark reduces the window less than a loss does
//! (RFC 8511): a queue that marks is short. Retransmissions and pure acknowledgments are never
//! marked (RFC 3168 §6.1.4, §6.1.5), as nobody could tell whether they were forged.

use super::seq::Seq;
use narrows_wire::tcp::Flags;

/// Who may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcnMode {
    Off,
    /// Peers that ask for it.
    Passive,
    /// We ask for it, too.
    Active,
}

/// What a SYN says to ask for it, and what a SYN-ACK does not say.
const ASKED: Flags = Flags::ECE.with(Flags::CWR);

/// Does a SYN ask for it?
pub(super) fn is_asked(syn: Flags) -> bool {
    syn.contains(ASKED)
}

/// Does a SYN-ACK grant it? Peers that send back what they got do not.
pub(super) fn is_granted(syn_ack: Flags) -> bool {
    syn_ack.contains(Flags::ECE) && !syn_ack.contains(Flags::CWR)
}

/// The flags of a SYN that asks.
pub(super) fn ask(syn: Flags) -> Flags {
    syn.with(ASKED)
}

/// What is under way in a connection that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ecn {
    /// A packet came marked: acknowledgments say so until the peer has reduced.
    echo: bool,
    /// We have reduced: the next new text says so.
    pub reduced: bool,
    /// Until this is acknowledged, marks tell of the same congestion.
    until: Option<Seq>,
}

impl Ecn {
    /// Text came. Returns whether the peer must hear of a mark at once.
    pub fn received(&mut self, flags: Flags, marked: bool) -> bool {
        if flags.contains(Flags::CWR) {
            self.echo = false;
        }
        let news = marked && !self.echo;
        self.echo |= marked;
        news
    }

    /// Do acknowledgments tell of a mark?
    pub fn is_echoing(&self) -> bool {
        self.echo
    }

    /// Text came, and the peer wants to know of each packet (RFC 8257 §3.2). What came before must
    /// have been acknowledged if it differs.
    pub fn received_each(&mut self, marked: bool) {
        self.echo = marked;
    }

    /// What goes out beside ACK.
    pub fn echoed(&self, flags: Flags) -> Flags {
        if self.echo { flags.with(Flags::ECE) } else { flags }
    }

    /// An acknowledgment tells of a mark: is that news, so that the window must shrink?
    pub fn told(&mut self, una: Seq, nxt: Seq) -> bool {
        if self.until.is_some_and(|until| una.before(until)) {
            return false;
        }
        self.until = Some(nxt);
        self.reduced = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_echoed_until_the_peer_has_reduced() {
        let mut ecn = Ecn::default();
        assert_eq!(ecn.echoed(Flags::ACK), Flags::ACK);
        assert!(ecn.received(Flags::ACK, true));
        assert!(!ecn.received(Flags::ACK, true), "it is told already");
        assert!(!ecn.received(Flags::ACK, false));
        assert_eq!(ecn.echoed(Flags::ACK), Flags::ACK.with(Flags::ECE));
        assert!(!ecn.received(Flags::ACK.with(Flags::CWR), false));
        assert_eq!(ecn.echoed(Flags::ACK), Flags::ACK);
        ecn.received(Flags::ACK, true);
        assert!(ecn.received(Flags::ACK.with(Flags::CWR), true), "a mark after the reduction");
    }

    #[test]
    fn a_peer_that_counts_marks_gets_each_change_told() {
        let mut ecn = Ecn::default();
        for marked in [false, true, true, false] {
            ecn.received_each(marked);
            assert_eq!(ecn.echoed(Flags::ACK).contains(Flags::ECE), marked);
            assert_eq!(ecn.is_echoing(), marked);
        }
    }

    #[test]
    fn one_reduction_a_round_trip() {
        let mut ecn = Ecn::default();
        assert!(ecn.told(Seq(100), Seq(900)));
        assert!(!ecn.told(Seq(899), Seq(2000)));
        assert!(ecn.told(Seq(900), Seq(2000)));
    }

    #[test]
    fn peers_that_reflect_the_question_do_not_grant_it() {
        let syn_ack = Flags::SYN.with(Flags::ACK);
        assert!(is_granted(syn_ack.with(Flags::ECE)));
        assert!(!is_granted(ask(syn_ack)) && !is_granted(syn_ack));
        assert!(is_asked(ask(Flags::SYN)) && !is_asked(Flags::SYN.with(Flags::ECE)));
    }
}
