//! Word from the kernel that something about its interfaces changed (rtnetlink(7), RTNLGRP_LINK).
//!
//! What changed is not read from the messages, which may get lost when there are many: whoever is
//! woken looks at [`link::list`](crate::link::list) anew.

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// Changes of links, as a bit of `sockaddr_nl.nl_groups` (linux/rtnetlink.h).
const RTMGRP_LINK: u32 = 1;

/// A socket that becomes readable when an interface of the namespace comes, goes or changes.
pub struct Monitor {
    socket: OwnedFd,
}

impl Monitor {
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // No protocol is NETLINK_ROUTE, which has the number 0.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK))?;
        Ok(Self { socket })
    }

    /// Forgets what was told so far: has there been anything?
    pub fn drain(&self) -> bool {
        let mut told = false;
        loop {
            // What does not fit is cut off: the length alone is of interest, and not even that.
            match recv(&self.socket, &mut [0; 1][..], RecvFlags::TRUNC) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => told = true,
                Err(_) => return told,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
