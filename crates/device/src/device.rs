//! One device of any kind.

use crate::{DeviceSpec, PacketDevice, TapDevice, filter::Wanted, link::Link};
use narrows_wire::{
    address::MacAddr,
    offload::{Capabilities, RxOffload, TxOffload},
};
use std::{io, os::fd::BorrowedFd, time::Duration};

/// A network device: frames in, frames out.
pub enum Device {
    Packet(PacketDevice),
    Tap(TapDevice),
}

/// What one [`Device::receive`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Received {
    /// Frames handed over.
    pub frames: usize,
    /// More may be waiting: call again before sleeping on the descriptor.
    pub more: bool,
}

/// What a device lost or refused, since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Frames that arrived while the receive buffer was full.
    pub receive_overflow: u64,
    /// Frames that arrived but were not handed over: longer than a buffer, or with an offload
    /// that was never asked for.
    pub receive_unusable: u64,
    /// Frames the kernel refused to send for good (interface down, header refused).
    pub send_refused: u64,
}

impl Statistics {
    /// Name, meaning and count of each kind of loss, as the engine describes its own drops.
    pub fn describe(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            (
                "device-receive-overflow",
                "came while the device's receive buffer was full",
                self.receive_overflow,
            ),
            (
                "device-receive-unusable",
                "too long, or with an offload never asked for",
                self.receive_unusable,
            ),
            ("device-send-refused", "refused by the kernel's interface", self.send_refused),
        ]
    }
}

/// Why a device could not be opened. The message is what the user reads.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// there is no such interface
    #[error("no interface {name}; there are: {}", present.join(", "))]
    NoInterface { name: String, present: Vec<String> },
    /// the interface is not Ethernet
    #[error("interface {name} is not Ethernet")]
    NotEthernet { name: String },
    /// the process may not do this
    #[error("{what} needs {capability}: run as root or in a user namespace of your own")]
    Permission { what: String, capability: &'static str },
    /// the TAP interface is in use by another process, or is of another kind
    #[error("interface {name} is in use by another program, or is not a TAP interface")]
    Busy { name: String },
    /// the kernel lacks the facility
    #[error("{what} is missing from this kernel: {hint}")]
    Unsupported { what: String, hint: &'static str },
    /// anything else the kernel said
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

impl OpenError {
    pub(crate) fn io(what: &str, source: io::Error) -> Self {
        Self::Io { what: what.into(), source }
    }

    pub(crate) fn no_interface(name: &str, links: &[Link]) -> Self {
        let present = links.iter().map(|link| link.name.clone()).collect();
        Self::NoInterface { name: name.into(), present }
    }
}

impl Device {
    /// Opens the device that `spec` names, in the calling thread's network namespace.
    pub fn open(spec: &DeviceSpec) -> Result<Self, OpenError> {
        match spec {
            DeviceSpec::Packet(name) => PacketDevice::open(name).map(Self::Packet),
            DeviceSpec::Tap(name) => TapDevice::open(name).map(Self::Tap),
        }
    }

    /// From now on this is received, and nothing else; before the first call, all frames without a
    /// tag. On an interface that the kernel uses too this keeps its traffic from being copied here.
    /// (Nobody else is at the other end of a TAP, which receives everything.)
    pub fn want(&mut self, wanted: &Wanted) -> io::Result<()> {
        match self {
            Self::Packet(device) => device.want(wanted),
            Self::Tap(_) => Ok(()),
        }
    }

    /// Readable when frames wait, writable when a device that had no room has some again.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Packet(device) => device.descriptor(),
            Self::Tap(device) => device.descriptor(),
        }
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Packet(device) => device.name(),
            Self::Tap(device) => device.name(),
        }
    }

    /// The address Narrows sends from and answers to here.
    pub fn mac(&self) -> MacAddr {
        match self {
            Self::Packet(device) => device.mac(),
            Self::Tap(device) => device.mac(),
        }
    }

    /// The longest IP packet, in bytes, that leaves without segmentation.
    pub fn mtu(&self) -> u32 {
        match self {
            Self::Packet(device) => device.mtu(),
            Self::Tap(device) => device.mtu(),
        }
    }

    /// The offloads the stack may ask for.
    pub fn capabilities(&self) -> Capabilities {
        match self {
            Self::Packet(device) => device.capabilities(),
            Self::Tap(device) => device.capabilities(),
        }
    }

    /// Hands at most `max_frames` waiting frames to `input`, without blocking. An error means that the
    /// interface is gone, or the kernel out of order; one that is down only has no frames.
    pub fn receive(
        &mut self,
        max_frames: usize,
        input: impl FnMut(&[u8], RxOffload),
    ) -> io::Result<Received> {
        match self {
            Self::Packet(device) => device.receive(max_frames, input),
            Self::Tap(device) => device.receive(max_frames, input),
        }
    }

    /// Can [`Device::send`] take another frame now? If not, wait for the descriptor to become
    /// writable and call [`Device::flush`].
    pub fn has_room(&self) -> bool {
        match self {
            Self::Packet(device) => device.has_room(),
            Self::Tap(device) => device.has_room(),
        }
    }

    /// Takes the frame `header ++ payload[0] ++ payload[1]`. Frames leave in the order they were
    /// taken, the last of them at the latest on [`Device::flush`].
    pub fn send(&mut self, offload: TxOffload, header: &[u8], payload: [&[u8]; 2]) {
        match self {
            Self::Packet(device) => device.send(offload, header, payload),
            Self::Tap(device) => device.send(offload, header, payload),
        }
    }

    /// Sends what [`Device::send`] took. What the kernel has no room for now stays, and
    /// [`Device::has_room`] stays false until it has left. An error means that the interface is gone;
    /// frames that the kernel refuses for another reason are only counted.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Packet(device) => device.flush(),
            Self::Tap(device) => device.flush(),
        }
    }

    /// When to call [`Device::flush`] even if the descriptor does not become writable: a full queue
    /// of the interface is not announced by it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Packet(device) => device.retry_after(),
            Self::Tap(device) => device.retry_after(),
        }
    }

    /// What was lost so far.
    pub fn statistics(&mut self) -> Statistics {
        match self {
            Self::Packet(device) => device.statistics(),
            Self::Tap(device) => device.statistics(),
        }
    }
}
