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
