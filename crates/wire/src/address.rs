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

    /// Where IPv4 packets for a group go (RFC 1112 §6.4): 32 groups share an address.
    pub fn of_group(group: Ipv4Addr) -> Self {
        let [_, a, b, c] = group.octets();
        Self([0x01, 0x00, 0x5e, a & 0x7f, b, c])
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    fn prefix(text: &str) -> Prefix {
        let (address, length) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test]
    fn kinds_of_mac_addresses() {
        let cases = [
            ([0xff; 6], (true, true, false)),
            ([0x01, 0x00, 0x5e, 0, 0, 1], (false, true, false)),
            ([0x02, 0, 0, 0, 0, 1], (false, false, true)),
            ([0; 6], (false, false, false)),
        ];
        for (octets, expected) in cases {
            let mac = MacAddr(octets);
            assert_eq!(
                (mac.is_broadcast(), mac.is_multicast(), mac.is_unicast()),
                expected,
                "{mac}"
            );
        }
    }

    #[test]
    fn groups_have_link_addresses() {
        for (group, mac) in [
            ([224, 0, 0, 1], "01:00:5e:00:00:01"),
            ([239, 255, 255, 255], "01:00:5e:7f:ff:ff"),
            ([224, 129, 2, 3], "01:00:5e:01:02:03"),
        ] {
            assert_eq!(MacAddr::of_group(group.into()).to_string(), mac);
        }
    }

    #[test]
    fn prefixes_are_no_longer_than_their_address() {
        assert!(Prefix::new(Ipv4Addr::LOCALHOST.into(), 32).is_some());
        assert_eq!(Prefix::new(Ipv4Addr::LOCALHOST.into(), 33), None);
        assert!(Prefix::new(Ipv6Addr::LOCALHOST.into(), 128).is_some());
        assert_eq!(Prefix::new(Ipv6Addr::LOCALHOST.into(), 129), None);
    }

    #[test]
    fn prefixes_contain_their_addresses() {
        let cases = [
            ("10.0.0.2/24", "10.0.0.255", true),
            ("10.0.0.2/24", "10.0.1.0", false),
            ("10.0.0.2/32", "10.0.0.2", true),
            ("10.0.0.2/32", "10.0.0.3", false),
            ("10.0.0.2/31", "10.0.0.3", true),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::", false),
            ("fd00::1/64", "fd00::ffff", true),
            ("fd00::1/64", "fd00:0:0:1::1", false),
            ("::/0", "fd00::1", true),
            ("::/0", "10.0.0.1", false),
        ];
        for (own, address, inside) in cases {
            assert_eq!(prefix(own).contains(address.parse().unwrap()), inside, "{own} {address}");
        }
    }

    #[test]
    fn networks_and_broadcast_addresses() {
        let cases = [
            ("10.1.2.3/24", "10.1.2.0/24", Some("10.1.2.255")),
            ("10.1.2.3/30", "10.1.2.0/30", Some("10.1.2.3")),
            ("10.1.2.3/31", "10.1.2.2/31", None),
            ("10.1.2.3/32", "10.1.2.3/32", None),
            ("10.1.2.3/0", "0.0.0.0/0", Some("255.255.255.255")),
            ("fd00::1:2/112", "fd00::1:0/112", None),
            ("fd00::1/0", "::/0", None),
        ];
        for (own, network, broadcast) in cases {
            assert_eq!(prefix(own).network(), prefix(network));
            assert_eq!(prefix(own).broadcast(), broadcast.map(|b| b.parse().unwrap()));
        }
        assert_eq!(prefix("10.1.2.3/24").to_string(), "10.1.2.3/24");
    }
}
