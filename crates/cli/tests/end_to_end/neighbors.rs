//! Addresses and neighbors at run time, and what the other end of the wire sees of them.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use serde_json::Value;
use std::{path::Path, process::Command};

fn told(stage: &Stage, words: &str) -> Result<String> {
    let output = stage.ask(&words.split_whitespace().collect::<Vec<_>>())?;
    ensure!(output.status.success(), "narrows {words}: {output:?}");
    Ok(output.stdout)
}

fn refused(stage: &Stage, words: &str) -> Result<String> {
    let output = stage.ask(&words.split_whitespace().collect::<Vec<_>>())?;
    ensure!(!output.status.success(), "narrows {words}: {output:?}");
    Ok(output.stderr)
}

/// Does the kernel at the other end get an answer from `address`, with ping(8)'s words?
fn answers(stage: &Stage, address: &str) -> Result<bool> {
    let address = address.parse()?;
    Ok(narrows_testbed::ping(&stage.network.kernel, address, 1).is_ok_and(|times| times.len() == 1))
}

/// A stage on which the kernel has addresses of more networks.
fn stage_with(configuration: &str, kernel: &[&str]) -> Result<Stage> {
    let network = Network::new()?;
    for address in kernel {
        let mut ip = network.kernel.command("ip");
        ip.args(["addr", "add", address, "dev", Network::KERNEL_INTERFACE]);
        succeed(ip)?;
    }
    let base = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n\
                address = [\"10.77.0.2/24\"]\n"
        .to_owned();
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &(base + configuration))?;
    Ok(Stage { daemon, network })
}

/// How many answers the kernel's arping(8) gets when it asks for `target`.
fn arping(stage: &Stage, arping: &Path, words: &[&str], target: &str) -> Result<usize> {
    let mut command: Command = stage.network.kernel.command(arping);
    command.args(["-c", "1", "-w", "1", "-I", Network::KERNEL_INTERFACE]).args(words).arg(target);
    let output = Process::output(&mut command, PATIENCE)?;
    let received = output.stdout.lines().find(|line| line.starts_with("Received "));
    let count = received.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    count.with_context(|| format!("{command:?}: {output:?}"))
}

#[test]
fn addresses_come_and_go_at_run_time() -> Result<()> {
    as_root(|| {
        let stage = stage_with("", &["10.78.0.1/24"])?;
        ensure!(!answers(&stage, "10.78.0.2")?);
        told(&stage, "addr add 10.78.0.2/24 dev wire")?;
        told(&stage, "addr add 10.78.0.3/24 brd + dev wire")?;
        for address in ["10.77.0.2", "10.78.0.2", "10.78.0.3"] {
            ensure!(answers(&stage, address)?, "{address}");
        }
        let shown = told(&stage, "addr show dev wire to 10.78.0.0/24")?;
        ensure!(shown.contains("inet 10.78.0.2/24 brd 10.78.0.255 scope global wire"), "{shown}");
        ensure!(
            shown.contains("10.78.0.3/24 brd 10.78.0.255 scope global secondary wire"),
            "{shown}"
        );
        ensure!(!shown.contains("10.77"), "{shown}");
        let json: Value = serde_json::from_str(&told(&stage, "addr -j show dev wire secondary")?)?;
        ensure!(json[0]["addr_info"][0]["local"] == "10.78.0.3", "{json}");
        ensure!(json[0]["addr_info"][0]["secondary"] == true, "{json}");
        ensure!(told(&stage, "route")?.contains("10.78.0.0/24 dev wire"));

        // Programs use it, and the kernel's own stack stays off it.
        let server = stage.peer(On::Narrows, &["echo-server", "--listen", "10.78.0.3:7000"]);
        let server = stage.start(server, "")?;
        let client = || stage.peer(On::Kernel, &["pingpong", "10.78.0.3:7000", "--count", "5"]);
        succeed(client())?;
        told(&stage, "addr del 10.78.0.2/24 dev wire")?;
        ensure!(!answers(&stage, "10.78.0.2")? && answers(&stage, "10.78.0.3")?);
        ensure!(!told(&stage, "addr")?.contains("secondary"), "the second is the first now");
        told(&stage, "addr flush dev wire to 10.78.0.0/16")?;
        ensure!(!answers(&stage, "10.78.0.3")?);
        ensure!(!told(&stage, "route")?.contains("10.78"));
        // The listener outlives its address.
        told(&stage, "addr add 10.78.0.3/24 dev wire")?;
        succeed(client())?;
        drop(server);
        Ok(())
    })
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let before = told(&stage, "addr -j")?;
        for (words, said) in [
            ("addr add 10.77.0.2/24 dev wire", "there is one already"),
            ("addr add 10.77.0.2/16 dev wire", "the address is in use"),
            ("addr add 10.79.0.0/24 dev wire", "10.79.0.0 is the network's own"),
            ("addr add 224.0.0.9/24 dev wire", "224.0.0.9 is multicast"),
            ("addr add 10.79.0.2/24 dev nothing", "Device \"nothing\" does not exist"),
            ("addr del 10.77.0.9/24 dev wire", "it has only 10.77.0.2/24"),
            ("addr del 10.77.0.2/16 dev wire", "it has only 10.77.0.2/24"),
            ("addr flush", "write `addr flush dev NAME`"),
            ("neigh add 10.77.0.2 lladdr 02:00:00:00:00:01 dev wire", "not possible"),
            ("neigh add 10.77.0.9 lladdr ff:ff:ff:ff:ff:ff dev wire", "not possible"),
            ("neigh del 10.77.0.9 dev wire", "there is none"),
            ("neigh change 10.77.0.9 lladdr 02:00:00:00:00:01 dev wire", "there is none"),
        ] {
            let error = refused(&stage, words)?;
            ensure!(error.contains(said), "{words}: {error}");
        }
        ensure!(told(&stage, "addr -j")? == before);
        ensure!(told(&stage, "neigh")?.is_empty());
        Ok(())
    })
}

#[test]
fn neighbors_are_set_at_run_time_and_in_the_file() -> Result<()> {
    as_root(|| {
        let pin = "[[neighbor]]\naddress = \"10.77.0.9\"\nlladdr = \"02:00:00:00:00:09\"\n\
                   interface = \"wire\"\n";
        let stage = stage_with(pin, &[])?;
        let line = "10.77.0.9 dev wire lladdr 02:00:00:00:00:09 PERMANENT\n";
        ensure!(told(&stage, "neigh")? == line);
        told(&stage, "neigh add 10.77.0.8 lladdr 02:00:00:00:00:08 nud noarp dev wire")?;
        ensure!(told(&stage, "neigh")? == line, "as in ip(8), noarp is shown when asked for");
        ensure!(told(&stage, "neigh show nud noarp")?.ends_with("NOARP\n"));
        let error = refused(&stage, "neigh add 10.77.0.8 lladdr 02:00:00:00:00:07 dev wire")?;
        ensure!(error.contains("there is one already"), "{error}");
        // A wrong link address leads nowhere; the right one, by ARP, back again.
        told(&stage, "neigh add 10.77.0.1 lladdr 02:00:00:00:00:01 dev wire")?;
        let kernel = Network::KERNEL_ADDRESS.to_string();
        let ping = ["ping", "-c", "1", "-W", "0.3", &kernel];
        ensure!(!stage.ask(&ping)?.status.success());
        told(&stage, "neigh del 10.77.0.1 dev wire")?;
        ensure!(stage.ask(&ping)?.status.success());
        ensure!(told(&stage, "neigh get 10.77.0.1 dev wire")?.ends_with(" REACHABLE\n"));
        told(&stage, "neigh flush dev wire")?;
        ensure!(told(&stage, "neigh")? == line, "what was set stays");
        told(&stage, "neigh add proxy 10.80.0.7 dev wire")?;
        ensure!(told(&stage, "neigh show proxy")? == "10.80.0.7 dev wire proxy\n");
        Ok(())
    })
}

#[test]
fn connections_keep_their_neighbor_reachable_without_arp() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let server = stage.serve_echo(On::Kernel, 7000)?;
        let address = On::Kernel.port(7000).to_string();
        told(&stage, "ping -c 1 10.77.0.1")?;
        let lladdr = told(&stage, "neigh")?;
        let lladdr = lladdr.split_whitespace().nth(4).context("a link address")?.to_owned();
        told(&stage, &format!("neigh replace 10.77.0.1 lladdr {lladdr} nud stale dev wire"))?;
        ensure!(told(&stage, "neigh")?.ends_with(" STALE\n"));
        succeed(stage.peer(On::Narrows, &["pingpong", &address, "--count", "20"]))?;
        ensure!(told(&stage, "neigh")?.ends_with(" REACHABLE\n"));
        drop(server);
        Ok(())
    })
}

#[test]
fn an_address_that_another_station_has_is_disabled() -> Result<()> {
    as_root(|| {
        let stage = stage_with("conflict_detection = \"probe\"\n", &["10.78.0.9/24"])?;
        told(&stage, "addr add 10.78.0.9/24 dev wire")?;
        told(&stage, "addr add 10.78.0.2/24 dev wire")?;
        ensure!(told(&stage, "addr show tentative")?.contains("10.78.0.2/24"));
        eventually("the conflict shows", || {
            Ok(told(&stage, "addr")?
                .contains("10.78.0.9/24 brd 10.78.0.255 scope global dadfailed wire"))
        })?;
        eventually("the others are used", || {
            let addr = told(&stage, "addr")?;
            Ok(!addr.contains("tentative") && answers(&stage, "10.78.0.2")?)
        })?;
        ensure!(answers(&stage, "10.77.0.2")?);
        let log = stage.daemon.log();
        ensure!(log.contains("has 10.78.0.9 on wire: the address is disabled"), "{log}");
        told(&stage, "addr del 10.78.0.9/24 dev wire")?;
        ensure!(!told(&stage, "addr")?.contains("dadfailed"));
        Ok(())
    })
}

/// What arping(8) at the kernel's end sees of each policy.
#[test]
fn arp_policies_as_arping_sees_them() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("arping")? else { return Ok(()) };
        for (policy, words, target, answers) in [
            ("", &[][..], "10.77.0.2", 1),
            ("", &[], "10.88.0.2", 0),
            ("arp_ignore = 0\n", &[], "10.88.0.2", 1),
            ("arp_ignore = 1\n", &[], "10.88.0.2", 0),
            ("arp_ignore = 2\n", &["-s", "10.77.0.1"], "10.77.0.2", 1),
            ("arp_ignore = 2\n", &["-s", "10.79.0.1"], "10.77.0.2", 0),
            ("arp_ignore = 8\n", &[], "10.77.0.2", 0),
            ("arp_filter = true\n", &["-s", "10.77.0.1"], "10.77.0.2", 1),
            ("arp_filter = true\n", &["-s", "10.88.0.9"], "10.77.0.2", 0),
            ("proxy_arp = true\nforward = true\n", &[], "10.88.0.9", 1),
            ("proxy_arp = true\n", &[], "10.88.0.9", 0),
            ("", &[], "10.88.0.9", 0),
            ("proxy_arp = true\nforward = true\n", &["-D"], "10.88.0.9", 0),
        ] {
            let other = "[[interface]]\nname = \"other\"\ndevice = \"tap:other\"\n\
                         address = [\"10.88.0.2/24\"]\n";
            let stage = stage_with(&format!("{policy}{other}"), &["10.79.0.1/24", "10.88.0.9/32"])?;
            let seen = arping(&stage, &program, words, target)?;
            ensure!(seen == answers, "{policy}arping {words:?} {target}: {seen} answers");
        }
        Ok(())
    })
}

#[test]
fn a_weak_host_answers_on_one_interface_for_the_address_of_another() -> Result<()> {
    as_root(|| {
        let weak = "host_model = \"weak\"\n";
        for (policy, other, answered) in [
            (String::new(), weak, false),
            ("arp_ignore = 0\n".to_owned(), weak, false),
            (format!("arp_ignore = 0\n{weak}"), weak, true),
            // What is sent from a strong interface's address leaves by that alone.
            (format!("arp_ignore = 0\n{weak}"), "", false),
        ] {
            let other = format!(
                "[[interface]]\nname = \"other\"\ndevice = \"tap:other\"\n\
                 address = [\"10.88.0.2/24\"]\n{other}"
            );
            let stage = stage_with(&format!("{policy}{other}"), &[])?;
            let mut ip = stage.network.kernel.command("ip");
            ip.args(["route", "add", "10.88.0.2/32", "dev", Network::KERNEL_INTERFACE]);
            succeed(ip)?;
            ensure!(answers(&stage, "10.88.0.2")? == answered, "{policy}{other}");
            ensure!(answers(&stage, "10.77.0.2")?, "{policy}{other}");
        }
        Ok(())
    })
}

#[test]
fn an_announcement_moves_the_kernels_neighbor() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let neighbor = |set: &[&str]| {
            let mut ip = stage.network.kernel.command("ip");
            ip.args(["neigh"]).args(set).args(["10.77.0.2", "dev", Network::KERNEL_INTERFACE]);
            succeed(ip)
        };
        let wrong = "02:00:00:00:00:99";
        neighbor(&["replace", "lladdr", wrong, "nud", "stale", "to"])?;
        told(&stage, "addr announce dev wire")?;
        eventually("the kernel has learnt", || Ok(!neighbor(&["show", "to"])?.contains(wrong)))?;
        let error = refused(&stage, "addr announce")?;
        ensure!(error.contains("write addr announce dev NAME"), "{error}");
        Ok(())
    })
}
