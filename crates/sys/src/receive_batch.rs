//! recvmmsg(2) into buffers that are made once.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd},
    ptr,
};

/// The most messages one call receives.
pub const MAX_MESSAGES: usize = 64;

/// Buffers for a number of messages, and the messages of the last call.
pub struct ReceiveBatch {
    /// `capacity` buffers of `buffer_len`, one after the other.
    memory: Vec<u8>,
    buffer_len: usize,
    /// Bytes at the start of each buffer that nothing is received into.
    headroom: usize,
    /// Of the messages in the first buffers.
    messages: Vec<Header>,
    /// What the kernel says beside each message, if that is wanted.
    controls: Vec<Control>,
}

#[derive(Clone, Copy)]
struct Header {
    length: usize,
    truncated: bool,
    tag: Option<KernelTag>,
}

/// A VLAN tag that the kernel took off a frame: its type (TPID) and control information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelTag {
    pub protocol: u16,
    pub control: u16,
}

/// Room for one control message with a `struct tpacket_auxdata`, aligned as a `cmsghdr` is.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// `struct cmsghdr`, the 20 bytes of auxdata, padded to 8.
const CONTROL_LEN: usize = 40;
const AUXDATA_OFFSET: usize = size_of::<libc::cmsghdr>();

/// One message as received.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The headroom, then what fitted into the buffer.
    pub bytes: &'a mut [u8],
    /// There was more, and it is lost.
    pub truncated: bool,
    /// The tag that the frame came with; known after [`ReceiveBatch::read_tags`].
    pub tag: Option<KernelTag>,
}

impl ReceiveBatch {
    /// Buffers for `capacity` messages (at most [`MAX_MESSAGES`]) of up to `length` bytes each, with
    /// `headroom` bytes before each for the caller to grow it into.
    pub fn new(capacity: usize, length: usize, headroom: usize) -> Self {
        let capacity = capacity.clamp(1, MAX_MESSAGES);
        let buffer_len = length.max(1) + headroom;
        Self {
            memory: vec![0; capacity * buffer_len],
            buffer_len,
            headroom,
            messages: Vec::with_capacity(capacity),
            controls: Vec::new(),
        }
    }

    /// From now on the tags are read that a packet socket tells of (PACKET_AUXDATA), or not.
    pub fn read_tags(&mut self, on: bool) {
        let count = if on { self.capacity() } else { 0 };
        self.controls.resize(count, Control([0; CONTROL_LEN]));
    }

    /// How many messages one call can receive.
    pub fn capacity(&self) -> usize {
        self.memory.len() / self.buffer_len
    }

    /// Receives at most `limit` messages, without blocking; none is an error of the kind
    /// `WouldBlock`. What the last call received is gone.
    pub fn receive(&mut self, socket: impl AsFd, limit: usize) -> io::Result<()> {
        self.messages.clear();
        let count = limit.min(self.capacity());
        let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_MESSAGES];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_MESSAGES];
        let buffers = self.memory.chunks_exact_mut(self.buffer_len);
        let mut controls = self.controls.iter_mut();
        for ((vector, header), buffer) in
            vectors.iter_mut().zip(&mut headers).zip(buffers.take(count))
        {
            let buffer = buffer.get_mut(self.headroom..).unwrap_or_default();
            let vector = vector
                .write(libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() });
            // SAFETY: all zeros is a valid mmsghdr: null pointers, zero lengths.
            let header = header.write(unsafe { std::mem::zeroed() });
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            if let Some(control) = controls.next() {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL_LEN as _;
            }
        }
        // SAFETY: the first `count` headers are initialised above, each with an iovec that spans one
        // buffer of `memory` but its headroom, and with one of `controls` or none; both are borrowed
        // mutably until the end of this function.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                headers.as_mut_ptr().cast(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let mut controls = self.controls.iter();
        self.messages.extend(headers.iter().take(received.min(count)).map(|header| {
            // SAFETY: `received` is at most `count`, and these were initialised above.
            let header = unsafe { header.assume_init_ref() };
            let told = controls
                .next()
                .and_then(|control| control.0.get(..header.msg_hdr.msg_controllen as _));
            Header {
                length: header.msg_len as usize,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                tag: told.and_then(read_tag),
            }
        }));
        Ok(())
    }

    /// The messages of the last call, in the order of their arrival.
    pub fn messages(&mut self) -> impl ExactSizeIterator<Item = Message<'_>> {
        let headroom = self.headroom;
        self.messages.iter().zip(self.memory.chunks_exact_mut(self.buffer_len)).map(
            move |(&Header { length, truncated, tag }, buffer)| {
                let end = buffer.len().min(headroom + length);
                Message { bytes: buffer.get_mut(..end).unwrap_or_default(), truncated, tag }
            },
        )
    }
}

/// The tag in a control message of the kind PACKET_AUXDATA.
fn read_tag(control: &[u8]) -> Option<KernelTag> {
    // struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; }
    let int = |at: usize| Some(i32::from_ne_bytes(*control.get(at..)?.first_chunk()?));
    let level = size_of::<usize>();
    if (int(level)?, int(level + 4)?) != (libc::SOL_PACKET, PACKET_AUXDATA) {
        return None;
    }
    // struct tpacket_auxdata: status, length, captured length, two offsets, TCI and TPID.
    let auxdata = control.get(AUXDATA_OFFSET..)?;
    let status = u32::from_ne_bytes(*auxdata.first_chunk()?);
    let half = |at: usize| Some(u16::from_ne_bytes(*auxdata.get(at..)?.first_chunk()?));
    if status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = status & TP_STATUS_VLAN_TPID_VALID != 0;
    let protocol = if known { half(18)? } else { ETH_P_8021Q };
    Some(KernelTag { protocol, control: half(16)? })
}

// linux/if_packet.h, linux/if_ether.h.
const PACKET_AUXDATA: i32 = 8;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
const ETH_P_8021Q: u16 = 0x8100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    fn received(batch: &mut ReceiveBatch) -> Vec<(Vec<u8>, bool)> {
        batch.messages().map(|message| (message.bytes.to_vec(), message.truncated)).collect()
    }

    #[test]
    fn receives_in_order_and_reuses_its_buffers() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let mut batch = ReceiveBatch::new(3, 4, 0);
        for messages in [&["a", "bcd", "", "efgh"][..], &["ij"]] {
            for message in messages {
                far.send(message.as_bytes()).expect("send");
            }
            for part in messages.chunks(3) {
                batch.receive(&near, 99).expect("receive");
                let expected: Vec<_> =
                    part.iter().map(|message| (message.as_bytes().to_vec(), false)).collect();
                assert_eq!(received(&mut batch), expected);
            }
        }
        let error = batch.receive(&near, 3).expect_err("nothing there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(received(&mut batch), []);
    }

    #[test]
    fn keeps_to_the_limit_and_tells_of_truncation() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let mut batch = ReceiveBatch::new(8, 4, 0);
        for message in ["12345", "6"] {
            far.send(message.as_bytes()).expect("send");
        }
        batch.receive(&near, 1).expect("receive");
        assert_eq!(received(&mut batch), [(b"1234".to_vec(), true)]);
        batch.receive(&near, 1).expect("receive");
        assert_eq!(received(&mut batch), [(b"6".to_vec(), false)]);
    }

    #[test]
    fn headroom_is_left_alone() {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let mut batch = ReceiveBatch::new(2, 4, 3);
        for message in ["12345", "67"] {
            far.send(message.as_bytes()).expect("send");
        }
        batch.receive(&near, 2).expect("receive");
        assert_eq!(
            received(&mut batch),
            [(b"\0\0\x001234".to_vec(), true), (b"\0\0\x0067".to_vec(), false)]
        );
    }

    #[test]
    fn tags_are_read_from_auxdata_and_nothing_else() {
        let control = |level: i32, kind: i32, status: u32| {
            let mut bytes = Vec::new();
            bytes.extend(36_u64.to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(status.to_ne_bytes());
            bytes.extend([0; 12]);
            bytes.extend(0x6064_u16.to_ne_bytes());
            bytes.extend(0x88a8_u16.to_ne_bytes());
            bytes
        };
        let (packet, valid) = (libc::SOL_PACKET, TP_STATUS_VLAN_VALID);
        let both = valid | TP_STATUS_VLAN_TPID_VALID;
        let tag = |protocol| Some(KernelTag { protocol, control: 0x6064 });
        for (bytes, expected) in [
            (control(packet, PACKET_AUXDATA, both), tag(0x88a8)),
            (control(packet, PACKET_AUXDATA, valid), tag(0x8100)),
            (control(packet, PACKET_AUXDATA, 0), None),
            (control(packet, 1, both), None),
            (control(libc::SOL_SOCKET, PACKET_AUXDATA, both), None),
        ] {
            assert_eq!(read_tag(&bytes), expected);
            for length in 0..AUXDATA_OFFSET + 18 {
                assert_eq!(read_tag(&bytes[..length]), None);
            }
        }
    }
}
