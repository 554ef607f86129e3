//! Any frames by any port in any order: no panic, no growth, and the same again for the same seed.

use super::*;
use crate::{Config, config::Limits, layer::fixture::ping, random::Random};
use narrows_wire::lacp::{self, Information, Lacpdu, State};

const ADDRESSES: usize = 64;
const QUEUE: usize = 128;

/// A device, two in a bond with LACP, two in a bridge, and VLANs on all three.
fn target() -> (Host, Vec<InterfaceId>, InterfaceId) {
    let limits = Limits { egress_queue: QUEUE, ..Limits::default() };
    let mut host = Host::with(Config { limits, ..Config::default() }, [3; 16]);
    let devices: Vec<_> =
        (1..5).map(|n| host.add_device(&format!("d{n}"), MacAddr([6, 0, 0, 0, 0, n]))).collect();
    let monitor = ArpMonitor {
        interval: Duration::from_millis(100),
        targets: vec![Ipv4Addr::new(10, 8, 0, 1)],
    };
    let settings = BondSettings {
        mode: BondMode::Lacp,
        lacp_fast: true,
        monitor: Some(monitor),
        ..BondSettings::default()
    };
    let bond = host.add_link("bond0", NewLink::Bond(settings));
    host.enslave(&devices[..2], bond);
    let small = BridgeSettings { max_addresses: ADDRESSES, ..BridgeSettings::default() };
    let bridge = host.add_link("br0", NewLink::Bridge(small));
    host.enslave(&devices[2..], bridge);
    for (lower, name) in [(ETH, "v"), (bond, "w"), (bridge, "x")] {
        host.add_link(name, NewLink::Vlan { lower, tag: customer(7) });
    }
    host.address(bond, "10.8.0.2/24");
    host.address(bridge, "10.9.0.2/24");
    (host, [&[ETH][..], &devices].concat(), bridge)
}

/// A frame that nearly makes sense.
fn draw(random: &mut Random) -> Vec<u8> {
    let mut frame = match random.below(4) {
        0 => ping(&PACKET),
        1 => {
            let mut end = || Information {
                system: MacAddr([2, 0, 0, 0, 0, random.below(3) as u8]),
                key: random.below(3) as u16,
                port: random.below(3) as u16,
                state: State(random.below(256) as u8),
                ..Information::default()
            };
            let mut body = [0; lacp::LEN];
            Lacpdu { actor: end(), partner: end() }.emit(&mut body);
            let mut frame = crate::layer::fixture::frame(lacp::DESTINATION, EtherType::SLOW, &body);
            frame[11] = random.below(256) as u8;
            frame
        }
        _ => (0..random.below(200)).map(|_| random.below(256) as u8).collect(),
    };
    for _ in 0..random.below(4) {
        if frame.len() >= 14 {
            let id = VlanId::new(random.below(4096) as u16).unwrap_or(customer(7).id);
            let protocol =
                if random.below(2) == 0 { TagProtocol::Dot1q } else { TagProtocol::Dot1ad };
            frame = tagged(Tag { protocol, id }, &frame);
        }
    }
    for _ in 0..random.below(4) {
        let at = random.below(frame.len() as u32) as usize;
        if let Some(byte) = frame.get_mut(at) {
            *byte = random.below(256) as u8;
        }
    }
    frame.truncate(if random.below(8) == 0 { random.below(60) as usize } else { usize::MAX });
    frame
}

/// Runs a storm; what was dropped and sent.
fn storm(seed: u8) -> (Vec<(DropReason, u64)>, u64) {
    let (mut host, devices, bridge) = target();
    let mut random = Random::new([seed; 16]);
    for round in 0..4000 {
        let device = devices[random.below(devices.len() as u32) as usize];
        let frame = draw(&mut random);
        let offload = RxOffload {
            checksum: [RxChecksum::Unverified, RxChecksum::Verified, RxChecksum::Partial]
                [random.below(3) as usize],
            segment_size: (random.below(4) == 0).then(|| random.below(2000) as u16),
        };
        host.shard.receive(host.now, device, &frame, offload);
        match random.below(40) {
            0 => host.set(device, LinkChange::Carrier(random.below(2) == 0)),
            1 => host.pass(Duration::from_millis(random.below(500).into())),
            _ => {}
        }
        if round % 64 == 0 {
            for device in &devices {
                assert!(host.sent_raw(*device) <= QUEUE);
            }
        }
        let known = host.shard.links.get(bridge).and_then(|link| link.bridge());
        assert!(known.is_some_and(|bridge| bridge.entries().count() <= ADDRESSES));
    }
    (host.drops(), host.shard.counters.frames_sent)
}

impl Host {
    /// Takes what waits for a device, and says how many frames that was.
    fn sent_raw(&mut self, device: InterfaceId) -> usize {
        let frames = core::iter::from_fn(|| self.shard.egress.pop(device));
        frames.count()
    }
}

#[test]
fn any_frames_by_any_port() {
    for seed in 0..4 {
        let first = storm(seed);
        assert_eq!(first, storm(seed), "seed {seed}");
        assert!(first.0.iter().any(|(reason, _)| *reason == DropReason::VlanUnknown));
    }
}
