//! The protocol of programs that decide about packets; docs/inspect.md has it for programs in other languages.
//!
//! A program connects to the daemon's socket and sends an [`Attach`] in place of a hello. What comes back is
//! [`Attached`]; from then on each record of the daemon is a packet, and each of the program an answer. All numbers
//! are in network byte order, and all headers of fixed length.

use crate::{message::Owner, packet::Instruction};
use serde::{Deserialize, Serialize};

/// Of this protocol; in each header.
pub const VERSION: u8 = 1;

/// What a program sends first begins with this.
pub const MAGIC: [u8; 4] = *b"NRWI";

/// Of a program's first record, before the instructions of its filter.
pub const ATTACH_LEN: usize = 28;
/// Of the daemon's answer to it.
pub const ATTACHED_LEN: usize = 12;
/// Of the header before a packet.
pub const PACKET_LEN: usize = 48;
/// Of an answer, before the packet's new bytes.
pub const ANSWER_LEN: usize = 20;

/// The longest records.
pub const MAX_PACKET: usize = PACKET_LEN + 65_535;
pub const MAX_ANSWER: usize = ANSWER_LEN + 65_535;

/// The most instructions of a filter.
const MAX_INSTRUCTIONS: usize = 4096;

/// In the place of a hook: packets that rules queue.
const BY_RULES: u8 = 0xff;

/// Where a packet is taken out, as Linux numbers them (NF_INET_PRE_ROUTING …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    pub const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// Which packets a program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Those that rules give to this queue (`queue to 5`).
    Queue(u16),
    /// All that the rules of this hook let pass.
    Hook(Hook),
}

/// What a program wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    pub source: Source,
    /// As programs number interfaces; 0: every one that it may see.
    pub interface: u32,
    /// Of packets, from their IPv4 header on.
    pub filter: Vec<Instruction>,
    /// Bytes of each packet at most; 0: all.
    pub snap: u32,
    /// Without an answer packets go on; else they are dropped.
    pub open: bool,
    /// How long an answer may take, in milliseconds.
    pub patience: u32,
    /// Packets that may wait.
    pub room: u32,
}

/// What a program sent is none of the records that it may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    #[error("a record of another version of the protocol")]
    Version,
    #[error("a record of a wrong length, or with a field that can't be so")]
    Malformed,
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Mistake> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or(Mistake::Malformed)
}

fn number(bytes: &[u8], at: usize) -> Result<u32, Mistake> {
    field(bytes, at).map(u32::from_be_bytes)
}

fn short(bytes: &[u8], at: usize) -> Result<u16, Mistake> {
    field(bytes, at).map(u16::from_be_bytes)
}

impl Attach {
    /// Does a first record begin as one of this protocol?
    pub fn is_meant(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    pub fn encode(&self) -> Vec<u8> {
        let (hook, queue) = match self.source {
            Source::Queue(queue) => (BY_RULES, queue),
            Source::Hook(hook) => (hook as u8, 0),
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend([VERSION, hook, u8::from(self.open), 0]);
        bytes.extend(queue.to_be_bytes());
        let instructions = self.filter.len().min(MAX_INSTRUCTIONS) as u16;
        bytes.extend(instructions.to_be_bytes());
        for value in [self.interface, self.snap, self.patience, self.room] {
            bytes.extend(value.to_be_bytes());
        }
        for (code, jump_true, jump_false, operand) in self.filter.iter().take(MAX_INSTRUCTIONS) {
            bytes.extend(code.to_be_bytes());
            bytes.extend([*jump_true, *jump_false]);
            bytes.extend(operand.to_be_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Mistake> {
        let [version, hook, open, zero] = field(bytes, 4)?;
        if version != VERSION {
            return Err(Mistake::Version);
        }
        let source = match (hook, short(bytes, 8)?) {
            (BY_RULES, queue) => Source::Queue(queue),
            (hook, 0) => Source::Hook(Hook::of(hook).ok_or(Mistake::Malformed)?),
            _ => return Err(Mistake::Malformed),
        };
        let count = usize::from(short(bytes, 10)?);
        let instructions = bytes.get(ATTACH_LEN..).ok_or(Mistake::Malformed)?;
        let whole = instructions.len() == count * 8 && count <= MAX_INSTRUCTIONS;
        if !whole || open > 1 || zero != 0 {
            return Err(Mistake::Malformed);
        }
        let instruction = |bytes: &[u8]| {
            let [jump_true, jump_false] = field(bytes, 2)?;
            Ok((short(bytes, 0)?, jump_true, jump_false, number(bytes, 4)?))
        };
        Ok(Self {
            source,
            interface: number(bytes, 12)?,
            filter: instructions.chunks(8).map(instruction).collect::<Result<_, _>>()?,
            snap: number(bytes, 16)?,
            open: open == 1,
            patience: number(bytes, 20)?,
            room: number(bytes, 24)?,
        })
    }
}

/// The daemon's answer to [`Attach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The inspector's number, as reports show it; or why not: an errno.
    pub result: Result<u32, u16>,
}

impl Attached {
    pub fn encode(&self) -> [u8; ATTACHED_LEN] {
        let [a, b, c, d] = MAGIC;
        let [e, f] = self.result.err().unwrap_or(0).to_be_bytes();
        let [g, h, i, j] = self.result.unwrap_or(0).to_be_bytes();
        [a, b, c, d, VERSION, 0, e, f, g, h, i, j]
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Mistake> {
        if bytes.len() != ATTACHED_LEN || !bytes.starts_with(&MAGIC) {
            return Err(Mistake::Malformed);
        }
        let [version, _] = field(bytes, 4)?;
        if version != VERSION {
            return Err(Mistake::Version);
        }
        let result = match short(bytes, 6)? {
            0 => Ok(number(bytes, 8)?),
            errno => Err(errno),
        };
        Ok(Self { result })
    }
}

bitflags::bitflags! {
    /// What else is to be known about a packet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u8 {
        /// These are its first bytes only.
        const CUT = 1;
        /// It is several segments in one, which will be cut apart.
        const SEGMENTS = 2;
        /// A program of this host sent it: `user` is its.
        const OWN = 4;
        /// Its transport's checksum is the pseudo-header's, for a device to complete.
        const PARTIAL = 8;
    }
}

/// The header before a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    pub hook: Hook,
    pub flags: Flags,
    /// The queue it was given to; of who is attached to a hook, 0.
    pub queue: u16,
    /// Bytes of data of each segment but the last.
    pub segment_size: u16,
    /// To be named in the answer.
    pub packet: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// As programs number interfaces; 0: none.
    pub input: u32,
    pub output: u32,
    pub mark: u32,
    pub user: u32,
    /// Of the whole packet.
    pub length: u32,
}

impl PacketHeader {
    pub fn encode(&self) -> [u8; PACKET_LEN] {
        let mut bytes = [0; PACKET_LEN];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
            at += value.len();
        };
        put(&[VERSION, self.hook as u8, self.flags.bits(), PACKET_LEN as u8]);
        put(&self.queue.to_be_bytes());
        put(&self.segment_size.to_be_bytes());
        put(&self.packet.to_be_bytes());
        put(&self.time.to_be_bytes());
        for value in [self.input, self.output, self.mark, self.user, self.length] {
            put(&value.to_be_bytes());
        }
        bytes
    }

    /// And the packet behind it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Mistake> {
        let [version, hook, flags, length] = field(bytes, 0)?;
        if version != VERSION {
            return Err(Mistake::Version);
        }
        let packet = bytes.get(usize::from(length)..).ok_or(Mistake::Malformed)?;
        let header = Self {
            hook: Hook::of(hook).ok_or(Mistake::Malformed)?,
            flags: Flags::from_bits_truncate(flags),
            queue: short(bytes, 4)?,
            segment_size: short(bytes, 6)?,
            packet: u64::from_be_bytes(field(bytes, 8)?),
            time: u64::from_be_bytes(field(bytes, 16)?),
            input: number(bytes, 24)?,
            output: number(bytes, 28)?,
            mark: number(bytes, 32)?,
            user: number(bytes, 36)?,
            length: number(bytes, 40)?,
        };
        Ok((header, packet))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Accept,
}

/// What a program says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    pub packet: u64,
    pub verdict: Verdict,
    /// From now on.
    pub mark: Option<u32>,
    /// What the packet is from now on, from its IPv4 header on.
    pub bytes: Option<&'a [u8]>,
}

/// Parts of an answer that are meant.
const HAS_MARK: u8 = 1;
const HAS_BYTES: u8 = 2;

impl<'a> Answer<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let flags = if self.mark.is_some() { HAS_MARK } else { 0 }
            | if self.bytes.is_some() { HAS_BYTES } else { 0 };
        let verdict = u8::from(self.verdict == Verdict::Accept);
        let mut bytes = vec![VERSION, verdict, flags, 0, 0, 0, 0, 0];
        bytes.extend(self.packet.to_be_bytes());
        bytes.extend(self.mark.unwrap_or(0).to_be_bytes());
        bytes.extend(self.bytes.unwrap_or_default());
        bytes
    }

    pub fn decode(bytes: &'a [u8]) -> Result<Self, Mistake> {
        let [version, verdict, flags, zero] = field(bytes, 0)?;
        if version != VERSION {
            return Err(Mistake::Version);
        }
        let verdict = match verdict {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            _ => return Err(Mistake::Malformed),
        };
        let rest = bytes.get(ANSWER_LEN..).ok_or(Mistake::Malformed)?;
        let has_bytes = flags & HAS_BYTES != 0;
        let known = flags & !(HAS_MARK | HAS_BYTES) == 0 && zero == 0 && number(bytes, 4)? == 0;
        if !known || !has_bytes && !rest.is_empty() {
            return Err(Mistake::Malformed);
        }
        let mark = number(bytes, 16)?;
        Ok(Self {
            packet: u64::from_be_bytes(field(bytes, 8)?),
            verdict,
            mark: (flags & HAS_MARK != 0).then_some(mark),
            bytes: has_bytes.then_some(rest),
        })
    }
}

/// Who decides about packets, and what he said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InspectorRow {
    pub id: u32,
    pub owner: Owner,
    /// `queue 5`, or `hook input`.
    pub source: String,
    /// Empty: every one.
    pub interface: String,
    /// A filter of its own says which packets.
    pub filtered: bool,
    pub open: bool,
    /// In milliseconds.
    pub patience: u32,
    pub room: u32,
    /// Packets that wait for its answers, and their bytes.
    pub waiting: u32,
    pub bytes: u64,
    pub given: u64,
    pub accepted: u64,
    pub dropped: u64,
    pub marked: u64,
    pub rewritten: u64,
    pub full: u64,
    pub late: u64,
    pub stale: u64,
    pub lies: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attach() -> Attach {
        Attach {
            source: Source::Hook(Hook::Forward),
            interface: 3,
            filter: vec![(0x28, 0, 0, 12), (6, 1, 2, 0xffff_ffff)],
            snap: 100,
            open: true,
            patience: 500,
            room: 64,
        }
    }

    #[test]
    fn records_survive_the_trip() {
        for source in [Source::Hook(Hook::Prerouting), Source::Queue(0), Source::Queue(65_535)] {
            let attach = Attach { source, ..attach() };
            assert_eq!(Attach::decode(&attach.encode()), Ok(attach));
        }
        for result in [Ok(7), Err(1)] {
            let attached = Attached { result };
            assert_eq!(Attached::decode(&attached.encode()), Ok(attached));
        }
        let header = PacketHeader {
            hook: Hook::Postrouting,
            flags: Flags::CUT | Flags::OWN,
            queue: 5,
            segment_size: 1448,
            packet: u64::MAX - 1,
            time: 1_700_000_000_000_000_000,
            input: 2,
            output: 3,
            mark: 4,
            user: 1000,
            length: 60_000,
        };
        let record = [&header.encode()[..], b"bytes"].concat();
        assert_eq!(PacketHeader::decode(&record), Ok((header, &b"bytes"[..])));
        for (mark, bytes) in [(None, None), (Some(9), None), (None, Some(&b"new"[..]))] {
            let answer = Answer { packet: 77, verdict: Verdict::Accept, mark, bytes };
            assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = attach().encode();
        assert!(Attach::is_meant(&good) && !Attach::is_meant(b"\x01"));
        assert_eq!(Attach::decode(&good[..good.len() - 1]), Err(Mistake::Malformed));
        for (at, value, mistake) in [
            (4, 2, Mistake::Version),
            (5, 5, Mistake::Malformed),
            (6, 2, Mistake::Malformed),
            (7, 1, Mistake::Malformed),
            (9, 1, Mistake::Malformed),
            (11, 3, Mistake::Malformed),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Attach::decode(&bad), Err(mistake), "byte {at}");
        }
        let good = Answer { packet: 1, verdict: Verdict::Drop, mark: None, bytes: None }.encode();
        assert_eq!(good.len(), ANSWER_LEN);
        for length in 0..ANSWER_LEN {
            assert_eq!(Answer::decode(&good[..length]), Err(Mistake::Malformed));
        }
        assert_eq!(Answer::decode(&[&good[..], b"x"].concat()), Err(Mistake::Malformed));
        for (at, value, mistake) in [
            (0, 9, Mistake::Version),
            (1, 2, Mistake::Malformed),
            (2, 4, Mistake::Malformed),
            (3, 1, Mistake::Malformed),
            (7, 1, Mistake::Malformed),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Answer::decode(&bad), Err(mistake), "byte {at}");
        }
    }
}
