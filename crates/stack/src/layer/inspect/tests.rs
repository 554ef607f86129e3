use crate::{
    InterfaceId, Reply, SocketId,
    counters::DropReason,
    filter::{
        Filter, Hook,
        chain::{BaseChain, Chain},
        field::{CtField, Field},
        ranges::Ranges,
        rule::{Place, Queue, Rule, Step, To, Translate, Verdict},
        state::State,
    },
    layer::fixture::*,
    request::{Principal, Request},
    table::{
        inspector::{Answer, InspectorId, Lie, Source, Tally, Terms},
        route::RoutingSettings,
    },
    time::Duration,
};
use core::net::{Ipv4Addr, SocketAddr};
use narrows_wire::{
    address::MacAddr,
    checksum::Sum,
    ipv4::{Header, Packet, Protocol},
    rewrite::End,
};

const QUEUE: u16 = 5;

fn rule(steps: impl Into<Box<[Step]>>) -> Rule {
    Rule { steps: steps.into() }
}

fn to_queue(bypass: bool) -> Step {
    Step::Queue(Queue { first: QUEUE, last: QUEUE, bypass })
}

fn base(chain: usize, priority: i32, nat: bool) -> BaseChain {
    BaseChain { chain, priority, device: None, accept: true, nat }
}

/// `queue num 5` at a hook, and behind it a chain that says `drop` to datagrams from port 666.
fn set_rules(host: &mut Host, hook: Hook, bypass: bool) {
    let bad = Step::Match {
        field: Field::SourcePort,
        mask: u128::MAX,
        ranges: Ranges::one(666),
        negate: false,
    };
    let chains = vec![
        Chain::new(vec![rule([to_queue(bypass)])]),
        Chain::new(vec![rule([bad, Step::Verdict(Verdict::Drop)])]),
    ];
    let mut filter = Filter::new(chains, Vec::new(), State::default()).expect("rules");
    filter.hook(hook, base(0, 0, false)).expect("a chain");
    filter.hook(hook, base(1, 10, false)).expect("a chain");
    host.shard.set_filter(Some(filter));
}

fn terms(source: Source) -> Terms {
    Terms {
        source,
        interface: None,
        filter: None,
        snap: usize::MAX,
        open: false,
        patience: Duration::from_secs(2),
        room: 16,
    }
}

fn attach(host: &mut Host, terms: Terms) -> InspectorId {
    host.shard.inspect(Principal::HOST, terms).expect("room")
}

/// What an inspector is given: number, mark, bytes.
fn given(host: &mut Host, id: InspectorId) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while host.shard.tell_inspector(id, |seen| {
        all.push((seen.packet, seen.bytes.to_vec()));
        true
    }) {}
    all
}

fn accept(host: &mut Host, id: InspectorId, packet: u64) {
    answer(host, id, packet, None).expect("an answer");
}

fn answer(host: &mut Host, id: InspectorId, packet: u64, bytes: Option<&[u8]>) -> Result<(), Lie> {
    let answer = Answer::Accept { mark: None };
    host.shard.answer_inspection(host.now, id, packet, answer, bytes)
}

fn tally(host: &Host) -> Tally {
    host.shard.inspectors()[0].tally
}

fn bound(host: &mut Host) -> SocketId {
    host.socket(Request::OpenUdp, (OWN, 2000))
}

fn received(host: &mut Host, socket: SocketId) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| host.shard.receive_datagram(socket).ok())
        .map(|datagram| datagram.payload.to_vec())
        .collect()
}

fn datagram(from: u16, data: &[u8]) -> Vec<u8> {
    packet_frame(&PACKET, &udp(&PACKET, from, 2000, data))
}

#[test]
fn a_packet_waits_and_goes_on_behind_the_chain_that_took_it() {
    for hook in [Hook::Prerouting, Hook::Input] {
        let mut host = Host::with_peer();
        let socket = bound(&mut host);
        set_rules(&mut host, hook, false);
        let id = attach(&mut host, terms(Source::Queue(QUEUE)));
        host.receive(&datagram(1000, b"good"));
        host.receive(&datagram(666, b"bad"));
        assert!(received(&mut host, socket).is_empty());
        let packets = given(&mut host, id);
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0].1, datagram(1000, b"good")[14..]);
        assert_eq!(host.drops(), vec![], "waiting is no loss");
        // Another flow does not wait for the first.
        accept(&mut host, id, packets[1].0);
        assert_eq!(host.dropped(DropReason::Filtered), 1, "the next chain is asked");
        accept(&mut host, id, packets[0].0);
        assert_eq!(received(&mut host, socket), [b"good"]);
        assert_eq!(given(&mut host, id), vec![], "no packet is given twice");
    }
}

#[test]
fn without_an_inspector_bypass_decides() {
    for (bypass, reason, arrived) in
        [(true, None, 1), (false, Some(DropReason::InspectorAbsent), 0)]
    {
        let mut host = Host::with_peer();
        let socket = bound(&mut host);
        set_rules(&mut host, Hook::Input, bypass);
        // Of another queue.
        attach(&mut host, terms(Source::Queue(QUEUE + 1)));
        host.receive(&datagram(1000, b"x"));
        assert_eq!(received(&mut host, socket).len(), arrived);
        assert_eq!(host.drops().first().map(|(reason, _)| *reason), reason);
    }
}

#[test]
fn what_is_refused_late_or_left_ends_as_declared() {
    let mut host = Host::with_peer();
    let socket = bound(&mut host);
    set_rules(&mut host, Hook::Input, false);
    let id = attach(&mut host, terms(Source::Queue(QUEUE)));
    for _ in 0..3 {
        host.receive(&datagram(1000, b"x"));
    }
    host.shard.answer_inspection(host.now, id, 0, Answer::Drop, None).expect("an answer");
    assert_eq!(host.dropped(DropReason::InspectorRefused), 1);
    host.pass(Duration::from_secs(3));
    assert_eq!(host.dropped(DropReason::InspectorLate), 2);
    assert_eq!(answer(&mut host, id, 1, None), Err(Lie::Stale));
    host.receive(&datagram(1000, b"x"));
    host.shard.end_inspector(host.now, id);
    assert_eq!(host.dropped(DropReason::InspectorLate), 3);
    assert!(received(&mut host, socket).is_empty());
    let open = attach(&mut host, Terms { open: true, room: 1, ..terms(Source::Queue(QUEUE)) });
    host.receive(&datagram(1000, b"one"));
    host.receive(&datagram(1000, b"two"));
    assert_eq!(received(&mut host, socket), [b"two"], "full, and open");
    host.pass(Duration::from_secs(3));
    assert_eq!(received(&mut host, socket), [b"one"], "late, and open");
    host.receive(&datagram(1000, b"three"));
    host.shard.end_inspector(host.now, open);
    assert_eq!(received(&mut host, socket), [b"three"], "left, and open");
}

#[test]
fn a_rewrite_is_a_packet_of_the_same_flow_with_right_sums() {
    let mut host = Host::with_peer();
    let socket = bound(&mut host);
    let id = attach(&mut host, terms(Source::Hook(Hook::Input)));
    host.receive(&datagram(1000, b"secret"));
    let [(number, bytes)] = given(&mut host, id).try_into().expect("one");
    let forged = |at: usize, with: u8| {
        let mut bytes = bytes.clone();
        bytes[at] ^= with;
        bytes
    };
    let options = [&[0x46][..], &bytes[1..20], &[131, 3, 4, 0], &bytes[20..]].concat();
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("a source", forged(15, 1)),
        ("a destination", forged(19, 1)),
        ("a protocol", forged(9, 1)),
        ("a port", forged(21, 1)),
        ("a version", forged(0, 0x10)),
        ("a fragment", forged(6, 0x20)),
        ("a source route", options),
        ("too long", vec![0x45; 70_000]),
        ("cut in the transport", bytes[..24].to_vec()),
    ] {
        assert_eq!(answer(&mut host, id, number, Some(&bytes)), Err(Lie::Rewrite), "{what}");
    }
    assert_eq!(tally(&host).lies, 10);
    let longer = [&bytes[..28], b"nothing to see here"].concat();
    answer(&mut host, id, number, Some(&longer)).expect("a packet");
    assert_eq!(received(&mut host, socket), [b"nothing to see here"]);
    assert_eq!((tally(&host).rewritten, tally(&host).accepted), (1, 1));
}

#[test]
fn who_sees_the_beginning_alone_rewrites_nothing() {
    let mut host = Host::with_peer();
    bound(&mut host);
    let id = attach(&mut host, Terms { snap: 28, ..terms(Source::Hook(Hook::Input)) });
    host.receive(&datagram(1000, b"secret"));
    let [(number, bytes)] = given(&mut host, id).try_into().expect("one");
    assert_eq!(bytes.len(), 28);
    assert_eq!(answer(&mut host, id, number, Some(&bytes)), Err(Lie::Rewrite));
    accept(&mut host, id, number);
}

#[test]
fn a_connections_segments_wait_whole_and_none_is_lost() {
    let mut host = Host::with_peer();
    let id = attach(&mut host, terms(Source::Hook(Hook::Output)));
    let Reply::Socket(socket) = host.request(Request::OpenTcp) else { panic!("no socket") };
    let remote = SocketAddr::new(PEER.into(), 80);
    host.request(Request::Connect { socket, remote });
    assert!(host.sent().is_empty());
    let [(number, bytes)] = given(&mut host, id).try_into().expect("the SYN");
    let syn = Packet::parse(&bytes).expect("a packet");
    assert_eq!((syn.header.source, syn.header.destination), (OWN, PEER));
    let sum = Sum::pseudo_header(OWN, PEER, Protocol::TCP.0, syn.payload.len() as u16);
    assert_eq!(sum.add(Sum::of(syn.payload)).finish(), 0, "its checksum is right");
    accept(&mut host, id, number);
    let frame = host.sent_one();
    assert_eq!(frame[14..], bytes);
    assert_eq!(given(&mut host, id), vec![]);
}

#[test]
fn several_at_a_hook_are_asked_one_after_the_other() {
    let mut host = Host::with_peer();
    let socket = bound(&mut host);
    let first = attach(&mut host, terms(Source::Hook(Hook::Input)));
    let second = attach(&mut host, terms(Source::Hook(Hook::Input)));
    host.receive(&datagram(1000, b"x"));
    assert_eq!((given(&mut host, first).len(), given(&mut host, second).len()), (1, 0));
    accept(&mut host, first, 0);
    assert_eq!((given(&mut host, first).len(), given(&mut host, second).len()), (0, 1));
    assert!(received(&mut host, socket).is_empty());
    accept(&mut host, second, 0);
    assert_eq!(received(&mut host, socket).len(), 1);
}

const INSIDE: InterfaceId = InterfaceId(2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const OUTWARD: Header = Header { source: CLIENT, destination: PEER, ..PACKET };

/// Masquerades the client behind [`OWN`], and queues at a hook, before and after translation.
fn router(hook: Hook, priority: i32) -> Host {
    let mut host = Host::with_peer();
    host.add_interface("eth1", MacAddr([2, 0, 0, 0, 0, 3]), "10.8.0.254/24");
    host.request(Request::PinNeighbor {
        interface: INSIDE,
        address: CLIENT.into(),
        mac: CLIENT_MAC,
    });
    for interface in [ETH, INSIDE] {
        let routing = RoutingSettings { forward: true, ..RoutingSettings::default() };
        host.request(Request::SetRouting { interface, routing });
    }
    let to = To::Place(Place::Interface);
    let masquerade =
        Translate { end: End::Source, to, ports: None, random: false, persistent: false };
    let out = Step::Match {
        field: Field::OutputInterface,
        mask: u128::MAX,
        ranges: Ranges::one(ETH.0.into()),
        negate: false,
    };
    let new = Step::Match {
        field: Field::Ct(CtField::State),
        mask: u128::MAX,
        ranges: Ranges::one(8),
        negate: false,
    };
    let chains = vec![
        Chain::new(vec![rule([new, to_queue(false)])]),
        Chain::new(vec![rule([out, Step::Translate(masquerade)])]),
    ];
    let mut filter = Filter::new(chains, Vec::new(), State::default()).expect("rules");
    filter.hook(hook, base(0, priority, false)).expect("a chain");
    filter.hook(Hook::Postrouting, base(1, 100, true)).expect("a chain");
    host.shard.set_filter(Some(filter));
    host
}

fn outward(data: &[u8]) -> Vec<u8> {
    let mut frame = packet_frame(&OUTWARD, &udp(&OUTWARD, 4000, 53, data));
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 3]);
    frame
}

#[test]
fn a_flow_waits_with_its_first_packet_and_is_translated_once() {
    for (hook, priority, source) in [
        (Hook::Prerouting, 0, CLIENT),
        (Hook::Forward, 0, CLIENT),
        (Hook::Postrouting, 0, CLIENT),
        (Hook::Postrouting, 200, OWN),
    ] {
        let mut host = router(hook, priority);
        let id = attach(&mut host, terms(Source::Queue(QUEUE)));
        host.receive_on(INSIDE, &outward(b"one"));
        host.receive_on(INSIDE, &outward(b"two"));
        assert!(host.sent().is_empty());
        let packets = given(&mut host, id);
        let seen = Packet::parse(&packets[0].1).expect("a packet").header.source;
        assert_eq!((packets.len(), seen), (2, source), "{hook:?} {priority}");
        // Out of order: the second waits.
        accept(&mut host, id, packets[1].0);
        assert!(host.sent().is_empty());
        accept(&mut host, id, packets[0].0);
        let frames = host.sent();
        let data: Vec<_> = frames.iter().map(|frame| frame[42..45].to_vec()).collect();
        assert_eq!(data, [b"one", b"two"]);
        for frame in &frames {
            let (_, packet) = read_packet(frame);
            assert_eq!((packet.header.source, packet.header.ttl), (OWN, 63));
            let sum = Sum::pseudo_header(OWN, PEER, 17, packet.payload.len() as u16);
            assert_eq!(sum.add(Sum::of(packet.payload)).finish(), 0);
        }
        let table = host.shard.conntrack.as_ref().expect("flows");
        assert_eq!((table.list().count(), table.pending()), (1, 0));
        assert_eq!(host.drops(), vec![]);
    }
}

#[test]
fn a_flow_whose_first_packet_is_refused_never_was() {
    let mut host = router(Hook::Forward, 0);
    let id = attach(&mut host, terms(Source::Queue(QUEUE)));
    host.receive_on(INSIDE, &outward(b"one"));
    assert_eq!(host.shard.conntrack.as_ref().map(|table| table.pending()), Some(1));
    host.shard.answer_inspection(host.now, id, 0, Answer::Drop, None).expect("an answer");
    let table = host.shard.conntrack.as_ref().expect("flows");
    assert_eq!((table.len(), table.pending()), (0, 0));
}

#[test]
fn rules_that_were_swapped_meanwhile_are_asked() {
    let mut host = Host::with_peer();
    let socket = bound(&mut host);
    set_rules(&mut host, Hook::Input, false);
    let id = attach(&mut host, terms(Source::Queue(QUEUE)));
    host.receive(&datagram(1000, b"x"));
    let chains = vec![Chain::new(vec![rule([Step::Verdict(Verdict::Drop)])])];
    let mut filter = Filter::new(chains, Vec::new(), State::default()).expect("rules");
    filter.hook(Hook::Input, base(0, -10, false)).expect("a chain");
    host.shard.set_filter(Some(filter));
    accept(&mut host, id, 0);
    assert_eq!(host.dropped(DropReason::Filtered), 1);
    // A packet of no flow is none of a ruleset that wants to know flows.
    set_rules(&mut host, Hook::Input, false);
    host.receive(&datagram(1000, b"x"));
    let tracking = router(Hook::Forward, 0).shard.filter.take();
    host.shard.set_filter(tracking.map(|filter| *filter));
    accept(&mut host, id, 1);
    assert_eq!(host.dropped(DropReason::InspectorStale), 1);
    assert!(received(&mut host, socket).is_empty());
}
