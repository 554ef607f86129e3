//! What a report shows of a connection: what TCP_INFO has of it, and ss(8).

use super::{
    accurate_ecn::Marks,
    chronograph::Held,
    congestion::Algorithm,
    connection::{Connection, State},
    ecn::Feedback,
    fast_open::Failure,
};
use crate::time::{Duration, Instant};

/// What a report (and TCP_INFO) can show of a connection. Windows in bytes, times as durations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub state: State,
    pub algorithm: Algorithm,
    pub congestion_window: u32,
    /// `None`: nothing has set it yet.
    pub slow_start_threshold: Option<u32>,
    /// Octets a second: at which text leaves, or would if it was paced; and at which the path delivers,
    /// and whether only because there was no more to send.
    pub pacing_rate: Option<u64>,
    pub max_pacing_rate: u64,
    pub delivery_rate: Option<u64>,
    pub delivery_rate_app_limited: bool,
    pub send_window: u32,
    pub receive_window: u32,
    pub send_mss: u16,
    /// The largest payload that the peer may send, and that it has sent.
    pub receive_mss: u16,
    pub peer_segment: u32,
    /// Octets of a packet on the path.
    pub path_mtu: u16,
    pub send_window_scale: u8,
    pub receive_window_scale: u8,
    pub timestamps: bool,
    pub sack: bool,
    pub ecn: Feedback,
    /// Where marks are counted: what came, and what the peer says that it got.
    pub marks: Option<(Marks, Marks)>,
    /// Acknowledgments leave at once.
    pub quick_acks: bool,
    pub smoothed_rtt: Duration,
    pub rtt_variance: Duration,
    pub min_rtt: Duration,
    pub retransmission_timeout: Duration,
    /// The delay of acknowledgments.
    pub acknowledgment_timeout: Duration,
    /// The text of a SYN was taken.
    pub syn_text: bool,
    pub fast_open_failure: Failure,
    pub bytes_in_flight: u32,
    pub bytes_sent: u64,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u64,
    pub segments_received: u64,
    /// Of those, with text.
    pub text_segments_sent: u64,
    pub text_segments_received: u64,
    pub retransmissions: u64,
    /// How long something was to be sent; and how long of that the peer's window, or the program's send
    /// buffer, was what kept more from leaving.
    pub busy: Duration,
    pub window_limited: Duration,
    pub buffer_limited: Duration,
    pub history: History,
    /// The most segments that one overtook, as far as seen; Linux begins with 3.
    pub reordering: u32,
    /// How often something arrived that was overtaken.
    pub reorderings: u32,
    /// Octets that the receive window may grow to.
    pub receive_limit: u32,
    /// Segments that the peer is known to have, a SYN included.
    pub delivered: u32,
    /// How far from the next byte to read the urgent one is, if there is one.
    pub urgent_offset: Option<u32>,
    /// Unanswered retransmissions of the oldest byte, and probes.
    pub backoff: u8,
    /// Window and keepalive probes since the peer was last heard.
    pub probes: u8,
    pub repair: Repair,
    /// Sent and not acknowledged; of that: reported to have arrived beyond a hole, taken for lost,
    /// sent again.
    pub bytes_outstanding: u32,
    pub bytes_sacked: u32,
    pub bytes_lost: u32,
    pub bytes_in_repair: u32,
    /// Queued and never sent.
    pub bytes_unsent: u32,
    /// How long ago text last left, text last came, and an acknowledgment last came.
    pub since_sent: Duration,
    pub since_received: Duration,
    pub since_acknowledged: Duration,
}

/// How far a connection trusts the path at the moment (Linux: tcpi_ca_state).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Nothing hints at a loss.
    Open,
    /// Something was overtaken, or acknowledged twice.
    Disorder,
    /// Losses are being repaired.
    Recovery,
    /// After a timeout.
    Timeout,
}

/// Counts for reports. Those of segments wrap, as Linux's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub bytes_sent: u64,
    pub bytes_acknowledged: u64,
    pub bytes_received: u64,
    pub bytes_retransmitted: u64,
    pub segments_sent: u32,
    pub segments_received: u32,
    pub text_segments_sent: u32,
    pub text_segments_received: u32,
    pub retransmissions: u32,
    pub delivered: u32,
}

/// What few connections have met, counted since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// Octets that came twice were reported (RFC 2883).
    pub duplicates_reported: u32,
    /// Segments of the peer that came out of order.
    pub out_of_order: u32,
    /// Segments that the peer says came marked (RFC 3168, RFC 9768).
    pub delivered_marked: u32,
    /// Retransmission timeouts, series of them that ended, and how long those took.
    pub timeouts: u16,
    pub timeout_recoveries: u16,
    pub timeout_time: Duration,
    /// Of the series that goes on: when it began.
    pub(super) timeouts_since: Option<Instant>,
}

impl Connection {
    pub fn info(&self, now: Instant) -> Info {
        let rate =
            self.congestion.window_rate(self.rtt.smoothed()).min(self.settings.max_pacing_rate);
        Info {
            state: self.state(),
            algorithm: self.congestion.algorithm(),
            congestion_window: self.congestion.window,
            slow_start_threshold: self.congestion.threshold(),
            pacing_rate: match &self.pacing {
                Some(pacing) => Some(pacing.rate()),
                None => self.rtt.is_sampled().then_some(rate),
            },
            max_pacing_rate: self.settings.max_pacing_rate,
            delivery_rate: self.congestion.model_bandwidth().or(self.snd.delivery_rate()),
            delivery_rate_app_limited: !self.usage.limited,
            send_window: self.snd.wnd,
            receive_window: self.rcv.window(),
            send_mss: self.negotiated.max_payload(),
            receive_mss: self.negotiated.receive_payload(),
            peer_segment: self.rcv.acks.segment(),
            path_mtu: self.negotiated.path_mtu(),
            send_window_scale: self.negotiated.send_scale,
            receive_window_scale: self.negotiated.receive_scale,
            timestamps: self.negotiated.stamps.is_some(),
            sack: self.negotiated.sack,
            ecn: self.negotiated.ecn,
            marks: self.accurate.as_ref().map(|it| (it.received, it.delivered)),
            quick_acks: self.rcv.acks.is_quick(),
            smoothed_rtt: self.rtt.smoothed(),
            rtt_variance: self.rtt.variance(),
            min_rtt: self.rtt.minimum(),
            retransmission_timeout: self.rtt.timeout(self.unanswered.count),
            acknowledgment_timeout: self.rcv.acks.delay(),
            syn_text: self.fast_open.as_ref().is_some_and(|state| state.taken),
            fast_open_failure: self.fast_open.as_ref().map_or(Failure::None, |state| state.failure),
            bytes_in_flight: self.in_flight(),
            bytes_sent: self.totals.bytes_sent,
            bytes_acknowledged: self.totals.bytes_acknowledged,
            bytes_received: self.totals.bytes_received,
            bytes_retransmitted: self.totals.bytes_retransmitted,
            segments_sent: self.totals.segments_sent.into(),
            segments_received: self.totals.segments_received.into(),
            text_segments_sent: self.totals.text_segments_sent.into(),
            text_segments_received: self.totals.text_segments_received.into(),
            retransmissions: self.totals.retransmissions.into(),
            busy: self.chronograph.busy(now),
            window_limited: self.chronograph.total(now, Held::ByWindow),
            buffer_limited: self.chronograph.total(now, Held::ByBuffer),
            history: self.history_until(now),
            reordering: self.recovery.reordering().0,
            reorderings: self.recovery.reordering().1,
            receive_limit: self.rcv.capacity() as u32,
            delivered: self.totals.delivered,
            urgent_offset: self.rcv.urgent_offset(),
            backoff: self.unanswered.count,
            probes: self.probes,
            repair: self.recovery.repair(),
            bytes_outstanding: self.snd.outstanding(),
            bytes_sacked: self.recovery.sacked(self.segment()),
            bytes_lost: self.recovery.board.lost(),
            bytes_in_repair: self.recovery.board.in_repair(),
            bytes_unsent: self.snd.unsent(),
            since_sent: now.since(self.snd.sent_at),
            since_received: now.since(self.rcv.acks.received_at()),
            since_acknowledged: now.since(self.heard_at),
        }
    }

    fn history_until(&self, now: Instant) -> History {
        let mut history = self.history.as_deref().copied().unwrap_or_default();
        history.timeout_time += history.timeouts_since.map_or(Duration::ZERO, |at| now.since(at));
        history
    }

    pub(super) fn note_timeout(&mut self, now: Instant) {
        let history = self.history();
        history.timeouts = history.timeouts.saturating_add(1);
        if history.timeouts_since.is_none() {
            history.timeouts_since = Some(now);
            history.timeout_recoveries = history.timeout_recoveries.saturating_add(1);
        }
    }

    /// Something new is acknowledged.
    pub(super) fn note_timeouts_over(&mut self, now: Instant) {
        if let Some(history) = &mut self.history
            && let Some(since) = history.timeouts_since.take()
        {
            history.timeout_time += now.since(since);
        }
    }

    /// What few connections meet, from now on with a place to count it.
    pub(super) fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }
}
