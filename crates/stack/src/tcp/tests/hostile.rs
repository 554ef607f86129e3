//! Any segments, calls and times in any order: no panic, no endless output, bounded memory.

use super::fixture::*;
use crate::{
    random::Random,
    request::Error,
    tcp::{Settings, State, connection::IcmpError, scoreboard::MAX_RANGES},
};
use narrows_wire::{
    tcp::Flags,
    tcp_options::{Options, Timestamps},
};
use std::sync::Arc;

const STATES: [State; 10] = [
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
    State::Closed,
];

/// More segments than this after one event would be a loop without end.
const MOST_SEGMENTS: usize = 20_000;

/// A number that is mostly near `base`, and now and then anywhere.
fn near(random: &mut Random, base: u32) -> u32 {
    match random.below(8) {
        0 => random.next_u32(),
        1 => base.wrapping_add(random.below(1 << 20)),
        2 => base.wrapping_sub(random.below(1 << 20)),
        3 | 4 => base.wrapping_add(random.below(3)).wrapping_sub(1),
        _ => base.wrapping_add(random.below(5000)),
    }
}

fn segment_of(random: &mut Random, fixture: &Fixture) -> super::pipe::OwnedSegment {
    let connection = &fixture.connection;
    let (una, nxt) = (connection.snd.una.0, connection.snd.nxt.0);
    let mut segment = segment(0, 0, ACK);
    segment.header.sequence = near(random, connection.rcv.nxt.0);
    let base = if random.below(2) == 0 { una } else { nxt };
    segment.header.acknowledgment = near(random, base);
    segment.header.window = [0, 1, 1000, 65_535][random.below(4) as usize];
    segment.header.urgent = random.next_u32() as u16;
    segment.header.flags = match random.below(16) {
        0 => Flags(random.next_u32() as u16 & 0x1ff),
        1 => FIN_ACK,
        2 => SYN_ACK,
        _ => ACK,
    };
    let len = [0, 0, 1, 1000, 65_000][random.below(5) as usize];
    if random.below(2) == 0 {
        segment.options.timestamps = Some(Timestamps {
            value: near(random, 1000),
            echo: near(random, fixture.now.as_millis() as u32),
        });
    }
    for _ in 0..random.below(5) {
        let left = near(random, una);
        let right = left.wrapping_add(random.below(3000));
        segment.options.sack.push(left, right);
    }
    segment.text(len)
}

fn act(random: &mut Random, fixture: &mut Fixture) {
    match random.below(40) {
        0..20 => {
            let segment = segment_of(random, fixture);
            fixture.arrive(&segment);
        }
        20..25 => {
            let _ = fixture.write(random.below(100_000) as usize);
        }
        25..28 => {
            let _ = fixture.read(random.below(100_000) as usize);
        }
        28..34 if fixture.connection.next_timeout().is_some() => {
            fixture.time_out();
        }
        34..36 => fixture.advance_ms(u64::from(random.below(1000))),
        36 => {
            let error = match random.below(2) {
                0 => IcmpError::Unreachable(Error::HostUnreachable),
                _ => IcmpError::FragmentationNeeded { mtu: random.next_u32() as u16 },
            };
            let sequence = near(random, fixture.connection.snd.una.0).wrapping_sub(ISS);
            fixture.icmp_error(sequence, error);
        }
        37 => {
            let settings = Settings {
                no_delay: random.below(2) == 0,
                cork: random.below(4) == 0,
                keep_alive: random.below(2) == 0,
                send_limit: random.below(1 << 21) as usize,
                receive_limit: random.below(1 << 21) as usize,
                max_segment: (random.below(4) == 0).then(|| random.next_u32() as u16),
                ..Settings::default()
            };
            fixture.connection.set(fixture.now, &Arc::new(settings.clone()));
        }
        38 if random.below(20) == 0 => fixture.connection.shutdown_send(fixture.now),
        39 if random.below(40) == 0 => {
            fixture.close();
        }
        _ => {}
    }
}

#[test]
fn anything_in_any_order() {
    for seed in 0..400u64 {
        let mut random = Random::new(u128::from(seed).to_le_bytes());
        let state = STATES[(seed % 10) as usize];
        let peer: [fn() -> Options; 3] = [plain, with_sack, modern];
        let mut fixture = match seed % 4 {
            0 => Fixture::in_state(state),
            n => Fixture::established_with(&Settings::default(), peer[n as usize - 1]()),
        };
        for _ in 0..500 {
            act(&mut random, &mut fixture);
            let offload = [0, 65_495][random.below(2) as usize];
            for left in (0..MOST_SEGMENTS).rev() {
                let wanted = fixture.connection.wants_to_send(fixture.now);
                let polled = fixture.connection.poll_segment(fixture.now, offload);
                assert_eq!(wanted, polled.is_some(), "seed {seed}");
                let Some(outgoing) = polled else { break };
                let payload = fixture.connection.payload(&outgoing).concat();
                assert_eq!(payload.len(), outgoing.payload_len, "seed {seed}: {outgoing:?}");
                assert!(left > 0, "seed {seed}: output without end");
            }
            let connection = &fixture.connection;
            assert!(connection.recovery.board.ranges().count() <= MAX_RANGES + 1);
            assert!(connection.state() != State::Closed || connection.next_timeout().is_none());
            let _ = fixture.connection.take_readiness();
        }
        fixture.close();
        let _ = fixture.connection.abort(fixture.now, &mut fixture.pool);
        assert_eq!(fixture.pool.in_use(), 0, "seed {seed}");
    }
}
