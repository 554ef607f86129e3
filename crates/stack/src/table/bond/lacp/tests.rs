//! A port against a script of LACPDUs.

use super::*;

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// The peer's port `number`, of the system and key.
fn peer(system: MacAddr, key: u16, number: u16, state: State) -> Information {
    Information { system_priority: 5, system, key, port_priority: 6, port: number, state }
}

const SPEAKS: State = State(State::ACTIVITY.0 | State::AGGREGATION.0 | State::SHORT_TIMEOUT.0);
const IN_STEP: State = State(SPEAKS.0 | State::SYNCHRONIZATION.0);

fn ports() -> [Port; 2] {
    [1, 2].map(|number| {
        let mut port = Port::new(OWN, number, true);
        port.enable(at(0), true);
        port
    })
}

fn settle(now: Instant, ports: &mut [Port; 2]) {
    let [first, second] = ports;
    select(now, &mut [first, second]);
}

/// The peer hears what our port says, and answers.
fn answer(now: Instant, port: &mut Port, actor: Information) {
    let partner = *port.actor();
    port.receive(now, &Lacpdu { actor, partner });
}

fn passing(ports: &[Port; 2]) -> [bool; 2] {
    ports.each_ref().map(|port| port.is_collecting() && port.is_distributing())
}

/// Both ports in one aggregate, at four seconds.
fn aggregated() -> [Port; 2] {
    let mut ports = ports();
    for second in 0..4 {
        for (port, number) in ports.iter_mut().zip(1..) {
            answer(at(second * 1000), port, peer(THEIRS, 7, number, IN_STEP));
        }
        settle(at(second * 1000), &mut ports);
    }
    assert_eq!(passing(&ports), [true; 2]);
    ports
}

#[test]
fn frames_pass_after_the_wait_and_once_the_peer_is_in_step() {
    let mut ports = ports();
    for (millis, state, expected) in [
        (0, SPEAKS, [false; 2]),
        (1000, SPEAKS, [false; 2]),
        // The aggregate wait is over; the peer is not there yet.
        (2500, SPEAKS, [false; 2]),
        (3000, IN_STEP, [true; 2]),
        (3500, SPEAKS, [false; 2]),
        (4000, IN_STEP, [true; 2]),
    ] {
        for (port, number) in ports.iter_mut().zip(1..) {
            answer(at(millis), port, peer(THEIRS, 7, number, state));
        }
        settle(at(millis), &mut ports);
        assert_eq!(passing(&ports), expected, "at {millis} ms");
    }
    let state = ports[0].actor().state;
    assert!(state.has(State::SYNCHRONIZATION | State::COLLECTING | State::DISTRIBUTING));
    assert!(!state.has(State::EXPIRED) && !state.has(State::DEFAULTED));
}

#[test]
fn who_speaks_of_somebody_else_is_not_in_step() {
    let mut ports = ports();
    for second in 0..6 {
        for port in &mut ports {
            // It takes us for another.
            let partner = Information { system: THEIRS, ..*port.actor() };
            port.receive(
                at(second * 1000),
                &Lacpdu { actor: peer(THEIRS, 7, 1, IN_STEP), partner },
            );
            assert!(port.poll_transmit(at(second * 1000)).is_some(), "it is told who we are");
        }
        settle(at(second * 1000), &mut ports);
        assert_eq!(passing(&ports), [false; 2]);
    }
}

#[test]
fn silence_expires_and_then_defaults() {
    let mut ports = aggregated();
    let [silent, _] = &mut ports;
    // Heard last at 3 s; a short timeout is 3 s.
    silent.handle_timeout(at(5_900));
    assert!(!silent.actor().state.has(State::EXPIRED));
    for second in 4..7 {
        answer(at(second * 1000), &mut ports[1], peer(THEIRS, 7, 2, IN_STEP));
    }
    ports[0].handle_timeout(at(6_000));
    settle(at(6_000), &mut ports);
    assert!(ports[0].actor().state.has(State::EXPIRED));
    assert_eq!(passing(&ports), [false, true]);
    ports[0].handle_timeout(at(9_000));
    settle(at(9_000), &mut ports);
    assert!(ports[0].actor().state.has(State::DEFAULTED));
    assert_eq!(ports[0].partner(), &Information::default());
    // The other still has a peer, so who has none stays out.
    assert_eq!(passing(&ports), [false, true]);
}

#[test]
fn without_a_peer_one_port_is_used_by_itself() {
    let mut ports = ports();
    for millis in [3_000, 3_001, 5_100, 5_200] {
        for port in &mut ports {
            port.handle_timeout(at(millis));
        }
        settle(at(millis), &mut ports);
    }
    assert_eq!(passing(&ports), [true, false]);
}

#[test]
fn ports_of_two_peers_are_not_mixed() {
    for (system, key) in [(MacAddr([2, 0, 0, 0, 0, 3]), 7), (THEIRS, 8)] {
        let mut ports = ports();
        for second in 0..5 {
            answer(at(second * 1000), &mut ports[0], peer(THEIRS, 7, 1, IN_STEP));
            answer(at(second * 1000), &mut ports[1], peer(system, key, 1, IN_STEP));
            settle(at(second * 1000), &mut ports);
        }
        assert_eq!(passing(&ports), [true, false], "{system} {key}");
        // The one in reserve takes over when the other's wire is cut.
        ports[0].enable(at(5_000), false);
        for second in 5..9 {
            answer(at(second * 1000), &mut ports[1], peer(system, key, 1, IN_STEP));
            settle(at(second * 1000), &mut ports);
        }
        assert_eq!(passing(&ports), [false, true], "{system} {key}");
    }
}

#[test]
fn our_own_words_by_a_loop_in_the_wiring_are_not_a_peers() {
    let mut ports = ports();
    let said = ports[0].poll_transmit(at(0)).expect("the first word");
    for second in 0..6 {
        ports[1].receive(at(second * 1000), &said);
        settle(at(second * 1000), &mut ports);
    }
    assert_eq!(ports[1].partner().system, MacAddr::ZERO);
    assert_eq!(passing(&ports), [false; 2]);
}

#[test]
fn it_speaks_as_often_as_the_peer_wants_and_never_more_than_thrice_a_second() {
    let mut ports = aggregated();
    let port = &mut ports[0];
    for (state, expected) in [(IN_STEP, 30), (IN_STEP.with(State::SHORT_TIMEOUT, false), 1)] {
        answer(at(4_000), port, peer(THEIRS, 7, 1, state));
        let mut said = 0;
        for tenth in 40..340 {
            port.handle_timeout(at(tenth * 100));
            // It is heard all the time.
            answer(at(tenth * 100), port, peer(THEIRS, 7, 1, state));
            said += usize::from(port.poll_transmit(at(tenth * 100)).is_some());
        }
        assert!((expected - 1..=expected + 2).contains(&said), "{said}, not {expected}");
    }
    // A peer that never agrees makes us speak again and again.
    let mut said = 0;
    for millis in 40_000..41_000 {
        let actor = peer(THEIRS, 7, 1, IN_STEP);
        port.receive(at(millis), &Lacpdu { actor, partner: Information::default() });
        said += usize::from(port.poll_transmit(at(millis)).is_some());
    }
    assert!(said <= 6, "{said} in a second");
}

#[test]
fn a_port_that_is_down_says_and_hears_nothing() {
    let mut ports = aggregated();
    ports[0].enable(at(4_000), false);
    answer(at(4_000), &mut ports[0], peer(THEIRS, 7, 1, IN_STEP));
    settle(at(4_000), &mut ports);
    assert_eq!(ports[0].poll_transmit(at(4_000)), None);
    assert_eq!(ports[0].next_timeout(), None);
    assert_eq!(passing(&ports), [false, true]);
}
