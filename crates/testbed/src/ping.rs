//! Echo requests by the kernel (icmp(7), "ping sockets"): it fills in identifier and checksum.

use crate::Namespace;
use anyhow::{Context, Result, bail, ensure};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with, sockopt,
};
use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of data in a request, as ping(8) has it.
const DATA_LEN: usize = 56;

/// Sends `count` echo requests from the kernel of `namespace`, one after the other, and returns the
/// round-trip time of each reply. An error if any is not answered within a second.
pub fn ping(namespace: &Namespace, destination: Ipv4Addr, count: usize) -> Result<Vec<Duration>> {
    namespace.run(|| ping_here(destination, count))?
}

fn ping_here(destination: Ipv4Addr, count: usize) -> Result<Vec<Duration>> {
    fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0").context("permitting ping sockets")?;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::ICMP),
    )
    .context("opening a ping socket")?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(destination, 0))?;
    (0..count)
        .map(|number| {
            let request = message(ECHO_REQUEST, number as u16);
            let sent = Instant::now();
            rustix::net::send(&socket, &request, SendFlags::empty())
                .with_context(|| format!("sending an echo request to {destination}"))?;
            let mut reply = [0; 8 + DATA_LEN + 1];
            let length = match rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    bail!("{destination} did not answer echo request {number} in {PATIENCE:?}")
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("waiting for {destination}"));
                }
            };
            let time = sent.elapsed();
            let reply = reply.get(..length).unwrap_or(&reply);
            ensure!(same_echo(&request, reply), "{destination} answered with other bytes");
            Ok(time)
        })
        .collect()
}

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Type, code, checksum, identifier, sequence number, data (RFC 792).
fn message(kind: u8, sequence: u16) -> [u8; 8 + DATA_LEN] {
    let mut bytes = [0; 8 + DATA_LEN];
    for (byte, value) in bytes.iter_mut().zip(0_u8..) {
        *byte = value;
    }
    let [high, low] = sequence.to_be_bytes();
    bytes[..8].copy_from_slice(&[kind, 0, 0, 0, 0, 0, high, low]);
    bytes
}

/// Is `reply` the echo of `request`, apart from what the kernel filled in (bytes 2 to 6)?
fn same_echo(request: &[u8], reply: &[u8]) -> bool {
    reply.first() == Some(&ECHO_REPLY)
        && request.len() == reply.len()
        && request.get(6..) == reply.get(6..)
}
