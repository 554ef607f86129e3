//! The configuration file read again while programs run.

use crate::stage::{On, PATIENCE, Stage};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root, ping};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::Stdio,
};

const WIRE: &str = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n";
const ADDRESS: &str = "address = [\"10.77.0.2/24\"]\n";

fn write(stage: &Stage, text: &str) -> Result<()> {
    Ok(fs::write(stage.directory().join("narrows.toml"), text)?)
}

fn reload(stage: &Stage) -> Result<String> {
    let output = stage.ask(&["reload"])?;
    ensure!(output.status.success(), "{output:?}");
    Ok(output.stdout)
}

#[test]
fn the_difference_is_applied_and_a_connection_lives_on() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let _server = stage.serve_echo(On::Kernel, 7000)?;
        let mut netcat = stage.command(On::Narrows, "python3");
        let address = On::Kernel.address();
        let script = format!(
            "import socket\ns = socket.create_connection(('{address}', 7000))\nwhile True:\n  \
             line = input()\n  s.sendall(line.encode())\n  print(s.recv(100).decode(), flush=True)\n"
        );
        netcat.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Process::spawn(&mut netcat)?;
        let mut stdin = program.stdin().context("no stdin")?;
        let mut lines = BufReader::new(program.stdout().context("no stdout")?).lines();
        let mut echo = |text: &str| -> Result<()> {
            writeln!(stdin, "{text}")?;
            let line = lines.next().context("the program ended")??;
            ensure!(line == text, "{line}");
            Ok(())
        };
        echo("before")?;
        ensure!(reload(&stage)? == "nothing has changed\n");
        // What is done at run time stays.
        let added = stage.ask(&["addr", "add", "10.77.0.7/24", "dev", "wire"])?;
        ensure!(added.status.success(), "{added:?}");
        let vlan = "[[interface]]\nname = \"v\"\ndevice = \"vlan\"\nlink = \"wire\"\nid = 7\n\
                    address = [\"10.78.0.2/24\"]\n";
        let route = "[[route]]\nto = \"10.9.0.0/16\"\nvia = \"10.77.0.1\"\n";
        let more = "address = [\"10.77.0.2/24\", \"10.77.0.3/24\"]\nmtu = 1400\n";
        write(&stage, &format!("{WIRE}{more}{vlan}{route}"))?;
        let said = reload(&stage)?;
        let expected = "wire: mtu 1400\ninterface v on vlan:wire.7 added\n\
                        wire: address 10.77.0.3/24 added\n\
                        route to 10.9.0.0/16 via 10.77.0.1 dev wire added\n";
        ensure!(said == expected, "{said}");
        let answers = |last| {
            ping(&stage.network.kernel, Ipv4Addr::new(10, 77, 0, last), 1)
                .is_ok_and(|times| times.len() == 1)
        };
        ensure!(answers(2) && answers(3) && answers(7));
        echo("between")?;
        write(&stage, &format!("{WIRE}{ADDRESS}mtu = 1400\n"))?;
        reload(&stage)?;
        ensure!(answers(2) && !answers(3) && answers(7));
        echo("after")?;
        drop(stdin);
        program.wait(PATIENCE)?;
        Ok(())
    })
}

#[test]
fn a_file_with_a_mistake_changes_nothing() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        stage.network.add_wire("nw1", "peer1")?;
        let second = |device: &str, address: &str| {
            format!(
                "[[interface]]\nname = \"b\"\ndevice = \"{device}\"\naddress = [\"{address}\"]\n"
            )
        };
        let before = stage.ask(&["addr"])?.stdout;
        let path = stage.directory().join("narrows.toml");
        for (text, why) in [
            (format!("{WIRE}{ADDRESS}mtu = 67\n"), format!("{}:5: mtu = 67", path.display())),
            (
                format!("{WIRE}address = [\"10.9.0.2/24\"]\n")
                    + &second("packet:nope", "10.8.0.2/24"),
                format!("{}:7: no device nope", path.display()),
            ),
            (
                format!("{WIRE}address = [\"10.9.0.2/24\"]\n") + &second("tap:nw1", "10.8.0.2/24"),
                "interface nw1 is in use by another program, or is not a TAP interface".to_owned(),
            ),
        ] {
            write(&stage, &text)?;
            let output = stage.ask(&["reload"])?;
            ensure!(!output.status.success(), "reloaded:\n{text}");
            ensure!(output.stderr.contains(&why), "{why} is not in: {}", output.stderr);
            ensure!(stage.ask(&["addr"])?.stdout == before, "changed by:\n{text}");
        }
        // A file that was mended is as if nothing had been wrong with it.
        write(&stage, &format!("{WIRE}{ADDRESS}"))?;
        ensure!(reload(&stage)? == "nothing has changed\n");
        Ok(())
    })
}

#[test]
fn what_the_engine_would_refuse_changes_nothing() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let other = ["route", "add", "10.9.0.0/16", "via", "10.77.0.1"];
        ensure!(stage.ask(&other)?.status.success());
        let before = (stage.ask(&["-j", "addr"])?.stdout, stage.ask(&["route"])?.stdout);
        let route = "[[route]]\nto = \"10.9.0.0/16\"\nvia = \"10.77.0.9\"\n";
        let vlan = "[[interface]]\nname = \"v\"\ndevice = \"vlan\"\nlink = \"wire\"\nid = 7\n\
                    address = [\"10.78.0.2/24\"]\n";
        write(&stage, &format!("{WIRE}{ADDRESS}mtu = 1400\n{vlan}{route}"))?;
        let output = stage.ask(&["reload"])?;
        let why = "route to 10.9.0.0/16 via 10.77.0.9 dev wire added: not possible, and nothing was \
                   changed: there is a route to that prefix with that metric already";
        ensure!(output.stderr.contains(why), "{}", output.stderr);
        let after = (stage.ask(&["-j", "addr"])?.stdout, stage.ask(&["route"])?.stdout);
        ensure!(before == after, "{after:?}");
        ensure!(stage.ask(&["route", "del", "10.9.0.0/16"])?.status.success());
        ensure!(reload(&stage)?.contains("interface v on vlan:wire.7 added"));
        // What was removed at run time is no obstacle, and comes back.
        ensure!(stage.ask(&["route", "del", "10.9.0.0/16"])?.status.success());
        ensure!(stage.ask(&["link", "del", "v"])?.status.success());
        write(&stage, &format!("{WIRE}{ADDRESS}mtu = 1400\n{vlan}[icmp]\ntimestamp = true\n"))?;
        let said = reload(&stage)?;
        let expected = "route to 10.9.0.0/16 via 10.77.0.9 dev wire removed\n\
                        interface v on vlan:wire.7 added\nicmp: timestamp on\n";
        ensure!(said == expected, "{said}");
        Ok(())
    })
}

#[test]
fn what_is_said_of_an_address_changes_without_it() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let described =
            |words: &str| format!("{WIRE}address = [{{ address = \"10.77.0.2/24\", {words} }}]\n");
        let shown = || Ok::<_, anyhow::Error>(stage.ask(&["addr", "show", "dev", "wire"])?.stdout);
        write(&stage, &described("label = \"wire:7\", valid_lft = 900"))?;
        ensure!(reload(&stage)? == "wire: what is said of 10.77.0.2/24\n");
        let text = shown()?;
        ensure!(
            text.contains("inet 10.77.0.2/24 brd 10.77.0.255 scope global dynamic wire:7"),
            "{text}"
        );
        ensure!(text.contains("valid_lft 900sec") || text.contains("valid_lft 89"), "{text}");
        ensure!(reload(&stage)? == "nothing has changed\n");
        write(&stage, &described("valid_lft = 9, preferred_lft = 10"))?;
        let refused = stage.ask(&["reload"])?;
        ensure!(
            !refused.status.success() && refused.stderr.contains("narrows.toml:4"),
            "{refused:?}"
        );
        write(&stage, &format!("{WIRE}{ADDRESS}"))?;
        ensure!(reload(&stage)? == "wire: what is said of 10.77.0.2/24\n");
        let text = shown()?;
        ensure!(
            text.contains("scope global wire\n") && text.contains("valid_lft forever"),
            "{text}"
        );
        Ok(())
    })
}
