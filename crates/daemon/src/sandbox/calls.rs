//! The system calls the daemon makes once it is running, with what each is for, as a filter
//! (seccomp(2)).
//!
//! Any other is refused with EPERM, which libraries take for a kernel without it. Some that no run
//! of the daemon makes, however it fails, and that whoever has taken it over would want, end it at
//! once; the kernel's log says which.
//!
//! An end-to-end test compares the tables with a trace, both ways.

use anyhow::{Context, Result};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// A system call that may be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub name: &'static str,
    number: c_long,
    only: Only,
    /// Is it made in every run that does a bit of everything? Others are made when memory is short,
    /// by other versions of libraries, or at an abnormal end.
    pub usual: bool,
}

/// What one of its arguments must be, by index.
#[derive(Clone, Copy, Debug)]
enum Only {
    Anything,
    OneOf(u8, &'static [u64]),
    /// None of these bits.
    Without(u8, u64),
}

const fn call(name: &'static str, number: c_long) -> Call {
    Call { name, number, only: Only::Anything, usual: true }
}

impl Call {
    const fn rarely(self) -> Self {
        Self { usual: false, ..self }
    }

    const fn only(self, index: u8, values: &'static [u64]) -> Self {
        Self { only: Only::OneOf(index, values), ..self }
    }

    const fn without(self, index: u8, bits: u64) -> Self {
        Self { only: Only::Without(index, bits), ..self }
    }
}

/// No memory that can be executed is made.
const EXECUTABLE: u64 = libc::PROT_EXEC as u64;

/// Links, routes and nftables of the kernel, and devices. No sockets of the kernel's IP.
const FAMILIES: &[u64] = &[libc::AF_NETLINK as u64, libc::AF_PACKET as u64];

const PAIRS: &[u64] = &[libc::AF_UNIX as u64];

/// Making descriptors non-blocking, asking how much waits in one, and setting TAPs up.
const REQUESTS: &[u64] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::TIOCOUTQ,
    libc::TUNSETIFF,
    libc::TUNSETVNETHDRSZ,
    libc::TUNSETOFFLOAD,
];

/// Of kcmp(2): what is in an epoll set (KCMP_EPOLL_TFD).
const COMPARISONS: &[u64] = &[7];

/// What holds for this thread, for reports.
const QUESTIONS: &[u64] = &[libc::PR_GET_NO_NEW_PRIVS as u64, libc::PR_GET_SECCOMP as u64];

/// What the event loop and the thread that closes descriptors call.
pub(crate) const LOOP: &[Call] = &[
    // Waiting: the loop itself, and conversations with the kernel about links.
    #[cfg(target_arch = "x86_64")]
    call("epoll_wait", libc::SYS_epoll_wait),
    call("epoll_pwait", libc::SYS_epoll_pwait).rarely(),
    call("epoll_ctl", libc::SYS_epoll_ctl),
    call("epoll_create1", libc::SYS_epoll_create1),
    call("eventfd2", libc::SYS_eventfd2),
    call("sched_yield", libc::SYS_sched_yield).rarely(),
    // Is an end of a connection between two programs still open?
    call("kcmp", libc::SYS_kcmp).only(2, COMPARISONS).rarely(),
    // Has a process ended? A pidfd says so.
    #[cfg(target_arch = "x86_64")]
    call("poll", libc::SYS_poll).rarely(),
    call("ppoll", libc::SYS_ppoll).rarely(),
    call("pidfd_open", libc::SYS_pidfd_open).rarely(),
    // Bytes and frames.
    call("recvmsg", libc::SYS_recvmsg),
    call("sendmsg", libc::SYS_sendmsg),
    call("recvmmsg", libc::SYS_recvmmsg),
    call("sendmmsg", libc::SYS_sendmmsg),
    call("recvfrom", libc::SYS_recvfrom),
    call("sendto", libc::SYS_sendto),
    // TAPs, the log, signals' pipe, the configuration.
    call("read", libc::SYS_read),
    call("write", libc::SYS_write),
    call("writev", libc::SYS_writev).rarely(),
    // Sessions, anchors and devices.
    call("accept4", libc::SYS_accept4),
    call("socketpair", libc::SYS_socketpair).only(0, PAIRS),
    call("socket", libc::SYS_socket).only(0, FAMILIES),
    call("bind", libc::SYS_bind),
    call("getsockname", libc::SYS_getsockname),
    call("getsockopt", libc::SYS_getsockopt),
    call("setsockopt", libc::SYS_setsockopt),
    call("shutdown", libc::SYS_shutdown),
    call("close", libc::SYS_close),
    call("fcntl", libc::SYS_fcntl),
    call("ioctl", libc::SYS_ioctl).only(1, REQUESTS),
    // What the kernel's packet sockets are able to do, by its version.
    call("uname", libc::SYS_uname).rarely(),
    // The names of users; Landlock says what can be opened.
    call("openat", libc::SYS_openat).rarely(),
    call("lseek", libc::SYS_lseek).rarely(),
    // What rules list, into the memory file that they came in.
    call("ftruncate", libc::SYS_ftruncate).rarely(),
    call("statx", libc::SYS_statx).rarely(),
    call("fstat", libc::SYS_fstat).rarely(),
    call("newfstatat", libc::SYS_newfstatat).rarely(),
    // The allocator.
    call("brk", libc::SYS_brk).rarely(),
    call("mmap", libc::SYS_mmap).without(2, EXECUTABLE),
    call("mprotect", libc::SYS_mprotect).without(2, EXECUTABLE).rarely(),
    call("mremap", libc::SYS_mremap).rarely(),
    call("munmap", libc::SYS_munmap),
    call("madvise", libc::SYS_madvise).rarely(),
    // Locks of the allocator, and between the two threads.
    call("futex", libc::SYS_futex),
    // Keys of hash tables, identifiers of tables.
    call("getrandom", libc::SYS_getrandom).rarely(),
    // The time, where the kernel does not let the program read it itself.
    call("clock_gettime", libc::SYS_clock_gettime).rarely(),
    // Reports of what holds here.
    call("geteuid", libc::SYS_geteuid),
    call("capget", libc::SYS_capget),
    call("prctl", libc::SYS_prctl).only(0, QUESTIONS),
    // Signals that end the daemon, and the end.
    call("rt_sigreturn", libc::SYS_rt_sigreturn).rarely(),
    call("rt_sigaction", libc::SYS_rt_sigaction).rarely(),
    call("rt_sigprocmask", libc::SYS_rt_sigprocmask).rarely(),
    call("restart_syscall", libc::SYS_restart_syscall).rarely(),
    call("sigaltstack", libc::SYS_sigaltstack),
    // The keeper's end is waited for. The file of the control socket is the keeper's to remove.
    call("wait4", libc::SYS_wait4).rarely(),
    call("waitid", libc::SYS_waitid).rarely(),
    // How a panic ends the process.
    call("getpid", libc::SYS_getpid).rarely(),
    call("gettid", libc::SYS_gettid).rarely(),
    call("tgkill", libc::SYS_tgkill).rarely(),
    call("exit", libc::SYS_exit).rarely(),
    call("exit_group", libc::SYS_exit_group),
];

/// What the keeper calls, which opens files for the daemon and reads of processes.
pub(crate) const KEEPER: &[Call] = &[
    // The conversation with the daemon.
    call("recvmsg", libc::SYS_recvmsg),
    call("sendmsg", libc::SYS_sendmsg),
    // The configuration and `/dev/net/tun` are opened, `/proc/PID/cgroup` read as well.
    #[cfg(target_arch = "x86_64")]
    call("open", libc::SYS_open),
    call("openat", libc::SYS_openat),
    call("read", libc::SYS_read),
    call("lseek", libc::SYS_lseek).rarely(),
    call("statx", libc::SYS_statx),
    call("fcntl", libc::SYS_fcntl).rarely(),
    call("close", libc::SYS_close),
    // `/proc/PID/exe`.
    #[cfg(target_arch = "x86_64")]
    call("readlink", libc::SYS_readlink),
    call("readlinkat", libc::SYS_readlinkat).rarely(),
    // A connection between two programs is ended: by looking for who has it, and shutting it down.
    call("getdents64", libc::SYS_getdents64).rarely(),
    call("fstat", libc::SYS_fstat).rarely(),
    call("newfstatat", libc::SYS_newfstatat).rarely(),
    call("pidfd_open", libc::SYS_pidfd_open).rarely(),
    call("pidfd_getfd", libc::SYS_pidfd_getfd).rarely(),
    call("getsockopt", libc::SYS_getsockopt).rarely(),
    call("shutdown", libc::SYS_shutdown).rarely(),
    // The control socket's file, at the end.
    #[cfg(target_arch = "x86_64")]
    call("unlink", libc::SYS_unlink),
    call("unlinkat", libc::SYS_unlinkat).rarely(),
    // The allocator.
    call("brk", libc::SYS_brk).rarely(),
    call("mmap", libc::SYS_mmap).without(2, EXECUTABLE).rarely(),
    call("mremap", libc::SYS_mremap).rarely(),
    call("munmap", libc::SYS_munmap).rarely(),
    call("madvise", libc::SYS_madvise).rarely(),
    call("futex", libc::SYS_futex).rarely(),
    // Signals, and the end.
    call("rt_sigreturn", libc::SYS_rt_sigreturn).rarely(),
    call("rt_sigaction", libc::SYS_rt_sigaction).rarely(),
    call("rt_sigprocmask", libc::SYS_rt_sigprocmask).rarely(),
    call("restart_syscall", libc::SYS_restart_syscall).rarely(),
    call("sigaltstack", libc::SYS_sigaltstack).rarely(),
    call("getpid", libc::SYS_getpid).rarely(),
    call("gettid", libc::SYS_gettid).rarely(),
    call("tgkill", libc::SYS_tgkill).rarely(),
    call("exit_group", libc::SYS_exit_group),
];

/// Programs, other processes' memory, the kernel's code and name spaces. What a table lists is not.
const FATAL: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    libc::SYS_mount,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_capset,
    libc::SYS_keyctl,
];

/// A table as programs for the kernel, to be enforced on the calling thread.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    fatal: BpfProgram,
    allowed: BpfProgram,
}

impl Calls {
    pub(crate) fn compile(table: &[Call]) -> Result<Self> {
        let allowed = table.iter().map(|call| Ok((call.number, rules(call.only)?)));
        let allowed = allowed.collect::<Result<_>>()?;
        let fatal = FATAL.iter().filter(|number| table.iter().all(|call| call.number != **number));
        let fatal = fatal.map(|number| (*number, Vec::new())).collect();
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        Ok(Self {
            fatal: program(fatal, SeccompAction::Allow, SeccompAction::KillProcess)?,
            allowed: program(allowed, refuse, SeccompAction::Allow)?,
        })
    }

    /// From now on they hold for the calling thread. Of both filters the kernel takes the harder.
    pub(crate) fn enforce(&self) -> Result<()> {
        for filter in [&self.fatal, &self.allowed] {
            seccompiler::apply_filter(filter).context("seccomp")?;
        }
        Ok(())
    }
}

fn program(
    calls: BTreeMap<c_long, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    if_listed: SeccompAction,
) -> Result<BpfProgram> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(calls, otherwise, if_listed, machine)?.try_into()?)
}

/// One of them has to hold; without any, anything may be asked.
fn rules(only: Only) -> Result<Vec<SeccompRule>> {
    let rule = |index, operator, value| -> Result<SeccompRule> {
        let condition = SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    match only {
        Only::Anything => Ok(Vec::new()),
        Only::OneOf(index, values) => {
            values.iter().map(|value| rule(index, SeccompCmpOp::Eq, *value)).collect()
        }
        Only::Without(index, bits) => Ok(vec![rule(index, SeccompCmpOp::MaskedEq(bits), 0)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::{
        io::Errno,
        net::{AddressFamily, SocketType},
    };
    use std::thread;

    #[test]
    fn each_call_is_listed_once_and_never_fatal() {
        for table in [LOOP, KEEPER] {
            for (place, call) in table.iter().enumerate() {
                let rest = table.get(place + 1..).unwrap_or_default();
                assert!(rest.iter().all(|other| other.number != call.number), "{}", call.name);
                let kept = table.len() == KEEPER.len() && call.name == "pidfd_getfd";
                assert!(kept || !FATAL.contains(&call.number), "{}", call.name);
            }
        }
    }

    /// The filter is the thread's, so it goes with it.
    fn confined<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
        let calls = Calls::compile(LOOP).expect("a filter");
        let confined = thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).expect("no new privileges");
            calls.enforce().expect("seccomp");
            work()
        });
        confined.join().expect("a thread")
    }

    #[test]
    fn what_is_not_listed_is_refused_by_call_and_by_argument() {
        let socket = |family| {
            confined(move || rustix::net::socket(family, SocketType::DGRAM, None).map(drop))
        };
        assert_eq!(socket(AddressFamily::NETLINK), Ok(()));
        assert_eq!(socket(AddressFamily::INET), Err(Errno::PERM));
        assert_eq!(socket(AddressFamily::UNIX), Err(Errno::PERM));
        let pair = confined(|| {
            let flags = rustix::net::SocketFlags::empty();
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).map(drop)
        });
        assert_eq!(pair, Ok(()));
        assert_eq!(confined(|| rustix::process::chdir(c"/")), Err(Errno::PERM));
    }
}
