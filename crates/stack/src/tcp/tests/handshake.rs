//! Opening: RFC 9293 §3.5, §3.10.7.3.

use super::fixture::*;
use crate::{
    counters::DropReason,
    event::Readiness,
    request::Error,
    tcp::{Settings, State, connection::Fate, connection::IcmpError},
};
use narrows_wire::tcp_options::{Options, Timestamps};

#[test]
fn a_syn_offers_everything() {
    let now = crate::Instant::from_millis(77);
    let mut connection = crate::tcp::Connection::connect(now, OPENING, &Default::default());
    let syn = connection.poll_segment(now, 0).unwrap();
    assert_eq!((seen(&syn), syn.window), ((0, 0, SYN, 0), 65_535));
    assert_eq!(
        syn.options,
        Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 77, echo: 0 }),
            ..Options::default()
        }
    );
}

#[test]
fn what_answers_a_syn() {
    use State::*;
    for (answer, reply, dropped, state, error) in [
        (segment(0, 1, SYN_ACK), None, None, Established, None),
        (segment(0, 0, SYN), None, None, SynReceived, None),
        (segment(9, 1, RST_ACK), None, None, Closed, Some(Error::ConnectionRefused)),
        (segment(9, 0, RST_ACK), None, Some(DropReason::TcpBadAck), SynSent, None),
        (segment(9, 2, RST_ACK), None, Some(DropReason::TcpBadAck), SynSent, None),
        (segment(9, 0, RST), None, Some(DropReason::TcpBlindReset), SynSent, None),
        (segment(0, 2, SYN_ACK), Some((2, 0, RST, 0)), Some(DropReason::TcpBadAck), SynSent, None),
        (segment(0, 0, SYN_ACK), Some((0, 0, RST, 0)), Some(DropReason::TcpBadAck), SynSent, None),
        (segment(7, 9, ACK), Some((9, 0, RST, 0)), Some(DropReason::TcpBadAck), SynSent, None),
        (segment(7, 1, ACK), None, Some(DropReason::TcpOutOfWindow), SynSent, None),
        (segment(7, 1, FIN_ACK), None, Some(DropReason::TcpOutOfWindow), SynSent, None),
    ] {
        let mut fixture = Fixture::syn_sent(&Settings::default());
        let outcome = fixture.arrive(&answer);
        let fate = if state == Closed { Fate::Closed } else { Fate::Alive };
        assert_eq!(
            (outcome.reply.as_ref().map(seen), outcome.dropped, fixture.state(), outcome.fate),
            (reply, dropped, state, fate),
            "{answer:?}"
        );
        assert_eq!(fixture.connection.error(), error, "{answer:?}");
        let readiness = fixture.connection.take_readiness();
        assert_eq!(readiness.contains(Readiness::CONNECTED), state == Established);
        assert_eq!(readiness.contains(Readiness::FAILED), error.is_some());
    }
}

#[test]
fn text_and_fin_in_a_syn_ack_count() {
    let mut fixture = Fixture::syn_sent(&Settings::default());
    let mut syn_ack = segment(0, 1, SYN_ACK).text(10);
    syn_ack.header.flags = syn_ack.header.flags.with(FIN_ACK);
    fixture.accepts(&syn_ack);
    assert_eq!((fixture.state(), fixture.read(100)), (State::CloseWait, Ok(10)));
    assert_eq!(fixture.sent(), [(1, 12, ACK, 0)]);
    assert_eq!(fixture.read(100), Ok(0));
}

#[test]
fn simultaneous_open() {
    for peer in [segment(0, 1, SYN_ACK), segment(1, 1, ACK)] {
        let mut fixture = Fixture::in_state(State::SynReceived);
        fixture.accepts(&peer);
        assert_eq!(fixture.state(), State::Established);
        assert!(fixture.connection.take_readiness().contains(Readiness::CONNECTED));
        assert_eq!(fixture.write(10), Ok(10));
        assert_eq!(fixture.sent(), [(1, 1, PSH_ACK, 10)]);
    }
}

#[test]
fn a_reset_in_syn_received_refuses() {
    let mut fixture = Fixture::in_state(State::SynReceived);
    assert_eq!(fixture.arrive(&segment(1, 0, RST)).fate, Fate::Closed);
    assert_eq!(fixture.connection.error(), Some(Error::ConnectionRefused));
}

#[test]
fn a_wrong_acknowledgment_in_syn_received_is_reset() {
    let mut fixture = Fixture::in_state(State::SynReceived);
    let outcome = fixture.arrive(&segment(1, 2, ACK));
    assert_eq!(outcome.reply.as_ref().map(seen), Some((2, 0, RST, 0)));
    assert_eq!(fixture.state(), State::SynReceived);
}

#[test]
fn a_passive_open_says_nothing_of_being_connected() {
    let mut fixture = Fixture::accepted();
    assert_eq!(fixture.state(), State::Established);
    assert_eq!(fixture.connection.take_readiness(), Readiness::empty());
    assert_eq!(fixture.sent(), []);
}

#[test]
fn a_silent_peer_gets_seven_syns() {
    let mut fixture = Fixture::syn_sent(&Settings::default());
    for wait in [1000, 2000, 4000, 8000, 16_000, 32_000] {
        let (waited, outcome) = fixture.time_out();
        assert_eq!((waited, outcome.fate), (wait, Fate::Alive));
        assert_eq!(fixture.sent(), [(0, 0, SYN, 0)]);
    }
    let (waited, outcome) = fixture.time_out();
    assert_eq!((waited, outcome.fate), (64_000, Fate::Closed));
    assert_eq!(fixture.connection.error(), Some(Error::TimedOut));
    assert_eq!(fixture.connection.next_timeout(), None);
}

#[test]
fn a_lost_syn_makes_the_first_window_one_segment() {
    let mut fixture = Fixture::syn_sent(&Settings::default());
    fixture.time_out();
    fixture.sent();
    let mut syn_ack = segment(0, 1, SYN_ACK);
    syn_ack.options = plain();
    fixture.accepts(&syn_ack);
    let info = fixture.connection.info(fixture.now);
    assert_eq!((info.congestion_window, info.retransmission_timeout.as_secs()), (1000, 3));
}

#[test]
fn an_unreachable_host_fails_only_the_handshake() {
    let unreachable = IcmpError::Unreachable(Error::HostUnreachable);
    let mut fixture = Fixture::syn_sent(&Settings::default());
    assert_eq!(fixture.icmp_error(ISS + 1, unreachable), Fate::Alive);
    assert_eq!(fixture.icmp_error(ISS, unreachable), Fate::Closed);
    assert_eq!(fixture.connection.error(), Some(Error::HostUnreachable));

    let mut fixture = Fixture::established();
    fixture.write(10).unwrap();
    fixture.sent();
    assert_eq!(fixture.icmp_error(ISS + 1, unreachable), Fate::Alive);
    while fixture.state() != State::Closed {
        fixture.time_out();
        fixture.sent();
    }
    assert_eq!(fixture.connection.error(), Some(Error::HostUnreachable), "the better reason");
}

#[test]
fn what_is_queued_and_shut_before_the_handshake_follows_it() {
    let mut fixture = Fixture::syn_sent(&Settings::default());
    assert_eq!(fixture.write(10), Ok(10));
    fixture.connection.shutdown_send(fixture.now);
    assert_eq!((fixture.write(1), fixture.sent()), (Err(Error::BrokenPipe), vec![]));
    let mut syn_ack = segment(0, 1, SYN_ACK);
    syn_ack.options = plain();
    fixture.accepts(&syn_ack);
    assert_eq!(fixture.state(), State::FinWait1);
    assert_eq!(fixture.sent(), [(1, 1, FIN_PSH_ACK, 10)]);
}
