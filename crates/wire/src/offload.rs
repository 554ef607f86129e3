//! What a device does for the stack, and the virtio-net header that carries it (virtio 1.2 §5.1.6).

use crate::Error;

/// What the device says of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RxOffload {
    pub checksum: RxChecksum,
    /// Set when the frame is several segments in one: the payload of each but the last.
    pub segment_size: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RxChecksum {
    /// Nobody looked: the stack must.
    #[default]
    Unverified,
    /// The device found the transport checksum right.
    Verified,
    /// The frame never crossed a wire: its transport checksum field holds the pseudo-header's sum
    /// alone, and its bytes are as the sender wrote them.
    Partial,
}

/// What the stack asks the device to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TxOffload {
    /// Complete the transport checksum: the field holds the pseudo-header's folded sum.
    pub checksum: Option<PartialChecksum>,
    /// Cut the frame into TCP segments.
    pub segmentation: Option<Segmentation>,
}

/// Offsets from the start of the frame, and from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialChecksum {
    /// Where the transport header begins, in bytes from the start of the frame.
    pub start: u16,
    /// The checksum field, in bytes from `start`.
    pub offset: u16,
}

/// TCP over IPv4 segmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Payload bytes of each segment but the last.
    pub segment_size: u16,
    /// Bytes of all headers together.
    pub header_len: u16,
}

/// What a device can do; the stack asks for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities {
    pub tx_checksum: bool,
    /// The longest IPv4 packet the device cuts into TCP segments by itself; `None`: it does not.
    pub tx_segmentation: Option<u32>,
}

/// Length of the header without `num_buffers`.
pub const VNET_HEADER_LEN: usize = 10;

impl RxOffload {
    pub fn from_vnet(header: &[u8; VNET_HEADER_LEN]) -> Result<Self, Error> {
        let _ = header;
        todo!()
    }
}

impl TxOffload {
    pub fn to_vnet(&self) -> [u8; VNET_HEADER_LEN] {
        todo!()
    }
}
