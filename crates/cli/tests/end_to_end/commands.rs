//! What `narrows` shows of a running daemon.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Network, as_root, ping};
use serde_json::Value;

fn json(stage: &Stage, words: &[&str]) -> Result<Value> {
    let output = stage.ask(words)?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    serde_json::from_str(&output.stdout).with_context(|| output.stdout.clone())
}

fn text(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = stage.ask(words)?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(output.stdout)
}

#[test]
fn addresses_routes_and_neighbors_read_as_in_ip() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let kernel = Network::KERNEL_ADDRESS.to_string();
        ensure!(stage.ask(&["ping", "-c", "1", &kernel])?.status.success());

        let addr = text(&stage, &["addr"])?;
        ensure!(addr.contains("lo: <LOOPBACK,UP,LOWER_UP>"), "{addr}");
        ensure!(addr.contains("inet 10.77.0.2/24 brd 10.77.0.255 scope global wire"), "{addr}");
        let addr = json(&stage, &["addr", "-j", "show", "dev", "wire"])?;
        ensure!(addr[0]["addr_info"][0]["local"] == "10.77.0.2", "{addr}");
        ensure!(addr.as_array().is_some_and(|links| links.len() == 1), "{addr}");
        let missing = stage.ask(&["addr", "show", "dev", "nothing"])?;
        ensure!(!missing.status.success() && missing.stderr.contains("does not exist"));

        let lines = text(&stage, &["-o", "addr", "show", "wire"])?;
        ensure!(
            lines.lines().count() == 1 && lines.contains(" wire\\       valid_lft "),
            "{lines}"
        );
        let lines = text(&stage, &["-o", "link"])?;
        ensure!(lines.lines().all(|line| line.contains("\\    link/")), "{lines}");
        let status = |words: &[&str]| stage.ask(words).map(|output| output.status.code());
        let add = ["addr", "add", "10.77.0.9/24", "dev", "wire"];
        ensure!(status(&add)? == Some(0) && status(&add)? == Some(2), "what is there is refused");
        ensure!(status(&["addr", "add", "10.77.0.9/24", "dev"])? == Some(1), "a word lacks");
        ensure!(status(&["link", "set", "lo", "down"])? == Some(2), "the loopback stays");

        let route = text(&stage, &["route"])?;
        let connected = "10.77.0.0/24 dev wire proto kernel scope link src 10.77.0.2 \n";
        ensure!(route.contains(connected), "{route}");
        let route = json(&stage, &["route", "-j"])?;
        let routes = route.as_array().context("an array")?;
        ensure!(routes.iter().any(|route| route["dst"] == "10.77.0.0/24"), "{route}");

        let neigh = text(&stage, &["neigh"])?;
        let line = neigh.lines().find(|line| line.starts_with(&kernel)).context("a neighbor")?;
        ensure!(line.contains(" dev wire lladdr ") && line.ends_with(" REACHABLE"), "{neigh}");
        let neigh = json(&stage, &["neigh", "-j"])?;
        ensure!(neigh[0]["state"][0] == "REACHABLE", "{neigh}");
        Ok(())
    })
}

#[test]
fn sockets_are_listed_with_their_owners() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let server = stage.serve_echo(On::Narrows, 7000)?;
        let address = On::Narrows.port(7000).to_string();
        let hold = stage.peer(On::Kernel, &["hold", &address, "--connections", "1"]);
        let hold = stage.start(hold, "holding 1")?;

        let owner = format!("users:((\"narrows\",pid={}))", server.id());
        let listing = text(&stage, &["ss", "-ltnpH"])?;
        let row: Vec<&str> = listing.split_whitespace().collect();
        ensure!(row.first() == Some(&"LISTEN") && row.get(3) == Some(&&*address), "{listing}");
        ensure!(row.last() == Some(&&*owner), "{listing}: {owner}");

        let connections = text(&stage, &["ss", "-tpiH"])?;
        ensure!(connections.starts_with("ESTAB"), "{connections}");
        ensure!(connections.contains(&owner), "{connections}");
        ensure!(connections.contains(" rto:") && connections.contains(" cwnd:"), "{connections}");

        let rows = json(&stage, &["ss", "-aj"])?;
        let rows = rows.as_array().context("an array")?;
        let is_ours = |row: &&Value| row["process"]["pid"] == server.id();
        ensure!(rows.iter().filter(is_ours).count() == 2, "{rows:?}");
        let header = text(&stage, &["ss"])?;
        ensure!(header.starts_with("Netid State"), "{header}");

        drop((hold, server));
        eventually("no socket is left", || Ok(stage.owned_sockets()? == 0))
    })
}

#[test]
fn frames_and_drops_are_counted() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let kernel = Network::KERNEL_ADDRESS.to_string();
        ensure!(stage.ask(&["ping", "-c", "2", "-i", "0.01", &kernel])?.status.success());
        // Nobody listens there: the segment is dropped, by that name.
        let refused = stage.peer(On::Kernel, &["pingpong", &On::Narrows.port(9).to_string()]);
        let error = crate::stage::fail(refused)?;
        ensure!(error.contains("refused"), "{error}");

        let stat = text(&stage, &["stat"])?;
        ensure!(stat.contains("tcp-no-socket"), "{stat}");
        let drops = json(&stage, &["drops", "-j"])?;
        let drops = drops.as_array().context("an array")?;
        let refused = drops.iter().find(|row| row["reason"] == "tcp-no-socket");
        let refused = refused.context("no such row")?;
        ensure!(refused["dev"] == "wire" && refused["count"] == 1, "{refused}");
        ensure!(text(&stage, &["drops"])?.contains("    1 dev wire\n"));
        let stat = json(&stage, &["stat", "-j"])?;
        let drop = &stat["drops"]["tcp-no-socket"];
        ensure!(drop["count"] == 1, "{stat}");
        ensure!(drop["meaning"].as_str().is_some_and(|text| !text.is_empty()), "{stat}");
        let counted = stat["counters"].as_object().context("an object")?;
        ensure!(counted.values().any(|value| value.as_u64().is_some_and(|value| value > 1)));
        Ok(())
    })
}

#[test]
fn pings_that_nobody_answers_fail() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for (destination, words) in
            [("10.77.0.99", "100% packet loss"), ("192.0.2.1", "unreachable")]
        {
            let output = stage.ask(&["ping", "-c", "1", "-W", "0.3", destination])?;
            ensure!(!output.status.success(), "{output:?}");
            let said = format!("{}{}", output.stdout, output.stderr);
            ensure!(said.contains(words), "{destination}: {said}");
        }
        Ok(())
    })
}

#[test]
fn down_ends_the_daemon_and_leaves_nothing() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let socket = stage.daemon.socket();
        let output = stage.ask(&["down"])?;
        ensure!(output.status.success(), "{output:?}");
        let status = stage.daemon.process().wait(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", stage.daemon.log());
        ensure!(!socket.exists(), "the control socket is still there");
        Ok(())
    })
}

#[test]
fn a_second_daemon_on_one_socket_is_refused() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let mut command = stage.network.narrows.command(NARROWS);
        command.arg("--socket").arg(stage.daemon.socket()).arg("up");
        command.arg("--config").arg(stage.directory().join("narrows.toml"));
        let error = crate::stage::fail(command)?;
        ensure!(error.contains(&stage.daemon.socket().display().to_string()), "{error}");
        ensure!(stage.ask(&["stat"])?.status.success(), "the first one is gone");
        Ok(())
    })
}

#[test]
fn addresses_have_what_ip_says_of_them() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let ask = |words: &str| text(&stage, &words.split(' ').collect::<Vec<_>>());
        ask("addr add 10.78.0.1 peer 10.78.9.1/24 scope link label wire:1 dev wire")?;
        ask("addr add 10.77.0.7/24 valid_lft 1000 preferred_lft 900 dev wire")?;
        let shown = ask("addr show dev wire")?;
        for line in [
            "inet 10.78.0.1 peer 10.78.9.1/24 scope link wire:1\n       valid_lft forever",
            "inet 10.77.0.7/24 brd 10.77.0.255 scope global secondary dynamic wire\n",
        ] {
            ensure!(shown.contains(line), "{line} is not in: {shown}");
        }
        let route = ask("route")?;
        ensure!(
            route.contains("10.78.9.0/24 dev wire proto kernel scope link src 10.78.0.1"),
            "{route}"
        );
        let taken = stage.ask(&["addr", "add", "10.77.0.7/24", "dev", "wire"])?;
        ensure!(!taken.status.success(), "{taken:?}");
        ask("addr change 10.77.0.7/24 valid_lft 1 dev wire")?;
        eventually(
            "the address went",
            || Ok(!ask("-j addr show dev wire")?.contains("10.77.0.7")),
        )?;
        ask("addr change 10.78.0.1/32 scope global dev wire")?;
        let shown = ask("-j addr show dev wire label wire:1")?;
        ensure!(shown == "[]\n", "{shown}");
        Ok(())
    })
}

#[test]
fn interfaces_count_and_join_groups() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let ask = |words: &str| text(&stage, &words.split(' ').collect::<Vec<_>>());
        let counted = |way: &str| -> Result<u64> {
            let shown = json(&stage, &["-s", "-j", "link", "show", "wire"])?;
            shown[0]["stats64"][way]["packets"].as_u64().context("no counter")
        };
        let before = (counted("rx")?, counted("tx")?);
        let times = ping(&stage.network.kernel, On::Narrows.address(), 3)?;
        ensure!(times.len() == 3);
        ensure!(counted("rx")? >= before.0 + 3 && counted("tx")? >= before.1 + 3);
        ensure!(ask("link -s show wire")?.contains("    RX:  bytes packets errors dropped"));
        ask("maddr add 03:00:00:00:00:09 dev wire")?;
        ensure!(ask("maddr show dev wire")?.contains("\tlink  03:00:00:00:00:09 static\n"));
        ask("maddr del 03:00:00:00:00:09 dev wire")?;
        ensure!(!ask("maddr")?.contains("03:00"));
        for words in
            ["maddr del 03:00:00:00:00:09 dev wire", "maddr add 02:00:00:00:00:09 dev wire"]
        {
            let output = stage.ask(&words.split(' ').collect::<Vec<_>>())?;
            ensure!(!output.status.success(), "{words}: {output:?}");
        }
        Ok(())
    })
}
