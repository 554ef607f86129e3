//! What the wire does to the frames that a host sends: it takes its time, and loses, delays,
//! reorders, repeats and damages some. A frame that is longer than the link's MTU is never passed
//! on: it fails the run (see [`invariant`](crate::invariant)).

use crate::{
    frame::{self, Frame},
    invariant::{self, Broken},
};
use narrows_stack::{
    random::Random,
    time::{Duration, Instant},
};
use narrows_wire::offload::{Capabilities, TxOffload};
use std::{cmp::Ordering, collections::BinaryHeap};

/// What the device at the sending end does for its host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: checksums and segments are the host's.
    #[default]
    None,
    /// Frames with partial checksums and of up to 64 KiB are cut before the wire.
    Cut,
    /// They cross as they are, as between two machines on one host.
    Whole,
}

impl Offload {
    pub fn capabilities(self) -> Capabilities {
        match self {
            Self::None => Capabilities::default(),
            Self::Cut | Self::Whole => Capabilities {
                tx_checksum: true,
                tx_segmentation: Some(65_535),
                tx_datagrams: false,
            },
        }
    }
}

/// Probabilities are in 1/10,000.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    pub mtu: u16,
    pub offload: Offload,
    pub delay: Duration,
    /// More delay, up to this, different for each frame; their order stays.
    pub jitter: Duration,
    /// How many are held back, and for how long at most, while others pass.
    pub reorder: u32,
    pub reorder_by: Duration,
    pub loss: u32,
    /// Losses come in bursts, beside the others.
    pub bursts: Option<Bursts>,
    pub duplicate: u32,
    pub corrupt: u32,
    /// Bits per second; `None`: no time at all.
    pub rate: Option<u64>,
    /// Bytes that may wait for the wire; more are lost.
    pub queue: usize,
    /// Instead of losing what doesn't fit the queue, the device takes no more.
    pub backpressure: bool,
    /// IPv4 frames that are lost for sure: the number of the first, from 0, and how many.
    pub lose: Vec<(u64, u64)>,
}

/// Gilbert and Elliott's model: the wire is good or bad, and loses all in the one state and nothing in
/// the other. How many frames of 10,000 make it bad, and good again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    pub begin: u32,
    pub end: u32,
}

impl Default for LinkSettings {
    /// A wire without fault: 1 ms, Ethernet's MTU.
    fn default() -> Self {
        Self {
            mtu: 1500,
            offload: Offload::None,
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            reorder: 0,
            reorder_by: Duration::ZERO,
            loss: 0,
            bursts: None,
            duplicate: 0,
            corrupt: 0,
            rate: None,
            queue: 1 << 20,
            backpressure: false,
            lose: Vec::new(),
        }
    }
}

/// A frame under way.
#[derive(Debug)]
struct Flying {
    arrives: Instant,
    number: u64,
    frame: Frame,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.arrives, other.number).cmp(&(self.arrives, self.number))
    }
}

/// One host's way to all others.
#[derive(Debug)]
pub struct Link {
    pub settings: LinkSettings,
    /// Nothing passes while it is cut off.
    pub down: bool,
    /// In the bad state of [`Bursts`].
    bad: bool,
    random: Random,
    flying: BinaryHeap<Flying>,
    frames: u64,
    ipv4_frames: u64,
    /// When the wire will have taken what waits.
    busy_until: Instant,
    last_arrival: Instant,
}

impl Link {
    pub fn new(settings: LinkSettings, random: Random) -> Self {
        Self {
            settings,
            down: false,
            bad: false,
            random,
            flying: BinaryHeap::new(),
            frames: 0,
            ipv4_frames: 0,
            busy_until: Instant::ZERO,
            last_arrival: Instant::ZERO,
        }
    }

    /// Would the device take another frame?
    pub fn has_room(&self, now: Instant) -> bool {
        !self.settings.backpressure || self.waiting(now) < self.settings.queue
    }

    /// When the device takes frames again, if it does not now.
    pub fn room_at(&self, now: Instant) -> Option<Instant> {
        if self.has_room(now) {
            return None;
        }
        let too_much = self.waiting(now) - self.settings.queue + 1;
        Some(now + self.time_for(too_much).max(Duration::from_nanos(1)))
    }

    /// Bytes that wait for the wire.
    fn waiting(&self, now: Instant) -> usize {
        let nanos = self.busy_until.since(now).as_nanos();
        self.settings.rate.map_or(0, |rate| (nanos * u128::from(rate) / 8_000_000_000) as usize)
    }

    fn time_for(&self, bytes: usize) -> Duration {
        let nanos = |rate: u64| bytes as u64 * 8_000_000_000 / rate.max(1);
        self.settings.rate.map_or(Duration::ZERO, |rate| Duration::from_nanos(nanos(rate)))
    }

    /// Takes a frame from the host's device, and says what of it goes on the wire (before any
    /// harm): for a trace.
    pub fn send(
        &mut self,
        now: Instant,
        bytes: Vec<u8>,
        offload: TxOffload,
    ) -> Result<Vec<Frame>, Broken> {
        invariant::check_frame(&bytes, offload, &self.settings)?;
        let frames = match self.settings.offload {
            Offload::Whole => vec![Frame::whole(bytes, offload)],
            Offload::Cut | Offload::None => frame::cut(bytes, offload)
                .map_err(|error| Broken(format!("can't be cut: {error}")))?,
        };
        for frame in &frames {
            self.carry(now, frame);
        }
        Ok(frames)
    }

    /// Takes a frame of anybody's, whatever it is: for wires between real devices.
    pub fn pass(&mut self, now: Instant, bytes: &[u8]) {
        self.carry(now, &Frame::plain(bytes));
    }

    fn carry(&mut self, now: Instant, frame: &Frame) {
        let ipv4 = frame.bytes.get(12..14) == Some(&[8, 0]);
        self.ipv4_frames += u64::from(ipv4);
        let len = frame.bytes.len();
        if self.waiting(now) + len > self.settings.queue && !self.settings.backpressure {
            return;
        }
        self.busy_until = self.busy_until.max(now) + self.time_for(len);
        let number = self.ipv4_frames.saturating_sub(1);
        let lost = |(first, count): &(u64, u64)| (*first..first + count).contains(&number);
        let chosen = ipv4 && self.settings.lose.iter().any(lost);
        if self.down || chosen || self.is_in_burst() || self.happens(self.settings.loss) {
            return;
        }
        let mut frame = frame.clone();
        if frame.crosses_a_wire() && self.happens(self.settings.corrupt) {
            // ARP has no checksum of its own: what Ethernet's finds is lost.
            if !ipv4 {
                return;
            }
            self.damage(&mut frame);
        }
        let mut arrives = self.busy_until + self.settings.delay + self.up_to(self.settings.jitter);
        if self.happens(self.settings.reorder) {
            arrives += self.up_to(self.settings.reorder_by);
        } else {
            arrives = arrives.max(self.last_arrival);
            self.last_arrival = arrives;
        }
        if self.happens(self.settings.duplicate) {
            let late = self.up_to(self.settings.delay);
            self.fly(arrives + late, frame.clone());
        }
        self.fly(arrives, frame);
    }

    fn is_in_burst(&mut self) -> bool {
        if let Some(bursts) = self.settings.bursts {
            self.bad ^= self.happens(if self.bad { bursts.end } else { bursts.begin });
        }
        self.bad
    }

    /// Changes one byte, which every checksum finds.
    fn damage(&mut self, frame: &mut Frame) {
        let mut bytes = frame.bytes.to_vec();
        let at = self.random.below(bytes.len() as u32) as usize;
        bytes[at] ^= 1 + self.random.below(255) as u8;
        frame.bytes = bytes.into();
    }

    /// Puts a frame on the wire that arrives at `arrives`.
    pub fn fly(&mut self, arrives: Instant, frame: Frame) {
        self.frames += 1;
        self.flying.push(Flying { arrives, number: self.frames, frame });
    }

    pub fn next_arrival(&self) -> Option<Instant> {
        self.flying.peek().map(|flying| flying.arrives)
    }

    /// The next frame that has arrived.
    pub fn receive(&mut self, now: Instant) -> Option<Frame> {
        (self.next_arrival()? <= now).then(|| self.flying.pop())?.map(|flying| flying.frame)
    }

    fn happens(&mut self, probability: u32) -> bool {
        probability > 0 && self.random.below(10_000) < probability
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let micros = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(self.random.below(micros.saturating_add(1)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `count` frames of 1000 bytes at once, each with its number in it; says when each came.
    fn arrivals(settings: LinkSettings, count: u32) -> Vec<(u64, u32)> {
        let mut link = Link::new(settings, Random::new([1; 16]));
        for number in 0..count {
            let mut bytes = vec![0; 1000];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            bytes[12..14].copy_from_slice(&[8, 0]);
            link.carry(Instant::ZERO, &Frame::plain(bytes));
        }
        let mut arrivals = Vec::new();
        while let Some(at) = link.next_arrival() {
            while let Some(frame) = link.receive(at) {
                let number = frame.bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                arrivals.push((at.as_micros(), number.unwrap()));
            }
        }
        arrivals
    }

    #[test]
    fn a_rate_spaces_frames_and_a_queue_is_full_some_time() {
        let settings =
            LinkSettings { rate: Some(8_000_000), queue: 3000, ..LinkSettings::default() };
        assert_eq!(arrivals(settings, 10), [(2000, 0), (3000, 1), (4000, 2)]);
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let jitter = Duration::from_millis(5);
        let settings = LinkSettings { jitter, ..LinkSettings::default() };
        let in_order = arrivals(settings.clone(), 100);
        assert!(in_order.is_sorted_by_key(|(_, number)| *number));
        assert!(in_order.iter().all(|(at, _)| (1000..=6000).contains(at)));
        let settings = LinkSettings { reorder: 3000, reorder_by: jitter, ..settings };
        let reordered = arrivals(settings, 100);
        assert!(reordered.is_sorted_by_key(|(at, _)| *at));
        assert!(!reordered.is_sorted_by_key(|(_, number)| *number));
        assert_eq!(reordered.len(), 100);
    }

    #[test]
    fn losses_and_duplicates_are_as_many_as_set() {
        let settings = LinkSettings { loss: 1000, ..LinkSettings::default() };
        assert!((850..950).contains(&arrivals(settings, 1000).len()));
        let settings = LinkSettings { duplicate: 1000, ..LinkSettings::default() };
        assert!((1050..1150).contains(&arrivals(settings, 1000).len()));
        let settings = LinkSettings { lose: vec![(0, 1), (2, 1)], ..LinkSettings::default() };
        assert_eq!(arrivals(settings, 4), [(1000, 1), (1000, 3)]);
    }

    #[test]
    fn bursts_are_as_long_and_as_many_as_set() {
        let bursts = Some(Bursts { begin: 100, end: 2500 });
        let settings = LinkSettings { bursts, ..LinkSettings::default() };
        let numbers: Vec<u32> =
            arrivals(settings, 20_000).into_iter().map(|(_, number)| number).collect();
        let lost = 20_000 - numbers.len();
        let count = numbers.windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
        assert!((140..260).contains(&count), "{count}");
        assert!((3..6).contains(&(lost / count)), "{lost} in {count}");
    }

    #[test]
    fn a_device_pushes_back_until_there_is_room() {
        let settings = LinkSettings {
            rate: Some(8_000_000),
            queue: 2000,
            backpressure: true,
            ..LinkSettings::default()
        };
        let mut link = Link::new(settings, Random::new([1; 16]));
        let mut now = Instant::ZERO;
        assert_eq!(link.room_at(now), None);
        for _ in 0..2 {
            assert!(link.has_room(now));
            link.carry(now, &Frame::plain(vec![0; 1000]));
        }
        assert!(!link.has_room(now));
        now = link.room_at(now).unwrap();
        assert!(link.has_room(now), "{now:?}");
        assert!(now < Instant::from_millis(2));
    }
}
