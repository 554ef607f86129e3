//! Two hosts of ours on two wires, one of which is cut in the middle of a transfer.

use super::*;
use crate::{Readiness, SocketId, layer::fixture::Collector};
use std::{collections::BTreeMap, io::IoSlice};

struct End {
    host: Host,
    members: [InterfaceId; 2],
}

/// Bonded devices at 10.8.0.`number`/24; `vlan`: in that VLAN on the bond.
fn end(number: u8, settings: &BondSettings, vlan: bool) -> End {
    let mut host = Host::with(crate::Config::default(), [number; 16]);
    let members =
        [1, 2].map(|n| host.add_device(&format!("d{n}"), MacAddr([2, 0, 0, number, 0, n])));
    let bond = host.add_link("bond0", NewLink::Bond(settings.clone()));
    host.enslave(&members, bond);
    let top = match vlan {
        true => host.add_link("bond0.7", NewLink::Vlan { lower: bond, tag: customer(7) }),
        false => bond,
    };
    host.address(top, &format!("10.8.0.{number}/24"));
    End { host, members }
}

struct Wires {
    ends: [End; 2],
    cut: [bool; 2],
    /// Frames of IPv4 that each wire carried.
    carried: [usize; 2],
}

impl Wires {
    /// Have both bonds a carrier?
    fn run(&self) -> bool {
        self.ends.iter().all(|end| {
            let links = end.host.shard.links();
            links.iter().all(|(id, link)| link.bond().is_none() || links.is_running(id))
        })
    }

    fn new(settings: &BondSettings, vlan: bool) -> Self {
        let ends = [1, 2].map(|number| end(number, settings, vlan));
        Self { ends, cut: [false; 2], carried: [0; 2] }
    }

    /// Carries frames until none is left.
    fn settle(&mut self) {
        loop {
            let mut frames = Vec::new();
            for (from, end) in self.ends.iter_mut().enumerate() {
                while end.host.shard.loop_back(end.host.now) {}
                for (wire, member) in end.members.into_iter().enumerate() {
                    let mut sink = Collector::default();
                    while end.host.shard.poll_transmit(end.host.now, member, &mut sink) {}
                    frames.extend(sink.frames.into_iter().map(|frame| (from, wire, frame)));
                }
            }
            if frames.is_empty() {
                return;
            }
            for (from, wire, frame) in frames {
                if !self.cut[wire] {
                    self.carried[wire] += usize::from(!crate::layer::fixture::is_arp(&frame));
                    let to = &mut self.ends[1 - from];
                    to.host.receive_on(to.members[wire], &frame);
                }
            }
        }
    }

    /// Lets time pass in small steps.
    fn pass(&mut self, duration: Duration) {
        let steps = duration.as_millis().div_ceil(50);
        for _ in 0..steps {
            for end in &mut self.ends {
                end.host.pass(Duration::from_millis(50));
            }
            self.settle();
        }
    }

    fn set_wire(&mut self, wire: usize, up: bool) {
        self.cut[wire] = !up;
        for end in &mut self.ends {
            end.host.set(end.members[wire], LinkChange::Carrier(up));
        }
    }

    fn connect(&mut self) -> [SocketId; 2] {
        let open = |host: &mut Host| match host.request(Request::OpenTcp) {
            Reply::Socket(socket) => socket,
            other => panic!("{other:?}"),
        };
        let listener = open(&mut self.ends[1].host);
        let at = SocketAddr::new(Ipv4Addr::new(10, 8, 0, 2).into(), 80);
        self.ends[1].host.request(Request::Bind { socket: listener, local: at });
        self.ends[1].host.request(Request::Listen { socket: listener, backlog: 1 });
        let client = open(&mut self.ends[0].host);
        self.ends[0].host.request(Request::Connect { socket: client, remote: at });
        self.pass(Duration::from_secs(2));
        match self.ends[1].host.request(Request::Accept { socket: listener }) {
            Reply::Accepted { socket, .. } => [client, socket],
            other => panic!("{other:?}"),
        }
    }
}

fn pattern(at: usize) -> u8 {
    (at * 31 + (at >> 8)) as u8
}

/// Sends `total` bytes, and does `at_half` once half of them has come.
fn transfer(wires: &mut Wires, total: usize, mut at_half: impl FnMut(&mut Wires)) {
    let [client, server] = wires.connect();
    let (mut sent, mut received, mut halved) = (0, 0, false);
    for _ in 0..4000 {
        let now = wires.ends[0].host.now;
        let filled = wires.ends[0].host.shard.send_with(now, client, total - sent, |rings| {
            let mut filled = 0;
            for ring in rings {
                for byte in ring.iter_mut() {
                    *byte = pattern(sent + filled);
                    filled += 1;
                }
            }
            filled
        });
        sent += filled.unwrap_or(0);
        wires.settle();
        let end = &mut wires.ends[1].host;
        let taken = end.shard.receive_with(end.now, server, usize::MAX, |rings| {
            let bytes = rings.iter().flat_map(|ring: &IoSlice<'_>| ring.iter());
            bytes.enumerate().map(|(at, byte)| assert_eq!(*byte, pattern(received + at))).count()
        });
        received += taken.unwrap_or(0);
        if received >= total / 2 && !halved {
            halved = true;
            at_half(wires);
        }
        if received == total {
            return;
        }
        wires.pass(Duration::from_millis(50));
    }
    panic!("{received} of {total} bytes; sent {sent}");
}

const MODES: [BondMode; 4] = BondMode::ALL;

#[test]
fn a_transfer_outlives_a_wire_in_every_mode() {
    for (mode, vlan) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        for dead in [0, 1] {
            let hash = HashPolicy::Layer34;
            let settings = BondSettings { mode, hash, lacp_fast: true, ..BondSettings::default() };
            let mut wires = Wires::new(&settings, vlan);
            wires.pass(Duration::from_secs(5));
            transfer(&mut wires, 1 << 20, |wires| wires.set_wire(dead, false));
            let events = wires.ends.iter_mut().flat_map(|end| {
                core::iter::from_fn(|| end.host.shard.poll_event()).collect::<Vec<_>>()
            });
            let failed = events.filter(|event| event.readiness.contains(Readiness::FAILED));
            assert_eq!(failed.count(), 0, "{mode:?} {vlan} {dead}");
        }
    }
}

#[test]
fn with_lacp_a_wire_that_only_looks_alive_is_left() {
    let hash = HashPolicy::Layer34;
    let settings =
        BondSettings { mode: BondMode::Lacp, hash, lacp_fast: true, ..BondSettings::default() };
    for dead in [0, 1] {
        let mut wires = Wires::new(&settings, false);
        wires.pass(Duration::from_secs(5));
        // Carrier stays; LACPDUs don't arrive any more.
        transfer(&mut wires, 1 << 20, |wires| wires.cut[dead] = true);
        wires.cut[dead] = false;
        wires.pass(Duration::from_secs(5));
        let usable: BTreeMap<_, _> = wires
            .ends
            .iter()
            .map(|end| {
                let shard = &end.host.shard;
                let bonds = shard.links().iter().filter_map(|(_, link)| link.bond());
                let usable = |bond: &crate::table::bond::Bond| {
                    end.members.iter().filter(|member| bond.is_usable(**member)).count()
                };
                (end.members[0], bonds.map(usable).sum::<usize>())
            })
            .collect();
        assert!(usable.values().all(|count| *count == 2), "{usable:?}");
        // What LACP had to say by the wire that nothing else left by was not lost.
        let lost = wires.ends.iter().map(|end| end.host.dropped(DropReason::LinkDown));
        assert_eq!(lost.sum::<u64>(), 0);
    }
}

#[test]
fn with_lacp_too_few_wires_are_none() {
    for (min_links, after_a_cut) in [(0, true), (1, true), (2, false)] {
        let settings = BondSettings {
            mode: BondMode::Lacp,
            lacp_fast: true,
            min_links,
            ..BondSettings::default()
        };
        let mut wires = Wires::new(&settings, false);
        wires.pass(Duration::from_secs(5));
        assert!(wires.run(), "{min_links}");
        wires.set_wire(1, false);
        assert_eq!(wires.run(), after_a_cut, "{min_links}");
        wires.set_wire(1, true);
        wires.pass(Duration::from_secs(5));
        assert!(wires.run(), "{min_links}");
    }
}

#[test]
fn round_robin_uses_both_wires() {
    let settings = BondSettings { mode: BondMode::RoundRobin, ..BondSettings::default() };
    let mut wires = Wires::new(&settings, false);
    transfer(&mut wires, 1 << 18, |_| {});
    let [first, second] = wires.carried;
    assert!(first > 20 && second > 20, "{first} and {second}");
}
