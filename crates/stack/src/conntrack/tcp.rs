//! The states of a TCP connection as one who stands between its ends sees them, and which segments can belong
//! to it: those that the receiver has room for, and that acknowledge what was sent (Guido van Rooij, Real Stateful
//! TCP Packet Filtering in IP Filter, 2001). States and their names are Linux's.
//!
//! A connection that was there before it was tracked is picked up at any segment with an acknowledgment; of
//! such a one the windows' scale is not known, and its segments are not judged.

use super::tuple::Direction;
use crate::{config::ConntrackTimeouts, tcp::seq::Seq, time::Duration};
use narrows_wire::{
    tcp::{Flags, Header},
    tcp_options::Options,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    /// Both ends have begun (RFC 9293 §3.5, figure 8).
    SynSent2,
}

impl State {
    pub const ALL: [Self; 9] = [
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }

    fn timeout(self, timeouts: &ConntrackTimeouts) -> Duration {
        match self {
            Self::SynSent | Self::SynSent2 => timeouts.tcp_syn_sent,
            Self::SynRecv => timeouts.tcp_syn_recv,
            Self::Established => timeouts.tcp_established,
            Self::FinWait => timeouts.tcp_fin_wait,
            Self::CloseWait => timeouts.tcp_close_wait,
            Self::LastAck => timeouts.tcp_last_ack,
            Self::TimeWait => timeouts.tcp_time_wait,
            Self::Close => timeouts.tcp_close,
        }
    }
}

/// A segment, of which the data need not be there.
#[derive(Clone, Copy, Debug)]
pub struct Observed {
    pub header: Header,
    pub options: Options,
    pub data_len: u32,
}

/// What a segment is about, by its control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

impl Event {
    fn of(flags: Flags) -> Self {
        match flags {
            flags if flags.rst() => Self::Rst,
            flags if flags.syn() && flags.ack() => Self::SynAck,
            flags if flags.syn() => Self::Syn,
            flags if flags.fin() => Self::Fin,
            flags if flags.ack() => Self::Ack,
            _ => Self::None,
        }
    }
}

/// Where a segment leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    To(State),
    /// It may be true or not: whoever gets it judges better.
    Ignore,
    Invalid,
    /// The connection is over, and this begins another.
    Anew,
}

/// RFC 9293 §3.3.2, seen from between.
fn next(direction: Direction, event: Event, state: State) -> Next {
    use Direction::{Original, Reply};
    use State::{
        Close, CloseWait, Established, FinWait, LastAck, SynRecv, SynSent, SynSent2, TimeWait,
    };
    match (direction, event, state) {
        (_, Event::None, _) => Next::Invalid,
        (_, Event::Rst, _) => Next::To(Close),

        (Original, Event::Syn, SynSent) => Next::To(SynSent),
        (Original, Event::Syn, SynSent2) => Next::To(SynSent2),
        (_, Event::Syn, TimeWait) | (Original, Event::Syn, Close) => Next::Anew,
        (Original, Event::Syn, _) => Next::Ignore,
        (Reply, Event::Syn, SynSent | SynSent2) => Next::To(SynSent2),
        (Reply, Event::Syn, _) => Next::Invalid,

        (Original, Event::SynAck, SynSent) => Next::Invalid,
        (_, Event::SynAck, SynSent2) => Next::To(SynRecv),
        (Reply, Event::SynAck, SynSent) => Next::To(SynRecv),
        (Original, Event::SynAck, SynRecv) => Next::To(SynRecv),
        (_, Event::SynAck, _) => Next::Ignore,

        (_, Event::Fin, SynSent | SynSent2) => Next::Invalid,
        (_, Event::Fin, SynRecv | Established) => Next::To(FinWait),
        (_, Event::Fin, FinWait | CloseWait | LastAck) => Next::To(LastAck),
        (_, Event::Fin, TimeWait) => Next::To(TimeWait),
        (_, Event::Fin, Close) => Next::To(Close),

        (Original, Event::Ack, SynSent | SynSent2) => Next::Invalid,
        (Reply, Event::Ack, SynSent | SynSent2) => Next::Ignore,
        (Original, Event::Ack, SynRecv) => Next::To(Established),
        (Reply, Event::Ack, SynRecv) => Next::To(SynRecv),
        (_, Event::Ack, Established) => Next::To(Established),
        (_, Event::Ack, FinWait | CloseWait) => Next::To(CloseWait),
        (_, Event::Ack, LastAck | TimeWait) => Next::To(TimeWait),
        (_, Event::Ack, Close) => Next::To(Close),
    }
}

/// What is known of one end.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// After the last it sent.
    end: Seq,
    /// How far the other lets it.
    max_end: Seq,
    /// The largest window it has offered; 0: nothing was heard of it.
    max_window: u32,
    max_ack: Option<Seq>,
    /// What its window is scaled by, if it said so in its SYN.
    scale: Option<u8>,
    sack: bool,
    /// Its window's scale is not known.
    liberal: bool,
    /// It sent what nobody acknowledged.
    unacknowledged: bool,
    /// It closed first.
    closed_first: bool,
}

/// A segment to compare the next with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    sequence: u32,
    acknowledgment: u32,
    end: u32,
    window: u16,
}

/// A SYN on a connection that is there: if it is answered by another handshake, the ends know better.
#[derive(Clone, Copy, Debug)]
struct DoubtfulSyn {
    direction: Direction,
    end: Seq,
    window: u32,
    scale: Option<u8>,
    sack: bool,
}

#[derive(Debug)]
pub struct Tracker {
    pub state: State,
    ends: [End; 2],
    last: Option<(Direction, Event, Seen)>,
    retransmissions: u8,
    doubtful: Option<DoubtfulSyn>,
}

/// What a segment means for its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs, and the flow may be silent so long.
    Belongs {
        patience: Duration,
        assured: bool,
    },
    /// It may belong, and changes nothing.
    Passes,
    Invalid,
    /// It begins another connection in this one's place.
    Anew,
}

/// Acknowledgments may be so far behind, whatever the window was: a window's worth of an unscaled connection, and
/// some (as Linux).
const MAX_ACK_WINDOW: u32 = 66_000;
/// After so many of the same segment nobody is waited for as long.
const MAX_RETRANSMISSIONS: u8 = 3;
/// RFC 7323 §2.3.
const MAX_SCALE: u8 = 14;

fn length(segment: &Observed) -> u32 {
    let flags = segment.header.flags;
    let controls = u32::from(flags.syn()) + u32::from(flags.fin());
    segment.data_len.wrapping_add(controls)
}

fn end_of(segment: &Observed) -> Seq {
    Seq(segment.header.sequence.wrapping_add(length(segment)))
}

impl End {
    /// As its SYN says.
    fn begin(&mut self, segment: &Observed) {
        let options = &segment.options;
        let end = end_of(segment);
        *self = Self {
            end,
            max_end: end,
            max_window: u32::from(segment.header.window).max(1),
            scale: options.window_scale,
            sack: options.sack_permitted,
            ..Self::default()
        };
    }

    /// What it offers by this segment, in octets (RFC 7323 §2.2: a SYN's is not scaled).
    fn window(&self, segment: &Observed) -> u32 {
        let scale = self.scale.filter(|_| !segment.header.flags.syn()).unwrap_or(0);
        u32::from(segment.header.window) << scale.min(MAX_SCALE)
    }
}

impl Tracker {
    /// `None`: no connection begins so.
    pub fn new(segment: &Observed) -> Option<Self> {
        let mut ends = [End::default(); 2];
        let (first, other) = ends.split_at_mut(1);
        let (first, other) = (first.first_mut()?, other.first_mut()?);
        let state = match Event::of(segment.header.flags) {
            Event::Syn => {
                first.begin(segment);
                State::SynSent
            }
            Event::Ack => {
                first.begin(segment);
                let window = first.max_window;
                first.max_end = Seq(first.end.0.wrapping_add(window));
                (first.liberal, other.liberal) = (true, true);
                (first.sack, other.sack) = (true, true);
                State::Established
            }
            _ => return None,
        };
        Some(Self { state, ends, last: None, retransmissions: 0, doubtful: None })
    }

    /// Of a flow that another table has: nothing is known of its windows, until its ends say it.
    pub fn adopted(state: State) -> Self {
        let end = || End { liberal: true, sack: true, ..End::default() };
        Self { state, ends: [end(), end()], last: None, retransmissions: 0, doubtful: None }
    }

    /// A segment of a flow that is there, its first too.
    pub fn segment(
        &mut self,
        direction: Direction,
        segment: &Observed,
        timeouts: &ConntrackTimeouts,
    ) -> Verdict {
        let event = Event::of(segment.header.flags);
        let old = self.state;
        if self.resynchronizes(direction, event, segment) {
            return self.admit(direction, event, State::SynRecv, segment, timeouts);
        }
        let new = match next(direction, event, old) {
            Next::Anew if self.may_begin_anew(direction) => return Verdict::Anew,
            Next::Anew | Next::Ignore => {
                self.remember(direction, event, segment);
                return Verdict::Passes;
            }
            Next::Invalid => return Verdict::Invalid,
            Next::To(state) => state,
        };
        if event == Event::Rst && !self.may_reset(direction, segment) {
            return Verdict::Invalid;
        }
        self.admit(direction, event, new, segment, timeouts)
    }

    fn admit(
        &mut self,
        direction: Direction,
        event: Event,
        new: State,
        segment: &Observed,
        timeouts: &ConntrackTimeouts,
    ) -> Verdict {
        let old = self.state;
        if !self.in_window(direction, segment) {
            return Verdict::Invalid;
        }
        self.count_retransmissions(direction, event, segment);
        self.state = new;
        if old != new && new == State::FinWait {
            self.ends[direction as usize].closed_first = true;
        }
        let assured =
            matches!(old, State::SynRecv | State::Established) && new == State::Established;
        Verdict::Belongs { patience: self.patience(segment, timeouts), assured }
    }

    fn patience(&self, segment: &Observed, timeouts: &ConntrackTimeouts) -> Duration {
        let usual = self.state.timeout(timeouts);
        let shut = segment.header.window == 0 && !segment.header.flags.rst();
        if self.retransmissions >= MAX_RETRANSMISSIONS || shut {
            return usual.min(timeouts.tcp_retransmitting);
        }
        match self.ends.iter().any(|end| end.unacknowledged) {
            true => usual.min(timeouts.tcp_unacknowledged),
            false => usual,
        }
    }

    /// After its end a connection may begin again (RFC 9293 §3.6.1): who closed first, or was reset.
    fn may_begin_anew(&self, direction: Direction) -> bool {
        let reset = |(by, event, _)| event == Event::Rst && by == direction;
        self.ends[direction.other() as usize].closed_first
            || self.ends[direction as usize].closed_first
            || self.last.is_some_and(reset)
            || self.state == State::Close
    }

    fn remember(&mut self, direction: Direction, event: Event, segment: &Observed) {
        if event != Event::Syn {
            return;
        }
        let options = &segment.options;
        self.doubtful = Some(DoubtfulSyn {
            direction,
            end: end_of(segment),
            window: segment.header.window.into(),
            scale: options.window_scale,
            sack: options.sack_permitted,
        });
    }

    /// A SYN that was passed over is answered: the connection is another than was thought.
    fn resynchronizes(&mut self, direction: Direction, event: Event, segment: &Observed) -> bool {
        let Some(syn) = self.doubtful else { return false };
        let answers = event == Event::SynAck
            && direction == syn.direction.other()
            && Seq(segment.header.acknowledgment) == syn.end;
        // From the same end that began the flow: otherwise the directions would be the wrong way round.
        if !answers || syn.direction != Direction::Original {
            return false;
        }
        self.doubtful = None;
        self.ends[syn.direction as usize] = End {
            end: syn.end,
            max_end: syn.end,
            max_window: syn.window.max(1),
            scale: syn.scale,
            sack: syn.sack,
            ..End::default()
        };
        self.ends[direction as usize] = End::default();
        self.state = State::SynSent;
        true
    }

    /// Blind resets are not believed (RFC 5961 §3): behind what was acknowledged, or an answer to a SYN that
    /// does not acknowledge it.
    fn may_reset(&self, direction: Direction, segment: &Observed) -> bool {
        let other = &self.ends[direction.other() as usize];
        let sequence = Seq(segment.header.sequence);
        if let Some(max_ack) = other.max_ack
            && sequence.before(max_ack)
        {
            return false;
        }
        let answers_syn = self.state == State::SynSent && direction == Direction::Reply;
        !answers_syn
            || !segment.header.flags.ack()
            || Seq(segment.header.acknowledgment) == other.end
    }

    /// Has the receiver room for it, and was what it acknowledges sent?
    fn in_window(&mut self, direction: Direction, segment: &Observed) -> bool {
        let flags = segment.header.flags;
        let mut sender = self.ends[direction as usize];
        let mut receiver = self.ends[direction.other() as usize];
        let (mut sequence, mut end) = (Seq(segment.header.sequence), end_of(segment));
        let opening = self.state == State::SynSent && direction == Direction::Original
            || self.state == State::SynRecv && direction == Direction::Reply;
        if sender.max_window == 0 {
            if flags.syn() {
                sender.begin(segment);
                if !flags.ack() {
                    // Both began at once (RFC 9293 §3.5).
                    self.ends[direction as usize] = sender;
                    return true;
                }
                // RFC 7323 §2.2: both scale, or none.
                if sender.scale.is_none() || receiver.scale.is_none() {
                    (sender.scale, receiver.scale) = (None, None);
                }
            } else {
                sender.end = end;
                sender.max_window = sender.window(segment).max(1);
                sender.max_end = Seq(end.0.wrapping_add(sender.max_window));
            }
        } else if flags.syn() && opening && end.after(sender.end) {
            // Another SYN of an end that has begun with another number since.
            sender.begin(segment);
        }
        let acknowledged = Seq(segment.header.acknowledgment);
        let blank = !flags.ack() || flags.rst() && segment.header.acknowledgment == 0;
        let ack = if blank { receiver.end } else { acknowledged };
        let sack = match receiver.sack && !blank {
            true => segment
                .options
                .sack
                .as_slice()
                .iter()
                .fold(ack, |most, (_, right)| most.max(Seq(*right))),
            false => ack,
        };
        if receiver.max_window == 0 {
            // Nothing was heard of it: what is acknowledged is what it sent.
            (receiver.end, receiver.max_end) = (sack, sack);
        }
        if flags.rst() && segment.header.sequence == 0 && self.state == State::SynSent {
            (sequence, end) = (sender.end, sender.end);
        }
        let room = receiver.max_window == 0
            || end.after(Seq(sender.end.0.wrapping_sub(receiver.max_window).wrapping_sub(1)));
        let behind = sender.max_window.max(MAX_ACK_WINDOW);
        let fits = sequence.before(Seq(sender.max_end.0.wrapping_add(1)))
            && room
            && sack.before(Seq(receiver.end.0.wrapping_add(1)))
            && sack.after(Seq(receiver.end.0.wrapping_sub(behind).wrapping_sub(1)));
        if !fits {
            return sender.liberal;
        }
        let window = sender.window(segment);
        sender.max_window = sender.max_window.max(window.saturating_add(sack.since(ack)));
        if end.after(sender.end) {
            sender.end = end;
            sender.unacknowledged = true;
        }
        if flags.ack() {
            sender.max_ack = Some(sender.max_ack.map_or(ack, |most| most.max(ack)));
        }
        if receiver.max_window != 0 && end.after(sender.max_end) {
            receiver.max_window = receiver.max_window.saturating_add(end.since(sender.max_end));
        }
        let offered = Seq(sack.0.wrapping_add(window));
        if offered.at_or_after(receiver.max_end) {
            // Into a closed window one octet is sent, to ask (RFC 9293 §3.8.6.1).
            receiver.max_end = Seq(offered.0.wrapping_add(u32::from(window == 0)));
        }
        if ack == receiver.end {
            receiver.unacknowledged = false;
        }
        self.ends[direction as usize] = sender;
        self.ends[direction.other() as usize] = receiver;
        true
    }

    fn count_retransmissions(&mut self, direction: Direction, event: Event, segment: &Observed) {
        let header = &segment.header;
        let seen = Seen {
            sequence: header.sequence,
            acknowledgment: header.acknowledgment,
            end: end_of(segment).0,
            window: header.window,
        };
        let now = (direction, event, seen);
        self.retransmissions = match self.last {
            Some(last) if event == Event::Ack && last == now => {
                self.retransmissions.saturating_add(1)
            }
            _ => 0,
        };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests;
