//! Multicast between programs on Narrows and the kernel, and what routers hear of it.

use crate::stage::{On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Result, ensure};
use narrows_testbed::{Process, as_root};
use std::path::Path;

/// Joins `GROUP` at `OWN` (from `SOURCE` alone, if there is one), says so, and ends well if the
/// first datagram says `hello`.
const RECEIVE: &str = r#"
import socket, sys
group, own, source = sys.argv[1:4]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5007))
name = lambda address: socket.inet_aton(address)
if source == "any":
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, name(group) + name(own))
else:
    s.setsockopt(socket.IPPROTO_IP, 39, name(group) + name(own) + name(source))
print("joined", flush=True)
data, peer = s.recvfrom(100)
sys.exit(0 if data == b"hello" else 1)
"#;

/// Sends `WORD` to `GROUP` from `OWN`.
const SEND: &str = r#"
import socket, sys
group, own, word = sys.argv[1:4]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 4
assert s.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 1
s.sendto(word.encode(), (group, 5007))
"#;

/// A router, as far as it asks: sends a query of version 3 and waits for a report that names GROUP.
const QUERY: &str = r#"
import socket, struct, sys
group, own = sys.argv[1:3]
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP)
for heard in ("224.0.0.22", group):
    request = socket.inet_aton(heard) + socket.inet_aton(own)
    s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
s.settimeout(30)
query = struct.pack("!BBH4sBBH", 0x11, 10, 0, b"\0\0\0\0", 2, 125, 0)
sum = ~sum(struct.unpack("!6H", query)) & 0xffff
s.sendto(query[:2] + struct.pack("!H", sum) + query[4:], ("224.0.0.1", 0))
while True:
    packet, peer = s.recvfrom(1500)
    header = (packet[0] & 15) * 4
    if peer[0] == "10.77.0.2" and packet[header] == 0x22 and socket.inet_aton(group) in packet:
        assert packet[8] == 1 and header == 24, "one hop, with router alert"
        break
"#;

const GROUP: &str = "239.7.1.2";

struct Talk<'a> {
    stage: &'a Stage,
    python: &'a Path,
}

impl Talk<'_> {
    fn receive(&self, on: On, source: &str) -> Result<Process> {
        let mut command = self.stage.command(on, self.python);
        command.args(["-c", RECEIVE, GROUP, &on.address().to_string(), source]);
        self.stage.start(command, "joined")
    }

    fn send(&self, on: On, word: &str) -> Result<()> {
        let mut command = self.stage.command(on, self.python);
        command.args(["-c", SEND, GROUP, &on.address().to_string(), word]);
        succeed(command).map(drop)
    }
}

fn hears(mut receiver: Process) -> Result<()> {
    let status = receiver.wait(PATIENCE)?;
    ensure!(status.success(), "the receiver ended with {status}");
    Ok(())
}

#[test]
fn groups_span_narrows_and_the_kernel() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let talk = Talk { stage: &stage, python: &python };
        for (from, to) in
            [(On::Narrows, On::Kernel), (On::Kernel, On::Narrows), (On::Narrows, On::Narrows)]
        {
            let receiver = talk.receive(to, "any")?;
            talk.send(from, "hello")?;
            hears(receiver)?;
        }
        Ok(())
    })
}

#[test]
fn only_the_sources_that_were_asked_for_are_heard() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let talk = Talk { stage: &stage, python: &python };
        let receiver = talk.receive(On::Narrows, &On::Narrows.address().to_string())?;
        talk.send(On::Kernel, "from somebody else")?;
        talk.send(On::Narrows, "hello")?;
        hears(receiver)
    })
}

#[test]
fn memberships_are_shown_and_reported() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let talk = Talk { stage: &stage, python: &python };
        let shown = || Ok::<_, anyhow::Error>(stage.ask(&["maddr", "show", "dev", "wire"])?.stdout);
        ensure!(!shown()?.contains(GROUP));
        let receivers = [talk.receive(On::Narrows, "any")?, talk.receive(On::Narrows, "any")?];
        let maddr = shown()?;
        ensure!(maddr.contains("\tlink  01:00:5e:07:01:02\n"), "{maddr}");
        ensure!(maddr.contains("\tinet  239.7.1.2 users 2\n"), "{maddr}");
        let mut router = stage.command(On::Kernel, &python);
        router.args(["-c", QUERY, GROUP, &On::Kernel.address().to_string()]);
        succeed(router)?;
        drop(receivers);
        eventually("who is gone has left", || Ok(!shown()?.contains(GROUP)))
    })
}
