//! Namespaces without names.

use crate::netlink;
use anyhow::{Context, Result, anyhow};
use narrows_sys::{command, namespace};
use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    panic::resume_unwind,
    process::Command,
    sync::Arc,
    thread,
};

/// Makes the process root of a user namespace of its own, unless it is root already.
///
/// Call it first in `main`: the kernel refuses it once there are threads.
pub fn enter_user_namespace_if_needed() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    namespace::RootMap::of_caller().enter_user_namespace().context(NO_USER_NAMESPACE)
}

pub(crate) const NO_USER_NAMESPACE: &str = "this needs root, or user namespaces for ordinary users \
    (sysctls user.max_user_namespaces, kernel.unprivileged_userns_clone, \
    kernel.apparmor_restrict_unprivileged_userns)";

/// A network namespace without a name. It goes when this and the last program in it are gone.
pub struct Namespace {
    descriptor: Arc<OwnedFd>,
}

impl Namespace {
    /// A namespace with nothing in it but `lo`, up.
    pub fn new() -> Result<Self> {
        let descriptor = on_a_thread(|| {
            namespace::unshare_network()
                .context("a network namespace needs root or a user namespace")?;
            netlink::run(async |links| links.set_up("lo").await).context("setting lo up")?;
            namespace::current_network().context("/proc/thread-self/ns/net")
        })??;
        Ok(Self { descriptor: Arc::new(descriptor) })
    }

    /// The namespace's descriptor, for setns(2).
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// A program that will start in this namespace, and is killed when the thread that starts it
    /// ends.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command::in_network_namespace(&mut command, Arc::clone(&self.descriptor));
        command::die_with_parent(&mut command);
        command
    }

    /// Runs `work` on a thread of its own in this namespace. Sockets it makes stay there.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread(|| {
            namespace::enter_network(&self.descriptor).context("entering a network namespace")?;
            Ok(work())
        })?
    }
}

/// A namespace is a property of the thread, so one that changes it must not be used for more.
fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("namespace".into()).spawn_scoped(scope, work);
        match thread.map_err(|error| anyhow!("starting a thread: {error}"))?.join() {
            Ok(result) => Ok(result),
            Err(panic) => resume_unwind(panic),
        }
    })
}
