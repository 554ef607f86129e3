//! Raw sockets: by a Python script that runs on the kernel too, and by the programs that need them.

use crate::stage::{On, PATIENCE, Stage, fail, installed, scripts, succeed};
use anyhow::{Context, Result, ensure};
use narrows_client::{PacketSocket, RawSocket, ipc::packet::FrameMatch};
use narrows_testbed::as_root;

fn script(name: &str, text: &str) -> Result<()> {
    let Some(python) = installed("python3")? else { return Ok(()) };
    let stage = Stage::new()?;
    for (on, peer) in [(On::Kernel, On::Narrows), (On::Narrows, On::Kernel)] {
        stage.script(on, &python, name, text, peer.port(7000))?;
    }
    Ok(())
}

scripts! {
    script:
    raw_calls
}

/// Runs a program under Narrows, and says what it wrote; it must have all of `words` in it.
fn run(stage: &Stage, line: &str, words: &[&str]) -> Result<()> {
    let mut parts = line.split(' ');
    let Some(program) = installed(parts.next().unwrap_or_default())? else { return Ok(()) };
    let mut command = stage.command(On::Narrows, program);
    command.args(parts);
    let said = succeed(command)?;
    for word in words {
        ensure!(said.contains(word), "`{line}` does not say `{word}`:\n{said}");
    }
    Ok(())
}

#[test]
fn programs_that_need_raw_sockets_work() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let _open = stage.serve_echo(On::Kernel, 7001)?;
        let peer = On::Kernel.address();
        // Of errors the kernel sends one a second to each host, if not told otherwise.
        const LIMIT: &str = "/proc/sys/net/ipv4/icmp_ratelimit";
        stage.network.kernel.run(|| std::fs::write(LIMIT, "0"))??;
        let route =
            format!("RR: \t{own}\n\t{peer}\n\t{peer}\n\t{own}\n", own = On::Narrows.address());
        run(&stage, &format!("ping -R -c 1 {peer}"), &["1 received", &route])?;
        run(&stage, &format!("ping -T tsandaddr -c 1 {peer}"), &["1 received", " absolute\n"])?;
        run(&stage, &format!("hping3 -2 -p 7002 -c 4 {peer}"), &["ICMP Port Unreachable"])?;
        let hop = format!(" 1  {peer}  ");
        for method in ["-I", "-U", "-T", "-T -p 7001 -N 16"] {
            // However long an answer takes, it counts.
            let patient = "-w 30,100000,100000";
            run(&stage, &format!("traceroute -n {patient} {method} {peer}"), &[&hop])?;
        }
        run(
            &stage,
            &format!("nmap -n -sS -p 7001,7002 {peer}"),
            &["7001/tcp open", "7002/tcp closed", "1 host up"],
        )?;
        run(&stage, &format!("nmap -n -sU -p 7002 {peer}"), &["7002/udp closed"])?;
        run(&stage, &format!("hping3 -S -p 7001 -c 4 {peer}"), &["flags=SA"])?;
        run(&stage, &format!("hping3 -1 -c 4 {peer}"), &["icmp_seq="])?;
        Ok(())
    })
}

#[test]
fn scapy_works_by_both_kinds_of_sockets() -> Result<()> {
    as_root(|| {
        let Some(_) = installed("scapy")? else { return Ok(()) };
        let stage = Stage::new()?;
        let _open = stage.serve_echo(On::Kernel, 7001)?;
        // The distribution's, which has the distribution's modules.
        let mut python = stage.command(On::Narrows, "/usr/bin/python3");
        python.args(["-c", include_str!("scripts/scapy_calls.py")]);
        python.args([On::Narrows.address().to_string(), On::Kernel.address().to_string()]);
        succeed(python).map(drop)
    })
}

#[test]
fn files_of_proc_are_about_narrows() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let name = stage.stack()?.links()?.pop().context("no interface")?.name;
        let (own, peer) = (On::Narrows.address().to_string(), On::Kernel.address().to_string());
        let _listener = stage.serve_echo(On::Narrows, 7003)?;
        run(&stage, &format!("ping -c 1 {peer}"), &["1 received"])?;
        run(&stage, "ifconfig -a", &[&format!("{name}: flags="), &own])?;
        run(&stage, "route -n", &[&name, "255.255.255.0"])?;
        run(&stage, "arp -n", &[&peer, &name])?;
        run(&stage, "netstat -tln", &[":7003", "LISTEN"])?;
        run(&stage, "cat /proc/self/net/dev", &[&format!("{name}:")])?;
        Ok(())
    })
}

#[test]
fn who_has_a_frame_is_told_in_order_and_claims_are_ones_own() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let name = stage.stack()?.links()?.pop().context("no interface")?.name;
        let who_has = |frame: &str| -> Result<String> {
            let said = stage.ask(&["who-has", &name, frame])?;
            ensure!(said.status.success(), "{}", said.stderr);
            Ok(said.stdout)
        };
        let _server = stage.serve_echo(On::Narrows, 7004)?;
        let listens = who_has("tcp port 7004")?;
        ensure!(
            listens.contains("socket accepts connections") && listens.contains("narrows"),
            "{listens}"
        );
        ensure!(who_has("udp port 7005")?.contains("port unreachable"));
        ensure!(who_has("arp")?.contains("answers for addresses"));
        let mut holder = stage.command(On::Narrows, &python);
        holder.args(["-c", include_str!("scripts/claim.py"), &name, "7006"]);
        let holder = stage.start(holder, "claimed")?;
        let claimed = who_has("udp port 7006")?;
        let first = claimed.lines().next().unwrap_or_default();
        ensure!(first.starts_with("claim takes it") && first.contains("python"), "{claimed}");
        ensure!(!claimed.contains("stack"), "nobody after it: {claimed}");
        let mut second = stage.command(On::Narrows, &python);
        second.args(["-c", include_str!("scripts/claim.py"), &name, "7006"]);
        ensure!(fail(second)?.contains("EBUSY"));
        // What is sent there reaches the holder alone: nobody says that the port is closed.
        let ask = |port: u16| {
            let mut python = stage.command(On::Kernel, &python);
            let text = "import socket,sys; s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(20)\n\
                        s.connect((sys.argv[1],int(sys.argv[2]))); s.send(b'x'); print(s.recv(99))";
            python.args(["-c", text, &On::Narrows.address().to_string(), &port.to_string()]);
            python
        };
        ensure!(succeed(ask(7006))?.contains("claimed: x"), "the holder answers");
        ensure!(fail(ask(7005))?.contains("ConnectionRefused"), "the stack answers");
        drop(holder);
        ensure!(fail(ask(7006))?.contains("ConnectionRefused"), "the claim ended with its holder");
        Ok(())
    })
}

#[test]
fn programs_written_for_it_have_raw_and_packet_sockets() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let stack = stage.stack()?;
        let link = stack.links()?.pop().context("no interface")?;
        let raw = RawSocket::open(&stack, 1)?;
        raw.set_read_timeout(Some(PATIENCE))?;
        // Replies alone: the type is behind a header of 20 bytes.
        let replies =
            vec![(0x30, 0, 0, 20), (0x15, 0, 1, 0), (0x06, 0, 0, 65_535), (0x06, 0, 0, 0)];
        raw.set_filter(Some(replies))?;
        raw.send_to(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0], On::Kernel.address().into())?;
        let mut room = [0; 100];
        let (count, from) = raw.recv_from(&mut room)?;
        ensure!(from == On::Kernel.address() && count == 28 && room[20] == 0, "{from} {room:?}");

        let packets = PacketSocket::open(&stack, &link.name, 0x0800)?;
        packets.set_read_timeout(Some(PATIENCE))?;
        let frame = FrameMatch { interface: link.id, protocol: Some(1), ..FrameMatch::default() };
        packets.claim(Some(frame.clone()))?;
        let second = PacketSocket::open(&stack, &link.name, 0x0800)?;
        let refused = second.claim(Some(frame)).err().and_then(|error| error.raw_os_error());
        ensure!(refused == Some(rustix::io::Errno::BUSY.raw_os_error()), "{refused:?}");
        let mut ping = stage.command(On::Kernel, "ping");
        ping.args(["-c", "1", "-W", "1", &On::Narrows.address().to_string()]);
        fail(ping)?;
        let (count, header) = packets.recv(&mut room)?;
        ensure!(count == 98 && room[23] == 1 && header.kind == 0, "{count} {header:?}");
        ensure!(packets.statistics()?.1 == 0);
        packets.claim(None)?;
        let mut ping = stage.command(On::Kernel, "ping");
        ping.args(["-c", "1", &On::Narrows.address().to_string()]);
        succeed(ping).map(drop)
    })
}

#[test]
fn only_root_has_raw_sockets_unless_policy_says_otherwise() -> Result<()> {
    as_root(|| {
        let Some(_) = installed("python3")? else { return Ok(()) };
        let stage = Stage::new()?;
        let name = stage.stack()?.links()?.pop().context("no interface")?.name;
        let open = "import os,socket,sys; os.setgid(65533); os.setuid(65533); \
                    s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_ICMP)\n";
        let attempt = |rest: &str| {
            let mut python = stage.command(On::Narrows, "python3");
            python.args(["-c", &format!("{open}{rest}"), &On::Kernel.address().to_string()]);
            python
        };
        ensure!(fail(attempt(""))?.contains("PermissionError"), "EPERM");
        let words = format!("policy add grant user 65533 raw {name}");
        let granted = stage.ask(&words.split(' ').collect::<Vec<_>>())?;
        ensure!(granted.status.success(), "{}", granted.stderr);
        let ping = "s.sendto(bytes([8,0,0xf7,0xff,0,0,0,0]),(sys.argv[1],0)); s.recv(99)";
        succeed(attempt(ping))?;
        // Not there: by the loopback.
        let refused = attempt("s.sendto(bytes(8),('127.0.0.1',0))");
        ensure!(fail(refused)?.contains("PermissionError"), "EPERM");
        Ok(())
    })
}
