//! Programs of the system, run to their end.

use anyhow::{Context, Result, ensure};
use narrows_testbed::{Namespace, Process};
use std::{ffi::OsStr, time::Duration};

/// The kernel takes a while over a large ruleset.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(
    namespace: &Namespace,
    program: &str,
    words: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<()> {
    let mut command = namespace.command(program);
    command.args(words);
    let output =
        Process::output(&mut command, PATIENCE).with_context(|| format!("{program} is needed"))?;
    ensure!(output.status.success(), "{command:?}: {}", output.stderr);
    Ok(())
}

/// ip(8), of iproute2.
pub fn ip(namespace: &Namespace, words: &str) -> Result<()> {
    run(namespace, "ip", words.split_whitespace())
}
