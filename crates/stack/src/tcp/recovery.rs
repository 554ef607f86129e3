//! Loss: how it is found, and how sending goes on while it is repaired.
//!
//! Loss is found by time, as RACK does (RFC 8985): what left a round trip and a little patience
//! before something that has arrived is lost, retransmissions included. Peers without SACK get
//! NewReno's three duplicates (RFC 6582). A tail-loss probe covers the end of a flight, and the
//! retransmission timeout all that is left. While a loss is repaired the flight shrinks by
//! proportional rate reduction (RFC 6937). If the repair turns out to have been needless, by
//! timestamps (RFC 4015) or D-SACK (RFC 3708), the window is given back.

use super::{
    congestion::{Before, Congestion},
    frto::Doubt,
    info::Repair,
    rtt::Rtt,
    scoreboard::{Delivered, Departure, Scoreboard},
    seq::Seq,
};
use crate::time::{Duration, Instant};

/// RFC 5681's DupThresh.
const DUPLICATE_THRESHOLD: u32 = 3;
/// How far D-SACKs stretch RACK's patience, in quarters of the least round-trip time: beyond
/// that, the smoothed round-trip time bounds it anyway.
const MAX_PATIENCE: u8 = 16;
/// Linux's bound to what is reported of reordering (tcp_max_reordering).
const MAX_REORDERING: u16 = 300;
/// How long a peer may sit on the acknowledgment of a lone segment: Linux delays up to 40 ms.
const DELAYED_ACK_ALLOWANCE: Duration = Duration::from_millis(50);
/// A probe never comes earlier: below that, scheduling looks like loss.
const MIN_PROBE_TIMEOUT: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Nothing is known to be lost.
    Open,
    /// Repairing at a rate that leads the flight down to the threshold.
    Fast(Reduction),
    /// After a timeout: slow start through what was outstanding.
    Timeout,
}

/// RFC 6937 §3.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reduction {
    /// RecoverFS: in flight when the loss was found.
    flight: u32,
    delivered: u32,
    sent: u32,
}

/// RFC 8985 §5.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rack {
    /// The last to leave of all that has arrived.
    latest: Option<Departure>,
    rtt: Duration,
    /// The highest octet that has arrived.
    highest: Seq,
    reordering: bool,
    /// The most segments that one has overtaken, and how often that was seen (Linux: tcpi_reordering,
    /// tcpi_reord_seen).
    overtaken: u16,
    reorderings: u16,
    /// Quarters of the least round-trip time.
    patience: u8,
}

/// RFC 8985 §7: a probe that is out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TailProbe {
    end: Seq,
    retransmitted: bool,
}

/// What it takes to find that a repair was needless.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Undo {
    before: Before,
    /// Retransmitted octets of which no duplicate was reported.
    unexplained: u32,
    /// Our timestamp at the first retransmission.
    stamp: Option<u32>,
    /// Recovery is over; when this is acknowledged, a report would have come.
    until: Option<Seq>,
}

impl Undo {
    /// So many octets came twice. Says whether all that was sent again is explained by that.
    fn explain(&mut self, duplicated: u32) -> bool {
        let before = self.unexplained;
        self.unexplained = before.saturating_sub(duplicated);
        before > 0 && self.unexplained == 0
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recovery {
    pub board: Scoreboard,
    mode: Mode,
    /// Recovery ends when this is acknowledged: `snd_nxt` when it began.
    high: Seq,
    rack: Rack,
    /// Of a peer without SACK.
    duplicates: u32,
    probe: Option<TailProbe>,
    /// Only while there is something to give back.
    undo: Option<Box<Undo>>,
    /// Was the timeout needless?
    pub(super) doubt: Doubt,
}

/// One acknowledgment, as the steps before found it.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub now: Instant,
    pub una: Seq,
    pub nxt: Seq,
    /// Did `una` move?
    pub advanced: bool,
    /// Nothing new in it at all, though something is outstanding (RFC 5681 §2).
    pub duplicate: bool,
    /// Octets that the peer got twice.
    pub duplicated: u32,
    pub delivered: Delivered,
    /// In flight before this acknowledgment.
    pub flight: u32,
    /// Payload of a full-sized segment.
    pub segment: u32,
    pub sack: bool,
    /// Our timestamp, as the peer echoes it.
    pub echo: Option<u32>,
    /// May something be sent that never was?
    pub new_text: bool,
}

impl Recovery {
    pub fn new(iss: Seq) -> Self {
        Self {
            board: Scoreboard::default(),
            mode: Mode::Open,
            high: iss,
            rack: Rack {
                latest: None,
                rtt: Duration::ZERO,
                highest: iss,
                reordering: false,
                overtaken: 0,
                reorderings: 0,
                patience: 1,
            },
            duplicates: 0,
            probe: None,
            undo: None,
            doubt: Doubt::None,
        }
    }

    pub(super) fn is_after_timeout(&self) -> bool {
        self.mode == Mode::Timeout
    }

    /// Recovery ends when this is acknowledged.
    pub(super) fn high(&self) -> Seq {
        self.high
    }

    /// Recovery lasts until `high` is acknowledged.
    pub(super) fn extend(&mut self, high: Seq) {
        self.high = high;
    }

    pub fn is_open(&self) -> bool {
        self.mode == Mode::Open
    }

    /// For reports.
    pub fn repair(&self) -> Repair {
        match self.mode {
            Mode::Open if self.is_quiet() => Repair::Open,
            Mode::Open => Repair::Disorder,
            Mode::Fast(_) => Repair::Recovery,
            Mode::Timeout => Repair::Timeout,
        }
    }

    /// The most segments that one has overtaken, where Linux begins with three; and how often.
    pub fn reordering(&self) -> (u32, u32) {
        let most = u32::from(self.rack.overtaken).max(DUPLICATE_THRESHOLD);
        (most, self.rack.reorderings.into())
    }

    /// Do segments overtake more of others than makes a loss?
    pub fn overtakes(&self) -> bool {
        u32::from(self.rack.overtaken) > DUPLICATE_THRESHOLD
    }

    /// Octets that have arrived beyond a hole, as far as the peer says or its duplicates tell.
    pub fn sacked(&self, segment: u32) -> u32 {
        self.board.sacked().saturating_add(self.duplicates.saturating_mul(segment))
    }

    /// Octets that duplicates of a peer without SACK have announced: its next acknowledgment delivers
    /// them a second time.
    pub fn announced(&self, segment: u32) -> u32 {
        self.duplicates.saturating_mul(segment)
    }

    /// Does nothing even hint at a loss?
    pub fn is_quiet(&self) -> bool {
        self.is_open() && self.board.sacked() == 0 && self.duplicates == 0
    }

    /// Octets on their way, as far as is known (RFC 6675's pipe).
    pub fn in_flight(&self, outstanding: u32, segment: u32) -> u32 {
        let duplicates = self.duplicates.saturating_mul(segment);
        outstanding
            .saturating_sub(self.board.sacked())
            .saturating_sub(self.board.lost())
            .saturating_sub(duplicates)
    }

    /// May congestion control let the window grow by what is delivered?
    pub fn lets_grow(&self) -> bool {
        !matches!(self.mode, Mode::Fast(_))
    }

    /// Takes an acknowledgment into account. Returns when to look again whether what was
    /// overtaken has arrived ([`Recovery::reordering_expired`]).
    pub fn acknowledged(
        &mut self,
        arrival: &Arrival,
        congestion: &mut Congestion,
        rtt: &Rtt,
    ) -> Option<Instant> {
        self.note_arrivals(arrival, rtt);
        self.end_probe(arrival, congestion);
        self.find_needless(arrival, congestion);
        self.doubt_timeout(arrival, congestion);
        if arrival.advanced && !self.is_open() && arrival.una.at_or_after(self.high) {
            self.finish(arrival.nxt, congestion);
        }
        let mut delivered = arrival.delivered.octets;
        if !arrival.sack {
            delivered = self.count_duplicates(arrival);
        }
        let deadline = match arrival.sack {
            true => self.detect(arrival.now, arrival.segment, rtt),
            false => None,
        };
        self.proceed(arrival, delivered, congestion);
        deadline
    }

    /// RFC 8985 §6.2 steps 1 to 3.
    fn note_arrivals(&mut self, arrival: &Arrival, rtt: &Rtt) {
        let Some((departure, retransmitted)) = arrival.delivered.latest else { return };
        let sample = arrival.now.since(departure.at);
        // An acknowledgment that comes sooner after a retransmission than any can is the original's.
        let ambiguous = retransmitted && sample < rtt.minimum();
        if !ambiguous && self.rack.latest.is_none_or(|latest| departure.after(latest)) {
            self.rack.latest = Some(departure);
            self.rack.rtt = sample;
        }
        if let Some(lowest) = arrival.delivered.lowest
            && lowest.before(self.rack.highest)
        {
            let segments = self.rack.highest.since(lowest).div_ceil(arrival.segment.max(1));
            self.rack.reordering = true;
            self.rack.reorderings = self.rack.reorderings.saturating_add(1);
            let segments = u16::try_from(segments).unwrap_or(MAX_REORDERING);
            self.rack.overtaken = self.rack.overtaken.max(segments.min(MAX_REORDERING));
        }
        if let Some(highest) = arrival.delivered.highest {
            self.rack.highest = self.rack.highest.max(highest);
        }
        if arrival.duplicated > 0 {
            self.rack.patience = (self.rack.patience + 1).min(MAX_PATIENCE);
        }
    }

    /// RFC 8985 §7.4.
    fn end_probe(&mut self, arrival: &Arrival, congestion: &mut Congestion) {
        let Some(probe) = &self.probe else { return };
        if arrival.una.before(probe.end) {
            return;
        }
        let needless = !probe.retransmitted || arrival.duplicated > 0;
        if needless {
            self.probe = None;
        } else if arrival.una.after(probe.end) {
            // The probe repaired a loss that nothing else will tell of.
            self.probe = None;
            if self.is_open() {
                drop(congestion.reduce(arrival.segment));
                congestion.window = congestion.window.min(congestion.threshold);
            }
        } else if !arrival.advanced && arrival.delivered.octets == 0 {
            self.probe = None;
        }
    }

    /// Did all that was retransmitted arrive twice, or does the peer answer to the original?
    fn find_needless(&mut self, arrival: &Arrival, congestion: &mut Congestion) {
        let Some(undo) = &mut self.undo else { return };
        if undo.until.is_some_and(|until| arrival.una.at_or_after(until)) {
            self.undo = None;
            return;
        }
        let explained = undo.explain(arrival.duplicated) && self.board.lost() == 0;
        let early = match (undo.stamp, arrival.echo) {
            (Some(stamp), Some(echo)) => arrival.advanced && Seq(echo).before(Seq(stamp)),
            _ => false,
        };
        if explained || early {
            self.was_needless(congestion);
        }
    }

    /// Nothing is outstanding, and so many octets are said to have come twice: the same question.
    pub fn reported_when_idle(&mut self, duplicated: u32, congestion: &mut Congestion) {
        if self.undo.as_mut().is_some_and(|undo| undo.explain(duplicated)) {
            self.was_needless(congestion);
        }
    }

    fn was_needless(&mut self, congestion: &mut Congestion) {
        self.rack.patience = (self.rack.patience + 1).min(MAX_PATIENCE);
        self.rack.reordering = true;
        self.give_back(congestion);
    }

    /// The repair was needless: everything is as before it.
    pub(super) fn give_back(&mut self, congestion: &mut Congestion) {
        let Some(undo) = self.undo.take() else { return };
        congestion.undo(undo.before);
        self.board.find_lost();
        self.mode = Mode::Open;
        self.duplicates = 0;
    }

    fn finish(&mut self, nxt: Seq, congestion: &mut Congestion) {
        congestion.repaired(matches!(self.mode, Mode::Fast(_)));
        self.mode = Mode::Open;
        self.duplicates = 0;
        if let Some(undo) = &mut self.undo {
            undo.until = Some(nxt + 1);
        }
    }

    /// RFC 6582 §3.2, for a peer that does not say what it has. Returns octets delivered.
    fn count_duplicates(&mut self, arrival: &Arrival) -> u32 {
        if arrival.advanced {
            // All but the hole's first segment had announced themselves by a duplicate each.
            let segments = arrival.delivered.octets / arrival.segment.max(1);
            let partial = matches!(self.mode, Mode::Fast(_));
            let announced = segments.saturating_sub(1).min(self.duplicates);
            self.duplicates = if partial { self.duplicates - announced } else { 0 };
            if partial {
                // The next hole begins here.
                self.board.lose_first(arrival.segment);
            }
            return arrival.delivered.octets.saturating_sub(announced * arrival.segment);
        }
        if !arrival.duplicate {
            return 0;
        }
        self.duplicates = self.duplicates.saturating_add(1);
        let fresh = arrival.una.at_or_after(self.high);
        if self.is_open() && fresh && self.duplicates >= DUPLICATE_THRESHOLD {
            self.board.lose_first(arrival.segment);
        }
        arrival.segment
    }

    /// RFC 8985 §6.2 steps 4 and 5.
    fn detect(&mut self, now: Instant, segment: u32, rtt: &Rtt) -> Option<Instant> {
        let latest = self.rack.latest?;
        if self.board.sacked() == 0 && !self.board.has_retransmissions() {
            return None;
        }
        let patience = self.patience(segment, rtt);
        self.board.detect(now, latest, patience).map(|wait| now + wait)
    }

    /// How long after its departure something that was overtaken is lost.
    fn patience(&self, segment: u32, rtt: &Rtt) -> Duration {
        let certain =
            !self.is_open() || self.board.sacked() >= DUPLICATE_THRESHOLD.saturating_mul(segment);
        let window = if certain && !self.rack.reordering {
            Duration::ZERO
        } else {
            (rtt.minimum() / 4 * u32::from(self.rack.patience)).min(rtt.smoothed())
        };
        self.rack.rtt + window
    }

    /// Begins a recovery if something is newly lost, and sets the window for this moment of it.
    fn proceed(&mut self, arrival: &Arrival, delivered: u32, congestion: &mut Congestion) {
        let outstanding = arrival.nxt.since(arrival.una);
        if self.is_open() && self.board.lost() > 0 {
            self.begin(arrival.nxt, arrival.segment, congestion);
            self.mode =
                Mode::Fast(Reduction { flight: arrival.flight.max(1), delivered: 0, sent: 0 });
        }
        let in_flight = self.in_flight(outstanding, arrival.segment);
        if let Mode::Fast(reduction) = &mut self.mode {
            reduction.delivered = reduction.delivered.saturating_add(delivered);
            let progress = arrival.advanced && self.board.lost() == 0;
            let allowance = reduction.allowance(
                in_flight,
                congestion.threshold,
                delivered,
                arrival.segment,
                progress,
            );
            // RFC 6582 §3.2 step 5: a partial acknowledgment always retransmits.
            let partial = !arrival.sack && arrival.advanced;
            let allowance = if partial { allowance.max(arrival.segment) } else { allowance };
            congestion.repairing(in_flight.saturating_add(allowance).max(arrival.segment));
        }
    }

    fn begin(&mut self, nxt: Seq, segment: u32, congestion: &mut Congestion) {
        let before = congestion.reduce(segment);
        self.undo = Some(Box::new(Undo { before, unexplained: 0, stamp: None, until: None }));
        self.high = nxt;
    }

    /// What was overtaken has had its time: looks again, and begins a recovery if it is lost.
    pub fn reordering_expired(
        &mut self,
        now: Instant,
        (una, nxt): (Seq, Seq),
        segment: u32,
        congestion: &mut Congestion,
        rtt: &Rtt,
    ) -> Option<Instant> {
        let flight = self.in_flight(nxt.since(una), segment);
        let deadline = self.detect(now, segment, rtt);
        let arrival = Arrival {
            now,
            una,
            nxt,
            advanced: false,
            duplicate: false,
            duplicated: 0,
            delivered: Delivered::default(),
            flight,
            segment,
            sack: true,
            echo: None,
            new_text: false,
        };
        self.proceed(&arrival, 0, congestion);
        deadline
    }

    /// RFC 6298 §5.4 to §5.6 and RFC 5681 §3.1: the timeout of the oldest octet.
    pub fn timed_out(
        &mut self,
        now: Instant,
        (una, nxt): (Seq, Seq),
        segment: u32,
        congestion: &mut Congestion,
        rtt: &Rtt,
    ) {
        let again = self.mode == Mode::Timeout && una.before(self.high);
        if !again {
            self.begin(nxt, segment, congestion);
        }
        // A repair that was under way had its losses, and so had one that was getting on since a timeout.
        self.doubt = match (&self.mode, self.doubt) {
            (Mode::Open, _) | (Mode::Timeout, Doubt::Asked) => Doubt::Asked,
            _ => Doubt::None,
        };
        self.high = nxt;
        self.mode = Mode::Timeout;
        self.duplicates = 0;
        self.probe = None;
        let patience = self.patience(segment, rtt);
        self.board.lose_all(now - patience);
        congestion.timed_out(self.in_flight(nxt.since(una), segment), segment);
    }

    /// What was lost was lost for its length: it is sent again, and the window stays.
    pub fn excuse(&mut self, congestion: &mut Congestion) {
        if let Some(undo) = self.undo.take() {
            congestion.undo(undo.before);
        }
        self.mode = Mode::Timeout;
        self.doubt = Doubt::None;
    }

    /// Everything in flight is too long for the path and is sent again in smaller pieces; that is
    /// no congestion (RFC 1191 §6.5): the window and its threshold stay.
    pub fn too_long(&mut self, now: Instant, nxt: Seq) {
        self.board.lose_all(now);
        self.mode = Mode::Timeout;
        self.doubt = Doubt::None;
        self.high = nxt;
        self.undo = None;
        self.probe = None;
    }

    /// `start..end` is being sent again; `stamp` is our timestamp in it.
    pub fn retransmitted(&mut self, start: Seq, end: Seq, now: Instant, stamp: Option<u32>) {
        self.board.retransmit(start, end, now);
        self.sent(end.since(start));
        if let Some(undo) = &mut self.undo {
            undo.unexplained = undo.unexplained.saturating_add(end.since(start));
            undo.stamp = undo.stamp.or(stamp);
        }
    }

    /// Octets that leave during a recovery, new or not.
    pub fn sent(&mut self, octets: u32) {
        if let Mode::Fast(reduction) = &mut self.mode {
            reduction.sent = reduction.sent.saturating_add(octets);
        }
    }

    /// When to probe the tail of the flight, from now (RFC 8985 §7.2); `None` where a timeout does.
    pub fn probe_timeout(&self, rtt: &Rtt, flight: u32, segment: u32) -> Option<Duration> {
        if !self.is_quiet() || self.probe.is_some() || !rtt.is_sampled() {
            return None;
        }
        let timeout = (rtt.smoothed() * 2).max(MIN_PROBE_TIMEOUT);
        Some(if flight <= segment { timeout + DELAYED_ACK_ALLOWANCE } else { timeout })
    }

    /// A probe leaves: new data up to `end`, or (`start` given) the tail again from there.
    pub fn probed(&mut self, start: Option<Seq>, end: Seq, now: Instant) {
        if let Some(start) = start {
            self.board.lose_from(start);
            self.board.retransmit(start, end, now);
        }
        self.probe = Some(TailProbe { end, retransmitted: start.is_some() });
    }
}

impl Reduction {
    /// RFC 6937 §3.1, with the slow start reduction bound.
    fn allowance(
        &self,
        in_flight: u32,
        threshold: u32,
        delivered: u32,
        segment: u32,
        progress: bool,
    ) -> u32 {
        let allowance = if in_flight > threshold {
            let share = u64::from(self.delivered) * u64::from(threshold);
            let share = u32::try_from(share.div_ceil(u64::from(self.flight))).unwrap_or(u32::MAX);
            share.saturating_sub(self.sent)
        } else {
            let owed = self.delivered.saturating_sub(self.sent).max(delivered);
            let owed = if progress { owed.saturating_add(segment) } else { owed };
            owed.min(threshold - in_flight)
        };
        // The first retransmission goes at once.
        if self.sent == 0 { allowance.max(segment) } else { allowance }
    }
}
