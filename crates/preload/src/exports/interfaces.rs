//! The C library's functions about interfaces, and the ioctls behind some of them. Memory is handed
//! over as the C library's own functions do, so that its freeifaddrs and if_freenameindex free it.

use super::status;
use crate::{
    host,
    interface_request::{self, Call, IFREQ, NAME},
    kernel, sockaddr,
};
use libc::{c_char, c_int, c_uint, c_ulong, c_void, ifaddrs, sockaddr as c_sockaddr};
use narrows_client::ipc::message::LinkRow;
use rustix::io::Errno;
use std::{
    ffi::{CStr, CString},
    net::{IpAddr, Ipv4Addr},
    ptr,
};

/// The answer to an `ioctl` that is about interfaces; `None` for any other. On any socket, as in the
/// kernel.
pub fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> Option<c_int> {
    let call = interface_request::call(request);
    if call == Call::Other || kernel::cookie(kernel::descriptor(fd)?).is_none() {
        return None;
    }
    if argument.is_null() {
        return Some(kernel::fail(Errno::FAULT));
    }
    Some(status(match call {
        Call::Refused(errno) => Err(errno),
        Call::List => {
            // SAFETY: netdevice(7) asks the program for a pointer to one.
            unsafe { list(&mut *argument.cast()) }
        }
        Call::Interface | Call::Other => {
            let place = argument.cast::<[u8; IFREQ]>();
            // SAFETY: netdevice(7) asks the program for a pointer to a `struct ifreq`.
            interface_request::answer(request, unsafe { &*place })
                .map(|answer| unsafe { *place = answer })
        }
    }))
}

/// `struct ifconf`.
#[repr(C)]
struct List {
    len: c_int,
    buffer: *mut u8,
}

/// # Safety
///
/// The buffer must be null or have as many bytes as the list says.
unsafe fn list(list: &mut List) -> Result<(), Errno> {
    let rows = interface_request::list()?;
    let fits = if list.buffer.is_null() {
        rows.len()
    } else {
        let room = usize::try_from(list.len).map_err(|_| Errno::INVAL)? / IFREQ;
        let fits = room.min(rows.len());
        let bytes = rows.get(..fits).unwrap_or_default().concat();
        // SAFETY: there is room for as many rows.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), list.buffer, bytes.len()) };
        fits
    };
    list.len = c_int::try_from(fits * IFREQ).map_err(|_| Errno::INVAL)?;
    Ok(())
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn if_nametoindex(name: *const c_char) -> c_uint {
    // SAFETY: if_nametoindex(3) asks the program for a string.
    let found = match unsafe { CStr::from_ptr(name) }.to_str() {
        Ok(name) => host::links().map(|links| host::index_of(&links, name)),
        Err(_) => Ok(0),
    };
    match found {
        Ok(0) => kernel::set_errno(Errno::NODEV.raw_os_error()),
        Ok(index) => return index,
        Err(errno) => kernel::set_errno(errno.raw_os_error()),
    }
    0
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn if_indextoname(index: c_uint, room: *mut c_char) -> *mut c_char {
    let found = host::links().and_then(|links| host::name_of(&links, index).ok_or(Errno::NXIO));
    match found {
        Ok(name) => {
            let len = name.len().min(NAME - 1);
            // SAFETY: if_indextoname(3) asks the program for room for IF_NAMESIZE bytes.
            unsafe {
                ptr::copy_nonoverlapping(name.as_ptr().cast(), room, len);
                *room.add(len) = 0;
            }
            room
        }
        Err(errno) => {
            kernel::set_errno(errno.raw_os_error());
            ptr::null_mut()
        }
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn if_nameindex() -> *mut libc::if_nameindex {
    let links = match host::links() {
        Ok(links) => links,
        Err(errno) => {
            kernel::set_errno(errno.raw_os_error());
            return ptr::null_mut();
        }
    };
    // SAFETY: calloc(3) has no precondition. One more than there are interfaces: the end.
    let rows = unsafe { libc::calloc(links.len() + 1, size_of::<libc::if_nameindex>()) };
    let rows = rows.cast::<libc::if_nameindex>();
    if rows.is_null() {
        return rows;
    }
    for (index, link) in links.iter().enumerate() {
        let name = CString::new(&*link.name).unwrap_or_default();
        // SAFETY: the row is inside what was allocated, and the name a string.
        unsafe {
            *rows.add(index) =
                libc::if_nameindex { if_index: link.id, if_name: libc::strdup(name.as_ptr()) };
        }
    }
    rows
}

/// `struct sockaddr_ll`: family, protocol, interface, hardware, kind of packet, length and address.
fn link_address(link: &LinkRow, mac: [u8; 6]) -> [u8; 20] {
    let (hardware, _) = host::hardware(link);
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
    bytes[4..8].copy_from_slice(&link.id.to_ne_bytes());
    bytes[8..10].copy_from_slice(&hardware.to_ne_bytes());
    bytes[11] = 6;
    bytes[12..18].copy_from_slice(&mac);
    bytes
}

/// What getifaddrs(3) says of one interface in one family.
struct Row {
    name: [u8; NAME],
    flags: c_uint,
    own: Option<[u8; 20]>,
    mask: Option<[u8; 20]>,
    everyone: Option<[u8; 20]>,
    statistics: bool,
}

fn rows(links: &[LinkRow]) -> Vec<Row> {
    let v4 = |address: Ipv4Addr| {
        let mut bytes = [0; 20];
        let encoded = sockaddr::encode((address, 0).into());
        bytes.iter_mut().zip(encoded).for_each(|(place, byte)| *place = byte);
        bytes
    };
    let row = |link: &LinkRow| {
        let mut name = [0; NAME];
        let places = name.iter_mut().take(NAME - 1);
        places.zip(link.name.bytes()).for_each(|(place, byte)| *place = byte);
        let flags = host::flags(link, links).cast_unsigned();
        Row { name, flags, own: None, mask: None, everyone: None, statistics: false }
    };
    let of_links = links.iter().map(|link| Row {
        own: Some(link_address(link, link.mac)),
        everyone: Some(link_address(link, host::hardware(link).1)),
        statistics: true,
        ..row(link)
    });
    let of_addresses = links.iter().flat_map(|link| {
        link.addresses.iter().filter_map(move |address| {
            let IpAddr::V4(own) = address.address else { return None };
            Some(Row {
                own: Some(v4(own)),
                mask: Some(v4(host::mask(address.length))),
                everyone: host::broadcast(own, address.length).map(v4),
                ..row(link)
            })
        })
    });
    of_links.chain(of_addresses).collect()
}

/// One row with all that it points to.
#[repr(C)]
struct Entry {
    row: ifaddrs,
    name: [u8; NAME],
    own: Aligned,
    mask: Aligned,
    everyone: Aligned,
    /// `struct rtnl_link_stats`, of which nothing is known.
    statistics: [u32; 24],
}

#[repr(C, align(4))]
struct Aligned([u8; 20]);

/// The list is one piece of memory, as the C library's own is, which frees it as such.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn getifaddrs(list: *mut *mut ifaddrs) -> c_int {
    let rows = match host::links() {
        Ok(links) => rows(&links),
        Err(errno) => return kernel::fail(errno),
    };
    // SAFETY: calloc(3) has no precondition; all bytes zero is an entry.
    let entries = unsafe { libc::calloc(rows.len().max(1), size_of::<Entry>()) }.cast::<Entry>();
    if entries.is_null() {
        return -1;
    }
    for (index, row) in rows.iter().enumerate() {
        // SAFETY: inside what was allocated for as many.
        let entry = unsafe { &mut *entries.add(index) };
        entry.name = row.name;
        let point = |place: &mut Aligned, bytes: Option<[u8; 20]>| -> *mut c_sockaddr {
            let Some(bytes) = bytes else { return ptr::null_mut() };
            place.0 = bytes;
            (&raw mut *place).cast()
        };
        entry.row.ifa_addr = point(&mut entry.own, row.own);
        entry.row.ifa_netmask = point(&mut entry.mask, row.mask);
        entry.row.ifa_ifu = point(&mut entry.everyone, row.everyone);
        entry.row.ifa_name = entry.name.as_mut_ptr().cast();
        entry.row.ifa_flags = row.flags;
        if row.statistics {
            entry.row.ifa_data = entry.statistics.as_mut_ptr().cast();
        }
        if index + 1 < rows.len() {
            // SAFETY: as above, and an entry begins with its row.
            entry.row.ifa_next = unsafe { entries.add(index + 1) }.cast();
        }
    }
    // SAFETY: getifaddrs(3) asks the program for a place for the pointer.
    unsafe { *list = if rows.is_empty() { ptr::null_mut() } else { entries.cast() } };
    0
}
