//! The files of /proc/net that programs read to learn of interfaces, routes, neighbors and sockets,
//! with what Narrows has of them, in the kernel's form (proc_pid_net(5)).
//!
//! A program that opens one of them to read gets a file in memory, which says how things were at that
//! moment. Those about IPv6, of which there is none, are empty. Other files of /proc/net are the kernel's.
//!
//! Where this differs from the kernel: sockets have no inode and no timers here.

use crate::{host, session::with};
use narrows_client::ipc::{
    message::{LinkRow, NeighborRow, SocketRow},
    route::{RouteKind, RouteRow, table},
};
use rustix::{
    fs::{MemfdFlags, SeekFrom, memfd_create, seek},
    io::Errno,
};
use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::OwnedFd,
};

/// One of those files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    Interfaces,
    Routes,
    Neighbors,
    Tcp,
    Udp,
    Raw,
    Icmp,
    /// A header, if that, and nothing else.
    Nothing(&'static str),
}

/// Which of them a path names, if it names one.
pub fn named(path: &[u8]) -> Option<File> {
    let rest = path.strip_prefix(b"/proc/")?;
    let within =
        [&b"self/"[..], b"thread-self/"].into_iter().find_map(|own| rest.strip_prefix(own));
    Some(match within.unwrap_or(rest).strip_prefix(b"net/")? {
        b"dev" => File::Interfaces,
        b"route" => File::Routes,
        b"arp" => File::Neighbors,
        b"tcp" => File::Tcp,
        b"udp" => File::Udp,
        b"raw" => File::Raw,
        b"icmp" => File::Icmp,
        b"tcp6" => File::Nothing(TCP_HEADER),
        b"udp6" | b"raw6" | b"icmp6" => File::Nothing(DATAGRAM_HEADER),
        b"if_inet6" | b"ipv6_route" => File::Nothing(""),
        _ => return None,
    })
}

/// The file as it is now.
pub fn open(file: File, close_on_exec: bool) -> Result<OwnedFd, Errno> {
    let text = text(file)?;
    let mut flags = MemfdFlags::empty();
    flags.set(MemfdFlags::CLOEXEC, close_on_exec);
    let memory = memfd_create("narrows-proc-net", flags)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    seek(&memory, SeekFrom::Start(0))?;
    Ok(memory)
}

fn text(file: File) -> Result<String, Errno> {
    let sockets = || with(|session| session.sockets());
    Ok(match file {
        File::Interfaces => interfaces(&host::links()?),
        File::Routes => routes(&host::routes(Some(table::MAIN))?),
        File::Neighbors => neighbors(&host::neighbors()?),
        File::Tcp => tcp(&sockets()?),
        File::Udp => datagrams(&sockets()?, "udp"),
        File::Raw => datagrams(&sockets()?, "raw"),
        File::Icmp => datagrams(&sockets()?, "icmp"),
        File::Nothing(header) => header.into(),
    })
}

const INTERFACES_HEADER: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
";

fn interfaces(links: &[LinkRow]) -> String {
    let mut text = INTERFACES_HEADER.to_owned();
    for link in links {
        let seen = &link.state.traffic;
        lines(
            format_args!(
                "{:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9} {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
                link.name,
                seen.rx_bytes,
                seen.rx_packets,
                0,
                seen.rx_dropped,
                0,
                0,
                0,
                seen.rx_multicast,
                seen.tx_bytes,
                seen.tx_packets,
                0,
                seen.tx_dropped,
                0,
                0,
                0,
                0,
            ),
            0,
            &mut text,
        );
    }
    text
}

/// One more line, no shorter than `width`.
fn lines(line: std::fmt::Arguments<'_>, width: usize, text: &mut String) {
    let line = line.to_string();
    // Writing to a string can't fail.
    let _ = writeln!(text, "{line:<width$}");
}

/// Addresses are shown as the machine reads their bytes.
fn hex(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => u32::from_ne_bytes(address.octets()),
        IpAddr::V6(_) => 0,
    }
}

/// `RTF_…` of linux/route.h.
const UP: u16 = 1;
const GATEWAY: u16 = 2;
const HOST: u16 = 4;
const REJECT: u16 = 0x200;

const ROUTE_WIDTH: usize = 127;

fn routes(rows: &[RouteRow]) -> String {
    let mut text = String::new();
    let header =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    lines(format_args!("{header}"), ROUTE_WIDTH, &mut text);
    let shown = |row: &&RouteRow| row.to.0.is_ipv4() && row.kind != RouteKind::Broadcast;
    for row in rows.iter().filter(shown) {
        let (destination, length) = row.to;
        let hop = row.hops.first();
        let via = hop.and_then(|hop| hop.via);
        let rejects = matches!(row.kind, RouteKind::Unreachable | RouteKind::Prohibit);
        let flags = [(UP, true), (GATEWAY, via.is_some()), (HOST, length == 32), (REJECT, rejects)];
        let flags = flags.iter().filter(|(_, set)| *set).fold(0, |all, (flag, _)| all | flag);
        lines(
            format_args!(
                "{}\t{:08X}\t{:08X}\t{:04X}\t{}\t{}\t{}\t{:08X}\t{}\t{}\t{}",
                hop.and_then(|hop| hop.interface.as_deref()).unwrap_or("*"),
                hex(destination),
                via.map_or(0, hex),
                flags,
                0,
                0,
                row.metric,
                hex(host::mask(length).into()),
                0,
                0,
                0,
            ),
            ROUTE_WIDTH,
            &mut text,
        );
    }
    text
}

/// `ATF_…` of linux/if_arp.h.
const COMPLETE: u8 = 2;
const PERMANENT: u8 = 4;
const PUBLISHED: u8 = 8;

fn neighbors(rows: &[NeighborRow]) -> String {
    let mut text = String::from(
        "IP address       HW type     Flags       HW address            Mask     Device\n",
    );
    for row in rows.iter().filter(|row| row.address.is_ipv4()) {
        let flags = match (row.proxy, row.state.as_str()) {
            (true, _) => PUBLISHED | PERMANENT,
            (false, "PERMANENT") => COMPLETE | PERMANENT,
            (false, "INCOMPLETE" | "FAILED") => 0,
            (false, _) => COMPLETE,
        };
        let [a, b, c, d, e, f] = row.mac.unwrap_or_default();
        lines(
            format_args!(
                "{:<16} {:<12}{:<12}{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}     *        {}",
                row.address,
                format!("{:#x}", libc::ARPHRD_ETHER),
                format!("{flags:#x}"),
                row.interface,
            ),
            0,
            &mut text,
        );
    }
    text
}

/// As long as the kernel's, to which programs seek.
const TCP_WIDTH: usize = 149;
const DATAGRAM_WIDTH: usize = 127;

const TCP_HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n";
const DATAGRAM_HEADER: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n";

fn tcp(rows: &[SocketRow]) -> String {
    let mut text = TCP_HEADER.to_owned();
    for (at, row) in rows.iter().filter(|row| is_of(row, "tcp")).enumerate() {
        lines(
            format_args!("{at:4}: {} 0 1 0000000000000000 20 0 0 10 -1", ends(row)),
            TCP_WIDTH,
            &mut text,
        );
    }
    text
}

fn datagrams(rows: &[SocketRow], protocol: &str) -> String {
    let mut text = DATAGRAM_HEADER.to_owned();
    for (at, row) in rows.iter().filter(|row| is_of(row, protocol)).enumerate() {
        lines(
            format_args!("{at:5}: {} 0 2 0000000000000000 {}", ends(row), row.lost),
            DATAGRAM_WIDTH,
            &mut text,
        );
    }
    text
}

fn is_of(row: &SocketRow, protocol: &str) -> bool {
    row.protocol == protocol && row.local.is_ipv4()
}

/// What a row says of a socket's ends, state, queues and owner.
fn ends(row: &SocketRow) -> String {
    let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let end = |at: SocketAddr| format!("{:08X}:{:04X}", hex(at.ip()), at.port());
    format!(
        "{} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5} {:8}",
        end(row.local),
        end(row.remote.unwrap_or(nobody)),
        row.state as u8,
        row.send_queue,
        row.receive_queue,
        row.owner.as_ref().map_or(0, |owner| owner.uid),
        0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_client::ipc::{
        message::{Owner, TcpState},
        route::{HopRow, RouteScope},
    };

    #[test]
    fn only_these_files_of_ones_own_are_answered() {
        for (path, file) in [
            ("/proc/net/dev", Some(File::Interfaces)),
            ("/proc/self/net/route", Some(File::Routes)),
            ("/proc/thread-self/net/arp", Some(File::Neighbors)),
            ("/proc/net/if_inet6", Some(File::Nothing(""))),
            ("/proc/1/net/dev", None),
            ("/proc/net/device", None),
            ("/proc/net/", None),
            ("/proc/self/status", None),
            ("proc/net/dev", None),
            ("", None),
        ] {
            assert_eq!(named(path.as_bytes()), file, "{path}");
        }
    }

    #[test]
    fn interfaces_are_written_as_the_kernel_does() {
        let mut links = host::tests::links();
        links[1].state.traffic.rx_bytes = 1234;
        links[1].state.traffic.tx_packets = 5;
        let text = interfaces(&links);
        let row = text.lines().nth(3).expect("lan");
        // As a Linux kernel wrote it, with these numbers.
        let kernels = "   lan:    1234       0    0    0    0     0          0         0        0       5    0    0    0     0       0          0";
        assert_eq!(row, kernels);
        assert_eq!(text.lines().count(), 2 + links.len());
    }

    #[test]
    fn routes_are_written_as_the_kernel_does() {
        let row = |to: &str, length, kind, via: Option<&str>| RouteRow {
            to: (to.parse().expect("an address"), length),
            table: table::MAIN,
            kind,
            protocol: 4,
            scope: RouteScope::Global,
            metric: 7,
            source: None,
            hops: vec![HopRow {
                interface: Some("lan".into()),
                via: via.map(|via| via.parse().expect("an address")),
                weight: 1,
                on_link: false,
                dead: false,
            }],
        };
        let text = routes(&[
            row("0.0.0.0", 0, RouteKind::Unicast, Some("10.0.0.1")),
            row("10.0.0.0", 24, RouteKind::Unicast, None),
            row("10.0.0.255", 32, RouteKind::Broadcast, None),
            row("10.9.9.9", 32, RouteKind::Unreachable, None),
        ]);
        let rows: Vec<_> = text.lines().skip(1).map(str::trim_end).collect();
        assert_eq!(
            rows,
            [
                "lan\t00000000\t0100000A\t0003\t0\t0\t7\t00000000\t0\t0\t0",
                "lan\t0000000A\t00000000\t0001\t0\t0\t7\t00FFFFFF\t0\t0\t0",
                "lan\t0909090A\t00000000\t0205\t0\t0\t7\tFFFFFFFF\t0\t0\t0",
            ]
        );
        assert!(text.lines().all(|line| line.len() >= ROUTE_WIDTH));
    }

    #[test]
    fn neighbors_are_written_as_the_kernel_does() {
        let row = |state: &str, mac, proxy| NeighborRow {
            address: "10.77.0.1".parse().expect("an address"),
            interface: "lan".into(),
            mac,
            state: state.into(),
            proxy,
            usage: narrows_ipc::message::NeighborUsage::default(),
        };
        let mac = Some([2, 0, 0, 0, 0xab, 1]);
        let text = neighbors(&[
            row("REACHABLE", mac, false),
            row("PERMANENT", mac, false),
            row("FAILED", None, false),
            row("", None, true),
        ]);
        let kernels = [
            "10.77.0.1        0x1         0x2         02:00:00:00:ab:01     *        lan",
            "10.77.0.1        0x1         0x6         02:00:00:00:ab:01     *        lan",
            "10.77.0.1        0x1         0x0         00:00:00:00:00:00     *        lan",
            "10.77.0.1        0x1         0xc         00:00:00:00:00:00     *        lan",
        ];
        assert_eq!(text.lines().skip(1).collect::<Vec<_>>(), kernels);
    }

    #[test]
    fn sockets_are_written_as_the_kernel_does() {
        let row = |protocol: &str, remote: Option<&str>| SocketRow {
            id: 9,
            protocol: protocol.into(),
            local: "10.0.0.2:80".parse().expect("an address"),
            remote: remote.map(|remote| remote.parse().expect("an address")),
            state: TcpState::Established,
            receive_queue: 16,
            send_queue: 1,
            lost: 0,
            owner: Some(Owner {
                pid: 1,
                uid: 1000,
                gid: 1000,
                executable: String::new(),
                cgroup: String::new(),
                ended: false,
            }),
            cut_through: false,
            peer: None,
            tcp: None,
        };
        let rows = [row("tcp", Some("10.0.0.1:4660")), row("udp", None)];
        let line = |text: String| text.lines().nth(1).map(|line| line.trim_end().to_owned());
        assert_eq!(
            line(tcp(&rows)).expect("a row"),
            "   0: 0200000A:0050 0100000A:1234 01 00000001:00000010 00:00000000 00000000  1000        0 0 1 0000000000000000 20 0 0 10 -1"
        );
        assert_eq!(
            line(datagrams(&rows, "udp")).expect("a row"),
            "    0: 0200000A:0050 00000000:0000 01 00000001:00000010 00:00000000 00000000  1000        0 0 2 0000000000000000 0"
        );
        assert_eq!(tcp(&rows).lines().count(), 2);
        let widths = [TCP_HEADER, DATAGRAM_HEADER].map(|header| header.len() - 1);
        assert_eq!(widths, [TCP_WIDTH, DATAGRAM_WIDTH]);
    }
}
