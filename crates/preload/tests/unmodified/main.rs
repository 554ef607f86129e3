//! Programs under the shim, against a daemon without a network.
//!
//! Each program below is run by this same executable, started again with the shim preloaded. It
//! uses `std::net` and the C library as any program would, and fails by panicking.

#[path = "../../../client/tests/fake/mod.rs"]
mod fake;
mod posix;
mod programs;

use fake::FakeDaemon;
use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

/// Names the program that the started executable is to be.
const PROGRAM: &str = "NARROWS_TEST_PROGRAM";

/// No program here takes more than a second; one that hangs must not hang the tests.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Ok(name) = env::var(PROGRAM) {
        let mut programs = programs::ALL.iter().chain(programs::LONELY);
        let (_, program) = programs.find(|(known, _)| *known == name).unwrap();
        program();
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut failed = 0;
    for (name, _) in programs::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let daemon = FakeDaemon::start(name);
        match run(name, daemon.path()) {
            Ok(()) => println!("program {name} ... ok ({} sessions)", daemon.sessions()),
            Err(why) => {
                failed += 1;
                println!("program {name} ... FAILED\n{why}");
            }
        }
    }
    for check in [an_absent_daemon_is_reported_once, a_dying_daemon_ends_every_call] {
        check();
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn command(name: &str, socket: &std::path::Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .env(PROGRAM, name)
        .env("LD_PRELOAD", shim())
        .env("NARROWS_SOCKET", socket)
        .stdin(Stdio::null());
    command
}

/// Where cargo puts the shim: beside the tests' executables.
fn shim() -> PathBuf {
    let executable = env::current_exe().unwrap();
    let shim = executable.with_file_name("libnarrows_preload.so");
    assert!(shim.exists(), "{} is missing", shim.display());
    shim
}

fn run(name: &str, socket: &std::path::Path) -> Result<(), String> {
    let mut child = command(name, socket)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let started = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().map_err(|error| error.to_string())?;
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{}: {said}", output.status))
}

fn an_absent_daemon_is_reported_once() {
    let output = command("network_down", "/nonexistent/narrows.sock".as_ref()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let expected = "narrows: no Narrows daemon listens at /nonexistent/narrows.sock; \
                    start one with `narrows up`\n";
    assert_eq!(said, expected);
    println!("an absent daemon is reported once ... ok");
}

fn a_dying_daemon_ends_every_call() {
    let daemon = FakeDaemon::start("dies");
    let mut child = command("daemon_dies", daemon.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program says when it has what it needs.
    let mut ready = [0];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
    drop(daemon);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("a dying daemon ends every call ... ok");
}
