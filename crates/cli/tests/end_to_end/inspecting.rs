//! Programs that decide about packets: the example, and ones that are killed, stopped, slow, or lie.

use crate::{
    isolation::has_users,
    stage::{On, PATIENCE, Stage, fail, installed, succeed},
};
use anyhow::{Context, Result, ensure};
use narrows_client::{
    Inspector,
    ipc::inspect::{Answer, Attach, Hook, PacketHeader, Source, Verdict},
};
use narrows_testbed::{Process, as_root};
use rustix::{
    net::{SendFlags, send},
    process::Signal,
};
use serde_json::Value;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/tls_guard.py");

/// Serves the files of its directory over TLS, at the port it is told.
const WEB: &str = "\
import http.server, ssl, sys
web = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('certificate', 'key')
web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
web.serve_forever()
";

/// Runs the example as a user whom nobody has granted anything, who can't read where it is.
const AS_ANOTHER: &str = "\
import os, socket, struct, sys
example = open(sys.argv.pop(1)).read()
os.setgroups([])
os.setgid(4001)
os.setuid(4001)
exec(example)
";

const PORT: u16 = 8443;
const RESOURCES: usize = 6;

/// Something that has to come true within [`PATIENCE`].
fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < end, "never: {what}");
        std::thread::yield_now();
    }
    Ok(())
}

/// Rules for the daemon.
fn set_rules(stage: &Stage, rules: &str) -> Result<()> {
    let file = stage.directory().join("rules.nft");
    fs::write(&file, rules)?;
    let output = stage.ask(&["nft", "-f", file.to_str().context("a path")?])?;
    ensure!(output.status.success(), "{}", output.stderr);
    Ok(())
}

fn inspectors(stage: &Stage) -> Result<Vec<Value>> {
    let output = stage.ask(&["ss", "--inspectors", "-j"])?;
    ensure!(output.status.success(), "{}", output.stderr);
    Ok(serde_json::from_str(&output.stdout)?)
}

fn drops(stage: &Stage, reason: &str) -> Result<u64> {
    let drops = stage.stack()?.statistics()?.drops;
    Ok(drops.iter().find(|drop| drop.name == reason).map_or(0, |drop| drop.count))
}

/// A server on the kernel's end, with a page of some resources.
fn serve_web(stage: &Stage, python: &Path, openssl: &Path) -> Result<Process> {
    let mut certificate = Command::new(openssl);
    certificate.current_dir(stage.directory()).args(["req", "-x509", "-newkey", "rsa:2048"]);
    certificate.args(["-nodes", "-keyout", "key", "-out", "certificate", "-days", "1"]);
    succeed({
        certificate.args(["-subj", "/CN=web"]);
        certificate
    })?;
    for resource in 0..RESOURCES {
        let content = vec![b'a' + resource as u8; 50_000];
        fs::write(stage.directory().join(format!("resource{resource}")), content)?;
    }
    let mut web = stage.command(On::Kernel, python);
    web.current_dir(stage.directory());
    web.args(["-c", WEB, &On::Kernel.address().to_string(), &PORT.to_string()]);
    stage.serve(On::Kernel, PORT, web)
}

/// The example, with what it says in a file.
fn guard(stage: &Stage, python: &Path, blocked: &[&str]) -> Result<(Process, PathBuf)> {
    let said = stage.directory().join("guard");
    let mut command = stage.network.narrows.command(python);
    command.arg(EXAMPLE).arg(stage.daemon.socket()).arg("5").args(blocked);
    command.stdin(Stdio::null()).stdout(File::create(&said)?).stderr(Stdio::inherit());
    let process = Process::spawn(&mut command)?;
    until("the example guards", || Ok(fs::read_to_string(&said)?.contains("guarding")))?;
    Ok((process, said))
}

/// `curl` of the program's resources at once, each by a connection of its own; how many came whole.
fn fetch(stage: &Stage, host: &str, resources: usize, limit: u32) -> Result<usize> {
    let directory = stage.directory();
    let mut curl = stage.command(On::Narrows, "curl");
    curl.args(["-sk", "--parallel", "--parallel-immediate", "--max-time", &limit.to_string()]);
    curl.args(["--resolve", &format!("{host}:{PORT}:{}", On::Kernel.address())]);
    for resource in 0..resources {
        let out = directory.join(format!("got{resource}"));
        let _ = fs::remove_file(&out);
        curl.arg("-o").arg(out).arg(format!("https://{host}:{PORT}/resource{resource}"));
    }
    Process::output(&mut curl, PATIENCE)?;
    let whole = |resource: &usize| {
        let got = fs::read(directory.join(format!("got{resource}"))).unwrap_or_default();
        got.len() == 50_000 && got.iter().all(|byte| *byte == b'a' + *resource as u8)
    };
    Ok((0..resources).filter(whole).count())
}

#[test]
fn the_example_blocks_tls_by_server_name() -> Result<()> {
    as_root(|| {
        let (Some(python), Some(openssl), Some(_)) =
            (installed("python3")?, installed("openssl")?, installed("curl")?)
        else {
            return Ok(());
        };
        let stage = Stage::new()?;
        let _web = serve_web(&stage, &python, &openssl)?;
        let rule = format!("tcp dport {PORT} queue to 5");
        set_rules(
            &stage,
            &format!(
                "table ip t {{ chain out {{ type filter hook output priority 0; {rule}\n}} }}"
            ),
        )?;
        let (guard, said) = guard(&stage, &python, &["ads.example"])?;
        ensure!(fetch(&stage, "page.example", RESOURCES, 50)? == RESOURCES, "a page, all of it");
        ensure!(fetch(&stage, "ads.example", 2, 3)? == 0, "and nothing of the other");
        let said = fs::read_to_string(said)?;
        ensure!(said.contains("pass page.example") && said.contains("drop ads.example"), "{said}");
        let rows = inspectors(&stage)?;
        ensure!(rows.len() == 1 && rows[0]["source"] == "queue 5", "{rows:?}");
        ensure!(rows[0]["dropped"].as_u64() >= Some(2), "{rows:?}");
        // Stopped, it answers nothing; what waits is dropped, and it goes on when it does.
        guard.signal(Signal::STOP)?;
        ensure!(fetch(&stage, "page.example", 1, 3)? == 0, "stopped, closed");
        ensure!(drops(&stage, "inspector-late")? > 0, "what it did not answer is counted");
        guard.signal(Signal::CONT)?;
        ensure!(fetch(&stage, "page.example", RESOURCES, 50)? == RESOURCES, "it goes on");
        guard.signal(Signal::KILL)?;
        until("nobody inspects", || Ok(inspectors(&stage)?.is_empty()))?;
        ensure!(fetch(&stage, "page.example", 1, 3)? == 0, "a rule stays closed without anybody");
        let bypass = rule.replace("queue to", "queue flags bypass to");
        set_rules(
            &stage,
            &format!(
                "flush ruleset; table ip t {{ chain out {{ type filter hook output priority 0; \
                 {bypass}\n}} }}"
            ),
        )?;
        ensure!(fetch(&stage, "page.example", 2, 50)? == 2, "or lets everything pass");
        Ok(())
    })
}

fn terms(hook: Hook) -> Attach {
    Attach {
        source: Source::Hook(hook),
        interface: 0,
        filter: Vec::new(),
        snap: 0,
        open: false,
        patience: 300,
        room: 8,
    }
}

fn attach(stage: &Stage, wish: &Attach) -> io::Result<Inspector> {
    Inspector::attach(Some(&stage.daemon.socket()), wish)
}

/// One ping from the kernel's end: does it come back?
fn answers_ping(stage: &Stage) -> Result<bool> {
    let mut ping = stage.command(On::Kernel, "ping");
    ping.args(["-c1", "-W2", &On::Narrows.address().to_string()]);
    Ok(Process::output(&mut ping, PATIENCE)?.status.success())
}

/// Answers what is asked of `inspector` until a ping that runs meanwhile has ended; whether it came back.
fn ping_under(
    stage: &Stage,
    inspector: &mut Inspector,
    mut answer: impl FnMut(&Inspector, &PacketHeader, &[u8]) -> io::Result<()>,
) -> Result<bool> {
    let mut ping = stage.command(On::Kernel, "ping");
    ping.args(["-c1", "-W2", &On::Narrows.address().to_string()]).stdout(Stdio::null());
    let mut ping = Process::spawn(&mut ping)?;
    loop {
        let got = inspector.next(Duration::from_millis(10))?;
        if let Some((header, bytes)) = got.map(|(header, bytes)| (header, bytes.to_vec())) {
            answer(inspector, &header, &bytes)?;
        }
        if let Some(status) = ping.try_wait()? {
            return Ok(status.success());
        }
    }
}

fn say(verdict: Verdict) -> impl FnMut(&Inspector, &PacketHeader, &[u8]) -> io::Result<()> {
    move |inspector, header, _| {
        inspector.answer(&Answer { packet: header.packet, verdict, mark: None, bytes: None })
    }
}

#[test]
fn who_does_not_answer_ends_as_declared() -> Result<()> {
    as_root(|| {
        let Some(_) = installed("ping")? else { return Ok(()) };
        let stage = Stage::new()?;
        let mut closed = attach(&stage, &terms(Hook::Input))?;
        ensure!(ping_under(&stage, &mut closed, say(Verdict::Accept))?, "it is accepted");
        ensure!(!ping_under(&stage, &mut closed, say(Verdict::Drop))?, "it is dropped");
        ensure!(drops(&stage, "inspector-refused")? == 1, "and counted");
        ensure!(!answers_ping(&stage)?, "silent and closed");
        ensure!(drops(&stage, "inspector-late")? == 1, "and counted");
        // A flood takes no more than it may.
        let mut flood = stage.command(On::Kernel, "ping");
        flood.args(["-c100", "-i", "0.002", "-W1", &On::Narrows.address().to_string()]);
        Process::output(&mut flood, PATIENCE)?;
        ensure!(drops(&stage, "inspector-full")? > 0, "its room is bounded");
        let rows = inspectors(&stage)?;
        ensure!(rows[0]["waiting"].as_u64() <= Some(8), "{rows:?}");
        drop(closed);
        until("it is gone", || Ok(inspectors(&stage)?.is_empty()))?;
        ensure!(answers_ping(&stage)?, "nobody inspects");
        let open = attach(&stage, &Attach { open: true, ..terms(Hook::Input) })?;
        ensure!(answers_ping(&stage)?, "silent and open");
        drop(open);
        let wish = Attach { open: true, patience: 60_000, ..terms(Hook::Input) };
        let open = attach(&stage, &wish)?;
        let mut ping = stage.command(On::Kernel, "ping");
        ping.args(["-c1", "-W50", &On::Narrows.address().to_string()]).stdout(Stdio::null());
        let mut ping = Process::spawn(&mut ping)?;
        let waits = |rows: Vec<Value>| rows.iter().any(|row| row["waiting"] == 1);
        until("the ping waits", || Ok(waits(inspectors(&stage)?)))?;
        drop(open);
        ensure!(ping.wait(PATIENCE)?.success(), "left and open");
        Ok(())
    })
}

#[test]
fn who_lies_is_ignored_and_sent_away() -> Result<()> {
    as_root(|| {
        let Some(_) = installed("ping")? else { return Ok(()) };
        let stage = Stage::new()?;
        let wish = Attach { patience: 10_000, ..terms(Hook::Input) };
        let mut inspector = attach(&stage, &wish)?;
        let came = ping_under(&stage, &mut inspector, |inspector, header, packet| {
            let accept =
                Answer { packet: header.packet, verdict: Verdict::Accept, mark: None, bytes: None };
            let mut forged = packet.to_vec();
            forged[15] ^= 1;
            let long = vec![0x45; 65_536];
            inspector.answer(&Answer { packet: u64::MAX, ..accept })?;
            inspector.answer(&Answer { bytes: Some(&forged), ..accept })?;
            inspector.answer(&Answer { bytes: Some(&long), ..accept })?;
            inspector.answer(&accept)?;
            // Too late: it has been said.
            inspector.answer(&Answer { verdict: Verdict::Drop, ..accept })
        })?;
        ensure!(came, "the only answer that makes sense counts");
        let rows = inspectors(&stage)?;
        ensure!(rows[0]["lies"] == 3 && rows[0]["stale"] == 1, "{rows:?}");
        for _ in 0..64 {
            let _ = send(&inspector, b"\x01garbage", SendFlags::NOSIGNAL);
        }
        until("it is sent away", || Ok(inspectors(&stage)?.is_empty()))?;
        let gone = inspector.next(PATIENCE).map_err(|error| error.kind());
        ensure!(gone == Err(io::ErrorKind::UnexpectedEof), "{gone:?}");
        let mut other = attach(&stage, &wish)?;
        send(&other, &[9; 20], SendFlags::NOSIGNAL)?;
        let gone = other.next(PATIENCE).map_err(|error| error.kind());
        ensure!(gone == Err(io::ErrorKind::UnexpectedEof), "another version: {gone:?}");
        for bad in [Attach { room: 0, ..wish.clone() }, Attach { patience: 60_001, ..wish }] {
            let refused = attach(&stage, &bad).map_err(|error| error.kind());
            ensure!(refused.is_err_and(|kind| kind == io::ErrorKind::InvalidInput), "{bad:?}");
        }
        ensure!(answers_ping(&stage)?, "and the daemon goes on");
        Ok(())
    })
}

#[test]
fn who_has_no_grant_inspects_nothing() -> Result<()> {
    as_root(|| {
        let Some(python) = installed("python3")? else { return Ok(()) };
        if !has_users() {
            eprintln!("there is only one user in this namespace: left out");
            return Ok(());
        }
        let stage = Stage::new()?;
        let mut command = stage.network.narrows.command(python);
        command.args(["-c", AS_ANOTHER, EXAMPLE]).arg(stage.daemon.socket()).arg("5");
        let said = fail(command)?;
        ensure!(said.contains("Operation not permitted"), "{said}");
        let refused = stage.stack()?.statistics()?.drops;
        ensure!(refused.iter().any(|row| row.name == "policy-packet" && row.count == 1), "counted");
        Ok(())
    })
}
