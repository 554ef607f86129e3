//! Ten thousand scenarios, each drawn from its seed. `NARROWS_SIM_SEED=n cargo test -p narrows-sim
//! --test seeded` runs one alone and leaves its frames in a pcap file.

use narrows_sim::{draw, scenario};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

const SEEDS: u64 = 10_000;

/// What went wrong is shown for as many; the rest only counted.
const SHOWN: usize = 5;

#[test]
fn ten_thousand_seeded_scenarios() {
    if let Ok(seed) = std::env::var(scenario::SEED_VARIABLE) {
        return run_alone(seed.parse().expect("a number"));
    }
    let next = AtomicU64::new(0);
    let bytes = AtomicU64::new(0);
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS || failures.len() > SHOWN {
                return failures;
            }
            match scenario::run_seed(seed) {
                Ok(report) => drop(bytes.fetch_add(report.bytes, Ordering::Relaxed)),
                Err(failure) => failures.push(failure),
            }
        }
    };
    let failures: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("failures are caught")).collect()
    });
    let shown = failures.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {} failed:\n{shown}", failures.len(), next.into_inner());
    println!("{SEEDS} scenarios, {} MiB sent and received", bytes.into_inner() >> 20);
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
