//! The send sequence space (RFC 9293 §3.3.1), the bytes in it, and how much of them may leave.

use super::{Settings, records::Records, send_tuning::SendTuning, seq::Seq};
use crate::{
    request::SendFlags,
    time::{Duration, Instant},
};
use narrows_ring::ByteRing;

/// Half the sequence space would be ambiguous; a quarter is not.
pub(super) const MAX_BUFFER: usize = 1 << 30;
/// Waiting for room to grow is worth it up to this much: what one frame to a device can take.
const DEFERRED_BURST: u32 = 65_536;

/// A tuned buffer begins with this much, which stays in the cache of one core.
const TUNED_START: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Sender {
    pub iss: Seq,
    /// The oldest unacknowledged octet.
    pub una: Seq,
    /// After the last octet that was ever sent: retransmissions do not move it back.
    pub nxt: Seq,
    /// In octets, and the largest of all.
    pub wnd: u32,
    pub max_wnd: u32,
    /// The sequence number of the segment that last set the window.
    wl1: Seq,
    /// The sequence number of the first byte in `ring`.
    start: Seq,
    pub ring: ByteRing,
    tuning: SendTuning,
    /// A FIN follows the last byte in `ring`.
    pub shut: bool,
    /// After the last segment sent that was less than a full one (Minshall's variant of Nagle's
    /// algorithm).
    small_end: Seq,
    /// Ends of records in `ring`, if the program marks them.
    pub records: Option<Box<Records>>,
    /// The program said that more follows at once: what makes no full segment waits for that, or
    /// for the next acknowledgment (MSG_MORE).
    pub more: bool,
    /// And what leaves without it is not pushed.
    pub unpushed: bool,
    /// A timer overrides Nagle's algorithm and the avoidance of silly windows, once.
    pub forced: bool,
    /// When text last left.
    pub sent_at: Instant,
}

/// What else limits the sender at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    pub congestion_window: u32,
    pub in_flight: u32,
    /// Payload of a full-sized segment.
    pub segment: u32,
    pub no_delay: bool,
    pub cork: bool,
    /// May sending wait for a larger burst?
    pub defer: bool,
    /// See [`Settings::deferred_part`].
    pub deferred_part: u32,
}

impl Sender {
    pub fn new(now: Instant, iss: Seq, settings: &Settings) -> Self {
        Self {
            iss,
            una: iss,
            nxt: iss,
            wnd: 0,
            max_wnd: 0,
            wl1: iss,
            start: iss + 1,
            ring: ByteRing::new(first_limit(settings)),
            tuning: SendTuning::default(),
            shut: false,
            small_end: iss,
            records: None,
            more: false,
            unpushed: false,
            forced: false,
            sent_at: now,
        }
    }

    /// The program changed the limits: what was learned of the path counts no less than before,
    /// unless it asks for less.
    pub fn set_limits(&mut self, settings: &Settings) {
        let limit = self.ring.limit().max(first_limit(settings));
        self.ring.set_limit(limit.min(settings.send_limit));
    }

    /// Lets the buffer grow to what the path can use, at most `limit`.
    pub fn tune(&mut self, now: Instant, acknowledged: usize, min_rtt: Duration, limit: usize) {
        if let Some(wanted) = self.tuning.acknowledged(now, acknowledged, min_rtt)
            && wanted > self.ring.limit()
        {
            self.ring.set_limit(wanted.min(limit).min(MAX_BUFFER));
        }
    }

    /// Octets a second that the path delivered lately, if that was measured.
    pub fn delivery_rate(&self) -> Option<u64> {
        self.tuning.rate()
    }

    /// Where the queued bytes end, and a FIN would be.
    pub fn end(&self) -> Seq {
        // The ring's limit is MAX_BUFFER.
        self.start + self.ring.len() as u32
    }

    pub fn outstanding(&self) -> u32 {
        self.nxt.since(self.una)
    }

    /// Octets never sent, a FIN included.
    pub fn unsent(&self) -> u32 {
        (self.end() + u32::from(self.shut)).since(self.nxt)
    }

    pub fn fin_acknowledged(&self) -> bool {
        self.shut && self.una.after(self.end())
    }

    /// Octets that the peer's window still takes.
    pub fn window_room(&self) -> u32 {
        (self.una + self.wnd).since(self.nxt)
    }

    /// Where in the ring `at` is, and how many bytes of `at..end` are text (not the FIN).
    pub fn text(&self, at: Seq, end: Seq) -> (usize, usize) {
        let offset = at.since(self.start) as usize;
        (offset, end.min(self.end()).since(at) as usize)
    }

    /// Octets that may leave now, in one or several segments: 0, or what makes at least one that
    /// is worth sending (RFC 9293 §3.8.6.2.1, RFC 896).
    pub fn sendable(&self, gate: &Gate) -> u32 {
        let unsent = self.unsent();
        if unsent == 0 {
            return 0;
        }
        // What something else follows is no tail.
        let record = self.record_after(self.nxt).filter(|end| end.before(self.end()));
        let unsent = record.map_or(unsent, |end| end.since(self.nxt));
        let congestion = gate.congestion_window.saturating_sub(gate.in_flight);
        let congestion =
            if gate.in_flight == 0 { congestion.max(gate.segment) } else { congestion };
        let room = self.window_room().min(congestion);
        if self.forced {
            return unsent.min(room);
        }
        if unsent > room {
            let whole = room - room % gate.segment;
            let burst = (gate.congestion_window.min(self.wnd) / gate.deferred_part.max(1))
                .min(DEFERRED_BURST);
            let wait = gate.defer
                && whole < burst - burst % gate.segment
                && gate.in_flight >= gate.segment.saturating_mul(2);
            return if wait { 0 } else { whole };
        }
        if record.is_some() {
            return unsent;
        }
        let tail = self.end().since(self.nxt) % gate.segment;
        if self.shut || tail == 0 || self.may_send_small(gate) { unsent } else { unsent - tail }
    }

    fn may_send_small(&self, gate: &Gate) -> bool {
        !gate.cork && !self.more && (gate.no_delay || !self.small_end.after(self.una))
    }

    /// The end of the record that the octet at `at` is in, if the program marked it.
    pub fn record_after(&self, at: Seq) -> Option<Seq> {
        self.records.as_ref()?.after(at)
    }

    /// The program's call is over: its last octet may end a record, or more may follow.
    pub fn called(&mut self, flags: SendFlags) {
        self.more = flags.contains(SendFlags::MORE);
        self.unpushed = self.more;
        if flags.contains(SendFlags::END_OF_RECORD) {
            let end = self.end();
            self.records.get_or_insert_default().end(end);
        }
    }

    /// Is it the congestion window that holds text back? What waits for a larger burst is held
    /// back by it as well.
    pub fn limited_by(&self, gate: &Gate) -> bool {
        let congestion = gate.congestion_window.saturating_sub(gate.in_flight);
        self.unsent() > congestion && congestion < self.window_room() && self.sendable(gate) == 0
    }

    /// Octets up to `end` leave for the first time.
    pub fn sent(&mut self, now: Instant, end: Seq, segment: u32) {
        let (_, text) = self.text(self.nxt, end);
        if !(text as u32).is_multiple_of(segment.max(1)) {
            self.small_end = end;
        }
        self.nxt = end;
        self.forced = false;
        self.sent_at = now;
    }

    /// `ack`, which is beyond `una`, is acknowledged. Returns how many bytes of the ring that is.
    pub fn acknowledged(&mut self, ack: Seq) -> usize {
        self.una = ack;
        self.more = false;
        if let Some(records) = &mut self.records {
            records.acknowledged(ack);
            if records.is_empty() {
                self.records = None;
            }
        }
        if !self.small_end.after(ack) {
            // Keeps the comparison meaningful however much is sent.
            self.small_end = ack;
        }
        let bytes = ack.since(self.start).min(self.ring.len() as u32);
        self.start += bytes;
        bytes as usize
    }

    /// RFC 9293 §3.10.7.4: an old segment must not set the window.
    pub fn update_window(&mut self, sequence: Seq, advanced: bool, window: u32) -> bool {
        let newer = sequence.after(self.wl1) || (sequence == self.wl1 && window > self.wnd);
        if !advanced && !newer {
            return false;
        }
        let changed = window != self.wnd;
        (self.wl1, self.wnd) = (sequence, window);
        self.max_wnd = self.max_wnd.max(window);
        changed
    }

    /// The peer's first window.
    pub fn open_window(&mut self, sequence: Seq, window: u32) {
        (self.wl1, self.wnd, self.max_wnd) = (sequence, window, window);
    }

    /// A full-sized segment for this peer: one with a small buffer gets halves of it, so that
    /// avoiding silly windows does not stop the flow (as Linux's tcp_bound_to_half_wnd).
    pub fn segment(&self, max_payload: u32) -> u32 {
        const SMALL_BUFFER: u32 = 536;
        let half = if self.max_wnd > SMALL_BUFFER { self.max_wnd / 2 } else { self.max_wnd };
        if half == 0 { max_payload } else { max_payload.min(half) }.max(1)
    }
}

/// The limit of a buffer before anything is known of the path.
fn first_limit(settings: &Settings) -> usize {
    let limit = settings.send_limit.min(MAX_BUFFER);
    if settings.send_tuned { limit.min(TUNED_START) } else { limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the ring takes before and after 200 MB/s were seen over 10 ms.
    fn limits(settings: &Settings) -> (usize, usize) {
        let mut sender = Sender::new(Instant::ZERO, Seq(0), settings);
        let before = sender.ring.limit();
        let (at, rtt) = (Instant::from_millis(10), Duration::from_millis(10));
        sender.tune(at, 2_000_000, rtt, settings.send_limit);
        (before, sender.ring.limit())
    }

    #[test]
    fn a_tuned_buffer_grows_with_the_path_up_to_its_limit() {
        let with = |send_limit, send_tuned| {
            limits(&Settings { send_limit, send_tuned, ..Settings::default() })
        };
        assert_eq!(with(16_000_000, true), (TUNED_START, 8_000_000));
        assert_eq!(with(3_000_000, true), (TUNED_START, 3_000_000));
        assert_eq!(with(20_000, true), (20_000, 20_000));
        assert_eq!(with(2_000_000, false), (2_000_000, 2_000_000), "the program's choice");
    }

    #[test]
    fn a_buffer_that_grew_stays_unless_the_program_wants_less() {
        let mut settings = Settings { send_limit: 16_000_000, ..Settings::default() };
        let mut sender = Sender::new(Instant::ZERO, Seq(0), &settings);
        sender.ring.set_limit(8_000_000);
        sender.set_limits(&settings);
        assert_eq!(sender.ring.limit(), 8_000_000);
        (settings.send_limit, settings.send_tuned) = (5000, false);
        sender.set_limits(&settings);
        assert_eq!(sender.ring.limit(), 5000);
    }
}
