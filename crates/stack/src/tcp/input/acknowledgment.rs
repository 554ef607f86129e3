//! The fifth step: what the peer has (RFC 9293 §3.10.7.4, RFC 5961 §5, RFC 2018, RFC 2883).

use super::{Checked, Stop};
use crate::{
    counters::DropReason,
    tcp::{
        accurate_ecn::Feedback,
        congestion::{Acknowledged, Step as ModelStep},
        connection::{Connection, reset_for},
        ecn,
        phase::{Phase, Step},
        recovery::Arrival,
        scoreboard::Delivered,
        seq::Seq,
        timers::Waiting,
    },
    time::{Duration, Instant},
};
use narrows_ring::Pool;
use narrows_wire::tcp::{Flags, Segment};

impl Connection {
    pub(super) fn check_acknowledgment(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
    ) -> Checked {
        let header = &segment.header;
        if !header.flags.ack() {
            return Err(Stop::Drop(DropReason::TcpNoAck));
        }
        let ack = Seq(header.acknowledgment);
        if self.phase == Phase::SynReceived {
            // An early connection may have sent text already.
            if ack.at_or_before(self.snd.iss) || ack.after(self.snd.nxt) {
                return Err(Stop::Reset(DropReason::TcpBadAck, reset_for(segment)));
            }
            self.syn_acknowledged(now);
            if let Some(accurate) = &mut self.accurate {
                let counters = segment.options.ecn.as_ref();
                accurate.begin_passive(header.flags.ace(), segment.payload.is_empty(), counters);
            }
            let window = u32::from(header.window) << self.scale_of(segment);
            self.snd.open_window(Seq(header.sequence), window);
        }
        // RFC 5961 §5.2
        if ack.after(self.snd.nxt) || ack.before(self.snd.una - self.snd.max_wnd) {
            return Err(self.challenge(now, DropReason::TcpBadAck));
        }
        self.heard(now);
        let later = self.update_timestamp(now, segment);
        self.acknowledge(now, buffers, segment, ack, later);
        if self.snd.fin_acknowledged() {
            self.step(now, Step::FinAcknowledged);
        }
        match self.phase {
            Phase::Closed => Err(Stop::Done),
            _ => Ok(()),
        }
    }

    fn scale_of(&self, segment: &Segment<'_>) -> u8 {
        if segment.header.flags.syn() { 0 } else { self.negotiated.send_scale }
    }

    /// RFC 7323 §4.3: TS.Recent follows the segment that the next acknowledgment will echo. Says whether this one is
    /// later than all before, as far as that shows.
    fn update_timestamp(&mut self, now: Instant, segment: &Segment<'_>) -> bool {
        if let (Some(stamps), Some(theirs)) =
            (&mut self.negotiated.stamps, segment.options.timestamps)
            && Seq(segment.header.sequence).at_or_before(self.rcv.told)
        {
            let before = stamps.recent;
            stamps.update(theirs.value, now);
            return Seq(stamps.recent).after(Seq(before));
        }
        false
    }

    fn acknowledge(
        &mut self,
        now: Instant,
        buffers: &mut Pool,
        segment: &Segment<'_>,
        ack: Seq,
        later: bool,
    ) {
        let header = &segment.header;
        let una = self.snd.una;
        let advanced = ack.after(una);
        let outstanding = self.snd.outstanding();
        let flight = self.in_flight();
        let window = u32::from(header.window) << self.scale_of(segment);
        let window_changed =
            ack.at_or_after(una) && self.snd.update_window(Seq(header.sequence), advanced, window);

        let mut delivered = Delivered::default();
        if advanced {
            let bytes = self.snd.acknowledged(ack);
            self.totals.bytes_acknowledged += bytes as u64;
            self.snd.ring.consume(buffers, bytes);
            self.snd.tune(now, bytes, self.rtt.minimum(), self.settings.send_limit);
            self.note_room();
            self.tell_arrival(now);
            self.recovery.board.acknowledge(ack, &mut delivered);
            self.unanswered.count = 0;
            self.unanswered.since = now;
            self.unanswered.progress = true;
            self.note_timeouts_over(now);
            self.due.tail = false;
        } else if self.snd.wnd > 0 && outstanding == 0 {
            // The window is open: nobody needs to probe it any more.
            self.unanswered.count = 0;
        }
        let duplicated = self.selective(segment, una, ack, &mut delivered);
        if duplicated > 0 {
            self.history().duplicates_reported += duplicated.div_ceil(self.segment());
        }
        self.totals.delivered += delivered.octets.div_ceil(self.segment());
        let later = later || advanced || delivered.octets > 0;
        let marked = self.told_marks(now, segment, delivered.octets, later);
        if outstanding == 0 {
            self.recovery.reported_when_idle(duplicated, &mut self.congestion);
            return;
        }
        self.sample_rtt(now, segment, advanced, &delivered);
        let segment_size = self.segment();
        let duplicate = !advanced
            && ack == una
            && segment.payload.is_empty()
            && !header.flags.fin()
            && !window_changed;
        let arrival = Arrival {
            now,
            una: self.snd.una,
            nxt: self.snd.nxt,
            advanced,
            duplicate,
            duplicated,
            delivered,
            flight,
            segment: segment_size,
            sack: self.negotiated.sack,
            echo: segment.options.timestamps.map(|timestamps| timestamps.echo),
            new_text: self.snd.unsent() > 0 && self.snd.window_room() > 0,
        };
        let announced = self.recovery.announced(segment_size);
        let could_grow = self.recovery.lets_grow();
        let (una, nxt) = (arrival.una, arrival.nxt);
        self.congestion.count_marks(arrival.delivered.octets, marked, una, nxt);
        if marked > 0 {
            self.slow_down(&arrival);
        }
        let reordering = self.recovery.acknowledged(&arrival, &mut self.congestion, &self.rtt);
        self.judge_probe(now);
        if self.congestion.has_model() {
            self.follow_model(&arrival, announced);
        }
        // As Linux: where segments overtake each other, what has arrived beyond a hole counts, too.
        let overtakes = self.recovery.overtakes() && arrival.delivered.octets > 0;
        if could_grow && (advanced || overtakes) && self.recovery.lets_grow() {
            self.grow(&arrival, announced);
        }
        let news = advanced || arrival.delivered.octets > 0;
        self.wait_further(now, news, advanced, reordering);
    }

    /// RFC 3168 §6.1.2: the path is congested. Where a loss is being repaired it is known.
    fn slow_down(&mut self, arrival: &Arrival) {
        if self.ecn.told(arrival.una, arrival.nxt) && self.recovery.is_open() {
            self.congestion.mark(arrival.segment);
        }
        // RFC 9768 §3.3: the flag for that counts.
        self.ecn.reduced &= self.accurate.is_none();
    }

    /// Octets that the peer says came marked, of so many that are newly known to have come. `later`: the
    /// acknowledgment is not an old one that was overtaken.
    fn told_marks(&mut self, now: Instant, segment: &Segment<'_>, octets: u32, later: bool) -> u32 {
        let size = self.segment();
        let flags = segment.header.flags;
        let marked = match (&mut self.accurate, self.negotiated.ecn) {
            (Some(accurate), _) if later => {
                accurate.note_time(now, self.rtt.smoothed());
                let counters = segment.options.ecn.as_ref();
                let sent = self.totals.bytes_sent;
                let ace = flags.ace();
                accurate.told(&Feedback { ace, counters, octets, segment: size, sent })
            }
            (None, ecn::Feedback::Classic) if flags.contains(Flags::ECE) => octets.div_ceil(size),
            _ => 0,
        };
        if marked > 0 {
            let history = self.history();
            history.delivered_marked = history.delivered_marked.wrapping_add(marked);
        }
        marked.saturating_mul(size)
    }

    /// SACK blocks: returns how many octets the peer says came twice.
    fn selective(
        &mut self,
        segment: &Segment<'_>,
        una: Seq,
        ack: Seq,
        delivered: &mut Delivered,
    ) -> u32 {
        let blocks = segment.options.sack.as_slice();
        if !self.negotiated.sack || blocks.is_empty() {
            return 0;
        }
        let mut duplicated = 0;
        for (index, (left, right)) in blocks.iter().enumerate() {
            let (left, right) = (Seq(*left), Seq(*right));
            // RFC 2883 §4: the first block is a duplicate if it is acknowledged, or in the second.
            let in_second = blocks
                .get(1)
                .is_some_and(|(l, r)| Seq(*l).at_or_before(left) && right.at_or_before(Seq(*r)));
            if index == 0 && left.before(right) && (right.at_or_before(ack) || in_second) {
                if left.at_or_after(una - self.snd.max_wnd) && right.at_or_before(self.snd.nxt) {
                    duplicated = right.since(left);
                }
            } else if left.at_or_after(self.snd.una)
                && left.before(right)
                && right.at_or_before(self.snd.nxt)
            {
                self.recovery.board.sack(left, right, delivered);
            }
        }
        duplicated
    }

    /// RFC 6298 §3: from what was sent once, else (RFC 7323 §4.1) from the echoed timestamp.
    fn sample_rtt(
        &mut self,
        now: Instant,
        segment: &Segment<'_>,
        advanced: bool,
        delivered: &Delivered,
    ) {
        if let Some(sent_at) = delivered.sampled {
            self.rtt.sample(now, now.since(sent_at));
        } else if advanced
            && let (Some(stamps), Some(theirs)) =
                (self.negotiated.stamps, segment.options.timestamps)
            && theirs.echo != 0
        {
            let millis = stamps.now(now).wrapping_sub(theirs.echo);
            // More is a peer that makes numbers up.
            const PLAUSIBLE: u32 = 120_000;
            if millis < PLAUSIBLE {
                self.rtt.sample(now, Duration::from_millis(u64::from(millis.max(1))));
            }
        }
    }

    /// What an acknowledgment says to an algorithm with a model of the path.
    fn follow_model(&mut self, arrival: &Arrival, announced: u32) {
        let in_flight = self.in_flight();
        let recovering = !self.recovery.is_open();
        let limited = self.usage.limited;
        let lost = self.recovery.board.lost_ever();
        let now = arrival.now;
        let delivered = &arrival.delivered;
        let Some(model) = self.congestion.model() else { return };
        // Duplicates without SACK have told of some of it before.
        let octets = match arrival.duplicate && !arrival.sack {
            true => arrival.segment,
            false => delivered.octets.saturating_sub(announced),
        };
        let latest = delivered.latest.map(|(departure, _)| departure);
        let mut sample =
            model.delivery.acknowledged(now, (octets, lost), latest, self.rtt.minimum());
        sample.rtt = delivered.sampled.map(|sent_at| now.since(sent_at));
        if arrival.una == arrival.nxt {
            model.delivery.emptied();
        }
        let segment = arrival.segment;
        self.congestion.step(&ModelStep { now, sample, in_flight, segment, limited, recovering });
    }

    fn grow(&mut self, arrival: &Arrival, announced: u32) {
        // In slow start twice what was used is enough (RFC 7661 §4.3, as Linux).
        let used = self.usage.limited
            || !self.recovery.is_open()
            || (self.congestion.in_slow_start()
                && self.congestion.window < self.usage.peak.saturating_mul(2));
        let fresh = arrival.delivered.octets.min(arrival.segment);
        if used {
            self.congestion.acknowledged(Acknowledged {
                now: arrival.now,
                una: arrival.una,
                nxt: arrival.nxt,
                bytes: arrival.delivered.octets.saturating_sub(announced).max(fresh),
                segment: arrival.segment,
                rtt: self.rtt.smoothed(),
                sample: arrival.delivered.sampled.map(|sent_at| arrival.now.since(sent_at)),
            });
        }
    }

    /// RFC 6298 §5.2 and §5.3.
    fn wait_further(
        &mut self,
        now: Instant,
        news: bool,
        advanced: bool,
        reordering: Option<Instant>,
    ) {
        if self.snd.outstanding() == 0 {
            self.timers.stop_waiting();
            return;
        }
        if advanced {
            self.timers.started = now;
        }
        if news || reordering.is_some() || self.timers.waiting() == Waiting::Reordering {
            self.wait_for_acknowledgment(now, reordering);
        }
    }
}
