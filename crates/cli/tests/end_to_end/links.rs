//! VLANs, bonds and bridges, with the kernel (or another daemon) at the other ends of the wires.

mod open_vswitch;

use crate::stage::{NARROWS, On, PATIENCE, Stage, eventually, installed, succeed};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Daemon, Namespace, Network, Process, as_root, ping};
use serde_json::Value;
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{Command, Stdio},
};

fn interface(name: &str, device: &str, rest: &str) -> String {
    format!("[[interface]]\nname = \"{name}\"\ndevice = \"{device}\"\n{rest}\n")
}

fn ip(namespace: &Namespace, words: &str) -> Result<()> {
    let mut ip = namespace.command("ip");
    succeed({
        ip.args(words.split_whitespace());
        ip
    })
    .map(drop)
}

fn told(stage: &Stage, words: &str) -> Result<String> {
    let output = stage.ask(&words.split_whitespace().collect::<Vec<_>>())?;
    ensure!(output.status.success(), "narrows {words}: {output:?}");
    Ok(output.stdout)
}

fn json(stage: &Stage, words: &str) -> Result<Value> {
    Ok(serde_json::from_str(&told(stage, words)?)?)
}

fn answers(namespace: &Namespace, address: Ipv4Addr) -> bool {
    ping(namespace, address, 1).is_ok_and(|times| times.len() == 1)
}

fn up(network: Network, configuration: &str) -> Result<Stage> {
    let daemon = Daemon::start_with(&network.narrows, Path::new(NARROWS), configuration)?;
    Ok(Stage { daemon, network })
}

/// What a capture at `device` shows of the frames that a display filter takes, as tshark sees it.
struct Capture {
    tcpdump: Process,
    file: std::path::PathBuf,
}

impl Capture {
    /// `None`: one of the programs is not installed.
    fn start(namespace: &Namespace, device: &str, directory: &Path) -> Result<Option<Self>> {
        let (Some(tcpdump), Some(_)) = (installed("tcpdump")?, installed("tshark")?) else {
            return Ok(None);
        };
        let file = directory.join("capture.pcap");
        let mut command: Command = namespace.command(tcpdump);
        command
            .args(["-i", device, "-U", "--immediate-mode", "-s", "128", "-Z", "root", "-w"])
            .arg(&file);
        let tcpdump = Process::spawn(
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()),
        )?;
        eventually("tcpdump captures", || Ok(file.metadata().is_ok_and(|file| file.len() >= 24)))?;
        Ok(Some(Self { tcpdump, file }))
    }

    /// One line a frame, the fields separated by spaces; once there is one that contains `last`.
    fn read(mut self, filter: &str, fields: &[&str], last: &str) -> Result<Vec<String>> {
        let mut frames = Vec::new();
        eventually("all is captured", || {
            let mut command = Command::new("tshark");
            command.arg("-r").arg(&self.file);
            command.args(["-Y", filter, "-T", "fields", "-E", "separator=/s"]);
            command.args(fields.iter().flat_map(|field| ["-e", field]));
            // It fails on a frame that is not written whole yet.
            let output = Process::output(&mut command, PATIENCE)?;
            frames = output.stdout.lines().map(str::to_owned).collect();
            Ok(output.status.success() && frames.iter().any(|line| line.contains(last)))
        })?;
        self.tcpdump.terminate(PATIENCE)?;
        Ok(frames)
    }
}

/// Carries bytes from a program on `stage` to one of the kernel's, and does something in the middle.
fn transfer(
    stage: &Stage,
    to: SocketAddrV4,
    bytes: u64,
    in_the_middle: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let address = to.to_string();
    let receive = ["bulk-receive", "--streams", "1", "--verify", "--listen", &address];
    let mut receive = stage.start(stage.peer(On::Kernel, &receive), "listening")?;
    let bytes = bytes.to_string();
    let mut send = stage.peer(On::Narrows, &["bulk-send", &address, "--bytes", &bytes]);
    let mut send = Process::spawn(send.stdin(Stdio::null()).stdout(Stdio::null()))?;
    let acknowledged = || -> Result<u64> {
        let rows = stage.stack()?.sockets()?;
        let sent = rows.iter().filter_map(|row| row.tcp.as_ref()).map(|tcp| tcp.bytes_acknowledged);
        Ok(sent.max().unwrap_or(0))
    };
    eventually("bytes are under way", || Ok(acknowledged()? > 1 << 20))?;
    in_the_middle()?;
    let status = send.wait(PATIENCE)?;
    ensure!(status.success(), "the sender: {status}");
    let status = receive.wait(PATIENCE)?;
    ensure!(status.success(), "the receiver: {status}");
    Ok(())
}

/// More than any buffers hold, so that the middle is in the middle.
const SIZE: u64 = 512 << 20;

#[test]
fn two_daemons_talk_in_a_vlan_in_a_vlan() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        let host = |device: &str, last: u8| {
            interface(
                "wire",
                &format!("packet:{device}"),
                &format!("address = [\"10.1.0.{last}/24\"]"),
            ) + &interface("s", "vlan", "link = \"wire\"\nid = 200\nprotocol = \"802.1ad\"")
                + &interface(
                    "c",
                    "vlan",
                    &format!("link = \"s\"\nid = 100\naddress = [\"10.2.0.{last}/24\"]"),
                )
                + &interface(
                    "v",
                    "vlan",
                    &format!("link = \"wire\"\nid = 7\naddress = [\"10.3.0.{last}/24\"]"),
                )
        };
        let other = host("peer0", 2);
        let other = Daemon::start_with(&network.kernel, Path::new(NARROWS), &other)?;
        let stage = up(network, &host("nw0", 1))?;
        let mtu = |name: &str| -> Result<Value> {
            Ok(json(&stage, &format!("link show -j dev {name}"))?[0]["mtu"].clone())
        };
        // A second tag has to fit into what the kernel takes.
        ensure!(
            (mtu("wire")?, mtu("v")?, mtu("s")?, mtu("c")?)
                == (1500.into(), 1500.into(), 1496.into(), 1492.into())
        );
        let capture = Capture::start(&stage.network.kernel, "peer0", stage.directory())?;
        for (network, port) in [(1, 8001), (2, 8002), (3, 8003)] {
            let address = format!("10.{network}.0.2:{port}");
            let mut server = other.run(&stage.network.kernel, NARROWS);
            server.args([
                "peer",
                "bulk-receive",
                "--streams",
                "1",
                "--verify",
                "--listen",
                &address,
            ]);
            let mut server = stage.start(server, "listening")?;
            succeed(stage.peer(On::Narrows, &["bulk-send", &address, "--bytes", "20000000"]))?;
            ensure!(server.wait(PATIENCE)?.success(), "{address}");
        }
        let Some(capture) = capture else { return Ok(()) };
        let fields = ["tcp.port", "ieee8021ad.id", "vlan.id"];
        let mut frames = capture.read("tcp.len > 1000", &fields, "8003")?;
        frames.sort_unstable();
        frames.dedup();
        let seen = |port: &str| -> Vec<&str> {
            let of = frames.iter().filter(|line| line.contains(port));
            of.map(|line| line.split_once(' ').map_or("", |(_, tags)| tags.trim())).collect()
        };
        ensure!(seen("8001") == [""], "{frames:?}");
        ensure!(seen("8003") == ["7"], "{frames:?}");
        // Versions of tshark differ in what they call the outer tag.
        ensure!(
            seen("8002").iter().all(|tags| tags.contains("100") && tags.contains("200")),
            "{frames:?}"
        );
        Ok(())
    })
}

/// A bond of two wires to a bridge of the kernel's, which is the switch.
fn bonded(mode: &str) -> Result<Stage> {
    let network = Network::new()?;
    network.add_wire("nw1", "peer1")?;
    for words in [
        "addr flush dev peer0",
        "link add sw type bridge",
        "link set peer0 master sw",
        "link set peer1 master sw",
        "link set sw up",
        "addr add 10.77.0.1/24 dev sw",
    ] {
        ip(&network.kernel, words)?;
    }
    let configuration = interface("a", "packet:nw0", "")
        + &interface("b", "packet:nw1", "")
        + &interface(
            "bond0",
            "bond",
            &format!("members = [\"a\", \"b\"]\nmode = \"{mode}\"\naddress = [\"10.77.0.2/24\"]"),
        );
    up(network, &configuration)
}

fn active(stage: &Stage) -> Result<Value> {
    Ok(json(stage, "bond -j")?[0]["active_slave"].clone())
}

#[test]
fn a_transfer_outlives_a_wire_of_its_bond() -> Result<()> {
    as_root(|| {
        let stage = bonded("active-backup")?;
        eventually("the switch knows us", || {
            Ok(answers(&stage.network.kernel, Network::NARROWS_ADDRESS))
        })?;
        ensure!(active(&stage)? == "a");
        let to = On::Kernel.port(8000);
        transfer(&stage, to, SIZE, || {
            ip(&stage.network.kernel, "link set peer0 down")?;
            eventually("the other takes over", || Ok(active(&stage)? == "b"))
        })?;
        ensure!(answers(&stage.network.kernel, Network::NARROWS_ADDRESS));
        let bond = json(&stage, "bond -j")?;
        ensure!(bond[0]["members"][0]["mii_status"] == "DOWN", "{bond}");
        ensure!(bond[0]["members"][0]["link_failure_count"] == 1, "{bond}");
        let a = json(&stage, "link -j show dev a")?;
        ensure!(
            a[0]["flags"].as_array().is_some_and(|flags| flags.contains(&"NO-CARRIER".into())),
            "{a}"
        );
        Ok(())
    })
}

/// Two daemons, so that both ends share the work alike.
#[test]
fn lacp_brings_two_wires_together_and_does_without_one() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        network.add_wire("nw1", "peer1")?;
        let host = |wires: [&str; 2], last: u8| {
            interface("a", &format!("packet:{}", wires[0]), "")
                + &interface("b", &format!("packet:{}", wires[1]), "")
                + &interface(
                    "bond0",
                    "bond",
                    &format!(
                        "members = [\"a\", \"b\"]\nmode = \"802.3ad\"\nlacp_rate = \"fast\"\n\
                         xmit_hash_policy = \"layer3+4\"\naddress = [\"10.5.0.{last}/24\"]"
                    ),
                )
        };
        let other = host(["peer0", "peer1"], 2);
        let other = Daemon::start_with(&network.kernel, Path::new(NARROWS), &other)?;
        let stage = up(network, &host(["nw0", "nw1"], 1))?;
        let working = |stage: &Stage| -> Result<usize> {
            let bond = json(stage, "bond -j")?;
            let members = bond[0]["members"].as_array().context("no members")?;
            Ok(members.iter().filter(|member| member["state"] == "ACTIVE").count())
        };
        eventually("both wires are in use", || Ok(working(&stage)? == 2))?;
        let output = stage.ask(&["ping", "-c", "1", "10.5.0.2"])?;
        ensure!(output.status.success(), "{output:?}");
        ip(&stage.network.kernel, "link set peer1 down")?;
        eventually("one is left", || Ok(working(&stage)? == 1))?;
        let output = stage.ask(&["ping", "-c", "1", "10.5.0.2"])?;
        ensure!(output.status.success(), "{output:?}");
        other.stop().map(drop)
    })
}

/// Two hosts of the kernel, on wires that meet in a bridge of ours.
fn bridged(more: &str) -> Result<(Stage, Namespace)> {
    let network = Network::new()?;
    network.add_wire("nw1", "far0")?;
    let far = Namespace::new()?;
    network.kernel.run(|| {
        narrows_testbed::netlink::run(async |links| links.move_to("far0", far.descriptor()).await)
    })??;
    ip(&far, "link set far0 up")?;
    ip(&far, "addr add 10.77.0.9/24 dev far0")?;
    let configuration = interface("p0", "packet:nw0", "")
        + &interface("p1", "packet:nw1", "")
        + &interface(
            "br0",
            "bridge",
            &format!("ports = [\"p0\", \"p1\"]\naddress = [\"10.77.0.2/24\"]\n{more}"),
        );
    Ok((up(network, &configuration)?, far))
}

const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 9);

#[test]
fn kernels_meet_by_a_bridge_of_ours() -> Result<()> {
    as_root(|| {
        let (stage, far) = bridged("")?;
        let near = &stage.network.kernel;
        eventually("both hear each other", || Ok(answers(near, FAR)))?;
        ensure!(answers(near, Network::NARROWS_ADDRESS) && answers(&far, Network::NARROWS_ADDRESS));
        // Whole segments of 64 KiB pass, and none is lost.
        let address = SocketAddrV4::new(FAR, 8000);
        let mut receive = far.command(NARROWS);
        receive.args(["peer", "bulk-receive", "--streams", "1", "--verify", "--listen"]);
        let mut receive = stage.start(
            {
                receive.arg(address.to_string());
                receive
            },
            "listening",
        )?;
        succeed(
            stage.peer(On::Kernel, &["bulk-send", &address.to_string(), "--bytes", "50000000"]),
        )?;
        ensure!(receive.wait(PATIENCE)?.success(), "the receiver");
        let rows = json(&stage, "bridge -j fdb")?;
        let ports = rows.as_array().context("no rows")?.iter().map(|row| &row["ifname"]);
        let mut ports: Vec<_> = ports.filter_map(Value::as_str).collect();
        ports.sort_unstable();
        ports.dedup();
        ensure!(ports == ["p0", "p1"], "{rows}");
        Ok(())
    })
}

#[test]
fn a_port_carries_only_who_is_bound_to_it() -> Result<()> {
    as_root(|| {
        let (stage, far) = bridged("")?;
        eventually("both hear each other", || Ok(answers(&stage.network.kernel, FAR)))?;
        told(&stage, "bridge link set dev p1 bind 02:00:00:00:00:01")?;
        ensure!(!answers(&far, Network::NARROWS_ADDRESS), "a stranger is heard");
        let drops = json(&stage, "stat -j")?;
        ensure!(drops.to_string().contains("bridge-spoofed"), "{drops}");
        told(&stage, "bridge link set dev p1 bind any")?;
        ensure!(answers(&far, Network::NARROWS_ADDRESS));
        let neighbor = format!("-j -s neigh show {FAR}");
        let seen = &json(&stage, &neighbor)?[0];
        ensure!(seen["used"].is_u64() && seen["probes"] == 0, "{seen}");
        // A bridge that goes lets its ports go, which carry on alone.
        told(&stage, "link del br0")?;
        let left = json(&stage, "-j link")?;
        let names: Vec<_> =
            left.as_array().context("no rows")?.iter().map(|row| &row["ifname"]).collect();
        ensure!(names == ["lo", "p0", "p1"], "{left}");
        told(&stage, "addr add 10.77.0.2/24 dev p1")?;
        eventually("the port answers", || Ok(answers(&far, Network::NARROWS_ADDRESS)))?;
        Ok(())
    })
}

#[test]
fn interfaces_are_made_and_unmade_at_run_time() -> Result<()> {
    as_root(|| {
        let network = Network::new()?;
        network.add_wire("nw1", "peer1")?;
        ip(&network.kernel, "addr add 10.78.0.1/24 dev peer1")?;
        let wire = interface("wire", "packet:nw0", "address = [\"10.77.0.2/24\"]");
        let stage = up(network, &wire)?;
        for words in [
            "link add name lan2 device packet:nw1",
            "addr add 10.78.0.2/24 dev lan2",
            "link set lan2 mtu 1400 group 7 promisc on",
            "link add link lan2 name lan2.5 type vlan id 5",
        ] {
            told(&stage, words)?;
        }
        ensure!(answers(&stage.network.kernel, Ipv4Addr::new(10, 78, 0, 2)));
        let shown = json(&stage, "link show -j group 7")?;
        ensure!(shown[0]["ifname"] == "lan2" && shown[0]["mtu"] == 1400, "{shown}");
        ensure!(json(&stage, "link show -j type vlan")?[0]["link"] == "lan2");
        for (words, why) in [
            ("link add name again device packet:nw1", "device nw1 is in use already"),
            ("link add name x device packet:nope", "no interface nope; there are: lo, nw0, nw1"),
            (
                "link add link lan2 name y type vlan id 5",
                "part of another, or others stand upon it",
            ),
            ("link add link lan2 name y type vlan id 4095", "VLAN 4095: write 1 to 4094"),
            ("link set lan2 mtu 60", "mtu 60: write 68 to 65535"),
            ("link set lan2 mtu 9000", "nw1 has an MTU of 1500 in the kernel"),
            ("link set lan2 master wire", "\"wire\" is neither a bond nor a bridge"),
            ("link delete lo", "Operation not supported"),
            ("link delete nope", "no interface \"nope\""),
        ] {
            let output = stage.ask(&words.split_whitespace().collect::<Vec<_>>())?;
            ensure!(!output.status.success(), "{words} succeeded");
            ensure!(output.stderr.contains(why), "{words}: {}", output.stderr);
        }
        told(&stage, "link set lan2 down")?;
        ensure!(!answers(&stage.network.kernel, Ipv4Addr::new(10, 78, 0, 2)));
        // Its VLAN goes with it.
        told(&stage, "link delete lan2")?;
        let left = json(&stage, "link show -j")?;
        let names: Vec<_> =
            left.as_array().context("no rows")?.iter().map(|row| &row["ifname"]).collect();
        ensure!(names == ["lo", "wire"], "{left}");
        ensure!(answers(&stage.network.kernel, Network::NARROWS_ADDRESS));
        Ok(())
    })
}

#[test]
fn settings_of_an_interface_change_together_or_not_at_all() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let set = |words: &str| {
            let words: Vec<_> = "link set wire".split(' ').chain(words.split(' ')).collect();
            stage.ask(&words)
        };
        let shown = || -> Result<String> { Ok(stage.ask(&["link", "-d", "show"])?.stdout) };
        let before = shown()?;
        for (words, why) in [
            ("forward on name lo", "there is an interface \"lo\" already"),
            ("promisc on host_model mild", "host_model mild: write one of strong, weak"),
            ("group 7 reverse_path maybe", "reverse_path maybe: write one of strict, loose, off"),
            ("up mtu 60", "mtu 60"),
            ("arp_filter on arp_ignore 3", "arp_ignore 3: write 0, 1, 2 or 8"),
            ("proxy_arp on arp_announce 3", "arp_announce 3: write 0, 1 or 2"),
            ("conflict_detection no", "conflict_detection no: write one of announce, probe, off"),
            ("group 7 address_source bootp", "address_source bootp: write one of static, dhcp"),
            ("redirects on type bond mode 802.3ad", "that is for bonds and bridges"),
        ] {
            let output = set(words)?;
            ensure!(!output.status.success() && output.stderr.contains(why), "{words}: {output:?}");
            ensure!(shown()? == before, "{words}: {}", shown()?);
        }
        let all = "name uplink forward on host_model weak reverse_path loose redirects on \
                   arp_ignore 8 arp_announce 0 arp_filter on arp_accept on proxy_arp on \
                   conflict_detection off";
        let output = set(all)?;
        ensure!(output.status.success(), "{output:?}");
        let after = shown()?;
        ensure!(after.contains(": uplink: <BROADCAST,MULTICAST,UP,LOWER_UP>"), "{after}");
        ensure!(
            after.contains("    forward on host_model weak reverse_path loose redirects on\n"),
            "{after}"
        );
        let arp = "    arp_ignore 8 arp_announce 0 arp_filter on arp_accept on proxy_arp on \
                   conflict_detection off\n";
        ensure!(after.contains(arp), "{after}");
        let log = stage.daemon.log();
        ensure!(log.contains(&format!("change=link set wire {all}")), "{log}");
        Ok(())
    })
}
