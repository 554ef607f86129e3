//! The testbed's peers as a program.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    narrows_testbed::peer::main(std::env::args_os().skip(1))
}
