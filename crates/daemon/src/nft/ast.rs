//! What a ruleset is made of, as written: names are names, and values know how they were meant.

use super::{
    selector::Selector,
    value::{Type, Value},
};
use narrows_stack::filter::state::{Counter, Quota};
use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Family {
    Ip,
    Inet,
    Arp,
    Netdev,
}

impl Family {
    pub(super) const NAMES: [(&'static str, Self); 4] =
        [("ip", Self::Ip), ("inet", Self::Inet), ("arp", Self::Arp), ("netdev", Self::Netdev)];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, family)| *family == self).map_or("", |(name, _)| name)
    }
}

pub(crate) type TableKey = (Family, String);

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ruleset {
    pub tables: BTreeMap<TableKey, Table>,
    /// The last that was given to anything; never given again.
    pub last_handle: u64,
}

impl Ruleset {
    /// As nft lists them: in the order in which they were made.
    pub(super) fn listed(&self) -> Vec<(&TableKey, &Table)> {
        let mut tables: Vec<_> = self.tables.iter().collect();
        tables.sort_by_key(|(_, table)| table.handle);
        tables
    }

    pub(super) fn new_handle(&mut self) -> u64 {
        self.last_handle += 1;
        self.last_handle
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub handle: u64,
    pub objects: BTreeMap<ObjectKey, Object>,
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
    /// All in the order in which they were made, as nft lists them.
    pub object_order: Vec<ObjectKey>,
    pub set_order: Vec<String>,
    pub chain_order: Vec<String>,
    /// Ignored by packets.
    pub dormant: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chain {
    pub handle: u64,
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

/// Of a chain that packets come to by themselves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Base {
    /// `type nat`.
    pub nat: bool,
    pub hook: Hook,
    pub devices: Vec<String>,
    pub priority: i32,
    pub accept: bool,
}

/// What nft calls some priorities.
pub(super) const PRIORITIES: [(&str, i32); 6] = [
    ("raw", -300),
    ("mangle", -150),
    ("dstnat", -100),
    ("filter", 0),
    ("security", 50),
    ("srcnat", 100),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
    Egress,
}

impl Hook {
    pub(super) const NAMES: [(&'static str, Self); 7] = [
        ("ingress", Self::Ingress),
        ("prerouting", Self::Prerouting),
        ("input", Self::Input),
        ("forward", Self::Forward),
        ("output", Self::Output),
        ("postrouting", Self::Postrouting),
        ("egress", Self::Egress),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, hook)| *hook == self).map_or("", |(name, _)| name)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rule {
    /// By which it can be deleted.
    pub handle: u64,
    pub statements: Vec<Statement>,
    pub comment: Option<String>,
}

/// What is compared, or looked up: selectors side by side.
pub(crate) type Key = Vec<Selector>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Match(Match),
    VerdictMap {
        key: Key,
        map: MapSource,
    },
    Verdict(Verdict),
    Stateful(Stateful),
    /// What a table keeps under a name.
    Object(ObjectKind, String),
    Log(Log),
    SetMark {
        to: MarkOf,
        mark: Mark,
    },
    Untrack,
    Translate(Translate),
    /// `add @set { key }` and the like.
    SetChange {
        change: SetChange,
        set: String,
        key: Key,
        timeout: Option<Duration>,
    },
    Reject(Reject),
    Queue(Queue),
}

/// What changes while packets pass, with what it begins from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stateful {
    Counter(Counter),
    Limit(Limit),
    Quota { quota: Quota, over: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub amount: u64,
    pub interval: Duration,
    pub burst: u64,
    pub of_bytes: bool,
    pub over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ObjectKind {
    Counter,
    Quota,
    Limit,
}

impl ObjectKind {
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("counter", Self::Counter), ("quota", Self::Quota), ("limit", Self::Limit)];

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind)
    }

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A counter and a quota may have one name.
pub(crate) type ObjectKey = (ObjectKind, String);

/// What rules of a table share by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Object {
    pub handle: u64,
    pub state: Stateful,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub prefix: String,
    pub level: Level,
    /// The kernel gives what has one to the programs that listen to it, not to its log; here it is a
    /// word of the line.
    pub group: Option<u16>,
}

/// syslog(3)'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    #[default]
    Warning,
    Notice,
    Info,
    Debug,
}

impl Level {
    pub(super) const NAMES: [(&'static str, Self); 8] = [
        ("emerg", Self::Emergency),
        ("alert", Self::Alert),
        ("crit", Self::Critical),
        ("err", Self::Error),
        ("warn", Self::Warning),
        ("notice", Self::Notice),
        ("info", Self::Info),
        ("debug", Self::Debug),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// Whoever inspects one of these queues decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Queue {
    pub first: u16,
    pub last: u16,
    pub bypass: bool,
    /// Flows are shared among the queues in any case.
    pub fanout: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Match {
    pub key: Key,
    /// Of a single selector: the bits that are compared.
    pub mask: Option<u128>,
    pub operator: Operator,
    pub right: Right,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// As if nothing, or `==`, was written; of flags alone: any of them.
    Implicit,
    /// `!`, of flags: none of them.
    Not,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Operator {
    pub(super) const NAMES: [(&'static str, Self); 7] = [
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        ("<=", Self::AtMost),
        (">", Self::Greater),
        (">=", Self::AtLeast),
        ("!", Self::Not),
    ];
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Right {
    Value(Value),
    /// `{ … }`, each with as many values as the key has selectors.
    Values(Vec<Vec<Value>>),
    Set(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MapSource {
    Named(String),
    Inline(Vec<(Vec<Value>, Verdict)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
    Continue,
    Return,
    Jump(String),
    Goto(String),
}

/// `snat`, `dnat`, `masquerade` and `redirect`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Translate {
    pub kind: TranslateKind,
    /// `ip` was written, which nft keeps before a map that it knows by name.
    pub family: bool,
    pub to: Target,
    pub ports: Option<Ports>,
    pub random: bool,
    pub fully_random: bool,
    pub persistent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TranslateKind {
    Snat,
    Dnat,
    Masquerade,
    Redirect,
}

impl TranslateKind {
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("snat", Self::Snat),
        ("dnat", Self::Dnat),
        ("masquerade", Self::Masquerade),
        ("redirect", Self::Redirect),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The hooks whose chains can have it.
    pub(super) fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Snat => &[Hook::Postrouting, Hook::Input],
            Self::Masquerade => &[Hook::Postrouting],
            Self::Dnat | Self::Redirect => &[Hook::Prerouting, Hook::Output],
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Target {
    /// What the statement says by itself.
    Own,
    Addresses(Ipv4Addr, Ipv4Addr),
    /// `port`: the map has an address and a port.
    Map {
        key: Key,
        map: ValueMap,
        port: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ports {
    Range(u16, u16),
    /// `:tcp dport map …`
    Map {
        key: Key,
        map: ValueMap,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ValueMap {
    Named(String),
    Inline(Vec<(Vec<Value>, Data)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkOf {
    Packet,
    /// `ct mark`.
    Flow,
}

/// A mark & `and` ^ `xor`, or what a map says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mark {
    Bits { from: MarkOf, and: u32, xor: u32 },
    Map { key: Key, map: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetChange {
    Add,
    Update,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reject {
    /// A code of ICMP's "destination unreachable".
    Icmp(u8),
    TcpReset,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Set {
    pub handle: u64,
    pub key: Vec<Type>,
    pub holds: Holds,
    pub intervals: bool,
    pub timeouts: bool,
    pub dynamic: bool,
    pub constant: bool,
    pub auto_merge: bool,
    /// Of elements that say nothing else.
    pub timeout: Option<Duration>,
    pub size: Option<u32>,
    pub elements: Vec<Element>,
}

/// What a set has for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holds {
    #[default]
    Nothing,
    Verdicts,
    Values(Type),
    Pairs(Type, Type),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Element {
    pub key: Vec<Value>,
    pub data: Data,
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Data {
    Nothing,
    Verdict(Verdict),
    Value(Value),
    Pair(Value, Value),
}
