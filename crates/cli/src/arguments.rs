//! The words of the command line.

use clap::{Args, Parser, Subcommand, builder::TypedValueParser};
use std::{ffi::OsString, net::Ipv4Addr, path::PathBuf, time::Duration};

/// A TCP/IP stack in user space, for every program on this machine
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Arguments {
    /// The daemon's control socket [default: $NARROWS_SOCKET, else a path under $XDG_RUNTIME_DIR,
    /// /run or /tmp]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon, in the foreground; SIGTERM or `narrows down` ends it
    Up(Up),
    /// Run a program whose TCP sockets are served by Narrows
    Run(Run),
    /// List sockets, as ss(8) does
    Ss(Ss),
    /// Show what the daemon counted, and what it dropped and why
    Stat(Stat),
    /// Show or write packets as they pass, as tcpdump(8) does, at any stage of their way
    Dump(Dump),
    /// Show each packet's whole way, and what decided at each step
    Trace(Trace),
    /// Say what becomes of each frame of a capture, and why, without a daemon
    Explain(Explain),
    /// Show what was dropped: why, where, whose it was, and what to do about it
    Drops(Drops),
    /// Show and change the addresses of interfaces, as ip-address(8) does
    #[command(visible_alias = "a", alias = "address")]
    Addr(AddrQuery),
    /// Show, make and change interfaces, as ip-link(8) does
    #[command(visible_alias = "l")]
    Link(LinkQuery),
    /// Show bonds and their members
    Bond(Query),
    /// Show and change the ports of bridges and who is behind them, as bridge(8) does
    Bridge(Query),
    /// Show and change routes, as ip-route(8) does
    #[command(visible_alias = "r")]
    Route(Query),
    /// Show and change rules: which route tables are looked up for what, as ip-rule(8) does
    Rule(Query),
    /// Show and change neighbors, as ip-neighbour(8) does
    #[command(visible_alias = "n", aliases = ["neighbor", "neighbour"])]
    Neigh(NeighQuery),
    /// Show and change zones: which interfaces they have, who is admitted, and what may cross
    Zone(ZoneQuery),
    /// Show, join and leave multicast groups, as ip-maddress(8) does
    #[command(aliases = ["maddress", "m"])]
    Maddr(Query),
    /// Show who can do what in which zone, and by which rule
    Audit(Audit),
    /// Show and change who may do what, and ask whether somebody may
    Policy(PolicyQuery),
    /// Show who gets a frame that comes in by an interface, in order, and what becomes of it
    WhoHas(WhoHas),
    /// Show and change what may pass, in nft(8)'s language
    Nft(Nft),
    /// Show, watch and forget tracked flows: list, count, flush or watch, as conntrack(8)
    Ct(Ct),
    /// Send ICMP echo requests from Narrows' address
    Ping(Ping),
    /// Read the configuration file again, apply the difference, and say what changed
    Reload,
    /// End the daemon
    Down,
    /// Run scripts in packetdrill's language against the TCP/IP engine, in virtual time
    Drill(Drill),
    /// Show everything at once, on a network of its own, and check every byte
    Demo,
    /// What the daemon starts, to keep the rights that it gives up
    #[command(hide = true)]
    Keeper(Up),
    /// The programs at either end of the demo, the bench and the tests
    #[command(hide = true)]
    Peer(Peer),
}

#[derive(Debug, Args)]
pub struct Up {
    /// What to attach to [default: a TAP interface narrows0, Narrows at 10.111.0.2/24]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Run {
    /// In this zone alone, of those that the program is admitted to
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "PROGRAM")]
    pub command: Vec<OsString>,
}

/// What conntrack(8) takes, of flows' first directions.
#[derive(Clone, Debug, Args)]
pub struct Ct {
    /// list, count, flush or watch
    #[arg(default_value = "list")]
    pub command: String,
    /// tcp, udp, icmp or a number
    #[arg(short, long, visible_alias = "proto")]
    pub protocol: Option<String>,
    #[arg(short, long = "src", visible_alias = "orig-src", value_name = "ADDRESS")]
    pub source: Option<Ipv4Addr>,
    #[arg(short, long = "dst", visible_alias = "orig-dst", value_name = "ADDRESS")]
    pub destination: Option<Ipv4Addr>,
    #[arg(long = "sport", visible_alias = "orig-port-src", value_name = "PORT")]
    pub source_port: Option<u16>,
    #[arg(long = "dport", visible_alias = "orig-port-dst", value_name = "PORT")]
    pub destination_port: Option<u16>,
    /// Of TCP: ESTABLISHED, TIME_WAIT …
    #[arg(long)]
    pub state: Option<String>,
    #[arg(short, long)]
    pub mark: Option<String>,
    /// With packets and bytes of each direction
    #[arg(long)]
    pub statistics: bool,
    #[arg(short, long)]
    pub json: bool,
}

/// What nft(8) takes.
#[derive(Clone, Debug, Args)]
pub struct Nft {
    /// Commands, or a ruleset as `list ruleset` prints it; - is the standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Show with each rule what it is deleted by
    #[arg(short = 'a', long)]
    pub handle: bool,
    /// List in JSON, as libnftables-json(5) describes it
    #[arg(short, long)]
    pub json: bool,
    /// Only say whether the commands could be done
    #[arg(short, long)]
    pub check: bool,
    /// list ruleset | add rule … | flush ruleset …
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct Ss {
    /// TCP sockets
    #[arg(short, long)]
    pub tcp: bool,
    /// UDP sockets
    #[arg(short, long)]
    pub udp: bool,
    /// Raw IP sockets
    #[arg(short = 'w', long)]
    pub raw: bool,
    /// Packet sockets
    #[arg(short = '0', long)]
    pub packet: bool,
    /// Programs that decide about packets, and what they said
    #[arg(long)]
    pub inspectors: bool,
    /// Listening sockets only
    #[arg(short, long)]
    pub listening: bool,
    /// Sockets in every state
    #[arg(short, long)]
    pub all: bool,
    /// Don't resolve service names (they never are)
    #[arg(short, long)]
    pub numeric: bool,
    /// Show the process that owns each socket
    #[arg(short, long)]
    pub processes: bool,
    /// Show what TCP knows about each connection
    #[arg(short, long)]
    pub info: bool,
    /// No header line
    #[arg(short = 'H', long)]
    pub no_header: bool,
    /// End the TCP connections that the filter names, and show them
    #[arg(short = 'K', long)]
    pub kill: bool,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
    /// [src|dst ADDRESS[/LENGTH][:PORT]] [sport|dport [= != >= <= > <] :PORT] …, which all must hold
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct WhoHas {
    /// JSON
    #[arg(short, long)]
    pub json: bool,
    pub interface: String,
    /// As pcap-filter(7) has it: arp, ip, icmp, tcp, udp, ether|ip proto N, [tcp|udp] [src|dst] host|net|port|portrange …,
    /// joined by `and`; without src or dst it is dst
    #[arg(value_name = "FRAME")]
    pub frame: Vec<String>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Stat {
    /// What each user has, and what he has used
    #[arg(long, value_enum, value_name = "user")]
    pub by: Option<By>,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// What tcpdump(8) takes, where it means the same.
#[derive(Clone, Debug, Args)]
pub struct Dump {
    /// The interface; any: every one
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Where on their way: receive, filter, reassembled, transmit, drop [default: receive,transmit]
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub stage: Vec<String>,
    /// What is dropped, and why: --stage drop
    #[arg(long)]
    pub drops: bool,
    /// Write pcapng to a file; - is the standard output
    #[arg(short, long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Read a pcap or pcapng file instead; - is the standard input
    #[arg(short, long, value_name = "FILE")]
    pub read: Option<PathBuf>,
    /// End after so many packets
    #[arg(short, long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// Bytes that are kept of each packet
    #[arg(short, long = "snapshot-length", value_name = "BYTES")]
    pub snap: Option<u32>,
    /// Begin another file when one has so many millions of bytes
    #[arg(short = 'C', value_name = "MEGABYTES", value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    pub file_size: Option<u64>,
    /// Keep so many files, and overwrite the oldest
    #[arg(short = 'W', value_name = "FILES", value_parser = clap::value_parser!(u32).range(1..))]
    pub files: Option<u32>,
    /// Begin another file every so many seconds
    #[arg(short = 'G', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub rotate_seconds: Option<u64>,
    /// Don't look up names (they never are)
    #[arg(short, action = clap::ArgAction::Count)]
    pub numeric: u8,
    /// Print the link header
    #[arg(short = 'e')]
    pub link: bool,
    /// Print more of headers
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print less
    #[arg(short)]
    pub quiet: bool,
    /// Print sequence numbers as they are
    #[arg(short = 'S')]
    pub absolute: bool,
    /// Print no time; twice: seconds since 1970
    #[arg(short = 't', action = clap::ArgAction::Count)]
    pub no_time: u8,
    /// Print the packet in hex; twice: with the link header
    #[arg(short = 'x', action = clap::ArgAction::Count)]
    pub hex: u8,
    /// The same, with characters
    #[arg(short = 'X', action = clap::ArgAction::Count)]
    pub hex_ascii: u8,
    /// Print the packet's characters
    #[arg(short = 'A', action = clap::ArgAction::Count)]
    pub ascii: u8,
    /// Print each line when it comes
    #[arg(short = 'l')]
    pub line_buffered: bool,
    /// Write each packet when it comes
    #[arg(short = 'U')]
    pub packet_buffered: bool,
    /// As pcap-filter(7) has it
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct Trace {
    /// Packets that were at this interface
    #[arg(short, long, value_name = "NAME")]
    pub interface: Option<String>,
    /// End after so many packets
    #[arg(short, long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// JSON, a line a packet
    #[arg(short, long)]
    pub json: bool,
    /// As pcap-filter(7) has it
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct Explain {
    /// A pcap or pcapng file of Ethernet frames; - is the standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The host that gets them, as its configuration says [default: one with the IPv4 address that most
    /// frames are for]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// By which interface they come [default: the first with a device]
    #[arg(short, long, value_name = "NAME", requires = "config")]
    pub interface: Option<String>,
    /// With the listening sockets, rules, neighbors and tracked flows of the daemon that runs
    #[arg(long)]
    pub live: bool,
    /// Only the frame of this number, from 1
    #[arg(long, value_name = "NUMBER")]
    pub frame: Option<usize>,
    /// JSON, a line a frame
    #[arg(short, long)]
    pub json: bool,
    /// Only frames that it takes, as pcap-filter(7) has it
    #[arg(value_name = "FILTER")]
    pub filter: Vec<String>,
}

#[derive(Clone, Copy, Debug, Args)]
pub struct Drops {
    /// Go on, and show what is dropped every so many seconds
    #[arg(short, long, num_args = 0..=1, default_missing_value = "1", value_name = "SECONDS")]
    #[arg(value_parser = seconds())]
    pub watch: Option<Duration>,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// Whose share of the whole is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    User,
}

/// What `ip OBJECT` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct Query {
    /// JSON, as ip(8) prints it
    #[arg(short, long, global = true)]
    pub json: bool,
    /// A line for each record, its further lines behind `\`
    #[arg(short, long, global = true)]
    pub oneline: bool,
    /// [show] [[dev] NAME] | add … | del … | flush …
    #[arg(value_name = "WORDS", hide = true)]
    pub words: Vec<String>,
}

/// What `ip address` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct AddrQuery {
    /// JSON, as ip(8) prints it
    #[arg(short, long, global = true)]
    pub json: bool,
    /// A line an interface; also -br
    #[arg(long, global = true)]
    pub brief: bool,
    /// A line for each record, its further lines behind `\`
    #[arg(short, long, global = true)]
    pub oneline: bool,
    /// [show] [[dev] NAME] … | add … | del … | flush …
    #[arg(value_name = "WORDS", hide = true)]
    pub words: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct ZoneQuery {
    /// JSON
    #[arg(short, long, global = true)]
    pub json: bool,
    /// With what was refused from zone to zone
    #[arg(short, long)]
    pub statistics: bool,
    /// [show] [NAME] | add NAME [private] … | del NAME | set NAME dev INTERFACE |
    /// member add|del NAME … | allow add|del FROM to TO …
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,
}

#[derive(Clone, Debug, Default, Args)]
pub struct Audit {
    /// JSON
    #[arg(short, long)]
    pub json: bool,
    /// Whether one user can bind, reach, receive, observe, inject, impersonate, claim,
    /// tap or inspect in a zone; says it with the exit status, too
    #[arg(long, num_args = 3, value_names = ["USER", "ABILITY", "ZONE"])]
    pub can: Vec<String>,
    /// What this file comes to, without a daemon and on any machine
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Only what the configuration forbids
    #[arg(short, long, conflicts_with = "can")]
    pub quiet: bool,
}

/// What `narrows policy` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct PolicyQuery {
    /// JSON
    #[arg(short, long)]
    pub json: bool,
    /// Who: a user, by name or number
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Who: a group; may be given several times to `check`
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// Who: the path of the program
    #[arg(long, value_name = "PATH")]
    pub executable: Option<String>,
    /// Who: the path of the control group
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
    /// In which zone
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// [list] | add grant|deny WHO ACT | del NUMBER | del grant|deny WHO ACT | check WHO ACT
    #[arg(value_name = "WORDS", hide = true)]
    pub words: Vec<String>,
}

/// What `ip link` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct LinkQuery {
    /// JSON, as ip(8) prints it
    #[arg(short, long, global = true)]
    pub json: bool,
    /// What kind of interface each is
    #[arg(short, long, global = true)]
    pub details: bool,
    /// What passed each interface
    #[arg(short, long, visible_alias = "stats", global = true)]
    pub statistics: bool,
    /// A line an interface; also -br
    #[arg(long, global = true)]
    pub brief: bool,
    /// A line for each record, its further lines behind `\`
    #[arg(short, long, global = true)]
    pub oneline: bool,
    /// [show] [[dev] NAME] …
    #[arg(value_name = "WORDS", hide = true)]
    pub words: Vec<String>,
}

/// What `ip neighbour` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct NeighQuery {
    /// JSON, as ip(8) prints it
    #[arg(short, long, global = true)]
    pub json: bool,
    /// When each was used, confirmed and changed, and how often asked in vain
    #[arg(short, long, visible_alias = "stats", global = true)]
    pub statistics: bool,
    /// A line for each record, its further lines behind `\`
    #[arg(short, long, global = true)]
    pub oneline: bool,
    /// [show] [[to] ADDRESS] [dev NAME] [nud STATE] | add … | del … | flush …
    #[arg(value_name = "WORDS", hide = true)]
    pub words: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub struct Ping {
    /// Address or name
    pub destination: String,
    /// Stop after that many requests [default: at Ctrl-C]
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub count: Option<u16>,
    /// Seconds between requests
    #[arg(short, long, default_value = "1", value_parser = seconds())]
    pub interval: Duration,
    /// Bytes of payload
    #[arg(short, long, default_value_t = 56)]
    pub size: u16,
    /// Seconds to wait for an answer
    #[arg(short = 'W', long, default_value = "1", value_parser = seconds())]
    pub timeout: Duration,
}

#[derive(Debug, Args)]
pub struct Drill {
    /// Scripts, and folders of scripts (files that end in .pkt)
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub scripts: Vec<PathBuf>,
    /// How far from its time an event may be, in microseconds; a script's own tolerance goes first
    #[arg(long, alias = "tolerance_usecs", value_name = "USECS", default_value_t = 4000)]
    pub tolerance_usecs: u64,
    /// A name for which #ifdef holds
    #[arg(short = 'D', long, value_name = "NAME")]
    pub define: Vec<String>,
    /// Write a report as continuous integration reads it
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Write the results as a table in Markdown
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// Write what was on the wire, a capture for each script
    #[arg(long, value_name = "FOLDER")]
    pub pcap: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Peer {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

impl Arguments {
    /// Reads the program's words. As with ip(8), options of an object may stand before it.
    pub fn read() -> Self {
        Self::parse_from(options_after_the_object(std::env::args_os().collect()))
    }
}

/// `narrows -j -s link` to `narrows link -j -s`: what stands before the object goes behind it, but for
/// the control socket's path and what is for every object. Of ip(8)'s families IPv4 is the one that there
/// is.
fn options_after_the_object(words: Vec<OsString>) -> Vec<OsString> {
    const OF_ALL: [&str; 4] = ["-h", "--help", "-V", "--version"];
    let (mut before, mut moved) = (Vec::new(), Vec::new());
    let mut words = words.into_iter();
    before.extend(words.next());
    let mut object = None;
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--socket" {
            before.push(word);
            before.extend(words.next());
        } else if text.starts_with("--socket=") || OF_ALL.contains(&&*text) {
            before.push(word);
        } else if text == "-4" {
            continue;
        } else if ["-br", "-brief"].contains(&&*text) {
            moved.push("--brief".into());
        } else if text.starts_with('-') {
            moved.push(word);
        } else {
            object = Some(word);
            break;
        }
    }
    before.extend(object);
    before.into_iter().chain(moved).chain(words).collect()
}

/// Seconds with a fraction, as ping(8) takes them.
fn seconds() -> impl TypedValueParser<Value = Duration> {
    clap::builder::StringValueParser::new().try_map(|text| {
        let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
        Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
    })
}

#[cfg(test)]
mod tests;
