//! What can't be done is said, and nothing is run on the kernel instead.

use crate::stage::{NARROWS, On, Stage, fail};
use anyhow::{Result, ensure};
use narrows_ipc::{Hello, Listener, Welcome};
use narrows_testbed::as_root;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, thread, time::Duration};

/// `narrows --socket SOCKET WORDS`, without a network.
fn narrows(socket: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(NARROWS);
    command.arg("--socket").arg(socket).args(words);
    command
}

#[test]
fn no_daemon() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    for words in [&["ss"][..], &["stat"], &["addr"], &["down"], &["run", "--", "true"]] {
        let error = fail(narrows(&socket, words))?;
        ensure!(error.contains(&socket.display().to_string()), "{words:?}: {error}");
        ensure!(error.contains("start one with") && error.contains("narrows up"), "{error}");
    }
    Ok(())
}

#[test]
fn another_version() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let listener = Listener::bind(&socket, 0o600)?;
    let daemon = thread::spawn(move || -> Result<()> {
        for _ in 0..2 {
            let mut session = loop {
                if let Some(session) = listener.accept()? {
                    break session;
                }
                thread::sleep(Duration::from_millis(5));
            };
            while session.recv::<Hello>()?.is_none() {
                thread::sleep(Duration::from_millis(5));
            }
            session.send(&Welcome::VersionMismatch { daemon: 4711 }, None)?;
        }
        Ok(())
    });
    for words in [&["ss"][..], &["run", "--", "true"]] {
        let error = fail(narrows(&socket, words))?;
        ensure!(error.contains("version 4711"), "{words:?}: {error}");
    }
    daemon.join().expect("the thread does not panic")
}

#[test]
fn programs_that_are_not_there_or_no_programs() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let file = directory.path().join("file");
    fs::write(&file, "hello")?;
    let file = file.display().to_string();
    for (program, words) in [
        ("no-such-program", "not found in PATH"),
        ("./no-such-program", "no such file"),
        (&*file, "not an executable file"),
    ] {
        let error = fail(narrows(&socket, &["run", "--", program]))?;
        ensure!(error.contains(program) && error.contains(words), "{error}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    let error = fail(narrows(&socket, &["run", "--", &file]))?;
    ensure!(error.contains("neither an ELF program nor a script"), "{error}");
    Ok(())
}

#[test]
fn a_static_program_is_not_run() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let path = stage.directory().join("static");
        // This very program without its PT_INTERP (program header type 3): as a static one looks.
        fs::write(&path, without_loader(&fs::read(NARROWS)?))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        let error = fail(stage.command(On::Narrows, &path))?;
        ensure!(error.contains("statically linked"), "{error}");
        Ok(())
    })
}

/// Turns the program header that names the loader into one that is ignored (PT_NULL).
fn without_loader(elf: &[u8]) -> Vec<u8> {
    const PT_INTERP: u32 = 3;
    let mut elf = elf.to_vec();
    let half = |elf: &[u8], at: usize| u16::from_le_bytes([elf[at], elf[at + 1]]);
    let table = u64::from_le_bytes(elf[32..40].try_into().expect("eight bytes")) as usize;
    let (size, count) = (usize::from(half(&elf, 54)), usize::from(half(&elf, 56)));
    for at in (0..count).map(|index| table + index * size) {
        if elf[at..at + 4] == PT_INTERP.to_le_bytes() {
            elf[at..at + 4].fill(0);
        }
    }
    elf
}
