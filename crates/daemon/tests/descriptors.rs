//! The daemon without descriptors to spare. A program of its own, since the limit is the process's.

mod setup;

use anyhow::{Context, Result, ensure};
use narrows_client::{
    Stack, TcpListener,
    ipc::{Answer, Endpoint, Error, Reply, Request, message::SocketKind},
};
use narrows_testbed::as_root;
use rustix::{
    net::{AddressFamily, SocketType},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use setup::{NARROWS, Setup, with_daemon};
use std::{
    fs::File,
    io::{Read, Write},
    net,
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

/// Leaves the process `more` descriptors than it has.
fn allow(more: u64) -> Result<()> {
    let open = std::fs::read_dir("/proc/self/fd")?.count() as u64 - 1;
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(open + more), maximum })?)
}

fn allow_all() -> Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

fn open(endpoint: &mut Endpoint) -> Result<Result<OwnedFd, Error>> {
    endpoint.send(&Request::Socket { kind: SocketKind::Tcp }, None)?;
    let (answer, anchor) = endpoint.recv::<Answer>()?.context("an answer")?;
    match answer {
        Ok(_) => Ok(Ok(anchor.context("an anchor")?)),
        Err(error) => Ok(Err(error)),
    }
}

#[test]
fn without_descriptors_it_refuses_and_waits() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            sockets_are_refused(setup)?;
            accepted_connections_wait(setup, stack)
        })
    })
}

fn sockets_are_refused(setup: &Setup) -> Result<()> {
    let mut endpoint = Endpoint::connect(&setup.socket())?;
    allow(20)?;
    let (mut anchors, mut others) = (Vec::new(), Vec::new());
    let refusal = loop {
        match open(&mut endpoint) {
            Ok(Ok(anchor)) => anchors.push(anchor),
            Ok(Err(error)) => break error,
            // The last descriptor was the daemon's, and this test lives in the same process.
            Err(_) => others.extend(File::open("/dev/null").ok()),
        }
        ensure!(anchors.len() < 20, "no limit");
    };
    ensure!(refusal == Error::NoBufferSpace, "{refusal}");
    drop((anchors, others));
    setup.until("room for another", || Ok(matches!(open(&mut endpoint), Ok(Ok(_)))))?;
    allow_all()
}

fn accepted_connections_wait(setup: &Setup, stack: &Stack) -> Result<()> {
    const CONNECTIONS: usize = 30;
    let mut endpoint = Endpoint::connect(&setup.socket())?;
    let mut turns = || -> Result<u64> {
        endpoint.send(&Request::Statistics, None)?;
        match endpoint.recv::<Answer>()?.context("an answer")?.0? {
            Reply::Statistics(statistics) => {
                let found = statistics.counters.iter().find(|(name, _)| name == "daemon-turns");
                Ok(found.context("turns")?.1)
            }
            _ => anyhow::bail!("not statistics"),
        }
    };
    let listener = TcpListener::bind(stack, NARROWS)?;
    // Sockets first: these need descriptors too.
    let sockets = setup.network.kernel.run(|| {
        let socket = || rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None);
        (0..CONNECTIONS).map(|_| socket()).collect::<Result<Vec<_>, _>>()
    })??;
    allow(6)?;
    let mut theirs = Vec::new();
    for socket in sockets {
        rustix::net::connect(&socket, &NARROWS)?;
        theirs.push(net::TcpStream::from(socket));
    }
    let before = turns()?;
    thread::sleep(Duration::from_millis(500));
    let spent = turns()? - before;
    ensure!(spent < 100, "{spent} turns with nothing to do");
    allow_all()?;
    for theirs in &mut theirs {
        theirs.write_all(b"x")?;
    }
    for _ in 0..CONNECTIONS {
        let (mut ours, _) = listener.accept()?;
        ours.read_exact(&mut [0])?;
        ours.write_all(b"y")?;
    }
    for theirs in &mut theirs {
        theirs.read_exact(&mut [0])?;
    }
    Ok(())
}
