//! The requests of netdevice(7): `ioctl(fd, SIOCGIF…)`, answered about Narrows' interfaces.

use crate::{host, sockaddr};
use narrows_client::ipc::message::LinkRow;
use rustix::io::Errno;
use std::net::Ipv4Addr;

/// `IFNAMSIZ`, the NUL included.
pub const NAME: usize = 16;
/// `sizeof(struct ifreq)`: a name, and a union of what is said about it.
pub const IFREQ: usize = 40;
/// Where the union begins, and what most of its members take.
const VALUE: usize = NAME;

/// What to do about an `ioctl` of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Its argument is a `struct ifreq`, which the answer is written into.
    Interface,
    /// Its argument is a `struct ifconf`.
    List,
    /// Changes an interface, or asks of the device what is not to be had.
    Refused(Errno),
    /// Not about interfaces.
    Other,
}

/// From linux/sockios.h, where the C library's headers lag.
const SIOCETHTOOL: u64 = 0x8946;
const SIOCGIFMAP: u64 = 0x8970;
const SIOCSIFMAP: u64 = 0x8971;
const SIOCGHWTSTAMP: u64 = 0x89b1;

/// Judges an `ioctl` by its number.
pub fn call(request: u64) -> Call {
    match request {
        libc::SIOCGIFCONF => Call::List,
        libc::SIOCGIFNAME
        | libc::SIOCGIFINDEX
        | libc::SIOCGIFFLAGS
        | libc::SIOCGIFADDR
        | libc::SIOCGIFDSTADDR
        | libc::SIOCGIFBRDADDR
        | libc::SIOCGIFNETMASK
        | libc::SIOCGIFMETRIC
        | libc::SIOCGIFMTU
        | libc::SIOCGIFHWADDR
        | libc::SIOCGIFTXQLEN
        | SIOCGIFMAP => Call::Interface,
        libc::SIOCSIFFLAGS
        | libc::SIOCSIFADDR
        | libc::SIOCSIFDSTADDR
        | libc::SIOCSIFBRDADDR
        | libc::SIOCSIFNETMASK
        | libc::SIOCSIFMETRIC
        | libc::SIOCSIFMTU
        | libc::SIOCSIFHWADDR
        | libc::SIOCSIFTXQLEN
        | libc::SIOCSIFNAME
        | SIOCSIFMAP
        | libc::SIOCADDRT
        | libc::SIOCDELRT => Call::Refused(Errno::PERM),
        SIOCETHTOOL | SIOCGHWTSTAMP => Call::Refused(Errno::OPNOTSUPP),
        _ => Call::Other,
    }
}

/// The answer to a request with a `struct ifreq`, as that struct.
pub fn answer(request: u64, ifreq: &[u8; IFREQ]) -> Result<[u8; IFREQ], Errno> {
    answer_from(&host::links()?, request, ifreq)
}

fn answer_from(links: &[LinkRow], request: u64, ifreq: &[u8; IFREQ]) -> Result<[u8; IFREQ], Errno> {
    let mut answer = *ifreq;
    let (name, value) = answer.split_at_mut(VALUE);
    let mut put = |bytes: &[u8]| {
        value.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    };
    if request == libc::SIOCGIFNAME {
        let index = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
        let found = host::name_of(links, index).ok_or(Errno::NODEV)?;
        name.copy_from_slice(&padded(&found));
        return Ok(answer);
    }
    let link = named(links, name)?;
    let number = |number: i32| number.to_ne_bytes();
    match request {
        libc::SIOCGIFINDEX => put(&link.id.to_ne_bytes()),
        // Of the flags the lower half fits in.
        libc::SIOCGIFFLAGS => put(&(host::flags(link, links) as u16).to_ne_bytes()),
        libc::SIOCGIFMTU => put(&link.mtu.to_ne_bytes()),
        libc::SIOCGIFMETRIC => put(&number(0)),
        libc::SIOCGIFTXQLEN => put(&link.state.queue.to_ne_bytes()),
        libc::SIOCGIFHWADDR => {
            let (hardware, _) = host::hardware(link);
            put(&hardware.to_ne_bytes());
            let (_, mac) = value.split_at_mut(2);
            mac.iter_mut().zip(link.mac).for_each(|(place, byte)| *place = byte);
        }
        SIOCGIFMAP => put(&[0; IFREQ - VALUE]),
        _ => put(&sockaddr::encode((address(link, request)?, 0).into())),
    }
    Ok(answer)
}

/// The interface that is asked about; what follows a colon names an alias of it.
fn named<'a>(links: &'a [LinkRow], name: &[u8]) -> Result<&'a LinkRow, Errno> {
    let name = name.split(|byte| matches!(byte, 0 | b':')).next().unwrap_or_default();
    links.iter().find(|link| link.name.as_bytes() == name).ok_or(Errno::NODEV)
}

fn padded(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    // The last byte stays a NUL.
    let places = bytes.iter_mut().take(NAME - 1);
    places.zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    bytes
}

/// What there is to say of an interface's first address.
fn address(link: &LinkRow, request: u64) -> Result<Ipv4Addr, Errno> {
    let (own, length) = host::first_address(link).ok_or(Errno::ADDRNOTAVAIL)?;
    let mask = host::mask(length);
    Ok(match request {
        libc::SIOCGIFNETMASK => mask,
        libc::SIOCGIFBRDADDR => host::broadcast(own, length).unwrap_or(Ipv4Addr::UNSPECIFIED),
        _ => own,
    })
}

/// What `SIOCGIFCONF` lists: a `struct ifreq` for each interface with an address.
pub fn list() -> Result<Vec<[u8; IFREQ]>, Errno> {
    Ok(list_of(&host::links()?))
}

fn list_of(links: &[LinkRow]) -> Vec<[u8; IFREQ]> {
    let row = |link: &LinkRow| {
        let (own, _) = host::first_address(link)?;
        let mut row = [0; IFREQ];
        let (name, value) = row.split_at_mut(VALUE);
        name.copy_from_slice(&padded(&link.name));
        let bytes = sockaddr::encode((own, 0).into());
        value.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        Some(row)
    };
    links.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::links;

    fn ifreq(name: &str) -> [u8; IFREQ] {
        let mut bytes = [0; IFREQ];
        bytes[..NAME].copy_from_slice(&padded(name));
        bytes
    }

    #[test]
    fn an_interface_is_described_as_linux_does() {
        let links = links();
        let ask = |request, name: &str| {
            let answer = answer_from(&links, request, &ifreq(name)).expect("an answer");
            answer[VALUE..].to_vec()
        };
        assert_eq!(ask(libc::SIOCGIFINDEX, "lan")[..4], 2_i32.to_ne_bytes());
        assert_eq!(ask(libc::SIOCGIFFLAGS, "lan")[..4], [0x43, 0x10, 0, 0]);
        assert_eq!(ask(libc::SIOCGIFMTU, "lan:1")[..4], 1500_i32.to_ne_bytes());
        assert_eq!(ask(libc::SIOCGIFHWADDR, "lan")[..8], [1, 0, 2, 0, 0, 0, 0, 1]);
        assert_eq!(ask(libc::SIOCGIFADDR, "lan")[..8], [2, 0, 0, 0, 10, 0, 0, 2]);
        assert_eq!(ask(libc::SIOCGIFNETMASK, "lan")[..8], [2, 0, 0, 0, 255, 255, 255, 0]);
        assert_eq!(ask(libc::SIOCGIFBRDADDR, "lan")[..8], [2, 0, 0, 0, 10, 0, 0, 255]);
        assert_eq!(ask(libc::SIOCGIFBRDADDR, "lo")[..8], [2, 0, 0, 0, 0, 0, 0, 0]);
        let mut by_number = [0; IFREQ];
        by_number[VALUE] = 3;
        let answer = answer_from(&links, libc::SIOCGIFNAME, &by_number).expect("one");
        assert_eq!(&answer[..6], b"lan.7\0");
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut links = links();
        for name in ["", "wan", "lan.77"] {
            let answer = answer_from(&links, libc::SIOCGIFINDEX, &ifreq(name));
            assert_eq!(answer, Err(Errno::NODEV), "{name}");
        }
        links[1].addresses.clear();
        let answer = answer_from(&links, libc::SIOCGIFADDR, &ifreq("lan"));
        assert_eq!(answer, Err(Errno::ADDRNOTAVAIL));
        assert_eq!(answer_from(&links, libc::SIOCGIFNAME, &[0; IFREQ]), Err(Errno::NODEV));
        let listed: Vec<_> = list_of(&links).iter().map(|row| row[..3].to_vec()).collect();
        assert_eq!(listed, [b"lo\0", b"lan"]);
    }

    #[test]
    fn changes_are_not_the_kernels_either() {
        assert_eq!(call(libc::SIOCSIFADDR), Call::Refused(Errno::PERM));
        assert_eq!(call(SIOCETHTOOL), Call::Refused(Errno::OPNOTSUPP));
        assert_eq!(call(libc::SIOCGIFCONF), Call::List);
        assert_eq!(call(libc::FIONREAD), Call::Other);
    }
}
