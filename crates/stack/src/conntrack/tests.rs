use super::{
    Observed,
    flow::Status,
    nat::Wanted,
    table::{Conntrack, FlowId, Refusal},
    tuple::{Direction, Tuple},
};
use crate::{
    Instant, config::ConntrackConfig, counters::DropReason, random::Random, time::Duration,
};
use core::net::Ipv4Addr;
use narrows_wire::{
    ipv4::Protocol,
    rewrite::End,
    tcp::{Flags, Header},
    tcp_options::Options,
};

fn tuple(protocol: Protocol, source: u8, port: u16) -> Tuple {
    let icmp = protocol == Protocol::ICMP;
    Tuple {
        protocol,
        source: Ipv4Addr::new(10, 0, 0, source),
        destination: Ipv4Addr::new(192, 0, 2, 1),
        source_port: port,
        destination_port: if icmp { port } else { 80 },
        kind: if icmp { 8 } else { 0 },
    }
}

fn table(flows: usize, flows_per_source: usize) -> (Conntrack, Random) {
    let mut random = Random::new([3; 16]);
    let config = ConntrackConfig { flows, flows_per_source, ..ConntrackConfig::default() };
    (Conntrack::new(config, &mut random), random)
}

fn begin(table: &mut Conntrack, now: Instant, tuple: Tuple) -> FlowId {
    let id = table.open(now, tuple, None).expect("room");
    table.confirm(id).expect("no other");
    id
}

const NOW: Instant = Instant::from_millis(5000);

#[test]
fn inverses() {
    for tuple in [tuple(Protocol::UDP, 1, 7), tuple(Protocol::ICMP, 1, 7)] {
        assert_eq!(tuple.inverse().inverse(), tuple);
        assert!(tuple.may_begin());
    }
    // An answer to nothing begins nothing.
    assert!(!tuple(Protocol::ICMP, 1, 7).inverse().may_begin());
    let changed = tuple(Protocol::ICMP, 1, 7).with_source([10, 9, 9, 9].into(), 8);
    assert_eq!((changed.source_port, changed.destination_port), (8, 8));
}

#[test]
fn what_is_not_confirmed_leaves_nothing() {
    let (mut table, _) = table(10, 10);
    let tuple = tuple(Protocol::UDP, 1, 7);
    let id = table.open(NOW, tuple, None).expect("room");
    assert_eq!(table.find(&tuple), Some((id, Direction::Original)));
    assert_eq!(table.find(&tuple.inverse()), Some((id, Direction::Reply)));
    assert_eq!(table.list().count(), 0);
    table.settle(id);
    assert!(table.is_empty() && table.find(&tuple).is_none());
    table.assert_consistent();
}

/// One source's flood keeps nobody else out, and what is not assured makes room.
#[test]
fn a_full_table_has_room_for_others() {
    let (mut table, _) = table(8, 4);
    for port in 0..4 {
        begin(&mut table, NOW, tuple(Protocol::UDP, 1, port));
    }
    let refused = table.open(NOW, tuple(Protocol::UDP, 1, 99), None);
    assert_eq!(refused, Err(Refusal::Drop(DropReason::ConntrackSourceLimit)));
    let kept = begin(&mut table, NOW, tuple(Protocol::UDP, 2, 1));
    let later = NOW + Duration::from_secs(3);
    for direction in [Direction::Reply, Direction::Original] {
        table.update(later, kept, direction, None, 100);
    }
    assert!(table.get(kept).is_some_and(|flow| flow.status().contains(Status::ASSURED)));
    for source in 3..40 {
        begin(&mut table, later, tuple(Protocol::UDP, source, 1));
        table.assert_consistent();
    }
    assert!(table.get(kept).is_some());
    assert_eq!(table.len(), 8);
}

#[test]
fn silence_ends_a_flow() {
    let (mut table, _) = table(10, 10);
    let id = begin(&mut table, NOW, tuple(Protocol::ICMP, 1, 7));
    let end = NOW + Duration::from_secs(30);
    assert_eq!(table.expire(end - Duration::from_millis(1), id), Some(end));
    assert_eq!(table.expire(end, id), None);
    assert!(table.is_empty());
}

fn masquerade(
    table: &mut Conntrack,
    random: &mut Random,
    id: FlowId,
    ports: Option<(u16, u16)>,
) -> Result<u16, DropReason> {
    let own = Ipv4Addr::new(203, 0, 113, 1);
    let wanted = Wanted { addresses: Some((own, own)), ports, ..Wanted::none(End::Source) };
    table.translate(random, id, &wanted)?;
    let flow = table.get(id).expect("there");
    let (address, port) = flow.translation(Direction::Original, End::Source).expect("translated");
    assert_eq!(address, own);
    // And back.
    let original = *flow.tuple(Direction::Original);
    let back = flow.translation(Direction::Reply, End::Destination);
    assert_eq!(back, Some((original.source, original.source_port)));
    Ok(port)
}

#[test]
fn a_port_stays_if_it_can_and_else_is_drawn() {
    let (mut table, mut random) = table(100_000, 100_000);
    let mut drawn = Vec::new();
    for source in 1..40 {
        let id = table.open(NOW, tuple(Protocol::TCP, source, 2000), None).expect("room");
        let port = masquerade(&mut table, &mut random, id, None).expect("a port");
        table.confirm(id).expect("answers can be told apart");
        drawn.push(port);
        assert!(port >= 1024);
    }
    assert_eq!(drawn[0], 2000);
    // Neither in a row nor near each other.
    let near = drawn.windows(2).filter(|two| two[0].abs_diff(two[1]) < 64).count();
    assert!(near < 4, "{drawn:?}");
    table.assert_consistent();
}

#[test]
fn a_range_is_used_up_and_no_further() {
    let (mut table, mut random) = table(100, 100);
    let mut ports = Vec::new();
    for source in 1..=9 {
        let id = table.open(NOW, tuple(Protocol::UDP, source, 7), None).expect("room");
        match masquerade(&mut table, &mut random, id, Some((4000, 4007))) {
            Ok(port) => {
                table.confirm(id).expect("free");
                ports.push(port);
            }
            Err(reason) => {
                assert_eq!((reason, source), (DropReason::NatExhausted, 9));
                table.settle(id);
            }
        }
    }
    ports.sort_unstable();
    assert_eq!(ports, (4000..=4007).collect::<Vec<_>>());
    table.assert_consistent();
}

/// Two that were told apart by their destinations alone, which are one behind the translation.
#[test]
fn a_source_gives_way_where_answers_would_be_alike() {
    let (mut table, mut random) = table(100, 100);
    let to = Ipv4Addr::new(10, 0, 0, 200);
    let mut ports = Vec::new();
    for last in [1, 2] {
        let mut first = tuple(Protocol::TCP, 1, 2000);
        first.destination = Ipv4Addr::new(192, 0, 2, last);
        let id = table.open(NOW, first, None).expect("room");
        let wanted = Wanted { addresses: Some((to, to)), ..Wanted::none(End::Destination) };
        table.translate(&mut random, id, &wanted).expect("one");
        table.translate(&mut random, id, &Wanted::none(End::Source)).expect("a port");
        table.confirm(id).expect("told apart");
        ports.push(table.get(id).expect("there").tuple(Direction::Reply).destination_port);
    }
    assert_eq!(ports[0], 2000);
    assert_ne!(ports[1], 2000);
    table.assert_consistent();
}

/// Whatever is asked in whatever order, limits hold, tuples name one flow, and translation goes both ways.
#[test]
fn any_order_keeps_the_table_whole() {
    let (mut table, mut random) = table(64, 24);
    let mut draws = Random::new([9; 16]);
    let mut now = NOW;
    for _ in 0..20_000 {
        now += Duration::from_millis(draws.below(300).into());
        let protocol = [Protocol::UDP, Protocol::ICMP, Protocol::TCP][draws.below(3) as usize];
        let tuple = tuple(protocol, draws.below(6) as u8, draws.below(30) as u16 + 1);
        match table.find(&tuple) {
            Some((id, direction)) => match draws.below(8) {
                0 => table.remove(id),
                1 => drop(table.expire(now, id)),
                _ => {
                    let direction = if draws.below(2) == 0 { direction } else { direction.other() };
                    table.update(now, id, direction, None, 60);
                }
            },
            None => {
                let Ok(id) = table.open(now, tuple, None) else { continue };
                let own = Ipv4Addr::new(203, 0, 113, draws.below(3) as u8);
                let last = Ipv4Addr::new(203, 0, 113, 3);
                let wanted = Wanted {
                    addresses: (draws.below(3) > 0).then_some((own, last)),
                    ports: (draws.below(3) == 0).then_some((4000, 4020)),
                    random: draws.below(4) == 0,
                    ..Wanted::none(End::Source)
                };
                let chosen = table.translate(&mut random, id, &wanted);
                if chosen.is_ok() && draws.below(5) > 0 {
                    let _ = table.confirm(id);
                }
                table.settle(id);
            }
        }
        assert_eq!(table.pending(), 0);
        table.assert_consistent();
        for listed in table.list() {
            let [original, reply] = listed.tuples;
            let (id, _) = table.find(&original).expect("found");
            let flow = table.get(id).expect("there");
            let sent = match flow.translation(Direction::Original, End::Source) {
                Some((address, port)) => original.with_source(address, port),
                None => original,
            };
            assert_eq!(sent.inverse(), reply);
        }
    }
}

#[test]
fn what_another_table_lists_is_adopted_and_goes_on() {
    let (mut first, _) = table(10, 10);
    let flow = tuple(Protocol::UDP, 1, 7);
    begin(&mut first, NOW, flow);
    let listed: Vec<_> = first.list().collect();
    let (mut second, _) = table(1, 10);
    assert!(second.adopt(NOW, &listed[0]));
    assert!(!second.adopt(NOW, &listed[0]), "one like it is there, and there is no more room");
    second.assert_consistent();
    let (id, direction) = second.find(&flow.inverse()).expect("the flow");
    assert_eq!(direction, Direction::Reply);
    second.update(NOW, id, direction, None, 28);
    let again: Vec<_> = second.list().collect();
    assert_eq!(again[0].tuples, listed[0].tuples);
    assert!(again[0].status.contains(Status::SEEN_REPLY));
}

/// A packet of any flow of a few ends, or an answer to one, with whatever a segment may say.
fn any_packet(random: &mut Random) -> (Tuple, Option<Observed>) {
    let protocol = [Protocol::TCP, Protocol::UDP, Protocol::ICMP][random.below(3) as usize];
    let base = tuple(protocol, 1 + random.below(3) as u8, 1 + random.below(4) as u16);
    let tuple = if random.below(2) == 0 { base } else { base.inverse() };
    let segment = || {
        let numbers = [0_u32, 1, 100, 66_000, 1 << 31, u32::MAX];
        let mut number = || match random.below(3) {
            0 => random.next_u32(),
            _ => numbers[random.below(6) as usize],
        };
        let (sequence, acknowledgment, data_len) = (number(), number(), number());
        let bits = random.next_u32();
        let each = [Flags::SYN, Flags::ACK, Flags::FIN, Flags::RST];
        let flags = each.into_iter().enumerate().fold(Flags::default(), |flags, (at, one)| {
            if bits >> at & 1 == 1 { flags.with(one) } else { flags }
        });
        let window = random.next_u32() as u16;
        let header = Header { flags, sequence, acknowledgment, window, ..Header::default() };
        let options = Options {
            window_scale: (bits & 16 != 0).then_some((bits >> 8) as u8),
            sack_permitted: bits & 32 != 0,
            ..Options::default()
        };
        Observed { header, options, data_len }
    };
    (tuple, (protocol == Protocol::TCP).then(segment))
}

#[test]
fn any_segments_in_any_order_leave_the_table_whole_and_within_its_limits() {
    let mut random = Random::new([12; 16]);
    for _ in 0..40 {
        let (flows, of_source) = (1 + random.below(8) as usize, 1 + random.below(5) as usize);
        let (mut table, _) = table(flows, of_source);
        let mut now = NOW;
        for _ in 0..400 {
            now += Duration::from_millis(random.below(40_000).into());
            let (tuple, segment) = any_packet(&mut random);
            let found = table.find(&tuple);
            let found = found.or_else(|| {
                let id = table.open(now, tuple, segment.as_ref()).ok()?;
                Some((id, Direction::Original))
            });
            if let Some((id, direction)) = found {
                table.update(now, id, direction, segment.as_ref(), random.below(1500) as usize);
                if random.below(4) > 0 {
                    let _ = table.confirm(id);
                }
                table.settle(id);
                if random.below(6) == 0 {
                    table.expire(now, id);
                }
            }
            table.assert_consistent();
            assert!(table.len() <= flows && table.pending() == 0);
            let mut sources: Vec<_> = table.list().map(|flow| flow.tuples[0].source).collect();
            sources.sort_unstable();
            let most = sources.chunk_by(|one, other| one == other).map(<[_]>::len).max();
            assert!(most.unwrap_or(0) <= of_source);
        }
        table.flush(|_| true);
        assert!(table.is_empty());
        table.assert_consistent();
    }
}
