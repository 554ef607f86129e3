//! What the shim asks the kernel and the C library directly.

use libc::{c_int, c_void, socklen_t};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Sets `errno` and gives the value that says so.
pub fn fail(errno: Errno) -> c_int {
    set_errno(errno.raw_os_error());
    -1
}

pub fn errno() -> c_int {
    // SAFETY: the C library gives each thread a valid pointer to its errno.
    unsafe { *libc::__errno_location() }
}

pub fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}

/// The descriptor of a program, for one call; `None` for a number that can't be one. Nothing is
/// assumed about it: the kernel answers `EBADF` if it is not open.
pub fn descriptor<'a>(fd: c_int) -> Option<BorrowedFd<'a>> {
    // SAFETY: not -1. It may be closed or change hands at any time, as for the program itself;
    // it is only ever passed to system calls.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The process that made the other end of a Unix socket, as this one's PID namespace numbers it.
/// `None` for what is not a socket, and for sockets without such an end. `errno` is kept.
pub fn peer_process(fd: BorrowedFd<'_>) -> Option<u32> {
    let kept = errno();
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as socklen_t;
    // SAFETY: the pointers are to locals, of the sizes said. The system call itself, because
    // getsockopt is the shim's own function.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast::<c_void>(),
            &raw mut len,
        )
    } != 0;
    set_errno(kept);
    if failed { None } else { u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0) }
}

/// An option of `SOL_SOCKET` with a value of a fixed size; `None` where it can't be had. The system
/// call itself, because getsockopt is the shim's own function. `errno` is kept.
fn option<T: Default>(fd: BorrowedFd<'_>, name: c_int) -> Option<T> {
    let kept = errno();
    let mut value = T::default();
    let mut len = size_of::<T>() as socklen_t;
    // SAFETY: the pointers are to locals, of the sizes said; only numbers are asked for.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast::<c_void>(),
            &raw mut len,
        )
    } != 0;
    set_errno(kept);
    (!failed).then_some(value)
}

/// The number that the kernel gives to this socket and to no other, ever; `None` for what is not a
/// socket. `errno` is kept.
pub fn cookie(fd: BorrowedFd<'_>) -> Option<u64> {
    option(fd, libc::SO_COOKIE)
}

/// Whether it is a Unix socket that keeps records apart. `errno` is kept.
pub fn is_record_socket(fd: BorrowedFd<'_>) -> bool {
    option(fd, libc::SO_TYPE) == Some(libc::SOCK_SEQPACKET)
        && option(fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX)
}

/// Receives without waiting; `None` if there is nothing. `errno` is kept.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8], flags: c_int) -> Option<usize> {
    let kept = errno();
    let flags = flags | libc::MSG_DONTWAIT;
    // SAFETY: the buffer is of the length said.
    let count = unsafe {
        crate::real::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags)
    };
    set_errno(kept);
    usize::try_from(count).ok()
}

/// Puts `new` under the number of `old`, which is closed there.
pub fn replace(old: BorrowedFd<'_>, new: OwnedFd, close_on_exec: bool) -> Result<(), Errno> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: the program owns the number and asked for what has this effect.
    let failed = unsafe { libc::dup3(new.as_raw_fd(), old.as_raw_fd(), flags) } < 0;
    if failed { Err(Errno::from_raw_os_error(errno())) } else { Ok(()) }
}

/// Sends this thread the SIGPIPE that the kernel was asked to leave out.
pub fn raise_broken_pipe() {
    // SAFETY: raising a signal has no precondition; the handler's is the program's business.
    unsafe { libc::raise(libc::SIGPIPE) };
}

/// Has `prepare` called before each fork, and one of the others in either process after it.
pub fn at_fork(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: the functions live as long as the process: the shim is never unloaded.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

/// One line on standard error, whatever the program has made of it.
pub fn print_error(message: &str) {
    let line = format!("narrows: {message}\n");
    // SAFETY: standard error is only borrowed; if it is closed the line is lost.
    let stderr = unsafe { BorrowedFd::borrow_raw(libc::STDERR_FILENO) };
    // A line that can't be written is not worth an error of its own.
    let _ = rustix::io::write(stderr, line.as_bytes());
}
