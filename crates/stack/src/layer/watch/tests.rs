use crate::{
    InterfaceId,
    bpf::{Instruction, Program},
    counters::DropReason,
    filter::{
        Filter, Hook, Outcome,
        chain::{BaseChain, Chain},
        rule::{Rule, Step as FilterStep, Verdict},
        state::State,
    },
    layer::fixture::*,
    request::{Principal, Request},
    table::{
        packet_socket::PacketType,
        watch::{
            Cast, Decided, Fate, Journey, MAX_WATCHERS, Record, Role, Sight, Stages, Step, Watch,
            WatcherId,
        },
    },
};
use narrows_wire::{address::MacAddr, ethernet::EtherType, ipv4};

fn watch(stages: Stages, journeys: bool) -> Watch {
    Watch { interface: None, filter: None, stages, journeys, sees_claimed: true, snap: 1 << 16 }
}

fn host(stages: Stages, journeys: bool) -> (Host, WatcherId) {
    let mut host = Host::with_peer();
    let id = host.shard.watch(Principal::user(1), watch(stages, journeys)).expect("room");
    (host, id)
}

fn records(host: &mut Host) -> Vec<Record> {
    std::iter::from_fn(|| host.shard.poll_record()).map(|(_, record)| record).collect()
}

fn journey(host: &mut Host) -> Journey {
    match <[_; 1]>::try_from(records(host)) {
        Ok([Record::Journey(journey)]) => *journey,
        other => panic!("not one journey: {other:?}"),
    }
}

fn sights(host: &mut Host) -> Vec<(Stages, PacketType, Option<DropReason>)> {
    let sight = |record| match record {
        Record::Sight(Sight { stage, kind, reason, .. }) => (stage, kind, reason),
        Record::Journey(journey) => panic!("{journey:?}"),
    };
    records(host).into_iter().map(sight).collect()
}

/// A datagram for a port that nobody has, or that somebody has.
fn datagram(port: u16) -> Vec<u8> {
    packet_frame(&PACKET, &udp(&PACKET, 7, port, b"hello"))
}

#[test]
fn a_journey_has_every_decision_and_what_was_answered() {
    let (mut host, _) = host(Stages::empty(), true);
    let frame = datagram(9);
    host.receive(&frame);
    let journey = journey(&mut host);
    assert_eq!(journey.fate, Fate::Dropped(DropReason::UdpNoSocket));
    assert_eq!((journey.interface, journey.kind), (ETH, PacketType::Host));
    assert_eq!((&*journey.bytes, journey.length), (&*frame, frame.len()));
    let [Step::At(ETH), Step::Local(Cast::Unicast), Step::Sent { interface, bytes }] =
        journey.steps.as_slice()
    else {
        panic!("{:?}", journey.steps)
    };
    assert_eq!((*interface, &**bytes), (ETH, &*host.sent_one()));
    // What was part of the journey is none of its own.
    assert_eq!(records(&mut host), []);
}

#[test]
fn a_journey_names_the_socket_and_its_user() {
    let (mut host, _) = host(Stages::empty(), true);
    let socket = host.socket(Request::OpenUdp, (OWN, 9));
    records(&mut host);
    host.receive(&datagram(9));
    let journey = journey(&mut host);
    let step = Step::Socket { id: Some(socket), role: Role::Datagram };
    assert_eq!((journey.fate, journey.user), (Fate::Taken, Some(1)));
    assert_eq!(journey.steps.last(), Some(&step));
}

#[test]
fn a_journey_names_the_rule_that_decided() {
    let (mut host, _) = host(Stages::DROP, true);
    let rule = |step| Rule { steps: [step].into() };
    let rules = vec![
        rule(FilterStep::Verdict(Verdict::Continue)),
        rule(FilterStep::Verdict(Verdict::Drop)),
    ];
    let mut filter = Filter::new(vec![Chain::new(rules)], Vec::new(), State::default()).unwrap();
    for hook in [Hook::Input, Hook::Output] {
        let base = BaseChain { chain: 0, priority: 0, accept: true, nat: false, device: None };
        filter.hook(hook, base).unwrap();
    }
    host.shard.set_filter(Some(filter));
    host.receive(&datagram(9));
    let by = Some(Decided { chain: 0, rule: Some(1) });
    let decided = |hook| Step::Filter { hook, outcome: Outcome::Drop, by };
    let [Record::Sight(sight), Record::Journey(journey)] = &records(&mut host)[..] else {
        panic!()
    };
    assert_eq!(sight.reason, Some(DropReason::Filtered));
    assert_eq!(journey.fate, Fate::Dropped(DropReason::Filtered));
    assert_eq!(journey.steps.last(), Some(&decided(Hook::Input)));
    // A packet of this host ends there too.
    let socket = host.socket(Request::OpenUdp, (OWN, 9));
    let sent = host.shard.send_to(host.now, socket, Some((PEER, 9).into()), b"x");
    assert_eq!(sent, Err(crate::Error::Filtered));
    let [Record::Sight(sight), Record::Journey(journey)] = &records(&mut host)[..] else {
        panic!()
    };
    assert_eq!((sight.kind, sight.user), (PacketType::Outgoing, Some(1)));
    assert_eq!(journey.fate, Fate::Dropped(DropReason::Filtered));
    assert_eq!(journey.steps, [decided(Hook::Output)]);
}

#[test]
fn what_this_host_makes_has_a_journey_of_its_own() {
    let (mut host, _) = host(Stages::empty(), true);
    let socket = host.socket(Request::OpenUdp, (OWN, 9));
    host.shard.send_to(host.now, socket, Some((PEER, 9).into()), b"x").expect("sent");
    let journey = journey(&mut host);
    assert_eq!((journey.fate, journey.kind), (Fate::Sent, PacketType::Outgoing));
    assert_eq!(&*journey.bytes, &*host.sent_one());
}

#[test]
fn each_stage_is_shown_where_it_is() {
    use PacketType::{Host as ForUs, OtherHost, Outgoing};
    let (mut host, _) = host(Stages::all(), false);
    host.socket(Request::OpenUdp, (OWN, 9));
    let elsewhere = frame(MacAddr([2, 0, 0, 0, 0, 9]), EtherType::IPV4, &[0; 20]);
    let lost = |kind, reason| (Stages::DROP, kind, Some(reason));
    let at = |stage, kind| (stage, kind, None);
    let reached =
        [at(Stages::RECEIVE, ForUs), at(Stages::FILTER, ForUs), at(Stages::REASSEMBLED, ForUs)];
    for (bytes, expected) in [
        (datagram(9), reached.to_vec()),
        (
            datagram(8),
            [&reached[..], &[at(Stages::TRANSMIT, Outgoing), lost(ForUs, DropReason::UdpNoSocket)]]
                .concat(),
        ),
        (
            elsewhere,
            vec![at(Stages::RECEIVE, OtherHost), lost(OtherHost, DropReason::NotForThisStation)],
        ),
        (vec![1, 2, 3], vec![lost(OtherHost, DropReason::EthernetTruncated)]),
    ] {
        host.receive(&bytes);
        assert_eq!(sights(&mut host), expected, "{bytes:?}");
    }
}

#[test]
fn fragments_are_shown_one_by_one_and_whole() {
    let (mut host, _) = host(Stages::REASSEMBLED, true);
    host.socket(Request::OpenUdp, (OWN, 9));
    let whole = udp(&PACKET, 7, 9, &[5; 24]);
    let (first, second) = whole.split_at(16);
    let header = ipv4::Header { more_fragments: true, ..PACKET };
    host.receive(&packet_frame(&header, first));
    assert_eq!(journey(&mut host).steps.last(), Some(&Step::Held));
    let header = ipv4::Header { fragment_offset: 16, ..PACKET };
    host.receive(&packet_frame(&header, second));
    let [Record::Sight(sight), Record::Journey(journey)] = &records(&mut host)[..] else {
        panic!()
    };
    assert!(sight.bytes.ends_with(&whole));
    assert!(journey.steps.contains(&Step::Whole { length: whole.len() }));
}

#[test]
fn filters_interfaces_and_lengths_are_the_watchers_own() {
    let mut host = Host::with_peer();
    let instruction = |operand| Instruction { code: 6, jump_true: 0, jump_false: 0, operand };
    let never = Program::new(&[instruction(0)]).unwrap();
    let all = watch(Stages::RECEIVE, false);
    for watch in [
        Watch { filter: Some(never), ..all.clone() },
        Watch { interface: Some(InterfaceId(7)), ..all.clone() },
    ] {
        host.shard.watch(Principal::HOST, watch).expect("room");
    }
    host.receive(&datagram(9));
    assert_eq!(records(&mut host), []);
    let short = host.shard.watch(Principal::HOST, Watch { snap: 20, ..all }).expect("room");
    host.receive(&datagram(9));
    let (audience, Record::Sight(sight)) = host.shard.poll_record().expect("a record") else {
        panic!()
    };
    assert_eq!(audience.members().collect::<Vec<_>>(), [short]);
    assert_eq!((sight.bytes.len(), sight.length), (20, datagram(9).len()));
}

#[test]
fn who_leaves_is_told_nothing_more_and_the_last_one_ends_it() {
    let (mut host, id) = host(Stages::RECEIVE, false);
    assert!(host.shard.is_watched(ETH));
    host.shard.unwatch(id);
    assert!(!host.shard.is_watched(ETH));
    assert!(host.shard.watchers.is_none());
    let all = || watch(Stages::RECEIVE, false);
    let ids: Vec<_> = std::iter::from_fn(|| host.shard.watch(Principal::HOST, all())).collect();
    assert_eq!(ids.len(), MAX_WATCHERS);
}
