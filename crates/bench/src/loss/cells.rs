//! The paths.

use narrows_sim::{LinkSettings, link::Bursts};
use narrows_stack::{tcp::congestion::Algorithm, time::Duration};

pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Reno, Algorithm::Cubic, Algorithm::Bbr];

/// How many flows share a path.
pub const FLOWS: [usize; 4] = [2, 4, 8, 16];

/// Bits a second.
const RATE: u64 = 100_000_000;
const ONE_WAY: Duration = Duration::from_millis(20);
/// What the path holds in a round trip.
const PRODUCT: usize = 500_000;
/// Twenty packets.
const TINY: usize = 30_000;
/// Queues that are no part of the question.
const LONG: usize = 4 * PRODUCT;

pub struct Cell {
    pub name: &'static str,
    change: fn(&mut LinkSettings),
}

pub const CELLS: [Cell; 8] = [
    Cell { name: "no loss", change: |_| {} },
    Cell { name: "0.1 % random loss", change: |link| link.loss = 10 },
    Cell { name: "1 % random loss", change: |link| link.loss = 100 },
    Cell { name: "3 % random loss", change: |link| link.loss = 300 },
    Cell {
        name: "3 % reordering",
        change: |link| (link.reorder, link.reorder_by) = (300, Duration::from_millis(10)),
    },
    Cell {
        // A burst in 2000 packets, of five on average: 0.25 % in all.
        name: "bursty loss",
        change: |link| link.bursts = Some(Bursts { begin: 5, end: 2000 }),
    },
    Cell { name: "queue of one round trip", change: |link| link.queue = PRODUCT },
    Cell { name: "queue of 20 packets", change: |link| link.queue = TINY },
];

impl Cell {
    /// The way of the data, and the way back: as long, but without faults.
    pub fn links(&self) -> [LinkSettings; 2] {
        let back = path(LONG);
        let mut there = back.clone();
        (self.change)(&mut there);
        [there, back]
    }
}

/// A queue of one round trip, which several flows share.
pub fn shared() -> [LinkSettings; 2] {
    [path(PRODUCT), path(LONG)]
}

fn path(queue: usize) -> LinkSettings {
    LinkSettings { delay: ONE_WAY, rate: Some(RATE), queue, ..LinkSettings::default() }
}
