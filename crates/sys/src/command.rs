//! What a program to be started does between fork(2) and execve(2).
//!
//! The hooks run in the child of a process that may have threads, so they only make system calls:
//! no allocation, no locks.

use crate::namespace::{RootMap, enter_network};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::{
    io,
    os::{fd::AsFd, unix::process::CommandExt},
    process::Command,
};

/// Starts the program in that network namespace.
pub fn in_network_namespace(
    command: &mut Command,
    namespace: impl AsFd + Send + Sync + 'static,
) -> &mut Command {
    // SAFETY: the hook makes one system call.
    unsafe { command.pre_exec(move || enter_network(&namespace)) }
}

/// Starts the program as root of a new user namespace.
pub fn in_new_user_namespace(command: &mut Command) -> &mut Command {
    let map = RootMap::of_caller();
    // SAFETY: the hook makes only system calls, by its documentation.
    unsafe { command.pre_exec(move || map.enter_user_namespace()) }
}

/// The program is killed when the thread that starts it ends. Call it from the process that will
/// start the program.
pub fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent = getpid();
    let hook = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the call above.
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: the hook makes two system calls.
    unsafe { command.pre_exec(hook) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, process::Stdio};

    #[test]
    fn a_program_dies_with_the_thread_that_started_it() {
        let child = std::thread::spawn(|| {
            die_with_parent(Command::new("sleep").arg("60").stdout(Stdio::piped()))
                .spawn()
                .expect("sleep")
        });
        let mut child = child.join().expect("thread");
        let mut rest = Vec::new();
        child.stdout.take().expect("pipe").read_to_end(&mut rest).expect("end of file");
        assert!(!child.wait().expect("wait").success());
    }
}
