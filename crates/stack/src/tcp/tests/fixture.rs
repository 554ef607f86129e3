//! A connection in a chosen state, and short ways to talk to it. Numbers are relative: to our
//! initial sequence number and to the peer's, both shortly before the wrap.

use super::pipe::OwnedSegment;
use crate::{
    request::Error,
    tcp::{
        Connection, Settings, State,
        connection::{Fate, IcmpError, Outcome, Outgoing},
        listen::{HalfOpen, Opening},
    },
    time::{Duration, Instant},
};
use narrows_ring::Pool;
use narrows_wire::ecn::Codepoint;
use narrows_wire::{
    tcp::{Flags, Header},
    tcp_options::{Options, Timestamps},
};
use std::sync::Arc;

pub const ISS: u32 = 0xffff_fff0;
pub const IRS: u32 = 0xffff_ff80;
pub const MSS: usize = 1000;
pub const WINDOW: u16 = 50_000;

pub const SYN: Flags = Flags::SYN;
pub const ACK: Flags = Flags::ACK;
pub const RST: Flags = Flags::RST;
pub const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
pub const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
pub const RST_ACK: Flags = Flags(Flags::RST.0 | Flags::ACK.0);
pub const PSH_ACK: Flags = Flags(Flags::PSH.0 | Flags::ACK.0);
pub const FIN_PSH_ACK: Flags = Flags(Flags::FIN.0 | Flags::PSH.0 | Flags::ACK.0);

/// Sequence number, acknowledgment, flags and payload of a segment.
pub type Seen = (u32, u32, Flags, usize);

pub struct Fixture {
    pub now: Instant,
    pub connection: Connection,
    pub pool: Pool,
}

/// A segment of the peer.
pub fn segment(sequence: u32, acknowledgment: u32, flags: Flags) -> OwnedSegment {
    OwnedSegment {
        header: Header {
            source_port: 1,
            destination_port: 2,
            sequence: IRS.wrapping_add(sequence),
            acknowledgment: ISS.wrapping_add(acknowledgment),
            flags,
            window: WINDOW,
            urgent: 0,
        },
        options: Options::default(),
        payload: Vec::new(),
    }
}

impl OwnedSegment {
    pub fn text(mut self, len: usize) -> Self {
        self.payload = (0..len).map(|i| i as u8).collect();
        self
    }

    pub fn window(mut self, window: u16) -> Self {
        self.header.window = window;
        self
    }

    pub fn stamped(mut self, value: u32, echo: u32) -> Self {
        self.options.timestamps = Some(Timestamps { value, echo });
        self
    }

    pub fn sack(mut self, blocks: &[(u32, u32)]) -> Self {
        for (left, right) in blocks {
            self.options.sack.push(ISS.wrapping_add(*left), ISS.wrapping_add(*right));
        }
        self
    }
}

/// What a plain peer offers.
pub fn plain() -> Options {
    Options { mss: Some(MSS as u16), ..Options::default() }
}

pub fn with_sack() -> Options {
    Options { sack_permitted: true, ..plain() }
}

/// Everything, with a window scale of 0 and timestamps beginning at 1000.
pub fn modern() -> Options {
    Options {
        // Beside the timestamps that is the same payload.
        mss: Some(MSS as u16 + 12),
        window_scale: Some(0),
        timestamps: Some(Timestamps { value: 1000, echo: 0 }),
        ..with_sack()
    }
}

pub const OPENING: Opening = Opening { iss: ISS, timestamp_offset: 0, mss: 1460 };

pub fn seen(outgoing: &Outgoing) -> Seen {
    let relative = |number: u32, base: u32, known: bool| match known {
        true => number.wrapping_sub(base),
        false => number,
    };
    let acknowledgment = relative(outgoing.acknowledgment, IRS, outgoing.flags.ack());
    (outgoing.sequence.wrapping_sub(ISS), acknowledgment, outgoing.flags, outgoing.payload_len)
}

impl Fixture {
    /// SYN-SENT; the SYN has left.
    pub fn syn_sent(settings: &Settings) -> Self {
        let now = Instant::from_millis(10_000);
        let connection = Connection::connect(now, OPENING, &Arc::new(settings.clone()));
        let mut fixture = Self { now, connection, pool: Pool::new(0) };
        assert_eq!(fixture.sent(), [(0, 0, SYN, 0)]);
        fixture
    }

    /// ESTABLISHED by an active open, with nothing left to send.
    pub fn established_with(settings: &Settings, peer: Options) -> Self {
        Self::established_after(0, settings, peer)
    }

    /// The same; the handshake took so many milliseconds.
    pub fn established_after(millis: u64, settings: &Settings, peer: Options) -> Self {
        let mut fixture = Self::syn_sent(settings);
        fixture.advance_ms(millis);
        let mut syn_ack = segment(0, 1, SYN_ACK);
        syn_ack.options = peer;
        fixture.accepts(&syn_ack);
        assert_eq!(fixture.sent(), [(1, 1, ACK, 0)]);
        let _ = fixture.connection.take_readiness();
        fixture
    }

    pub fn established() -> Self {
        Self::established_with(&Settings::default(), plain())
    }

    /// The state after a passive open, its caller having passed on the last segment.
    pub fn accepted() -> Self {
        let now = Instant::from_millis(10_000);
        let syn = OwnedSegment { options: plain(), ..segment(0, 0, SYN) };
        let (half_open, _) =
            HalfOpen::new(now, &syn.borrow(), Codepoint::NotEct, OPENING, &Settings::default());
        let connection = Connection::accept(now, half_open, &Arc::default());
        let mut fixture = Self { now, connection, pool: Pool::new(0) };
        fixture.accepts(&segment(1, 1, ACK));
        fixture
    }

    /// A connection without options in the named state.
    pub fn in_state(state: State) -> Self {
        if state == State::SynSent {
            return Self::syn_sent(&Settings::default());
        }
        if state == State::SynReceived {
            let mut fixture = Self::syn_sent(&Settings::default());
            fixture.accepts(&OwnedSegment { options: plain(), ..segment(0, 0, SYN) });
            assert_eq!(fixture.sent(), [(0, 1, SYN_ACK, 0)]);
            return fixture;
        }
        let mut fixture = Self::established();
        let fin = |fixture: &mut Self, ack| fixture.accepts(&segment(1, ack, FIN_ACK));
        let shut = |fixture: &mut Self| fixture.connection.shutdown_send(fixture.now);
        match state {
            State::FinWait1 => shut(&mut fixture),
            State::FinWait2 => {
                shut(&mut fixture);
                fixture.sent();
                fixture.accepts(&segment(1, 2, ACK));
            }
            State::CloseWait => fin(&mut fixture, 1),
            State::Closing => {
                shut(&mut fixture);
                fixture.sent();
                fin(&mut fixture, 1);
            }
            State::LastAck => {
                fin(&mut fixture, 1);
                shut(&mut fixture);
            }
            State::TimeWait => {
                shut(&mut fixture);
                fixture.sent();
                fin(&mut fixture, 2);
            }
            State::Closed => fixture.accepts(&segment(1, 1, RST)),
            _ => {}
        }
        fixture.sent();
        let _ = fixture.connection.take_readiness();
        assert_eq!(fixture.connection.state(), state);
        fixture
    }

    pub fn arrive(&mut self, segment: &OwnedSegment) -> Outcome {
        self.connection.segment_arrives(
            self.now,
            &mut self.pool,
            &segment.borrow(),
            Codepoint::NotEct,
        )
    }

    /// The segment is acceptable, and answered by nothing that can't wait.
    pub fn accepts(&mut self, segment: &OwnedSegment) {
        let outcome = self.arrive(segment);
        assert_eq!((outcome.reply, outcome.dropped), (None, None), "{segment:?}");
    }

    /// All that leaves now, one segment at a time.
    pub fn sent(&mut self) -> Vec<Seen> {
        self.sent_up_to(0)
    }

    pub fn sent_up_to(&mut self, max_payload: usize) -> Vec<Seen> {
        self.segments(max_payload).iter().map(seen).collect()
    }

    pub fn segments(&mut self, max_payload: usize) -> Vec<Outgoing> {
        let mut segments = Vec::new();
        while let Some(outgoing) = self.connection.poll_segment(self.now, max_payload) {
            segments.push(outgoing);
            assert_eq!(
                self.connection.payload(segments.last().unwrap()).concat().len(),
                segments.last().unwrap().payload_len
            );
        }
        assert!(!self.connection.wants_to_send(self.now));
        segments
    }

    /// The program sends `len` bytes.
    pub fn write(&mut self, len: usize) -> Result<usize, Error> {
        let mut written = 0;
        while written < len {
            let now = self.now;
            match self.connection.send_with(
                now,
                &mut self.pool,
                len - written,
                Default::default(),
                |room| room.iter().map(|slice| slice.len()).sum(),
            )? {
                0 => break,
                count => written += count,
            }
        }
        Ok(written)
    }

    /// The program reads up to `max` bytes.
    pub fn read(&mut self, max: usize) -> Result<usize, Error> {
        self.connection.receive_with(self.now, &mut self.pool, max, |slices| {
            slices.iter().map(|slice| slice.len()).sum()
        })
    }

    pub fn icmp_error(&mut self, sequence: u32, error: IcmpError) -> Fate {
        self.connection.icmp_error(self.now, &mut self.pool, sequence, error)
    }

    pub fn close(&mut self) -> Outcome {
        self.connection.close(self.now, &mut self.pool)
    }

    pub fn advance(&mut self, duration: Duration) {
        self.now += duration;
    }

    pub fn advance_ms(&mut self, millis: u64) {
        self.advance(Duration::from_millis(millis));
    }

    /// Goes to the next deadline, lets it pass, and says how many milliseconds that took.
    pub fn time_out(&mut self) -> (u64, Outcome) {
        let deadline = self.connection.next_timeout().expect("a timer runs");
        let waited = deadline.since(self.now).as_millis() as u64;
        self.now = deadline;
        (waited, self.connection.handle_timeout(self.now, &mut self.pool))
    }

    /// Lets deadlines pass until something leaves; the time it took, and what left.
    pub fn next_sent(&mut self) -> (u64, Vec<Seen>) {
        let mut total = 0;
        loop {
            let (waited, outcome) = self.time_out();
            assert_eq!((outcome.reply, outcome.fate), (None, Fate::Alive));
            total += waited;
            let sent = self.sent();
            if !sent.is_empty() {
                return (total, sent);
            }
        }
    }

    pub fn state(&self) -> State {
        self.connection.state()
    }
}
