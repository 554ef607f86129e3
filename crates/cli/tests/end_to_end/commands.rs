//! What `narrows` shows of a running daemon.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Network, as_root};
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
