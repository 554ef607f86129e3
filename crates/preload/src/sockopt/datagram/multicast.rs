//! Memberships of multicast groups, as RFC 3678 and ip(7) have programs ask for them.

use super::Set;
use libc::c_int;
use narrows_client::{GroupInterface, MembershipChange};
use rustix::io::Errno;
use std::{mem::offset_of, net::Ipv4Addr};

/// From linux/in.h, where the C library's headers lag.
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_BLOCK_SOURCE: c_int = 43;
const MCAST_UNBLOCK_SOURCE: c_int = 44;
const MCAST_LEAVE_GROUP: c_int = 45;
const MCAST_JOIN_SOURCE_GROUP: c_int = 46;
const MCAST_LEAVE_SOURCE_GROUP: c_int = 47;
const IP_MSFILTER: c_int = 41;
const MCAST_EXCLUDE: u32 = 0;
const MCAST_INCLUDE: u32 = 1;

/// `struct group_source_req`.
#[repr(C)]
struct GroupSourceRequest {
    interface: u32,
    group: libc::sockaddr_storage,
    source: libc::sockaddr_storage,
}

/// Judges the options that change a membership.
pub fn membership(name: c_int, value: &[u8]) -> Result<Set, Errno> {
    use MembershipChange::*;
    let (group, interface, change) = match name {
        libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP => {
            let change = if name == libc::IP_ADD_MEMBERSHIP { Join } else { Leave };
            (address(value, 0)?, requested(value)?, change)
        }
        libc::IP_ADD_SOURCE_MEMBERSHIP
        | libc::IP_DROP_SOURCE_MEMBERSHIP
        | libc::IP_BLOCK_SOURCE
        | libc::IP_UNBLOCK_SOURCE => {
            let source = address(value, 8)?;
            let change = match name {
                libc::IP_ADD_SOURCE_MEMBERSHIP => JoinSource(source),
                libc::IP_DROP_SOURCE_MEMBERSHIP => LeaveSource(source),
                libc::IP_BLOCK_SOURCE => Block(source),
                _ => Unblock(source),
            };
            (address(value, 0)?, by_address(address(value, 4)?), change)
        }
        IP_MSFILTER => {
            let (mode, count) = (number(value, 8)?, number(value, 12)?);
            let include = match mode {
                MCAST_INCLUDE => true,
                MCAST_EXCLUDE => false,
                _ => return Err(Errno::INVAL),
            };
            let count = usize::try_from(count).map_err(|_| Errno::INVAL)?;
            // No more than there are bytes for.
            let sources = (0..count.min(value.len() / 4 + 1))
                .map(|index| address(value, 16 + 4 * index))
                .collect::<Result<Vec<_>, _>>()?;
            (address(value, 0)?, by_address(address(value, 4)?), Filter { include, sources })
        }
        MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP => {
            let change = if name == MCAST_JOIN_GROUP { Join } else { Leave };
            let group = socket_address(value, offset_of!(GroupSourceRequest, group))?;
            (group, by_number(number(value, 0)?), change)
        }
        MCAST_JOIN_SOURCE_GROUP
        | MCAST_LEAVE_SOURCE_GROUP
        | MCAST_BLOCK_SOURCE
        | MCAST_UNBLOCK_SOURCE => {
            let source = socket_address(value, offset_of!(GroupSourceRequest, source))?;
            let group = socket_address(value, offset_of!(GroupSourceRequest, group))?;
            let change = match name {
                MCAST_JOIN_SOURCE_GROUP => JoinSource(source),
                MCAST_LEAVE_SOURCE_GROUP => LeaveSource(source),
                MCAST_BLOCK_SOURCE => Block(source),
                _ => Unblock(source),
            };
            (group, by_number(number(value, 0)?), change)
        }
        _ => return Err(Errno::NOPROTOOPT),
    };
    Ok(Set::Membership { group, interface, change })
}

/// IP_MULTICAST_IF: an address, or as for a membership.
pub fn interface(value: &[u8]) -> Result<GroupInterface, Errno> {
    match value.len() {
        4..8 => Ok(by_address(address(value, 0)?)),
        _ => requested(value),
    }
}

/// The interface in a `struct ip_mreqn`, or in a `struct ip_mreq`, which lacks the number.
fn requested(value: &[u8]) -> Result<GroupInterface, Errno> {
    match number(value, 8) {
        Ok(number) if number != 0 => Ok(GroupInterface::Number(number)),
        _ => Ok(by_address(address(value, 4)?)),
    }
}

fn by_address(address: Ipv4Addr) -> GroupInterface {
    if address.is_unspecified() { GroupInterface::Any } else { GroupInterface::Address(address) }
}

fn by_number(number: u32) -> GroupInterface {
    if number == 0 { GroupInterface::Any } else { GroupInterface::Number(number) }
}

fn bytes(value: &[u8], at: usize) -> Result<[u8; 4], Errno> {
    value.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Errno::INVAL)
}

fn number(value: &[u8], at: usize) -> Result<u32, Errno> {
    bytes(value, at).map(u32::from_ne_bytes)
}

fn address(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    bytes(value, at).map(Ipv4Addr::from)
}

/// The address in a `struct sockaddr_in`.
fn socket_address(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    let bytes = value.get(at..at + crate::sockaddr::LEN).ok_or(Errno::INVAL)?;
    Ok(*crate::sockaddr::parse_destination(bytes)?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    const NOWHERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

    fn ips(addresses: &[Ipv4Addr]) -> Vec<u8> {
        addresses.iter().flat_map(|address| address.octets()).collect()
    }

    fn with_numbers(addresses: &[Ipv4Addr], numbers: &[u32]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_ne_bytes());
        ips(addresses).into_iter().chain(numbers).collect()
    }

    /// A `struct group_req`, or with a source a `struct group_source_req`.
    fn request(interface: u32, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let mut value = interface.to_ne_bytes().to_vec();
        value.resize(offset_of!(GroupSourceRequest, group), 0);
        for address in addresses {
            let end = value.len() + size_of::<libc::sockaddr_storage>();
            value.extend(crate::sockaddr::encode(SocketAddr::from((*address, 0))));
            value.resize(end, 0);
        }
        value
    }

    #[test]
    fn every_structure_is_read() {
        use GroupInterface::{Address, Any, Number};
        use MembershipChange as C;
        for (name, value, interface, change) in [
            (libc::IP_ADD_MEMBERSHIP, ips(&[GROUP, NOWHERE]), Any, C::Join),
            (libc::IP_ADD_MEMBERSHIP, ips(&[GROUP, OWN]), Address(OWN), C::Join),
            (libc::IP_ADD_MEMBERSHIP, with_numbers(&[GROUP, OWN], &[2]), Number(2), C::Join),
            (libc::IP_DROP_MEMBERSHIP, with_numbers(&[GROUP, OWN], &[0]), Address(OWN), C::Leave),
            (libc::IP_BLOCK_SOURCE, ips(&[GROUP, OWN, SOURCE]), Address(OWN), C::Block(SOURCE)),
            (
                libc::IP_ADD_SOURCE_MEMBERSHIP,
                ips(&[GROUP, NOWHERE, SOURCE]),
                Any,
                C::JoinSource(SOURCE),
            ),
            (
                IP_MSFILTER,
                [with_numbers(&[GROUP, OWN], &[1, 2]), ips(&[SOURCE, OWN])].concat(),
                Address(OWN),
                C::Filter { include: true, sources: vec![SOURCE, OWN] },
            ),
            (MCAST_JOIN_GROUP, request(2, &[GROUP]), Number(2), C::Join),
            (MCAST_LEAVE_GROUP, request(0, &[GROUP]), Any, C::Leave),
            (MCAST_UNBLOCK_SOURCE, request(3, &[GROUP, SOURCE]), Number(3), C::Unblock(SOURCE)),
        ] {
            let expected = Set::Membership { group: GROUP, interface, change };
            assert_eq!(membership(name, &value), Ok(expected), "{name}");
            assert_eq!(membership(name, &value[..7]), Err(Errno::INVAL), "{name}");
        }
        assert_eq!(membership(99, &[]), Err(Errno::NOPROTOOPT));
        let endless = with_numbers(&[GROUP, OWN], &[1, u32::MAX]);
        assert_eq!(membership(IP_MSFILTER, &endless), Err(Errno::INVAL));
    }

    #[test]
    fn the_interface_for_sending_comes_in_three_lengths() {
        use GroupInterface::*;
        for (value, expected) in [
            (ips(&[OWN]), Ok(Address(OWN))),
            (ips(&[NOWHERE]), Ok(Any)),
            (ips(&[NOWHERE, OWN]), Ok(Address(OWN))),
            (with_numbers(&[NOWHERE, OWN], &[2]), Ok(Number(2))),
            (vec![1, 2, 3], Err(Errno::INVAL)),
        ] {
            assert_eq!(interface(&value), expected, "{value:?}");
        }
    }
}
