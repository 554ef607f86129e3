//! Who may do what, by real users: what the file says, what is added at run time, and what `narrows
//! policy check` answers about both.

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Network, Process, as_root};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Nobody on any machine, in no group.
const USER: &str = "4711";

const RULES: &str = r#"
[[grant]]
user = 4711
bind = ["10.77.0.2:80",
        "udp 10.77.0.2:53"]

[[deny]]
user = 4711
connect = ["10.77.0.1:7001"]

[[deny]]
connect = ["10.77.0.9"]
multicast = ["239.1.0.0/16"]
"#;

/// Tries what its arguments say, and prints what came of each.
const TRY: &str = r#"
import errno, socket, sys
def tcp():
    s = socket.socket()
    s.settimeout(20)
    return s
def bind(kind, port, address='10.77.0.2'):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((address, port))
def join(group):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                 socket.inet_aton(group) + socket.inet_aton('10.77.0.2'))
acts = {
    'bind-80': lambda: bind(socket.SOCK_STREAM, 80),
    'bind-81': lambda: bind(socket.SOCK_STREAM, 81),
    'bind-any-80': lambda: bind(socket.SOCK_STREAM, 80, '0.0.0.0'),
    'bind-udp-53': lambda: bind(socket.SOCK_DGRAM, 53),
    'bind-tcp-53': lambda: bind(socket.SOCK_STREAM, 53),
    'bind-8080': lambda: bind(socket.SOCK_STREAM, 8080),
    'connect-7000': lambda: tcp().connect(('10.77.0.1', 7000)),
    'connect-7001': lambda: tcp().connect(('10.77.0.1', 7001)),
    'send-7000': lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.77.0.1', 7000)),
    'send-7001': lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('10.77.0.1', 7001)),
    'join-239.1.2.3': lambda: join('239.1.2.3'),
    'join-239.2.2.3': lambda: join('239.2.2.3'),
}
for name in sys.argv[1:]:
    if name == 'drop':
        import os
        os.setgroups([]); os.setgid(4711); os.setuid(4711)
        continue
    try:
        acts[name]()
        print(name, 'ok')
    except OSError as error:
        print(name, errno.errorcode[error.errno])
"#;

struct Users {
    stage: Stage,
    python: PathBuf,
}

impl Users {
    /// `None` where other users can't be had.
    fn new() -> Result<Option<Self>> {
        // Other users have no part in what is under root's home.
        let python = Path::new("/usr/bin/python3");
        let python = if python.is_file() { Some(python.to_owned()) } else { installed("python3")? };
        let Some(python) = python else { return Ok(None) };
        let other = Command::new("setpriv").args(["--reuid", USER, "true"]).status();
        if !other.is_ok_and(|status| status.success()) {
            ensure!(std::env::var_os("NARROWS_TESTS_REQUIRE_ALL").is_none(), "not root");
            eprintln!("can't be another user: left out");
            return Ok(None);
        }
        let network = Network::new()?;
        let wire = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n\
                    address = [\"10.77.0.2/24\"]\n";
        let daemon =
            Daemon::start_with(&network.narrows, Path::new(NARROWS), &format!("{wire}{RULES}"))?;
        let stage = Stage { daemon, network };
        // Others reach its socket.
        fs::set_permissions(stage.directory(), fs::Permissions::from_mode(0o755))?;
        Ok(Some(Self { stage, python }))
    }

    fn file(&self) -> PathBuf {
        self.stage.directory().join("narrows.toml")
    }

    /// What became of acts, as root or as the other user.
    fn tries(&self, as_root: bool, acts: &[&str]) -> Result<String> {
        let mut command = if as_root {
            self.stage.command(On::Narrows, &self.python)
        } else {
            let mut command = self.stage.command(On::Narrows, "setpriv");
            command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(&self.python);
            command
        };
        command.args(["-c", TRY]).args(acts);
        Ok(succeed(command)?.trim_end().replace('\n', ", "))
    }

    /// What `narrows policy check` says of the other user, and whether it was a yes.
    fn check(&self, act: &str) -> Result<(bool, String)> {
        let words: Vec<&str> =
            ["policy", "check", "--user", USER].into_iter().chain(act.split(' ')).collect();
        let output = self.stage.ask(&words)?;
        Ok((output.status.success(), output.stdout.trim_end().to_owned() + &output.stderr))
    }
}

fn with_users(test: impl Fn(&Users) -> Result<()>) -> Result<()> {
    as_root(|| match Users::new()? {
        Some(users) => test(&users),
        None => Ok(()),
    })
}

#[test]
fn users_do_what_the_file_grants_and_not_what_it_denies() -> Result<()> {
    with_users(|users| {
        let _server = users.stage.serve_echo(On::Kernel, 7000)?;
        let said = users.tries(
            false,
            &[
                "bind-80",
                "bind-81",
                "bind-any-80",
                "bind-udp-53",
                "bind-tcp-53",
                "bind-8080",
                "connect-7000",
                "connect-7001",
                "send-7000",
                "send-7001",
                "join-239.1.2.3",
                "join-239.2.2.3",
            ],
        )?;
        let expected = "bind-80 ok, bind-81 EACCES, bind-any-80 EACCES, bind-udp-53 ok, \
                        bind-tcp-53 EACCES, bind-8080 ok, connect-7000 ok, connect-7001 EACCES, \
                        send-7000 ok, send-7001 EACCES, join-239.1.2.3 EACCES, join-239.2.2.3 ok";
        ensure!(said == expected, "{said}");
        let said = users.tries(true, &["bind-81", "connect-7000", "join-239.1.2.3"])?;
        ensure!(said == "bind-81 ok, connect-7000 ok, join-239.1.2.3 EACCES", "{said}");
        let log = users.stage.daemon.log();
        let file = users.file();
        for line in [
            "refused bind tcp 10.77.0.2:81: no rule grants it, and ports below 1024 are for root"
                .to_owned(),
            format!(
                "refused connect tcp 10.77.0.1:7001: {}:13: deny user 4711 connect 10.77.0.1:7001",
                file.display()
            ),
            format!(
                "refused multicast 239.1.2.3: {}:17: deny multicast 239.1.0.0/16",
                file.display()
            ),
        ] {
            ensure!(log.contains(&line), "{line}\nis not in\n{log}");
        }
        ensure!(log.contains("uid=4711"), "{log}");
        let counted = users.stage.ask(&["stat"])?.stdout;
        for name in ["policy-bind", "policy-connect", "policy-multicast"] {
            ensure!(counted.contains(name), "{name} is not in\n{counted}");
        }
        Ok(())
    })
}

#[test]
fn rules_change_at_run_time_and_by_reload() -> Result<()> {
    with_users(|users| {
        let ask = |words: &str| -> Result<String> {
            let words: Vec<&str> = words.split(' ').collect();
            let output = users.stage.ask(&words)?;
            ensure!(output.status.success(), "{words:?}: {}", output.stderr);
            Ok(output.stdout)
        };
        let file = users.file().display().to_string();
        let listed = ask("policy list")?;
        let first = format!("1: deny user 4711 connect 10.77.0.1:7001, {file}:13\n");
        ensure!(listed.starts_with(&first), "{listed}");
        ensure!(users.tries(false, &["bind-81"])? == "bind-81 EACCES");
        ask("policy add grant user 4711 bind tcp 10.77.0.2:81")?;
        ensure!(users.tries(false, &["bind-81"])? == "bind-81 ok");
        let twice = users.stage.ask(&[
            "policy",
            "add",
            "grant",
            "user",
            USER,
            "bind",
            "tcp",
            "10.77.0.2:81",
        ])?;
        ensure!(twice.stderr.contains("there is one already"), "{twice:?}");
        // An ordinary user may ask, and change nothing.
        let mut other = users.stage.network.narrows.command("setpriv");
        other.args(["--reuid", USER, "--regid", USER, "--clear-groups", NARROWS, "--socket"]);
        other.arg(users.stage.daemon.socket()).args(["policy", "add", "grant", "administer"]);
        let refused = Process::output(&mut other, PATIENCE)?;
        ensure!(refused.stderr.contains("operation not permitted"), "{refused:?}");
        // What was added stays; what the file says no more goes.
        let text = fs::read_to_string(users.file())?.replace("\"10.77.0.2:80\",", "");
        fs::write(users.file(), text)?;
        let said = ask("reload")?;
        ensure!(said == "policy: grant user 4711 bind 10.77.0.2:80 removed\n", "{said}");
        let said = users.tries(false, &["bind-80", "bind-81", "bind-udp-53"])?;
        ensure!(said == "bind-80 EACCES, bind-81 ok, bind-udp-53 ok", "{said}");
        ask("policy del grant user 4711 bind tcp 10.77.0.2:81")?;
        ensure!(users.tries(false, &["bind-81"])? == "bind-81 EACCES");
        Ok(())
    })
}

#[test]
fn a_check_answers_with_the_line_and_with_its_status() -> Result<()> {
    with_users(|users| {
        let file = users.file().display().to_string();
        for (act, yes, why) in [
            ("bind 10.77.0.2:80", true, format!("{file}:8: grant user 4711 bind 10.77.0.2:80")),
            ("bind tcp 10.77.0.2:53", false, "ports below 1024 are for root".into()),
            (
                "bind udp 10.77.0.2:53",
                true,
                format!("{file}:9: grant user 4711 bind udp 10.77.0.2:53"),
            ),
            ("bind *:80", false, "no rule grants it".into()),
            ("connect 10.77.0.1:7001", false, format!("{file}:13: deny user 4711 connect")),
            ("connect 10.77.0.1:7000", true, "everybody may".into()),
            ("packet observe wire", false, "only root and the daemon's user may".into()),
            ("administer", false, "only root and the daemon's user may".into()),
        ] {
            let (answer, said) = users.check(act)?;
            let word = if yes { "yes: " } else { "no: " };
            ensure!(
                answer == yes && said.starts_with(word) && said.contains(&why),
                "{act}: {said}"
            );
        }
        let (_, said) = users.check("connect 10.0.0.0/8")?;
        ensure!(said.contains("ask about one address and port"), "{said}");
        Ok(())
    })
}

#[test]
fn privileges_that_a_program_drops_are_dropped() -> Result<()> {
    with_users(|users| {
        let said = users.tries(true, &["bind-81", "drop", "bind-81", "bind-80"])?;
        ensure!(said == "bind-81 ok, bind-81 EACCES, bind-80 ok", "{said}");
        Ok(())
    })
}

/// A listener outlives the process that made it; the report doesn't name another by its number.
#[test]
fn who_has_ended_is_reported_as_such() -> Result<()> {
    with_users(|users| {
        let script = "import os, socket, sys\ns = socket.create_server(('10.77.0.2', 8081))\n\
                      if os.fork():\n  os._exit(0)\nprint('left', flush=True)\nsys.stdin.read()\n";
        let mut command = users.stage.command(On::Narrows, &users.python);
        command.args(["-c", script]).stdin(Stdio::piped());
        let mut process = users.stage.start(command, "left")?;
        eventually("the maker has ended", || {
            let listed = users.stage.ask(&["ss", "-tlp"])?.stdout;
            let line = listed.lines().find(|line| line.contains(":8081")).context("no listener")?;
            Ok(line.contains("pid=") && line.contains(",ended))"))
        })?;
        drop(process.stdin());
        Ok(())
    })
}

#[test]
fn an_audit_says_who_can_do_what_in_a_zone() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let configuration = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n\
             address = [\"10.77.0.2/24\"]\n\
             [[zone]]\nname = \"vault\"\nlink = \"private\"\n\
             members = [ { user = 4711, address = \"10.99.0.2\" }, \
             { user = 4712, address = \"10.99.0.3\" } ]\n\
             [[grant]]\nuser = 4712\nzone = \"vault\"\npacket = [\"observe vault\"]\n";
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), configuration)?;
        let stage = Stage { daemon, network };
        for (question, yes, why) in [
            ("4711 bind vault", true, "zone vault admits user 4711; bind tcp 10.99.0.2:0"),
            ("4711 reach vault", true, "zone vault admits user 4711"),
            ("4713 reach vault", false, "no zone that he is in may begin anything in vault"),
            ("4713 bind vault", false, "zone vault doesn't admit him"),
            ("4711 observe vault", false, "only root and the daemon's user may"),
            ("4712 observe vault", true, "narrows.toml:12: grant user 4712 zone vault"),
            ("4712 observe public", false, "only root and the daemon's user may"),
            ("0 observe vault", false, "zone vault doesn't admit him"),
        ] {
            let words: Vec<&str> =
                ["audit", "--can"].into_iter().chain(question.split(' ')).collect();
            let output = stage.ask(&words)?;
            ensure!(output.status.success() == yes, "{question}: {output:?}");
            ensure!(output.stdout.contains(why), "{question}: {}", output.stdout);
        }
        let listed = stage.ask(&["audit"])?.stdout;
        ensure!(listed.contains("zone public\n") && listed.contains("zone vault\n"), "{listed}");
        ensure!(listed.contains("user 4712 can observe: zone vault admits user 4712"), "{listed}");
        ensure!(!listed.contains("user 4713"), "{listed}");
        Ok(())
    })
}

#[test]
fn an_audit_knows_that_a_vlan_is_seen_at_its_link() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let configuration = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n\
             address = [\"10.77.0.2/24\"]\n\
             [[interface]]\nname = \"wire.7\"\ndevice = \"vlan\"\nlink = \"wire\"\nid = 7\n\
             zone = \"lab\"\naddress = [\"10.7.0.2/24\"]\n\
             [[zone]]\nname = \"lab\"\nadmit = [ { user = 4711 } ]\n\
             [[grant]]\nuser = 4711\npacket = [\"observe wire\"]\n\
             [[grant]]\nuser = 4712\npacket = [\"observe wire\"]\n";
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), configuration)?;
        let stage = Stage { daemon, network };
        let file = stage.directory().join("narrows.toml");
        let file = file.to_str().context("a path")?;
        for (question, yes, why) in [
            (
                "4711 observe lab",
                true,
                "zone lab admits user 4711, its frames pass wire, everybody is in zone public; \
                 packet observe wire: ",
            ),
            ("4711 inject lab", false, "only root and the daemon's user may"),
            ("4711 inspect lab", false, "only root and the daemon's user may"),
            ("4712 observe lab", false, "zone lab doesn't admit him"),
        ] {
            for place in [&[][..], &["--config", file]] {
                let words = ["audit"].into_iter().chain(place.iter().copied()).chain(["--can"]);
                let words: Vec<&str> = words.chain(question.split(' ')).collect();
                let output = stage.ask(&words)?;
                ensure!(output.status.success() == yes, "{words:?}: {output:?}");
                ensure!(output.stdout.contains(why), "{words:?}: {}", output.stdout);
            }
        }
        Ok(())
    })
}

#[test]
fn an_audit_fails_on_what_the_file_forbids() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let configuration = "[[interface]]\nname = \"wire\"\ndevice = \"packet:nw0\"\n\
             address = [\"10.77.0.2/24\"]\n\
             [[zone]]\nname = \"vault\"\nlink = \"private\"\n\
             members = [ { user = 4711, address = \"10.99.0.2\" }, \
             { user = 4712, address = \"10.99.0.3\" } ]\n\
             [[forbid]]\ncan = [\"observe\", \"inject\"]\nzone = \"vault\"\n\
             [[forbid]]\nwho = { user = 4713 }\ncan = \"reach\"\nzone = \"vault\"\n";
        let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), configuration)?;
        let stage = Stage { daemon, network };
        let file = stage.directory().join("narrows.toml");
        let offline = || -> Result<_> {
            // Somebody who has nothing to do with a daemon, nor with the network that the file is for.
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "4799", "--regid", "4799", "--clear-groups", NARROWS]);
            command.env_remove("NARROWS_SOCKET");
            command.args(["--socket", "/nonexistent", "audit", "--config"]).arg(&file);
            Process::output(&mut command, PATIENCE)
        };
        fs::set_permissions(stage.directory(), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let (live, file_alone) = (stage.ask(&["audit"])?, offline()?);
        ensure!(live.status.success() && file_alone.status.success(), "{live:?} {file_alone:?}");
        ensure!(live.stdout == file_alone.stdout, "{}\n{}", live.stdout, file_alone.stdout);

        let finding = |line: u32, path: &str| {
            format!(
                "{}:{line}: forbidden, but user 4712 can observe in vault: zone vault admits user \
                 4712; packet observe vault: {path}: grant user 4712 packet observe vault\n",
                file.display()
            )
        };
        ensure!(
            stage
                .ask(&["policy", "add", "grant", "user", "4712", "packet", "observe", "vault"])?
                .status
                .success()
        );
        let live = stage.ask(&["audit", "--quiet"])?;
        ensure!(!live.status.success(), "{live:?}");
        ensure!(live.stdout == finding(9, "added at run time"), "{}", live.stdout);
        ensure!(offline()?.status.success(), "the file says no such thing");

        let granting =
            format!("{configuration}[[grant]]\nuser = 4712\npacket = [\"observe vault\"]\n");
        fs::write(&file, granting)?;
        let file_alone = offline()?;
        ensure!(!file_alone.status.success(), "{file_alone:?}");
        let expected = finding(9, &format!("{}:18", file.display()));
        ensure!(file_alone.stdout.ends_with(&expected), "{}", file_alone.stdout);
        let json = stage.ask(&["audit", "-j", "-q"])?.stdout;
        let (origin, who) = (format!("{}:9", file.display()), "\"who\":\"user 4712\"");
        ensure!(
            json.contains(&format!("\"forbidden\":\"{origin}\"")) && json.contains(who),
            "{json}"
        );

        fs::write(&file, "[[forbid]]\ncan = \"sniff\"\n")?;
        let refused = offline()?;
        ensure!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
        ensure!(refused.stderr.contains("narrows.toml:"), "{refused:?}");
        Ok(())
    })
}
