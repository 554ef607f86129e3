//! (being written)

use anyhow::Result;
use std::{ffi::OsStr, os::fd::BorrowedFd, process::Command};

/// Makes the process root of a user namespace of its own, unless it is root already.
///
/// Call it first in `main`: the kernel refuses it once there are threads.
pub fn enter_user_namespace_if_needed() -> Result<()> {
    todo!()
}

/// A network namespace without a name. It goes when this and the last program in it are gone.
pub struct Namespace {}

impl Namespace {
    /// A namespace with nothing in it but `lo`, up.
    pub fn new() -> Result<Self> {
        todo!()
    }

    /// The namespace's descriptor, for setns(2).
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        todo!()
    }

    /// A program that will start in this namespace, and is killed when the thread that starts it
    /// ends.
    pub fn command(&self, _program: impl AsRef<OsStr>) -> Command {
        todo!()
    }

    /// Runs `work` on a thread of its own in this namespace. Sockets it makes stay there.
    pub fn run<T: Send>(&self, _work: impl FnOnce() -> T + Send) -> Result<T> {
        todo!()
    }
}
