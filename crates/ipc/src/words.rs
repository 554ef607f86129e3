//! Changes in the words that ask for them, for the log: `addr add 10.0.0.2/24 dev lan`.

use crate::{
    change::{AddressDetails, Change, SetMode, SetState},
    link::{LinkCommand, LinkKind, LinkSetting},
    route::{
        HopRow, RouteKind, RouteMatch, RoutePlacement, RouteRow, RouteScope, RuleAction, RuleRow,
        table,
    },
};
use std::{
    fmt::{self, Display, Formatter},
    net::IpAddr,
};

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAddress { interface, address, length, details, mode } => {
                write!(f, "addr {} {address}/{length}{details} dev {interface}", mode_word(*mode))
            }
            Self::SetMulticast { interface, mac, joined } => {
                let command = if *joined { "add" } else { "del" };
                write!(f, "maddr {command} {} dev {interface}", Mac(mac))
            }
            Self::RemoveAddress { interface, address, length } => {
                write!(f, "addr del {address}/{length} dev {interface}")
            }
            Self::AnnounceAddresses { interface } => write!(f, "addr announce dev {interface}"),
            Self::Link(command) => command.fmt(f),
            Self::SetNeighbor { interface, address, mac, state, mode } => {
                let (mac, state, command) = (Mac(mac), state_word(*state), mode_word(*mode));
                write!(f, "neigh {command} {address} lladdr {mac} nud {state} dev {interface}")
            }
            Self::RemoveNeighbor { interface, address } => {
                write!(f, "neigh del {address} dev {interface}")
            }
            Self::SetProxy { interface, address, proxied } => {
                let command = if *proxied { "add" } else { "del" };
                write!(f, "neigh {command} proxy {address} dev {interface}")
            }
            Self::AddRoute { route, placement } => {
                let command = match placement {
                    RoutePlacement::Add => "add",
                    RoutePlacement::Replace => "replace",
                    RoutePlacement::Change => "change",
                    RoutePlacement::Append => "append",
                    RoutePlacement::Prepend => "prepend",
                };
                write!(f, "route {command} {route}")
            }
            Self::RemoveRoute { route } => write!(f, "route del {route}"),
            Self::AddRule { rule } => write!(f, "rule add {rule}"),
            Self::RemoveRule { rule } => write!(f, "rule del {rule}"),
            Self::AddPolicy { rule } => write!(f, "policy add {rule}"),
            Self::RemovePolicy { rule } => write!(f, "policy del {rule}"),
            Self::RemovePolicyById { id } => write!(f, "policy del {id}"),
            Self::Zone(command) => write!(f, "zone {command}"),
        }
    }
}

fn mode_word(mode: SetMode) -> &'static str {
    match mode {
        SetMode::Create => "add",
        SetMode::Change => "change",
        SetMode::Replace => "replace",
    }
}

impl Display for AddressDetails {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some((address, length)) = self.peer {
            write!(f, " peer {address}/{length}")?;
        }
        if let Some(scope) = self.scope {
            let scope = match scope {
                RouteScope::Global => "global",
                RouteScope::Link => "link",
                RouteScope::Host => "host",
            };
            write!(f, " scope {scope}")?;
        }
        self.label.as_ref().map_or(Ok(()), |label| write!(f, " label {label}"))?;
        self.valid.map_or(Ok(()), |seconds| write!(f, " valid_lft {seconds}"))?;
        self.preferred.map_or(Ok(()), |seconds| write!(f, " preferred_lft {seconds}"))
    }
}

fn state_word(state: SetState) -> &'static str {
    match state {
        SetState::Permanent => "permanent",
        SetState::NoArp => "noarp",
        SetState::Reachable => "reachable",
        SetState::Stale => "stale",
        SetState::Delay => "delay",
        SetState::Probe => "probe",
    }
}

impl Display for LinkCommand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words = |f: &mut Formatter<'_>, settings: &[LinkSetting]| {
            settings.iter().try_for_each(|setting| write!(f, " {setting}"))
        };
        match self {
            Self::Add { name, kind, settings } => {
                write!(f, "link add {name}")?;
                match kind {
                    LinkKind::Loopback => write!(f, " type loopback")?,
                    LinkKind::Device(spec) => write!(f, " device {spec}")?,
                    LinkKind::Vlan { lower, protocol, id } => {
                        write!(f, " link {lower} type vlan protocol {protocol} id {id}")?;
                    }
                    LinkKind::Bond => write!(f, " type bond")?,
                    LinkKind::Bridge => write!(f, " type bridge")?,
                    LinkKind::Private => write!(f, " type private")?,
                }
                words(f, settings)
            }
            Self::Set { name, settings } => {
                write!(f, "link set {name}")?;
                words(f, settings)
            }
            Self::Remove { name } => write!(f, "link del {name}"),
            Self::Station { port, mac, known } => {
                let command = if *known { "add" } else { "del" };
                write!(f, "bridge fdb {command} {} dev {port}", Mac(mac))
            }
        }
    }
}

impl Display for LinkSetting {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let switch = |on: &bool| if *on { "on" } else { "off" };
        match self {
            Self::Up(up) => f.write_str(if *up { "up" } else { "down" }),
            Self::Name(name) => write!(f, "name {name}"),
            Self::Mtu(mtu) => write!(f, "mtu {mtu}"),
            Self::Mac(mac) => write!(f, "address {}", Mac(mac)),
            Self::Promiscuous(on) => write!(f, "promisc {}", switch(on)),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Forward(on) => write!(f, "forward {}", switch(on)),
            Self::HostModel(model) => write!(f, "host_model {model}"),
            Self::ReversePath(check) => write!(f, "reverse_path {check}"),
            Self::Redirects(on) => write!(f, "redirects {}", switch(on)),
            Self::ArpIgnore(value) => write!(f, "arp_ignore {value}"),
            Self::ArpAnnounce(value) => write!(f, "arp_announce {value}"),
            Self::ArpFilter(on) => write!(f, "arp_filter {}", switch(on)),
            Self::ArpAccept(on) => write!(f, "arp_accept {}", switch(on)),
            Self::ProxyArp(on) => write!(f, "proxy_arp {}", switch(on)),
            Self::ConflictDetection(how) => write!(f, "conflict_detection {how}"),
            Self::AddressSource(source) => write!(f, "address_source {source}"),
            Self::Master(Some(master)) => write!(f, "master {master}"),
            Self::Master(None) => f.write_str("nomaster"),
            Self::Mode(mode) => write!(f, "mode {mode}"),
            Self::HashPolicy(policy) => write!(f, "xmit_hash_policy {policy}"),
            Self::LacpFast(fast) => {
                write!(f, "lacp_rate {}", if *fast { "fast" } else { "slow" })
            }
            Self::Primary(primary) => {
                write!(f, "primary {}", primary.as_deref().unwrap_or("none"))
            }
            Self::ArpInterval(interval) => write!(f, "arp_interval {}", interval.as_millis()),
            Self::ArpTargets(targets) => write!(f, "arp_ip_target {}", List(targets)),
            Self::MinLinks(least) => write!(f, "min_links {least}"),
            Self::UpDelay(delay) => write!(f, "updelay {}", delay.as_millis()),
            Self::DownDelay(delay) => write!(f, "downdelay {}", delay.as_millis()),
            Self::Ageing(ageing) => write!(f, "ageing_time {}", ageing.as_millis() / 10),
            Self::MaxAddresses(most) => write!(f, "fdb_max_learned {most}"),
            Self::FloodLimit(limit) => write!(f, "flood_limit {limit}"),
            Self::Bind(None) => f.write_str("bind any"),
            Self::Bind(Some(bound)) => {
                write!(f, "bind {}", List(&bound.iter().map(Mac).collect::<Vec<_>>()))
            }
        }
    }
}

impl Display for RouteRow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_target(f, Some(self.kind), self.to)?;
        let several = self.hops.len() > 1;
        for hop in &self.hops {
            let HopRow { interface, via, weight, on_link, .. } = hop;
            if several {
                f.write_str(" nexthop")?;
            }
            write_hop(f, interface.as_deref(), *via)?;
            if several {
                write!(f, " weight {weight}")?;
            }
            if *on_link {
                f.write_str(" onlink")?;
            }
        }
        write_placed(f, self.table, Some(self.metric).filter(|metric| *metric != 0))?;
        self.source.map_or(Ok(()), |source| write!(f, " src {source}"))
    }
}

impl Display for RouteMatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_target(f, self.kind, self.to)?;
        for (interface, via) in &self.hops {
            write_hop(f, interface.as_deref(), *via)?;
        }
        write_placed(f, self.table, self.metric)
    }
}

fn write_target(
    f: &mut Formatter<'_>,
    kind: Option<RouteKind>,
    (address, length): (IpAddr, u8),
) -> fmt::Result {
    let kind = match kind {
        None | Some(RouteKind::Unicast) => "",
        Some(RouteKind::Local) => "local ",
        Some(RouteKind::Broadcast) => "broadcast ",
        Some(RouteKind::Blackhole) => "blackhole ",
        Some(RouteKind::Unreachable) => "unreachable ",
        Some(RouteKind::Prohibit) => "prohibit ",
        Some(RouteKind::Throw) => "throw ",
    };
    write!(f, "{kind}{address}/{length}")
}

fn write_hop(f: &mut Formatter<'_>, interface: Option<&str>, via: Option<IpAddr>) -> fmt::Result {
    via.map_or(Ok(()), |via| write!(f, " via {via}"))?;
    interface.map_or(Ok(()), |name| write!(f, " dev {name}"))
}

fn write_placed(f: &mut Formatter<'_>, number: u32, metric: Option<u32>) -> fmt::Result {
    if number != table::MAIN {
        write!(f, " table {number}")?;
    }
    metric.map_or(Ok(()), |metric| write!(f, " metric {metric}"))
}

impl Display for RuleRow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        let mut words: Vec<String> = Vec::new();
        words.extend(self.preference.map(|preference| format!("pref {preference}")));
        words.extend(selector.not.then(|| "not".to_owned()));
        words.extend(selector.from.map(|(address, length)| format!("from {address}/{length}")));
        words.extend(selector.to.map(|(address, length)| format!("to {address}/{length}")));
        words.extend(selector.input.as_ref().map(|name| format!("iif {name}")));
        words.extend(selector.output.as_ref().map(|name| format!("oif {name}")));
        words.extend(selector.input_group.map(|group| format!("iifgroup {group}")));
        words.extend(selector.output_group.map(|group| format!("oifgroup {group}")));
        words.extend(selector.mark.map(|(mark, mask)| format!("fwmark {mark:#x}/{mask:#x}")));
        words.extend(selector.users.map(|(first, last)| format!("uidrange {first}-{last}")));
        words.extend(self.action.map(|action| match action {
            RuleAction::Lookup(table) => format!("lookup {table}"),
            RuleAction::Goto(target) => format!("goto {target}"),
            RuleAction::Blackhole => "blackhole".into(),
            RuleAction::Unreachable => "unreachable".into(),
            RuleAction::Prohibit => "prohibit".into(),
        }));
        f.write_str(&words.join(" "))
    }
}

/// A station's address.
struct Mac<'a>(&'a [u8; 6]);

impl Display for Mac<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// With commas between.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{RuleSelector, protocol};
    use std::time::Duration;

    #[test]
    fn changes_read_as_the_commands_that_make_them() {
        let lan = || "lan".to_owned();
        let hop = |via: [u8; 4], weight| HopRow {
            interface: Some(lan()),
            via: Some(via.into()),
            weight,
            on_link: false,
            dead: false,
        };
        let route = |hops, table| RouteRow {
            to: ([10, 9, 0, 0].into(), 16),
            table,
            kind: RouteKind::Unicast,
            protocol: protocol::BOOT,
            scope: RouteScope::Global,
            metric: 5,
            source: None,
            hops,
        };
        let rule = RuleRow {
            preference: Some(7),
            selector: RuleSelector {
                not: true,
                from: Some(([10, 0, 0, 0].into(), 8)),
                input_group: Some(7),
                output_group: Some(0),
                mark: Some((1, 0xff)),
                ..RuleSelector::default()
            },
            action: Some(RuleAction::Lookup(9)),
        };
        let set = |settings| Change::Link(LinkCommand::Set { name: lan(), settings });
        let address = [10, 0, 0, 2].into();
        for (change, words) in [
            (
                Change::SetAddress {
                    interface: lan(),
                    address,
                    length: 24,
                    details: AddressDetails {
                        label: Some("lan:1".into()),
                        valid: Some(60),
                        ..AddressDetails::default()
                    },
                    mode: SetMode::Create,
                },
                "addr add 10.0.0.2/24 label lan:1 valid_lft 60 dev lan",
            ),
            (
                set(vec![
                    LinkSetting::Mtu(1400),
                    LinkSetting::Forward(true),
                    LinkSetting::Up(true),
                ]),
                "link set lan mtu 1400 forward on up",
            ),
            (
                set(vec![
                    LinkSetting::ArpInterval(Duration::from_millis(100)),
                    LinkSetting::ArpTargets(vec![[10, 0, 0, 1].into(), [10, 0, 0, 3].into()]),
                    LinkSetting::MinLinks(2),
                    LinkSetting::UpDelay(Duration::from_millis(200)),
                    LinkSetting::DownDelay(Duration::from_millis(50)),
                    LinkSetting::Bind(Some(vec![[2, 0, 0, 0, 0, 1]])),
                ]),
                "link set lan arp_interval 100 arp_ip_target 10.0.0.1,10.0.0.3 min_links 2 \
                 updelay 200 downdelay 50 bind \
                 02:00:00:00:00:01",
            ),
            (
                Change::AddRoute {
                    route: route(vec![hop([10, 0, 0, 1], 1)], table::MAIN),
                    placement: RoutePlacement::Replace,
                },
                "route replace 10.9.0.0/16 via 10.0.0.1 dev lan metric 5",
            ),
            (
                Change::AddRoute {
                    route: route(vec![hop([10, 0, 0, 1], 1), hop([10, 0, 0, 9], 3)], 7),
                    placement: RoutePlacement::Add,
                },
                "route add 10.9.0.0/16 nexthop via 10.0.0.1 dev lan weight 1 nexthop via 10.0.0.9 \
                 dev lan weight 3 table 7 metric 5",
            ),
            (
                Change::RemoveRule { rule },
                "rule del pref 7 not from 10.0.0.0/8 iifgroup 7 oifgroup 0 fwmark 0x1/0xff lookup 9",
            ),
            (
                Change::SetNeighbor {
                    interface: lan(),
                    address,
                    mac: [2, 0, 0, 0, 0, 9],
                    state: SetState::Permanent,
                    mode: SetMode::Replace,
                },
                "neigh replace 10.0.0.2 lladdr 02:00:00:00:00:09 nud permanent dev lan",
            ),
        ] {
            assert_eq!(change.to_string(), words);
        }
    }
}
