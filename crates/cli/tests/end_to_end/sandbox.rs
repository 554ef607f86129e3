//! What the daemon gives up once it is running, and that nothing is missing for it.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, bail, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

const WIRE: &str =
    "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = [\"10.77.0.2/24\"]\n";

/// CAP_NET_ADMIN and CAP_NET_RAW, as `/proc` writes them.
const KEPT: &str = "0000000000003000";

/// A value of `/proc/PID/task/TID/status`.
fn status(thread: &Path, name: &str) -> Result<String> {
    let text = fs::read_to_string(thread.join("status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(value.with_context(|| format!("no {name}"))?.trim().to_owned())
}

fn succeeds(stage: &Stage, words: &[&str]) -> Result<String> {
    let output = stage.ask(words)?;
    ensure!(output.status.success(), "{words:?}: {}{}", output.stdout, output.stderr);
    Ok(output.stdout)
}

/// In a user namespace there may be no user but root.
fn has_other_users() -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/uid_map")?.trim().ends_with("4294967295"))
}

/// What needs rights that the daemon itself has no more.
fn use_everything(stage: &Stage) -> Result<()> {
    for words in [
        &["link", "add", "name", "t0", "device", "tap:sandboxed0"][..],
        &["addr", "add", "10.78.0.2/24", "dev", "t0"],
        &["link", "del", "t0"],
        &["link", "add", "name", "w1", "device", "packet:nw1"],
        &["addr", "add", "10.79.0.2/24", "dev", "w1"],
        &["link", "del", "w1"],
        &["ping", "-c", "1", "10.77.0.1"],
        &["route"],
        &["ss", "-a"],
    ] {
        // The node may be closed to the root of a user namespace.
        if words.contains(&"t0") && !has_other_users()? {
            continue;
        }
        succeeds(stage, words)?;
    }
    let file = stage.directory().join("narrows.toml");
    fs::write(&file, format!("{WIRE}mtu = 1400\n"))?;
    ensure!(succeeds(stage, &["reload"])? == "wire: mtu 1400\n");
    let _server = stage.serve_echo(On::Kernel, 7000)?;
    let client = stage.peer(On::Narrows, &["pingpong", "--count", "10", "10.77.0.1:7000"]);
    succeed(client).map(drop)
}

#[test]
fn the_daemon_has_no_more_rights_than_it_needs() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        stage.network.add_wire("nw1", "peer1")?;
        let pid = stage.daemon.process().id();
        let threads = fs::read_dir(format!("/proc/{pid}/task"))?.collect::<Result<Vec<_>, _>>()?;
        ensure!(threads.len() > 1, "the event loop, and those that close descriptors");
        for thread in threads {
            let status = |name| status(&thread.path(), name);
            let root = status("Uid")?.split_whitespace().any(|id| id == "0");
            ensure!(root != has_other_users()?, "{}", status("Uid")?);
            for set in ["CapPrm", "CapEff", "CapBnd"] {
                ensure!(status(set)? == KEPT, "{set} {}", status(set)?);
            }
            ensure!(status("CapInh")?.trim_matches('0').is_empty());
            ensure!(status("NoNewPrivs")? == "1" && status("Seccomp")? == "2");
        }
        let shown = succeeds(&stage, &["stat"])?;
        ensure!(shown.contains("capabilities net_admin net_raw, no new privileges, "), "{shown}");
        use_everything(&stage)
    })
}

#[test]
fn who_serves_is_known_by_the_program_he_runs() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let server = stage.peer(On::Narrows, &["echo-server", "--listen", "10.77.0.2:7000"]);
        let _server = stage.serve(On::Narrows, 7000, server)?;
        let owners = stage.stack()?.sockets()?.into_iter().filter_map(|row| row.owner);
        let programs: Vec<_> = owners.map(|owner| owner.executable).collect();
        ensure!(programs.iter().any(|path| path.ends_with("/narrows")), "{programs:?}");
        Ok(())
    })
}

#[test]
fn the_control_sockets_file_goes_however_the_daemon_ends() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        stage.daemon.process().kill()?;
        eventually("the file to go", || Ok(!stage.daemon.socket().exists()))?;
        let stage = Stage::new()?;
        succeeds(&stage, &["down"])?;
        eventually("the file to go", || Ok(!stage.daemon.socket().exists()))
    })
}

#[test]
fn the_control_socket_is_for_whom_the_configuration_says() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let group = if has_other_users()? { 4711 } else { 0 };
        let text = format!("{WIRE}[daemon]\nsocket_mode = \"660\"\nsocket_group = {group}\n");
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
        let metadata = fs::metadata(daemon.socket())?;
        ensure!(metadata.permissions().mode() & 0o777 == 0o660);
        ensure!(metadata.gid() == group, "{}", metadata.gid());
        Ok(())
    })
}

#[test]
fn without_the_sandbox_it_says_so() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let text = format!("{WIRE}[daemon]\nsandbox = false\n");
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
        let shown = daemon.ask(&network.narrows, ["stat"])?.stdout;
        ensure!(shown.contains(", any system call, no landlock"), "{shown}");
        ensure!(daemon.log().contains("sandbox = false"), "{}", daemon.log());
        Ok(())
    })
}

/// Starts the daemon in strace(1), and everything else as it is.
const WRAPPER: &str = "#!/bin/sh
if [ \"$3\" = up ]; then exec STRACE -ff -qq -o PREFIX NARROWS \"$@\"; fi
exec NARROWS \"$@\"
";

#[test]
fn the_lists_of_system_calls_are_those_that_are_made() -> Result<()> {
    as_root(|| {
        let Some(strace) = installed("strace")? else { return Ok(()) };
        let directory = tempfile::tempdir()?;
        let (prefix, wrapper) = (directory.path().join("trace"), directory.path().join("narrows"));
        let text = WRAPPER
            .replace("STRACE", &strace.display().to_string())
            .replace("PREFIX", &prefix.display().to_string())
            .replace("NARROWS", NARROWS);
        fs::write(&wrapper, text)?;
        fs::set_permissions(&wrapper, PermissionsExt::from_mode(0o755))?;
        let network = Network::new()?;
        let mut daemon = Daemon::start_with(&network.narrows, &wrapper, WIRE)?;
        network.add_wire("nw1", "peer1")?;
        let strace = daemon.process().id();
        let stage = Stage { daemon, network };
        use_everything(&stage)?;
        use_sockets(&stage)?;
        succeeds(&stage, &["down"])?;
        let proc = format!("/proc/{strace}/stat");
        eventually("strace to end", || Ok(is_over(&fs::read_to_string(&proc)?)))?;
        compare(directory.path())
    })
}

fn use_sockets(stage: &Stage) -> Result<()> {
    let _server = stage.serve_echo(On::Kernel, 7001)?;
    let mut command = stage.command(On::Narrows, "python3");
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                  s.bind(('10.77.0.2', 0))\ns.sendto(b'x', s.getsockname())\n\
                  assert s.recv(9) == b'x'\n\
                  s = socket.create_connection(('10.77.0.1', 7001))\ns.shutdown(socket.SHUT_WR)\n\
                  assert s.recv(9) == b''\n";
    let output = Process::output(command.args(["-c", script]), PATIENCE)?;
    ensure!(output.status.success(), "{}", output.stderr);
    Ok(())
}

/// A process that nobody has waited for yet.
fn is_over(stat: &str) -> bool {
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

/// Each file is of one thread: of one that was confined, what came after that.
fn compare(directory: &Path) -> Result<()> {
    let mut made = [BTreeSet::new(), BTreeSet::new()];
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let Some((before, after)) = text.rsplit_once("seccomp(") else { continue };
        let is_keeper =
            before.lines().any(|line| line.starts_with("execve(") && line.contains("\"keeper\""));
        for line in after.lines().skip(1) {
            let Some((name, rest)) = line.split_once('(') else { continue };
            // What the filter refuses by argument.
            let filtered = ["socket", "socketpair", "mmap", "mprotect", "ioctl", "prctl"];
            if filtered.contains(&name) && rest.contains("= -1 EPERM") {
                bail!("refused: {line}");
            }
            // A thread that ended before strace had read what it called.
            if name == "???" {
                continue;
            }
            made[usize::from(is_keeper)].insert(name.to_owned());
        }
    }
    let lists = narrows_daemon::system_calls();
    for (made, list) in made.iter().zip(&lists) {
        let listed: BTreeSet<_> = list.iter().map(|(name, _)| (*name).to_owned()).collect();
        let refused: Vec<_> = made.difference(&listed).collect();
        ensure!(refused.is_empty(), "made and not in the list: {refused:?}");
        let usual = list.iter().filter(|(_, usual)| *usual).map(|(name, _)| *name);
        let idle: Vec<_> = usual.filter(|name| !made.contains(*name)).collect();
        ensure!(idle.is_empty(), "in the list and never made: {idle:?}");
    }
    Ok(())
}
