//! The states of RFC 9293 §3.3.2 that a [`Connection`](super::Connection) can be in, and every
//! transition between them. LISTEN and the passive SYN-RECEIVED live in [`listen`](super::listen);
//! TIME-WAIT after the program let go lives in [`time_wait`](super::time_wait).

use super::connection::State;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Our SYN is out; nothing is known of the peer.
    SynSent,
    /// Both SYNs are known, ours is not acknowledged. Data may be queued, not sent.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// The program sent its last byte: a FIN follows what is queued. Data still comes in.
    FinWait1,
    /// Our FIN is acknowledged; the peer may go on for as long as it likes.
    FinWait2,
    /// The peer is done; the program may go on.
    CloseWait,
    /// Both are done; neither FIN's acknowledgment has come to us.
    Closing,
    /// Both are done, the peer first; our FIN is not acknowledged.
    LastAck,
    /// Both are done and acknowledged, and the program still holds the socket.
    TimeWait,
    /// Nothing is sent or accepted any more; received bytes can still be read.
    Closed,
}

/// What moves a connection from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A SYN came without an acknowledgment of ours: simultaneous open.
    SynReceived,
    /// Our SYN is acknowledged and the peer's is known.
    SynAcknowledged,
    /// The program sends no more.
    Shutdown,
    /// The peer's FIN was reached: every byte before it is here.
    FinReceived,
    /// Our FIN is acknowledged.
    FinAcknowledged,
}

impl Phase {
    /// RFC 9293 figure 5. A step that means nothing in a phase leaves it as it is.
    pub fn after(self, step: Step) -> Self {
        match (self, step) {
            (Self::SynSent, Step::SynReceived) => Self::SynReceived,
            (Self::SynSent | Self::SynReceived, Step::SynAcknowledged) => Self::Established,
            (Self::Established, Step::Shutdown) => Self::FinWait1,
            (Self::CloseWait, Step::Shutdown) => Self::LastAck,
            (Self::Established, Step::FinReceived) => Self::CloseWait,
            (Self::FinWait1, Step::FinReceived) => Self::Closing,
            (Self::FinWait1, Step::FinAcknowledged) => Self::FinWait2,
            (Self::FinWait2, Step::FinReceived) => Self::TimeWait,
            (Self::Closing, Step::FinAcknowledged) => Self::TimeWait,
            (Self::LastAck, Step::FinAcknowledged) => Self::Closed,
            (phase, _) => phase,
        }
    }

    /// Our SYN is not acknowledged yet.
    pub fn is_handshake(self) -> bool {
        matches!(self, Self::SynSent | Self::SynReceived)
    }

    /// May text, or the FIN after it, be sent or retransmitted?
    pub fn may_send(self) -> bool {
        matches!(
            self,
            Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck
        )
    }

    /// Can text still come from the peer?
    pub fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Does the keepalive timer run?
    pub fn may_probe(self) -> bool {
        self.may_send() || self == Self::FinWait2
    }

    /// Does the peer need a RST to learn that the connection is gone? (RFC 9293 §3.10.5)
    pub fn needs_reset(self) -> bool {
        matches!(
            self,
            Self::SynReceived
                | Self::Established
                | Self::FinWait1
                | Self::FinWait2
                | Self::CloseWait
        )
    }

    pub fn state(self) -> State {
        match self {
            Self::SynSent => State::SynSent,
            Self::SynReceived => State::SynReceived,
            Self::Established => State::Established,
            Self::FinWait1 => State::FinWait1,
            Self::FinWait2 => State::FinWait2,
            Self::CloseWait => State::CloseWait,
            Self::Closing => State::Closing,
            Self::LastAck => State::LastAck,
            Self::TimeWait => State::TimeWait,
            Self::Closed => State::Closed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase::*, Step};

    #[test]
    fn every_way_through_the_diagram() {
        use Step::{FinAcknowledged as A, FinReceived as F, Shutdown as S, SynAcknowledged as E};
        for (steps, phases) in [
            (&[E, S, A, F][..], &[Established, FinWait1, FinWait2, TimeWait][..]),
            (&[E, S, F, A], &[Established, FinWait1, Closing, TimeWait]),
            (&[E, F, S, A], &[Established, CloseWait, LastAck, Closed]),
            (&[Step::SynReceived, E], &[SynReceived, Established]),
            (&[F, A, S], &[SynSent, SynSent, SynSent]),
        ] {
            let mut phase = SynSent;
            for (step, expected) in steps.iter().zip(phases) {
                phase = phase.after(*step);
                assert_eq!(phase, *expected, "{steps:?}");
            }
        }
    }
}
