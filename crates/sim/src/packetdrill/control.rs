//! Control messages: what recvmsg() says beside bytes, and the error queue.

use super::{
    Fault,
    calls::{Arguments, Descriptor, Outcome, Program},
    machine::{Machine, START},
    message::{Transfer, field, names},
    script::Expression,
};
use narrows_stack::{
    Reply, Request, SocketId,
    tcp::{
        State,
        notices::{Notice, Watch},
    },
    time::Duration,
};

/// What a socket tells of its octets, as its program has asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports {
    /// SO_ZEROCOPY
    pub zero_copy: bool,
    /// Calls that were told of so far.
    zero_copies: u32,
    /// SO_TIMESTAMPING's events.
    pub stamps: Option<Stamps>,
    /// TCP_INQ
    pub queue: bool,
    /// Taken from the engine, and not yet by the program.
    waiting: Vec<Report>,
}

/// What SO_TIMESTAMPING asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    pub watch: Watch,
    /// SOF_TIMESTAMPING_OPT_ID: each says which octet it is about, counted from here.
    pub from: Option<u64>,
    /// SOF_TIMESTAMPING_OPT_TSONLY: without the packet.
    pub only: bool,
}

/// One entry of the error queue.
#[derive(Clone, Debug)]
enum Report {
    /// Calls `first..=last` were copied, and nothing of them is left.
    Copied {
        first: u32,
        last: u32,
    },
    Stamp(Notice),
}

/// Bits of the tags that tell both kinds apart.
const ZERO_COPY: u32 = 1 << 31;

/// The kinds in SO_EE_ORIGIN_TIMESTAMPING, by Linux's names.
const STAMP_NAMES: [(Watch, &str); 3] = [
    (Watch::SCHEDULED, "SCM_TSTAMP_SCHED"),
    (Watch::SENT, "SCM_TSTAMP_SND"),
    (Watch::ACKNOWLEDGED, "SCM_TSTAMP_ACK"),
];

/// The program wrote on the socket: what is to be told of that.
pub(super) fn wrote(reports: &mut Reports, machine: &mut Machine, socket: SocketId, copied: bool) {
    let sent =
        machine.info(socket).ok().and_then(|info| info.tcp.map(|tcp| (info.send_queue, tcp)));
    let mut watch = |tag, watch| {
        // A connection that is gone has nothing to tell.
        let _ = machine.request(Request::Watch { socket, tag, watch });
    };
    if copied && reports.zero_copy {
        watch(ZERO_COPY | reports.zero_copies, Watch::RELEASED);
        reports.zero_copies += 1;
    }
    if let (Some(stamps), Some((queued, tcp))) = (reports.stamps, sent) {
        let octets = tcp.bytes_acknowledged + queued as u64;
        let tag = stamps.from.map_or(0, |from| octets.saturating_sub(from + 1));
        watch(tag as u32 & !ZERO_COPY, stamps.watch);
    }
}

/// Octets that were queued on the socket so far.
pub(super) fn octets(machine: &mut Machine, socket: SocketId) -> u64 {
    let info = machine.info(socket).ok();
    info.and_then(|info| info.tcp.map(|tcp| tcp.bytes_acknowledged + info.send_queue as u64))
        .unwrap_or(0)
}

/// Takes what the engine has to tell; neighbors of one kind become one, as on Linux.
pub(super) fn collect(reports: &mut Reports, machine: &mut Machine, socket: SocketId) -> usize {
    let mut news = 0;
    while let Ok(Reply::Notice(Some(notice))) = machine.request(Request::TakeNotice { socket }) {
        news += 1;
        if notice.tag & ZERO_COPY == 0 {
            reports.waiting.push(Report::Stamp(notice));
            continue;
        }
        let number = notice.tag & !ZERO_COPY;
        match reports.waiting.last_mut() {
            Some(Report::Copied { last, .. }) if *last + 1 == number => *last = number,
            _ => reports.waiting.push(Report::Copied { first: number, last: number }),
        }
    }
    news
}

impl Reports {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// `recvmsg(4, {…}, MSG_ERRQUEUE)`
pub(super) fn error_queue(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
    transfer: &Transfer<'_>,
) -> Result<Outcome, Fault> {
    let tolerance = program.tolerance;
    let socket = program.socket_of(arguments)?;
    let report = program.descriptor(arguments, |it| {
        collect(&mut it.reports, machine, socket);
        (!it.reports.is_empty()).then(|| it.reports.waiting.remove(0))
    })?;
    let Some(report) = report else { return Ok(Outcome::Failed("EAGAIN")) };
    let stamps = program.descriptor(arguments, |it| it.reports.stamps)?;
    let mut expected = transfer.control.unwrap_or_default().iter();
    if let Report::Stamp(notice) = &report {
        let message = expected.next().ok_or_else(|| missing(arguments, "SCM_TIMESTAMPING"))?;
        check_stamp(arguments, message, notice, tolerance)?;
    }
    let message = expected.next().ok_or_else(|| missing(arguments, "an extended error"))?;
    check_extended(arguments, message, &report)?;
    if let Some(flags) = &transfer.message_flags {
        let packet = matches!(report, Report::Stamp(_)) && !stamps.is_some_and(|it| it.only);
        let came = if packet { vec!["MSG_ERRQUEUE", "MSG_TRUNC"] } else { vec!["MSG_ERRQUEUE"] };
        same_names(arguments, "msg_flags", flags, &came)?;
    }
    Ok(Outcome::Returned(0))
}

fn missing(arguments: &Arguments<'_>, what: &str) -> Fault {
    Fault::mismatch(arguments.line, "no control message", format!("{what} came"))
}

fn same_names(
    arguments: &Arguments<'_>,
    what: &str,
    expected: &[&str],
    came: &[&str],
) -> Result<(), Fault> {
    let sorted = |names: &[&str]| {
        let mut names: Vec<&str> = names.iter().copied().filter(|it| !it.is_empty()).collect();
        names.sort_unstable();
        names.join("|")
    };
    let (expected, came) = (sorted(expected), sorted(came));
    if expected == came {
        return Ok(());
    }
    Err(Fault::mismatch(arguments.line, format!("{what} {expected}"), format!("they are {came}")))
}

fn data<'a>(arguments: &Arguments<'_>, message: &'a Expression) -> Result<&'a Expression, Fault> {
    match message {
        Expression::Record(fields) => field(fields, "cmsg_data"),
        _ => None,
    }
    .ok_or_else(|| arguments.syntax(1, "control messages with cmsg_data=…"))
}

/// The names of level and type of a message.
fn kind(message: &Expression) -> Vec<&str> {
    let Expression::Record(fields) = message else { return Vec::new() };
    ["cmsg_level", "cmsg_type"]
        .iter()
        .flat_map(|name| field(fields, name).map(names).unwrap_or_default())
        .collect()
}

fn check_stamp(
    arguments: &Arguments<'_>,
    message: &Expression,
    notice: &Notice,
    tolerance: Duration,
) -> Result<(), Fault> {
    same_names(arguments, "a message", &kind(message), &["SOL_SOCKET", "SCM_TIMESTAMPING"])?;
    let Expression::Record(fields) = data(arguments, message)? else {
        return Err(arguments.syntax(1, "{scm_sec=…, scm_nsec=…}"));
    };
    let number = |name| match field(fields, name) {
        Some(Expression::Number(number)) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    };
    let expected = Duration::new(number("scm_sec"), 0) + Duration::from_nanos(number("scm_nsec"));
    let came = notice.at.since(START);
    if came.abs_diff(expected) <= tolerance {
        return Ok(());
    }
    let came = format!("it is of {came:?}");
    Err(Fault::mismatch(arguments.line, format!("a timestamp of {expected:?}"), came))
}

fn check_extended(
    arguments: &Arguments<'_>,
    message: &Expression,
    report: &Report,
) -> Result<(), Fault> {
    let Expression::Record(fields) = data(arguments, message)? else {
        return Err(arguments.syntax(1, "{ee_errno=…, ee_origin=…, …}"));
    };
    let stamp = |notice: &Notice| STAMP_NAMES.iter().find(|(what, _)| *what == notice.what);
    let came: [(&str, String); 6] = match report {
        Report::Copied { first, last } => [
            ("ee_errno", "0".into()),
            ("ee_origin", "SO_EE_ORIGIN_ZEROCOPY".into()),
            ("ee_type", "0".into()),
            ("ee_code", "SO_EE_CODE_ZEROCOPY_COPIED".into()),
            ("ee_info", first.to_string()),
            ("ee_data", last.to_string()),
        ],
        Report::Stamp(notice) => [
            ("ee_errno", "ENOMSG".into()),
            ("ee_origin", "SO_EE_ORIGIN_TIMESTAMPING".into()),
            ("ee_type", "0".into()),
            ("ee_code", "0".into()),
            ("ee_info", stamp(notice).map_or(String::new(), |(_, name)| (*name).into())),
            ("ee_data", notice.tag.to_string()),
        ],
    };
    for (name, came) in came {
        let expected = match field(fields, name) {
            Some(Expression::Number(number)) => number.to_string(),
            Some(Expression::Word(word)) => word.clone(),
            _ => continue,
        };
        if expected != came {
            let expected = format!("{name} of {expected}");
            return Err(Fault::mismatch(arguments.line, expected, format!("it is {came}")));
        }
    }
    Ok(())
}

/// What recvmsg() says beside bytes: how many more there are, if TCP_INQ asks for it.
pub(super) fn received(
    descriptor: &Descriptor,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
    transfer: &Transfer<'_>,
) -> Result<(), Fault> {
    let Some(messages) = transfer.control else { return Ok(()) };
    let Some(message) = messages.first() else { return Ok(()) };
    if !kind(message).contains(&"TCP_CM_INQ") || !descriptor.reports.queue {
        return Err(arguments.unsupported("such a control message"));
    }
    let info = machine.info(descriptor.socket).ok();
    let info = info.ok_or_else(|| missing(arguments, "nothing"))?;
    // Linux: the end of the stream looks like one more octet.
    let finished = matches!(
        info.state,
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
    );
    let came = info.receive_queue as i64 + i64::from(info.receive_queue == 0 && finished);
    match data(arguments, message)? {
        Expression::Number(expected) if *expected == came => Ok(()),
        expected => {
            let expected = format!("TCP_CM_INQ of {expected:?}");
            Err(Fault::mismatch(arguments.line, expected, format!("it is {came}")))
        }
    }
}
