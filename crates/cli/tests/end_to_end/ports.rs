//! Sharing ports: every way in which two sockets may come to share one, on the kernel and on Narrows; and
//! what a member of a group leaves to the others.

use crate::{
    isolation::has_users,
    stage::{On, PATIENCE, Stage, installed},
};
use anyhow::{Result, ensure};
use narrows_testbed::{Process, as_root};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

const EVERY_WAY: &str = include_str!("scripts/sharing_ports.py");

const THROUGH_THE_ENGINE: &str = r#"
[[interface]]
name = "wire"
device = "packet:nw0"
address = ["10.77.0.2/24"]

[local]
cut_through = false
"#;

fn answers(stage: &Stage, on: On, python: &Path) -> Result<Vec<String>> {
    let mut command = stage.command(on, python);
    command.args(["-c", EVERY_WAY, "127.0.0.1", &on.address().to_string()]);
    let output = Process::output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "on {on:?}:\n{}", output.stderr);
    Ok(output.stdout.lines().map(str::to_owned).collect())
}

#[test]
fn ports_are_shared_as_on_the_kernel() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        if !has_users() {
            eprintln!("there is only one user in this namespace: left out");
            return Ok(());
        }
        // Who closes first waits, also where both ends are here.
        let stage = Stage::with(THROUGH_THE_ENGINE)?;
        // Other users have to reach the daemon's socket.
        fs::set_permissions(stage.directory(), fs::Permissions::from_mode(0o755))?;
        let mut lo = stage.network.kernel.command("ip");
        Process::output(lo.args(["link", "set", "lo", "up"]), PATIENCE)?;
        let kernel = answers(&stage, On::Kernel, &python)?;
        let narrows = answers(&stage, On::Narrows, &python)?;
        ensure!(kernel.len() == narrows.len() && kernel.len() >= 800, "{} cases", kernel.len());
        let differ = kernel.iter().zip(&narrows).filter(|(kernel, narrows)| kernel != narrows);
        let differ: Vec<_> =
            differ.map(|(kernel, narrows)| format!("{kernel}, here {narrows}")).collect();
        ensure!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
        Ok(())
    })
}
