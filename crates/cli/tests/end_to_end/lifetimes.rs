//! The daemon dies, or a program does: nobody waits for ever, nothing is left.

use crate::stage::{On, PATIENCE, Stage, eventually, fail};
use anyhow::{Context, Result, ensure};
use narrows_testbed::{Process, as_root};
use std::{fs, process::Stdio};

const CONNECTIONS: usize = 100;

#[test]
fn programs_notice_that_the_daemon_died() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let _kernel_server = stage.serve_echo(On::Kernel, 7000)?;
        // One blocked in accept(), one in read(), one that exchanges bytes all the time.
        let mut listener = stage.serve_echo(On::Narrows, 7001)?;
        let kernel = On::Kernel.port(7000).to_string();
        let hold = stage.peer(On::Narrows, &["hold", &kernel, "--connections", "10"]);
        let mut hold = stage.start(hold, "holding 10")?;
        let mut busy = stage.peer(On::Narrows, &["pingpong", &kernel, "--count", "1000000000"]);
        busy.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut busy = Process::spawn(&mut busy)?;
        eventually("all are connected", || Ok(stage.owned_sockets()? == 12))?;

        stage.daemon.process().kill()?;
        drop(hold.stdin());
        for (what, process) in [("accept", &mut listener), ("held", &mut hold), ("busy", &mut busy)]
        {
            let status = process.wait(PATIENCE).context(what)?;
            ensure!(status.code().is_some_and(|code| code != 0), "{what}: {status}");
        }
        Ok(())
    })
}

#[test]
fn a_daemon_told_to_end_resets_its_connections() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let _server = stage.serve_echo(On::Narrows, 7000)?;
        let address = On::Narrows.port(7000).to_string();
        let hold = stage.peer(On::Kernel, &["hold", &address, "--connections", "10"]);
        let mut hold = stage.start(hold, "holding 10")?;
        let status = stage.daemon.process().terminate(PATIENCE)?;
        ensure!(status.success(), "{status}: {}", stage.daemon.log());
        eventually("the kernel's connections are gone", || Ok(established(&stage)? == 0))?;
        drop(hold.stdin());
        ensure!(!hold.wait(PATIENCE)?.success(), "a connection to a dead daemon still answered");
        Ok(())
    })
}

#[test]
fn a_killed_server_frees_everything() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let before = Held::by_the_daemon(&mut stage)?;
        let mut server = stage.serve_echo(On::Narrows, 7000)?;
        let address = On::Narrows.port(7000).to_string();
        let count = CONNECTIONS.to_string();
        let hold = stage.peer(On::Kernel, &["hold", &address, "--connections", &count]);
        let mut hold = stage.start(hold, "holding")?;
        ensure!(stage.owned_sockets()? == CONNECTIONS + 1);

        server.kill()?;
        eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))?;
        eventually("the kernel has heard of it", || Ok(established(&stage)? == 0))?;
        // What the program waits for now is an end of file or a reset.
        drop(hold.stdin());
        ensure!(!hold.wait(PATIENCE)?.success(), "a connection to a dead server still answered");
        before.is_all(&mut stage)?;
        // The port is free again.
        drop(stage.serve_echo(On::Narrows, 7000)?);
        Ok(())
    })
}

#[test]
fn a_killed_client_frees_everything() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let before = Held::by_the_daemon(&mut stage)?;
        let _server = stage.serve_echo(On::Kernel, 7000)?;
        let address = On::Kernel.port(7000).to_string();
        let count = CONNECTIONS.to_string();
        let hold = stage.peer(On::Narrows, &["hold", &address, "--connections", &count]);
        let mut hold = stage.start(hold, "holding")?;
        ensure!(stage.owned_sockets()? == CONNECTIONS);
        hold.kill()?;
        eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))?;
        eventually("the kernel has heard of it", || Ok(established(&stage)? == 0))?;
        before.is_all(&mut stage)
    })
}

#[test]
fn a_client_killed_in_the_middle_of_a_transfer_frees_everything() -> Result<()> {
    as_root(|| {
        let mut stage = Stage::new()?;
        let before = Held::by_the_daemon(&mut stage)?;
        for (port, server, client) in [
            (8000, On::Kernel, On::Narrows),
            (8001, On::Narrows, On::Kernel),
            (8002, On::Narrows, On::Narrows),
        ] {
            let address = server.port(port).to_string();
            let serve = stage.peer(server, &["http-server", "--listen", &address]);
            let server = stage.serve(server, port, serve)?;
            let url = format!("http://{address}/{}", 1_u64 << 40);
            let fetch = stage.peer(client, &["http-client", "--progress", &url]);
            // It has said how far it is: bytes are on their way.
            let mut fetch = stage.start(fetch, "")?;
            fetch.kill()?;
            eventually("the kernel has heard of it", || Ok(established(&stage)? == 0))?;
            drop(server);
            eventually("no socket is owned", || Ok(stage.owned_sockets()? == 0))?;
        }
        before.is_all(&mut stage)
    })
}

#[test]
fn a_port_nobody_listens_at_refuses() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for (server, client) in
            [(On::Kernel, On::Narrows), (On::Narrows, On::Kernel), (On::Narrows, On::Narrows)]
        {
            let address = server.port(9).to_string();
            let error = fail(stage.peer(client, &["pingpong", &address]))?;
            ensure!(error.contains("Connection refused"), "{client:?} to {server:?}: {error}");
        }
        Ok(())
    })
}

/// Connections that the kernel at the other end believes in.
fn established(stage: &Stage) -> Result<usize> {
    const ESTABLISHED: &str = "01";
    let table = stage.network.kernel.run(|| fs::read_to_string("/proc/thread-self/net/tcp"))??;
    let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    Ok(table.lines().skip(1).filter_map(state).filter(|state| state == ESTABLISHED).count())
}

/// What a daemon holds.
struct Held {
    descriptors: usize,
}

impl Held {
    fn by_the_daemon(stage: &mut Stage) -> Result<Self> {
        let pid = stage.daemon.process().id();
        Ok(Self { descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }

    /// Waits until the daemon holds no more than that.
    fn is_all(&self, stage: &mut Stage) -> Result<()> {
        eventually("the daemon's descriptors are back to where they were", || {
            Ok(Self::by_the_daemon(stage)?.descriptors <= self.descriptors)
        })
    }
}
