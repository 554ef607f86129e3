//! Bytes arrive whole, in every direction; many connections too.

use crate::stage::{On, Stage, succeed};
use anyhow::{Result, ensure};
use narrows_testbed::{
    as_root,
    peer::{
        Pattern,
        report::{self, Connections, Fetch},
    },
    ping,
};

const SIZE: u64 = 48 << 20;

#[test]
fn a_transfer_arrives_whole() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        let sha256 = Pattern::shared().sha256(SIZE);
        for (port, server, client) in [
            (8000, On::Narrows, On::Kernel),
            (8001, On::Kernel, On::Narrows),
            (8002, On::Narrows, On::Narrows),
        ] {
            let address = server.port(port).to_string();
            let _server = stage.serve(
                server,
                port,
                stage.peer(server, &["http-server", "--listen", &address]),
            )?;
            let url = format!("http://{address}/{SIZE}");
            let fetch = stage.peer(client, &["http-client", "--sha256", &url]);
            let fetch: Fetch = report::read(&succeed(fetch)?)?;
            ensure!(fetch.bytes == SIZE, "{client:?} from {server:?}: {} bytes", fetch.bytes);
            ensure!(fetch.sha256.as_ref() == Some(&sha256), "{client:?} from {server:?}: SHA-256");
        }
        Ok(())
    })
}

#[test]
fn four_streams_at_once_are_not_mixed_up() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for (port, receiver, sender) in [
            (5000, On::Narrows, On::Kernel),
            (5001, On::Kernel, On::Narrows),
            (5002, On::Narrows, On::Narrows),
        ] {
            let address = receiver.port(port).to_string();
            let receive = ["bulk-receive", "--streams", "4", "--verify", "--listen", &address];
            let mut receive = stage.start(stage.peer(receiver, &receive), "listening")?;
            let bytes = (SIZE / 4).to_string();
            let send = ["bulk-send", &address, "--streams", "4", "--bytes", &bytes];
            succeed(stage.peer(sender, &send))?;
            let status = receive.wait(crate::stage::PATIENCE)?;
            ensure!(status.success(), "{receiver:?} from {sender:?}: {status}");
        }
        Ok(())
    })
}

#[test]
fn ping_is_answered_both_ways() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        ensure!(ping(&stage.network.kernel, On::Narrows.address(), 3)?.len() == 3);
        let kernel = On::Kernel.address().to_string();
        let output = stage.ask(&["ping", "-c", "3", "-i", "0.01", &kernel])?;
        ensure!(output.status.success(), "{output:?}");
        ensure!(output.stdout.contains("3 received, 0% packet loss"), "{}", output.stdout);
        Ok(())
    })
}

#[test]
fn a_thousand_connections_at_once() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for (port, server, client) in
            [(7000, On::Narrows, On::Kernel), (7001, On::Kernel, On::Narrows)]
        {
            let _server = stage.serve_echo(server, port)?;
            let address = server.port(port).to_string();
            let hold = stage.peer(client, &["hold", &address, "--connections", "1000"]);
            let mut hold = stage.start(hold, "holding 1000")?;
            let listed = stage.ask(&["ss", "-tH"])?.stdout;
            let established = listed.lines().filter(|line| line.starts_with("ESTAB")).count();
            ensure!(established == 1000, "{established} of 1000 listed");
            // Each has to answer once more.
            drop(hold.stdin());
            let status = hold.wait(crate::stage::PATIENCE)?;
            ensure!(status.success(), "{client:?} to {server:?}: {status}");
        }
        Ok(())
    })
}

#[test]
fn short_connections_by_many_at_a_time() -> Result<()> {
    as_root(|| {
        let stage = Stage::new()?;
        for (port, server, client) in [
            (7000, On::Narrows, On::Kernel),
            (7001, On::Kernel, On::Narrows),
            (7002, On::Narrows, On::Narrows),
        ] {
            let _server = stage.serve_echo(server, port)?;
            let address = server.port(port).to_string();
            let storm = ["storm", &address, "--connections", "1000", "--parallel", "64"];
            let storm: Connections = report::read(&succeed(stage.peer(client, &storm))?)?;
            ensure!(storm.connections == 1000, "{client:?} to {server:?}: {storm:?}");
        }
        Ok(())
    })
}
