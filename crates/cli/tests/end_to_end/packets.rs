//! Packet sockets: by a Python script that runs on the kernel too, and by programs that capture.

use crate::stage::{On, PATIENCE, Stage, installed, scripts, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Network, Process, as_root};
use std::process::Stdio;

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    for (on, peer) in [(On::Kernel, On::Narrows), (On::Narrows, On::Kernel)] {
        stage.script(on, &python, name, text, peer.port(7000))?;
    }
    Ok(())
}

scripts! {
    script:
    packet_calls
}

/// Runs a program that captures while the kernel pings Narrows; what it wrote.
fn capture(stage: &Stage, program: &str, words: &[&str]) -> Result<String> {
    let mut command = stage.command(On::Narrows, program);
    command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut ping = stage.command(On::Kernel, "ping");
    ping.args(["-i", "0.1", &On::Narrows.address().to_string()]);
    ping.stdout(Stdio::null());
    let _ping = Process::spawn(&mut ping)?;
    let output = Process::output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "{program} {words:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

#[test]
fn tcpdump_sees_both_directions() -> Result<()> {
    as_root(|| {
        let Some(_) = installed("tcpdump")? else { return Ok(()) };
        let stage = Stage::new()?;
        let name = stage.stack()?.links()?.pop().context("no interface")?.name;
        let (own, peer) = (On::Narrows.address(), On::Kernel.address());
        // Memory of version 3 of the interface, of version 2, and without link headers.
        for words in [&["-i", &name][..], &["--immediate-mode", "-i", &name], &["-i", "any"]] {
            let words = [&["-n", "-c", "4", "-Z", "root"][..], words, &["icmp"]].concat();
            let said = capture(&stage, "tcpdump", &words)?;
            let asks = said.contains(&format!("IP {peer} > {own}: ICMP echo request"));
            let answers = said.contains(&format!("IP {own} > {peer}: ICMP echo reply"));
            ensure!(asks && answers, "{words:?}: {said}");
        }
        Ok(())
    })
}

#[test]
fn tshark_and_arping_work() -> Result<()> {
    as_root(|| {
        let (Some(_), Some(_)) = (installed("tshark")?, installed("arping")?) else {
            return Ok(());
        };
        let stage = Stage::new()?;
        let name = stage.stack()?.links()?.pop().context("no interface")?.name;
        let said = capture(&stage, "tshark", &["-n", "-i", &name, "-c", "4", "-f", "icmp"])?;
        ensure!(said.contains("Echo (ping) reply"), "{said}");
        let mut arping = stage.command(On::Narrows, "arping");
        arping.args(["-c", "1", "-I", &name, &On::Kernel.address().to_string()]);
        let said = succeed(arping)?;
        ensure!(said.contains("Unicast reply from") || said.contains("bytes from"), "{said}");
        Ok(())
    })
}

#[test]
fn who_gets_what_is_as_on_the_kernel_in_every_mixture() -> Result<()> {
    const SCRIPT: &str = include_str!("scripts/who_gets.py");
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let mut told = Vec::new();
        for (on, from) in [(On::Kernel, On::Narrows), (On::Narrows, On::Kernel)] {
            let stage = Stage::new()?;
            let wire = stage.stack()?.links()?.pop().context("no interface")?.name;
            let name = |on| if on == On::Narrows { &*wire } else { Network::KERNEL_INTERFACE };
            let file = stage.directory().join("told");
            let mut hear = stage.command(on, &python);
            hear.args(["-c", SCRIPT, "hear", name(on)]).arg(&file);
            let mut hear = stage.start(hear, "ready")?;
            let mut send = stage.command(from, &python);
            send.args(["-c", SCRIPT, "send", name(from)]);
            succeed(send)?;
            ensure!(hear.wait(PATIENCE)?.success(), "on {on:?}");
            told.push(std::fs::read_to_string(&file)?);
        }
        ensure!(told[0] == told[1], "kernel {}, narrows {}", told[0], told[1]);
        Ok(())
    })
}
