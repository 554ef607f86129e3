//! Files to frames.

use super::{ETHERNET, Error, MAX_FRAME, Packet};
use std::io::{ErrorKind, Read};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// Longer blocks are in no file that anybody means.
const MAX_BLOCK: u32 = 16 << 20;

/// Interfaces of one section.
const MAX_INTERFACES: usize = 65_536;

const NANOS: u64 = 1_000_000_000;

/// What the times of an interface count.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Ticks in a second.
    rate: u64,
}

/// As a section describes it.
#[derive(Clone, Debug)]
struct Interface {
    link: u16,
    clock: Clock,
    name: Option<String>,
}

#[derive(Debug)]
enum Format {
    Pcap { nanoseconds: bool },
    Pcapng { interfaces: Vec<Interface> },
}

/// Frames, one after the other.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    at: u64,
    big_endian: bool,
    format: Format,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning.
    pub fn new(input: R) -> Result<Self, Error> {
        let format = Format::Pcap { nanoseconds: false };
        let mut reader = Self { input, at: 0, big_endian: false, format };
        let magic = reader.bytes::<4>()?.ok_or(Error::UnknownFormat)?;
        let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
        match (little, big) {
            (SECTION, _) => {
                reader.section()?;
                return Ok(reader);
            }
            (MICROSECONDS, _) => {}
            (NANOSECONDS, _) => reader.format = Format::Pcap { nanoseconds: true },
            (_, MICROSECONDS) => reader.big_endian = true,
            (_, NANOSECONDS) => {
                reader.big_endian = true;
                reader.format = Format::Pcap { nanoseconds: true };
            }
            _ => return Err(Error::UnknownFormat),
        }
        let header = reader.bytes::<20>()?.ok_or(Error::UnknownFormat)?;
        let link = reader.word(&header, 16).ok_or(Error::UnknownFormat)?;
        // The upper bits say how long a frame check sequence is.
        match link as u16 {
            ETHERNET => Ok(reader),
            other => Err(Error::NotEthernet(other)),
        }
    }

    /// The next frame; `None` at the end.
    pub fn next_packet(&mut self) -> Result<Option<Packet>, Error> {
        match self.format {
            Format::Pcap { nanoseconds } => self.record(nanoseconds),
            Format::Pcapng { .. } => self.enhanced(),
        }
    }

    /// What the file calls an interface of the section that is being read.
    pub fn interface_name(&self, interface: u32) -> Option<&str> {
        match &self.format {
            Format::Pcap { .. } => None,
            Format::Pcapng { interfaces } => {
                interfaces.get(usize::try_from(interface).ok()?)?.name.as_deref()
            }
        }
    }

    fn record(&mut self, nanoseconds: bool) -> Result<Option<Packet>, Error> {
        let Some(header) = self.bytes::<16>()? else { return Ok(None) };
        let field = |at| self.word(&header, at).unwrap_or_default();
        let (seconds, fraction, kept, length) = (field(0), field(4), field(8), field(12));
        if kept as usize > MAX_FRAME {
            return Err(self.broken("a frame longer than any"));
        }
        let nanos = u64::from(fraction) * if nanoseconds { 1 } else { 1000 };
        let time = u64::from(seconds) * NANOS + nanos;
        Ok(Some(Packet { time, interface: 0, length, bytes: self.body(kept)? }))
    }

    /// The next block with a frame.
    fn enhanced(&mut self) -> Result<Option<Packet>, Error> {
        loop {
            let Some(kind) = self.bytes::<4>()? else { return Ok(None) };
            let kind = self.word(&kind, 0).unwrap_or_default();
            if kind == SECTION {
                self.section()?;
                continue;
            }
            let block = self.block()?;
            match kind {
                INTERFACE => self.interface(&block)?,
                ENHANCED => return self.packet(&block).map(Some),
                SIMPLE => {
                    let length = self.need(&block, 0)?;
                    let bytes = block.get(4..).unwrap_or_default();
                    let kept = bytes.len().min(length as usize);
                    let bytes = bytes.get(..kept).unwrap_or_default().to_vec();
                    return Ok(Some(Packet { time: 0, interface: 0, length, bytes }));
                }
                _ => {}
            }
        }
    }

    /// A section begins, perhaps in another byte order; its first word has been read.
    fn section(&mut self) -> Result<(), Error> {
        let header = self.bytes::<8>()?.ok_or_else(|| self.broken("cut off"))?;
        self.big_endian = false;
        if self.word(&header, 4) != Some(BYTE_ORDER) {
            self.big_endian = true;
            if self.word(&header, 4) != Some(BYTE_ORDER) {
                return Err(self.broken("a section without a byte order"));
            }
        }
        let length = self.need(&header, 0)?;
        if !(28..=MAX_BLOCK).contains(&length) || length % 4 != 0 {
            return Err(self.broken("a section header of no length"));
        }
        self.body(length - 12)?;
        self.format = Format::Pcapng { interfaces: Vec::new() };
        Ok(())
    }

    /// What is in a block whose kind has been read.
    fn block(&mut self) -> Result<Vec<u8>, Error> {
        let length = self.bytes::<4>()?.ok_or_else(|| self.broken("cut off"))?;
        let length = self.need(&length, 0)?;
        if !(12..=MAX_BLOCK).contains(&length) || length % 4 != 0 {
            return Err(self.broken("a block of no length"));
        }
        let mut block = self.body(length - 8)?;
        let end = block.split_off(block.len() - 4);
        if self.need(&end, 0)? != length {
            return Err(self.broken("a block with two lengths"));
        }
        Ok(block)
    }

    fn interface(&mut self, block: &[u8]) -> Result<(), Error> {
        let link = self.half(block, 0).ok_or_else(|| self.broken("an interface without a type"))?;
        let (clock, name) = self.described(block.get(8..).unwrap_or_default());
        let too_many = self.broken("too many interfaces");
        if let Format::Pcapng { interfaces } = &mut self.format {
            if interfaces.len() >= MAX_INTERFACES {
                return Err(too_many);
            }
            interfaces.push(Interface { link, clock, name });
        }
        Ok(())
    }

    /// What if_tsresol says, or microseconds; and what if_name says.
    fn described(&self, mut options: &[u8]) -> (Clock, Option<String>) {
        let (mut clock, mut name) = (Clock { rate: 1_000_000 }, None);
        while let (Some(code), Some(length)) = (self.half(options, 0), self.half(options, 2)) {
            let padded = usize::from(length).next_multiple_of(4);
            if code == 9
                && let Some(resolution) = options.get(4)
            {
                let exponent = u32::from(resolution & 0x7f);
                let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
                clock.rate = base.checked_pow(exponent).unwrap_or(NANOS);
            }
            if code == 2 {
                let bytes = options.get(4..4 + usize::from(length)).unwrap_or_default();
                name = std::str::from_utf8(bytes).ok().map(str::to_owned);
            }
            options = options.get(4 + padded..).unwrap_or_default();
        }
        (clock, name)
    }

    fn packet(&self, block: &[u8]) -> Result<Packet, Error> {
        let [interface, high, low, kept, length] = [
            self.need(block, 0)?,
            self.need(block, 4)?,
            self.need(block, 8)?,
            self.need(block, 12)?,
            self.need(block, 16)?,
        ];
        let Format::Pcapng { interfaces } = &self.format else {
            return Err(self.broken("a block outside a section"));
        };
        let found = interfaces.get(interface as usize);
        let Interface { link, clock, .. } =
            found.ok_or_else(|| self.broken("a frame of no interface"))?;
        if *link != ETHERNET {
            return Err(Error::NotEthernet(*link));
        }
        let bytes = usize::try_from(kept).ok().and_then(|kept| block.get(20..20 + kept));
        let bytes = bytes.ok_or_else(|| self.broken("a frame longer than its block"))?.to_vec();
        let ticks = u128::from(high) << 32 | u128::from(low);
        let nanos = ticks * u128::from(NANOS) / u128::from(clock.rate.max(1));
        let time = u64::try_from(nanos).unwrap_or(u64::MAX);
        Ok(Packet { time, interface, length, bytes })
    }

    /// So many bytes; `None`: the file ends before them.
    fn bytes<const N: usize>(&mut self) -> Result<Option<[u8; N]>, Error> {
        let mut bytes = [0; N];
        let mut have = 0;
        while let Some(room) = bytes.get_mut(have..).filter(|room| !room.is_empty()) {
            match self.input.read(room) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(self.broken("cut off")),
                Ok(count) => have += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.at += N as u64;
        Ok(Some(bytes))
    }

    fn body(&mut self, length: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let count = Read::by_ref(&mut self.input).take(length.into()).read_to_end(&mut bytes)?;
        self.at += count as u64;
        if count as u64 == u64::from(length) { Ok(bytes) } else { Err(self.broken("cut off")) }
    }

    fn word(&self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn half(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn need(&self, bytes: &[u8], at: usize) -> Result<u32, Error> {
        self.word(bytes, at).ok_or_else(|| self.broken("a block too short"))
    }

    fn broken(&self, what: &'static str) -> Error {
        Error::Broken { at: self.at, what }
    }
}
