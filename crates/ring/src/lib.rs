//! Byte rings between a program and a connection.
//!
//! A ring is a limit (how much it may hold) and, while it holds anything, a buffer borrowed from
//! a [`Pool`]. The buffer grows by doubling and goes back to the pool as soon as the ring is
//! empty, so an idle connection holds no memory and busy ones reuse the same warm pages.
//!
//! Positions are counted from the oldest byte held. Bytes `0..len` are contiguous and readable;
//! a receiver may also place bytes past `len` (out-of-order data) and let them become readable
//! later with [`ByteRing::commit`].

#![forbid(unsafe_code)]

mod byte_ring;
mod pool;

pub use byte_ring::{ByteRing, MAX_LIMIT};
pub use pool::{MIN_BUFFER, Pool};
