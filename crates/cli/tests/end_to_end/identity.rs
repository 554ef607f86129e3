//! Who is at the other end: what programs of distinct users are told about each other.

use crate::stage::{On, PATIENCE, Stage, installed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root};
use std::{
    fs::{self, Permissions},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

const SCRIPT: &str = include_str!("scripts/peer_identity.py");
const PORT: u16 = 7000;

/// The script as a user of its own: user, group and supplementary groups.
fn command(stage: &Stage, on: On, python: &Path, user: [&str; 3], role: &[&str]) -> Command {
    let mut command = stage.command(on, python);
    command.args(["-c", SCRIPT]).args(role).args(user);
    command
}

/// Its process, and what it was told of the other end.
type End = (String, Vec<String>);

/// The server's end and the client's; `None` without Python.
fn talk(server: On, client: On) -> Result<Option<[End; 2]>> {
    let Some(python) = installed("python3")? else { return Ok(None) };
    let stage = Stage::new()?;
    // Other users have to reach the daemon's socket.
    fs::set_permissions(stage.directory(), Permissions::from_mode(0o755))?;
    let place = if server == client { "here" } else { "elsewhere" };
    let (host, port) = (server.address().to_string(), PORT.to_string());
    let role = |role| [role, host.as_str(), port.as_str(), place];
    let user = ["4001", "4002", "4003,4004"];
    let mut command_of_server = command(&stage, server, &python, user, &role("server"));
    command_of_server.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut process = Process::spawn(&mut command_of_server)?;
    let mut lines = BufReader::new(process.stdout().context("no standard output")?).lines();
    let ready = lines.next().context("the server ended at once")??;
    let pid = ready.strip_prefix("ready ").context("not ready")?.to_owned();

    let user = ["5001", "5002", "5003"];
    let mut command = command(&stage, client, &python, user, &role("client"));
    let output = Process::output(&mut command, PATIENCE)?;
    ensure!(output.status.success(), "{}{}", output.stdout, output.stderr);
    let mut said: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
    let own = said.pop().context("the client said nothing")?;
    let own = own.strip_prefix("self ").context("not its process")?.to_owned();
    let heard: Vec<_> = lines.collect::<Result<_, _>>()?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.success(), "the server: {status}");
    Ok(Some([(pid, heard), (own, said)]))
}

#[test]
fn either_end_is_told_who_the_other_is() -> Result<()> {
    as_root(|| {
        let Some([(server, by_server), (client, by_client)]) = talk(On::Narrows, On::Narrows)?
        else {
            return Ok(());
        };
        let seen = |what: &str, pid: &str, who: &str| format!("{what} {pid} {who}");
        let client = |what| seen(what, &client, "5001 5002 5003");
        assert_eq!(by_server, [client("tcp"), client("udp"), client("gone")]);
        let server = |what| seen(what, &server, "4001 4002 4003 4004");
        assert_eq!(by_client, [server("tcp"), server("udp")]);
        Ok(())
    })
}

#[test]
fn another_host_has_no_identity() -> Result<()> {
    as_root(|| {
        // The script checks.
        talk(On::Narrows, On::Kernel)?;
        talk(On::Kernel, On::Narrows)?;
        Ok(())
    })
}
