//! Where an attack takes place: two victims, on the kernel or on Narrows, and room for an attacker.

use super::attacks::{Attack, Judge};
use crate::stage::{NARROWS, PATIENCE};
use anyhow::{Context, Result, bail, ensure};
use narrows_testbed::{Daemon, Network, Process};
use std::{
    fmt,
    fs::{self, Permissions},
    io::{BufRead, BufReader, Lines, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

const VICTIM: &str = include_str!("../scripts/victim.py");
const ATTACK: &str = include_str!("../scripts/attack.py");

const SERVER: &str = "10.99.0.2";
const CLIENT: &str = "10.99.0.3";
const SERVER_USER: &str = "4001";
const CLIENT_USER: &str = "4002";
const ATTACKING_USER: &str = "4003";
const OTHER_MEMBER: &str = "4004";

const CONFIGURATION: &str = r#"
[[interface]]
name = "wire"
device = "packet:nw0"
address = ["10.77.0.2/24"]

[[zone]]
name = "vault"
link = "private"
members = [{ user = 4001, address = "10.99.0.2" }, { user = 4002, address = "10.99.0.3" }]

[[zone]]
name = "attic"
link = "private"
members = [{ user = 4004, address = "10.98.0.2" }]
"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attacker {
    User,
    /// Of another private zone.
    Member,
    Root,
    /// Not a program of Narrows, but in the namespace where its daemon runs.
    RootBeneath,
    Wire,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Succeeded,
    Failed(String),
    NotTried,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => formatter.write_str("**succeeds**"),
            Self::Failed(why) if why.is_empty() => formatter.write_str("fails"),
            Self::Failed(why) => write!(formatter, "fails: {why}"),
            Self::NotTried => formatter.write_str("–"),
        }
    }
}

/// A process that is talked to by lines.
struct Talker {
    process: Process,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Talker {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Process::spawn(&mut command)?;
        let stdin = process.stdin().context("no standard input")?;
        let lines = BufReader::new(process.stdout().context("no standard output")?).lines();
        Ok(Self { process, stdin, lines })
    }

    /// `None`: it has ended.
    fn line(&mut self) -> Result<Option<String>> {
        Ok(self.lines.next().transpose()?)
    }

    fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.stdin, "{line}")?)
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        self.say(line)?;
        self.line()?.context("it ended")
    }
}

/// In the order in which it ends: programs before the daemon.
pub struct Scene {
    client: Option<Talker>,
    server: Option<Talker>,
    python: PathBuf,
    /// `None`: on the kernel.
    daemon: Option<Daemon>,
    network: Network,
}

/// Can processes be of several users here? Not in a user namespace that knows one.
pub fn has_users() -> bool {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", ATTACKING_USER, "--clear-groups", "true"]);
    command.output().is_ok_and(|output| output.status.success())
}

impl Scene {
    /// The victims' addresses are on the loopback of the namespace that is the kernel's; the other is
    /// the host at the end of the wire.
    pub fn on_kernel(python: &Path) -> Result<Self> {
        let network = Network::new()?;
        network.address_narrows_end()?;
        for (namespace, words) in [
            (&network.kernel, "link set lo up"),
            (&network.kernel, "addr add 10.99.0.2/24 dev lo"),
            (&network.kernel, "addr add 10.99.0.3/24 dev lo"),
            (&network.narrows, "route add 10.99.0.0/24 via 10.77.0.1"),
        ] {
            run(namespace.command("ip").args(words.split(' ')))?;
        }
        Ok(Self { network, daemon: None, python: python.to_owned(), server: None, client: None })
    }

    /// The victims are the members of a private zone.
    pub fn on_narrows(python: &Path) -> Result<Self> {
        let network = Network::new()?;
        let route = "route add 10.99.0.0/24 via 10.77.0.2";
        run(network.kernel.command("ip").args(route.split(' ')))?;
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), CONFIGURATION)?;
        // Other users have to reach the daemon's socket.
        fs::set_permissions(daemon.directory(), Permissions::from_mode(0o755))?;
        let daemon = Some(daemon);
        Ok(Self { network, daemon, python: python.to_owned(), server: None, client: None })
    }

    pub fn place(&self) -> &'static str {
        if self.daemon.is_some() { "Narrows" } else { "the kernel" }
    }

    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    /// A program on this host.
    fn here(&self) -> Command {
        match &self.daemon {
            Some(daemon) => daemon.run(&self.network.narrows, &self.python),
            None => self.network.kernel.command(&self.python),
        }
    }

    fn victim(&self, role: &str, user: &str) -> Result<Talker> {
        let mut command = self.here();
        command.args(["-c", VICTIM, role, user, SERVER, CLIENT]);
        Talker::start(command)
    }

    /// Starts both victims; what keeps them from talking.
    fn begin(&mut self) -> Result<Option<String>> {
        let mut server = self.victim("server", SERVER_USER)?;
        if server.line()?.is_none() {
            return Ok(Some("the server does not start".into()));
        }
        self.server = Some(server);
        let mut client = self.victim("client", CLIENT_USER)?;
        if client.line()?.is_none() {
            return Ok(Some("the client does not find its server".into()));
        }
        self.client = Some(client);
        Ok(None)
    }

    fn ask_client(&mut self, what: &str) -> Result<String> {
        self.client.as_mut().context("no client")?.ask(what)
    }

    fn attacker(&self, attack: &Attack) -> Result<Talker> {
        let (mut command, user, interface) = match (attack.by, &self.daemon) {
            (Attacker::User, Some(_)) if attack.only_narrows => {
                (self.network.narrows.command(&self.python), ATTACKING_USER, self.interface())
            }
            (Attacker::User, _) => (self.here(), ATTACKING_USER, self.interface()),
            (Attacker::Member, _) => (self.here(), OTHER_MEMBER, self.interface()),
            (Attacker::Root, _) => (self.here(), "0", self.interface()),
            (Attacker::RootBeneath, Some(_)) => {
                (self.network.narrows.command(&self.python), "0", "nw0")
            }
            (Attacker::RootBeneath, None) => (self.here(), "0", self.interface()),
            (Attacker::Wire, Some(_)) => {
                (self.network.kernel.command(&self.python), "0", Network::KERNEL_INTERFACE)
            }
            (Attacker::Wire, None) => {
                (self.network.narrows.command(&self.python), "0", Network::NARROWS_INTERFACE)
            }
        };
        let victim = self.server.as_ref().map_or(0, |server| server.process.id()).to_string();
        command.args(["-c", ATTACK, attack.script, user, SERVER, CLIENT, interface, &victim]);
        if let Some(daemon) = &self.daemon {
            command.env("NARROWS_SOCKET", daemon.socket()).env("NARROWS", NARROWS);
        }
        Talker::start(command)
    }

    /// The victims' own.
    fn interface(&self) -> &'static str {
        if self.daemon.is_some() { "vault" } else { "lo" }
    }

    pub fn before_the_server(&mut self, attack: &Attack) -> Result<Outcome> {
        let mut attacker = self.attacker(attack)?;
        let said = attacker.line()?.context("the attacker said nothing")?;
        outcome(&said)
    }

    pub fn server_must_start(&mut self, attack: &Attack) -> Result<Outcome> {
        let mut attacker = self.attacker(attack)?;
        let said = attacker.line()?.context("the attacker said nothing")?;
        if said != "ready" {
            return outcome(&said);
        }
        Ok(match self.begin()? {
            Some(_) => Outcome::Succeeded,
            None => Outcome::Failed(String::new()),
        })
    }

    /// The victims talk already, or begin to.
    pub fn while_they_talk(&mut self, attack: &Attack) -> Result<Outcome> {
        if self.client.is_none() {
            let broken = self.begin()?;
            ensure!(broken.is_none(), "before the attack: {broken:?}");
        }
        let mut attacker = self.attacker(attack)?;
        let mut said = attacker.line()?.context("the attacker said nothing")?;
        if said == "ready" && attack.judge == Judge::Held {
            let finds_it = self.victim("client", CLIENT_USER)?.line()?.is_some();
            return Ok(match self.disturbed()? || !finds_it {
                true => Outcome::Succeeded,
                false => Outcome::Failed(String::new()),
            });
        }
        if said == "ready" {
            let talk = self.ask_client("kept")?;
            ensure!(talk.starts_with("ok"), "before the attack: {talk}");
            attacker.say("look")?;
            said = attacker.line()?.context("the attacker said no more")?;
        }
        let outcome = outcome(&said)?;
        Ok(if self.disturbed()? { Outcome::Succeeded } else { outcome })
    }

    /// Can the next attack be tried on the same victims?
    pub fn is_whole(&mut self) -> Result<bool> {
        Ok(self.client.is_some() && !self.disturbed()?)
    }

    /// Have the victims heard what the other didn't say, or can't they talk any more?
    fn disturbed(&mut self) -> Result<bool> {
        for what in ["kept", "fresh"] {
            if !self.ask_client(what)?.starts_with("ok") {
                return Ok(true);
            }
        }
        let heard = self.ask_client("heard")?;
        Ok(heard.contains("forged"))
    }
}

/// What an attacker says of it, as far as it can tell.
fn outcome(said: &str) -> Result<Outcome> {
    match said.split_once(": ") {
        Some(("failed", why)) => Ok(Outcome::Failed(why.to_owned())),
        None if said == "succeeded" => Ok(Outcome::Succeeded),
        None if said == "done" => Ok(Outcome::Failed(String::new())),
        _ => bail!("the attacker said: {said}"),
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = Process::output(command, PATIENCE)?;
    ensure!(output.status.success(), "{command:?}: {}", output.stderr);
    Ok(())
}
