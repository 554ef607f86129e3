//! Random rules and packets: every counter has to be what the kernel's nft counts.

use super::{Fork, TO_KERNEL, TO_NARROWS};
use crate::stage::{installed, succeed};
use anyhow::Result;
use narrows_testbed::as_root;
use std::fmt::Write;

/// Sends packets of every kind from a few addresses, the same to both.
pub(super) const SEND: &str = "\
import random, socket, struct, sys
random.seed(int(sys.argv[1]))
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def checksum(data):
    if len(data) % 2: data += b'\\0'
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
def send(protocol, make, source, ttl, tos, to):
    body = make(socket.inet_aton(source), socket.inet_aton(to))
    header = struct.pack('!BBHHHBBH4s4s', 0x45, tos, 20 + len(body), 7, 0, ttl, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(to))
    s.sendto(header + body, (to, 0))
def pseudo(source, to, protocol, body):
    return checksum(source + to + struct.pack('!BBH', 0, protocol, len(body)) + body)
def tcp(sport, dport, flags):
    def make(source, to):
        body = struct.pack('!HHIIBBHHH', sport, dport, 1, 2, 0x50, flags, 100, 0, 0)
        return body[:16] + struct.pack('!H', pseudo(source, to, 6, body)) + body[18:]
    return make
def udp(sport, dport, length):
    def make(source, to):
        body = struct.pack('!HHHH', sport, dport, 8 + length, 0) + bytes(length)
        return body[:6] + struct.pack('!H', pseudo(source, to, 17, body) or 0xffff) + body[8:]
    return make
def icmp(kind):
    body = struct.pack('!BBHHH', kind, 0, 0, 1, 2)
    return lambda source, to: body[:2] + struct.pack('!H', checksum(body)) + body[4:]
for _ in range(int(sys.argv[2])):
    source = '10.9.0.%d' % random.randint(1, 6)
    ttl, tos = random.choice([1, 5, 64, 255]), random.choice([0, 0x28, 0xb8, 2])
    ports = random.randint(1, 6), random.randint(1, 12)
    protocol, make = random.choice([
        (6, tcp(*ports, random.choice([2, 0x12, 0x10, 4, 1, 0x11, 0x29, 0]))),
        (17, udp(*ports, random.randint(0, 60))),
        (1, icmp(random.choice([0, 8, 13]))),
    ])
    for to in sys.argv[3:]:
        send(protocol, make, source, ttl, tos, to)
";

/// Draws as simple as they can be: what matters is that they are the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// nft refuses a rule whose comparisons are of different transports.
fn comparison(draw: &mut Draw, transport: &str) -> String {
    let host = |draw: &mut Draw| format!("10.9.0.{}", 1 + draw.below(6));
    let not = draw.one(&["", "", "!= "]);
    let (a, b) = (1 + draw.below(11), 1 + draw.below(11));
    let (low, high) = (a.min(b), a.max(b) + 1);
    let of_transport = match (transport, draw.below(4)) {
        (_, 0) => None,
        ("tcp", 1) => Some(format!("tcp flags {}", draw.one(&["syn", "syn,ack", "fin,rst"]))),
        ("tcp", 2) => {
            let operator = draw.one(&["==", "!="]);
            Some(format!("tcp flags & (syn | ack) {operator} {}", draw.one(&["syn", "ack"])))
        }
        ("tcp", _) => Some(format!("tcp dport {not}{{ {low}, {high} }}")),
        ("udp", 1) => Some(format!("udp dport {not}{a}")),
        ("udp", 2) => Some(format!("udp sport {low}-{high}")),
        ("udp", _) => {
            let hosts = (host(draw), host(draw));
            Some(format!("ip saddr . udp dport {{ {} . {low}, {} . {high} }}", hosts.0, hosts.1))
        }
        ("icmp", _) => {
            let kind = draw.one(&["echo-request", "echo-reply", "timestamp-request"]);
            Some(format!("icmp type {not}{kind}"))
        }
        (_, 1) => Some(format!("meta l4proto {not}{{ {} }}", draw.one(&["tcp, udp", "icmp, udp"]))),
        (_, _) => Some(format!("th dport {not}{low}-{high}")),
    };
    of_transport.unwrap_or_else(|| match draw.below(9) {
        0 => format!("ip saddr {not}{}", host(draw)),
        1 => format!("ip saddr {not}10.9.0.{}/31", 2 * (1 + draw.below(2))),
        2 => format!("ip saddr {not}{{ 10.9.0.1, 10.9.0.3-10.9.0.4 }}"),
        3 => {
            format!("ip ttl {} {}", draw.one(&["<", "<=", ">", ">="]), draw.one(&["1", "5", "64"]))
        }
        4 => format!("ip dscp {not}{}", draw.one(&["cs0", "af11", "ef"])),
        5 => format!("ip length {} {}", draw.one(&["<", ">="]), 28 + draw.below(60)),
        6 => format!("meta mark {not}0x{:08x}", draw.below(3)),
        7 => draw.one(&["ip saddr @some", "ip saddr != @some"]).into(),
        _ => draw.one(&["iifname \"e*\"", "ip ecn ect0"]).into(),
    })
}

fn random_ruleset(seed: u64) -> String {
    let mut draw = Draw(seed);
    let mut text = String::from(
        "table ip t {\n\tcounter shared { }\n\tset some {\n\t\ttype ipv4_addr\n\t\tflags interval\n\t\telements = { 10.9.0.2, 10.9.0.5-10.9.0.6 }\n\t}\n",
    );
    for (chain, base) in
        [("c", ""), ("b", ""), ("a", "type filter hook input priority 0; policy accept;")]
    {
        let _ = writeln!(text, "\tchain {chain} {{\n\t\t{base}");
        // Long runs of one kind in some, to meet the index.
        let alike = (chain == "b").then_some("udp dport");
        for number in 0..12 {
            let mut rule = String::new();
            if let Some(kind) = alike {
                let _ = write!(rule, "{kind} {} ", 1 + number % 12);
            }
            let transport =
                if alike.is_some() { "udp" } else { draw.one(&["tcp", "udp", "icmp", ""]) };
            for _ in 0..draw.below(3) {
                rule += &comparison(&mut draw, transport);
                rule.push(' ');
            }
            if draw.below(4) == 0 {
                let _ = write!(rule, "meta mark set {} ", draw.below(3));
            }
            if draw.below(3) == 0 {
                rule += "counter name \"shared\" ";
            }
            rule += "counter";
            let verdict = match (chain, draw.below(14)) {
                (_, 0) => " accept",
                (_, 1) => " drop",
                (_, 2) => " return",
                (_, 3) => " continue",
                ("a", 4 | 5) => " jump b",
                ("a", 6) => " goto b",
                ("a" | "b", 7 | 8) => " jump c",
                _ => "",
            };
            let _ = writeln!(text, "\t\t{rule}{verdict}");
        }
        text += "\t}\n";
    }
    text + "}\n"
}

#[test]
fn random_rules_count_what_the_kernels_count() -> Result<()> {
    as_root(|| {
        let (Some(_), Some(python)) = (installed("nft")?, installed("python3")?) else {
            return Ok(());
        };
        let fork = Fork::new()?;
        for seed in 0..6 {
            fork.load(&random_ruleset(seed))?;
            let mut command = fork.sender.command(&python);
            command.args(["-c", SEND, &seed.to_string(), "300", TO_NARROWS, TO_KERNEL]);
            succeed(command)?;
            fork.compare(&format!("the counters of seed {seed} are alike"))?;
        }
        Ok(())
    })
}
