//! `narrows bond`: bonds and their members, laid out as Linux's /proc/net/bonding. They are made and
//! changed with `narrows link`.

use crate::{
    arguments::Query,
    report::{self, Mac},
    words::Words,
};
use anyhow::Result;
use narrows_client::Stack;
use narrows_ipc::link::{BondRow, LacpRow, MemberRow};
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn execute(query: &Query, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let (_, mut words) = Words::new("bond", &query.words, &["show"])?;
    let mut name = words.next();
    if name == Some("dev") {
        name = Some(words.value("dev")?);
    }
    if let Some(word) = words.next() {
        return Err(words.error(format_args!("don't know `{word}`; write `bond show [NAME]`")));
    }
    let mut bonds = stack.bonds()?;
    if let Some(name) = name {
        bonds.retain(|bond| bond.name == name);
        if bonds.is_empty() {
            return Err(report::no_such_device(name));
        }
    }
    if query.json {
        report::write_json(out, &bonds.iter().map(to_json).collect())?;
    } else {
        bonds.iter().try_for_each(|bond| write_bond(out, bond))?;
    }
    Ok(())
}

fn write_bond(out: &mut dyn Write, bond: &BondRow) -> io::Result<()> {
    writeln!(out, "{}: mode {} xmit_hash_policy {}", bond.name, bond.mode, bond.hash_policy)?;
    if let Some(active) = &bond.active {
        let primary = bond.primary.as_ref().map(|name| format!(" primary {name}"));
        writeln!(out, "    active {active}{}", primary.unwrap_or_default())?;
    }
    if let Some(interval) = bond.arp_interval {
        let targets: Vec<_> = bond.arp_targets.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "    arp_interval {} arp_ip_target {}",
            interval.as_millis(),
            targets.join(",")
        )?;
    }
    let BondRow { min_links, up_delay, down_delay, .. } = bond;
    if !(up_delay.is_zero() && down_delay.is_zero()) {
        let (up, down) = (up_delay.as_millis(), down_delay.as_millis());
        writeln!(out, "    updelay {up} downdelay {down}")?;
    }
    if bond.mode == "802.3ad" {
        writeln!(out, "    lacp_rate {} min_links {min_links}", rate(bond))?;
    }
    for member in &bond.members {
        let MemberRow { name, mac, failures, .. } = member;
        let (link, state) = (link(member), state(bond, member));
        writeln!(
            out,
            "    member {name} {} link {link} state {state} failures {failures}",
            Mac(*mac)
        )?;
        if let Some(lacp) = &member.lacp {
            let LacpRow {
                actor_port, actor_state, partner_key, partner_port, partner_state, ..
            } = lacp;
            writeln!(
                out,
                "        actor port {actor_port} state {actor_state} partner {} key {partner_key} \
                 port {partner_port} state {partner_state}",
                Mac(lacp.partner_system)
            )?;
        }
    }
    Ok(())
}

fn rate(bond: &BondRow) -> &'static str {
    if bond.lacp_fast { "fast" } else { "slow" }
}

fn link(member: &MemberRow) -> &'static str {
    if member.running { "UP" } else { "DOWN" }
}

/// As IFLA_BOND_SLAVE_STATE: whether frames are given to it.
fn state(bond: &BondRow, member: &MemberRow) -> &'static str {
    let in_reserve = bond.active.as_ref().is_some_and(|active| *active != member.name);
    if member.usable && !in_reserve { "ACTIVE" } else { "BACKUP" }
}

fn to_json(bond: &BondRow) -> Value {
    let members: Vec<Value> = bond
        .members
        .iter()
        .map(|member| {
            let mut row = json!({
                "ifname": member.name,
                "perm_hwaddr": Mac(member.mac).to_string(),
                "mii_status": link(member),
                "state": state(bond, member),
                "link_failure_count": member.failures,
            });
            if let Some(lacp) = &member.lacp {
                row["ad_actor_port"] = json!(lacp.actor_port);
                row["ad_actor_oper_port_state"] = json!(lacp.actor_state);
                row["ad_partner_mac"] = json!(Mac(lacp.partner_system).to_string());
                row["ad_partner_key"] = json!(lacp.partner_key);
                row["ad_partner_port"] = json!(lacp.partner_port);
                row["ad_partner_oper_port_state"] = json!(lacp.partner_state);
            }
            row
        })
        .collect();
    let mut row = json!({
        "ifname": bond.name,
        "mode": bond.mode,
        "xmit_hash_policy": bond.hash_policy,
        "ad_lacp_rate": rate(bond),
        "min_links": bond.min_links,
        "updelay": bond.up_delay.as_millis() as u64,
        "downdelay": bond.down_delay.as_millis() as u64,
        "members": members,
    });
    if let Some(active) = &bond.active {
        row["active_slave"] = json!(active);
    }
    if let Some(primary) = &bond.primary {
        row["primary"] = json!(primary);
    }
    if let Some(interval) = bond.arp_interval {
        row["arp_interval"] = json!(interval.as_millis() as u64);
        row["arp_ip_target"] = json!(bond.arp_targets);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn member(name: &str, usable: bool, lacp: Option<LacpRow>) -> MemberRow {
        let mac = [2, 0, 0, 0, 0, 1];
        MemberRow { name: name.into(), mac, running: usable, usable, failures: 3, lacp }
    }

    fn bond(mode: &str, members: Vec<MemberRow>) -> BondRow {
        BondRow {
            name: "bond0".into(),
            mode: mode.into(),
            hash_policy: "layer2".into(),
            lacp_fast: true,
            primary: None,
            active: None,
            arp_interval: None,
            arp_targets: Vec::new(),
            min_links: 1,
            up_delay: Duration::ZERO,
            down_delay: Duration::ZERO,
            members,
        }
    }

    fn rows() -> [BondRow; 2] {
        let lacp = LacpRow {
            actor_port: 1,
            actor_state: 63,
            partner_system: [2, 0, 0, 0, 0, 9],
            partner_key: 15,
            partner_port: 2,
            partner_state: 61,
        };
        let backup = BondRow {
            active: Some("a".into()),
            primary: Some("a".into()),
            arp_interval: Some(Duration::from_millis(500)),
            arp_targets: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
            up_delay: Duration::from_millis(200),
            ..bond("active-backup", vec![member("a", true, None), member("b", true, None)])
        };
        [backup, bond("802.3ad", vec![member("c", true, Some(lacp)), member("d", false, None)])]
    }

    #[test]
    fn says_which_members_work() {
        let mut out = Vec::new();
        rows().iter().try_for_each(|row| write_bond(&mut out, row)).unwrap();
        let expected = "\
bond0: mode active-backup xmit_hash_policy layer2
    active a primary a
    arp_interval 500 arp_ip_target 10.0.0.1,10.0.0.2
    updelay 200 downdelay 0
    member a 02:00:00:00:00:01 link UP state ACTIVE failures 3
    member b 02:00:00:00:00:01 link UP state BACKUP failures 3
bond0: mode 802.3ad xmit_hash_policy layer2
    lacp_rate fast min_links 1
    member c 02:00:00:00:00:01 link UP state ACTIVE failures 3
        actor port 1 state 63 partner 02:00:00:00:00:09 key 15 port 2 state 61
    member d 02:00:00:00:00:01 link DOWN state BACKUP failures 3
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_iproutes_names() {
        let [backup, lacp] = rows().map(|row| to_json(&row));
        assert_eq!(backup["active_slave"], json!("a"));
        assert_eq!(backup["arp_ip_target"], json!(["10.0.0.1", "10.0.0.2"]));
        assert_eq!(lacp["members"][0]["ad_partner_mac"], json!("02:00:00:00:00:09"));
        assert_eq!(lacp["members"][1].get("ad_actor_port"), None);
    }
}
