//! The kernel's interfaces: what there is, and the little that Narrows sets on them (rtnetlink(7)).
//!
//! Each call is one conversation with the kernel about the calling thread's network namespace. None
//! is for a hot path.

use futures_util::TryStreamExt;
use narrows_wire::address::MacAddr;
use rtnetlink::{
    Handle, LinkUnspec,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

/// One of the kernel's interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// `None`: not Ethernet.
    pub mac: Option<MacAddr>,
    pub mtu: u32,
    pub up: bool,
    /// Up, and something is at the other end of the wire.
    pub carrier: bool,
    /// Frames below this length, all headers included, the interface cuts into TCP segments itself.
    pub gso_max_size: u32,
    /// The kernel's own IPv4 addresses there, with prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
}

/// All interfaces of the namespace, by index.
pub fn list() -> io::Result<Vec<Link>> {
    run(async |handle| {
        let messages: Vec<LinkMessage> = handle.link().get().execute().try_collect().await?;
        let mut links: Vec<Link> = messages.iter().map(Link::read).collect();
        links.sort_by_key(|link| link.index);
        let mut addresses = handle.address().get().execute();
        while let Some(message) = addresses.try_next().await? {
            let link = links.iter_mut().find(|link| link.index == message.header.index);
            if let (Some(link), Some(address)) = (link, read_address(&message)) {
                link.addresses.push((address, message.header.prefix_len));
            }
        }
        Ok(links)
    })
}

/// The interface of that name.
pub fn find(name: &str) -> io::Result<Option<Link>> {
    Ok(list()?.into_iter().find(|link| link.name == name))
}

/// Sets the interface up.
pub fn set_up(index: u32) -> io::Result<()> {
    run(async |handle| {
        handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await
    })
}

/// Sets the interface's MTU.
pub fn set_mtu(index: u32, mtu: u32) -> io::Result<()> {
    run(async |handle| {
        handle.link().set(LinkUnspec::new_with_index(index).mtu(mtu).build()).execute().await
    })
}

/// Gives the kernel an address there; one it already has is fine.
pub fn add_address(index: u32, address: Ipv4Addr, prefix_length: u8) -> io::Result<()> {
    run(async |handle| {
        handle.address().add(index, address.into(), prefix_length).replace().execute().await
    })
}

/// linux/netdevice.h: what interfaces have unless they say otherwise.
const GSO_LEGACY_MAX_SIZE: u32 = 65_536;

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            carrier: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
            gso_max_size: GSO_LEGACY_MAX_SIZE,
            addresses: Vec::new(),
        };
        let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::GsoIpv4MaxSize(size) => link.gso_max_size = *size,
                LinkAttribute::Address(bytes) if ethernet => {
                    link.mac = bytes.as_slice().try_into().ok().map(MacAddr);
                }
                _ => {}
            }
        }
        link
    }
}

/// The interface's own address; on a point-to-point link IFA_ADDRESS is the other end's.
fn read_address(message: &AddressMessage) -> Option<Ipv4Addr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    })
}

fn run<T>(work: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let result = work(handle).await;
        connection.abort();
        result.map_err(|error| match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            error => io::Error::other(error),
        })
    })
}
