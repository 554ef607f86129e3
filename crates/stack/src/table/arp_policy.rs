//! How an interface asks and answers by ARP: the settings that Linux has per interface
//! (Documentation/networking/ip-sysctl.rst), by the names it gives them.
//!
//! Defaults differ where Linux is a weak host: `arp_ignore` is 1 and `arp_announce` 2 here, so that
//! an address is known only on the link of the interface that has it.

/// For which of our addresses questions are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArpIgnore {
    /// 0: for those of every interface.
    AnyInterface,
    /// 1: for those of the interface that the question came in by.
    #[default]
    OtherInterfaces,
    /// 2: for those, if the sender is in the subnet of the address.
    OtherSubnets,
    /// 8: for none.
    All,
}

impl ArpIgnore {
    pub const ALL: [Self; 4] =
        [Self::AnyInterface, Self::OtherInterfaces, Self::OtherSubnets, Self::All];

    /// As Linux has it.
    pub fn number(self) -> u8 {
        match self {
            Self::AnyInterface => 0,
            Self::OtherInterfaces => 1,
            Self::OtherSubnets => 2,
            Self::All => 8,
        }
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.number() == number)
    }
}

/// Which address of ours a question names as its sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ArpAnnounce {
    /// 0: the source of the packet that waits.
    Any,
    /// 1: that, if it is in the target's subnet on this interface; else the best one.
    SameSubnet,
    /// 2: the interface's best one for the target.
    #[default]
    Best,
}

impl ArpAnnounce {
    pub const ALL: [Self; 3] = [Self::Any, Self::SameSubnet, Self::Best];

    /// As Linux has it.
    pub fn number(self) -> u8 {
        match self {
            Self::Any => 0,
            Self::SameSubnet => 1,
            Self::Best => 2,
        }
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.number() == number)
    }
}

/// What is done about other stations with an address of ours (RFC 5227).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ConflictDetection {
    /// Nothing.
    #[default]
    Off,
    /// A new address is usable at once, and announced; it is defended, for ever.
    Announce,
    /// A new address is usable when nobody answered for it, some 4 to 7 seconds later, and given
    /// up at a conflict that defending it did not settle.
    Probe,
}

impl ConflictDetection {
    pub const ALL: [Self; 3] = [Self::Announce, Self::Probe, Self::Off];

    pub fn name(self) -> &'static str {
        match self {
            Self::Announce => "announce",
            Self::Probe => "probe",
            Self::Off => "off",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.name() == name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ArpPolicy {
    pub arp_ignore: ArpIgnore,
    pub arp_announce: ArpAnnounce,
    /// Answer only where packets to the sender would leave by the same interface.
    pub arp_filter: bool,
    /// An announcement makes an entry.
    pub arp_accept: bool,
    /// Answer for hosts that packets reach by another interface.
    pub proxy_arp: bool,
    pub conflict_detection: ConflictDetection,
}
