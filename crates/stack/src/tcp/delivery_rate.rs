//! How fast the path delivers (draft-cheng-iccrg-delivery-rate-estimation): for each segment that
//! arrives, what was delivered since it left, over the time that took.
//!
//! The time is the longer one of two: between the departures and between the acknowledgments of
//! the same octets. Acknowledgments that come squeezed together so do not make the path look
//! faster than it was fed. A sample of a flow that had nothing more to send says only that the path
//! is at least that fast.
//!
//! The draft keeps a snapshot with each segment. Segments that leave at the same moment would have
//! the same one, so here it is kept by that moment, and only for connections that want to know:
//! others pay nothing.

use super::scoreboard::Departure;
use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// Departures in flight that are told apart; later ones count as the last of these. A millisecond
/// each, as pacing has it, this is more than two seconds of flight.
const MAX_SNAPSHOTS: usize = 2048;
/// Memory for this many is kept by a connection with nothing in flight.
const KEPT_SNAPSHOTS: usize = 4;

/// What was known when something left (the draft's P.*).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    app_limited: bool,
    /// Octets in flight, these included.
    in_flight: u32,
    lost: u64,
}

/// The connection's counts (the draft's C.*).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DeliveryRate {
    delivered: u64,
    delivered_at: Instant,
    /// When that left which was last found to have arrived.
    first_sent_at: Instant,
    /// Until so much is delivered, samples are of a flow that had nothing more to send; 0: none is.
    limited_until: u64,
    lost: u64,
    /// What the scoreboard had lost when it was last looked at, modulo 2³².
    lost_seen: Option<u32>,
    snapshots: VecDeque<Snapshot>,
}

/// What one acknowledgment says of the path (the draft's rs.*). Octets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Octets a second.
    pub rate: Option<u64>,
    /// Delivered over the time of the sample, and in all before it.
    pub delivered: u64,
    pub prior_delivered: u64,
    pub app_limited: bool,
    /// In flight when that left which has arrived, and lost since.
    pub in_flight: u32,
    pub lost: u64,
    /// By this acknowledgment.
    pub newly_delivered: u32,
    pub newly_lost: u32,
    pub rtt: Option<Duration>,
}

impl DeliveryRate {
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    pub fn is_app_limited(&self) -> bool {
        self.limited_until != 0
    }

    /// There is nothing more to send, or on purpose less is sent than could be.
    pub fn limit(&mut self, in_flight: u32) {
        self.limited_until = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// `octets` leave; `in_flight` were on their way.
    pub fn sent(&mut self, now: Instant, octets: u32, in_flight: u32) {
        if in_flight == 0 {
            (self.first_sent_at, self.delivered_at) = (now, now);
        }
        let full = self.snapshots.len() >= MAX_SNAPSHOTS;
        let in_flight = in_flight.saturating_add(octets);
        match self.snapshots.back_mut() {
            Some(last) if last.at == now || full => last.in_flight = in_flight,
            _ => self.snapshots.push_back(Snapshot {
                at: now,
                delivered: self.delivered,
                delivered_at: self.delivered_at,
                first_sent_at: self.first_sent_at,
                app_limited: self.limited_until != 0,
                in_flight,
                lost: self.lost,
            }),
        }
    }

    /// An acknowledgment delivered `octets`, of which `latest` was the last to leave; `lost_ever` is
    /// all that the scoreboard has taken for lost, modulo 2³². A sample of less than `min_rtt` is a
    /// peer that acknowledges in bursts, or makes things up.
    pub fn acknowledged(
        &mut self,
        now: Instant,
        (octets, lost_ever): (u32, u32),
        latest: Option<Departure>,
        min_rtt: Duration,
    ) -> Sample {
        let lost = self.lost_seen.map_or(0, |seen| lost_ever.wrapping_sub(seen));
        self.lost_seen = Some(lost_ever);
        self.lost += u64::from(lost);
        let mut sample = Sample { newly_delivered: octets, newly_lost: lost, ..Sample::default() };
        if octets == 0 {
            return sample;
        }
        self.delivered += u64::from(octets);
        self.delivered_at = now;
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let Some(latest) = latest else { return sample };
        let index = self.snapshots.partition_point(|snapshot| snapshot.at <= latest.at);
        // What left before it and arrives later is nothing new.
        self.snapshots.drain(..index.saturating_sub(1));
        let Some(then) = self.snapshots.front().filter(|snapshot| snapshot.at <= latest.at) else {
            return sample;
        };
        sample.prior_delivered = then.delivered;
        sample.delivered = self.delivered - then.delivered;
        sample.app_limited = then.app_limited;
        sample.in_flight = then.in_flight;
        sample.lost = self.lost - then.lost;
        let interval = latest.at.since(then.first_sent_at).max(now.since(then.delivered_at));
        self.first_sent_at = latest.at;
        if interval >= min_rtt && !interval.is_zero() {
            sample.rate = Some(rate(sample.delivered, interval));
        }
        sample
    }

    /// Nothing is in flight any more.
    pub fn emptied(&mut self) {
        self.snapshots.clear();
        self.snapshots.shrink_to(KEPT_SNAPSHOTS);
    }
}

/// Octets a second.
fn rate(octets: u64, interval: Duration) -> u64 {
    let rate = u128::from(octets) * 1_000_000_000 / interval.as_nanos().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "tests/delivery_rate.rs"]
mod tests;
