//! Link-layer addresses and IP prefixes.

use core::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// An IEEE 802 MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const BROADCAST: Self = Self([0xff; 6]);
    pub const ZERO: Self = Self([0; 6]);

    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// The group bit: multicast, broadcast included.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// An address that one station can own.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::ZERO
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An IP prefix: an address and the number of its leading bits that count.
///
/// The address keeps its host bits, so `10.0.0.2/24` can say both "this address" and "its network".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl Prefix {
    /// `None` if `length` is more than the address has bits.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (length <= bits).then_some(Self { address, length })
    }

    pub fn address(self) -> IpAddr {
        self.address
    }

    pub fn length(self) -> u8 {
        self.length
    }

    /// Is `address` inside this prefix? Never, for an address of the other family.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()) & self.mask_v4() == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()) & self.mask_v6() == 0
            }
            _ => false,
        }
    }

    /// The same prefix with its host bits cleared.
    pub fn network(self) -> Self {
        let address = match self.address {
            IpAddr::V4(own) => Ipv4Addr::from_bits(own.to_bits() & self.mask_v4()).into(),
            IpAddr::V6(own) => Ipv6Addr::from_bits(own.to_bits() & self.mask_v6()).into(),
        };
        Self { address, ..self }
    }

    /// The directed broadcast address; `None` for IPv6 and for /31 and /32 (RFC 3021).
    pub fn broadcast(self) -> Option<IpAddr> {
        match self.address {
            IpAddr::V4(own) if self.length <= 30 => {
                Some(Ipv4Addr::from_bits(own.to_bits() | !self.mask_v4()).into())
            }
            _ => None,
        }
    }

    fn mask_v4(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }

    fn mask_v6(self) -> u128 {
        u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0)
    }
}
