//! VLAN tags (IEEE 802.1Q §9): four bytes between the Ethernet addresses and the type.

use crate::{Error, ethernet::EtherType};
use core::fmt;

/// Length of a tag.
pub const TAG_LEN: usize = 4;

/// Where tags are, in bytes from the start of a frame: behind both addresses.
pub const TAG_OFFSET: usize = 12;

/// Which kind of tag it is, by the type that announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TagProtocol {
    /// A customer's tag: what everybody calls a VLAN.
    Dot1q,
    /// A provider's tag, around a customer's (802.1ad, "QinQ").
    Dot1ad,
}

impl TagProtocol {
    pub const fn ether_type(self) -> EtherType {
        match self {
            Self::Dot1q => EtherType::VLAN,
            Self::Dot1ad => EtherType::SERVICE_VLAN,
        }
    }

    /// `None`: the type announces no tag.
    pub const fn of(ether_type: EtherType) -> Option<Self> {
        match ether_type {
            EtherType::VLAN => Some(Self::Dot1q),
            EtherType::SERVICE_VLAN => Some(Self::Dot1ad),
            _ => None,
        }
    }

    /// As ip-link(8) writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dot1q => "802.1Q",
            Self::Dot1ad => "802.1ad",
        }
    }
}

/// The number of a VLAN: 1 … 4094. 0 says "no VLAN, only a priority", 4095 is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VlanId(u16);

impl VlanId {
    pub const MAX: u16 = 4094;

    pub const fn new(id: u16) -> Option<Self> {
        match id {
            1..=Self::MAX => Some(Self(id)),
            _ => None,
        }
    }

    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a sub-interface puts on its frames: the kind of tag, and the VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag {
    pub protocol: TagProtocol,
    pub id: VlanId,
}

impl Tag {
    /// The tag as it stands in a frame at [`TAG_OFFSET`], with priority 0.
    pub const fn emit(self) -> [u8; TAG_LEN] {
        let [a, b] = self.protocol.ether_type().0.to_be_bytes();
        let [c, d] = self.id.0.to_be_bytes();
        [a, b, c, d]
    }
}

/// What follows a type that announces a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged<'a> {
    /// `None`: the tag carries a priority alone.
    pub id: Option<VlanId>,
    /// 0 … 7, the priority code point (IEEE 802.1Q §6.9.3).
    pub priority: u8,
    /// The type behind the tag.
    pub ether_type: EtherType,
    pub payload: &'a [u8],
}

impl<'a> Tagged<'a> {
    /// Reads what follows the announcing type. [`Error::Malformed`]: the reserved number 4095.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        const ID_BITS: u16 = 0x0fff;
        let ([a, b, c, d], payload) = bytes.split_first_chunk().ok_or(Error::Truncated)?;
        let control = u16::from_be_bytes([*a, *b]);
        let (id, priority) = (control & ID_BITS, (control >> 13) as u8);
        if id > VlanId::MAX {
            return Err(Error::Malformed);
        }
        let ether_type = EtherType(u16::from_be_bytes([*c, *d]));
        Ok(Self { id: VlanId::new(id), priority, ether_type, payload })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written() {
        for (protocol, id) in
            [(TagProtocol::Dot1q, 1), (TagProtocol::Dot1q, 4094), (TagProtocol::Dot1ad, 100)]
        {
            let tag = Tag { protocol, id: VlanId::new(id).unwrap() };
            let [announcing @ .., high, low] = tag.emit();
            assert_eq!(TagProtocol::of(EtherType(u16::from_be_bytes(announcing))), Some(protocol));
            let bytes = [high, low, 8, 0, 1, 2];
            let read = Tagged::parse(&bytes).unwrap();
            assert_eq!((read.id, read.ether_type), (Some(tag.id), EtherType::IPV4));
            assert_eq!(read.payload, [1, 2]);
        }
    }

    #[test]
    fn priorities_are_no_part_of_the_number() {
        let cases = [
            ([0xe0, 0x64], Ok(Some(100))),
            ([0x10, 0x64], Ok(Some(100))),
            ([0xa0, 0x00], Ok(None)),
            ([0x0f, 0xff], Err(Error::Malformed)),
        ];
        for ([high, low], expected) in cases {
            let bytes = [high, low, 8, 6];
            let id = Tagged::parse(&bytes).map(|tagged| tagged.id.map(VlanId::get));
            assert_eq!(id, expected, "{high:02x}{low:02x}");
        }
        for length in 0..TAG_LEN {
            assert_eq!(Tagged::parse(&[0; TAG_LEN][..length]), Err(Error::Truncated));
        }
    }

    #[test]
    fn numbers_that_name_no_vlan() {
        for id in [0, 4095, u16::MAX] {
            assert_eq!(VlanId::new(id), None);
        }
    }
}
