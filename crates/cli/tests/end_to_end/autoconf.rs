//! Interfaces that find their own address.

use crate::stage::{NARROWS, Stage, eventually, installed};
use anyhow::{Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// One interface that finds its address, and what else the file says.
fn configuration(address: &str, more: &str) -> String {
    format!(
        "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = \"{address}\"\n{more}"
    )
}

fn stage(address: &str) -> Result<Stage> {
    let network = Network::new()?;
    let configuration = configuration(address, "");
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &configuration)?;
    Ok(Stage { daemon, network })
}

fn told(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = stage.ask(words)?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(output.stdout)
}

/// A DHCP server at the kernel's end, whose files are in `directory`: its log, and its `leases`.
fn serve_dhcp(network: &Network, directory: &Path, program: &Path) -> Result<Process> {
    let mut command: Command = network.kernel.command(program);
    command
        .args(["--log-dhcp", "--dhcp-option=option:dns-server,10.77.0.53,10.77.0.54"])
        .arg(format!("--log-facility={}", directory.join("dnsmasq.log").display()))
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"])
        .args(["--interface", Network::KERNEL_INTERFACE, "--bind-interfaces", "--user=root"])
        .args(["--dhcp-range=10.77.0.100,10.77.0.100,255.255.255.0,120s", "--dhcp-authoritative"])
        .arg(format!("--dhcp-leasefile={}", directory.join("leases").display()))
        .arg(format!("--pid-file={}", directory.join("dnsmasq.pid").display()))
        .stdin(Stdio::null());
    Process::spawn(&mut command)
}

#[test]
fn dnsmasq_leases_an_address_and_a_gateway() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("dnsmasq")? else { return Ok(()) };
        let stage = stage("dhcp")?;
        ensure!(!told(&stage, &["addr", "show", "dev", "wire"])?.contains("inet "));
        let server = serve_dhcp(&stage.network, stage.directory(), &program)?;
        eventually("an address is leased", || {
            Ok(told(&stage, &["addr"])?.contains("inet 10.77.0.100/24"))
        })?;
        let shown = told(&stage, &["addr", "show", "dev", "wire"])?;
        ensure!(shown.contains("scope global dynamic wire"), "{shown}");
        ensure!(shown.contains("valid_lft 1") && shown.contains("sec preferred_lft 1"), "{shown}");
        let route = told(&stage, &["route"])?;
        ensure!(route.contains("default via 10.77.0.1 dev wire"), "{route}");
        told(&stage, &["ping", "-c", "1", "10.77.0.1"])?;
        let address = "10.77.0.100".parse()?;
        ensure!(narrows_testbed::ping(&stage.network.kernel, address, 1)?.len() == 1);
        let log = stage.daemon.log();
        let leased = "wire: 10.77.0.1 leased 10.77.0.100/24, gateway 10.77.0.1, name server \
                      10.77.0.53, name server 10.77.0.54, for 120 s";
        ensure!(log.contains(leased), "{log}");
        drop(server);
        Ok(())
    })
}

/// Starts a daemon, waits for its address, and ends it.
fn run_once(network: &Network, configuration: &str) -> Result<String> {
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), configuration)?;
    eventually("an address is leased", || {
        let output = daemon.ask(&network.narrows, ["addr"])?;
        Ok(output.stdout.contains("inet 10.77.0.100/24"))
    })?;
    daemon.stop()
}

#[test]
fn at_the_end_a_lease_is_given_back() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("dnsmasq")? else { return Ok(()) };
        let (network, files) = (Network::new()?, tempfile::tempdir()?);
        let server = serve_dhcp(&network, files.path(), &program)?;
        let leases = || std::fs::read_to_string(files.path().join("leases"));
        let log = run_once(&network, &configuration("dhcp", ""))?;
        ensure!(log.contains("wire: 10.77.0.100/24 given back to 10.77.0.1"), "{log}");
        eventually("the server has it again", || Ok(leases()?.is_empty()))?;

        let log = run_once(&network, &configuration("dhcp", "[dhcp]\nrelease = false\n"))?;
        ensure!(!log.contains("given back"), "{log}");
        ensure!(leases()?.contains("10.77.0.100"));
        drop(server);
        Ok(())
    })
}

#[test]
fn a_lease_of_the_last_run_is_asked_for_without_a_search() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("dnsmasq")? else { return Ok(()) };
        let (network, files) = (Network::new()?, tempfile::tempdir()?);
        let server = serve_dhcp(&network, files.path(), &program)?;
        let file = files.path().join("remembered");
        let more = format!("[dhcp]\nlease_file = \"{}\"\nrelease = false\n", file.display());
        let configuration = configuration("dhcp", &more);
        for _ in 0..3 {
            run_once(&network, &configuration)?;
        }
        let log = std::fs::read_to_string(files.path().join("dnsmasq.log"))?;
        let count = |word: &str| log.lines().filter(|line| line.contains(word)).count();
        ensure!((count("DHCPDISCOVER"), count("DHCPACK")) == (1, 3), "{log}");
        drop(server);
        Ok(())
    })
}

#[test]
fn without_a_server_an_address_of_the_link_is_found() -> Result<()> {
    as_root(|| {
        let stage = stage("link-local")?;
        eventually("an address is used", || {
            let shown = told(&stage, &["addr", "show", "dev", "wire"])?;
            Ok(shown.contains("inet 169.254.") && !shown.contains("tentative"))
        })?;
        let shown = told(&stage, &["addr", "show", "dev", "wire"])?;
        ensure!(shown.contains("/16 brd 169.254.255.255 scope link wire"), "{shown}");
        Ok(())
    })
}
