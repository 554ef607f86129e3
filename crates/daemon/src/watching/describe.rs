//! A packet's way in words: what was asked, and which entry, rule or limit decided.

use super::direction;
use crate::{options, worker::Worker};
use narrows_ipc::see::{JourneyReport, Seen, StepReport};
use narrows_stack::{
    InterfaceId, SocketId,
    counters::DropReason,
    filter::{
        Hook, Outcome,
        rule::{ChainId, Queue, Reject},
    },
    request::SocketKind,
    table::{
        inspector::End,
        route::TableId,
        watch::{Cast, Decided, Entry, Fate, Journey, Role, Step},
    },
};
use narrows_wire::rewrite;

/// What things are called.
pub(crate) struct Names<'a> {
    pub interface: &'a dyn Fn(InterfaceId) -> String,
    /// A rule as it was written, with its chain; of no rule, the chain alone.
    pub rule: &'a dyn Fn(ChainId, Option<usize>) -> String,
    pub socket: &'a dyn Fn(SocketId) -> String,
}

/// `time`: nanoseconds since 1970.
pub(crate) fn journey(way: &Journey, time: u64, names: &Names<'_>) -> JourneyReport {
    let steps = way.steps.iter().map(|step| report(step, names)).collect();
    let (verdict, because) = verdict(way, names);
    JourneyReport {
        packet: Seen {
            time,
            interface: way.interface.number(),
            name: (names.interface)(way.interface),
            direction: direction(way.kind),
            user: way.user,
            length: u32::try_from(way.length).unwrap_or(u32::MAX),
            bytes: way.bytes.to_vec(),
        },
        steps,
        verdict: verdict.into(),
        because,
        reason: match way.fate {
            Fate::Dropped(reason) => Some(reason.describe().0.to_owned()),
            Fate::Taken | Fate::Sent => None,
        },
    }
}

fn verdict(way: &Journey, names: &Names<'_>) -> (&'static str, String) {
    let last = |wanted: fn(&Step) -> bool| way.steps.iter().rev().find(|step| wanted(step));
    match way.fate {
        Fate::Dropped(reason) => ("dropped", because(reason)),
        Fate::Sent => ("sent", format!("by {}", (names.interface)(way.interface))),
        Fate::Taken => {
            let wanted = |step: &Step| {
                matches!(
                    step,
                    Step::Socket { .. }
                        | Step::Held
                        | Step::Forward { .. }
                        | Step::Inspected { end: None, .. }
                )
            };
            match last(wanted) {
                Some(Step::Socket { id, role }) => {
                    ("taken", format!("by {}", role_of(*id, *role, names)))
                }
                Some(Step::Inspected { inspector, .. }) => {
                    ("held", format!("until inspector {} answers", inspector.0))
                }
                Some(Step::Held) => ("held", "until its datagram is whole".into()),
                Some(Step::Forward { interface, .. }) => {
                    ("forwarded", format!("by {}", (names.interface)(*interface)))
                }
                _ => match last(|step| matches!(step, Step::Sent { .. })) {
                    Some(_) => ("taken", "by this host, which answered".into()),
                    None => ("taken", "by this host".into()),
                },
            }
        }
    }
}

fn because(reason: DropReason) -> String {
    let (name, meaning) = reason.describe();
    format!("{name}: {meaning}; to do: {}", reason.remedy())
}

fn report(step: &Step, names: &Names<'_>) -> StepReport {
    let name = names.interface;
    let (what, text) = match step {
        Step::At(interface) => ("link", format!("at {}", name(*interface))),
        Step::Filter { hook, outcome, by } => ("filter", filter(*hook, *outcome, *by, names)),
        Step::Local(cast) => ("route", format!("for this host{}", of_cast(*cast))),
        Step::Forward { interface, next_hop, entry } => {
            let entry = entry.map_or_else(String::new, |entry| format!(": {}", of_entry(entry)));
            ("route", format!("to {next_hop} dev {}{entry}", name(*interface)))
        }
        Step::Held => ("fragment", "kept until the others of its datagram come".into()),
        Step::Whole { length } => {
            ("fragment", format!("the last: a datagram of {length} bytes is whole"))
        }
        Step::Socket { id, role } => ("socket", role_of(*id, *role, names)),
        Step::Unresolved { interface, next_hop } => {
            ("neigh", format!("waits until {next_hop} dev {} answers ARP", name(*interface)))
        }
        Step::Inspected { inspector, end } => ("inspect", inspected(inspector.0, *end)),
        Step::Sent { interface, .. } => ("sent", format!("dev {}", name(*interface))),
        Step::Lost(reason) => ("lost", because(*reason)),
    };
    let frame = match step {
        Step::Sent { bytes, .. } => Some(bytes.to_vec()),
        _ => None,
    };
    StepReport { what: what.into(), text, frame }
}

fn inspected(inspector: u32, end: Option<End>) -> String {
    let said = match end {
        None => return format!("waits for inspector {inspector}"),
        Some(End::Dropped) => "drop".to_owned(),
        Some(End::Accepted { mark: None }) => "accept".to_owned(),
        Some(End::Accepted { mark: Some(mark) }) => format!("accept, mark 0x{mark:x}"),
        Some(End::Late { open: true }) => "nothing in time: goes on".to_owned(),
        Some(End::Late { open: false }) => "nothing in time: dropped".to_owned(),
    };
    format!("inspector {inspector} says {said}")
}

fn of_cast(cast: Cast) -> &'static str {
    match cast {
        Cast::Unicast => "",
        Cast::Broadcast => " and others: a broadcast",
        Cast::Multicast => ": a group that is joined",
    }
}

fn of_entry(Entry { to, table }: Entry) -> String {
    let to = match (to.address(), to.length()) {
        (_, 0) => "default".to_owned(),
        (address, 32) => address.to_string(),
        (address, length) => format!("{address}/{length}"),
    };
    match table {
        TableId::MAIN => format!("{to} table main"),
        TableId::LOCAL => format!("{to} table local"),
        TableId(number) => format!("{to} table {number}"),
    }
}

fn filter(hook: Hook, outcome: Outcome, by: Option<Decided>, names: &Names<'_>) -> String {
    let hook = match hook {
        Hook::Ingress => "ingress",
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
        Hook::Egress => "egress",
        Hook::ArpInput => "arp input",
        Hook::ArpOutput => "arp output",
    };
    let outcome = match outcome {
        Outcome::Accept => "accept".to_owned(),
        Outcome::Drop => "drop".to_owned(),
        Outcome::Translate(choice) => match choice.end {
            rewrite::End::Source => "accept, its flow's source is another".to_owned(),
            rewrite::End::Destination => "accept, its flow's destination is another".to_owned(),
        },
        Outcome::Queue { queue: Queue { first, last, .. }, .. } if first == last => {
            format!("queue to {first}")
        }
        Outcome::Queue { queue: Queue { first, last, .. }, .. } => {
            format!("queue to {first}-{last}")
        }
        Outcome::Reject(Reject::TcpReset) => "reject with tcp reset".to_owned(),
        Outcome::Reject(Reject::Icmp(code)) => format!("reject with icmp code {}", code.0),
    };
    match by {
        Some(Decided { chain, rule }) => {
            format!("{hook}: {outcome}, by {}", (names.rule)(chain, rule))
        }
        None => format!("{hook}: {outcome}, since no chain is about this interface"),
    }
}

fn role_of(id: Option<SocketId>, role: Role, names: &Names<'_>) -> String {
    let socket = id.map_or_else(String::new, names.socket);
    let role = match role {
        Role::Connection => "connection",
        Role::HalfOpen => "half-open connection of",
        Role::TimeWait => "connection in TIME-WAIT",
        Role::Listener => "listener",
        Role::Datagram => "datagram socket",
        Role::Raw => "a copy for the raw socket",
        Role::Holder => "claimed by the packet socket",
        Role::Nobody => "nobody: no connection and no listener",
    };
    if socket.is_empty() { role.to_owned() } else { format!("{role} {socket}") }
}

pub(super) fn socket_of(step: &Step) -> Option<SocketId> {
    match step {
        Step::Socket { id, .. } => *id,
        _ => None,
    }
}

/// A socket in ss(8)'s words.
pub(super) fn socket(worker: &mut Worker, socket: SocketId) -> String {
    let Some(info) = worker.info(socket) else { return String::new() };
    let state = match info.kind {
        SocketKind::Tcp => format!("tcp {}", options::tcp_state(info.state).name()),
        SocketKind::Udp => "udp".to_owned(),
        SocketKind::Ping => "icmp".to_owned(),
        SocketKind::Packet => "packet".to_owned(),
        SocketKind::Raw => "raw".to_owned(),
    };
    let remote = info.remote.map_or_else(|| "*:*".to_owned(), |remote| remote.to_string());
    let owner = crate::control::owner(worker, socket).map_or_else(String::new, |principal| {
        let program = principal.executable().and_then(|path| path.rsplit('/').next());
        format!(" users:((\"{}\",pid={}))", program.unwrap_or("?"), principal.pid)
    });
    format!("{state} {} {remote}{owner}", info.local)
}
