//! UDP datagrams (RFC 768).

use crate::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

pub const HEADER_LEN: usize = 8;

/// Where the checksum field is, in bytes from the start of the header.
pub const CHECKSUM_OFFSET: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub source_port: u16,
    pub destination_port: u16,
    /// As on the wire; 0 says the sender computed none.
    pub checksum: u16,
}

/// The header's bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    source_port: U16,
    destination_port: U16,
    len: U16,
    checksum: U16,
}

impl Header {
    /// The header and the payload, cut to the header's length field. Does not check the checksum.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (layout, rest) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let len = usize::from(layout.len.get());
        let payload_len = len.checked_sub(HEADER_LEN).ok_or(Error::Malformed)?;
        let payload = rest.get(..payload_len).ok_or(Error::Truncated)?;
        let header = Self {
            source_port: layout.source_port.get(),
            destination_port: layout.destination_port.get(),
            checksum: layout.checksum.get(),
        };
        Ok((header, payload))
    }

    /// Writes the header as it stands here, `checksum` included, for `payload_len` bytes.
    ///
    /// A payload of more than 65,527 bytes fits no datagram; the length field then saturates.
    pub fn emit(&self, payload_len: u16, out: &mut [u8; HEADER_LEN]) {
        *out = zerocopy::transmute!(Layout {
            source_port: self.source_port.into(),
            destination_port: self.destination_port.into(),
            len: payload_len.saturating_add(HEADER_LEN as u16).into(),
            checksum: self.checksum.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn lengths() {
        let cases: &[([u8; 2], usize, Result<usize, Error>)] = &[
            ([0, 8], 8, Ok(0)),
            ([0, 11], 11, Ok(3)),
            ([0, 9], 20, Ok(1)),
            ([0, 8], 7, Err(Error::Truncated)),
            ([0, 7], 20, Err(Error::Malformed)),
            ([0, 0], 20, Err(Error::Malformed)),
            ([0, 21], 20, Err(Error::Truncated)),
        ];
        for (field, len, expected) in cases {
            let mut bytes = [0; 20];
            bytes[4..6].copy_from_slice(field);
            let found = Header::parse(&bytes[..*len]).map(|(_, payload)| payload.len());
            assert_eq!(&found, expected, "{field:?} in {len} bytes");
        }
    }
}
