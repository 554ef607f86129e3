//! Explicit congestion notification (RFC 3168): routers mark packets instead of dropping them, the
//! receiver tells the sender, the sender reduces and says that it did.
//!
//! Both ends must want it in their SYNs. As on Linux, a program's own connections don't ask unless
//! they are told to, and those that ask us get it. A mark reduces the window less than a loss does
//! (RFC 8511): a queue that marks is short. Retransmissions and pure acknowledgments are never
//! marked (RFC 3168 §6.1.4, §6.1.5), as nobody could tell whether they were forged.

use super::seq::Seq;
use narrows_wire::tcp::Flags;

/// Who may have it (Linux: net.ipv4.tcp_ecn 0 to 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EcnMode {
    Off,
    /// Peers that ask for it.
    Passive,
    /// We ask for it, too.
    Active,
    /// The more accurate form (RFC 9768), for peers that ask for it. We ask for none.
    AccuratePassive,
    /// The same, and we ask for that of RFC 3168.
    AccuratePassiveClassicActive,
    /// We ask for the more accurate form. Who can't do it is content with the other.
    Accurate,
}

impl EcnMode {
    /// The most that our SYNs ask for.
    pub(super) fn asks(self) -> Feedback {
        match self {
            Self::Off | Self::Passive | Self::AccuratePassive => Feedback::None,
            Self::Active | Self::AccuratePassiveClassicActive => Feedback::Classic,
            Self::Accurate => Feedback::Accurate,
        }
    }

    /// The most that peers get.
    pub(super) fn grants(self) -> Feedback {
        match self {
            Self::Off => Feedback::None,
            Self::Passive | Self::Active => Feedback::Classic,
            Self::Accurate | Self::AccuratePassive | Self::AccuratePassiveClassicActive => {
                Feedback::Accurate
            }
        }
    }
}

/// What the two ends agreed on: what receivers tell of marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feedback {
    #[default]
    None,
    /// That there were some (RFC 3168).
    Classic,
    /// How many (RFC 9768).
    Accurate,
}

/// What the three flags of a SYN say to ask for each.
const ASKS_CLASSIC: u8 = 0b011;
const ASKS_ACCURATE: u8 = 0b111;
/// What a SYN-ACK says that grants RFC 3168's.
const GRANTS_CLASSIC: u8 = 0b001;

/// What a SYN asks for, of what may be `granted`: what is neither of the three that mean something asks for the most,
/// for what comes after RFC 9768 (§3.1.2).
pub(super) fn asked(syn: Flags, granted: Feedback) -> Feedback {
    match syn.ace() {
        0 => Feedback::None,
        ASKS_CLASSIC => granted.min(Feedback::Classic),
        _ if granted == Feedback::Accurate => granted,
        _ if syn.contains(Flags::ECE.with(Flags::CWR)) => granted,
        _ => Feedback::None,
    }
}

/// What a SYN-ACK grants of what was asked for (RFC 9768 §3.1.1). Peers that send back what they got do not.
pub(super) fn granted(syn_ack: Flags, asked: Feedback) -> Feedback {
    match (asked, syn_ack.ace()) {
        (Feedback::None, _) | (_, 0 | ASKS_ACCURATE) => Feedback::None,
        (_, GRANTS_CLASSIC) => Feedback::Classic,
        (Feedback::Accurate, _) => Feedback::Accurate,
        // The ninth flag had another meaning once (RFC 3540).
        (Feedback::Classic, 0b101) => Feedback::Classic,
        (Feedback::Classic, _) => Feedback::None,
    }
}

/// The flags of a SYN that asks.
pub(super) fn ask(syn: Flags, asks: Feedback) -> Flags {
    match asks {
        Feedback::None => syn,
        Feedback::Classic => syn.with_ace(ASKS_CLASSIC),
        Feedback::Accurate => syn.with_ace(ASKS_ACCURATE),
    }
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
    fn syns_ask_for_what_their_flags_say_together() {
        use Feedback::{Accurate, Classic, None};
        for ace in 0..8 {
            let syn = Flags::SYN.with_ace(ace);
            let most = match ace {
                0 => None,
                3 => Classic,
                _ => Accurate,
            };
            assert_eq!(asked(syn, Accurate), most, "{ace:#05b}");
            let classic = if ace & 3 == 3 { Classic } else { None };
            assert_eq!(asked(syn, Classic), classic, "{ace:#05b}");
            assert_eq!(asked(syn, None), None);
        }
        for feedback in [None, Classic, Accurate] {
            assert_eq!(asked(ask(Flags::SYN, feedback), Accurate), feedback);
        }
    }

    #[test]
    fn peers_that_reflect_the_question_do_not_grant_it() {
        use Feedback::{Accurate, Classic, None};
        for (ace, classic, accurate) in [
            (0b000, None, None),
            (0b001, Classic, Classic),
            (0b010, None, Accurate),
            (0b011, None, Accurate),
            (0b100, None, Accurate),
            (0b101, Classic, Accurate),
            (0b110, None, Accurate),
            (0b111, None, None),
        ] {
            let syn_ack = Flags::SYN.with(Flags::ACK).with_ace(ace);
            assert_eq!(granted(syn_ack, Classic), classic, "{ace:#05b}");
            assert_eq!(granted(syn_ack, Accurate), accurate, "{ace:#05b}");
            assert_eq!(granted(syn_ack, None), None);
        }
    }
}
