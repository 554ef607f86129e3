//! Rules: who, and what is granted to him or denied.

use crate::{
    act::{Access, Act, ActKind, Protocol, Subject},
    network::Network,
};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// One line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub effect: Effect,
    pub who: Who,
    pub permit: Permit,
    pub origin: Origin,
}

impl Rule {
    /// Do both say the same, wherever they were written?
    pub fn says_the_same(&self, other: &Self) -> bool {
        (self.effect, &self.who, &self.permit) == (other.effect, &other.who, &other.permit)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    Deny,
    Grant,
}

impl Effect {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Grant => "grant",
        }
    }
}

/// Whom a rule is about: whoever fits all that is said. With nothing said, everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Who {
    pub user: Option<u32>,
    /// The main group or a supplementary one.
    pub group: Option<u32>,
    pub executable: Option<String>,
    /// And every group below it.
    pub cgroup: Option<String>,
    /// Not about the subject but the act: only in this zone.
    pub zone: Option<String>,
}

impl Who {
    /// Does it fit the subject, in a zone?
    pub fn fits(&self, subject: &Subject<'_>, zone: &str) -> bool {
        let in_group = |group| subject.group == group || subject.groups.contains(&group);
        let below = |path: &String| subject.cgroup.is_some_and(|own| is_below(own, path));
        self.user.is_none_or(|user| user == subject.user)
            && self.group.is_none_or(in_group)
            && self.executable.as_deref().is_none_or(|path| subject.executable == Some(path))
            && self.cgroup.as_ref().is_none_or(below)
            && self.zone.as_deref().is_none_or(|named| named == zone)
    }
}

/// Is a control group the other one, or below it?
pub(crate) fn is_below(own: &str, above: &str) -> bool {
    own.strip_prefix(above.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What a rule grants or denies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permit {
    Bind(Endpoint),
    Listen(Endpoint),
    Connect(Endpoint),
    Multicast(Network),
    Raw(Medium),
    Packet(Medium),
    Inspect,
    Administer,
}

impl Permit {
    pub const fn kind(&self) -> ActKind {
        match self {
            Self::Bind(_) => ActKind::Bind,
            Self::Listen(_) => ActKind::Listen,
            Self::Connect(_) => ActKind::Connect,
            Self::Multicast(_) => ActKind::Multicast,
            Self::Raw(_) => ActKind::Raw,
            Self::Packet(_) => ActKind::Packet,
            Self::Inspect => ActKind::Inspect,
            Self::Administer => ActKind::Administer,
        }
    }
}

/// A permit that is about one thing is also how to ask for it.
impl Permit {
    /// The acts that it names, one for TCP and one for UDP if no protocol is said; `None` if it names
    /// more than one address or port. `*` is the wildcard address.
    pub fn acts(&self) -> Option<Vec<Act<'_>>> {
        const USUAL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];
        let each = |at: &Endpoint, act: &dyn Fn(Protocol, SocketAddr) -> Act<'static>| {
            let address = at.one()?;
            let named = at.protocol.map(|protocol| vec![protocol]);
            let protocols = named.unwrap_or(USUAL.to_vec()).into_iter();
            Some(protocols.map(|protocol| act(protocol, address)).collect::<Vec<_>>())
        };
        Some(match self {
            Self::Bind(at) => each(at, &|protocol, local| Act::Bind { protocol, local })?,
            Self::Connect(at) => each(at, &|protocol, remote| Act::Connect { protocol, remote })?,
            Self::Listen(at) => vec![Act::Listen { local: at.one()? }],
            Self::Multicast(group) => vec![Act::Multicast { group: group.one()? }],
            Self::Raw(Medium { access, interface }) => {
                let interface = interface.as_deref();
                accesses(*access).map(|access| Act::Raw { interface, access }).collect()
            }
            Self::Packet(Medium { access, interface }) => {
                let interface = interface.as_deref();
                accesses(*access).map(|access| Act::Packet { interface, access }).collect()
            }
            Self::Inspect => vec![Act::Inspect],
            Self::Administer => vec![Act::Administer],
        })
    }
}

fn accesses(named: Option<Access>) -> impl Iterator<Item = Access> {
    Access::ALL.into_iter().filter(move |access| named.is_none_or(|named| named == *access))
}

impl Endpoint {
    /// The only address and port that it covers; every address stands for the wildcard.
    fn one(&self) -> Option<SocketAddr> {
        let (first, last) = self.ports;
        let icmp = self.protocol == Some(Protocol::Icmp);
        let port = if icmp { Some(0) } else { (first == last).then_some(first) };
        Some(SocketAddr::new(self.network.one()?, port?))
    }
}

/// Addresses and ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// `None`: any.
    pub protocol: Option<Protocol>,
    pub network: Network,
    /// First and last.
    pub ports: (u16, u16),
}

/// Interfaces, and what is done with what passes there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Medium {
    /// `None`: all of them.
    pub access: Option<Access>,
    /// `None`: every one.
    pub interface: Option<String>,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    File {
        file: String,
        /// Counted from 1.
        line: u32,
    },
    /// Added at run time.
    Added,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Added => write!(f, "added at run time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_said_has_to_fit() {
        let subject = Subject {
            user: 1000,
            group: 1000,
            groups: &[4, 27],
            executable: Some("/usr/bin/x"),
            cgroup: Some("/system.slice/x.service"),
        };
        let nothing = Who::default();
        let cases = [
            (Who::default(), true),
            (Who { user: Some(1000), ..nothing.clone() }, true),
            (Who { user: Some(0), ..nothing.clone() }, false),
            (Who { group: Some(27), ..nothing.clone() }, true),
            (Who { group: Some(1000), ..nothing.clone() }, true),
            (Who { group: Some(5), ..nothing.clone() }, false),
            (Who { user: Some(1000), group: Some(5), ..nothing.clone() }, false),
            (Who { executable: Some("/usr/bin/x".into()), ..nothing.clone() }, true),
            (Who { executable: Some("/usr/bin".into()), ..nothing.clone() }, false),
            (Who { cgroup: Some("/".into()), ..nothing.clone() }, true),
            (Who { cgroup: Some("/system.slice".into()), ..nothing.clone() }, true),
            (Who { cgroup: Some("/system.slice/x.service".into()), ..nothing.clone() }, true),
            (Who { cgroup: Some("/system".into()), ..nothing.clone() }, false),
            (Who { zone: Some("vault".into()), ..nothing.clone() }, true),
            (Who { zone: Some("public".into()), ..nothing }, false),
        ];
        for (who, expected) in cases {
            assert_eq!(who.fits(&subject, "vault"), expected, "{who:?}");
        }
        let unknown = Subject { executable: None, cgroup: None, ..subject };
        let everything = Who { cgroup: Some("/".into()), ..Who::default() };
        assert!(!everything.fits(&unknown, "vault"));
    }
}
