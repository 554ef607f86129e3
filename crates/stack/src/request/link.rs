//! Interfaces that are made and changed.

use crate::table::{bond::BondSettings, bridge::BridgeSettings, interface::InterfaceId};
use narrows_wire::{address::MacAddr, vlan::Tag};
use std::collections::BTreeSet;

/// An interface that stands upon others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewLink {
    Vlan {
        lower: InterfaceId,
        tag: Tag,
    },
    Bond(BondSettings),
    Bridge(BridgeSettings),
    /// The members of a private zone, and no wire.
    Private {
        mac: MacAddr,
    },
}

/// One thing to set on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkChange {
    /// Bytes of the longest IPv4 packet: 68 or more, and no more than what is below carries.
    Mtu(u16),
    Mac(MacAddr),
    /// By the operator.
    Up(bool),
    /// By its device: is something at the other end of the wire?
    Carrier(bool),
    Promiscuous(bool),
    Group(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkSettings {
    Bond(BondSettings),
    Bridge(BridgeSettings),
    /// Of one port of a bridge.
    Port {
        port: InterfaceId,
        change: PortChange,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortChange {
    /// Who may speak by it; `None`: everybody.
    Bind(Option<BTreeSet<MacAddr>>),
    /// A station that is behind it and stays there.
    Pin(MacAddr),
    Forget(MacAddr),
}
