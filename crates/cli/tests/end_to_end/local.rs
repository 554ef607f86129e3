//! Connections between two programs of one host: cut through, and not, they are what they are on the
//! kernel's loopback.

use crate::stage::{On, PATIENCE, Stage, eventually, installed, scripts, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

const WIRE: &str =
    "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = [\"10.77.0.2/24\"]\n";

/// With bytes of local connections going through the engine.
fn uncut() -> Result<Stage> {
    Stage::with(&format!("{WIRE}[local]\ncut_through = false\n"))
}

/// A counter of `narrows stat`.
fn count(stage: &Stage, name: &str) -> Result<u64> {
    let statistics = stage.stack()?.statistics()?;
    let found = statistics.counters.into_iter().find(|(counter, _)| counter == name);
    Ok(found.with_context(|| format!("no counter {name}"))?.1)
}

fn python(stage: &Stage, on: On, python: &Path, text: &str, arguments: &[&str]) -> Command {
    let mut command = stage.command(on, python);
    command.args(["-c", text]).args(arguments);
    command
}

#[test]
fn both_ends_see_what_the_kernel_shows() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("python3")? else { return Ok(()) };
        const SCRIPT: &str = include_str!("scripts/local_behaviour.py");
        let said = |stage: &Stage, on: On| -> Result<String> {
            succeed(python(stage, on, &program, SCRIPT, &[&on.address().to_string()]))
        };
        let cut = Stage::new()?;
        let expected = said(&cut, On::Kernel)?;
        assert_eq!(said(&cut, On::Narrows)?, expected);
        ensure!(count(&cut, "daemon-cut-through-opened")? > 10);
        eventually("nothing is left", || Ok(count(&cut, "daemon-cut-through")? == 0))?;
        let uncut = uncut()?;
        assert_eq!(said(&uncut, On::Narrows)?, expected);
        assert_eq!(count(&uncut, "daemon-cut-through-opened")?, 0);
        Ok(())
    })
}

/// Zones without an interface by a wire: all there is are two members on this host.
const FILTERED: &str = r#"
[[zone]]
name = "vault"
link = "private"
cut_through = false
members = [{ user = 0, address = "10.99.0.2" }]

[filter]
rules = "table ip f { chain c { type filter hook input priority 0; ip daddr 10.99.0.2 tcp dport 7000 counter } }"
"#;

const LOCAL_TRANSFER: &str = "
import socket
listener = socket.create_server(('10.99.0.2', 7000))
client = socket.create_connection(('10.99.0.2', 7000))
server, _ = listener.accept()
for _ in range(100):
    client.sendall(b'x' * 1000)
    left = 1000
    while left:
        left -= len(server.recv(left))
";

#[test]
fn where_a_zone_forbids_it_every_byte_passes_the_filter() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("python3")? else { return Ok(()) };
        let stage = Stage::with(FILTERED)?;
        // Bytes of packets to the server, which the filter has counted.
        let counted = || -> Result<u64> {
            let listed = stage.ask(&["nft", "list", "ruleset"])?.stdout;
            let bytes =
                listed.split(" bytes ").nth(1).and_then(|rest| rest.split_whitespace().next());
            Ok(bytes.context(listed.clone())?.parse()?)
        };
        succeed(python(&stage, On::Narrows, &program, LOCAL_TRANSFER, &[]))?;
        let all = counted()?;
        ensure!(all > 100_000, "{all} bytes");
        ensure!(count(&stage, "daemon-cut-through-opened")? == 0);
        // And where it allows it, the handshake alone does.
        let text = FILTERED.replace("cut_through = false", "cut_through = true");
        fs::write(stage.directory().join("narrows.toml"), text)?;
        let said = stage.ask(&["reload"])?.stdout;
        ensure!(said == "zone vault: cut_through = true\n", "{said}");
        succeed(python(&stage, On::Narrows, &program, LOCAL_TRANSFER, &[]))?;
        ensure!(count(&stage, "daemon-cut-through-opened")? == 1);
        let handshake = counted()? - all;
        ensure!(handshake < 1000, "{handshake} bytes");
        Ok(())
    })
}

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = uncut()?;
    let _server = stage.serve_echo(On::Kernel, 7000)?;
    stage.script(On::Narrows, &python, name, text, On::Kernel.port(7000))?;
    eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))
}

// Those that run cut through too, as descriptors' tests.
scripts! {
    script:
    fork_and_accept
    exec_and_dup
    epoll_mixed
    nonblocking_connect
    half_close
    threads_accept
    passing_descriptors
    names_and_families
}

/// Accepts, says so, and says how reading ends.
const HOLDER: &str = "\
import errno, socket, sys
def outcome(s):
    try:
        return s.recv(1) or 'END'
    except OSError as error:
        return errno.errorcode[error.errno]
if sys.argv[1] == 'listen':
    listener = socket.create_server((sys.argv[2], int(sys.argv[3])))
    print('ready', flush=True)
    s, _ = listener.accept()
else:
    s = socket.create_connection((sys.argv[2], int(sys.argv[3])))
    print('ready', flush=True)
print(outcome(s), flush=True)
";

/// The connections between these two, as `ss -j` shows them: the server's end, and the client's.
fn ends(stage: &Stage, words: &[&str]) -> Result<Vec<Value>> {
    let output = stage.ask(&[&["ss", "-tpj"], words].concat())?;
    ensure!(output.status.success(), "{}", output.stderr);
    let rows: Vec<Value> = serde_json::from_str(&output.stdout)?;
    Ok(rows.into_iter().filter(|row| row.get("peer").is_some()).collect())
}

fn operator_ends_it(stage: &Stage, cut: bool) -> Result<()> {
    let Some(program) = installed("python3")? else { return Ok(()) };
    let host = On::Narrows.address().to_string();
    let start = |role: &str| {
        let arguments = [role, host.as_str(), "7000"];
        hold(stage, python(stage, On::Narrows, &program, HOLDER, &arguments))
    };
    let (server, server_said) = start("listen")?;
    let (client, client_said) = start("connect")?;
    eventually("both ends are there", || Ok(ends(stage, &["sport", "=", ":7000"])?.len() == 1))?;
    let rows = ends(stage, &["dport", "=", ":7000"])?;
    ensure!(rows.len() == 1, "{rows:?}");
    let row = &rows[0];
    ensure!(row["process"]["pid"] == client.id(), "{row}");
    ensure!(row["peer-process"]["pid"] == server.id(), "{row}");
    ensure!(row.get("cut-through").is_some() == cut, "{row}");
    let nobody = stage.ask(&["ss", "-K"])?;
    ensure!(!nobody.status.success() && nobody.stderr.contains("filter"), "{}", nobody.stderr);
    let killed = ends(stage, &["-K", "dport", "=", ":7000"])?;
    ensure!(killed.len() == 1, "{killed:?}");
    ensure!(last_word(client, &client_said)? == "ECONNABORTED");
    ensure!(last_word(server, &server_said)? == "ECONNRESET");
    eventually("nothing is left", || Ok(stage.owned_sockets()? == 0))
}

/// Starts it with its output in a file, and waits until it is ready.
fn hold(stage: &Stage, mut command: Command) -> Result<(Process, std::path::PathBuf)> {
    let path = tempfile::Builder::new().tempfile_in(stage.directory())?.into_temp_path().keep()?;
    let mut file = fs::File::create(&path)?;
    file.flush()?;
    command.stdin(Stdio::null()).stdout(file);
    let process = Process::spawn(&mut command)?;
    eventually("it is ready", || Ok(fs::read_to_string(&path)?.starts_with("ready")))?;
    Ok((process, path))
}

fn last_word(mut process: Process, path: &Path) -> Result<String> {
    let status = process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}");
    let text = fs::read_to_string(path)?;
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

#[test]
fn the_operator_ends_a_connection_that_is_cut_through() -> Result<()> {
    as_root(|| operator_ends_it(&Stage::new()?, true))
}

#[test]
fn the_operator_ends_a_connection_that_is_not() -> Result<()> {
    as_root(|| operator_ends_it(&uncut()?, false))
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() -> Result<()> {
    as_root(|| {
        let Some(program) = installed("python3")? else { return Ok(()) };
        const SCRIPT: &str = include_str!("scripts/many_connections.py");
        let mut stage = Stage::new()?;
        let daemon = stage.daemon.process().id();
        let host = On::Narrows.address().to_string();
        let open = |many: &str| {
            succeed(python(&stage, On::Narrows, &program, SCRIPT, &[&host, "7000", many]))
        };
        let descriptors =
            || -> Result<usize> { Ok(fs::read_dir(format!("/proc/{daemon}/fd"))?.count()) };
        open("10")?;
        let settled = || -> Result<bool> {
            Ok(count(&stage, "daemon-cut-through")? == 0 && stage.owned_sockets()? == 0)
        };
        eventually("the first are gone", settled)?;
        let before = descriptors()?;
        for _ in 0..10 {
            open("1000")?;
        }
        ensure!(count(&stage, "daemon-cut-through-opened")? == 10_010);
        eventually("all are gone", settled)?;
        eventually("no descriptor is left", || Ok(descriptors()? <= before))?;
        assert_eq!(count(&stage, "buffered-bytes")?, 0);
        Ok(())
    })
}
