//! Zones in the configuration file, and what changes when it is read again.

use crate::stage::{NARROWS, PATIENCE, installed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::Stdio,
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
