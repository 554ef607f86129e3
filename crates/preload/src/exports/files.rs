//! Opening files: those of [`proc_net`] are answered, all others are the kernel's.

use crate::{
    kernel,
    proc_net::{self, File},
    real,
};
use libc::{FILE, c_char, c_int, mode_t};
use rustix::io::Errno;
use std::{
    ffi::CStr,
    os::fd::{AsRawFd, IntoRawFd, OwnedFd},
    ptr,
};

/// Which file of [`proc_net`] a program opens to read.
///
/// # Safety
///
/// `path` must be null or a string.
unsafe fn wanted(path: *const c_char, flags: c_int) -> Option<File> {
    if path.is_null() || flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_PATH != 0 {
        return None;
    }
    // SAFETY: the caller's promise.
    proc_net::named(unsafe { CStr::from_ptr(path) }.to_bytes())
}

fn answer(file: File, flags: c_int) -> c_int {
    match proc_net::open(file, flags & libc::O_CLOEXEC != 0) {
        Ok(memory) => memory.into_raw_fd(),
        Err(errno) => kernel::fail(errno),
    }
}

/// In C the mode is there only if a file is made; all calling conventions of Linux pass it in the same
/// place whether or not it is declared.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: open(2) asks the program for a string.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::open(path, flags, mode) },
    }
}

/// What programs call that are built for large files.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: open(2) asks the program for a string.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::open64(path, flags, mode) },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: openat(2) asks the program for a string; one of these paths does not look at the directory.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::openat(directory, path, flags, mode) },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    // SAFETY: as above.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::openat64(directory, path, flags, mode) },
    }
}

/// What the compiler makes of `open` when it knows that no mode is given; so with the next.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as above.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::__open_2(path, flags) },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: as above.
    match unsafe { wanted(path, flags) } {
        Some(file) => answer(file, flags),
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::__open64_2(path, flags) },
    }
}

/// The file that `fopen` is to read, as a stream.
///
/// # Safety
///
/// Both are null or strings.
unsafe fn stream(path: *const c_char, mode: *const c_char) -> Option<*mut FILE> {
    if mode.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    let words = unsafe { CStr::from_ptr(mode) }.to_bytes();
    let reads = words.first() == Some(&b'r') && !words.contains(&b'+');
    // SAFETY: the caller's promise.
    let file = unsafe { wanted(path, libc::O_RDONLY) }.filter(|_| reads)?;
    Some(match proc_net::open(file, words.contains(&b'e')) {
        // SAFETY: fopen(3)'s modes for reading are fdopen(3)'s too.
        Ok(memory) => unsafe { stream_of(memory, mode) },
        Err(errno) => fail(errno),
    })
}

/// # Safety
///
/// `mode` must be one of fdopen(3).
unsafe fn stream_of(memory: OwnedFd, mode: *const c_char) -> *mut FILE {
    // SAFETY: the descriptor is open, and the caller's promise.
    let stream = unsafe { libc::fdopen(memory.as_raw_fd(), mode) };
    if !stream.is_null() {
        // The stream's from here on.
        let _ = memory.into_raw_fd();
    }
    stream
}

fn fail(errno: Errno) -> *mut FILE {
    kernel::fail(errno);
    ptr::null_mut()
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: fopen(3) asks the program for two strings.
    match unsafe { stream(path, mode) } {
        Some(stream) => stream,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::fopen(path, mode).cast() },
    }
}

#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    // SAFETY: as above.
    match unsafe { stream(path, mode) } {
        Some(stream) => stream,
        // SAFETY: the program's arguments, as they came.
        None => unsafe { real::fopen64(path, mode).cast() },
    }
}
