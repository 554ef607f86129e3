//! Frames to files. A pcapng file can say of each frame where it was, which way it went, and why it was
//! dropped; a pcap file is for who can't read that.

use super::{Direction, ETHERNET, MAX_FRAME, Packet};
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED: u32 = 6;

/// Options of blocks.
const END: u16 = 0;
const COMMENT: u16 = 1;
const NAME: u16 = 2;
const FLAGS: u16 = 2;
const APPLICATION: u16 = 4;
const LOST: u16 = 4;
const RESOLUTION: u16 = 9;

/// A pcap file, times to the microsecond as tcpdump writes them.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    pub fn new(mut out: W) -> io::Result<Self> {
        // Magic, version 2.4, time zone, accuracy, longest frame, link type.
        let fields = [0xa1b2_c3d4, 4 << 16 | 2, 0, 0, MAX_FRAME as u32, ETHERNET.into()];
        out.write_all(&fields.map(u32::to_le_bytes).concat())?;
        Ok(Self { out })
    }

    pub fn write(&mut self, packet: &Packet) -> io::Result<()> {
        let (seconds, nanos) = (packet.time / 1_000_000_000, packet.time % 1_000_000_000);
        let kept = packet.bytes.len() as u32;
        let fields = [seconds as u32, (nanos / 1000) as u32, kept, packet.length];
        self.out.write_all(&fields.map(u32::to_le_bytes).concat())?;
        self.out.write_all(&packet.bytes)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A pcapng file of one section, times to the nanosecond.
#[derive(Debug)]
pub struct PcapngWriter<W> {
    out: W,
    interfaces: u32,
}

impl<W: Write> PcapngWriter<W> {
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, interfaces: 0 };
        // Byte order, version 1.0, and a section of no length that is known.
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend([1, 0, 0, 0]);
        body.extend([0xff; 8]);
        option(&mut body, APPLICATION, b"narrows");
        option(&mut body, END, b"");
        writer.block(SECTION, &body)?;
        Ok(writer)
    }

    /// Adds an interface; the place to name it by.
    pub fn interface(&mut self, name: &str) -> io::Result<u32> {
        let mut body = ETHERNET.to_le_bytes().to_vec();
        body.extend([0, 0]);
        body.extend((MAX_FRAME as u32).to_le_bytes());
        option(&mut body, NAME, name.as_bytes());
        option(&mut body, RESOLUTION, &[9]);
        option(&mut body, END, b"");
        self.block(INTERFACE, &body)?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// `lost`: packets that are missing before this one.
    pub fn write(
        &mut self,
        packet: &Packet,
        direction: Direction,
        comments: &[String],
        lost: u64,
    ) -> io::Result<()> {
        let mut body = Vec::with_capacity(packet.bytes.len() + 96);
        let kept = packet.bytes.len() as u32;
        let (high, low) = ((packet.time >> 32) as u32, packet.time as u32);
        for field in [packet.interface, high, low, kept, packet.length] {
            body.extend(field.to_le_bytes());
        }
        body.extend(&packet.bytes);
        body.resize(body.len().next_multiple_of(4), 0);
        for comment in comments {
            option(&mut body, COMMENT, comment.as_bytes());
        }
        let flags: u32 = match direction {
            Direction::Outgoing => 2,
            Direction::Unicast => 1 | 1 << 2,
            Direction::Multicast => 1 | 2 << 2,
            Direction::Broadcast => 1 | 3 << 2,
            Direction::Promiscuous => 1 | 4 << 2,
        };
        option(&mut body, FLAGS, &flags.to_le_bytes());
        if lost > 0 {
            option(&mut body, LOST, &lost.to_le_bytes());
        }
        option(&mut body, END, b"");
        self.block(ENHANCED, &body)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        self.out.write_all(&[&kind.to_le_bytes()[..], &length, body, &length].concat())
    }
}

/// Appends an option; one that is too long is cut.
fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}
