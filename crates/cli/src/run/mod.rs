//! `narrows run -- PROGRAM ARGS`: becomes the program, with the shim preloaded.
//!
//! A program the shim can't reach would run on the kernel's stack without a word, so each such
//! case is found before and refused: see [`program`].

pub mod program;
mod shim;

use crate::arguments::Run;
use anyhow::{Context, Result, anyhow};
use narrows_client::Stack;
use narrows_ipc::path::{SOCKET_VARIABLE, ZONE_VARIABLE};
use std::{env, ffi::OsString, os::unix::process::CommandExt, path::Path, process::Command};

/// The variable by which the dynamic loader is told of the shim.
const PRELOAD_VARIABLE: &str = "LD_PRELOAD";

/// Returns only if the program could not be started.
pub fn execute(run: &Run, socket: &Path) -> Result<()> {
    let (name, arguments) = run.command.split_first().context("no program given")?;
    let path = program::find(name, env::var_os("PATH").as_deref())?;
    program::check(&path)?;
    let shim = shim::find(&env::current_exe().context("can't tell where narrows itself is")?)?;
    // The daemon must be there, and speak our version, before the program finds out.
    drop(match &run.zone {
        Some(zone) => Stack::connect_in(Some(socket), zone)?,
        None => Stack::connect(Some(socket))?,
    });
    let socket = std::path::absolute(socket).context("can't tell the current directory")?;
    let mut command = Command::new(&path);
    command
        .arg0(name)
        .args(arguments)
        .env(PRELOAD_VARIABLE, preload_list(&shim, env::var_os(PRELOAD_VARIABLE)))
        .env(SOCKET_VARIABLE, socket);
    if let Some(zone) = &run.zone {
        command.env(ZONE_VARIABLE, zone);
    }
    let error = command.exec();
    Err(anyhow!(error).context(format!("can't start {}", path.display())))
}

/// The shim first, then what was to be preloaded anyway.
fn preload_list(shim: &Path, others: Option<OsString>) -> OsString {
    let mut list = shim.as_os_str().to_owned();
    if let Some(others) = others.filter(|others| !others.is_empty()) {
        list.push(":");
        list.push(others);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_libraries_stay_preloaded() {
        let shim = Path::new("/lib/shim.so");
        for (others, list) in [
            (None, "/lib/shim.so"),
            (Some(""), "/lib/shim.so"),
            (Some("/lib/other.so"), "/lib/shim.so:/lib/other.so"),
        ] {
            assert_eq!(preload_list(shim, others.map(OsString::from)), list);
        }
    }
}
