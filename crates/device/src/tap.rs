//! A TAP interface: the kernel has one end as an Ethernet interface, we have the other.
//!
//! The two ends are two stations on one wire, so ours has a MAC address of its own. The kernel takes
//! each frame as it is written, so there is nothing to batch.

use crate::{OpenError, Received, Statistics, link, packet::RECEIVE_BUFFER, queue::Queue};
use narrows_sys::{random::random, tun};
use narrows_wire::{
    address::MacAddr,
    offload::{Capabilities, RxOffload, TxOffload, VNET_HEADER_LEN},
};
use rustix::io::Errno;
use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

/// A TAP descriptor and the frames it has not sent yet.
pub struct TapDevice {
    tap: OwnedFd,
    name: String,
    index: u32,
    mac: MacAddr,
    mtu: u32,
    cuts_datagrams: bool,
    buffer: Vec<u8>,
    queue: Queue,
    /// The interface was removed, and that has not been told yet.
    removed: Option<Errno>,
    statistics: Statistics,
}

impl TapDevice {
    /// Makes the interface, or attaches to it if there is one that nobody uses, and sets it up. An
    /// interface made here goes when the device is dropped.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::open_on(tun::open_node(), name)
    }

    /// The same with `/dev/net/tun` as somebody else has opened it, who may.
    pub fn open_on(node: io::Result<OwnedFd>, name: &str) -> Result<Self, OpenError> {
        let what = format!("opening the TAP interface {name}");
        let failed = |error| OpenError::io(&what, error);
        let tap = node.and_then(|node| tun::make_tap(node, name));
        let tap = tap.map_err(|error| match Errno::from_io_error(&error) {
            // The device node's mode, which no capability in a user namespace overrides.
            Some(Errno::ACCESS) => OpenError::io("opening /dev/net/tun", error),
            Some(Errno::PERM) => {
                OpenError::Permission { what: what.clone(), capability: "CAP_NET_ADMIN" }
            }
            Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => OpenError::Unsupported {
                what: "/dev/net/tun".into(),
                hint: "load the module tun, or use a device of the kind packet",
            },
            Some(Errno::BUSY | Errno::INVAL) => OpenError::Busy { name: name.into() },
            _ => failed(error),
        })?;
        let cuts_datagrams = tun::accept_offloads(&tap).map_err(failed)?;
        let links = link::list().map_err(failed)?;
        let Some(link) = links.iter().find(|link| link.name == name) else {
            return Err(OpenError::no_interface(name, &links));
        };
        if !link.up {
            link::set_up(link.index).map_err(failed)?;
        }
        Ok(Self {
            tap,
            name: name.into(),
            index: link.index,
            mac: random_mac().map_err(failed)?,
            mtu: link.mtu,
            cuts_datagrams,
            buffer: vec![0; RECEIVE_BUFFER],
            queue: Queue::default(),
            removed: None,
            statistics: Statistics::default(),
        })
    }

    /// See [`crate::Device::descriptor`], and so on for the rest.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.tap.as_fd()
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kernel's end, for [`link::add_address`].
    pub fn index(&self) -> u32 {
        self.index
    }

    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    pub fn capabilities(&self) -> Capabilities {
        Capabilities {
            tx_checksum: true,
            tx_segmentation: Some(u16::MAX.into()),
            tx_datagrams: self.cuts_datagrams,
        }
    }

    pub fn receive(
        &mut self,
        max_frames: usize,
        mut input: impl FnMut(&[u8], RxOffload),
    ) -> io::Result<Received> {
        let mut frames = 0;
        for _ in 0..max_frames {
            let length = match rustix::io::read(&self.tap, &mut self.buffer[..]) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(Received { frames, more: false }),
                Err(error) => return Err(error.into()),
            };
            // A frame longer than the buffer is cut off without a word, so one that fills it is not
            // to be trusted.
            let whole = self.buffer.get(..length).filter(|bytes| bytes.len() < RECEIVE_BUFFER);
            let parts = whole.and_then(|bytes| bytes.split_first_chunk::<VNET_HEADER_LEN>());
            let offload = parts.and_then(|(header, _)| RxOffload::from_vnet(header).ok());
            match (parts, offload) {
                (Some((_, frame)), Some(offload)) => {
                    frames += 1;
                    input(frame, offload);
                }
                _ => self.statistics.receive_unusable += 1,
            }
        }
        Ok(Received { frames, more: true })
    }

    pub fn has_room(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        let [first, second] = payload;
        let vnet_header = offload.to_vnet();
        let parts = [&vnet_header, header, first, second].map(IoSlice::new);
        if self.queue.is_empty() {
            let result = rustix::io::writev(&self.tap, &parts);
            if self.settled(result) {
                return;
            }
        }
        self.queue.push(offload, header, payload);
    }

    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(frame) = self.queue.first() {
            let result = rustix::io::write(&self.tap, frame);
            if !self.settled(result) {
                break;
            }
            self.queue.remove(1);
        }
        self.removed.take().map_or(Ok(()), |error| Err(error.into()))
    }

    pub fn retry_after(&self) -> Option<Duration> {
        None
    }

    pub fn statistics(&mut self) -> Statistics {
        self.statistics
    }

    /// Has the frame left, or been refused for good? If not it has to wait for room.
    fn settled(&mut self, result: rustix::io::Result<usize>) -> bool {
        match result {
            Ok(_) => true,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => false,
            Err(error) => {
                self.removed = (error == Errno::BADFD).then_some(error);
                self.statistics.send_refused += 1;
                tracing::debug!(interface = self.name, %error, "a frame was refused");
                true
            }
        }
    }
}

/// A unicast address from the range that everybody may assign (IEEE 802-2014 §8.4.4).
fn random_mac() -> io::Result<MacAddr> {
    const LOCAL: u8 = 0b10;
    const GROUP: u8 = 0b01;
    let [first, rest @ ..] = random::<6>()?;
    let [a, b, c, d, e] = rest;
    Ok(MacAddr([first & !GROUP | LOCAL, a, b, c, d, e]))
}
