//! `narrows up`: the daemon, in the foreground.

use crate::arguments::Up;
use anyhow::{Context, Result};
use narrows_daemon::Options;
use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};
use tracing_subscriber::EnvFilter;

/// What is logged is chosen by `NARROWS_LOG`, in the words of `RUST_LOG`.
const LOG_VARIABLE: &str = "NARROWS_LOG";

pub fn execute(up: Up, socket: PathBuf) -> Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var(LOG_VARIABLE)
        .from_env()?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Colors are for eyes, not for files.
        .with_ansi(io::stderr().is_terminal())
        .init();
    let keeper = Some(std::env::current_exe().context("this program's path")?);
    narrows_daemon::run(Options { config: up.config, socket, keeper })
}
