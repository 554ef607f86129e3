//! `narrows reload`: the daemon reads its configuration file again, and says what it changed.

use anyhow::Result;
use narrows_client::Stack;
use std::io::Write;

pub fn execute(stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let changes = stack.reload()?;
    if changes.is_empty() {
        writeln!(out, "nothing has changed")?;
    }
    for change in changes {
        writeln!(out, "{change}")?;
    }
    Ok(())
}
