//! What rustix does not have of sockets.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// SO_PASSRIGHTS (Linux 6.16), missing from libc.
const SO_PASSRIGHTS: libc::c_int = 83;

/// From now on, whoever sends descriptors to this Unix socket gets EPERM; of a listener, whoever sends
/// them to a socket that it accepts. ENOPROTOOPT where the kernel can't.
pub fn refuse_descriptors(socket: &impl AsFd) -> io::Result<()> {
    pass_rights(socket, 0)
}

/// From now on descriptors can be sent to this Unix socket, as to any new one.
pub fn accept_descriptors(socket: &impl AsFd) -> io::Result<()> {
    pass_rights(socket, 1)
}

fn pass_rights(socket: &impl AsFd, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is an int that
    // lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many bytes of memory hold what was sent over a Unix socket and its peer has not read (`TIOCOUTQ`);
/// 0: it has read everything.
pub fn unread_by_peer(socket: &impl AsFd) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the answer is an int that lives
    // through the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 {
        Ok(usize::try_from(bytes).unwrap_or(0))
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    #[test]
    fn what_the_peer_has_read_is_not_counted() {
        let (mut one, mut other) = UnixStream::pair().expect("a pair");
        assert_eq!(unread_by_peer(&one).expect("ioctl"), 0);
        one.write_all(b"x").expect("write");
        assert!(unread_by_peer(&one).expect("ioctl") > 0);
        other.read_exact(&mut [0]).expect("read");
        assert_eq!(unread_by_peer(&one).expect("ioctl"), 0);
    }
}
