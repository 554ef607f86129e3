//! UDP datagrams (RFC 768).

use crate::Error;

pub const HEADER_LEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub source_port: u16,
    pub destination_port: u16,
    /// As on the wire; 0 says the sender computed none.
    pub checksum: u16,
}

impl Header {
    /// The header and the payload, cut to the header's length field. Does not check the checksum.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let _ = bytes;
        todo!()
    }

    /// Writes the header as it stands here, `checksum` included, for `payload_len` bytes.
    pub fn emit(&self, payload_len: u16, out: &mut [u8; HEADER_LEN]) {
        let _ = (payload_len, out);
        todo!()
    }
}
