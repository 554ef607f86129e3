//! ICMP for IPv4 (RFC 792, RFC 1191).

use crate::Error;

pub const HEADER_LEN: usize = 8;

/// Codes of "destination unreachable".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unreachable(pub u8);

impl Unreachable {
    pub const NETWORK: Self = Self(0);
    pub const HOST: Self = Self(1);
    pub const PROTOCOL: Self = Self(2);
    pub const PORT: Self = Self(3);
    pub const FRAGMENTATION_NEEDED: Self = Self(4);
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(13);
}

/// A message's header; what follows it (echo data, or the quoted datagram) is the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    EchoRequest { identifier: u16, sequence: u16 },
    EchoReply { identifier: u16, sequence: u16 },
    /// `mtu` is set for FRAGMENTATION_NEEDED alone, and 0 from old routers.
    DestinationUnreachable { code: Unreachable, mtu: u16 },
    /// Code 0: TTL exceeded in transit; 1: reassembly time exceeded.
    TimeExceeded { code: u8 },
    ParameterProblem { pointer: u8 },
    /// Anything else, as it came.
    Other { kind: u8, code: u8 },
}

impl Header {
    /// Checks the checksum over the whole message.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let _ = bytes;
        todo!()
    }

    /// Writes the header with the checksum over it and `payload`.
    pub fn emit(&self, payload: &[u8], out: &mut [u8; HEADER_LEN]) {
        let _ = (payload, out);
        todo!()
    }

    /// Errors are never sent about errors (RFC 1122 §3.2.2).
    pub fn is_error(&self) -> bool {
        todo!()
    }
}
