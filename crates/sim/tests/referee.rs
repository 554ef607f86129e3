//! Somebody else's opinion: what engines emit in scenarios is read by tshark(1), where there is one. Its
//! warnings and errors are about us, but for those that are about the path or the programs.

use narrows_sim::draw;
use std::{path::Path, process::Command};

const SEEDS: std::ops::Range<u64> = 0..25;

/// What may be said: a program lets go early, reads slowly, or writes more than the other reads; the
/// path loses and reorders.
const ALLOWED: [&str; 7] = [
    "Connection reset (RST)",
    "TCP Zero Window segment",
    "TCP window specified by the receiver is now completely full",
    "D-SACK Sequence",
    "This frame is a (suspected) out-of-order segment",
    "This frame is a (suspected) retransmission",
    "This frame is a (suspected) fast retransmission",
];

/// What tshark says of a capture, a line a finding; `None`: there is no tshark.
fn findings(capture: &Path) -> Option<Vec<String>> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        // Devices complete checksums and cut segments; frames here are as they leave the engine.
        .args(["-o", "tcp.check_checksum:FALSE", "-q", "-z", "expert,warn"])
        // What programs here say on port 80 is a pattern.
        .args(["--disable-protocol", "http"])
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("tshark writes UTF-8");
    // Frequency, group, protocol, and what it is.
    let finding = |line: &str| {
        let frequency = line.split_whitespace().next()?;
        frequency.parse::<u64>().ok().map(|_| line.trim().to_owned())
    };
    Some(text.lines().filter_map(finding).collect())
}

#[test]
fn tshark_finds_nothing_wrong_with_what_engines_emit() {
    let mut wrong = Vec::new();
    for seed in SEEDS {
        let (path, result) = draw::scenario(seed).attempt_with_trace().expect("a place for it");
        result.unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let Some(found) = findings(&path) else {
            println!("there is no tshark here");
            return;
        };
        let ours = found.into_iter().filter(|line| !ALLOWED.iter().any(|it| line.contains(it)));
        wrong.extend(ours.map(|line| format!("{}: {line}", path.display())));
        if wrong.is_empty() {
            std::fs::remove_file(&path).expect("the capture is ours");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
