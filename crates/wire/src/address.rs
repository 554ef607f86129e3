//! Link-layer addresses and IP prefixes.

use core::net::IpAddr;

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

/// An IP prefix: an address and the number of its leading bits that count.
///
/// The address keeps its host bits, so `10.0.0.2/24` can say both "this address" and "its network".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
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
        let _ = address;
        todo!()
    }

    /// The same prefix with its host bits cleared.
    pub fn network(self) -> Self {
        todo!()
    }

    /// The directed broadcast address; `None` for IPv6 and for /31 and /32 (RFC 3021).
    pub fn broadcast(self) -> Option<IpAddr> {
        todo!()
    }
}
