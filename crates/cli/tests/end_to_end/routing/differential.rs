//! The same routes and rules in the kernel and in Narrows, and the same questions to both.

use super::{ip, narrows};
use crate::stage::{NARROWS, PATIENCE};
use anyhow::{Result, ensure};
use narrows_testbed::{Daemon, Namespace, Process, as_root, join};
use std::path::Path;

/// Three interfaces with the same names and addresses on both sides. The kernel's host model is weak, so
/// ours is here.
const INTERFACES: [(&str, &str); 3] = [("v0", "10.0.0.2"), ("v1", "10.1.0.2"), ("v2", "10.2.0.2")];

/// A generator of numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }

    /// Few networks, in each other.
    fn prefix(&mut self) -> String {
        let length = [0, 8, 12, 16, 20, 24, 25, 30, 32][self.below(9)];
        let address =
            u32::from_be_bytes([192, 168, [0, 1, 128][self.below(3)], [0, 7, 130][self.below(3)]]);
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        format!("{}/{length}", std::net::Ipv4Addr::from_bits(address & mask))
    }

    fn address(&mut self) -> String {
        match self.below(8) {
            0 => format!("10.{}.0.{}", self.below(4), [2, 9, 255][self.below(3)]),
            1 => format!("203.0.113.{}", self.below(4)),
            _ => format!(
                "192.168.{}.{}",
                [0, 1, 128][self.below(3)],
                [0, 7, 8, 130, 131][self.below(5)]
            ),
        }
    }

    fn route(&mut self) -> String {
        let verb = self.of(&["add", "add", "add", "append", "replace", "change", "del"]);
        let net = self.prefix();
        let table = self.of(&["", " table 100", " table 101"]);
        let metric = self.of(&["", " metric 5", " metric 9"]);
        let way = match self.below(10) {
            0 => {
                return format!(
                    "route {verb} {} {net}{table}{metric}",
                    self.of(&["blackhole", "unreachable", "prohibit", "throw"])
                );
            }
            1..=2 => format!(" dev v{}", self.below(3)),
            // Beyond every link, or on another than named. (An own address, which the kernel takes
            // for a link of its own, is refused here.)
            3..=4 => " via 172.31.0.1".to_owned(),
            5 => format!(" via 10.0.0.9 dev v{}", self.below(2)),
            _ => format!(" via 10.{}.0.{}", self.below(3), 7 + self.below(3)),
        };
        let source = self.of(&["", "", "", " src 10.0.0.2", " src 10.1.0.2", " src 10.9.9.9"]);
        format!("route {verb} {net}{way}{source}{table}{metric}")
    }

    fn rule(&mut self, number: usize) -> String {
        let selector = match self.below(6) {
            0 => format!("from 10.{}.0.2", self.below(3)),
            1 => format!("to {}", self.prefix()),
            2 => format!("fwmark {}", self.of(&["0x1", "0x2/0xf"])),
            3 => format!("iif v{}", self.below(3)),
            4 => "uidrange 1000-1999".to_owned(),
            _ => format!("not to {}", self.prefix()),
        };
        let action = self.of(&[
            "lookup 100",
            "lookup 101",
            "lookup 102",
            "goto 32766",
            "prohibit",
            "unreachable",
        ]);
        format!("rule add {selector} {action} prio {}", 100 + 10 * number)
    }

    fn question(&mut self) -> String {
        let to = self.address();
        match self.below(5) {
            0 => format!("route get {to} from 10.{}.0.2", self.below(3)),
            1 => format!("route get {to} mark {}", self.below(4)),
            2 => format!("route get {to} uid 1500"),
            // Who sent it is on the link, behind something, or nowhere.
            3 => {
                let link = self.below(3);
                let from = self.of(&["10.0.0.7", "10.1.0.7", "10.2.0.7"]);
                format!("route get {to} from {from} iif v{link}")
            }
            _ => format!("route get {to}"),
        }
    }
}

struct Twins {
    daemon: Daemon,
    ours: Namespace,
    kernels: Namespace,
    /// Where the wires end.
    _far: Namespace,
}

impl Twins {
    fn new() -> Result<Self> {
        let (ours, kernels, far) = (Namespace::new()?, Namespace::new()?, Namespace::new()?);
        let mut configuration = String::new();
        for (name, address) in INTERFACES {
            join((&ours, name), (&far, &format!("o{name}")))?;
            join((&kernels, name), (&far, &format!("k{name}")))?;
            ip(&kernels, &format!("addr add {address}/24 dev {name}"))?;
            configuration += &format!(
                "[[interface]]\nname = \"{name}\"\ndevice = \"packet:{name}\"\n\
                 address = [\"{address}/24\"]\nforward = true\nhost_model = \"weak\"\n\
                 reverse_path = \"off\"\n"
            );
        }
        kernels.run(|| -> std::io::Result<()> {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            for name in ["all", "v0", "v1", "v2"] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")?;
            }
            Ok(())
        })??;
        let daemon = Daemon::start_with(&ours, Path::new(NARROWS), &configuration)?;
        Ok(Self { daemon, ours, kernels, _far: far })
    }

    /// What both say; `None` is a refusal.
    fn ask(&self, words: &str) -> Result<[Option<String>; 2]> {
        let mut command = self.kernels.command("ip");
        let kernel = Process::output(command.args(words.split_whitespace()), PATIENCE)?;
        let own = self.daemon.ask(&self.ours, words.split_whitespace())?;
        let said = |status: std::process::ExitStatus, text: String| {
            // What the kernel has cached is its own affair.
            let text = text.lines().filter(|line| !line.starts_with("    cache"));
            let lines: Vec<_> = text.map(str::trim_end).collect();
            status.success().then(|| lines.join("\n"))
        };
        Ok([said(kernel.status, kernel.stdout), said(own.status, own.stdout)])
    }
}

/// Applies generated changes to both, and asks generated questions, all answers the same; how many were
/// no refusals.
fn compare(seed: u64) -> Result<usize> {
    let twins = Twins::new()?;
    let mut numbers = Numbers(seed);
    let mut changes: Vec<String> = (0..90).map(|_| numbers.route()).collect();
    changes.extend((0..8).map(|number| numbers.rule(number)));
    for (number, change) in changes.iter().enumerate() {
        let [kernel, own] = twins.ask(change)?;
        if kernel.is_some() != own.is_some() {
            let mut again = twins.kernels.command("ip");
            let said = Process::output(again.args(change.split_whitespace()), PATIENCE)?.stderr;
            let table = ip(&twins.kernels, "route show table all")?;
            anyhow::bail!("seed {seed}: {change}: {kernel:?} but {own:?}: {said}{table}");
        }
        if number % 30 == 29 {
            same_routes(&twins, seed)?;
        }
    }
    same_routes(&twins, seed)?;
    let [kernel, own] = twins.ask("rule show")?;
    ensure!(kernel == own, "seed {seed}: rules\n{kernel:?}\n{own:?}");
    let mut answered = 0;
    for _ in 0..150 {
        let question = numbers.question();
        let [kernel, own] = twins.ask(&question)?;
        if kernel != own {
            let rules = narrows(&twins.daemon, &twins.ours, "rule")?;
            let routes = narrows(&twins.daemon, &twins.ours, "route show table all")?;
            anyhow::bail!(
                "seed {seed}: {question}:\nkernel: {kernel:?}\nours:   {own:?}\n{rules}{routes}"
            );
        }
        answered += usize::from(kernel.is_some());
    }
    Ok(answered)
}

fn same_routes(twins: &Twins, seed: u64) -> Result<()> {
    for table in ["main", "100", "101"] {
        let [kernel, own] = twins.ask(&format!("route show table {table}"))?;
        // The kernel says that a table that was never used does not exist.
        let sorted = |text: Option<String>| {
            let mut lines: Vec<_> = text.unwrap_or_default().lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let (kernel, own) = (sorted(kernel), sorted(own));
        ensure!(kernel == own, "seed {seed}: table {table}\n{kernel:#?}\n{own:#?}");
    }
    Ok(())
}

#[test]
fn routes_and_rules_decide_as_the_kernels_do() -> Result<()> {
    as_root(|| {
        let mut answered = 0;
        for seed in 1..=4 {
            answered += compare(seed)?;
        }
        ensure!(answered > 100, "only {answered} questions have an answer");
        Ok(())
    })
}
