//! A prefix of addresses.

use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "(IpAddr, u8)", into = "(IpAddr, u8)")]
pub struct Network {
    address: IpAddr,
    length: u8,
}

impl Network {
    /// Every IPv4 address.
    pub const ANY: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };

    /// `None` if the length is too long, or bits behind it are set.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        let fits = length <= bits(address) && mask(address, length) == address;
        fits.then_some(Self { address, length })
    }

    pub fn host(address: IpAddr) -> Self {
        Self { address, length: bits(address) }
    }

    pub fn address(self) -> IpAddr {
        self.address
    }

    pub fn length(self) -> u8 {
        self.length
    }

    /// Never, for an address of the other family.
    pub fn contains(self, address: IpAddr) -> bool {
        self.length <= bits(address) && mask(address, self.length) == self.address
    }

    /// The only address in it; of every address, the wildcard.
    pub fn one(self) -> Option<IpAddr> {
        (self.length == 0 || self.length == bits(self.address)).then_some(self.address)
    }
}

impl TryFrom<(IpAddr, u8)> for Network {
    type Error = &'static str;

    fn try_from((address, length): (IpAddr, u8)) -> Result<Self, Self::Error> {
        Self::new(address, length).ok_or("not a network")
    }
}

impl From<Network> for (IpAddr, u8) {
    fn from(network: Network) -> Self {
        (network.address, network.length)
    }
}

/// `*`, an address, or an address with a length.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            0 if self.address.is_ipv4() => write!(f, "*"),
            length if length == bits(self.address) => write!(f, "{}", self.address),
            length => write!(f, "{}/{length}", self.address),
        }
    }
}

pub(crate) fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address with all bits after the first `length` cleared.
pub(crate) fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(own) => {
            let shift = 32_u32.saturating_sub(length.into());
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            Ipv4Addr::from_bits(own.to_bits() & mask).into()
        }
        IpAddr::V6(own) => {
            let shift = 128_u32.saturating_sub(length.into());
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            Ipv6Addr::from_bits(own.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_have_no_host_bits() {
        let cases = [
            ("10.0.0.0", 8, Some("10.0.0.0/8")),
            ("10.0.0.2", 32, Some("10.0.0.2")),
            ("0.0.0.0", 0, Some("*")),
            ("10.0.0.2", 8, None),
            ("10.0.0.2", 33, None),
            ("fd00::", 16, Some("fd00::/16")),
            ("fd00::1", 128, Some("fd00::1")),
            ("::", 129, None),
        ];
        for (address, length, shown) in cases {
            let network = Network::new(address.parse().unwrap(), length);
            assert_eq!(network.map(|n| n.to_string()).as_deref(), shown, "{address}/{length}");
        }
    }

    #[test]
    fn families_do_not_mix() {
        let any: IpAddr = "::".parse().unwrap();
        assert!(!Network::ANY.contains(any));
        assert!(!Network::new(any, 0).unwrap().contains(Ipv4Addr::UNSPECIFIED.into()));
        let ten = Network::new("10.0.0.0".parse().unwrap(), 8).unwrap();
        for (address, inside) in [("10.255.0.1", true), ("11.0.0.1", false), ("a00::", false)] {
            assert_eq!(ten.contains(address.parse().unwrap()), inside, "{address}");
        }
    }
}
