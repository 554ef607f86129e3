//! Addresses as C programs give and get them: `struct sockaddr_in`.

use rustix::io::Errno;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// `sizeof(struct sockaddr_in)`: family, port, address, padding.
pub const LEN: usize = 16;

/// Whom `connect` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    Address(SocketAddrV4),
    /// `AF_UNSPEC`: undo a connection.
    Nobody,
}

/// The address given to `bind`. As Linux does, `AF_UNSPEC` is taken for `AF_INET` where the
/// address is the wildcard.
pub fn parse_local(bytes: &[u8]) -> Result<SocketAddrV4, Errno> {
    if bytes.len() < LEN {
        return Err(Errno::INVAL);
    }
    let (family, address) = parse(bytes).ok_or(Errno::INVAL)?;
    match family {
        libc::AF_INET => Ok(address),
        libc::AF_UNSPEC if address.ip().is_unspecified() => Ok(address),
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// The address given to `connect`.
pub fn parse_remote(bytes: &[u8]) -> Result<Remote, Errno> {
    let family = bytes.first_chunk().ok_or(Errno::INVAL)?;
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_UNSPEC => Ok(Remote::Nobody),
        _ if bytes.len() < LEN => Err(Errno::INVAL),
        libc::AF_INET => {
            let (_, address) = parse(bytes).ok_or(Errno::INVAL)?;
            Ok(Remote::Address(address))
        }
        _ => Err(Errno::AFNOSUPPORT),
    }
}

/// The address of a datagram. As Linux does, `AF_UNSPEC` is taken for `AF_INET`.
pub fn parse_destination(bytes: &[u8]) -> Result<SocketAddrV4, Errno> {
    if bytes.len() < LEN {
        return Err(Errno::INVAL);
    }
    match parse(bytes).ok_or(Errno::INVAL)? {
        (libc::AF_INET | libc::AF_UNSPEC, address) => Ok(address),
        _ => Err(Errno::AFNOSUPPORT),
    }
}

fn parse(bytes: &[u8]) -> Option<(i32, SocketAddrV4)> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let address: &[u8; 4] = rest.first_chunk()?;
    let address = SocketAddrV4::new(Ipv4Addr::from(*address), u16::from_be_bytes(*port));
    Some((i32::from(u16::from_ne_bytes(*family)), address))
}

/// The longest address of a socket of this shim: `sizeof(struct sockaddr_ll)`.
const LONGEST: usize = 20;

/// Where something came from, in the form of its socket's family; empty: nobody says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; LONGEST],
    len: usize,
}

impl Name {
    /// Of at most [`LONGEST`] bytes.
    pub fn new(bytes: &[u8]) -> Self {
        let mut name = Self { bytes: [0; LONGEST], len: bytes.len().min(LONGEST) };
        name.bytes.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        name
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        Self::new(&encode(address))
    }
}

/// The bytes of a `struct sockaddr_in`. Sockets of this shim are all IPv4.
pub fn encode(address: SocketAddr) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let ip = match address {
        SocketAddr::V4(address) => *address.ip(),
        SocketAddr::V6(address) => address.ip().to_ipv4().unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    bytes[0..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&ip.octets());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(family: i32, address: &str) -> [u8; LEN] {
        let mut bytes = encode(address.parse().unwrap());
        bytes[0..2].copy_from_slice(&(family as u16).to_ne_bytes());
        bytes
    }

    #[test]
    fn addresses_survive_the_trip() {
        for text in ["0.0.0.0:0", "10.77.0.2:80", "255.255.255.255:65535"] {
            let address: SocketAddrV4 = text.parse().unwrap();
            let bytes = encode(address.into());
            assert_eq!(parse_local(&bytes), Ok(address));
            assert_eq!(parse_remote(&bytes), Ok(Remote::Address(address)));
        }
    }

    #[test]
    fn families_and_lengths_are_judged_as_linux_does() {
        let any = bytes(libc::AF_UNSPEC, "0.0.0.0:80");
        let some = bytes(libc::AF_UNSPEC, "10.77.0.2:80");
        let six = bytes(libc::AF_INET6, "10.77.0.2:80");
        assert_eq!(parse_local(&any), Ok("0.0.0.0:80".parse().unwrap()));
        assert_eq!(parse_local(&some), Err(Errno::AFNOSUPPORT));
        assert_eq!(parse_local(&six), Err(Errno::AFNOSUPPORT));
        assert_eq!(parse_local(&any[..15]), Err(Errno::INVAL));
        assert_eq!(parse_local(&[]), Err(Errno::INVAL));

        assert_eq!(parse_remote(&some), Ok(Remote::Nobody));
        assert_eq!(parse_remote(&some[..2]), Ok(Remote::Nobody));
        assert_eq!(parse_remote(&some[..1]), Err(Errno::INVAL));
        assert_eq!(parse_remote(&six), Err(Errno::AFNOSUPPORT));
        assert_eq!(parse_remote(&six[..8]), Err(Errno::INVAL));
    }
}
