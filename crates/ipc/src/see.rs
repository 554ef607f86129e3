//! What is seen of packets: drops by place, copies of frames at stages of their way, and whole ways with
//! every decision.
//!
//! Who asks to watch is given a `SOCK_SEQPACKET` descriptor. Each record on it is one [`Told`]; closing
//! it ends the watching. Who reads too slowly loses records, and is told how many.

use crate::{
    codec::{Malformed, decode},
    packet::Instruction,
};
use serde::{Deserialize, Serialize};

/// Packets that went no further for one reason, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossRow {
    pub reason: String,
    /// A line on what the reason means, and one on what to do about it.
    pub meaning: String,
    pub remedy: String,
    /// Empty: where none was known.
    pub interface: String,
    /// Whose socket they were for, or who sent them.
    pub user: Option<u32>,
    /// From which zone they would have gone to which.
    pub crossing: Option<(String, String)>,
    pub count: u64,
}

/// Where on its way a frame is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Came by an interface; before anything acts on it.
    #[default]
    Receive,
    /// Behind the filter's `ingress` and `prerouting`.
    Filter,
    /// A whole datagram for this host, behind the filter's `input`.
    Reassembled,
    /// Goes down by an interface.
    Transmit,
    /// Ends.
    Drop,
}

impl Stage {
    pub const ALL: [Self; 5] =
        [Self::Receive, Self::Filter, Self::Reassembled, Self::Transmit, Self::Drop];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Filter => "filter",
            Self::Reassembled => "reassembled",
            Self::Transmit => "transmit",
            Self::Drop => "drop",
        }
    }
}

/// What somebody wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchOptions {
    /// 0: every one.
    pub interface: u32,
    /// Of frames with their Ethernet header, tags included.
    pub filter: Option<Vec<Instruction>>,
    /// Copies of frames at these stages; none twice.
    pub stages: Vec<Stage>,
    /// Whole ways. For those who may read reports about the daemon.
    pub journeys: bool,
    /// Bytes of each frame at most.
    pub snap: u32,
}

/// To whom a frame was sent, as far as the interface it passes can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    ToUs,
    Broadcast,
    Multicast,
    ToOthers,
    Outgoing,
}

/// A frame, and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// As programs number interfaces, and their name.
    pub interface: u32,
    pub name: String,
    pub direction: Direction,
    /// Whose socket it is for or from, for those who may know.
    pub user: Option<u32>,
    /// Of the whole frame, of which the bytes may be the beginning.
    pub length: u32,
    pub bytes: Vec<u8>,
}

/// One decision about a packet, and what in the tables decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// What was asked, in a word: `filter`, `route` …
    pub what: String,
    pub text: String,
    /// A frame that left.
    pub frame: Option<Vec<u8>>,
}

/// A packet's whole way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JourneyReport {
    pub packet: Seen,
    pub steps: Vec<StepReport>,
    /// What became of it: `taken`, `forwarded`, `sent` or `dropped`.
    pub verdict: String,
    /// By whom, or the reason's name, meaning and remedy.
    pub because: String,
    /// Of a packet that was dropped, the reason's name.
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    Frame {
        packet: Box<Seen>,
        stage: Stage,
        /// At [`Stage::Drop`].
        reason: Option<String>,
    },
    Journey(Box<JourneyReport>),
    /// So many records were lost here.
    Lost(u64),
}

impl Told {
    /// The longest record: an IPv4 packet of full size, and two that it led to.
    pub const MAX_LEN: usize = 3 * 65_536;

    /// `None`: it is longer than [`Told::MAX_LEN`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        postcard::to_stdvec(self).ok().filter(|bytes| bytes.len() <= Self::MAX_LEN)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_trip_and_too_long_ones_are_refused() {
        let packet = |length: usize| Seen {
            time: 5,
            interface: 2,
            name: "lan".into(),
            direction: Direction::Broadcast,
            user: Some(1000),
            length: length as u32,
            bytes: vec![7; length],
        };
        let step = StepReport { what: "sent".into(), text: "dev lan".into(), frame: Some(vec![1]) };
        for told in [
            Told::Lost(9),
            Told::Frame {
                packet: Box::new(packet(65_549)),
                stage: Stage::Drop,
                reason: Some("martian".into()),
            },
            Told::Journey(Box::new(JourneyReport {
                packet: packet(60),
                steps: vec![step],
                verdict: "taken".into(),
                because: "by tcp".into(),
                reason: None,
            })),
        ] {
            let bytes = told.encode().expect("short enough");
            assert_eq!(Told::decode(&bytes), Ok(told));
            assert_eq!(Told::decode(&bytes[..bytes.len() - 1]), Err(Malformed));
        }
        let packet = Box::new(packet(Told::MAX_LEN));
        assert_eq!(Told::Frame { packet, stage: Stage::Receive, reason: None }.encode(), None);
    }
}
