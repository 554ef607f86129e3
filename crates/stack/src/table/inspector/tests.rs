use super::*;
use crate::random::Random;
use core::time::Duration;

const QUEUE: Source = Source::Queue(3);

fn terms() -> Terms {
    Terms {
        source: QUEUE,
        interface: None,
        filter: None,
        snap: 100,
        open: false,
        patience: Duration::from_secs(1),
        room: 8,
    }
}

fn inspectors() -> Inspectors<u32> {
    Inspectors::new(Random::new([1; 16]).key())
}

fn accept() -> Answer {
    Answer::Accept { mark: None }
}

const T: fn(u64) -> Instant = Instant::from_millis;

#[test]
fn a_flow_keeps_its_order_and_others_do_not_wait_for_it() {
    let mut all = inspectors();
    let id = all.attach(Principal::HOST, terms()).expect("room");
    for (packet, flow) in [(0, 7), (1, 7), (2, 8), (3, 7)] {
        assert_eq!(all.park(T(0), id, flow, 10, || packet), Ok(()));
    }
    let accepted = End::Accepted { mark: None };
    assert_eq!(all.answer(id, 3, accept()), Ok(vec![]));
    assert_eq!(all.answer(id, 2, accept()), Ok(vec![(2, accepted)]));
    assert_eq!(all.answer(id, 0, Answer::Drop), Ok(vec![(0, End::Dropped)]));
    assert_eq!(all.answer(id, 1, accept()), Ok(vec![(1, accepted), (3, accepted)]));
    let member = all.get_mut(id).expect("attached");
    assert_eq!((member.waiting(), member.flows.len()), ((0, 0), 0));
}

#[test]
fn answers_that_make_no_sense_change_nothing() {
    let mut all = inspectors();
    let id = all.attach(Principal::HOST, terms()).expect("room");
    let other = all.attach(Principal::HOST, terms()).expect("room");
    for packet in 0..2 {
        assert_eq!(all.park(T(0), id, 7, 10, || packet), Ok(()));
    }
    assert_eq!(all.answer(id, 2, accept()), Err(Lie::Unknown));
    assert_eq!(all.answer(id, u64::MAX, accept()), Err(Lie::Unknown));
    assert_eq!(all.answer(other, 0, accept()), Err(Lie::Unknown));
    assert_eq!(all.answer(InspectorId(99), 0, accept()), Err(Lie::Unknown));
    assert_eq!(all.answer(id, 1, Answer::Drop), Ok(vec![]));
    // Once said, it is said, also where it had to wait.
    assert_eq!(all.answer(id, 1, accept()), Err(Lie::Stale));
    let dropped = vec![(0, End::Dropped), (1, End::Dropped)];
    assert_eq!(all.answer(id, 0, Answer::Drop), Ok(dropped));
    assert_eq!(all.answer(id, 0, accept()), Err(Lie::Stale));
}

#[test]
fn what_waits_is_bounded_and_ends_in_time() {
    let mut all = inspectors();
    let id = all.attach(Principal::HOST, Terms { open: true, ..terms() }).expect("room");
    for packet in 0..8 {
        assert_eq!(all.park(T(packet), id, 1, 10, || packet as u32), Ok(()));
    }
    assert_eq!(all.park(T(8), id, 1, 10, || 8), Err(true));
    assert_eq!(all.next_deadline(), Some(T(1000)));
    assert_eq!(all.answer(id, 2, Answer::Drop), Ok(vec![]));
    assert_eq!(all.expire(T(999)), None);
    let late = End::Late { open: true };
    assert_eq!(all.expire(T(1001)), Some((id, vec![(0, late)])));
    assert_eq!(all.expire(T(1001)), Some((id, vec![(1, late), (2, End::Dropped)])));
    assert_eq!(all.expire(T(1001)), None);
    let left = all.detach(id);
    assert_eq!(left, (3..8).map(|packet| (packet, late)).collect::<Vec<_>>());
    assert!(all.is_empty() && all.next_deadline().is_none());
}

#[test]
fn large_packets_fill_an_inspector_too() {
    let mut all = inspectors();
    let id = all.attach(Principal::HOST, Terms { room: MAX_ROOM, ..terms() }).expect("room");
    let taken = (0..MAX_ROOM as u64)
        .take_while(|packet| all.park(T(0), id, *packet, 65_000, || *packet as u32).is_ok());
    assert_eq!(taken.count(), MAX_BYTES / (65_000 + OVERHEAD));
    let member = all.get_mut(id).expect("attached");
    assert_eq!(member.tally.full, 1);
}

#[test]
fn flows_are_shared_and_stay_where_they_are() {
    let mut all = inspectors();
    let ids = [0, 1].map(|_| all.attach(Principal::HOST, terms()).expect("room"));
    let user = Principal::user(5);
    let far = all.attach(user, Terms { source: Source::Queue(4), ..terms() }).expect("room");
    let key = Random::new([2; 16]).key();
    let mut given = std::collections::BTreeMap::<_, usize>::new();
    for flow in 0..1000_u32 {
        let flow = key.hash(&flow);
        let chosen = all.choose((3, 3), flow, |_| true).expect("somebody");
        assert_eq!(all.choose((3, 3), flow, |_| true), Some(chosen));
        *given.entry(chosen).or_default() += 1;
        assert_eq!(all.choose((4, 4), flow, |_| true), Some(far));
        // Nobody else takes what is for somebody who may not have it.
        assert_eq!(all.choose((4, 4), flow, |member| member.principal != user), None);
        assert_eq!(all.choose((9, 9), flow, |_| true), None);
        assert!(all.choose((3, 4), flow, |_| true).is_some());
    }
    assert!(ids.iter().all(|id| given[id] > 400), "{given:?}");
}

/// Packets, answers of all kinds in any order, time, and members that go, against what must always be true.
#[test]
fn whatever_is_answered_each_packet_ends_once_and_flows_keep_their_order() {
    for seed in 0..60_u8 {
        let mut random = Random::new([seed; 16]);
        let mut all = inspectors();
        let (mut now, mut next) = (T(0), 0_u32);
        let mut members = Vec::new();
        let mut flow_of = Vec::new();
        let mut ended: Vec<u32> = Vec::new();
        for _ in 0..400 {
            let mut released = Vec::new();
            match random.below(10) {
                0 if members.len() < 4 => {
                    let open = random.below(2) == 0;
                    members.extend(all.attach(Principal::HOST, Terms { open, ..terms() }));
                }
                1 if !members.is_empty() && random.below(8) == 0 => {
                    let gone = members.swap_remove(random.below(members.len() as u32) as usize);
                    released = all.detach(gone);
                }
                2 => {
                    now += Duration::from_millis(random.below(900).into());
                    while let Some((_, some)) = all.expire(now) {
                        released.extend(some);
                    }
                }
                3..=6 if !members.is_empty() => {
                    let to = members[random.below(members.len() as u32) as usize];
                    // Those of one flow go to one member.
                    let flow = u64::from(to.0) << 8 | u64::from(random.below(3));
                    if all.park(now, to, flow, random.below(100) as usize, || next).is_ok() {
                        flow_of.push((flow, next));
                        next += 1;
                    }
                }
                _ if !members.is_empty() => {
                    let to = members[random.below(members.len() as u32) as usize];
                    let answer = match random.below(3) {
                        0 => Answer::Drop,
                        1 => Answer::Accept { mark: Some(9) },
                        _ => accept(),
                    };
                    released = all.answer(to, random.below(40).into(), answer).unwrap_or_default();
                }
                _ => {}
            }
            ended.extend(released.into_iter().map(|(packet, _)| packet));
            for (_, member) in all.iter() {
                let (count, bytes) = member.waiting();
                assert!(count <= 8 && bytes <= MAX_BYTES, "seed {seed}");
            }
        }
        for id in members {
            ended.extend(all.detach(id).into_iter().map(|(packet, _)| packet));
        }
        let mut sorted = ended.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..next).collect::<Vec<_>>(), "seed {seed}: once each");
        for flow in flow_of.iter().map(|(flow, _)| flow) {
            let came: Vec<_> =
                flow_of.iter().filter(|(of, _)| of == flow).map(|(_, packet)| *packet).collect();
            let went: Vec<_> =
                ended.iter().filter(|packet| came.contains(packet)).copied().collect();
            assert_eq!(went, came, "seed {seed}: in order");
        }
    }
}
