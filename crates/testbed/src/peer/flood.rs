//! `flood`: as much of one kind of work as it can make, until standard input ends.

use anyhow::Result;
use std::{
    io::{Read, Write, stdin},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

#[derive(clap::Args)]
pub struct Arguments {
    kind: Kind,
    /// Of an echo server, or for datagrams of anybody
    address: SocketAddr,
    /// How much at a time
    #[arg(long, default_value_t = 4)]
    threads: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Bytes through connections, there and back
    Bulk,
    /// Connections, each let go at once
    Connects,
    /// Sockets that are bound, listen and are closed
    Control,
    /// Small datagrams
    Datagrams,
}

/// In one piece.
const PIECE: usize = 128 << 10;

/// Prints `flooding` once it has begun.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { kind, address, threads } = *arguments;
    for _ in 0..threads.max(1) {
        // They end with the process.
        thread::Builder::new().spawn(move || {
            loop {
                // Being refused is what a flood has to expect; it goes on.
                let _refused = once(kind, address);
            }
        })?;
    }
    super::print_line("flooding")?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn once(kind: Kind, address: SocketAddr) -> Result<()> {
    match kind {
        Kind::Bulk => bulk(address),
        Kind::Connects => {
            TcpStream::connect(address)?;
            Ok(())
        }
        Kind::Control => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            Ok(())
        }
        Kind::Datagrams => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            loop {
                socket.send_to(&[7; 64], address)?;
            }
        }
    }
}

fn bulk(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut back = stream.try_clone()?;
    thread::Builder::new().spawn(move || {
        let mut buffer = vec![0; PIECE];
        while matches!(back.read(&mut buffer), Ok(1..)) {}
    })?;
    let piece = vec![7; PIECE];
    loop {
        stream.write_all(&piece)?;
    }
}
