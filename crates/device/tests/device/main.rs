//! Devices and the guard in network namespaces, with real kernels at the other end.

mod common;
mod errors;
mod exchange;
mod guard;
mod monitor;
mod packet;
