//! Rules about what may pass, beside the kernel's nftables with the same rules.

use crate::stage::{NARROWS, On, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Namespace, as_root, join};
use serde_json::Value;
use std::{fmt::Write, path::Path, process::Command};

mod random;
mod sent;

/// Where a sender's packets go: to Narrows by one wire, to a host of the kernel's by another.
struct Fork {
    sender: Namespace,
    kernel: Namespace,
    narrows: Namespace,
    daemon: Daemon,
}

const TO_NARROWS: &str = "10.1.0.254";
const TO_KERNEL: &str = "10.2.0.254";

fn ip(namespace: &Namespace, words: &str) -> Result<String> {
    let mut command = namespace.command("ip");
    command.args(words.split_whitespace());
    succeed(command)
}

impl Fork {
    fn new() -> Result<Self> {
        let (sender, kernel, narrows) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        join((&narrows, "e0"), (&sender, "n0"))?;
        join((&kernel, "e0"), (&sender, "k0"))?;
        ip(&sender, "addr add 10.1.0.1/24 dev n0")?;
        ip(&sender, "addr add 10.2.0.1/24 dev k0")?;
        ip(&kernel, &format!("addr add {TO_KERNEL}/24 dev e0"))?;
        // Packets have sources of their own; that the answers find no way is as well.
        for name in ["all", "e0"] {
            let mut command = kernel.command("sysctl");
            command.args(["-qw", &format!("net.ipv4.conf.{name}.rp_filter=0")]);
            succeed(command)?;
        }
        let configuration = format!(
            "[[interface]]\nname = \"e0\"\ndevice = \"packet:e0\"\n\
             address = [\"{TO_NARROWS}/24\"]\nreverse_path = \"off\"\n\
             [[route]]\nto = \"default\"\nvia = \"10.1.0.1\"\n"
        );
        ip(&kernel, "route add default via 10.2.0.1")?;
        let daemon = Daemon::start_with(&narrows, Path::new(NARROWS), &configuration)?;
        Ok(Self { sender, kernel, narrows, daemon })
    }

    /// The same rules for both.
    fn load(&self, rules: &str) -> Result<()> {
        let file = self.daemon.directory().join("rules.nft");
        let text = format!("flush ruleset\n{rules}");
        std::fs::write(&file, &text)?;
        self.nft(&["-f".as_ref(), file.as_os_str()])?;
        let output =
            self.daemon.ask(&self.narrows, ["nft".as_ref(), "-f".as_ref(), file.as_os_str()])?;
        ensure!(output.status.success(), "{}\n{rules}", output.stderr);
        Ok(())
    }

    fn nft(&self, words: &[&std::ffi::OsStr]) -> Result<String> {
        let nft = installed("nft")?.context("nft")?;
        let mut command = self.kernel.command(nft);
        command.args(words);
        succeed(command)
    }

    /// The answer of each to the same words.
    fn both(&self, words: &str) -> Result<(String, String)> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let kernel = self.nft(&words.iter().map(|word| word.as_ref()).collect::<Vec<_>>())?;
        let narrows = self.daemon.ask(&self.narrows, [&["nft"], words.as_slice()].concat())?;
        ensure!(narrows.status.success(), "{}", narrows.stderr);
        Ok((kernel, narrows.stdout))
    }

    /// The same in JSON, but for who says it and the numbers that each gives to things.
    fn compare_json(&self, words: &str) -> Result<()> {
        let (kernel, narrows) = self.both(&format!("-j {words}"))?;
        let objects = |text: &str| -> Result<Vec<Value>> {
            let mut all: Value = serde_json::from_str(text)?;
            let all = all["nftables"].as_array_mut().context("a list")?;
            ensure!(all[0]["metainfo"]["json_schema_version"] == 1, "{text}");
            let bare = all.iter_mut().skip(1).map(|object| {
                let kinds = object.as_object_mut().into_iter();
                let handles = kinds.flat_map(|kinds| kinds.values_mut());
                let handles = handles.filter_map(|one| {
                    // Which nft 1.0.6 forgets, and others don't.
                    one.as_object_mut()?.remove("dev");
                    one.as_object_mut()?.remove("handle")
                });
                (handles.filter(Value::is_u64).count(), object.take())
            });
            bare.map(|(handles, object)| {
                ensure!(handles == 1, "{object} has no handle");
                Ok(object)
            })
            .collect()
        };
        let (kernel, narrows) = (objects(&kernel)?, objects(&narrows)?);
        for (kernel, narrows) in kernel.iter().zip(&narrows) {
            ensure!(kernel == narrows, "{words}: the kernel:\n{kernel}\nNarrows:\n{narrows}");
        }
        ensure!(kernel.len() == narrows.len(), "{words}: {kernel:?}, Narrows: {narrows:?}");
        Ok(())
    }

    /// Both list their rules alike, once the last packet has come.
    fn compare(&self, what: &str) -> Result<()> {
        let mut both = (String::new(), String::new());
        let alike = eventually(what, || {
            let kernel = self.nft(&["list".as_ref(), "ruleset".as_ref()])?;
            let narrows = self.daemon.ask(&self.narrows, ["nft", "list", "ruleset"])?;
            ensure!(narrows.status.success(), "{}", narrows.stderr);
            both = (kernel, narrows.stdout);
            Ok(both.0 == both.1)
        });
        alike.with_context(|| format!("the kernel:\n{}\nNarrows:\n{}", both.0, both.1))
    }
}

const EVERY_WORD: &str = include_str!("filter/every_word.nft");
const FLOWS: &str = include_str!("filter/flows.nft");
const OBJECTS: &str = include_str!("filter/objects.nft");

/// What can be written is printed as nft prints it.
#[test]
fn rulesets_are_listed_as_nft_lists_them() -> Result<()> {
    as_root(|| {
        if installed("nft")?.is_none() {
            return Ok(());
        }
        let fork = Fork::new()?;
        for rules in [EVERY_WORD, FLOWS, OBJECTS] {
            fork.load(rules)?;
            fork.compare("rulesets are alike")?;
            fork.compare_json("list ruleset")?;
            // And what is printed can be read.
            let printed = fork.daemon.ask(&fork.narrows, ["nft", "list", "ruleset"])?.stdout;
            fork.load(&printed)?;
            fork.compare("read back, they still are")?;
        }
        Ok(())
    })
}

#[test]
fn named_objects_are_listed_and_reset_as_nft_does() -> Result<()> {
    as_root(|| {
        if installed("nft")?.is_none() {
            return Ok(());
        }
        let fork = Fork::new()?;
        fork.load(OBJECTS)?;
        let questions = [
            "list counters",
            "list quotas",
            "list limits table ip objects",
            "list counter ip objects seen",
            "list set ip objects ports",
            "list chain ip objects c",
            "list tables",
            "reset counter ip objects seen",
            "reset quotas",
            "add table ip empty",
            "add counter ip objects late",
            "add quota ip objects evening { over 5 kbytes }",
            "list quotas ip",
            "delete quota ip objects evening",
            "list ruleset",
        ];
        for words in questions {
            let (kernel, narrows) = fork.both(words)?;
            ensure!(kernel == narrows, "{words}: the kernel:\n{kernel}\nNarrows:\n{narrows}");
            if words.starts_with("list") {
                fork.compare_json(words)?;
            }
        }
        // Nobody takes away what a rule names.
        let narrows = fork.daemon.ask(&fork.narrows, ["nft", "delete counter objects seen"])?;
        ensure!(!narrows.status.success() && narrows.stderr.contains("seen"), "{}", narrows.stderr);
        Ok(())
    })
}

/// A program's answer to each way of being refused, on the kernel and on Narrows.
const TRY: &str = "\
import errno, socket, sys
peer, ports = sys.argv[1], sys.argv[2:]
def tcp(port):
    s = socket.socket()
    s.settimeout(1)
    s.connect((peer, port))
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    s.connect((peer, port))
    s.send(b'x')
    s.recv(10)
for kind, name in ((tcp, 'tcp'), (udp, 'udp')):
    for port in ports:
        try:
            kind(int(port))
            print(name, port, 'ok')
        except TimeoutError:
            print(name, port, 'silence')
        except OSError as error:
            print(name, port, errno.errorcode[error.errno])
";

fn attempts(stage: &Stage, on: On, peer: On, ports: &[&str]) -> Result<String> {
    let python = installed("python3")?.context("python3")?;
    let mut command: Command = stage.command(on, python);
    command.args(["-c", TRY, &peer.address().to_string()]).args(ports);
    succeed(command)
}

#[test]
fn programs_see_refusals_as_on_the_kernel() -> Result<()> {
    as_root(|| {
        if installed("python3")?.is_none() || installed("nft")?.is_none() {
            return Ok(());
        }
        let verdicts = [
            ("1", "drop"),
            ("2", "reject"),
            ("3", "reject with icmp admin-prohibited"),
            ("4", "reject with icmp host-unreachable"),
        ];
        let ports = ["1", "2", "3", "4", "5", "6"];
        for hook in ["input", "output"] {
            let mut rules = format!(
                "flush ruleset\ntable ip t {{\nchain c {{\ntype filter hook {hook} priority 0; policy accept;\n"
            );
            for (port, verdict) in verdicts {
                let _ = writeln!(rules, "meta l4proto {{ tcp, udp }} th dport {port} {verdict}");
            }
            rules += "tcp dport 5 reject with tcp reset\n}\n}\n";
            let stage = Stage::new()?;
            let file = stage.directory().join("rules.nft");
            std::fs::write(&file, &rules)?;
            let path = file.to_str().context("a path")?;
            // At input the rules are the peer's, at output the program's own.
            let other = |on: On| if on == On::Kernel { On::Narrows } else { On::Kernel };
            let mut answers = Vec::new();
            for guarded in [On::Kernel, On::Narrows] {
                match guarded {
                    On::Narrows => {
                        let output = stage.ask(&["nft", "-f", path])?;
                        ensure!(output.status.success(), "{}", output.stderr);
                    }
                    On::Kernel => {
                        let nft = installed("nft")?.context("nft")?;
                        let mut command = stage.network.kernel.command(nft);
                        command.args(["-f", path]);
                        succeed(command)?;
                    }
                }
                let (program, peer) = match hook {
                    "input" => (other(guarded), guarded),
                    _ => (guarded, other(guarded)),
                };
                answers.push(attempts(&stage, program, peer, &ports)?);
                if guarded == On::Kernel {
                    let nft = installed("nft")?.context("nft")?;
                    let mut command = stage.network.kernel.command(nft);
                    command.args(["flush", "ruleset"]);
                    succeed(command)?;
                }
            }
            ensure!(
                answers[0] == answers[1],
                "at {hook}, guarded by the kernel:\n{}\nby Narrows:\n{}",
                answers[0],
                answers[1]
            );
        }
        Ok(())
    })
}

/// Every hook is passed by what it is for, and by nothing else.
#[test]
fn each_hook_sees_its_packets() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let file = stage.directory().join("hooks.nft");
        let mut rules = String::new();
        for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
            let _ = writeln!(
                rules,
                "add table ip {hook}\nadd chain ip {hook} c {{ type filter hook {hook} priority 0; }}\nadd rule ip {hook} c ip protocol icmp counter"
            );
        }
        for hook in ["ingress", "egress"] {
            let _ = writeln!(
                rules,
                "add table netdev {hook}\nadd chain netdev {hook} c {{ type filter hook {hook} device \"wire\" priority 0; }}\nadd rule netdev {hook} c ip protocol icmp counter"
            );
        }
        for hook in ["input", "output"] {
            let _ = writeln!(
                rules,
                "add table arp {hook}\nadd chain arp {hook} c {{ type filter hook {hook} priority 0; }}\nadd rule arp {hook} c counter"
            );
        }
        std::fs::write(&file, &rules)?;
        let output = stage.ask(&["nft", "-f", file.to_str().context("a path")?])?;
        ensure!(output.status.success(), "{}", output.stderr);
        let output = stage.ask(&["ping", "-c", "3", &On::Kernel.address().to_string()])?;
        ensure!(output.status.success(), "{output:?}");
        for (family, table, packets) in [
            ("ip", "prerouting", 3),
            ("ip", "input", 3),
            ("ip", "forward", 0),
            ("ip", "output", 3),
            ("ip", "postrouting", 3),
            ("netdev", "ingress", 3),
            ("netdev", "egress", 3),
        ] {
            let listed = stage.ask(&["nft", "list", "table", family, table])?.stdout;
            let wanted = format!("counter packets {packets} ");
            ensure!(listed.contains(&wanted), "{family} {table}: not {packets} packets\n{listed}");
        }
        // Who asks, and how often, is up to both ends.
        for table in ["input", "output"] {
            let listed = stage.ask(&["nft", "list", "table", "arp", table])?.stdout;
            ensure!(!listed.contains("counter packets 0 "), "arp {table}: nothing\n{listed}");
        }
        Ok(())
    })
}

/// Whose packets come and go, on the kernel and on Narrows; and which zones they come from and go to, of
/// which the kernel knows nothing.
#[test]
fn rules_know_owners_and_zones() -> Result<()> {
    as_root(|| {
        if installed("python3")?.is_none() || installed("nft")?.is_none() {
            return Ok(());
        }
        let stage = Stage::new()?;
        let mut rules = String::new();
        for (hook, port) in [("input", "sport"), ("output", "dport")] {
            let _ = writeln!(
                rules,
                "table ip {hook} {{\nchain c {{\ntype filter hook {hook} priority 0; policy accept;\n\
                 meta skuid 0 meta skgid 0 tcp {port} 7 counter\n\
                 meta skuid 1 counter\nmeta skgid != 0 counter\nmeta skuid 0 udp {port} 7 counter\n}}\n}}"
            );
        }
        let file = stage.directory().join("owners.nft");
        std::fs::write(&file, &rules)?;
        let path = file.to_str().context("a path")?;
        let nft = |words: &[&str]| -> Result<String> {
            let mut command = stage.network.kernel.command(installed("nft")?.context("nft")?);
            command.args(words);
            succeed(command)
        };
        nft(&["-f", path])?;
        attempts(&stage, On::Kernel, On::Narrows, &["7"])?;
        let kernel = nft(&["list", "ruleset"])?;
        nft(&["flush", "ruleset"])?;
        ensure!(stage.ask(&["nft", "-f", path])?.status.success());
        attempts(&stage, On::Narrows, On::Kernel, &["7"])?;
        let narrows = stage.ask(&["nft", "list", "ruleset"])?.stdout;
        ensure!(kernel == narrows, "the kernel:\n{kernel}\nNarrows:\n{narrows}");
        ensure!(narrows.contains("counter packets 1 "), "{narrows}");

        let zones = "flush ruleset\ntable ip t {\nchain in {\ntype filter hook input priority 0;\n\
                     iifzone \"public\" tcp sport 7 counter\niifzone != { \"public\", \"vault\" } counter\n}\n\
                     chain out {\ntype filter hook output priority 0;\n\
                     oifzone \"vau*\" counter\nmeta oifzone \"public\" tcp dport 7 reject\n}\n}\n";
        std::fs::write(&file, zones)?;
        ensure!(stage.ask(&["nft", "-f", path])?.status.success());
        let answers = attempts(&stage, On::Narrows, On::Kernel, &["7"])?;
        let listed = stage.ask(&["nft", "list", "ruleset"])?.stdout;
        for wanted in [
            "iifzone \"public\" tcp sport 7 counter packets 0 ",
            "iifzone != { \"public\", \"vault\" } counter packets 0 ",
            "oifzone \"vau*\" counter packets 0 ",
            "oifzone \"public\" tcp dport 7 reject with icmp port-unreachable",
        ] {
            ensure!(listed.contains(wanted), "not {wanted}\n{listed}");
        }
        ensure!(answers.contains("tcp 7 ECONNREFUSED"), "{answers}");
        Ok(())
    })
}

#[test]
fn bad_rules_change_nothing_and_say_where() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let file = stage.directory().join("bad.nft");
        let path = file.to_str().context("a path")?.to_owned();
        let good = "table ip t {\n\tchain c {\n\t\ttype filter hook input priority filter; policy accept;\n\t\ttcp dport 1 drop\n\t}\n}\n";
        std::fs::write(&file, good)?;
        ensure!(stage.ask(&["nft", "-f", &path])?.status.success());
        let cases = [
            ("add rule ip t c tcp dport 70000 drop", "line 1: \"70000\" is not a port"),
            ("\n\nadd rule ip t c tcp port 7 drop", "line 3: \"tcp port\" is not supported"),
            ("add rule ip t c ip saddr 10.0.0.300 drop", "is not an address"),
            ("add rule ip t nowhere drop", "line 1: there is no chain nowhere"),
            ("add rule ip t c jump nowhere", "there is no chain nowhere in this table"),
            ("add rule ip t c ip saddr @none drop", "there is no set none"),
            ("add rule ip t c iif \"none\" drop", "there is no interface none"),
            ("add rule ip t c drop drop", "nothing of a rule can come after its verdict"),
            ("add chain ip t c2 { type route hook output priority 0; }", "not supported"),
            ("add chain ip t c2 { type nat hook forward priority 0; }", "no chains of type nat"),
            ("add rule ip t c masquerade", "for chains of type nat"),
            ("add rule ip t c dnat to 10.0.0.1:80", "only after a transport"),
            ("add table ip6 x", "family ip6"),
            ("add chain ip t x; add rule ip t x jump x", "a chain leads back to itself"),
            ("delete rule ip t c handle 99", "no rule with handle 99"),
            ("add rule ip t c limit rate 0/second drop", "a rate of nothing"),
            ("flush ruleset; add rule ip t c tcp dport { 1, } }", "line 1"),
            ("add rule ip t c log prefix \"open", "has no other to end the text"),
        ];
        for (text, wanted) in cases {
            std::fs::write(&file, text)?;
            let output = stage.ask(&["nft", "-f", &path])?;
            ensure!(!output.status.success(), "{text} was taken");
            ensure!(
                output.stderr.contains(wanted),
                "{text}: not \"{wanted}\" in: {}",
                output.stderr
            );
        }
        let listed = stage.ask(&["nft", "list", "ruleset"])?.stdout;
        ensure!(listed == good, "something has changed:\n{listed}");
        Ok(())
    })
}

/// A ruleset in the configuration; a reload brings what it says by then.
#[test]
fn the_configuration_has_rules() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let file = stage.directory().join("narrows.toml");
        let base = std::fs::read_to_string(&file)?;
        let with = |rules: &str| {
            std::fs::write(&file, format!("{base}\n[filter]\nrules = \"\"\"\n{rules}\"\"\"\n"))
        };
        with(
            "table ip t {\n\tchain c {\n\t\ttype filter hook output priority 0; policy drop;\n\t}\n}\n",
        )?;
        let kernel = On::Kernel.address().to_string();
        ensure!(stage.ask(&["ping", "-c", "1", "-W", "1", &kernel])?.status.success());
        let reloaded = stage.ask(&["reload"])?;
        ensure!(reloaded.stdout.contains("[filter]"), "{reloaded:?}");
        ensure!(!stage.ask(&["ping", "-c", "1", "-W", "1", &kernel])?.status.success());
        with("table ip t {\n\tchain c {\n\t\tdrop everything\n\t}\n}\n")?;
        let refused = stage.ask(&["reload"])?;
        ensure!(!refused.status.success() && refused.stderr.contains("line 3"), "{refused:?}");
        std::fs::write(&file, &base)?;
        ensure!(stage.ask(&["reload"])?.status.success());
        ensure!(stage.ask(&["ping", "-c", "1", "-W", "1", &kernel])?.status.success());
        Ok(())
    })
}
