//! What a fragment costs: datagrams of 32 KB in pieces of 1,480 bytes, in order, backwards and
//! shuffled; and pieces of which none completes anything, as an attacker sends them.

use anyhow::{Context, Result, bail};
use narrows_stack::{
    Config, Instant as Now, InterfaceId, Reply, Request, Shard,
    random::Random,
    request::Principal,
    table::{interface::InterfaceSettings, route::RoutingSettings},
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    ethernet::{self, EtherType},
    ipv4::{self, Protocol},
    offload::{Capabilities, RxOffload},
};
use std::{net::Ipv4Addr, time::Instant};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const HOST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// A protocol that nobody has answers with an error: what ends nowhere is an ICMP echo reply.
const PIECE: usize = 1480;
const PIECES: usize = 22;
const DATAGRAMS: u16 = 4000;
/// The fastest counts: what is slower was disturbed.
const ROUNDS: usize = 5;

/// In what order the pieces come.
#[derive(Clone, Copy, Debug)]
enum Order {
    Forward,
    Backward,
    Shuffled,
    /// Without the first, each of another datagram.
    Never,
}

/// Prints a line for each order.
pub fn run() -> Result<()> {
    println!("{:>10} {:>14}", "order", "ns/fragment");
    for order in [Order::Forward, Order::Backward, Order::Shuffled, Order::Never] {
        let frames = frames(order)?;
        let mut best = f64::MAX;
        for _ in 0..ROUNDS {
            best = best.min(round(&frames)?);
        }
        println!("{:>10} {best:>14.1}", format!("{order:?}").to_lowercase());
    }
    Ok(())
}

fn frames(order: Order) -> Result<Vec<Vec<u8>>> {
    let mut random = Random::new([1; 16]);
    let mut frames = Vec::new();
    for datagram in 0..DATAGRAMS {
        let mut places: Vec<usize> = (0..PIECES).collect();
        match order {
            Order::Forward => {}
            Order::Backward => places.reverse(),
            Order::Shuffled => {
                for last in (1..PIECES).rev() {
                    places.swap(last, random.below(last as u32 + 1) as usize);
                }
            }
            Order::Never => places = vec![1 + random.below(20) as usize],
        }
        for place in places {
            frames.push(frame(datagram, place)?);
        }
    }
    Ok(frames)
}

fn frame(datagram: u16, place: usize) -> Result<Vec<u8>> {
    let header = ipv4::Header {
        tos: 0,
        identification: datagram,
        dont_fragment: false,
        more_fragments: place + 1 < PIECES,
        fragment_offset: (place * PIECE) as u16,
        ttl: 64,
        protocol: Protocol::ICMP,
        source: PEER,
        destination: HOST,
    };
    let mut link = [0; ethernet::HEADER_LEN];
    ethernet::Header { destination: OWN, source: MacAddr([2; 6]), ether_type: EtherType::IPV4 }
        .emit(&mut link);
    let mut packet = [0; ipv4::HEADER_LEN];
    header.emit(PIECE, &mut packet).context("a fragment's header")?;
    Ok([&link[..], &packet, &[0; PIECE]].concat())
}

/// Nanoseconds a fragment.
fn round(frames: &[Vec<u8>]) -> Result<f64> {
    let mut shard = Shard::new(Config::default(), [1; 16]);
    let now = Now::from_millis(1000);
    let settings = InterfaceSettings {
        name: "bench0".into(),
        mac: OWN,
        mtu: 1500,
        capabilities: Capabilities::default(),
        routing: RoutingSettings::default(),
    };
    let add = shard.request(now, Principal::default(), Request::AddInterface { settings });
    let Ok(Reply::Interface(interface)) = add else { bail!("no interface: {add:?}") };
    address(&mut shard, now, interface)?;
    let start = Instant::now();
    for frame in frames {
        shard.receive(now, interface, frame, RxOffload::default());
    }
    Ok(start.elapsed().as_nanos() as f64 / frames.len() as f64)
}

fn address(shard: &mut Shard, now: Now, interface: InterfaceId) -> Result<()> {
    let prefix = Prefix::new(HOST.into(), 24).context("a prefix")?;
    let request = Request::AddAddress { interface, prefix };
    shard.request(now, Principal::default(), request).context("an address")?;
    Ok(())
}
