//! (being written)

use std::{ffi::OsString, process::ExitCode};

/// Runs the peer that `args` name (without a program name: `http-server --listen 127.0.0.1:80`).
pub fn main(_args: impl Iterator<Item = OsString>) -> ExitCode {
    todo!()
}
