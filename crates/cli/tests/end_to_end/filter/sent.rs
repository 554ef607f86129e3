//! Packets sent through what rules keep from one packet to the next: quotas, limits, flows, translations. The same
//! rules and packets go to the kernel, and both must count alike.

use super::{Fork, TO_KERNEL, TO_NARROWS, random::SEND};
use crate::stage::{installed, succeed};
use anyhow::{Context, Result};
use narrows_testbed::as_root;

/// What is tried, and the rules. Rates are of a day: no token comes back while the packets go.
const CASES: [(&str, &str); 6] = [
    (
        "quotas",
        "chain c { type filter hook input priority 0; policy accept;
            udp dport 1-3 quota 2000 bytes counter
            udp dport 4-6 quota over 2000 bytes counter drop
            icmp type echo-request quota 1 kbytes counter accept
            ip saddr 10.9.0.1-10.9.0.6 counter
        }",
    ),
    (
        "limits",
        "chain c { type filter hook input priority 0; policy accept;
            udp dport 1-6 limit rate 1/day burst 20 packets counter accept
            tcp dport 1-6 limit rate over 1/day burst 20 packets counter drop
            icmp type echo-request limit rate 1/day counter
            ip saddr 10.9.0.1-10.9.0.6 counter
        }",
    ),
    (
        "marks of flows",
        "chain p { type filter hook prerouting priority mangle; policy accept;
            udp dport 1-6 ct mark 0 ct mark set 5 counter
            udp dport 1-3 ct mark 5 ct mark set ct mark | 2 counter
            meta l4proto udp meta mark set ct mark
        }
        chain c { type filter hook input priority 0; policy accept;
            meta mark 5 counter
            meta mark 7 counter
            meta l4proto udp ct mark 0 counter
        }",
    ),
    (
        "directions of flows",
        "chain c { type filter hook input priority 0; policy accept;
            icmp type echo-request ct direction original counter
            icmp type echo-request ct direction reply counter
            icmp type echo-request ct state new counter
            icmp type echo-request ct state established counter
        }
        chain o { type filter hook output priority 0; policy accept;
            icmp type echo-reply ct direction reply ct state established counter
            icmp type echo-reply ct direction original counter
        }",
    ),
    (
        "packets that are not tracked",
        "chain r { type filter hook prerouting priority raw; policy accept;
            udp dport 1-6 counter notrack
        }
        chain c { type filter hook input priority 0; policy accept;
            meta l4proto udp ct state untracked counter
            meta l4proto udp ct state new counter
        }",
    ),
    (
        "ports by a map",
        "map elsewhere { type inet_service : inet_service; elements = { 3 : 53, 4 : 54 }
        }
        chain n { type nat hook prerouting priority dstnat; policy accept;
            meta l4proto udp counter redirect to :udp dport map { 1 : 51, 2 : 52 }
            meta l4proto udp counter redirect to :udp dport map @elsewhere
        }
        chain c { type filter hook input priority 0; policy accept;
            udp dport 1-4 counter
            udp dport 51 counter
            udp dport 52 counter
            udp dport 53 counter
            udp dport 54 ct original proto-dst 4 counter
            udp dport 5-12 ct status dnat counter
        }",
    ),
];

#[test]
fn what_rules_remember_counts_as_in_the_kernel() -> Result<()> {
    as_root(|| {
        let (Some(_), Some(python)) = (installed("nft")?, installed("python3")?) else {
            return Ok(());
        };
        for (seed, (what, rules)) in CASES.iter().enumerate() {
            // Flows outlive rules: each case begins with none.
            let fork = Fork::new()?;
            fork.load(&format!("table ip t {{\n{rules}\n}}\n")).context(*what)?;
            let mut command = fork.sender.command(&python);
            command.args(["-c", SEND, &seed.to_string(), "300", TO_NARROWS, TO_KERNEL]);
            succeed(command)?;
            fork.compare(what)?;
        }
        Ok(())
    })
}
