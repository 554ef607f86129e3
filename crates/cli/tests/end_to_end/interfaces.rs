//! Interfaces as programs ask for them: by Python scripts that run on the kernel too, and by ip(8).

use crate::stage::{On, Stage, fail, installed, scripts, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::as_root;
use serde_json::Value;

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    for on in [On::Kernel, On::Narrows] {
        stage.script(on, &python, name, text, on.port(7000))?;
    }
    Ok(())
}

scripts! {
    script:
    interface_calls
}

/// What `narrows WORDS` and `ip WORDS` under the shim say, in JSON.
fn both(stage: &Stage, words: &[&str]) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut command = stage.command(On::Narrows, "ip");
    command.arg("-j").args(words);
    let told = serde_json::from_str(&succeed(command)?)?;
    let (command, words) = words.split_first().context("no command")?;
    let own = stage.ask(&[&[*command, "-j"], words].concat())?;
    let own = serde_json::from_str(&own.stdout).with_context(|| own.stdout)?;
    Ok((told, own))
}

#[test]
fn ip_says_what_narrows_says() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        // So that there is a neighbor.
        ensure!(
            stage.ask(&["ping", "-c", "1", &On::Kernel.address().to_string()])?.status.success()
        );
        for words in [&["addr"][..], &["link"], &["route"], &["rule"], &["neigh"]] {
            let (told, own) = both(&stage, words)?;
            ensure!(!own.is_empty(), "{words:?}: nothing to compare");
            ensure!(told.len() == own.len(), "{words:?}:\n{told:#?}\n{own:#?}");
            for (told, own) in told.iter().zip(&own) {
                for key in
                    ["ifname", "ifindex", "flags", "mtu", "operstate", "address", "dst", "dev"]
                        .into_iter()
                        .chain(["gateway", "prefsrc", "protocol", "scope", "lladdr", "state"])
                        .chain(["priority", "src", "table", "addr_info"])
                {
                    let (told, own) = (&told[key], &own[key]);
                    ensure!(told == own, "{words:?}, {key}: {told} for {own}");
                }
            }
        }
        Ok(())
    })
}

#[test]
fn ip_asks_for_one_route_and_changes_none() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let ip = |words: &[&str]| {
            let mut command = stage.command(On::Narrows, "ip");
            command.args(words);
            command
        };
        let (own, peer) = (On::Narrows.address(), On::Kernel.address());
        let said = succeed(ip(&["route", "get", &peer.to_string()]))?;
        ensure!(said.starts_with(&format!("{peer} dev ")), "{said}");
        ensure!(said.contains(&format!(" src {own} ")), "{said}");
        let said = succeed(ip(&["route", "get", "127.0.0.1"]))?;
        ensure!(said.starts_with("local 127.0.0.1 dev lo "), "{said}");
        let said = fail(ip(&["route", "get", "203.0.113.1"]))?;
        ensure!(said.contains("Network is unreachable"), "{said}");
        for words in
            [&["link", "set", "lo", "down"][..], &["route", "add", "203.0.113.0/24", "dev", "lo"]]
        {
            let said = fail(ip(words))?;
            ensure!(said.contains("changed by `narrows link`"), "{words:?}: {said}");
        }
        Ok(())
    })
}
