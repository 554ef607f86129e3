//! Who gets a frame that comes in by an interface, in the order in which they do, and what becomes of it.
//!
//! A question names some fields of a frame. Where the answer depends on one that it doesn't name, the row
//! says so: a program's own filter, a rule of the filter.

use super::owner;
use crate::{inspecting, requests::packet::frame_match, watching::stage_of, worker::Worker};
use narrows_ipc::{
    Error,
    packet::{FrameMatch, TakerRow},
    see::Stage,
};
use narrows_stack::{
    InterfaceId, SocketId,
    filter::Hook,
    request::{PacketState, SocketInfo, SocketKind},
    table::{claim::Match, packet_socket::EVERY_PROTOCOL, watch::Stages},
    tcp::State,
};
use narrows_wire::{ethernet::EtherType, ipv4::Protocol};
use std::net::{IpAddr, SocketAddr};

pub(super) fn takers(worker: &Worker, frame: &FrameMatch) -> Result<Vec<TakerRow>, Error> {
    let question = frame_match(frame)?;
    let interface = question.interface.ok_or(Error::NoSuchDevice)?;
    worker.shard.interface(interface).ok_or(Error::NoSuchDevice)?;
    let mut rows = Rows { worker, rows: Vec::new() };
    let claimed = rows.claims(&question);
    rows.packet_sockets(&question, interface, claimed);
    if claimed != Claimed::Wholly {
        rows.stack(&question, interface);
        rows.taps(Stages::DROP, &question, interface);
    }
    Ok(rows.rows)
}

/// How much of what is asked about somebody has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claimed {
    Nothing,
    Partly,
    Wholly,
}

struct Rows<'a> {
    worker: &'a Worker,
    rows: Vec<TakerRow>,
}

impl Rows<'_> {
    fn add(&mut self, stage: &str, action: impl Into<String>, socket: Option<SocketId>) {
        let owner = socket.and_then(|socket| owner(self.worker, socket));
        let owner = owner.map(|principal| principal.report());
        self.rows.push(TakerRow { stage: stage.into(), action: action.into(), owner });
    }

    fn claims(&mut self, question: &Match) -> Claimed {
        let mut claimed = Claimed::Nothing;
        let worker = self.worker;
        for (holder, held) in worker.shard.claims().filter(|(_, held)| held.overlaps(question)) {
            if question.is_within(held) {
                let what = match claimed {
                    Claimed::Nothing => "takes it; nobody after sees it",
                    _ => "takes the rest; nobody after sees it",
                };
                self.add("claim", what, Some(holder));
                return Claimed::Wholly;
            }
            self.add("claim", "takes what of it is claimed", Some(holder));
            claimed = Claimed::Partly;
        }
        claimed
    }

    fn packet_sockets(&mut self, question: &Match, interface: InterfaceId, claimed: Claimed) {
        let worker = self.worker;
        let holds = |socket| worker.shard.claims().any(|(holder, _)| holder == socket);
        let hears = |state: &PacketState| {
            let asked = question.ether_type.or(question.protocol.map(|_| EtherType::IPV4.0));
            let protocol = state.protocol == EVERY_PROTOCOL
                || state.protocol != 0 && asked.is_none_or(|asked| asked == state.protocol);
            protocol && state.interface.is_none_or(|bound| bound == interface)
        };
        let hearers = worker.shard.packet_sockets().filter(|(_, state)| hears(state));
        for (socket, state) in hearers.filter(|(_, state)| state.tap.is_empty()) {
            let what = match (state.fanout, claimed) {
                (_, Claimed::Wholly) if holds(socket) || !state.sees_claimed => continue,
                (Some(group), _) => format!("shares in group {group}"),
                (None, Claimed::Partly) if !state.sees_claimed => {
                    "copies what isn't claimed".into()
                }
                (None, _) => "copies it".to_owned(),
            };
            let condition = if state.filtered { ", if its filter takes it" } else { "" };
            self.add("packet", format!("{what}{condition}"), Some(socket));
        }
    }

    /// Who is shown a frame at a stage of its way.
    fn taps(&mut self, stage: Stages, question: &Match, interface: InterfaceId) {
        let asked = question.ether_type.or(question.protocol.map(|_| EtherType::IPV4.0));
        let worker = self.worker;
        for (socket, state) in worker.shard.packet_sockets() {
            let hears = state.tap.contains(stage)
                && (state.protocol == EVERY_PROTOCOL
                    || asked.is_none_or(|asked| asked == state.protocol))
                && state.interface.is_none_or(|bound| bound == interface);
            if hears {
                let at = match stage_of(stage) {
                    Stage::Drop => ", if the stack drops it",
                    _ => "",
                };
                let condition = if state.filtered { ", if its filter takes it" } else { "" };
                self.add("tap", format!("copies it{at}{condition}"), Some(socket));
            }
        }
    }

    /// What the stack makes of it.
    fn stack(&mut self, question: &Match, interface: InterfaceId) {
        self.hooks(&[(Hook::Ingress, "ingress")]);
        let is_ip = |kind: u16| kind == EtherType::IPV4.0;
        match question.ether_type {
            Some(kind) if kind == EtherType::ARP.0 => {
                self.taps(Stages::FILTER, question, interface);
                return self.add("stack", "answers for addresses of this interface", None);
            }
            Some(kind) if !is_ip(kind) => return self.add("stack", "drops it", None),
            _ => {}
        }
        self.hooks(&[(Hook::Prerouting, "prerouting")]);
        self.taps(Stages::FILTER, question, interface);
        let shard = &self.worker.shard;
        let one = question.destination.filter(|prefix| prefix.length() == 32);
        let owns = |address| match address {
            IpAddr::V4(address) => shard.interfaces().any(|(_, each)| each.has(address)),
            IpAddr::V6(_) => false,
        };
        let own = one.map(|prefix| owns(prefix.address()));
        if own != Some(true) {
            self.elsewhere(interface);
        }
        if own == Some(false) {
            return;
        }
        self.hooks(&[(Hook::Input, "input")]);
        self.taps(Stages::REASSEMBLED, question, interface);
        self.here(question);
    }

    /// Of the filter's hooks those that have rules.
    fn hooks(&mut self, hooks: &[(Hook, &str)]) {
        let filter = self.worker.shard.filter();
        for (hook, name) in hooks {
            if filter.is_some_and(|filter| filter.listens(*hook)) {
                self.add("filter", format!("asks the rules of {name}"), None);
            }
            for (owner, filtered) in inspecting::at(self.worker, *hook) {
                let condition = if filtered { ", if its filter takes it" } else { "" };
                let action = format!("decides about it at {name}{condition}");
                self.rows.push(TakerRow { stage: "inspect".into(), action, owner: Some(owner) });
            }
        }
    }

    /// What is not for this host.
    fn elsewhere(&mut self, interface: InterfaceId) {
        let station = self.worker.shard.interface(interface);
        if station.is_some_and(|station| station.settings.routing.forward) {
            self.hooks(&[(Hook::Forward, "forward")]);
            self.add("stack", "forwards it, if it is for another host", None);
        } else {
            self.add("stack", "drops it, if it is for another host", None);
        }
    }

    /// What is for this host.
    fn here(&mut self, question: &Match) {
        let Some(protocol) = question.protocol.map(Protocol) else {
            return self.add("socket", "the one of its protocol and port gets it", None);
        };
        let raw: Vec<SocketId> = self.worker.shard.raw_sockets(protocol).collect();
        for socket in &raw {
            self.add("raw", "copies it", Some(*socket));
        }
        let kind = match protocol {
            Protocol::TCP => SocketKind::Tcp,
            Protocol::UDP => SocketKind::Udp,
            Protocol::ICMP => return self.add("stack", "answers echo requests", None),
            Protocol::IGMP => return self.add("stack", "keeps track of groups", None),
            _ if raw.is_empty() => {
                return self.add("stack", "refuses it: protocol unreachable", None);
            }
            _ => return,
        };
        let now = self.worker.clock.now();
        let sockets: Vec<SocketInfo> = self
            .worker
            .shard
            .sockets(now)
            .filter(|info| info.kind == kind && may_be_for(info, question))
            .collect();
        for info in &sockets {
            let action = match (info.state, info.remote) {
                (State::Listen, _) => "accepts connections".to_owned(),
                (_, Some(remote)) => format!("gets it from {remote}"),
                _ => "gets it".to_owned(),
            };
            self.add("socket", action, info.id);
        }
        if !sockets.iter().any(|info| info.remote.is_none()) {
            let answer = if kind == SocketKind::Tcp { "reset" } else { "port unreachable" };
            self.add("stack", format!("refuses the rest: {answer}"), None);
        }
    }
}

/// Could the socket get such a packet?
fn may_be_for(info: &SocketInfo, question: &Match) -> bool {
    let (address, port) = (info.local.ip(), info.local.port());
    let peer = |remote: SocketAddr| {
        question.source.is_none_or(|prefix| prefix.contains(remote.ip()))
            && question.source_ports.is_none_or(|(a, b)| (a..=b).contains(&remote.port()))
    };
    port != 0
        && question.destination_ports.is_none_or(|(first, last)| (first..=last).contains(&port))
        && (address.is_unspecified()
            || question.destination.is_none_or(|prefix| prefix.contains(address)))
        && info.remote.is_none_or(peer)
}
