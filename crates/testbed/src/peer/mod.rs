//! Programs for the other end: servers and clients that use nothing but `std::net`, so they stand for
//! any unmodified program where python3 and curl aren't there.
//!
//! A program built on the testbed offers them as a hidden subcommand: it passes its arguments to
//! [`main`]. Servers print `listening ADDRESS` once they accept. Measurements are printed as one line of JSON
//! that the types of [`report`] read.

mod bulk;
mod echo;
mod flood;
mod hold;
mod http_client;
mod http_server;
mod pattern;
mod pingpong;
pub mod report;
mod storm;

pub use pattern::Pattern;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{
    ffi::OsString,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
    thread,
};

#[derive(Parser)]
#[command(name = "peer", about = "Plain programs to talk to", no_binary_name = true)]
struct Arguments {
    #[command(subcommand)]
    peer: Peer,
}

#[derive(Subcommand)]
enum Peer {
    /// Serve files, or N bytes of the pattern at /N
    HttpServer(http_server::Arguments),
    /// Fetch a URL
    HttpClient(http_client::Arguments),
    /// Send back what comes
    EchoServer(echo::Arguments),
    /// Make many short connections to an echo server
    Storm(storm::Arguments),
    /// Measure one-byte round trips to an echo server
    Pingpong(pingpong::Arguments),
    /// Send bytes to a bulk receiver and measure
    BulkSend(bulk::SendArguments),
    /// Receive bytes from a bulk sender and measure
    BulkReceive(bulk::ReceiveArguments),
    /// Make as much of one kind of work as it can, until standard input ends
    Flood(flood::Arguments),
    /// Open many connections to an echo server and keep them until standard input ends
    Hold(hold::Arguments),
}

/// Runs the peer that `args` name (without a program name: `http-server --listen 127.0.0.1:80`).
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output and is no failure; nothing is left to tell if it can't.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    let result = match arguments.peer {
        Peer::HttpServer(arguments) => http_server::run(arguments),
        Peer::HttpClient(arguments) => http_client::run(&arguments),
        Peer::EchoServer(arguments) => echo::run(&arguments),
        Peer::Storm(arguments) => storm::run(&arguments),
        Peer::Pingpong(arguments) => pingpong::run(&arguments),
        Peer::BulkSend(arguments) => bulk::send(&arguments),
        Peer::BulkReceive(arguments) => bulk::receive(&arguments),
        Peer::Flood(arguments) => flood::run(&arguments),
        Peer::Hold(arguments) => hold::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Listens, says so, and gives each connection a thread. What goes wrong with one is told and
/// concerns no other.
fn serve(address: SocketAddr, connection: impl Fn(TcpStream) -> Result<()> + Sync) -> Result<()> {
    let listener = listen(address)?;
    thread::scope(|scope| {
        loop {
            let (stream, peer) = listener.accept()?;
            let connection = &connection;
            thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || {
                if let Err(error) = connection(stream) {
                    eprintln!("{peer}: {error:#}");
                }
            })?;
        }
    })
}

/// A connection's thread keeps its buffers on the heap.
const STACK: usize = 128 << 10;

fn listen(address: SocketAddr) -> Result<TcpListener> {
    use anyhow::Context;
    let listener = TcpListener::bind(address).with_context(|| format!("listening at {address}"))?;
    print_line(&format!("listening {}", listener.local_addr()?))?;
    Ok(listener)
}

/// Standard output may be a pipe, so each line is flushed.
fn print_line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
