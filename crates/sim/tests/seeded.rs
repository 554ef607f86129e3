//! Ten thousand scenarios, each drawn from its seed. `NARROWS_SIM_SEED=n cargo test -p narrows-sim
//! --test seeded` runs one alone and leaves its frames in a pcap file.

use narrows_sim::{
    draw,
    scenario::{self, Report},
};
use narrows_stack::counters::DropReason;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

const SEEDS: u64 = 10_000;

/// What went wrong is shown for as many; the rest only counted.
const SHOWN: usize = 5;

/// What happens somewhere in ten thousand scenarios, or they are not what they should be.
const MUST_HAPPEN: &[DropReason] = &[
    DropReason::NotForThisStation,
    DropReason::UnknownEtherType,
    DropReason::Ipv4Malformed,
    DropReason::Ipv4Checksum,
    DropReason::IcmpChecksum,
    DropReason::IcmpUnmatched,
    DropReason::TcpMalformed,
    DropReason::TcpChecksum,
    DropReason::TcpNoSocket,
    DropReason::TcpPaws,
    DropReason::TcpOutOfWindow,
    DropReason::TcpBlindReset,
    DropReason::TcpBlindSyn,
];

/// What one thread saw.
#[derive(Default)]
struct Seen {
    failures: Vec<String>,
    bytes: u64,
    drops: BTreeMap<DropReason, u64>,
}

impl Seen {
    fn add(&mut self, result: Result<Report, String>) {
        match result {
            Ok(report) => {
                self.bytes += report.bytes;
                for (reason, count) in report.counters.iter().flat_map(|c| c.drops()) {
                    *self.drops.entry(reason).or_default() += count;
                }
            }
            Err(failure) => self.failures.push(failure),
        }
    }
}

#[test]
fn ten_thousand_seeded_scenarios() {
    if let Ok(seed) = std::env::var(scenario::SEED_VARIABLE) {
        return run_alone(seed.parse().expect("a number"));
    }
    let next = AtomicU64::new(0);
    let worker = || {
        let mut seen = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS || seen.failures.len() > SHOWN {
                return seen;
            }
            seen.add(scenario::run_seed(seed));
        }
    };
    let seen: Vec<Seen> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().map(|worker| worker.join().expect("failures are caught")).collect()
    });
    let failures: Vec<_> = seen.iter().flat_map(|seen| &seen.failures).collect();
    for failure in failures.iter().take(SHOWN) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} of {} failed", failures.len(), next.into_inner().min(SEEDS));
    let count = |reason| seen.iter().filter_map(|seen| seen.drops.get(reason)).sum::<u64>();
    for reason in DropReason::ALL.iter().filter(|reason| count(reason) > 0) {
        println!("{:>9} {}", count(reason), reason.describe().0);
    }
    let bytes: u64 = seen.iter().map(|seen| seen.bytes).sum();
    println!("{SEEDS} scenarios, {} MiB sent and received", bytes >> 20);
    let missing: Vec<_> = MUST_HAPPEN.iter().filter(|reason| count(reason) == 0).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

fn run_alone(seed: u64) {
    let scenario = draw::scenario(seed);
    println!("{scenario:#?}");
    let (path, result) = scenario.attempt_with_trace().expect("a place for the trace");
    println!("frames: {}", path.display());
    match result {
        Ok(report) => println!("{report:#?}"),
        Err(broken) => panic!("{broken}"),
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 22, 333] {
        let frames = || {
            let (path, result) = draw::scenario(seed).attempt_with_trace().unwrap();
            result.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            let frames = std::fs::read(&path).unwrap();
            std::fs::remove_file(path).unwrap();
            frames
        };
        assert_eq!(frames(), frames(), "seed {seed}");
    }
}
