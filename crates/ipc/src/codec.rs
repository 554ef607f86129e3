//! Messages as bytes: postcard, each message one packet, nothing after it.
//!
//! Decoding is total: any bytes give a message or [`Malformed`], and memory is bounded by the
//! packet's size.

use serde::{Serialize, de::DeserializeOwned};

/// The longest packet. A page of a long report fills one; every request is far shorter.
pub const MAX_PACKET: usize = 64 * 1024;

/// The bytes are not a message of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message could not be understood")]
pub struct Malformed;

/// The message does not fit in [`MAX_PACKET`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message is longer than {MAX_PACKET} bytes")]
pub struct TooLong;

/// Writes `message` into `buffer` and returns the part used.
pub fn encode<'a, T: Serialize>(message: &T, buffer: &'a mut [u8]) -> Result<&'a [u8], TooLong> {
    // The only error postcard has for these types is a buffer that is full.
    postcard::to_slice(message, buffer).map(|used| &*used).map_err(|_| TooLong)
}

/// Reads the one message that `bytes` hold.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Malformed),
    }
}

/// How many bytes `message` takes: what a report's pages are cut by.
pub fn encoded_len<T: Serialize>(message: &T) -> usize {
    let size = postcard::ser_flavors::Size::default();
    // Counting can't run out of room.
    postcard::serialize_with_flavor(message, size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
