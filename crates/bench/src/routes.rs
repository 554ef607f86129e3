//! How fast routes are looked up, and what they take: tables of ten routes, of ten thousand, and of a
//! million, which is a full Internet table and somewhat more.
//!
//! Prefix lengths are spread as in such a table, six of ten are /24s. Each lookup is of an address inside
//! a route chosen at random, so that in the largest table nearly all of them miss the caches.

use anyhow::{Result, ensure};
use narrows_stack::{
    InterfaceId,
    random::Random,
    table::route::{Answer, Placement, Query, Route, RouteTables},
};
use narrows_wire::address::Prefix;
use std::{hint::black_box, net::Ipv4Addr, time::Instant};

const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
/// Lookups between two looks at the clock.
const LOOKUPS: usize = 1 << 20;
/// The fastest counts: what is slower was disturbed.
const ROUNDS: usize = 5;
/// Gateways that a router has.
const GATEWAYS: u32 = 32;

/// Prints a line for each table.
pub fn run() -> Result<()> {
    println!("{:>10} {:>12} {:>12} {:>14}", "routes", "ns/lookup", "bytes", "bytes/route");
    for size in SIZES {
        let mut random = Random::new([1; 16]);
        let (tables, addresses) = fill(&mut random, size)?;
        let time = (0..ROUNDS).map(|_| round(&tables, &addresses)).fold(f64::MAX, f64::min);
        let bytes = tables.bytes();
        println!("{size:>10} {time:>12.1} {bytes:>12} {:>14.1}", bytes as f64 / size as f64);
    }
    Ok(())
}

/// A table of that many routes, and addresses to look up, each inside one of them.
fn fill(random: &mut Random, size: usize) -> Result<(RouteTables, Vec<Ipv4Addr>)> {
    let mut tables = RouteTables::new(size, random.key());
    let mut starts = Vec::with_capacity(size);
    while tables.len() < size {
        let length = length(random.below(100));
        // Unicast addresses: 1.0.0.0 to 223.255.255.255.
        let address = Ipv4Addr::from_bits((1 << 24) + random.below(222 << 24));
        let Some(prefix) = Prefix::new(address.into(), length).map(Prefix::network) else {
            continue;
        };
        let via = Ipv4Addr::from_bits(0x0a00_0001 + random.below(GATEWAYS));
        let route = Route::unicast(prefix, InterfaceId(1), Some(via));
        if tables.add(route, Placement::Alone).is_ok() {
            starts.push(address);
        }
    }
    ensure!(tables.len() == size);
    let pick = |_| starts[random.below(size as u32) as usize];
    let addresses = (0..LOOKUPS).map(pick).collect();
    Ok((tables, addresses))
}

/// In a full table of 2025, roughly, in percent.
fn length(percentile: u32) -> u8 {
    match percentile {
        0..60 => 24,
        60..70 => 23,
        70..81 => 22,
        81..86 => 21,
        86..91 => 20,
        91..94 => 19,
        94..96 => 18,
        96..97 => 17,
        97..99 => 16,
        _ => 14,
    }
}

/// Nanoseconds of a lookup.
fn round(tables: &RouteTables, addresses: &[Ipv4Addr]) -> f64 {
    let start = Instant::now();
    for address in addresses {
        let found = matches!(tables.lookup(&Query::to(*address)), Answer::Found(_));
        black_box(found);
    }
    start.elapsed().as_nanos() as f64 / addresses.len() as f64
}
