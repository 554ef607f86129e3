//! Socket options that rustix does not have.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

/// SO_PASSRIGHTS (Linux 6.16), missing from libc.
const SO_PASSRIGHTS: libc::c_int = 83;

/// From now on, whoever sends descriptors to this Unix socket gets EPERM. ENOPROTOOPT where the
/// kernel can't.
pub fn refuse_descriptors(socket: &impl AsFd) -> io::Result<()> {
    let off: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is an int that
    // lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const off).cast(),
            size_of_val(&off) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
