//! Receive rings (PACKET_RX_RING, versions 2 and 3): memory in which programs find frames.
//!
//! On Linux the kernel fills the ring as frames come. Here the frames wait in the anchor, and whoever
//! polls the descriptor has them moved into the ring first: so a frame is in one place, the anchor's
//! readiness stays true while there is more, and nothing of the daemon is shared. A part of the ring that
//! the program has not given back is never written to.
//!
//! The memory is a file of its own, mapped here for good and by the program where it likes.

use super::{ADDRESS, encode, status};
use crate::kernel;
use narrows_client::ipc::packet::Header;
use rustix::{
    io::Errno,
    mm::{MapFlags, ProtFlags},
};
use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// Bytes of a ring: more than any program asks for, few enough to be had.
const LONGEST: usize = 1 << 30;
/// Rings of a process. Those whose descriptor is closed are let go when others are made.
const MOST: usize = 64;
/// The smallest piece of memory: what a block's size is a multiple of.
const PAGE: u32 = 4096;
/// TPACKET_ALIGNMENT.
const ALIGN: usize = 16;
/// `sizeof(struct tpacket2_hdr)` and `…3_hdr`.
const HEADER_2: usize = 32;
const HEADER_3: usize = 48;
/// `sizeof(struct tpacket_block_desc)`.
const BLOCK: usize = 48;
/// Frames moved by one call, so that a program that polls gets to see them.
const BATCH: usize = 64;
/// The longest frame that is looked at.
const LONGEST_FRAME: usize = 65_536 + 64;

/// Whether this process may have a ring.
static ANY: AtomicBool = AtomicBool::new(false);
static RINGS: Mutex<Vec<Ring>> = Mutex::new(Vec::new());

/// What a program has said of a packet socket's ring, and the ring itself.
struct Ring {
    /// The socket, and the descriptor by which it was last named.
    cookie: u64,
    fd: i32,
    /// 0, 1 or 2: TPACKET_V1 and so on.
    version: i32,
    reserve: u32,
    memory: Option<Memory>,
}

struct Memory {
    file: OwnedFd,
    start: *mut u8,
    len: usize,
    frame_size: usize,
    block_size: usize,
    /// Of the private area at the start of each block of version 3.
    private: usize,
    /// The frame or block that is filled next.
    next: usize,
    sequence: u64,
}

// SAFETY: the memory is mapped for as long as this exists, and only used with the lock held.
unsafe impl Send for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped when this was made, and nobody has a reference into it.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.len) };
    }
}

fn rings() -> MutexGuard<'static, Vec<Ring>> {
    RINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_ring<T>(
    fd: BorrowedFd<'_>,
    cookie: u64,
    change: impl FnOnce(&mut Ring) -> Result<T, Errno>,
) -> Result<T, Errno> {
    use std::os::fd::AsRawFd;
    let mut rings = rings();
    let at = match rings.iter().position(|ring| ring.cookie == cookie) {
        Some(at) => at,
        None => {
            rings.retain(|ring| {
                kernel::descriptor(ring.fd).and_then(kernel::cookie) == Some(ring.cookie)
            });
            if rings.len() >= MOST {
                return Err(Errno::NOMEM);
            }
            let fd = fd.as_raw_fd();
            rings.push(Ring { cookie, fd, version: 0, reserve: 0, memory: None });
            rings.len() - 1
        }
    };
    change(rings.get_mut(at).ok_or(Errno::INVAL)?)
}

/// PACKET_VERSION.
pub fn set_version(fd: BorrowedFd<'_>, cookie: u64, version: i32) -> Result<(), Errno> {
    with_ring(fd, cookie, |ring| match ring.memory {
        Some(_) => Err(Errno::BUSY),
        None => {
            ring.version = version;
            Ok(())
        }
    })
}

/// PACKET_RESERVE: bytes left free before each frame.
pub fn set_reserve(fd: BorrowedFd<'_>, cookie: u64, reserve: u32) -> Result<(), Errno> {
    with_ring(fd, cookie, |ring| match ring.memory {
        Some(_) => Err(Errno::BUSY),
        None if reserve > PAGE => Err(Errno::INVAL),
        None => {
            ring.reserve = reserve;
            Ok(())
        }
    })
}

pub fn version(cookie: u64) -> i32 {
    rings().iter().find(|ring| ring.cookie == cookie).map_or(0, |ring| ring.version)
}

/// PACKET_HDRLEN: of the version that is asked for.
pub fn header_length(version: i32) -> Result<i32, Errno> {
    match version {
        0 | 1 => Ok(HEADER_2 as i32),
        2 => Ok(HEADER_3 as i32),
        _ => Err(Errno::INVAL),
    }
}

/// PACKET_RX_RING: makes a ring of so many blocks, or with none lets go of it.
pub fn set(
    fd: BorrowedFd<'_>,
    cookie: u64,
    [block_size, blocks, frame_size, frames]: [u32; 4],
    private: u32,
) -> Result<(), Errno> {
    with_ring(fd, cookie, |ring| {
        if blocks == 0 {
            ring.memory = None;
            return if frames == 0 { Ok(()) } else { Err(Errno::INVAL) };
        }
        if ring.memory.is_some() {
            return Err(Errno::BUSY);
        }
        // Version 1 has no place for what is told of a frame.
        if ring.version == 0 {
            return Err(Errno::INVAL);
        }
        let fits = block_size.checked_rem(PAGE) == Some(0)
            && block_size > 0
            && (frame_size as usize).is_multiple_of(ALIGN)
            && frame_size as usize > HEADER_3 + ADDRESS + ring.reserve as usize
            && frame_size <= block_size
            && (private as usize) < (block_size as usize).saturating_sub(BLOCK + PAGE as usize / 2);
        let per_block = block_size.checked_div(frame_size).unwrap_or(0);
        if !fits || per_block.checked_mul(blocks) != Some(frames) {
            return Err(Errno::INVAL);
        }
        let len = (block_size as usize).checked_mul(blocks as usize).ok_or(Errno::NOMEM)?;
        let private = if ring.version == 2 { private } else { 0 };
        ring.memory = Some(Memory::new(len, block_size, frame_size, private)?);
        ANY.store(true, Ordering::Relaxed);
        Ok(())
    })
}

/// The file of a socket's ring, for the program to map.
pub fn file(cookie: u64) -> Option<OwnedFd> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    let rings = rings();
    let ring = rings.iter().find(|ring| ring.cookie == cookie)?;
    ring.memory.as_ref()?.file.try_clone().ok()
}

/// Moves frames from the anchor into the ring; whether the program has any to look at. `None`: the
/// socket has no ring.
pub fn fill(fd: BorrowedFd<'_>, cookie: u64) -> Option<bool> {
    if !ANY.load(Ordering::Relaxed) {
        return None;
    }
    let mut rings = rings();
    let ring = rings.iter_mut().find(|ring| ring.cookie == cookie)?;
    let (version, reserve) = (ring.version, ring.reserve as usize);
    let memory = ring.memory.as_mut()?;
    Some(match version {
        1 => memory.fill_frames(fd, reserve),
        _ => memory.fill_block(fd, reserve),
    })
}

impl Memory {
    fn new(len: usize, block_size: u32, frame_size: u32, private: u32) -> Result<Self, Errno> {
        if len > LONGEST {
            return Err(Errno::NOMEM);
        }
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create(c"narrows-packets", flags)?;
        rustix::fs::ftruncate(&file, len as u64)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: at an address of the kernel's choice, so nothing is replaced.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, access, MapFlags::SHARED, file.as_fd(), 0)
        }?;
        Ok(Self {
            file,
            start: start.cast(),
            len,
            frame_size: frame_size as usize,
            block_size: block_size as usize,
            private: private as usize,
            next: 0,
            sequence: 0,
        })
    }

    /// Writes at an offset what fits in there.
    fn write(&self, at: usize, bytes: &[u8]) {
        let room = self.len.saturating_sub(at);
        let count = bytes.len().min(room);
        // SAFETY: the bytes are inside the mapping; the program, which has it too, was told that it is
        // not its turn here.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.add(at.min(self.len)), count)
        };
    }

    /// The status at an offset, which says whose turn it is there.
    fn status(&self, at: usize) -> Option<&AtomicU32> {
        (at.is_multiple_of(4) && at + 4 <= self.len)
            // SAFETY: inside the mapping and aligned; both sides use it as a status alone.
            .then(|| unsafe { AtomicU32::from_ptr(self.start.add(at).cast()) })
    }

    fn is_users(&self, at: usize) -> bool {
        self.status(at)
            .is_none_or(|status| status.load(Ordering::Acquire) & super::STATUS_USER != 0)
    }

    /// Version 2: a frame has a place of its own.
    fn fill_frames(&mut self, fd: BorrowedFd<'_>, reserve: usize) -> bool {
        let per_block = self.block_size / self.frame_size.max(1);
        let count = per_block * (self.len / self.block_size.max(1));
        let place = |index: usize| {
            index / per_block * self.block_size + index % per_block * self.frame_size
        };
        // The one before is where the newest is.
        let newest = place((self.next + count - 1) % count.max(1));
        if self.is_users(newest) {
            return true;
        }
        let at = place(self.next);
        if self.is_users(at) {
            return true;
        }
        let Some((header, frame)) = receive(fd) else { return false };
        let layout = Layout::new(HEADER_2, &header, reserve);
        let room = self.frame_size.saturating_sub(layout.frame);
        let snapped = frame.get(..room.min(frame.len())).unwrap_or_default();
        self.write(at + layout.frame, snapped);
        self.write(at + HEADER_2, &encode(&header));
        let (seconds, nanos) = time(&header);
        let (protocol, control) = header.vlan.unwrap_or_default();
        // Behind the status: both lengths, both offsets, the time, the tag.
        let lengths = [header.length, snapped.len() as u32].map(u32::to_ne_bytes).concat();
        let offsets = [layout.frame as u16, layout.network as u16].map(u16::to_ne_bytes).concat();
        let times = [seconds, nanos].map(u32::to_ne_bytes).concat();
        let tag = [control, protocol].map(u16::to_ne_bytes).concat();
        self.write(at + 4, &[lengths, offsets, times, tag].concat());
        if let Some(place) = self.status(at) {
            place.store(status(&header), Ordering::Release);
        }
        self.next = (self.next + 1) % count.max(1);
        true
    }

    /// Version 3: a block has as many frames as are there and fit.
    fn fill_block(&mut self, fd: BorrowedFd<'_>, reserve: usize) -> bool {
        let blocks = self.len / self.block_size.max(1);
        let block_of = |index: usize| index * self.block_size;
        let newest = block_of((self.next + blocks - 1) % blocks.max(1));
        if self.is_users(newest + 8) {
            return true;
        }
        let block = block_of(self.next);
        if self.is_users(block + 8) {
            return true;
        }
        let first = BLOCK + self.private.next_multiple_of(8);
        let (mut at, mut last, mut count) = (first, first, 0);
        let (mut begun, mut ended) = ((0, 0), (0, 0));
        while count < BATCH {
            // A frame that may not fit waits for the next block.
            let most = if count == 0 { 0 } else { LONGEST_FRAME.min(peeked(fd)) };
            let room = self.block_size.saturating_sub(at + HEADER_3 + ALIGN * 5 + reserve);
            if count > 0 && most > room {
                break;
            }
            let Some((header, frame)) = receive(fd) else { break };
            let layout = Layout::new(HEADER_3, &header, reserve);
            let room = self.block_size.saturating_sub(at + layout.frame);
            let snapped = frame.get(..room.min(frame.len())).unwrap_or_default();
            if count > 0 {
                self.write(block + last, &((at - last) as u32).to_ne_bytes());
            }
            self.write(block + at, &frame_header_3(&header, &layout, snapped.len()));
            self.write(block + at + HEADER_3, &encode(&header));
            self.write(block + at + layout.frame, snapped);
            ended = time(&header);
            begun = if count == 0 { ended } else { begun };
            last = at;
            at = (at + layout.frame + snapped.len()).next_multiple_of(8);
            count += 1;
        }
        if count == 0 {
            return false;
        }
        self.sequence += 1;
        let private = BLOCK as u32;
        self.write(block, &[1, private].map(u32::to_ne_bytes).concat());
        let numbers = [count as u32, first as u32, at as u32].map(u32::to_ne_bytes).concat();
        let times = [begun.0, begun.1, ended.0, ended.1].map(u32::to_ne_bytes).concat();
        self.write(block + 12, &[&numbers[..], &self.sequence.to_ne_bytes(), &times].concat());
        if let Some(place) = self.status(block + 8) {
            place.store(super::STATUS_USER, Ordering::Release);
        }
        self.next = (self.next + 1) % blocks.max(1);
        true
    }
}

/// `struct tpacket3_hdr`, of which the first number, the way to the next frame, is 0 until there is one.
fn frame_header_3(header: &Header, layout: &Layout, snapped: usize) -> [u8; HEADER_3] {
    let mut bytes = [0; HEADER_3];
    let (seconds, nanos) = time(header);
    let (protocol, control) = header.vlan.unwrap_or_default();
    let numbers = [0, seconds, nanos, snapped as u32, header.length, status(header)];
    bytes[..24].copy_from_slice(&numbers.map(u32::to_ne_bytes).concat());
    let offsets = [layout.frame as u16, layout.network as u16];
    bytes[24..28].copy_from_slice(&offsets.map(u16::to_ne_bytes).concat());
    bytes[32..36].copy_from_slice(&u32::from(control).to_ne_bytes());
    bytes[36..38].copy_from_slice(&protocol.to_ne_bytes());
    bytes
}

/// Where a frame and its network header begin, behind the header of its place.
struct Layout {
    frame: usize,
    network: usize,
}

impl Layout {
    fn new(header_len: usize, header: &Header, reserve: usize) -> Self {
        let link = usize::from(header.network);
        let before = header_len.next_multiple_of(ALIGN) + ADDRESS;
        let network = (before + link.max(ALIGN)).next_multiple_of(ALIGN) + reserve;
        Self { frame: network - link, network }
    }
}

fn time(header: &Header) -> (u32, u32) {
    const SECOND: u64 = 1_000_000_000;
    ((header.seen / SECOND) as u32, (header.seen % SECOND) as u32)
}

/// Bytes of the next record; 0 if there is none.
fn peeked(fd: BorrowedFd<'_>) -> usize {
    kernel::receive(fd, &mut [], libc::MSG_PEEK | libc::MSG_TRUNC).unwrap_or(0)
}

/// The next frame that waits in the anchor.
fn receive(fd: BorrowedFd<'_>) -> Option<(Header, Vec<u8>)> {
    let mut record = vec![0; Header::LEN + LONGEST_FRAME];
    loop {
        let count = kernel::receive(fd, &mut record, 0).filter(|count| *count > 0)?;
        let (header, frame) = record.get(..count)?.split_first_chunk()?;
        // Word of an error is for who asks with SO_ERROR.
        if let Ok(header) = Header::decode(header) {
            return Some((header, frame.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, sockopt};

    /// An anchor in which frames of these lengths wait, and its cookie.
    fn anchor(lengths: &[usize]) -> (OwnedFd, OwnedFd, u64) {
        let kind = SocketType::SEQPACKET;
        let pair = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
        let (ours, programs) = pair.expect("a pair");
        for length in lengths {
            let header = Header {
                interface: 2,
                length: *length as u32,
                network: 14,
                seen: 7_000_000_009,
                ..Header::default()
            };
            let record = [&header.encode()[..], &vec![0xab; *length]].concat();
            send(&ours, &record, SendFlags::DONTWAIT).expect("room");
        }
        let cookie = sockopt::socket_cookie(&programs).expect("a cookie");
        (ours, programs, cookie)
    }

    fn bytes(cookie: u64, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let file = file(cookie).expect("a ring");
        assert_eq!(rustix::io::pread(file, &mut bytes[..], at as u64), Ok(len));
        bytes
    }

    fn number(cookie: u64, at: usize) -> u32 {
        u32::from_ne_bytes(bytes(cookie, at, 4).try_into().expect("four"))
    }

    fn give_back(cookie: u64, at: usize) {
        let file = file(cookie).expect("a ring");
        assert_eq!(rustix::io::pwrite(file, &[0; 4], at as u64), Ok(4));
    }

    #[test]
    fn a_block_holds_frames_one_behind_the_other() {
        let (_ours, programs, cookie) = anchor(&[60, 1000]);
        let fd = programs.as_fd();
        set_version(fd, cookie, 2).expect("no ring yet");
        set(fd, cookie, [8192, 2, 2048, 8], 0).expect("a ring");
        assert_eq!(fill(fd, cookie), Some(true));
        // Status, number of frames, where the first is.
        assert_eq!([8, 12, 16].map(|at| number(cookie, at)), [1, 2, 48]);
        let next = 48 + number(cookie, 48) as usize;
        assert_eq!(number(cookie, next), 0, "the last has no next");
        for (at, length) in [(48, 60), (next, 1000)] {
            assert_eq!(
                [4, 8, 12, 16].map(|field| number(cookie, at + field)),
                [7, 9, length, length]
            );
            let offsets = bytes(cookie, at + 24, 4);
            let frame = at + usize::from(u16::from_ne_bytes([offsets[0], offsets[1]]));
            assert_eq!(bytes(cookie, frame, length as usize), vec![0xab; length as usize]);
        }
        // Nothing is there, and what is there has not been read: it stays readable.
        assert_eq!(fill(fd, cookie), Some(true));
        give_back(cookie, 8);
        assert_eq!(fill(fd, cookie), Some(false));
    }

    #[test]
    fn what_the_program_has_not_given_back_is_left_alone() {
        let (_ours, programs, cookie) = anchor(&[60, 61, 62]);
        let fd = programs.as_fd();
        set_version(fd, cookie, 1).expect("no ring yet");
        set(fd, cookie, [4096, 1, 2048, 2], 0).expect("a ring");
        assert_eq!(fill(fd, cookie), Some(true));
        assert_eq!([0, 4, 8].map(|at| number(cookie, at)), [1, 60, 60]);
        // The newest has not been read, so the others wait where they are.
        assert_eq!(fill(fd, cookie), Some(true));
        assert_eq!(number(cookie, 2048), 0);
        give_back(cookie, 0);
        assert_eq!(fill(fd, cookie), Some(true));
        assert_eq!((number(cookie, 2048), number(cookie, 2052)), (1, 61));
    }

    #[test]
    fn rings_that_make_no_sense_are_refused() {
        let (_ours, programs, cookie) = anchor(&[]);
        let fd = programs.as_fd();
        let sensible = [4096, 1, 2048, 2];
        assert_eq!(set(fd, cookie, sensible, 0), Err(Errno::INVAL), "version 1");
        set_version(fd, cookie, 2).expect("no ring yet");
        for bad in [
            [4095, 1, 2048, 2],
            [0, 1, 2048, 2],
            [4096, 1, 2047, 2],
            [4096, 1, 16, 256],
            [4096, 1, 8192, 0],
            [4096, 1, 2048, 3],
            [4096, u32::MAX, 2048, 2],
        ] {
            assert_eq!(set(fd, cookie, bad, 0), Err(Errno::INVAL), "{bad:?}");
        }
        assert_eq!(set(fd, cookie, [1 << 30, 2, 1 << 29, 4], 0), Err(Errno::NOMEM));
        set(fd, cookie, sensible, 0).expect("a ring");
        assert_eq!(set(fd, cookie, sensible, 0), Err(Errno::BUSY));
        assert_eq!(set_version(fd, cookie, 1), Err(Errno::BUSY));
        set(fd, cookie, [0; 4], 0).expect("let go");
        assert!(file(cookie).is_none());
    }
}
