//! What a script says, before anything of it is done.

use narrows_stack::time::Duration;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Script {
    pub options: Vec<ScriptOption>,
    pub events: Vec<Event>,
}

/// `--name=value`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScriptOption {
    pub line: usize,
    pub name: String,
    pub value: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub line: usize,
    pub when: When,
    pub action: Action,
}

/// Times of one event: relative ones count from the event before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct When {
    pub start: Start,
    /// `a...b`: a call that blocks until then.
    pub end: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// `*`
    Any,
    At(Moment),
    /// `a~b`
    Between(Moment, Moment),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Absolute(Duration),
    Relative(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Call(Call),
    /// From the network to the stack.
    Inbound(Packet),
    /// What the stack is expected to send.
    Outbound(Packet),
    Shell(String),
    Code(String),
}

/// A system call and what it must return.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub name: String,
    pub arguments: Vec<Expression>,
    pub result: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// `...`
    Anything,
    Value(i64),
    /// `-1 EAGAIN`
    Errno(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number(i64),
    Word(String),
    Text(String),
    /// `...`
    Any,
    /// `a|b`
    Or(Vec<Expression>),
    /// `[a, b]`
    List(Vec<Expression>),
    /// `{a=1, b=2}`
    Record(Vec<Expression>),
    /// `name=value` in a record.
    Field(String, Box<Expression>),
    /// `name(arguments)`
    Function(String, Vec<Expression>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub ip: IpInfo,
    pub body: Body,
}

/// What the script says of the IP header; `None`: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct IpInfo {
    /// The two lower bits of the TOS field (RFC 3168).
    pub ecn: Option<u8>,
    pub tos: Option<u8>,
    pub ttl: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Tcp(TcpPacket),
    Udp { payload: u32 },
    Icmp(IcmpPacket),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TcpPacket {
    /// As in the header: the nine flags from NS (AE) to FIN.
    pub flags: u16,
    pub sequence: u32,
    pub payload: u32,
    pub acknowledgment: Option<u32>,
    pub window: Option<u16>,
    pub urgent: Option<u16>,
    pub options: TcpOptions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TcpOptions {
    /// `<...>`
    Any,
    These(Vec<TcpOption>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TcpOption {
    EndOfList,
    NoOperation,
    MaximumSegment(u16),
    WindowScale(u8),
    SackPermitted,
    Timestamps {
        value: u32,
        echo: u32,
    },
    Sack(Vec<(u32, u32)>),
    /// RFC 9768: as they stand in the option of that order.
    Counters {
        ect1_first: bool,
        fields: Vec<u32>,
    },
    /// RFC 7413; the experimental form has the kind 254 and a magic number.
    FastOpen {
        cookie: Cookie,
        experimental: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    Bytes(Vec<u8>),
    /// `TFO_COOKIE`: the one that the stack would give the remote host.
    Valid,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IcmpPacket {
    pub kind: u8,
    pub code: u8,
    pub mtu: Option<u16>,
    /// Of the quoted segment: first octet and length of its text.
    pub quoted: (u32, u32),
}

/// `FSRPAUEWN` as bits of the header (RFC 9293 §3.1).
pub(super) mod flag {
    pub(in super::super) const FIN: u16 = 1;
    pub(in super::super) const SYN: u16 = 2;
    pub(in super::super) const RST: u16 = 4;
    pub(in super::super) const PSH: u16 = 8;
    pub(in super::super) const ACK: u16 = 16;
    pub(in super::super) const URG: u16 = 32;
    pub(in super::super) const ECE: u16 = 64;
    pub(in super::super) const CWR: u16 = 128;
    pub(in super::super) const AE: u16 = 256;
}
