//! The small types: SYN-RECEIVED of a listener, TIME-WAIT; and how small a connection is.

use super::{fixture::*, pipe::OwnedSegment};
use crate::{
    counters::DropReason::{self, *},
    table::socket::Socket,
    tcp::{
        Connection, Settings,
        listen::{HalfOpen, HalfOpenTimeout, HalfOpenVerdict},
        time_wait::{TimeWait, TimeWaitTimestamps, TimeWaitVerdict},
    },
    time::Instant,
};
use narrows_wire::ecn::Codepoint;
use narrows_wire::{
    tcp::Flags,
    tcp_options::{Options, Timestamps},
};

const NOW: Instant = Instant::from_millis(10_000);

fn half_open(peer: Options) -> HalfOpen {
    let syn = OwnedSegment { options: peer, ..segment(0, 0, SYN) };
    HalfOpen::new(NOW, &syn.borrow(), Codepoint::NotEct, OPENING, &Settings::default()).0
}

#[test]
fn a_syn_ack_accepts_what_was_offered() {
    for (offer, expected) in [
        (Options::default(), Options { mss: Some(1460), ..Options::default() }),
        (
            modern(),
            Options {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps { value: 10_000, echo: 1000 }),
                ..Options::default()
            },
        ),
    ] {
        let syn = OwnedSegment { options: offer, ..segment(0, 0, SYN) };
        let (state, syn_ack) =
            HalfOpen::new(NOW, &syn.borrow(), Codepoint::NotEct, OPENING, &Settings::default());
        assert_eq!((seen(&syn_ack), syn_ack.window), ((0, 1, SYN_ACK, 0), 65_535));
        assert_eq!((syn_ack.options, state.iss, state.irs), (expected, ISS, IRS));
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Established,
    Reply(Seen),
    Drop(DropReason),
    Reset,
}

fn ask(state: &mut HalfOpen, now: Instant, segment: &OwnedSegment) -> Said {
    match state.segment_arrives(now, &segment.borrow(), 0) {
        HalfOpenVerdict::Established => Said::Established,
        HalfOpenVerdict::Reply(reply) => Said::Reply(seen(&reply)),
        HalfOpenVerdict::Drop(reason) => Said::Drop(reason),
        HalfOpenVerdict::Reset => Said::Reset,
    }
}

#[test]
fn what_a_half_open_connection_makes_of_segments() {
    let challenge = || Said::Reply((1, 1, ACK, 0));
    for (segment, expected) in [
        (segment(1, 1, ACK), Said::Established),
        (segment(1, 1, ACK).text(10), Said::Established),
        (segment(1, 1, FIN_ACK), Said::Established),
        (segment(1001, 1, ACK).text(10), Said::Established),
        (segment(0, 0, SYN), Said::Reply((0, 1, SYN_ACK, 0))),
        (segment(5, 0, SYN), challenge()),
        (segment(0x2000_0000, 0, SYN), challenge()),
        (segment(1, 1, Flags(0)), Said::Drop(TcpNoAck)),
        (segment(1, 0, ACK), Said::Reply((0, 0, RST, 0))),
        (segment(1, 2, ACK), Said::Reply((2, 0, RST, 0))),
        (segment(0x2000_0000, 1, ACK), challenge()),
        (segment(1, 0, RST), Said::Reset),
        (segment(2, 0, RST), challenge()),
        (segment(0, 0, RST), Said::Drop(TcpOutOfWindow)),
        (segment(0x2000_0000, 0, RST), Said::Drop(TcpOutOfWindow)),
    ] {
        let mut state = half_open(plain());
        assert_eq!(ask(&mut state, NOW, &segment), expected, "{segment:?}");
    }
    let mut state = half_open(modern());
    let old = segment(1, 1, ACK).stamped(999, 0);
    assert_eq!(ask(&mut state, NOW, &old), challenge());
}

#[test]
fn answers_of_a_half_open_connection_are_limited_in_time() {
    let mut state = half_open(plain());
    let syn = segment(0, 0, SYN);
    assert_eq!(ask(&mut state, NOW, &syn), Said::Reply((0, 1, SYN_ACK, 0)));
    assert_eq!(ask(&mut state, NOW, &syn), Said::Drop(TcpOutOfWindow));
    let later = Instant::from_millis(10_500);
    assert_eq!(ask(&mut state, later, &syn), Said::Reply((0, 1, SYN_ACK, 0)));
}

#[test]
fn a_syn_ack_is_sent_six_times_in_all() {
    let mut state = half_open(plain());
    let mut waits = Vec::new();
    let mut now = NOW;
    loop {
        waits.push(state.next_timeout().since(now).as_secs());
        now = state.next_timeout();
        match state.handle_timeout(now, 0) {
            HalfOpenTimeout::Again(again) => assert_eq!(seen(&again), (0, 1, SYN_ACK, 0)),
            _ => break,
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32]);
}

fn time_wait(stamps: bool) -> TimeWait {
    TimeWait {
        snd_nxt: ISS.wrapping_add(500),
        rcv_nxt: IRS.wrapping_add(900),
        window: 77,
        timestamps: stamps.then_some(TimeWaitTimestamps { recent: 1000, offset: 3 }),
    }
}

#[test]
fn what_time_wait_makes_of_segments() {
    let drop = |reason| (Some(reason), None, false);
    let acknowledge = |restart| (None, Some((500, 900, ACK, 0)), restart);
    let expire = (None, None, true);
    for (segment, stamps, expected) in [
        (segment(899, 500, FIN_ACK), false, acknowledge(true)),
        (segment(889, 500, FIN_ACK).text(10), false, acknowledge(true)),
        (segment(899, 500, FIN_ACK).stamped(999, 0), true, acknowledge(false)),
        (segment(900, 500, ACK), false, drop(TcpOutOfWindow)),
        (segment(7, 500, ACK), false, drop(TcpOutOfWindow)),
        (segment(800, 500, ACK).text(10), false, acknowledge(false)),
        (segment(900, 500, RST), false, expire),
        (segment(901, 500, RST), false, drop(TcpBlindReset)),
        (segment(800, 0, SYN), false, acknowledge(false)),
        (segment(900, 0, SYN), false, acknowledge(false)),
        (segment(901, 500, SYN_ACK), false, acknowledge(false)),
        (segment(800, 0, SYN).stamped(1000, 0), true, acknowledge(false)),
        (segment(901, 0, SYN).stamped(999, 0), true, acknowledge(false)),
    ] {
        let verdict = time_wait(stamps).segment_arrives(NOW, &segment.borrow());
        let got = match verdict {
            TimeWaitVerdict::Acknowledge { reply, restart } => (None, Some(seen(&reply)), restart),
            TimeWaitVerdict::Drop(reason) => (Some(reason), None, false),
            TimeWaitVerdict::Expire => (None, None, true),
            TimeWaitVerdict::Reopen => panic!("{segment:?}"),
        };
        assert_eq!(got, expected, "{segment:?}");
    }
}

#[test]
fn a_new_syn_reopens() {
    for (segment, stamps) in [
        (segment(901, 0, SYN), false),
        (segment(901, 0, SYN).stamped(1000, 0), true),
        (segment(7, 0, SYN).stamped(1001, 0), true),
    ] {
        let verdict = time_wait(stamps).segment_arrives(NOW, &segment.borrow());
        assert_eq!(verdict, TimeWaitVerdict::Reopen, "{segment:?}");
    }
}

#[test]
fn time_wait_echoes_timestamps() {
    let fin = segment(899, 500, FIN_ACK).stamped(1001, 0);
    let verdict = time_wait(true).segment_arrives(NOW, &fin.borrow());
    let TimeWaitVerdict::Acknowledge { reply, .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(reply.options.timestamps, Some(Timestamps { value: 10_003, echo: 1000 }));
    assert_eq!(reply.window, 77);
}

/// What a connection adds to the tables: of flows twice an entry and its tag, since half the table may
/// be free; of sockets a generation. And what the allocator adds to a box.
const PLACES: usize = 2 * 25 + 8 + 8;

#[test]
fn an_idle_connection_is_under_a_kibibyte() {
    let mut fixture = Fixture::established_with(&Settings::default(), modern());
    fixture.write(5000).unwrap();
    fixture.sent();
    fixture.accepts(&segment(1, 5001, ACK).text(5000).stamped(1001, 10_000));
    fixture.read(9999).unwrap();
    fixture.sent();
    assert_eq!(fixture.pool.in_use(), 0);
    let heap = fixture.connection.recovery.board.memory();
    let (connection, socket) = (size_of::<Connection>(), size_of::<Socket>());
    let size = connection + socket + heap + PLACES;
    assert!(size < 1024, "{connection}, {socket} of the socket and {heap} on the heap");
    assert!(size_of::<HalfOpen>() <= 96, "{}", size_of::<HalfOpen>());
    assert!(size_of::<TimeWait>() <= 24, "{}", size_of::<TimeWait>());
}
