//! Bursts of frames in and out of a network device, with what the device says of each frame.
//!
//! A [`Device`] is opened from a [`DeviceSpec`] (`packet:eth1`, `tap:narrows0`). It never blocks:
//! [`Device::receive`] hands over what is there, [`Device::send`] takes frames while
//! [`Device::has_room`], and [`Device::descriptor`] says when either is worth another try.
//! [`Guard`] keeps the kernel's own stack off the addresses that are ours.

#![forbid(unsafe_code)]

mod device;
mod filter;
mod guard;
pub mod link;
mod monitor;
mod packet;
mod queue;
mod spec;
mod tap;

pub use device::{Device, OpenError, Received, Statistics};
pub use filter::Wanted;
pub use guard::Guard;
pub use monitor::Monitor;
pub use packet::PacketDevice;
pub use spec::{DeviceSpec, SpecError};
pub use tap::TapDevice;
