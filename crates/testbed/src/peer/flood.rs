//! `flood`: as much of one kind of work as it can make, until standard input ends.

use anyhow::Result;
use narrows_sys::packet_socket;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};
use std::{
    fs::File,
    io::{ErrorKind, Read, Write, stdin},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

#[derive(clap::Args)]
pub struct Arguments {
    kind: Kind,
    /// Of an echo server, or for datagrams of anybody
    address: SocketAddr,
    /// Of frames: the number of the interface they leave by
    #[arg(long, default_value_t = 0)]
    interface: u32,
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
    /// Small frames to every station, by a packet socket; and no frame that it receives is read
    Frames,
}

/// For local experiments (IEEE 802), so that nobody answers.
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// In one piece.
const PIECE: usize = 128 << 10;

/// Prints `flooding` once it has begun.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { kind, address, interface, threads } = *arguments;
    if kind == Kind::Frames {
        // Without the right to it there would be no flood.
        packet_socket::open()?;
    }
    for _ in 0..threads.max(1) {
        // They end with the process.
        thread::Builder::new().spawn(move || {
            loop {
                // Being refused is what a flood has to expect; it goes on.
                let _refused = once(kind, address, interface);
            }
        })?;
    }
    super::print_line("flooding")?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn once(kind: Kind, address: SocketAddr, interface: u32) -> Result<()> {
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
        Kind::Frames => frames(interface),
    }
}

fn frames(interface: u32) -> Result<()> {
    let socket = packet_socket::open()?;
    packet_socket::bind(&socket, interface)?;
    let mut socket = File::from(socket);
    let mut frame = [0xff; 64];
    let source: [u8; 6] = [2, 0, 0, 0, 0, 7];
    let (head, _) = frame.split_at_mut(14);
    head.get_mut(6..12).into_iter().for_each(|mac| mac.copy_from_slice(&source));
    head.get_mut(12..).into_iter().for_each(|kind| kind.copy_from_slice(&ETHERTYPE));
    loop {
        match socket.write(&frame) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match poll(&mut [PollFd::new(&socket, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // The interface's queue is full.
            Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => {}
            Err(error) => return Err(error.into()),
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
