//! The data calls: the kernel's on an anchor as on any stream socket. Three of their results may
//! not be what they seem.
//!
//! - A read of nothing is the end of the stream, unless the connection was reset or timed out
//!   with nothing left to read: a reset must never look like a finished transfer.
//! - A reset is what the kernel says of every connection whose other end the daemon has closed
//!   before its time; it may have timed out.
//! - A broken pipe is, the first time, the reason for which the connection broke.
//!
//! None costs a transfer anything: only these results are looked at.

use crate::{control, kernel, session};
use libc::ssize_t;
use narrows_client::anchor;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// After a call on `fd` read nothing or failed: its result, and `errno`, as they should be.
#[cold]
pub fn after_failed_read(fd: i32, read: ssize_t) -> ssize_t {
    if read < 0 && kernel::errno() != libc::ECONNRESET {
        return read;
    }
    match kernel::descriptor(fd).and_then(ending) {
        Some(errno) => kernel::fail(errno) as ssize_t,
        None if read < 0 => kernel::fail(Errno::CONNRESET) as ssize_t,
        None => 0,
    }
}

/// After a call on `fd` failed with a broken pipe: `errno` as it should be. Whether it still is
/// a broken pipe.
#[cold]
pub fn broken_pipe(fd: i32) -> bool {
    let errno = kernel::descriptor(fd).and_then(ending).unwrap_or(Errno::PIPE);
    kernel::set_errno(errno.raw_os_error());
    errno == Errno::PIPE
}

/// The error that a connection ended with; `None` if it ended in order, if that was told before,
/// and for what is not an anchor.
fn ending(fd: BorrowedFd<'_>) -> Option<Errno> {
    // The peer of a connection that can still be written to has just sent all it has.
    if !anchor::has_hung_up(fd) || !session::is_anchor(fd) {
        return None;
    }
    match control::take_error(fd) {
        Ok(failure) => failure,
        // Nobody can say, so it can't count as finished.
        Err(_) => Some(Errno::CONNRESET),
    }
}
