//! Tracked flows: `ct watch`, `ct flush`, and `[conntrack]` in the configuration, which a reload brings.

use crate::stage::{On, Stage, eventually, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root};
use std::{fs, process::Stdio};

fn ask(stage: &Stage, line: &str) -> Result<String> {
    let said = stage.ask(&line.split_whitespace().collect::<Vec<_>>())?;
    ensure!(said.status.success(), "{line}: {}", said.stderr);
    Ok(said.stdout)
}

fn ping(stage: &Stage) -> Result<()> {
    let mut ping = stage.command(On::Kernel, "ping");
    ping.args(["-c", "1", &On::Narrows.address().to_string()]);
    succeed(ping).map(drop)
}

fn exchange(stage: &Stage, port: u16) -> Result<()> {
    let to = On::Narrows.port(port).to_string();
    succeed(stage.peer(On::Kernel, &["pingpong", "--count", "3", &to])).map(drop)
}

#[test]
fn flows_are_watched_and_forgotten_by_what_they_are() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let refused = stage.ask(&["ct", "list"])?;
        ensure!(!refused.status.success() && refused.stderr.contains("are not tracked"));
        let file = stage.directory().join("narrows.toml");
        let base = fs::read_to_string(&file)?;
        fs::write(&file, format!("{base}\n[conntrack]\nenabled = true\n"))?;
        let said = ask(&stage, "reload")?;
        ensure!(said.contains("flows are tracked"), "{said}");

        let news = stage.directory().join("news");
        let mut watch = stage.daemon.narrows(&stage.network.narrows);
        watch.args(["ct", "watch", "-p", "icmp"]).stdout(fs::File::create(&news)?);
        watch.stdin(Stdio::null());
        let _watch = Process::spawn(&mut watch)?;
        let says = |word: &str| Ok(fs::read_to_string(&news)?.contains(word));
        // It may not have begun to watch when the first are there.
        eventually("news of a flow", || {
            ping(&stage)?;
            says("[NEW]")
        })?;
        let _server = stage.serve_echo(On::Narrows, 7011)?;
        exchange(&stage, 7011)?;
        let count = |what: &str| -> Result<usize> {
            Ok(ask(&stage, &format!("ct list {what}"))?.lines().count())
        };
        ensure!(count("-p icmp")? > 0 && count("-p tcp")? > 0, "{}", ask(&stage, "ct list")?);
        let said = ask(&stage, "ct flush -p icmp")?;
        ensure!(said.ends_with("flow entries have been deleted.\n"), "{said}");
        ensure!(count("-p icmp")? == 0 && count("-p tcp")? > 0, "{}", ask(&stage, "ct list")?);
        eventually("news of its end", || says("[DESTROY]"))?;
        let told = fs::read_to_string(&news)?;
        ensure!(told.contains("src=10.77.0.1 dst=10.77.0.2 type=8"), "{told}");
        ensure!(!told.contains("tcp"), "only what was asked for: {told}");
        ask(&stage, "ct flush")?;
        ensure!(count("")? == 0);
        Ok(())
    })
}

#[test]
fn a_reload_brings_limits_and_times_and_refuses_wrong_ones() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let file = stage.directory().join("narrows.toml");
        let base = fs::read_to_string(&file)?;
        let with = |text: &str| fs::write(&file, format!("{base}\n[conntrack]\n{text}"));
        with("enabled = true\n[conntrack.timeouts]\nicmp = 500\n")?;
        ask(&stage, "reload")?;
        ping(&stage)?;
        let left = |word: &str| -> Result<u64> {
            let list = ask(&stage, "ct list -p icmp")?;
            let seconds =
                list.split_whitespace().nth(2).with_context(|| format!("{word}: {list}"))?;
            Ok(seconds.parse()?)
        };
        let long = left("the configured time")?;
        ensure!((400..=500).contains(&long), "{long}");
        // What is wrong changes nothing, and is told with its line.
        with("enabled = true\nmax = 99999999\n")?;
        let refused = stage.ask(&["reload"])?;
        ensure!(
            !refused.status.success() && refused.stderr.contains("max = 99999999"),
            "{refused:?}"
        );
        ensure!(left("after a refusal")? > 300);
        // One of each source: the next one's packets are dropped, and counted.
        with("enabled = true\nmax_per_source = 1\n")?;
        ask(&stage, "reload")?;
        ask(&stage, "ct flush")?;
        ping(&stage)?;
        let mut second = stage.command(On::Kernel, "ping");
        second.args(["-c", "1", "-W", "1", &On::Narrows.address().to_string()]);
        crate::stage::fail(second)?;
        ensure!(ask(&stage, "drops")?.contains("conntrack-source-limit"));
        fs::write(&file, &base)?;
        ask(&stage, "reload")?;
        ensure!(!stage.ask(&["ct", "list"])?.status.success(), "nothing is tracked any more");
        ping(&stage)
    })
}
