//! `RTM_NEWLINK` and `RTM_NEWADDR`: interfaces and their addresses.

use super::message::{Message, attributes, number, text};
use crate::host;
use narrows_client::ipc::{
    link::LinkKind,
    message::{AddressRow, LinkRow},
    route::RouteScope,
};
use rustix::io::Errno;
use std::net::IpAddr;

/// `sizeof(struct ifinfomsg)`: family, padding, type, index, flags, change.
const IFINFO: usize = 16;
/// From linux/if_link.h, where the C library's headers lag.
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_GROUP: u16 = 27;
const IFLA_CARRIER: u16 = 33;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_VLAN_PROTOCOL: u16 = 5;
/// RFC 2863's ifOperStatus.
const OPER_UNKNOWN: u8 = 0;
const OPER_DOWN: u8 = 2;
const OPER_LOWER_LAYER_DOWN: u8 = 3;
const OPER_UP: u8 = 6;

/// The one that a request names by number or name.
pub fn find<'a>(links: &'a [LinkRow], body: &[u8]) -> Result<&'a LinkRow, Errno> {
    let index = number(body, 4);
    let name = attributes(body, IFINFO)
        .find(|(kind, _)| matches!(*kind, libc::IFLA_IFNAME | IFLA_ALT_IFNAME))
        .and_then(|(_, name)| text(name));
    match (index, name) {
        (0, None) => Err(Errno::INVAL),
        (0, Some(name)) => links.iter().find(|link| link.name == name).ok_or(Errno::NODEV),
        (index, _) => links.iter().find(|link| link.id == index).ok_or(Errno::NODEV),
    }
}

/// What `RTM_GETLINK` is answered with.
pub fn row(link: &LinkRow, all: &[LinkRow]) -> Message {
    let (hardware, everyone) = host::hardware(link);
    let flags = host::flags(link, all);
    let mut body = [0; IFINFO];
    body[2..4].copy_from_slice(&hardware.to_ne_bytes());
    body[4..8].copy_from_slice(&link.id.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWLINK, &body);
    message.text(libc::IFLA_IFNAME, &link.name);
    message.number(libc::IFLA_TXQLEN, link.state.queue);
    message.attribute(libc::IFLA_OPERSTATE, &[operstate(link)]);
    message.attribute(libc::IFLA_LINKMODE, &[0]);
    message.number(libc::IFLA_MTU, link.mtu);
    message.number(IFLA_GROUP, link.state.group);
    message.number(IFLA_PROMISCUITY, link.state.promiscuous.into());
    message.attribute(IFLA_CARRIER, &[link.state.running.into()]);
    message.text(libc::IFLA_QDISC, "noqueue");
    message.attribute(libc::IFLA_ADDRESS, &link.mac);
    message.attribute(libc::IFLA_BROADCAST, &everyone);
    if let Some(master) = &link.state.master {
        message.number(libc::IFLA_MASTER, host::index_of(all, master));
    }
    match &link.state.kind {
        LinkKind::Vlan { lower, protocol, id } => {
            message.number(libc::IFLA_LINK, host::index_of(all, lower));
            message.nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "vlan");
                info.nested(libc::IFLA_INFO_DATA, |data| {
                    data.attribute(IFLA_VLAN_ID, &id.to_ne_bytes());
                    let tag: u16 = if protocol == "802.1ad" { 0x88a8 } else { 0x8100 };
                    data.attribute(IFLA_VLAN_PROTOCOL, &tag.to_be_bytes());
                });
            });
        }
        LinkKind::Bond => {
            message.nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bond"))
        }
        LinkKind::Bridge => {
            message.nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"))
        }
        // As programs know an interface without a wire.
        LinkKind::Private => {
            message.nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "dummy"))
        }
        LinkKind::Device(device) => message.text(libc::IFLA_IFALIAS, device),
        LinkKind::Loopback => {}
    }
    message
}

fn operstate(link: &LinkRow) -> u8 {
    match &link.state.kind {
        LinkKind::Loopback => OPER_UNKNOWN,
        _ if link.state.up && link.state.running => OPER_UP,
        LinkKind::Vlan { .. } if link.state.up => OPER_LOWER_LAYER_DOWN,
        _ => OPER_DOWN,
    }
}

/// What `RTM_GETADDR` is answered with: the addresses of one interface, or with 0 of all.
pub fn addresses(links: &[LinkRow], index: u32) -> Vec<Message> {
    let links = links.iter().filter(|link| index == 0 || link.id == index);
    links.flat_map(|link| link.addresses.iter().filter_map(|row| address(link, row))).collect()
}

fn address(link: &LinkRow, row: &AddressRow) -> Option<Message> {
    let IpAddr::V4(own) = row.address else { return None };
    let flags = [
        (libc::IFA_F_SECONDARY, row.secondary),
        (libc::IFA_F_DADFAILED, row.conflict),
        (libc::IFA_F_TENTATIVE, row.tentative),
        (libc::IFA_F_DEPRECATED, row.preferred == Some(0)),
        (libc::IFA_F_PERMANENT, row.valid.is_none()),
    ];
    let flags = flags.iter().filter(|(_, set)| *set).fold(0, |flags, (flag, _)| flags | flag);
    let scope = match own {
        _ if row.scope == Some(RouteScope::Global) => libc::RT_SCOPE_UNIVERSE,
        _ if row.scope == Some(RouteScope::Link) => libc::RT_SCOPE_LINK,
        _ if row.scope == Some(RouteScope::Host) => libc::RT_SCOPE_HOST,
        own if own.is_loopback() => libc::RT_SCOPE_HOST,
        own if own.is_link_local() => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let [i0, i1, i2, i3] = link.id.to_ne_bytes();
    let family = libc::AF_INET as u8;
    // The prefix is the peer's, if there is one.
    let (far, length) = match row.peer {
        Some((IpAddr::V4(peer), length)) => (peer, length),
        _ => (own, row.length),
    };
    let body = [family, length, flags as u8, scope, i0, i1, i2, i3];
    let mut message = Message::new(libc::RTM_NEWADDR, &body);
    message.attribute(libc::IFA_ADDRESS, &far.octets());
    message.attribute(libc::IFA_LOCAL, &own.octets());
    if let Some(everyone) = host::broadcast(own, row.length) {
        message.attribute(libc::IFA_BROADCAST, &everyone.octets());
    }
    message.text(libc::IFA_LABEL, row.label.as_ref().unwrap_or(&link.name));
    message.number(libc::IFA_FLAGS, flags);
    let left = |left: Option<u32>| left.unwrap_or(u32::MAX);
    // struct ifa_cacheinfo: preferred, valid, created, updated.
    let times = [left(row.preferred), left(row.valid), 0, 0].map(u32::to_ne_bytes).concat();
    message.attribute(libc::IFA_CACHEINFO, &times);
    Some(message)
}
