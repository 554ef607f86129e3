//! LACPDUs: what the two ends of an aggregated link tell each other (IEEE 802.1AX-2014 §6.4.2.3).

use crate::{Error, address::MacAddr};
use core::ops::BitOr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, network_endian::U16};

/// Length of an LACPDU behind the Ethernet header.
pub const LEN: usize = 110;

/// Where LACPDUs are sent to: no bridge passes them on (§6.2.11.2).
pub const DESTINATION: MacAddr = MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x02]);

/// The subtype of LACP among the slow protocols, and the version everybody understands.
const SUBTYPE: u8 = 1;
const VERSION: u8 = 1;

const ACTOR: u8 = 1;
const PARTNER: u8 = 2;
const COLLECTOR: u8 = 3;
const INFORMATION_LEN: u8 = 20;
const COLLECTOR_LEN: u8 = 16;

/// A port's state as one octet (§6.4.2.3 m).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub u8);

impl State {
    /// Speaks without being asked.
    pub const ACTIVITY: Self = Self(1);
    /// Wants to hear every second; else every thirty.
    pub const SHORT_TIMEOUT: Self = Self(1 << 1);
    /// May be aggregated with others.
    pub const AGGREGATION: Self = Self(1 << 2);
    /// Is in the right aggregate.
    pub const SYNCHRONIZATION: Self = Self(1 << 3);
    /// Takes frames.
    pub const COLLECTING: Self = Self(1 << 4);
    /// Gives frames.
    pub const DISTRIBUTING: Self = Self(1 << 5);
    /// What it knows of its partner is a default.
    pub const DEFAULTED: Self = Self(1 << 6);
    /// What it knows of its partner is too old.
    pub const EXPIRED: Self = Self(1 << 7);

    pub const fn has(self, bits: Self) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// With these bits set, or cleared.
    #[must_use]
    pub const fn with(self, bits: Self, on: bool) -> Self {
        if on { Self(self.0 | bits.0) } else { Self(self.0 & !bits.0) }
    }
}

impl BitOr for State {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One end of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Information {
    pub system_priority: u16,
    pub system: MacAddr,
    /// Ports of a system with equal keys may be aggregated.
    pub key: u16,
    pub port_priority: u16,
    /// 0: none.
    pub port: u16,
    pub state: State,
}

/// The sender's end, and what it knows of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lacpdu {
    pub actor: Information,
    pub partner: Information,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct InformationLayout {
    kind: u8,
    len: u8,
    system_priority: U16,
    system: [u8; 6],
    key: U16,
    port_priority: U16,
    port: U16,
    state: u8,
    reserved: [u8; 3],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    subtype: u8,
    version: u8,
    actor: InformationLayout,
    partner: InformationLayout,
    collector: u8,
    collector_len: u8,
    /// 0: frames are not delayed.
    collector_max_delay: U16,
    reserved: [u8; 12],
    terminator: u8,
    terminator_len: u8,
    padding: [u8; 50],
}

impl InformationLayout {
    fn of(kind: u8, value: &Information) -> Self {
        Self {
            kind,
            len: INFORMATION_LEN,
            system_priority: value.system_priority.into(),
            system: value.system.0,
            key: value.key.into(),
            port_priority: value.port_priority.into(),
            port: value.port.into(),
            state: value.state.0,
            reserved: [0; 3],
        }
    }

    fn value(&self) -> Information {
        Information {
            system_priority: self.system_priority.get(),
            system: MacAddr(self.system),
            key: self.key.get(),
            port_priority: self.port_priority.get(),
            port: self.port.get(),
            state: State(self.state),
        }
    }
}

impl Lacpdu {
    /// Any version: a later one keeps the places of what version 1 has (§6.4.2.3 b). What follows is
    /// not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| Error::Truncated)?;
        let Layout { subtype, actor, partner, .. } = layout;
        let kinds = (*subtype, actor.kind, actor.len, partner.kind, partner.len);
        if kinds != (SUBTYPE, ACTOR, INFORMATION_LEN, PARTNER, INFORMATION_LEN) {
            return Err(Error::Malformed);
        }
        Ok(Self { actor: actor.value(), partner: partner.value() })
    }

    pub fn emit(&self, out: &mut [u8; LEN]) {
        *out = zerocopy::transmute!(Layout {
            subtype: SUBTYPE,
            version: VERSION,
            actor: InformationLayout::of(ACTOR, &self.actor),
            partner: InformationLayout::of(PARTNER, &self.partner),
            collector: COLLECTOR,
            collector_len: COLLECTOR_LEN,
            collector_max_delay: 0.into(),
            reserved: [0; 12],
            terminator: 0,
            terminator_len: 0,
            padding: [0; 50],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PDU: Lacpdu = Lacpdu {
        actor: Information {
            system_priority: 0x8000,
            system: MacAddr([2, 0, 0, 0, 0, 1]),
            key: 9,
            port_priority: 0xff,
            port: 2,
            state: State(0x3d),
        },
        partner: Information {
            system_priority: 1,
            system: MacAddr([2, 0, 0, 0, 0, 2]),
            key: 17,
            port_priority: 3,
            port: 4,
            state: State(0x45),
        },
    };

    #[test]
    fn what_is_written_is_read() {
        let mut bytes = [0; LEN];
        PDU.emit(&mut bytes);
        assert_eq!(Lacpdu::parse(&bytes), Ok(PDU));
        // The places of §6.4.2.3, figure 6-7.
        assert_eq!(bytes[..8], [1, 1, 1, 20, 0x80, 0, 2, 0]);
        assert_eq!((bytes[18], bytes[22], bytes[23]), (0x3d, 2, 20));
        assert_eq!((bytes[42], bytes[43], bytes[58], bytes[59]), (3, 16, 0, 0));
        let padded = [&bytes[..], &[0xff; 40]].concat();
        assert_eq!(Lacpdu::parse(&padded), Ok(PDU));
    }

    #[test]
    fn what_is_no_lacpdu_is_refused() {
        let mut whole = [0; LEN];
        PDU.emit(&mut whole);
        for length in 0..LEN {
            assert_eq!(Lacpdu::parse(&whole[..length]), Err(Error::Truncated));
        }
        // Subtype (2 is the marker protocol's), kinds and lengths of both ends.
        for (at, value) in [(0, 2), (2, 0), (2, 2), (3, 0), (3, 21), (22, 1), (23, 19)] {
            let mut bytes = whole;
            bytes[at] = value;
            assert_eq!(Lacpdu::parse(&bytes), Err(Error::Malformed), "{at}");
        }
    }

    #[test]
    fn states_are_sets() {
        let state = State::ACTIVITY | State::COLLECTING;
        assert!(state.has(State::ACTIVITY) && !state.has(State::ACTIVITY | State::EXPIRED));
        assert_eq!(state.with(State::COLLECTING, false), State::ACTIVITY);
        assert_eq!(state.with(State::EXPIRED, true).0, 0x91);
    }
}
