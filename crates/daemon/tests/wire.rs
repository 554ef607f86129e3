//! The daemon on one end of a veth pair, driven over its control socket, against the kernel's own
//! TCP on the other end.

mod setup;

use anyhow::{Context, Result, bail, ensure};
use narrows_client::{
    TcpListener, TcpStream,
    ipc::{Endpoint, Reply, Request},
};
use narrows_testbed::{Network, as_root, ping};
use setup::{NARROWS, PATIENCE, Setup, Stop, config, with_daemon};
use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{self, Shutdown, SocketAddr, SocketAddrV4},
    thread,
    time::Duration,
};

fn kernel_listener(setup: &Setup) -> Result<(net::TcpListener, SocketAddr)> {
    let any = SocketAddrV4::new(Network::KERNEL_ADDRESS, 0);
    let listener = setup.network.kernel.run(|| net::TcpListener::bind(any))??;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn kernel_connects(setup: &Setup) -> Result<net::TcpStream> {
    Ok(setup.network.kernel.run(|| net::TcpStream::connect_timeout(&NARROWS, PATIENCE))??)
}

/// Byte `position` of a stream that tells every misplaced byte.
fn byte(position: usize) -> u8 {
    ((position as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn send(mut stream: impl Write, len: usize) -> Result<()> {
    let mut position = 0;
    let mut chunk = vec![0; 100_000];
    while position < len {
        let count = chunk.len().min(len - position);
        for (offset, slot) in chunk[..count].iter_mut().enumerate() {
            *slot = byte(position + offset);
        }
        stream.write_all(&chunk[..count])?;
        position += count;
    }
    Ok(())
}

/// Checks every byte, up to the end of the stream.
fn check(mut stream: impl Read, len: usize) -> Result<()> {
    let mut position = 0;
    let mut chunk = vec![0; 256 << 10];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            ensure!(position == len, "{position} bytes of {len}");
            return Ok(());
        }
        for (offset, found) in chunk[..count].iter().enumerate() {
            ensure!(*found == byte(position + offset), "byte {} differs", position + offset);
        }
        position += count;
    }
}

/// Both directions at once, each ended by itself.
fn exchange(ours: &TcpStream, theirs: &net::TcpStream, len: usize) -> Result<()> {
    thread::scope(|scope| {
        let upload = scope.spawn(|| -> Result<()> {
            send(ours, len)?;
            Ok(ours.shutdown(Shutdown::Write)?)
        });
        let download = scope.spawn(|| -> Result<()> {
            send(theirs, len)?;
            Ok(theirs.shutdown(Shutdown::Write)?)
        });
        let arrived = scope.spawn(|| check(theirs, len));
        check(ours, len).context("to Narrows")?;
        for (thread, what) in
            [(upload, "send"), (download, "kernel's send"), (arrived, "to the kernel")]
        {
            thread.join().map_err(|_| anyhow::anyhow!("{what} panicked"))?.context(what)?;
        }
        Ok(())
    })
}

#[test]
fn a_client_exchanges_every_byte() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let (listener, address) = kernel_listener(setup)?;
            let ours = TcpStream::connect(stack, address)?;
            let (theirs, peer) = listener.accept()?;
            ensure!(peer == ours.local_addr()?);
            exchange(&ours, &theirs, 32 << 20)
        })
    })
}

#[test]
fn a_server_exchanges_every_byte() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let listener = TcpListener::bind(stack, NARROWS)?;
            let theirs = kernel_connects(setup)?;
            let (ours, peer) = listener.accept()?;
            ensure!(peer == theirs.local_addr()?);
            exchange(&ours, &theirs, 32 << 20)
        })
    })
}

#[test]
fn both_sides_answer_pings() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, _| {
            ensure!(ping(&setup.network.kernel, Network::NARROWS_ADDRESS, 3)?.len() == 3);
            let destination = Network::KERNEL_ADDRESS;
            let timeout = Duration::from_secs(5);
            let echo = Request::Ping { destination, sequence: 7, payload_len: 3000, timeout };
            match setup.ask(&echo)? {
                Reply::Pong { round_trip, ttl: 64 } => ensure!(round_trip < timeout),
                other => bail!("{other:?}"),
            }
            Ok(())
        })
    })
}

#[test]
fn nobody_listening_is_refused() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let (listener, address) = kernel_listener(setup)?;
            drop(listener);
            let error = TcpStream::connect(stack, address).err().context("an error")?;
            ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
            let refused = kernel_connects(setup).err().context("an error")?;
            ensure!(format!("{refused:#}").contains("refused"), "{refused:#}");
            Ok(())
        })
    })
}

#[test]
fn nobody_there_times_out_or_is_unreachable() -> Result<()> {
    as_root(|| {
        with_daemon(|_, stack| {
            let nobody = SocketAddr::from(([10, 77, 0, 99], 80));
            let error = TcpStream::connect(stack, nobody).err().context("an error")?;
            ensure!(error.kind() == ErrorKind::HostUnreachable, "{error}");
            let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80));
            let error = TcpStream::connect(stack, elsewhere).err().context("an error")?;
            ensure!(error.kind() == ErrorKind::NetworkUnreachable, "{error}");
            Ok(())
        })
    })
}

/// Makes closing send a RST.
fn linger_zero(stream: &net::TcpStream) -> Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}

#[test]
fn a_reset_never_looks_like_an_end() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let (listener, address) = kernel_listener(setup)?;
            for len in [0, 1, 100_000] {
                let mut ours = TcpStream::connect(stack, address)?;
                let (theirs, _) = listener.accept()?;
                send(&theirs, len)?;
                let mut arrived = vec![0; len];
                ours.read_exact(&mut arrived)?;
                linger_zero(&theirs)?;
                drop(theirs);
                let error = ours.read(&mut [0; 10]).err().context("an error")?;
                ensure!(error.kind() == ErrorKind::ConnectionReset, "after {len} bytes: {error}");
            }
            Ok(())
        })
    })
}

#[test]
fn closing_with_bytes_unread_resets_the_peer() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let listener = TcpListener::bind(stack, NARROWS)?;
            let mut theirs = kernel_connects(setup)?;
            let (mut ours, _) = listener.accept()?;
            theirs.write_all(b"two")?;
            ours.read_exact(&mut [0; 1])?;
            drop(ours);
            let error = theirs.read(&mut [0; 10]).err().context("an error")?;
            ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
            Ok(())
        })
    })
}

#[test]
fn many_connections_at_once() -> Result<()> {
    const CONNECTIONS: usize = 1000;
    as_root(|| {
        with_daemon(|setup, stack| {
            let listener = TcpListener::bind(stack, NARROWS)?;
            let mut theirs = Vec::new();
            let mut ours = Vec::new();
            thread::scope(|scope| -> Result<()> {
                let connecting = scope.spawn(|| -> Result<()> {
                    for _ in 0..CONNECTIONS {
                        theirs.push(kernel_connects(setup)?);
                    }
                    Ok(())
                });
                for _ in 0..CONNECTIONS {
                    ours.push(listener.accept()?);
                }
                connecting.join().map_err(|_| anyhow::anyhow!("connecting panicked"))?
            })?;
            ensure!(setup.counter("daemon-anchors")? == 1 + CONNECTIONS as u64);
            ours.sort_by_key(|(_, peer)| peer.port());
            theirs.sort_by_key(|stream| stream.local_addr().map_or(0, |local| local.port()));
            for (number, ((ours, _), theirs)) in ours.iter_mut().zip(&mut theirs).enumerate() {
                theirs.write_all(&(number as u64).to_le_bytes())?;
                let mut bytes = [0; 8];
                ours.read_exact(&mut bytes)?;
                ours.write_all(&bytes)?;
            }
            for (number, theirs) in theirs.iter_mut().enumerate() {
                let mut bytes = [0; 8];
                theirs.read_exact(&mut bytes)?;
                ensure!(u64::from_le_bytes(bytes) == number as u64);
            }
            drop(ours);
            for theirs in &mut theirs {
                ensure!(theirs.read(&mut [0; 1])? == 0, "the end");
            }
            Ok(())
        })
    })
}

#[test]
fn hostile_sessions_disturb_nobody() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, stack| {
            let (listener, address) = kernel_listener(setup)?;
            let ours = TcpStream::connect(stack, address)?;
            let (theirs, _) = listener.accept()?;
            thread::scope(|scope| {
                let hostile = scope.spawn(|| -> Result<()> {
                    for round in 0..200u32 {
                        let mut endpoint = Endpoint::connect(&setup.socket())?;
                        // Never reads an answer.
                        for request in 0..50 {
                            let _ = endpoint.send(&(round, request, "not a request"), None);
                            let _ = rustix::net::send(
                                &endpoint,
                                &[0xff; 1000],
                                rustix::net::SendFlags::DONTWAIT,
                            );
                        }
                    }
                    Ok(())
                });
                exchange(&ours, &theirs, 8 << 20)?;
                hostile.join().map_err(|_| anyhow::anyhow!("panicked"))?
            })
        })
    })
}

#[test]
fn the_end_of_the_daemon_resets_its_peers() -> Result<()> {
    as_root(|| {
        let setup = Setup::new()?;
        thread::scope(|scope| {
            let daemon = scope.spawn(|| setup.run());
            let stack = setup.stack()?;
            let (listener, address) = kernel_listener(&setup)?;
            let mut ours = TcpStream::connect(&stack, address)?;
            let (mut theirs, _) = listener.accept()?;
            ensure!(setup.ask(&Request::Stop)? == Reply::Done);
            let Ok(ended) = daemon.join() else { bail!("the daemon panicked") };
            ended?;
            theirs.set_read_timeout(Some(PATIENCE))?;
            let error = theirs.read(&mut [0; 1]).err().context("an error")?;
            ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}");
            ensure!(ours.read(&mut [0; 1]).is_err(), "an end is no error");
            Ok(())
        })
    })
}

#[test]
fn a_second_daemon_does_not_start() -> Result<()> {
    as_root(|| {
        with_daemon(|setup, _| {
            let error = setup.run().err().context("an error")?;
            let message = format!("{error:#}");
            ensure!(message.contains("another daemon answers at"), "{message}");
            ensure!(setup.ask(&Request::Links { after: 0 }).is_ok(), "the first is still there");
            Ok(())
        })
    })
}

#[test]
fn what_a_dead_daemon_left_is_replaced() -> Result<()> {
    as_root(|| {
        let setup = Setup::new()?;
        drop(std::os::unix::net::UnixListener::bind(setup.socket())?);
        thread::scope(|scope| {
            let daemon = scope.spawn(|| setup.run());
            let stack = setup.stack();
            drop(Stop(&setup));
            let Ok(ended) = daemon.join() else { bail!("the daemon panicked") };
            ended?;
            stack.map(drop)
        })
    })
}

#[test]
fn a_bad_configuration_starts_nothing() -> Result<()> {
    as_root(|| {
        let setup = Setup::new()?;
        let good = config(&format!("packet:{}", Network::NARROWS_INTERFACE));
        let cases = [
            (config("packet:eth77"), "narrows.toml:3: no device eth77: write packet: and one of"),
            (good.replace("address", "adress"), "narrows.toml:4: unknown field `adress`"),
            (format!("{good}{good}"), "narrows.toml:6: a second interface \"lan\""),
        ];
        for (text, expected) in cases {
            fs::write(setup.config(), text)?;
            let error = setup.run().err().context("an error")?;
            ensure!(format!("{error:#}").contains(expected), "{error:#}");
            ensure!(!setup.socket().exists(), "half started");
        }
        fs::remove_file(setup.config())?;
        let error = setup.run().err().context("an error")?;
        ensure!(format!("{error:#}").contains("can't read the configuration"), "{error:#}");
        Ok(())
    })
}
