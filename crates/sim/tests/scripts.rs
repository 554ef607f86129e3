//! The scripts in `scripts/` pass; and scripts that are wrong do not.

use narrows_sim::packetdrill::{Failure, Kind, Options, run};
use std::{fs, path::Path};

fn each(folder: &Path, act: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).expect("a folder of scripts") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            each(&path, act);
        } else {
            act(&path, &fs::read_to_string(&path).expect("a script"));
        }
    }
}

#[test]
fn our_scripts_pass() {
    let mut count = 0;
    each(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts")), &mut |path, text| {
        count += 1;
        if let Err(Failure { fault, exchange }) = run(text, &Options::default()) {
            panic!("{}: {fault}\n{}", path.display(), exchange.join("\n"));
        }
    });
    assert!(count >= 12, "only {count} scripts were found");
}

/// A connection that a client of the script's opened; what follows begins a tenth of a second later.
const CONNECTED: &str = "\
0   socket(..., SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 3
+0  connect(3, ..., ...) = -1 EINPROGRESS
+0  > S 0:0(0) <...>
+.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
+0  > . 1:1(0) ack 1
+0  write(3, ..., 1000) = 1000
";

#[test]
fn what_differs_is_told() {
    for (line, expected) in [
        ("+0 > P. 1:1001(1000) ack 1", None),
        ("+.004 > P. 1:1001(1000) ack 1", None),
        ("* > P. 1:1001(1000) ack 1", None),
        ("+0 > . 1:1001(1000) ack 1", Some("expected > . 1:1001(1000) ack 1, but > P. ")),
        ("+0 > P. 1:1002(1001) ack 1", Some("expected > P. 1:1002(1001) ack 1, but > P. ")),
        ("+0 > P. 2:1002(1000) ack 1", Some("expected > P. 2:1002(1000) ack 1, but > P. ")),
        ("+0 > P. 1:1001(1000) ack 2", Some("expected > P. 1:1001(1000) ack 2, but > P. ")),
        ("+0 > P. 1:1001(1000)", Some("expected > P. 1:1001(1000), but > P. ")),
        (
            "+0 > P. 1:1001(1000) ack 1 win 5",
            Some("expected > P. 1:1001(1000) ack 1 win 5, but > P."),
        ),
        (
            "+0 > P. 1:1001(1000) ack 1 <nop>",
            Some("expected > P. 1:1001(1000) ack 1 <nop>, but > P."),
        ),
        ("+0 > [ect0] P. 1:1001(1000) ack 1", Some("expected IpInfo")),
        (
            "+.01 > P. 1:1001(1000) ack 1",
            Some("expected the packet at 0.110000, but it came at 0.1"),
        ),
        ("+.1~+.2 > P. 1:1001(1000) ack 1", Some("expected the packet between 0.200000 and 0.3")),
        ("+0 close(3) = 0\n+0 close(3) = 0", Some("descriptor 3 is not open")),
        ("+0 read(3, ..., 9) = 9", Some("expected read() to return 9, but it returned -1 EAGAIN")),
        ("+0 fcntl(3, F_SETFL, O_RDWR) = 0\n+0 read(3, ..., 9) = 9", Some("it still waits")),
        (
            "+0 fcntl(3, F_SETFL, O_RDWR) = 0\n+0...1 read(3, ..., 9) = 9\n+.1 < P. 1:10(9) ack 1",
            Some("expected the end of the call at 1.100000, but it came at 0.200000"),
        ),
        (
            "+0 getsockopt(3, SOL_TCP, TCP_NODELAY, [1], [4]) = 0",
            Some("TCP_NODELAY of 1, but it is 0"),
        ),
        ("+0 %{ assert tcpi_state == TCP_CLOSE }%", Some("but that is not so")),
        ("+0 `sockstat | grep -c TIME_WAIT | grep 1`", Some("there are 0")),
    ] {
        let result = run(&format!("{CONNECTED}{line}\n"), &Options::default());
        match (expected, result) {
            (None, Ok(())) => {}
            (Some(expected), Err(Failure { fault, .. })) => {
                assert!(fault.to_string().contains(expected), "{line}: {fault}");
                assert!(fault.line >= 7, "{line}: {fault}");
            }
            (_, result) => panic!("{line}: {result:?}"),
        }
    }
}

#[test]
fn what_is_missing_is_named() {
    for (line, feature) in [
        ("+0 mmap(3) = 0", "the call mmap()"),
        ("+0 setsockopt(3, SOL_TCP, TCP_MD5SIG, [1], 4) = 0", "TCP_MD5SIG of SOL_TCP"),
        ("+0 `reboot`", "the command `reboot`"),
        ("+0 `sysctl -q net.ipv4.tcp_unheard_of=1`", "the setting net.ipv4.tcp_unheard_of=1"),
        ("+0 %{ assert tcpi_unheard_of }%", "the name tcpi_unheard_of in code"),
    ] {
        let failure = run(&format!("{CONNECTED}{line}\n"), &Options::default()).unwrap_err();
        assert_eq!(failure.fault.kind, Kind::Unsupported(feature.into()), "{line}");
    }
    let failure = run("--ip_version=ipv6\n0 close(3) = 0", &Options::default()).unwrap_err();
    assert_eq!(failure.fault.kind, Kind::Unsupported("IPv6".into()));
}

#[test]
fn the_same_script_gives_the_same_exchange() {
    let text = format!("{CONNECTED}+9 close(3) = 7\n");
    let first = run(&text, &Options::default()).unwrap_err();
    assert_eq!(first, run(&text, &Options::default()).unwrap_err());
    assert!(first.exchange.len() >= 7, "{:?}", first.exchange);
}
