//! Path MTU discovery by the segments themselves (RFC 4821), for paths on which nobody says what
//! does not fit: what routers say is still believed, within the range that is searched.
//!
//! As Linux, it begins where a path has shown itself to be a black hole (three timeouts in a row), with
//! segments of [`Settings::base_segment`] octets, halved as long as that does not help; or with every connection,
//! if it is told to. In between one segment of half the way to what might pass goes out, if enough follows to
//! show soon whether it was lost. That loss alone is no congestion (§7.6.2). After [`AGAIN`] the search
//! begins anew, as paths change. Unlike Linux, a window of eleven segments is not asked for: it must only take
//! the probe and what follows it.

use super::{
    Settings,
    connection::{Connection, Outgoing},
    info::Repair,
    phase::Phase,
    send::Gate,
    seq::Seq,
};
use crate::time::{Duration, Instant};

/// Which connections search (Linux: net.ipv4.tcp_mtu_probing 0, 1 and 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtuProbing {
    Never,
    /// Those whose segments vanish.
    BlackHole,
    Always,
}

/// Of IPv4 and TCP without options.
const HEADERS: u16 = 40;
/// A search ends when it has come so near (Linux: tcp_probe_threshold).
const NEAR: u16 = 8;
/// Linux: tcp_probe_interval.
const AGAIN: Duration = Duration::from_secs(600);
/// Segments are not made shorter than any IPv4 host takes (RFC 1122 §3.3.2), less headers.
const FLOOR: u16 = 536 - 88;
/// Timeouts in a row that make a path a black hole (Linux: tcp_retries1).
const TIMEOUTS: u8 = 3;
/// Segments that must follow a probe, to show that it was lost.
const FOLLOWING: u32 = 4;

/// Sizes are of whole packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// Passes.
    low: u16,
    /// Nothing longer is tried.
    high: u16,
    /// What segments have until a probe shows more.
    limit: u16,
    began: Instant,
    /// On its way, and how long its packet is.
    probe: Option<(Seq, Seq, u16)>,
}

impl Search {
    fn new(now: Instant, base: u16, limit: u16, agreed_mss: u16) -> Self {
        let high = agreed_mss.saturating_add(HEADERS);
        Self { low: base.saturating_add(HEADERS).min(high), high, limit, began: now, probe: None }
    }

    fn next(&self) -> Option<u16> {
        let middle = self.low.midpoint(self.high);
        (self.probe.is_none() && self.high.saturating_sub(self.low) >= NEAR).then_some(middle)
    }
}

impl Connection {
    /// The handshake is done.
    pub(super) fn begin_search(&mut self, now: Instant) {
        if self.settings.mtu_probing == MtuProbing::Always {
            let current = self.negotiated.send_mss;
            let base = self.settings.base_segment;
            // As Linux, what is accepted begins with what its route takes.
            let limit = if self.passive { current } else { current.min(base) };
            let search = Search::new(now, base, limit + HEADERS, self.negotiated.agreed_mss);
            self.search = Some(Box::new(search));
            self.negotiated.fit(limit);
        }
    }

    /// What segments may have on a path whose next hop takes `mtu`.
    pub(super) fn probed(&mut self, mtu: u16) -> u16 {
        let Some(search) = &mut self.search else { return mtu };
        search.high = search.high.min(mtu);
        search.limit.min(mtu)
    }

    /// The payload of a probe, if one should leave now.
    pub(super) fn probe_due(&self, gate: &Gate) -> Option<u32> {
        let search = self.search.as_ref()?;
        let options = self.negotiated.send_mss - self.negotiated.max_payload();
        let payload = u32::from(search.next()?.saturating_sub(HEADERS + options));
        let needed = payload.saturating_add(FOLLOWING.saturating_mul(gate.segment));
        let room = gate.congestion_window.saturating_sub(gate.in_flight);
        let fits = payload > gate.segment
            && self.snd.unsent() >= needed
            && self.snd.window_room() >= needed
            && room >= needed
            && self.snd.records.is_none();
        // Blocks of the receiving side would take some of the room.
        let quiet = self.recovery.is_quiet() && self.rcv.blocks(&self.negotiated) == 0;
        (fits && quiet && self.phase == Phase::Established).then_some(payload)
    }

    pub(super) fn send_mtu_probe(&mut self, now: Instant, payload: u32) -> Outgoing {
        let start = self.snd.nxt;
        if let Some(search) = &mut self.search
            && let Some(size) = search.next()
        {
            search.probe = Some((start, start + payload, size));
        }
        let outgoing = self.send_whole(now, payload, payload);
        Outgoing { segment_size: u16::try_from(payload).unwrap_or(u16::MAX), ..outgoing }
    }

    /// An acknowledgment came, and what it says of losses is known.
    pub(super) fn judge_probe(&mut self, now: Instant) {
        let Some(search) = &mut self.search else { return };
        if now.since(search.began) >= AGAIN {
            search.began = now;
            search.high = self.negotiated.agreed_mss.saturating_add(HEADERS);
        }
        let Some((start, end, size)) = search.probe else { return };
        if self.snd.una.at_or_after(end) {
            (search.low, search.limit, search.probe) = (size, size, None);
            self.negotiated.fit(size - HEADERS);
        } else if self.snd.una == start
            && self.recovery.repair() == Repair::Recovery
            && self.recovery.board.lost() <= end.since(start)
        {
            search.high = size - 1;
            search.probe = None;
            self.recovery.excuse(&mut self.congestion);
        }
    }

    /// A timeout says nothing of the probe; several in a row may say that segments are too long.
    pub(super) fn suspect_black_hole(&mut self, now: Instant) {
        if let Some(search) = &mut self.search {
            search.probe = None;
        }
        if self.unanswered.count < TIMEOUTS || self.settings.mtu_probing == MtuProbing::Never {
            return;
        }
        let Settings { base_segment: base, .. } = *self.settings;
        let current = self.negotiated.send_mss;
        let shorter = match &mut self.search {
            None => {
                let search = Search::new(now, base, current.min(base) + HEADERS, current);
                let limit = search.limit;
                self.search = Some(Box::new(search));
                limit
            }
            Some(search) => {
                let half = (search.low.saturating_sub(HEADERS) / 2).min(base).max(FLOOR);
                search.low = half + HEADERS;
                search.limit = search.limit.min(search.low);
                search.limit
            }
        };
        self.negotiated.fit(shorter - HEADERS);
    }
}
