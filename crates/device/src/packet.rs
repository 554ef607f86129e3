//! AF_PACKET on an interface that the kernel has (packet(7)).
//!
//! Frames come and go with a vnet header, so that a 64 KiB TCP segment is one frame either way and
//! nobody computes a checksum for a wire that is not there. Large frames are sent at once from where
//! they lie; small ones are copied together and leave with one system call. What the kernel has no
//! room for is kept, and then no more is taken.

use crate::{
    OpenError, Received, Statistics,
    filter::{self, Wanted},
    link::{self, Link},
    queue::Queue,
};
use narrows_sys::{
    packet_socket::{self, Membership},
    receive_batch::{KernelTag, ReceiveBatch},
    send_batch, socket_filter,
};
use narrows_wire::{
    address::MacAddr,
    ethernet,
    offload::{Capabilities, RxOffload, TxOffload, VNET_HEADER_LEN},
    vlan::{TAG_LEN, TAG_OFFSET},
};
use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendFlags, netdevice, sendmsg, sockopt},
    system::uname,
};
use std::{
    collections::BTreeSet,
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// A packet socket and the frames it has not sent yet.
pub struct PacketDevice {
    socket: OwnedFd,
    name: String,
    index: u32,
    mac: MacAddr,
    mtu: u32,
    /// Longer ones the kernel cuts itself, in its slowest way.
    longest_packet: u32,
    cuts_datagrams: bool,
    batch: ReceiveBatch,
    /// What the interface receives for us beside frames to its own address.
    memberships: BTreeSet<Membership>,
    queue: Queue,
    /// Why the first frame of the queue did not leave, if it was tried.
    obstacle: Option<Obstacle>,
    /// The interface was removed, and that has not been told yet.
    removed: Option<Errno>,
    statistics: Statistics,
}

/// What a frame waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// The socket's send buffer is full; the descriptor becomes writable.
    Socket,
    /// The interface's queue is full; nothing tells when it has room again.
    Interface,
}

/// Frames received by one system call. More gain nothing for small frames, and large ones lose once
/// their buffers outgrow the caches.
const RECEIVE_FRAMES: usize = 16;

/// The longest frame received: 64 KiB of IPv4, an Ethernet header, the vnet header, and room to
/// spare up to a multiple of the page size.
pub(crate) const RECEIVE_BUFFER: usize = 68 << 10;

/// Of the socket: what arrives while the daemon does other work. A frame of 64 KiB costs somewhat
/// more than its length.
const RECEIVE_SOCKET_BUFFER: usize = 16 << 20;

/// Of the socket: what a driver holds on to until it has sent it.
const SEND_SOCKET_BUFFER: usize = 4 << 20;

/// A longer frame is sent at once, from where it lies: for 64 KiB that is a fifth faster than a copy in
/// one piece.
const COPY_LIMIT: usize = 2048;

/// When the interface's queue was full: about the time in which a gigabit drains a hundred frames.
const RETRY: Duration = Duration::from_millis(1);

/// Frames that wait before they are sent without being asked.
const QUEUE_FRAMES: usize = send_batch::MAX_MESSAGES;

impl PacketDevice {
    /// Opens a packet socket on the interface, in the calling thread's network namespace.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        let what = format!("opening a packet socket on {name}");
        let failed = |error| OpenError::io(&what, error);
        let links = link::list().map_err(failed)?;
        let Some(link) = links.iter().find(|link| link.name == name) else {
            return Err(OpenError::no_interface(name, &links));
        };
        let mac = link.mac.ok_or_else(|| OpenError::NotEthernet { name: name.into() })?;
        if !link.up {
            tracing::warn!(
                interface = name,
                "the interface is down; nothing crosses it until it is up"
            );
        }
        let socket = packet_socket::open().map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => {
                OpenError::Permission { what: what.clone(), capability: "CAP_NET_RAW" }
            }
            _ => failed(error),
        })?;
        set_buffers(&socket).map_err(failed)?;
        packet_socket::enable_vnet_header(&socket).map_err(failed)?;
        packet_socket::ignore_outgoing(&socket).map_err(failed)?;
        socket_filter::attach(&socket, &filter::program(&Wanted::default())).map_err(failed)?;
        packet_socket::bind(&socket, link.index).map_err(failed)?;
        Ok(Self {
            socket,
            name: name.into(),
            index: link.index,
            mac,
            mtu: link.mtu,
            longest_packet: longest_packet(link),
            cuts_datagrams: cuts_datagrams(&uname().release().to_string_lossy()),
            batch: ReceiveBatch::new(RECEIVE_FRAMES, RECEIVE_BUFFER, TAG_LEN),
            memberships: BTreeSet::new(),
            queue: Queue::default(),
            obstacle: None,
            removed: None,
            statistics: Statistics::default(),
        })
    }

    /// From now on this is received, and nothing else.
    pub fn want(&mut self, wanted: &Wanted) -> io::Result<()> {
        if wanted.tags() {
            packet_socket::enable_auxdata(&self.socket)?;
        }
        self.batch.read_tags(wanted.tags());
        let stations = wanted.stations.iter().filter(|mac| **mac != self.mac);
        let mut memberships: BTreeSet<_> = stations.map(|mac| Membership::Station(mac.0)).collect();
        memberships.extend(wanted.groups.iter().map(|mac| Membership::Group(mac.0)));
        if wanted.everything {
            memberships.insert(Membership::Promiscuous);
        }
        for (changed, on) in [
            (memberships.difference(&self.memberships), true),
            (self.memberships.difference(&memberships), false),
        ] {
            for membership in changed {
                packet_socket::set_membership(&self.socket, self.index, *membership, on)?;
            }
        }
        self.memberships = memberships;
        socket_filter::attach(&self.socket, &filter::program(wanted))
    }

    /// See [`crate::Device::descriptor`], and so on for the rest.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    pub fn capabilities(&self) -> Capabilities {
        // What the interface can't do itself the kernel does for it on the way.
        Capabilities {
            tx_checksum: true,
            tx_segmentation: Some(self.longest_packet),
            tx_datagrams: self.cuts_datagrams,
        }
    }

    pub fn receive(
        &mut self,
        max_frames: usize,
        mut input: impl FnMut(&[u8], RxOffload),
    ) -> io::Result<Received> {
        let limit = max_frames.min(self.batch.capacity());
        match self.batch.receive(&self.socket, limit) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::default());
            }
            Err(error) => return self.receive_failed(error),
        }
        let mut frames = 0;
        let messages = self.batch.messages();
        let more = messages.len() == limit;
        for message in messages {
            let whole = Some(message.bytes).filter(|_| !message.truncated);
            match whole.and_then(|bytes| unwrap(bytes, message.tag)) {
                Some((frame, offload)) => {
                    frames += 1;
                    input(frame, offload);
                }
                None => self.statistics.receive_unusable += 1,
            }
        }
        Ok(Received { frames, more })
    }

    /// An interface that went down may come up again; one that was removed will not.
    fn receive_failed(&self, error: io::Error) -> io::Result<Received> {
        if Errno::from_io_error(&error) != Some(Errno::NETDOWN) {
            return Err(error);
        }
        netdevice::index_to_name(&self.socket, self.index)?;
        tracing::warn!(interface = self.name, "the interface went down");
        Ok(Received::default())
    }

    pub fn has_room(&self) -> bool {
        self.obstacle.is_none()
    }

    pub fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        // A whole frame comes as a header with nothing behind it.
        let len = header.len() + payload.iter().map(|part| part.len()).sum::<usize>();
        if len > COPY_LIMIT {
            // Frames leave in order, so those before it go first.
            self.send_queue();
            if self.queue.is_empty() && self.send_now(offload, header, payload) {
                return;
            }
        }
        self.queue.push(offload, header, payload);
        if self.queue.len() >= QUEUE_FRAMES {
            self.send_queue();
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.obstacle = None;
        self.send_queue();
        self.removed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    pub fn retry_after(&self) -> Option<Duration> {
        (self.obstacle == Some(Obstacle::Interface)).then_some(RETRY)
    }

    pub fn statistics(&mut self) -> Statistics {
        if let Ok(drops) = packet_socket::take_drops(&self.socket) {
            self.statistics.receive_overflow += u64::from(drops);
        }
        self.statistics
    }

    /// Sends one frame from where it lies; `false` if it has to wait.
    fn send_now(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) -> bool {
        let [first, second] = payload;
        let vnet_header = offload.to_vnet();
        let parts = [&vnet_header, header, first, second].map(IoSlice::new);
        let control = &mut SendAncillaryBuffer::default();
        match sendmsg(&self.socket, &parts, control, SendFlags::DONTWAIT) {
            Ok(_) => true,
            Err(error) => !self.must_wait(error.into()),
        }
    }

    /// Sends the queue until it is empty or blocked.
    fn send_queue(&mut self) {
        while self.obstacle.is_none() && !self.queue.is_empty() {
            match send_batch::send(&self.socket, self.queue.frames()) {
                Ok(count) => self.queue.remove(count),
                Err(error) => {
                    if !self.must_wait(error) {
                        self.queue.remove(1);
                    }
                }
            }
        }
    }

    /// Why a frame was not sent: for want of room, which passes, or for good.
    fn must_wait(&mut self, error: io::Error) -> bool {
        let errno = Errno::from_io_error(&error);
        self.obstacle = match errno {
            Some(Errno::AGAIN) => Some(Obstacle::Socket),
            Some(Errno::NOBUFS | Errno::NOMEM) => Some(Obstacle::Interface),
            _ => {
                self.removed = errno.filter(|errno| matches!(*errno, Errno::NXIO | Errno::NODEV));
                self.statistics.send_refused += 1;
                tracing::debug!(interface = self.name, %error, "a frame was refused");
                None
            }
        };
        self.obstacle.is_some()
    }
}

/// The frame in what was received (room for a tag, vnet header, frame), with the tag that the kernel
/// took off it where it was.
fn unwrap(bytes: &mut [u8], tag: Option<KernelTag>) -> Option<(&[u8], RxOffload)> {
    const FRAME: usize = TAG_LEN + VNET_HEADER_LEN;
    let header = bytes.get(TAG_LEN..)?.first_chunk()?;
    let offload = RxOffload::from_vnet(header).ok()?;
    let Some(KernelTag { protocol, control }) = tag else {
        return Some((bytes.get(FRAME..)?, offload));
    };
    // The addresses move over the end of the vnet header, which is read.
    bytes.get(..FRAME + TAG_OFFSET)?;
    bytes.copy_within(FRAME..FRAME + TAG_OFFSET, FRAME - TAG_LEN);
    let gap = bytes.get_mut(FRAME - TAG_LEN + TAG_OFFSET..)?.first_chunk_mut()?;
    let ([a, b], [c, d]) = (protocol.to_be_bytes(), control.to_be_bytes());
    *gap = [a, b, c, d];
    Some((bytes.get(FRAME - TAG_LEN..)?, offload))
}

/// Does the kernel know of datagrams that are several in one? Linux from 6.2 on; nothing but the first
/// one that is refused would tell otherwise.
fn cuts_datagrams(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let version = (numbers.next(), numbers.next());
    matches!(version, (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 2))
}

/// The longest IPv4 packet in a frame that the interface itself cuts into segments: the kernel asks
/// for less than `gso_max_size`, the Ethernet header included (gso_features_check()).
fn longest_packet(link: &Link) -> u32 {
    const MAX: u32 = u16::MAX as u32;
    let headers = ethernet::HEADER_LEN as u32;
    link.gso_max_size.saturating_sub(headers + 1).clamp(link.mtu.min(MAX), MAX)
}

/// As much as is wanted where that is permitted, else as much as anybody may have.
fn set_buffers(socket: &OwnedFd) -> io::Result<()> {
    if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_SOCKET_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, RECEIVE_SOCKET_BUFFER)?;
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SEND_SOCKET_BUFFER).is_err() {
        sockopt::set_socket_send_buffer_size(socket, SEND_SOCKET_BUFFER)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    /// A device on a socket whose buffer fills after a few frames, and the other end.
    fn device_on_a_slow_socket() -> (PacketDevice, UnixDatagram) {
        let (near, far) = UnixDatagram::pair().expect("socketpair");
        let device = PacketDevice {
            socket: near.into(),
            name: "test0".into(),
            index: 0,
            mac: MacAddr::ZERO,
            mtu: 1500,
            longest_packet: 1500,
            cuts_datagrams: false,
            batch: ReceiveBatch::new(1, 1, 0),
            memberships: BTreeSet::new(),
            queue: Queue::default(),
            obstacle: None,
            removed: None,
            statistics: Statistics::default(),
        };
        (device, far)
    }

    fn receive(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 8192];
        let length = socket.recv(&mut buffer).expect("a frame");
        buffer[VNET_HEADER_LEN..length].to_vec()
    }

    #[test]
    fn a_frame_that_was_taken_is_never_lost() {
        for lengths in [[100, 100], [3000, 3000], [100, 3000], [3000, 100]] {
            let (mut device, far) = device_on_a_slow_socket();
            let frames: Vec<Vec<u8>> =
                (0..255_u8).map(|number| vec![number; lengths[usize::from(number % 2)]]).collect();
            let (mut sent, mut received) = (0, 0);
            while received < frames.len() {
                while device.has_room() && sent < frames.len() {
                    let (header, payload) = frames[sent].split_at(20);
                    let (left, right) = payload.split_at(payload.len() / 2);
                    device.send(TxOffload::default(), header, [left, right]);
                    sent += 1;
                }
                device.flush().expect("flush");
                assert!(device.retry_after().is_none(), "the descriptor tells");
                assert_eq!(receive(&far), frames[received], "{lengths:?}");
                received += 1;
            }
            assert!(device.has_room() && device.queue.is_empty());
        }
    }

    #[test]
    fn a_tag_that_the_kernel_took_off_is_put_back() {
        let frame: Vec<u8> = (0..20).collect();
        let wrapped = [&[0xee; TAG_LEN][..], &[0; VNET_HEADER_LEN], &frame].concat();
        let tag = KernelTag { protocol: 0x88a8, control: 0x6064 };
        let (plain, _) =
            unwrap(&mut wrapped.clone(), None).map(|it| (it.0.to_vec(), it.1)).unwrap();
        assert_eq!(plain, frame);
        let mut bytes = wrapped.clone();
        let (tagged, _) = unwrap(&mut bytes, Some(tag)).unwrap();
        assert_eq!(tagged, [&frame[..12], &[0x88, 0xa8, 0x60, 0x64], &frame[12..]].concat());
        for length in 0..wrapped.len() - 8 {
            assert_eq!(unwrap(&mut wrapped.clone()[..length], Some(tag)), None, "{length}");
        }
    }

    #[test]
    fn a_full_queue_of_the_interface_is_tried_again_soon() {
        let (mut device, _far) = device_on_a_slow_socket();
        for (errno, waits, retries) in [
            (Errno::NOBUFS, true, true),
            (Errno::AGAIN, true, false),
            (Errno::NETDOWN, false, false),
        ] {
            assert_eq!(device.must_wait(errno.into()), waits);
            assert_eq!((device.has_room(), device.retry_after().is_some()), (!waits, retries));
        }
        assert_eq!(device.statistics.send_refused, 1);
    }

    #[test]
    fn kernels_that_know_of_several_datagrams_in_one() {
        for (release, expected) in [
            ("6.18.5", true),
            ("6.2.0-rc1", true),
            ("10.0", true),
            ("6.1.99-amd64", false),
            ("5.15.0-generic", false),
            ("6", false),
            ("", false),
        ] {
            assert_eq!(cuts_datagrams(release), expected, "{release}");
        }
    }

    #[test]
    fn a_segmented_frame_is_shorter_than_the_interface_says() {
        let link = |gso_max_size| Link {
            index: 1,
            name: "eth0".into(),
            mac: None,
            mtu: 1500,
            up: true,
            carrier: true,
            gso_max_size,
            addresses: Vec::new(),
        };
        let cases = [(65_536, 65_521), (524_280, 65_535), (16_384, 16_369), (0, 1500)];
        for (gso_max_size, expected) in cases {
            assert_eq!(longest_packet(&link(gso_max_size)), expected);
        }
    }
}
