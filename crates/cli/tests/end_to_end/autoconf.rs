//! Interfaces that find their own address.

use crate::stage::{NARROWS, Stage, eventually, installed};
use anyhow::{Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use std::{
    path::Path,
    process::{Command, Stdio},
};

fn stage(address: &str) -> Result<Stage> {
    let network = Network::new()?;
    let configuration = format!(
        "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = \"{address}\"\n"
    );
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &configuration)?;
    Ok(Stage { daemon, network })
}

fn told(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = stage.ask(words)?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(output.stdout)
}

/// A DHCP server at the kernel's end.
fn serve_dhcp(stage: &Stage, program: &Path) -> Result<Process> {
    let mut command: Command = stage.network.kernel.command(program);
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"])
        .args(["--interface", Network::KERNEL_INTERFACE, "--bind-interfaces", "--user=root"])
        .args(["--dhcp-range=10.77.0.100,10.77.0.100,255.255.255.0,120s", "--dhcp-authoritative"])
        .arg(format!("--dhcp-leasefile={}", stage.directory().join("leases").display()))
        .arg(format!("--pid-file={}", stage.directory().join("dnsmasq.pid").display()))
        .stdin(Stdio::null());
    Process::spawn(&mut command)
}

#[test]
fn dnsmasq_leases_an_address_and_a_gateway() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("dnsmasq")? else { return Ok(()) };
        let stage = stage("dhcp")?;
        ensure!(!told(&stage, &["addr", "show", "dev", "wire"])?.contains("inet "));
        let server = serve_dhcp(&stage, &program)?;
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
        ensure!(stage.daemon.log().contains("10.77.0.1 leased 10.77.0.100/24, gateway 10.77.0.1"));
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
