use super::{
    chain::{BaseChain, Chain},
    field::{Field, Ip, View},
    ranges::Ranges,
    rule::{Mark, Rule, Step, Verdict},
    set::{Data, Refused, Set},
    state::{Counter, Quota, Rate, State},
    *,
};
use crate::{Instant, random::Random, time::Duration};
use narrows_wire::ipv4::{Header, Protocol};

const NOW: Instant = Instant::from_millis(1000);

fn header(protocol: Protocol) -> Header {
    Header {
        tos: 0,
        identification: 0,
        dont_fragment: false,
        more_fragments: false,
        fragment_offset: 0,
        ttl: 64,
        protocol,
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
    }
}

/// From port 1000 to `port`, eight bytes of UDP.
fn udp(port: u16, payload: &mut [u8; 8]) -> View<'_> {
    payload[..2].copy_from_slice(&1000u16.to_be_bytes());
    payload[2..4].copy_from_slice(&port.to_be_bytes());
    let ip = Ip { header: header(Protocol::UDP), header_len: 20, payload_len: 8, payload };
    View { input: Some(InterfaceId(1)), ip: Some(ip), ..View::default() }
}

fn is(field: Field, ranges: Ranges) -> Step {
    Step::Match { field, mask: u128::MAX, ranges, negate: false }
}

fn rule(steps: impl Into<Box<[Step]>>) -> Rule {
    Rule { steps: steps.into() }
}

/// At `input`, accepting by policy.
fn filter(chains: Vec<Vec<Rule>>, sets: Vec<Set>, state: State) -> Filter {
    let chains = chains.into_iter().map(Chain::new).collect();
    let mut filter = Filter::new(chains, sets, state).expect("a sound ruleset");
    let base = BaseChain { chain: 0, priority: 0, accept: true, nat: false, device: None };
    filter.hook(Hook::Input, base).expect("a chain");
    filter
}

fn ask(filter: &mut Filter, view: &mut View<'_>) -> Outcome {
    filter.evaluate(NOW, Hook::Input, (Part::Whole, 0), view, |_| ())
}

fn ask_port(filter: &mut Filter, port: u16) -> Outcome {
    ask(filter, &mut udp(port, &mut [0; 8]))
}

#[test]
fn verdicts_lead_where_nft_says() {
    let port = |port| is(Field::UdpDestinationPort, Ranges::one(port));
    let verdict = |verdict| Step::Verdict(verdict);
    let chains = || {
        vec![
            vec![
                rule([port(1), verdict(Verdict::Drop)]),
                rule([port(2), verdict(Verdict::Accept)]),
                rule([port(3), verdict(Verdict::Jump(1))]),
                rule([port(4), verdict(Verdict::Goto(1))]),
                rule([port(5), verdict(Verdict::Return)]),
                rule([port(6), verdict(Verdict::Continue)]),
                rule([verdict(Verdict::Drop)]),
            ],
            vec![rule([verdict(Verdict::Jump(2))]), rule([port(3), verdict(Verdict::Accept)])],
            vec![rule([verdict(Verdict::Return)]), rule([verdict(Verdict::Drop)])],
        ]
    };
    let mut filter = filter(chains(), Vec::new(), State::default());
    let cases = [
        (1, Outcome::Drop),
        (2, Outcome::Accept),
        (3, Outcome::Accept),
        // From where it went one does not come back; the end of a base chain is its policy.
        (4, Outcome::Accept),
        (5, Outcome::Accept),
        (6, Outcome::Drop),
        (7, Outcome::Drop),
    ];
    for (port, outcome) in cases {
        assert_eq!(ask_port(&mut filter, port), outcome, "port {port}");
    }
}

#[test]
fn base_chains_are_asked_by_priority_until_one_drops() {
    let counter = |id| rule([Step::Counter(id)]);
    let mut state = State::default();
    for at in 0..3 {
        state.add_counter((at, 0), Counter::default());
    }
    let chains = vec![
        Chain::new(vec![counter(0), rule([Step::Verdict(Verdict::Accept)])]),
        Chain::new(vec![counter(1)]),
        Chain::new(vec![counter(2)]),
    ];
    let mut filter = Filter::new(chains, Vec::new(), state).expect("sound");
    let base =
        |chain, priority, accept| BaseChain { chain, priority, accept, nat: false, device: None };
    filter.hook(Hook::Input, base(2, 10, true)).expect("there");
    filter.hook(Hook::Input, base(1, 5, false)).expect("there");
    filter.hook(Hook::Input, base(0, -5, true)).expect("there");
    assert_eq!(ask_port(&mut filter, 1), Outcome::Drop);
    let counted = |id| filter.state().counter(id).expect("there").packets;
    assert_eq!((counted(0), counted(1), counted(2)), (1, 1, 0));
}

#[test]
fn a_field_that_is_not_there_is_neither_equal_nor_other() {
    let tcp_port = |negate| Step::Match {
        field: Field::TcpDestinationPort,
        mask: u128::MAX,
        ranges: Ranges::one(80),
        negate,
    };
    for negate in [false, true] {
        let rules = vec![rule([tcp_port(negate), Step::Verdict(Verdict::Drop)])];
        let mut filter = filter(vec![rules], Vec::new(), State::default());
        assert_eq!(ask_port(&mut filter, 80), Outcome::Accept, "negate {negate}");
    }
    // Nor has a later fragment a port, or a packet that ends before it.
    let rules = vec![rule([
        is(Field::UdpDestinationPort, Ranges::new([0..=u128::MAX])),
        Step::Verdict(Verdict::Drop),
    ])];
    let mut filter = filter(vec![rules], Vec::new(), State::default());
    let mut payload = [0; 8];
    let whole = udp(53, &mut payload);
    assert_eq!(ask(&mut filter, &mut whole.clone()), Outcome::Drop);
    let mut later = whole;
    later.ip.as_mut().expect("a packet").header.fragment_offset = 8;
    assert_eq!(ask(&mut filter, &mut later), Outcome::Accept);
    let mut short = whole;
    short.ip.as_mut().expect("a packet").payload = &[0; 3];
    assert_eq!(ask(&mut filter, &mut short), Outcome::Accept);
}

#[test]
fn jumps_that_never_end_are_refused() {
    let to = |chain| rule([Step::Verdict(Verdict::Jump(chain))]);
    let new = |chains: Vec<Vec<Rule>>, sets| {
        Filter::new(chains.into_iter().map(Chain::new).collect(), sets, State::default()).err()
    };
    assert_eq!(new(vec![vec![to(1)], vec![to(0)]], Vec::new()), Some(Error::Loop));
    assert_eq!(new(vec![vec![to(0)]], Vec::new()), Some(Error::Loop));
    assert_eq!(new(vec![vec![to(7)]], Vec::new()), Some(Error::Dangling));
    let ladder = |steps: usize| {
        let mut chains: Vec<_> = (1..=steps).map(|next| vec![to(next)]).collect();
        chains.push(Vec::new());
        chains
    };
    assert_eq!(new(ladder(chain::MAX_DEPTH - 1), Vec::new()), None);
    assert_eq!(new(ladder(chain::MAX_DEPTH + 1), Vec::new()), Some(Error::TooDeep));
    // By way of a map, too.
    let mut map = Set::new(1, 10, Random::new([1; 16]).key());
    map.insert(&[17..=17], Data::Verdict(Verdict::Goto(0)), None).expect("room");
    let by_map = rule([Step::VerdictMap { key: [Field::Transport].into(), map: 0 }]);
    assert_eq!(new(vec![vec![by_map]], vec![map]), Some(Error::Loop));
}

#[test]
fn a_counter_counts_what_comes_to_it() {
    let mut state = State::default();
    let before = state.add_counter((1, 0), Counter::default());
    let after = state.add_counter((1, 1), Counter::default());
    let steps = [
        Step::Counter(before),
        is(Field::UdpDestinationPort, Ranges::one(53)),
        Step::Counter(after),
    ];
    let mut first = filter(vec![vec![rule(steps)]], Vec::new(), state);
    for port in [53, 54, 53] {
        ask_port(&mut first, port);
    }
    let count = |packets| Some(Counter { packets, bytes: packets * 28 });
    assert_eq!((first.state().counter(before), first.state().counter(after)), (count(3), count(2)));
    // A ruleset that comes after goes on where the rule is the same.
    let mut state = State::default();
    let (other, same) = (
        state.add_counter((2, 0), Counter::default()),
        state.add_counter((1, 1), Counter::default()),
    );
    let mut second = filter(Vec::from([Vec::new()]), Vec::new(), state);
    second.take_over(&first);
    assert_eq!((second.state().counter(other), second.state().counter(same)), (count(0), count(2)));
}

#[test]
fn rates_and_quotas_run_out_and_rates_come_back() {
    let mut state = State::default();
    let rate = Rate { amount: 2, interval: Duration::from_secs(1), burst: 3, of_bytes: false };
    let limit = state.add_limit((1, 0), rate);
    let quota = state.add_quota((1, 0), Quota { bytes: 28 * 5, used: 0 });
    let steps = [
        Step::Limit { limit, over: false },
        Step::Quota { quota, over: false },
        Step::Verdict(Verdict::Drop),
    ];
    let mut filter = filter(vec![vec![rule(steps)]], Vec::new(), state);
    let mut dropped_at = |millis| {
        let mut payload = [0; 8];
        let now = Instant::from_millis(millis);
        filter.evaluate(now, Hook::Input, (Part::Whole, 0), &mut udp(1, &mut payload), |_| ())
            == Outcome::Drop
    };
    let cases =
        [(0, true), (0, true), (0, true), (0, false), (499, false), (999, true), (1000, true)];
    for (at, dropped) in cases {
        assert_eq!(dropped_at(at), dropped, "at {at} ms");
    }
    assert!(!dropped_at(9999), "five packets were all of the quota");
}

#[test]
fn sets_find_ranges_keys_of_several_and_what_has_not_expired() {
    let mut set = Set::new(1, 4, Random::new([1; 16]).key());
    set.insert(&[10..=20], Data::Number(1), None).expect("room");
    assert_eq!(set.insert(&[20..=30], Data::Number(2), None), Err(Refused::Overlaps));
    assert_eq!(set.insert(&[5..=9, 1..=1], Data::Number(3), None), Ok(()));
    assert_eq!(set.insert(&[9..=9, 0..=5], Data::Number(3), None), Err(Refused::Overlaps));
    assert_eq!(
        set.insert(&[1..=1, 2..=2], Data::Number(4), Some(Instant::from_millis(2000))),
        Ok(())
    );
    assert_eq!(set.insert(&[], Data::Nothing, None), Err(Refused::Malformed));
    #[allow(clippy::reversed_empty_ranges)]
    let empty = 3..=2;
    assert_eq!(set.insert(&[empty], Data::Nothing, None), Err(Refused::Malformed));
    set.insert(&[40..=40], Data::Number(5), None).expect("room");
    assert_eq!(set.insert(&[41..=41], Data::Nothing, None), Err(Refused::Full));
    assert_eq!(set.insert(&[40..=40], Data::Number(6), None), Ok(()), "changes what is there");
    let get = |key: &[u128]| set.get(NOW, key);
    let number = |number| Some(Data::Number(number));
    let cases: [(&[u128], _); 8] = [
        (&[9], None),
        (&[10], number(1)),
        (&[20], number(1)),
        (&[21], None),
        (&[40], number(6)),
        (&[7, 1], number(3)),
        (&[7, 2], None),
        (&[1, 2], number(4)),
    ];
    for (key, data) in cases {
        assert_eq!(get(key), data, "{key:?}");
    }
    assert_eq!(set.get(Instant::from_millis(2000), &[1, 2]), None, "expired");
    assert_eq!(set.elements(NOW).len(), 4);
}

#[test]
fn rules_add_to_sets_while_there_is_room() {
    let key = || -> Box<[Field]> { [Field::UdpDestinationPort].into() };
    let timeout = Some(Duration::from_secs(1));
    let add = Step::Add { key: key(), set: 0, timeout, refresh: false };
    let rules = vec![
        rule([Step::Lookup { key: key(), set: 0, negate: false }, Step::Verdict(Verdict::Drop)]),
        rule([add]),
    ];
    let set = Set::new(1, 2, Random::new([1; 16]).key());
    let mut filter = filter(vec![rules], vec![set], State::default());
    let mut ask_at = |millis, port| {
        let now = Instant::from_millis(millis);
        filter.evaluate(now, Hook::Input, (Part::Whole, 0), &mut udp(port, &mut [0; 8]), |_| ())
    };
    let (accept, drop) = (Outcome::Accept, Outcome::Drop);
    let cases = [
        (0, 1, accept),
        (0, 1, drop),
        (0, 2, accept),
        (0, 3, accept),
        (0, 3, accept), // full
        (1000, 1, accept),
        (1000, 1, drop),
        (1000, 3, accept), // 1 and 2 have expired
        (1000, 3, drop),
    ];
    for (at, port, outcome) in cases {
        assert_eq!(ask_at(at, port), outcome, "port {port} at {at} ms");
    }
}

/// A random rule about three small fields, so that rules overlap in every way.
fn random_rule(random: &mut Random, counter: usize) -> Rule {
    let fields = [Field::UdpDestinationPort, Field::IpTtl, Field::IpDscp, Field::Mark];
    let mut steps = Vec::new();
    // Mostly of one kind, as in long rulesets.
    let many = random.below(10) < 8;
    for field in fields {
        if !(many && field == Field::UdpDestinationPort || random.below(4) == 0) {
            continue;
        }
        let low = u128::from(random.below(32));
        let high = low + u128::from(random.below(3));
        let negate = !many && random.below(8) == 0;
        let mask = if random.below(16) == 0 { 0x15 } else { u128::MAX };
        steps.push(Step::Match { field, mask, ranges: Ranges::new([low..=high]), negate });
        if random.below(20) == 0 {
            steps.push(Step::SetMark {
                to: Mark::Packet,
                from: Mark::Packet,
                and: u32::MAX,
                xor: random.below(4),
            });
        }
    }
    steps.push(Step::Counter(counter));
    steps.push(Step::Verdict(match random.below(12) {
        0 => Verdict::Accept,
        1 => Verdict::Drop,
        2 => Verdict::Return,
        _ => Verdict::Continue,
    }));
    rule(steps)
}

/// One rule after another, as they are written.
fn one_by_one(rules: &[Rule], view: &mut View<'_>, counted: &mut [u64]) -> Outcome {
    'rules: for rule in rules {
        for step in &rule.steps {
            match step {
                Step::Match { field, mask, ranges, negate } => {
                    let value = view.field(*field);
                    if value.is_none_or(|value| ranges.contains(value & mask) == *negate) {
                        continue 'rules;
                    }
                }
                Step::SetMark { and, xor, .. } => view.mark = view.mark & and ^ xor,
                Step::Counter(id) => counted[*id] += 1,
                Step::Verdict(Verdict::Drop) => return Outcome::Drop,
                Step::Verdict(Verdict::Accept | Verdict::Return) => return Outcome::Accept,
                _ => {}
            }
        }
    }
    Outcome::Accept
}

#[test]
fn an_index_changes_nothing_but_the_cost() {
    let mut indexed = 0;
    for seed in 0..200 {
        let mut random = Random::new([seed; 16]);
        let count = 1 + random.below(60) as usize;
        let rules: Vec<_> = (0..count).map(|at| random_rule(&mut random, at)).collect();
        let mut state = State::default();
        for at in 0..count {
            state.add_counter((at as u64, 0), Counter::default());
        }
        let chain = Chain::new(rules.clone());
        indexed += chain.indexed();
        let mut filter = Filter::new(vec![chain], Vec::new(), state).expect("sound");
        let base = BaseChain { chain: 0, priority: 0, accept: true, nat: false, device: None };
        filter.hook(Hook::Input, base).expect("there");
        let mut counted = vec![0; count];
        for _ in 0..100 {
            let mut payload = [0; 8];
            let mut view = udp(random.below(36) as u16, &mut payload);
            let header = &mut view.ip.as_mut().expect("a packet").header;
            header.ttl = random.below(36) as u8;
            header.tos = random.below(36) as u8 * 4;
            header.fragment_offset = if random.below(10) == 0 { 8 } else { 0 };
            let mut other = view;
            assert_eq!(
                ask(&mut filter, &mut view),
                one_by_one(&rules, &mut other, &mut counted),
                "seed {seed}"
            );
            assert_eq!(view.mark, other.mark, "seed {seed}");
        }
        let packets: Vec<_> =
            (0..count).map(|id| filter.state().counter(id).expect("there").packets).collect();
        assert_eq!(packets, counted, "seed {seed}");
    }
    assert!(indexed > 1000, "{indexed} rules were in an index");
}

#[test]
fn of_ten_thousand_rules_of_a_kind_a_packet_meets_one() {
    let rules: Vec<_> = (0..10_000)
        .map(|port| {
            rule([is(Field::UdpDestinationPort, Ranges::one(port)), Step::Verdict(Verdict::Drop)])
        })
        .collect();
    let chain = Chain::new(rules);
    assert_eq!(chain.indexed(), 10_000);
    let mut payload = [0; 8];
    let view = udp(9_999, &mut payload);
    assert_eq!(chain.next(0, &view).map(|(at, _)| at), Some(9_999));
    assert!(chain.next(10_000, &view).is_none());
    // Ranges that all lie over one another would make the index too large: there is none.
    let wide =
        (0..2_000).map(|at| rule([is(Field::UdpDestinationPort, Ranges::new([at..=60_000]))]));
    assert!(Chain::new(wide.collect()).indexed() < 10);
}
