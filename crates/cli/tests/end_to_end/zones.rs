//! Zones in the configuration file, and what changes when it is read again.

use crate::{
    isolation::has_users,
    stage::{NARROWS, PATIENCE, installed},
};
use anyhow::{Context, Result, ensure};
use narrows_client::{Stack, TcpListener, TcpStream};
use narrows_testbed::{Daemon, Network, Process, as_root};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const WIRE: &str = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\naddress = \
                    [\"10.77.0.2/24\"]\n";

fn vault(members: &str) -> String {
    format!("{WIRE}[[zone]]\nname = \"vault\"\nlink = \"private\"\nmembers = [{members}]\n")
}

const ROOT: &str = "{ user = 0, address = \"10.99.0.2\" }";
const OTHER: &str = "{ user = 4001, address = \"10.99.0.3\" }";

/// Two sockets that talk, and a line for each line read: what became of it.
const SCRIPT: &str = "
import errno, socket, sys
listener = socket.create_server(('10.99.0.2', 7000))
one = socket.create_connection(('10.99.0.2', 7000))
other, peer = listener.accept()
print('ready', peer[0], flush=True)
for _ in sys.stdin:
    try:
        one.sendall(b'x')
        print('ok' if other.recv(1) else 'end', flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
    try:
        socket.socket().bind(('10.99.0.2', 0))
        print('bound', flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
";

#[test]
fn who_is_put_out_of_a_zone_loses_what_it_has_there() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let network = Network::new()?;
        let both = vault(&format!("{ROOT}, {OTHER}"));
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &both)?;
        let mut command = daemon.run(&network.narrows, python);
        command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Process::spawn(&mut command)?;
        let mut stdin = program.stdin().context("no stdin")?;
        let mut lines = BufReader::new(program.stdout().context("no stdout")?).lines();
        let mut line = || -> Result<String> { Ok(lines.next().context("it ended")??) };
        ensure!(line()? == "ready 10.99.0.2");
        let mut state = || -> Result<(String, String)> {
            writeln!(stdin)?;
            Ok((line()?, line()?))
        };
        let reload = |text: &str| -> Result<String> {
            fs::write(daemon.directory().join("narrows.toml"), text)?;
            let output = daemon.ask(&network.narrows, ["reload"])?;
            ensure!(output.status.success(), "{output:?}");
            Ok(output.stdout)
        };
        let now = |ok: &str, bound: &str| (ok.to_owned(), bound.to_owned());
        ensure!(state()? == now("ok", "bound"));
        ensure!(reload(&both)? == "nothing has changed\n");
        // The other goes: what the one has stays.
        let said = reload(&vault(ROOT))?;
        ensure!(said.contains("zone vault: who is in it"), "{said}");
        ensure!(state()? == now("ok", "bound"));
        // The one goes, and its address is another's.
        reload(&vault(&OTHER.replace("10.99.0.3", "10.99.0.2")))?;
        let state = state()?;
        // A connection that is cut through has no other end than a reset.
        ensure!(state == now("ECONNRESET", "EADDRNOTAVAIL"), "{state:?}");
        Ok(())
    })
}

#[test]
fn a_peer_is_in_the_zone_of_its_address() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &vault(ROOT))?;
        let stack = Stack::connect(Some(&daemon.socket()))?;
        for (address, zone) in [([10, 99, 0, 2], "vault"), ([10, 77, 0, 2], "public")] {
            let listener = TcpListener::bind(&stack, (address, 0).into())?;
            let client = TcpStream::connect(&stack, listener.local_addr()?)?;
            let (server, _) = listener.accept()?;
            for end in [client, server] {
                let peer = end.peer()?.context("a program of this host")?;
                ensure!((peer.zone.as_str(), peer.owner.uid) == (zone, 0), "{peer:?}");
                ensure!(peer.owner.pid == std::process::id(), "{peer:?}");
            }
        }
        Ok(())
    })
}

#[test]
fn zones_are_shown() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let text = vault(ROOT).replace("[[zone]]", "zone = \"lab\"\n[[zone]]")
            + "[[zone]]\nname = \"lab\"\nadmit = [{ group = 7 }]\n[[allow]]\nfrom = \"lab\"\nto = \
               \"public\"\nprotocol = \"udp\"\nports = \"53\"\n";
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
        let ask = |words: &[&str]| -> Result<String> {
            let output = daemon.ask(&network.narrows, words)?;
            ensure!(output.status.success(), "{output:?}");
            Ok(output.stdout)
        };
        let expected = "\
public: dev lo
    admit everybody
vault: private dev vault
    admit user 0 at 10.99.0.2 lladdr 02:00:0a:63:00:02
lab: dev wire
    admit group 7
    allow to public protocol udp dport 53
";
        let shown = ask(&["zone"])?;
        ensure!(shown == expected, "{shown}");
        let json: Value = serde_json::from_str(&ask(&["-j", "zone", "show", "lab"])?)?;
        ensure!(json[0]["interfaces"] == json!(["wire"]), "{json}");
        ensure!(ask(&["link", "show", "dev", "wire"])?.contains("    zone lab\n"));
        ensure!(ask(&["addr", "show", "dev", "vault"])?.contains("    zone vault\n"));
        let output = Process::output(
            daemon.narrows(&network.narrows).args(["zone", "show", "attic"]),
            PATIENCE,
        )?;
        ensure!(output.stderr.contains("zone \"attic\" does not exist"), "{output:?}");
        Ok(())
    })
}

/// Listens, connects, and says what the other end's zone is by who may: `bind ADDRESS` and `connect
/// ADDRESS` by the line, the errno's name or the address that it got in answer.
const ACTS: &str = "
import errno, socket, sys
listeners = []
print('ready', flush=True)
for line in sys.stdin:
    act, address = line.split()
    made = socket.socket()
    try:
        if act == 'listen':
            made.bind((address, 7000))
            made.listen()
            listeners.append(made)
        else:
            made.connect((address, 7000))
        print(made.getsockname()[0], flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
";

/// `narrows`, for somebody else in the namespace; add words.
fn as_user(network: &Network, daemon: &Daemon, uid: &str) -> Command {
    let mut command = network.narrows.command("setpriv");
    command.args(["--reuid", uid, "--regid", uid, "--clear-groups", NARROWS, "--socket"]);
    command.arg(daemon.socket());
    command
}

/// One that every user can run: a private installation may be first in the path.
fn python_for_all() -> Result<Option<PathBuf>> {
    let python = Path::new("/usr/bin/python3");
    if python.is_file() { Ok(Some(python.to_owned())) } else { installed("python3") }
}

struct Actor {
    stdin: std::process::ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    _process: Process,
}

impl Actor {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(command)?;
        let stdin = process.stdin().context("no stdin")?;
        let lines = BufReader::new(process.stdout().context("no stdout")?).lines();
        let mut actor = Self { stdin, lines, _process: process };
        ensure!(actor.line()? == "ready");
        Ok(actor)
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.lines.next().context("it ended")??)
    }

    fn does(&mut self, act: &str) -> Result<String> {
        writeln!(self.stdin, "{act}")?;
        self.line()
    }
}

#[test]
fn zones_are_made_and_changed_while_the_daemon_runs() -> Result<()> {
    as_root(|| {
        let Some(python) = python_for_all()? else { return Ok(()) };
        let network = Network::new()?;
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), WIRE)?;
        let ask = |words: &str| daemon.ask(&network.narrows, words.split(' '));
        let done = |words: &str| -> Result<String> {
            let output = ask(words)?;
            ensure!(output.status.success(), "{words}: {output:?}");
            Ok(output.stdout)
        };
        let refused = |words: &str, says: &str| -> Result<()> {
            let output = ask(words)?;
            ensure!(
                !output.status.success() && output.stderr.contains(says),
                "{words}: {output:?}"
            );
            Ok(())
        };
        let program = || {
            let mut command = daemon.run(&network.narrows, &python);
            command.args(["-c", ACTS]);
            command
        };
        // Its session is older than the zone.
        let mut early = Actor::start(&mut program())?;
        ensure!(early.does("listen 10.99.0.2")? == "EADDRNOTAVAIL");
        for words in [
            "zone add vault private",
            "zone member add vault user 0 at 10.99.0.2/24",
            "zone member add vault user 4001 at 10.99.0.3",
            "zone add lab cut_through off",
            "zone member add lab user 4002",
            "zone set lab dev wire",
            "zone allow add lab to public protocol udp dport 53",
        ] {
            done(words)?;
        }
        let expected = "\
public: dev lo
    admit everybody
vault: private dev vault
    admit user 0 at 10.99.0.2 lladdr 02:00:0a:63:00:02
    admit user 4001 at 10.99.0.3 lladdr 02:00:0a:63:00:03
lab: dev wire cut_through off
    admit user 4002
    allow to public protocol udp dport 53
";
        let shown = done("zone")?;
        ensure!(shown == expected, "{shown}");
        refused("zone add vault", "a second zone \"vault\"")?;
        refused(
            "zone member add vault user 5 at 10.98.0.2",
            "the members' network is 10.99.0.0/24",
        )?;
        refused("zone del lab", "\"wire\" is in it: `narrows zone set public dev wire` first")?;
        refused("zone set vault dev wire", "a private zone, without devices")?;
        refused("zone set lab dev nowhere", "no interface \"nowhere\"")?;
        refused("zone allow add lab to vault", "nothing gets into or out of the private zone")?;
        ensure!(done("zone")? == expected, "what was refused has changed something");
        // Who is admitted now, may now; who is not, is refused and counted.
        ensure!(early.does("listen 10.99.0.2")? == "10.99.0.2");
        ensure!(early.does("connect 10.99.0.2")? == "10.99.0.2");
        if has_users() {
            let mut stranger = as_user(&network, &daemon, "4003");
            stranger.args(["run", "--"]).arg(&python).args(["-c", ACTS]);
            let mut stranger = Actor::start(&mut stranger)?;
            ensure!(stranger.does("connect 10.99.0.2")? == "ENETUNREACH");
            ensure!(done("zone show public -s")?.contains("    refused to vault 1\n"));
            let drops = done("drops")?;
            ensure!(drops.contains("1 dev - user 4003 from zone public to vault"), "{drops}");
            let mut his = as_user(&network, &daemon, "4003");
            let output = Process::output(his.args(["zone", "add", "his"]), PATIENCE)?;
            ensure!(output.stderr.contains("not permitted"), "{output:?}");
        }
        // What was made at run time outlives a reload; who is put out loses what he has.
        ensure!(done("reload")? == "nothing has changed\n");
        ensure!(done("zone")? == expected);
        done("zone member del vault user 0")?;
        ensure!(early.does("connect 10.99.0.2")? == "ENETUNREACH");
        done("zone del vault")?;
        done("zone set public dev wire")?;
        done("zone del lab")?;
        ensure!(done("zone")? == "public: dev lo,wire\n    admit everybody\n");
        Ok(())
    })
}

#[test]
fn a_program_is_in_the_zone_that_it_is_started_for() -> Result<()> {
    as_root(|| {
        let Some(python) = python_for_all()? else { return Ok(()) };
        let network = Network::new()?;
        let text = vault(&format!("{ROOT}, {OTHER}"));
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), &text)?;
        let run = |zone: &str| {
            let mut command = daemon.narrows(&network.narrows);
            command.args(["run", "--zone", zone, "--"]).arg(&python).args(["-c", ACTS]);
            command
        };
        // The wildcard is the zone's, and so are the ways.
        let mut inside = Actor::start(&mut run("vault"))?;
        let mut outside = Actor::start(&mut run("public"))?;
        for actor in [&mut inside, &mut outside] {
            ensure!(actor.does("listen 0.0.0.0")? == "0.0.0.0");
        }
        for (zone, actor, reached) in [
            ("vault", &mut inside, ["10.99.0.2", "ENETUNREACH"]),
            ("public", &mut outside, ["ENETUNREACH", "10.77.0.2"]),
        ] {
            let found = [actor.does("connect 10.99.0.2")?, actor.does("connect 10.77.0.2")?];
            ensure!(found == reached, "{zone}: {found:?}");
        }
        let refused = |mut command: Command, zone: &str, says: &str| -> Result<()> {
            command.args(["run", "--zone", zone, "--", "true"]);
            let output = Process::output(&mut command, PATIENCE)?;
            ensure!(!output.status.success() && output.stderr.contains(says), "{output:?}");
            Ok(())
        };
        refused(daemon.narrows(&network.narrows), "attic", "no zone \"attic\"")?;
        if has_users() {
            let his = as_user(&network, &daemon, "4002");
            refused(his, "vault", "user 4002 is not admitted to zone \"vault\"")?;
        }
        Ok(())
    })
}
