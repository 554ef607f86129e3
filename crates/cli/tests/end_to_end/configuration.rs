//! A mistake in the configuration is told with its line, and nothing is started.

use crate::stage::{NARROWS, PATIENCE};
use anyhow::{Result, ensure};
use narrows_testbed::{Network, Process, as_root};
use std::fs;

#[test]
fn mistakes_are_told_with_their_line() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("narrows.toml");
        let socket = directory.path().join("socket");
        for (line, words, text) in [
            (5, "colour", interface("packet:nw0", "10.77.0.2/24") + "colour = \"red\"\n"),
            (4, "10.77.0.256", interface("packet:nw0", "10.77.0.256/24")),
            (4, "prefix length", interface("packet:nw0", "10.77.0.2")),
            (3, "no-such-device", interface("packet:no-such-device", "10.77.0.2/24")),
            (3, "nw0", interface("nw0", "10.77.0.2/24")),
            (
                8,
                "10.77.0.2",
                interface("packet:nw0", "10.77.0.2/24")
                    + &interface("tap:other", "10.77.0.2/24").replace("\"wire\"", "\"other\""),
            ),
            (1, "interface", String::new()),
        ] {
            fs::write(&path, &text)?;
            let mut command = network.narrows.command(NARROWS);
            command.arg("--socket").arg(&socket).arg("up").arg("--config").arg(&path);
            let output = Process::output(&mut command, PATIENCE)?;
            ensure!(!output.status.success(), "started with:\n{text}");
            let place = format!("{}:{line}: ", path.display());
            ensure!(output.stderr.contains(&place), "{place} is not in: {}", output.stderr);
            ensure!(output.stderr.contains(words), "`{words}` is not in: {}", output.stderr);
            ensure!(!socket.exists(), "a control socket was left by:\n{text}");
        }
        Ok(())
    })
}

/// Lines 1 to 4.
fn interface(device: &str, address: &str) -> String {
    format!("[[interface]]\nname = \"wire\"\ndevice = \"{device}\"\naddress = [\"{address}\"]\n")
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("missing.toml");
        let mut command = network.narrows.command(NARROWS);
        command.arg("--socket").arg(directory.path().join("socket"));
        command.arg("up").arg("--config").arg(&path);
        let output = Process::output(&mut command, PATIENCE)?;
        ensure!(!output.status.success());
        ensure!(output.stderr.contains(&path.display().to_string()), "{}", output.stderr);
        Ok(())
    })
}
