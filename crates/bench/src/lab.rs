//! One wire, and programs at its ends: on Narrows or on the kernel at this end, always on the
//! kernel at the other.

use anyhow::{Context, Result};
use narrows_testbed::{Daemon, Network, Output, Process};
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use std::{
    cell::Cell,
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddrV4},
    path::PathBuf,
    process::{ChildStdout, Command, Stdio},
    time::Duration,
};

/// Who serves the sockets at this end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Narrows,
    Kernel,
}

/// Which end of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where the stack under test is.
    Here,
    /// The kernel's end.
    There,
}

/// A measurement takes a few seconds; one that takes so much longer has stalled.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of Narrows' only interface but the loopback.
const NUMBER_OF_WIRE: u32 = 2;

pub struct Lab {
    network: Network,
    narrows: PathBuf,
    /// No two servers have one port, so that old connections are in nobody's way.
    next_port: Cell<u16>,
}

impl Lab {
    pub fn new(narrows: PathBuf) -> Result<Self> {
        let network = Network::new()?;
        network.address_narrows_end()?;
        Ok(Self { network, narrows, next_port: Cell::new(5000) })
    }

    /// Gives this end to one of the stacks. Narrows' daemon lives as long as the result; it must not
    /// while the kernel is measured, which would copy it every frame.
    pub fn set_up(&self, side: Side) -> Result<Bench<'_>> {
        self.set_up_with(side, "")
    }

    /// Narrows, with the bytes between programs of this end going through the engine.
    pub fn set_up_without_cut_through(&self) -> Result<Bench<'_>> {
        self.set_up_with(Side::Narrows, "[local]\ncut_through = false\n")
    }

    /// With more in Narrows' configuration.
    pub fn set_up_with(&self, side: Side, more: &str) -> Result<Bench<'_>> {
        if side == Side::Kernel {
            return Ok(Bench { lab: self, daemon: None });
        }
        let configuration = format!(
            "[[interface]]\nname = \"wire\"\ndevice = \"packet:{}\"\naddress = [\"{}/{}\"]\n{more}",
            Network::NARROWS_INTERFACE,
            Network::NARROWS_ADDRESS,
            Network::PREFIX_LENGTH
        );
        let daemon = Daemon::start_with(&self.network.narrows, &self.narrows, &configuration)?;
        Ok(Bench { lab: self, daemon: Some(daemon) })
    }
}

/// A wire with a stack at this end.
pub struct Bench<'a> {
    lab: &'a Lab,
    daemon: Option<Daemon>,
}

/// A program that others connect to; ends on drop.
pub struct Server {
    process: Process,
    stdout: BufReader<ChildStdout>,
    pub address: SocketAddrV4,
}

impl Bench<'_> {
    pub fn daemon(&mut self) -> Option<&mut Daemon> {
        self.daemon.as_mut()
    }

    /// A program at an end.
    pub fn command(&self, end: End, program: impl AsRef<OsStr>) -> Command {
        let network = &self.lab.network;
        match (end, &self.daemon) {
            (End::There, _) => network.kernel.command(program),
            (End::Here, None) => network.narrows.command(program),
            (End::Here, Some(daemon)) => daemon.run(&network.narrows, program),
        }
    }

    /// One of the testbed's peers at an end.
    pub fn peer(&self, end: End, name: &str) -> Command {
        let mut command = self.command(end, &self.lab.narrows);
        command.args(["peer", name]);
        command
    }

    /// What programs at this end call the wire's interface.
    pub fn interface_number(&self) -> Result<u32> {
        if self.daemon.is_some() {
            return Ok(NUMBER_OF_WIRE);
        }
        let number = self.lab.network.narrows.run(|| -> Result<u32> {
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            Ok(netdevice::name_to_index(&socket, Network::NARROWS_INTERFACE)?)
        })?;
        number.context("the kernel's interface")
    }

    /// An address for a server at an end.
    pub fn address(&self, end: End) -> SocketAddrV4 {
        let ip: Ipv4Addr = match (end, &self.daemon) {
            (End::There, _) => Network::KERNEL_ADDRESS,
            (End::Here, None) => Network::KERNEL_ADDRESS_AT_NARROWS,
            (End::Here, Some(_)) => Network::NARROWS_ADDRESS,
        };
        let port = self.lab.next_port.get();
        self.lab.next_port.set(port.checked_add(1).unwrap_or(5000));
        SocketAddrV4::new(ip, port)
    }

    /// Starts a server, and waits until it says, with `word` in a line, that it listens.
    pub fn serve(&self, address: SocketAddrV4, mut command: Command, word: &str) -> Result<Server> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = Process::spawn(&mut command)?;
        let mut stdout = BufReader::new(process.stdout().context("no standard output")?);
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            if stdout.read_line(&mut line)? == 0 {
                anyhow::bail!("the server ended before it listened: {:?}", process.wait(PATIENCE)?);
            }
        }
        Ok(Server { process, stdout, address })
    }

    /// Runs a client to its end.
    pub fn measure(&self, mut command: Command) -> Result<String> {
        let Output { status, stdout, stderr } = Process::output(&mut command, PATIENCE)?;
        anyhow::ensure!(status.success(), "{status}: {stderr}{stdout}");
        Ok(stdout)
    }
}

impl Server {
    /// Waits until the server ends by itself; its last line.
    pub fn last_line(mut self) -> Result<String> {
        let mut last = String::new();
        let mut line = String::new();
        while self.stdout.read_line(&mut line)? > 0 {
            std::mem::swap(&mut last, &mut line);
            line.clear();
        }
        let status = self.process.wait(PATIENCE)?;
        anyhow::ensure!(status.success(), "the server: {status}");
        Ok(last)
    }
}
