//! Taps at stages of packets' ways, and claims that go before others.

use crate::stage::{On, PATIENCE, Stage, fail, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_client::{PacketSocket, ipc::see};
use narrows_testbed::{Process, as_root};
use std::{path::Path, process::Command};

/// Sends a datagram of `length` bytes to a port of Narrows' host.
const SEND: &str = "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\n\
    s.sendto(bytes(int(sys.argv[3])),(sys.argv[1],int(sys.argv[2])))";

const NOBODY: &str = "65533";

fn interface(stage: &Stage) -> Result<String> {
    Ok(stage.stack()?.links()?.pop().context("no interface")?.name)
}

fn policy(stage: &Stage, words: &str) -> Result<()> {
    let line = format!("policy add grant user {NOBODY} packet {words}");
    let said = stage.ask(&line.split(' ').collect::<Vec<_>>())?;
    ensure!(said.status.success(), "{line}: {}", said.stderr);
    Ok(())
}

fn who_has(stage: &Stage, name: &str, frame: &str) -> Result<String> {
    let said = stage.ask(&["who-has", name, frame])?;
    ensure!(said.status.success(), "{}", said.stderr);
    Ok(said.stdout)
}

fn send(stage: &Stage, python: &Path, port: u16, length: usize) -> Result<()> {
    let mut command = stage.command(On::Kernel, python);
    let address = On::Narrows.address().to_string();
    command.args(["-c", SEND, &address, &port.to_string(), &length.to_string()]);
    succeed(command).map(drop)
}

#[test]
fn a_tap_is_told_where_on_its_way_each_packet_was_and_why_it_ended() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let name = interface(&stage)?;
        let notes = stage.directory().join("notes");
        let tap = |user: &str| {
            let mut tap = stage.command(On::Narrows, &python);
            tap.args(["-c", include_str!("scripts/tap.py"), &name, "15"]).arg(&notes).arg(user);
            tap
        };
        std::fs::write(&notes, "")?;
        let mut writable = Command::new("chmod");
        writable.args(["-R", "a+rwX"]).arg(stage.directory());
        succeed(writable)?;
        // Who may observe may not tap, unless policy says so too.
        policy(&stage, &format!("observe {name}"))?;
        ensure!(fail(tap(NOBODY))?.contains("Operation not permitted"));
        policy(&stage, &format!("tap {name}"))?;
        let mut tap = stage.start(tap(NOBODY), "taps")?;
        let asked = who_has(&stage, &name, "udp port 7008")?;
        let stages: Vec<_> = asked.lines().filter(|line| line.starts_with("tap")).collect();
        ensure!(stages.len() == 3, "{asked}");
        ensure!(
            stages[2].contains("if the stack drops it") && stages[2].contains("python"),
            "{asked}"
        );
        send(&stage, &python, 7008, 2000)?;
        let status = tap.wait(PATIENCE)?;
        ensure!(status.success(), "{status}");
        // Two fragments, the datagram that they are, the answer that nobody is there, and the end.
        let expected =
            "filter 1500 \nfilter 548 \nreassembled 2028 \ntransmit 576 \ndrop 548 udp-no-socket\n";
        let notes = std::fs::read_to_string(&notes)?;
        ensure!(notes == expected, "{notes}");
        Ok(())
    })
}

#[test]
fn programs_written_for_it_tap_too() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let stack = stage.stack()?;
        let tap = PacketSocket::open(&stack, &interface(&stage)?, 0x0800)?;
        tap.set_read_timeout(Some(PATIENCE))?;
        tap.tap(&[see::Stage::Drop])?;
        send(&stage, &python, 7009, 5)?;
        let mut room = [0; 100];
        let (count, header) = tap.recv(&mut room)?;
        ensure!((count, header.stage) == (47, see::Stage::Drop), "{count} {header:?}");
        let reasons = stack.drop_reasons()?;
        let reason = usize::from(header.reason).checked_sub(1).and_then(|at| reasons.get(at));
        ensure!(reason.is_some_and(|name| name == "udp-no-socket"), "{reason:?}");
        Ok(())
    })
}

#[test]
fn a_claim_goes_before_another_where_policy_says_so() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let name = interface(&stage)?;
        let claim = |port: &str, user: &[&str]| {
            let mut command = stage.command(On::Narrows, &python);
            command.args(["-c", include_str!("scripts/claim.py"), &name, port]).args(user);
            command
        };
        for words in ["observe", "claim", "inject"] {
            policy(&stage, &format!("{words} {name}"))?;
        }
        let lower: Process = stage.start(claim("7010", &[NOBODY]), "claimed")?;
        // Root's goes before, which is told; and nobody without that right gets what root has.
        let first: Process = stage.start(claim("7010", &[]), "claimed")?;
        let asked = who_has(&stage, &name, "udp port 7010")?;
        let holder = asked.lines().next().unwrap_or_default();
        ensure!(holder.contains("takes it; nobody after") && holder.contains("uid=0"), "{asked}");
        drop(lower);
        ensure!(fail(claim("7010", &[NOBODY]))?.contains("EBUSY"));
        drop(first);
        let _again = stage.start(claim("7010", &[NOBODY]), "claimed")?;
        Ok(())
    })
}
