//! Frames that mean harm, on the wire while transfers go on: nothing panics, nothing grows, and
//! every byte is right.

use narrows_sim::{Connection, LinkSettings, Scenario, app, link::Offload};
use narrows_stack::{
    Config, Instant, Request, Shard,
    random::Random,
    request::{Principal, Reply},
    table::interface::InterfaceSettings,
    time::Duration,
};
use narrows_wire::{
    address::{MacAddr, Prefix},
    offload::{Capabilities, RxChecksum, RxOffload},
};
use std::net::{Ipv4Addr, SocketAddr};

fn path() -> LinkSettings {
    LinkSettings { delay: Duration::from_millis(5), loss: 50, ..LinkSettings::default() }
}

#[test]
fn transfers_go_on_among_hostile_frames() {
    for (seed, offload) in [(1, Offload::None), (2, Offload::Cut), (3, Offload::Whole)] {
        let mut scenario = Scenario::new("hostile", seed)
            .link(LinkSettings { offload, ..path() })
            .connection(Connection::new(app::exchange(1_000_000, 1_000_000)))
            .connection(Connection::new(app::echo(200_000)))
            .connection(Connection::new(app::requests(50, 100, 1000)));
        scenario.hostile = 8000;
        scenario.run();
    }
}

#[test]
fn short_connections_among_hostile_frames() {
    let mut scenario = Scenario::new("hostile-short", 4).link(path());
    for number in 0..300 {
        let mut connection = Connection::new(app::requests(1, 100, 2000));
        connection.at = Duration::from_millis(number * 3);
        scenario = scenario.connection(connection);
    }
    scenario.hostile = 8000;
    scenario.run();
}

/// A host with a listener and a static neighbor, that never sends.
fn host() -> (Shard, narrows_stack::InterfaceId) {
    let mut shard = Shard::new(Config::default(), [7; 16]);
    let principal = Principal::user(1);
    let now = Instant::ZERO;
    let settings = InterfaceSettings {
        name: "sim0".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        capabilities: Capabilities::default(),
        routing: Default::default(),
    };
    let reply = shard.request(now, principal, Request::AddInterface { settings }).unwrap();
    let Reply::Interface(interface) = reply else { panic!("{reply:?}") };
    let prefix = Prefix::new(Ipv4Addr::new(10, 0, 0, 1).into(), 24).unwrap();
    shard.request(now, principal, Request::AddAddress { interface, prefix }).unwrap();
    let Ok(Reply::Socket(socket)) = shard.request(now, principal, Request::OpenTcp) else {
        panic!("no socket")
    };
    let local = SocketAddr::from(([0, 0, 0, 0], 80));
    shard.request(now, principal, Request::Bind { socket, local }).unwrap();
    shard.request(now, principal, Request::Listen { socket, backlog: 16 }).unwrap();
    (shard, interface)
}

/// Frames that are right where `shape` has bits and random elsewhere.
fn random_frame(random: &mut Random) -> Vec<u8> {
    // Ethernet to this host, IPv4 to its address, TCP to its listener.
    const RIGHT: [u8; 38] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, //
        0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1, //
        0x80, 1, 0, 80,
    ];
    let len = random.below(120) as usize;
    let mut frame: Vec<u8> = (0..len).map(|_| random.next_u32() as u8).collect();
    let right = random.below(RIGHT.len() as u32 + 1) as usize;
    frame.iter_mut().zip(&RIGHT[..right]).for_each(|(to, from)| *to = *from);
    // A right header checksum, most of the time: else nothing gets any further.
    if random.below(4) > 0
        && let Some(header) = frame.get_mut(14..34)
    {
        header[10..12].fill(0);
        let sum = narrows_wire::checksum::Sum::of(header).finish();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

#[test]
fn random_frames_neither_panic_nor_pile_up() {
    let (mut shard, interface) = host();
    let mut random = Random::new([3; 16]);
    for step in 0..300_000_u64 {
        let now = Instant::from_nanos(step * 20_000);
        let frame = random_frame(&mut random);
        // Often with the device's word that the checksum is right.
        let checksum = match random.below(3) {
            0 => RxChecksum::Unverified,
            1 => RxChecksum::Verified,
            _ => RxChecksum::Partial,
        };
        let segment_size = (random.below(4) == 0).then(|| random.next_u32() as u16);
        shard.receive(now, interface, &frame, RxOffload { checksum, segment_size });
        shard.handle_timeout(now);
        if step % 64 == 0 {
            while shard.poll_event().is_some() {}
        }
    }
    assert_eq!(shard.buffered_bytes(), 0);
    let received = shard.counters().frames_received;
    let dropped: u64 = shard.counters().drops().map(|(_, count)| count).sum();
    assert!(dropped > received / 2, "{dropped} of {received} dropped");
}
