//! `narrows down`: ends the daemon.

use anyhow::Result;
use narrows_client::Stack;

pub fn execute(stack: &Stack) -> Result<()> {
    Ok(stack.stop()?)
}
