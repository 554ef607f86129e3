use super::*;
use narrows_ipc::conntrack::TupleRow;
use narrows_stack::random::Random;

const CONFIGURATION: &str = r#"
[[interface]]
name = "lan"
device = "packet:eth1"
address = ["10.0.0.2/24"]
forward = true

[[interface]]
name = "wan"
device = "packet:eth2"
address = ["10.1.0.2/24"]

[[route]]
to = "192.0.2.0/24"
via = "10.1.0.1"

[filter]
rules = '''
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        udp dport 9 drop
    }
}
'''
"#;

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A UDP datagram without a checksum, in a frame.
fn datagram(to: [u8; 6], destination: [u8; 4], port: u8) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1];
    packet.extend(destination);
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend([0x10, 0, 0, port, 0, 12, 0, 0, 1, 2, 3, 4]);
    [&to[..], &[2, 0, 0, 0, 0, 1], &[8, 0], &packet].concat()
}

fn explainer(frames: &[&[u8]]) -> Explainer {
    let configuration =
        Configuration::parse_elsewhere(Path::new("n.toml"), CONFIGURATION).expect("right");
    Explainer::new(configuration, None, frames).expect("a host")
}

#[test]
fn each_frame_has_its_way_and_what_decided() {
    let for_us = datagram(OWN, [10, 0, 0, 2], 8);
    let mut explainer = explainer(&[&for_us]);
    explainer.listen("10.0.0.2:7".parse().unwrap(), true).expect("room");
    for (frame, verdict, reason, decided) in [
        (for_us.clone(), "dropped", Some("udp-no-socket"), "for this host"),
        (datagram(OWN, [10, 0, 0, 2], 7), "taken", None, "datagram socket"),
        (
            datagram(OWN, [10, 0, 0, 2], 9),
            "dropped",
            Some("filtered"),
            "input: drop, by rule 3 of inet filter input: udp dport 9 drop",
        ),
        (
            datagram(OWN, [192, 0, 2, 1], 7),
            "forwarded",
            None,
            "to 10.1.0.1 dev wan: 192.0.2.0/24 table main",
        ),
        (datagram(OWN, [198, 51, 100, 1], 7), "dropped", Some("no-route"), "at lan"),
        (
            datagram([2, 0, 0, 0, 0, 9], [10, 0, 0, 2], 7),
            "dropped",
            Some("not-for-this-station"),
            "at lan",
        ),
    ] {
        let report = explainer.frame(5_000, None, &frame).expect("not the host's own");
        assert_eq!((&*report.verdict, report.reason.as_deref()), (verdict, reason));
        assert!(report.steps.iter().any(|step| step.text.contains(decided)), "{report:?}");
    }
    let mut own = for_us;
    own[6..12].copy_from_slice(&OWN);
    assert_eq!(explainer.frame(6_000, None, &own), None);
}

#[test]
fn a_host_is_guessed_from_what_was_sent_to_it() {
    let frames = [datagram(OWN, [172, 16, 0, 5], 7), datagram(OWN, [172, 16, 0, 5], 8)];
    let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).collect();
    let mut explainer = Explainer::guessed(&frames).expect("a guess");
    let report = explainer.frame(0, None, frames[0]).expect("a way");
    assert_eq!(report.reason.as_deref(), Some("reverse-path"), "{report:?}");
    assert!(Explainer::guessed(&[]).is_err());
}

#[test]
fn no_frame_is_without_a_final_decision() {
    let good = datagram(OWN, [10, 0, 0, 2], 7);
    let mut explainer = explainer(&[&good]);
    let mut random = Random::new([3; 16]);
    for round in 0..20_000_u64 {
        let mut frame = good.clone();
        for _ in 0..random.below(4) {
            let at = random.below(frame.len() as u32) as usize;
            frame[at] = random.next_u32() as u8;
        }
        frame.truncate(random.below(frame.len() as u32 + 1) as usize);
        if let Some(report) = explainer.frame(round * 1_000_000, None, &frame) {
            let known = ["taken", "dropped", "held", "forwarded"].contains(&&*report.verdict);
            assert!(known && !report.because.is_empty(), "{report:?}");
            assert_eq!(report.reason.is_some(), report.verdict == "dropped");
        }
    }
}

#[test]
fn each_frame_comes_by_the_interface_that_the_file_names() {
    let frame = datagram(OWN, [10, 1, 0, 2], 8);
    let mut explainer = explainer(&[&frame]);
    for (named, expected) in [(Some("wan"), "wan"), (Some("eth7"), "lan"), (None, "lan")] {
        let report = explainer.frame(0, named, &frame).expect("a way");
        assert_eq!(report.packet.name, expected, "{report:?}");
    }
}

#[test]
fn what_a_daemon_knows_of_neighbors_and_flows_decides() {
    let answer = datagram(OWN, [10, 0, 0, 2], 7);
    let rules = "table inet t { chain c { type filter hook input priority 0; policy drop;
                 ct state established accept; } }";
    let end = |source: [u8; 4], source_port, destination: [u8; 4], destination_port| TupleRow {
        source: source.into(),
        destination: destination.into(),
        source_port,
        destination_port,
        kind: 0,
    };
    let row = FlowRow {
        id: 1,
        protocol: 17,
        tuples: [
            end([10, 0, 0, 2], 7, [10, 0, 0, 1], 0x1000),
            end([10, 0, 0, 1], 0x1000, [10, 0, 0, 2], 7),
        ],
        state: None,
        status: 0,
        mark: 0,
        counts: [(1, 32), (0, 0)],
        timeout: 30,
    };
    for (known, reason) in [(false, "filtered"), (true, "udp-no-socket")] {
        let mut explainer = explainer(&[&answer]);
        explainer.set_rules(rules).expect("rules");
        explainer.neighbor("lan", "10.0.0.1".parse().unwrap(), [2, 0, 0, 0, 0, 1]).expect("room");
        if known {
            explainer.flow(&row);
        }
        let report = explainer.frame(0, None, &answer).expect("a way");
        assert_eq!(report.reason.as_deref(), Some(reason), "{report:?}");
        // Whom the answer is for is known: it leaves at once.
        let left = report.steps.iter().any(|step| step.what == "sent");
        assert_eq!(left, known, "{report:?}");
    }
}
