//! What is sent and not acknowledged: ranges of sequence numbers from `snd_una` to `snd_nxt`.
//!
//! Octets that were sent at the same moment and have fared alike share a range, so a bulk transfer
//! without losses has a few ranges in flight, not one for each segment. A SACK block splits ranges
//! at its edges; ranges that are all acknowledged by it become one. So the work an acknowledgment
//! can cause is bounded by [`MAX_RANGES`], whatever the peer claims (CVE-2019-11478).

use super::seq::Seq;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// At this many ranges SACK blocks split no more (what they say of parts of a range is ignored,
/// and the retransmission timeout has to do), and sends join the range before them.
pub(super) const MAX_RANGES: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// In flight, as far as is known.
    Sent,
    /// The peer says it has it (RFC 2018), and may take that back.
    Sacked,
    /// Taken for lost, and not sent again yet.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub start: Seq,
    pub end: Seq,
    /// When it was last sent.
    pub sent_at: Instant,
    pub mark: Mark,
    pub retransmitted: bool,
}

impl Range {
    fn len(&self) -> u32 {
        self.end.since(self.start)
    }
}

/// The order in which octets left: by time, then by number (RFC 8985 §6.2 RACK_sent_after).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub at: Instant,
    pub end: Seq,
}

impl Departure {
    pub fn after(self, other: Self) -> bool {
        self.at > other.at || (self.at == other.at && self.end.after(other.end))
    }
}

/// What one acknowledgment said for the first time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Octets.
    pub octets: u32,
    /// The last to leave of what arrived, and whether it had been sent before.
    pub latest: Option<(Departure, bool)>,
    /// When the last range left that arrived whole and was sent once (Karn's rule).
    pub sampled: Option<Instant>,
    /// The lowest number of an octet, sent once, that was said to have arrived.
    pub lowest: Option<Seq>,
    pub highest: Option<Seq>,
    /// Some of it had been sent again.
    pub again: bool,
}

impl Delivered {
    fn note(&mut self, range: &Range, start: Seq, end: Seq) {
        self.octets += end.since(start);
        let departure = Departure { at: range.sent_at, end };
        if self.latest.is_none_or(|(latest, _)| departure.after(latest)) {
            self.latest = Some((departure, range.retransmitted));
        }
        self.highest = Some(self.highest.map_or(end, |highest| highest.max(end)));
        if !range.retransmitted {
            if end == range.end {
                self.sampled = self.sampled.max(Some(range.sent_at));
            }
            self.lowest = Some(self.lowest.map_or(start, |lowest| lowest.min(start)));
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scoreboard {
    ranges: VecDeque<Range>,
    sacked: u32,
    lost: u32,
    /// All that was ever taken for lost, modulo 2³².
    lost_ever: u32,
    retransmitted: bool,
}

impl Scoreboard {
    /// Octets that the peer reported beyond a hole.
    pub fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Octets to be sent again.
    pub fn lost(&self) -> u32 {
        self.lost
    }

    /// Octets taken for lost since the beginning, found or not; it wraps.
    pub fn lost_ever(&self) -> u32 {
        self.lost_ever
    }

    /// Was anything in here sent more than once?
    pub fn has_retransmissions(&self) -> bool {
        self.retransmitted
    }

    /// Octets that were sent again and are on their way.
    pub fn in_repair(&self) -> u32 {
        let again = |range: &&Range| range.retransmitted && range.mark == Mark::Sent;
        self.ranges.iter().filter(again).map(|range| range.end.since(range.start)).sum()
    }

    /// `start..end`, following all that was sent before, leaves.
    pub fn send(&mut self, start: Seq, end: Seq, now: Instant) {
        let full = self.ranges.len() >= MAX_RANGES;
        match self.ranges.back_mut() {
            Some(last)
                if last.mark == Mark::Sent
                    && (full || (last.sent_at == now && !last.retransmitted)) =>
            {
                last.end = end;
                last.sent_at = now;
            }
            _ => self.ranges.push_back(Range {
                start,
                end,
                sent_at: now,
                mark: Mark::Sent,
                retransmitted: false,
            }),
        }
    }

    /// The oldest octets to be sent again.
    pub fn first_lost(&self) -> Option<(Seq, Seq)> {
        if self.lost == 0 {
            return None;
        }
        let range = self.ranges.iter().find(|range| range.mark == Mark::Lost)?;
        Some((range.start, range.end))
    }

    /// `start..end`, in a range found by [`Scoreboard::first_lost`], leaves again.
    pub fn retransmit(&mut self, start: Seq, end: Seq, now: Instant) {
        let index = self.reaching(start);
        let Some(range) = self.ranges.get_mut(index) else { return };
        let whole = *range;
        if whole.mark != Mark::Lost {
            return;
        }
        let (start, end) = (whole.start, end.min(whole.end));
        self.lost -= end.since(start).min(self.lost);
        self.retransmitted = true;
        let again = Range { start, end, sent_at: now, mark: Mark::Sent, retransmitted: true };
        range.start = end;
        if whole.end == end {
            self.ranges.remove(index);
        }
        let full = self.ranges.len() >= MAX_RANGES;
        match index.checked_sub(1).and_then(|previous| self.ranges.get_mut(previous)) {
            Some(previous)
                if previous.mark == Mark::Sent
                    && previous.retransmitted
                    && (full || previous.sent_at == now) =>
            {
                previous.end = end;
                previous.sent_at = now;
            }
            _ => self.ranges.insert(index, again),
        }
    }

    /// The last octets, at most `len`, that are in flight: for a tail-loss probe, which sends
    /// them again.
    pub fn tail(&self, len: u32) -> Option<(Seq, Seq)> {
        let last = self.ranges.iter().rev().find(|range| range.mark == Mark::Sent)?;
        Some((if last.len() > len { last.end - len } else { last.start }, last.end))
    }

    /// `start..` up to its range's end is taken for lost, to be sent again as a probe: that says of
    /// the path nothing, and does not count.
    pub fn lose_from(&mut self, start: Seq) {
        let mut index = self.reaching(start);
        if self.ranges.get(index).is_some_and(|range| range.start.before(start)) {
            if !self.split(index, start) {
                return;
            }
            index += 1;
        }
        let lost_ever = self.lost_ever;
        self.lose(index);
        self.lost_ever = lost_ever;
    }

    /// The first `len` octets are taken for lost (RFC 6582: there are no SACK blocks to go by).
    pub fn lose_first(&mut self, len: u32) {
        let Some(first) = self.ranges.front().copied() else { return };
        if first.mark == Mark::Sent {
            if first.len() > len {
                self.split(0, first.start + len);
            }
            self.lose(0);
        }
    }

    /// All in flight that left by `before` is taken for lost, and so is the first range. If
    /// the peer has dropped what it once reported (RFC 2018 §8: the first range is reported and
    /// yet not acknowledged), nothing that it reported counts. Returns whether it did.
    pub fn lose_all(&mut self, before: Instant) -> bool {
        let reneged = self.ranges.front().is_some_and(|range| range.mark == Mark::Sacked);
        for index in 0..self.ranges.len() {
            let Some(range) = self.ranges.get_mut(index) else { break };
            if reneged && range.mark == Mark::Sacked {
                range.mark = Mark::Sent;
                self.sacked -= range.len().min(self.sacked);
            }
            if index == 0 || reneged || range.sent_at <= before {
                self.lose(index);
            }
        }
        reneged
    }

    /// Nothing is lost after all.
    pub fn find_lost(&mut self) {
        for range in &mut self.ranges {
            if range.mark == Mark::Lost {
                range.mark = Mark::Sent;
            }
        }
        self.lost = 0;
    }

    fn lose(&mut self, index: usize) {
        if let Some(range) = self.ranges.get_mut(index)
            && range.mark == Mark::Sent
        {
            range.mark = Mark::Lost;
            self.lost += range.len();
            self.lost_ever = self.lost_ever.wrapping_add(range.len());
        }
    }

    /// RFC 8985 §6.2 step 5: what left `patience` ago or more, and before `latest` which has
    /// arrived, is lost. Returns how long until the others that left before it are, too.
    pub fn detect(
        &mut self,
        now: Instant,
        latest: Departure,
        patience: Duration,
    ) -> Option<Duration> {
        let mut longest = None;
        for index in 0..self.ranges.len() {
            let Some(range) = self.ranges.get(index) else { break };
            let departure = Departure { at: range.sent_at, end: range.end };
            if range.mark != Mark::Sent || !latest.after(departure) {
                continue;
            }
            let due = range.sent_at + patience;
            if now >= due {
                self.lose(index);
            } else {
                longest = longest.max(Some(due.since(now)));
            }
        }
        longest
    }

    /// Everything before `una` is acknowledged.
    pub fn acknowledge(&mut self, una: Seq, delivered: &mut Delivered) {
        let mut ambiguous = false;
        while let Some(range) = self.ranges.front_mut()
            && range.start.before(una)
        {
            let whole = *range;
            let end = whole.end.min(una);
            let octets = end.since(whole.start);
            match whole.mark {
                Mark::Sacked => self.sacked -= octets.min(self.sacked),
                Mark::Lost => self.lost -= octets.min(self.lost),
                Mark::Sent => {}
            }
            if whole.mark != Mark::Sacked {
                delivered.note(&whole, whole.start, end);
            }
            ambiguous |= whole.retransmitted;
            if end == whole.end {
                self.ranges.pop_front();
            } else {
                range.start = end;
            }
        }
        delivered.again |= ambiguous;
        if ambiguous {
            // What was sent once may have waited at the peer for what was sent again.
            delivered.sampled = None;
        }
        if self.ranges.is_empty() {
            self.retransmitted = false;
            // A connection that waits holds none.
            self.ranges = VecDeque::new();
        }
    }

    /// The peer has `left..right` (RFC 2018), both within what is outstanding.
    pub fn sack(&mut self, left: Seq, right: Seq, delivered: &mut Delivered) {
        let mut first = self.reaching(left);
        if self.ranges.get(first).is_some_and(|r| r.start.before(left) && r.mark != Mark::Sacked) {
            self.split(first, left);
            first += 1;
        }
        let mut end = first;
        let mut news = false;
        while let Some(range) = self.ranges.get(end).copied()
            && range.start.before(right)
        {
            if range.mark != Mark::Sacked {
                if range.end.after(right) && !self.split(end, right) {
                    break;
                }
                let Some(range) = self.ranges.get_mut(end) else { break };
                if range.mark == Mark::Lost {
                    self.lost -= range.len().min(self.lost);
                }
                range.mark = Mark::Sacked;
                self.sacked += range.len();
                delivered.note(range, range.start, range.end);
                news = true;
            }
            end += 1;
        }
        if news {
            self.join(first.saturating_sub(1), end + 1);
        }
    }

    /// Makes one range of neighbors in `first..end` that are all reported.
    fn join(&mut self, first: usize, end: usize) {
        let reported = |range: &Range| range.mark == Mark::Sacked;
        let end = end.min(self.ranges.len());
        let first =
            first + self.ranges.iter().skip(first).take_while(|range| !reported(range)).count();
        let count = self.ranges.iter().take(end).skip(first).take_while(|r| reported(r)).count();
        let last = (first + count).checked_sub(1).and_then(|index| self.ranges.get(index));
        if let Some(last_end) = last.map(|range| range.end)
            && count > 1
            && let Some(range) = self.ranges.get_mut(first)
        {
            range.end = last_end;
            self.ranges.drain(first + 1..first + count);
        }
    }

    /// The first range that ends after `at`.
    fn reaching(&self, at: Seq) -> usize {
        self.ranges.partition_point(|range| range.end.at_or_before(at))
    }

    /// Splits the range at `index` in two, the second from `at`; `false` if there are too many.
    fn split(&mut self, index: usize, at: Seq) -> bool {
        let many = self.ranges.len() >= MAX_RANGES;
        match self.ranges.get_mut(index) {
            Some(range) if !many && range.start.before(at) && at.before(range.end) => {
                let second = Range { start: at, ..*range };
                range.end = at;
                self.ranges.insert(index + 1, second);
                true
            }
            _ => false,
        }
    }

    /// Octets of heap memory.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.ranges.capacity() * size_of::<Range>()
    }

    #[cfg(test)]
    pub fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter()
    }
}

#[cfg(test)]
#[path = "tests/scoreboard.rs"]
mod tests;
