//! What an epoll set still has in it (kcmp(2), KCMP_EPOLL_TFD).

use rustix::io::Errno;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
};

/// From linux/kcmp.h, missing from libc.
const KCMP_EPOLL_TFD: libc::c_int = 7;

/// `struct kcmp_epoll_slot`.
#[repr(C)]
struct Slot {
    set: u32,
    target: u32,
    /// Of several targets that had the number one after the other.
    offset: u32,
}

/// Whether the epoll set `set` has a file that was put into it as descriptor number `target`. It has as
/// long as any process has that file open, whether or not this one does.
pub fn has(set: &impl AsFd, target: RawFd) -> io::Result<bool> {
    let raw = set.as_fd().as_raw_fd();
    let number = |number: RawFd| u32::try_from(number).map_err(|_| io::Error::from(Errno::BADF));
    let slot = Slot { set: number(raw)?, target: number(target)?, offset: 0 };
    let own = std::process::id();
    // SAFETY: the descriptor is open while it is borrowed, and the slot lives through the call, which
    // only reads it.
    let compared =
        unsafe { libc::syscall(libc::SYS_kcmp, own, own, KCMP_EPOLL_TFD, raw, &raw const slot) };
    match compared {
        // The order of two files, which is nothing to us: there are two.
        0.. => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll;

    #[test]
    fn a_file_is_in_the_set_until_the_last_copy_is_closed() {
        let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let copy = reader.try_clone().expect("dup");
        let number = reader.as_raw_fd();
        assert!(!has(&set, number).expect("kcmp"));
        epoll::add(&set, &reader, epoll::EventData::new_u64(0), epoll::EventFlags::IN)
            .expect("epoll_ctl");
        assert!(has(&set, number).expect("kcmp"));
        drop(reader);
        assert!(has(&set, number).expect("kcmp"));
        drop(copy);
        assert!(!has(&set, number).expect("kcmp"));
    }
}
