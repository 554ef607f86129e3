//! poll(): which of a socket's events are there.

use super::{
    Fault,
    calls::{Arguments, Descriptor, Outcome, Program},
    control,
    machine::Machine,
    script::Expression,
};
use narrows_stack::tcp::State;

/// `poll([{fd=4, events=POLLOUT, revents=POLLOUT}], 1, 1000) = 1`
pub(super) fn poll(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let mut ready = 0;
    let mut wrong = None;
    for record in arguments.list(0)? {
        let Expression::Record(fields) = record else {
            return Err(arguments.syntax(0, "a list of {fd=…, events=…, revents=…}"));
        };
        let names = |wanted: &str| names(fields, wanted);
        let number = fields.iter().find_map(|field| match field {
            Expression::Field(name, value) if name == "fd" => match **value {
                Expression::Number(number) => Some(number),
                _ => None,
            },
            _ => None,
        });
        let descriptor = number.and_then(|number| program.descriptors.get_mut(&number));
        let descriptor =
            descriptor.ok_or_else(|| arguments.syntax(0, "about an open descriptor"))?;
        let asked = names("events");
        let mut came = events(machine, descriptor);
        came.retain(|event| asked.contains(event) || matches!(*event, "POLLERR" | "POLLHUP"));
        ready += i64::from(!came.is_empty());
        let mut expected = names("revents");
        expected.sort_unstable();
        came.sort_unstable();
        if expected != came {
            wrong = Some((expected.join("|"), came.join("|")));
        }
    }
    match wrong {
        _ if ready == 0 && arguments.number(2)? != 0 => Ok(Outcome::Blocked),
        None => Ok(Outcome::Returned(ready)),
        Some((expected, came)) => Err(Fault::mismatch(
            arguments.line,
            format!("the events {expected}"),
            format!("they are {came}"),
        )),
    }
}

/// The names in a field, `|` between.
fn names<'a>(fields: &'a [Expression], wanted: &str) -> Vec<&'a str> {
    let value = fields.iter().find_map(|field| match field {
        Expression::Field(name, value) if name == wanted => Some(&**value),
        _ => None,
    });
    let word = |expression: &'a Expression| match expression {
        Expression::Word(word) => Some(word.as_str()),
        _ => None,
    };
    match value {
        Some(Expression::Or(parts)) => parts.iter().filter_map(word).collect(),
        Some(other) => word(other).into_iter().collect(),
        None => Vec::new(),
    }
}

/// As Linux's tcp_poll() has them.
pub(super) fn events(machine: &mut Machine, descriptor: &mut Descriptor) -> Vec<&'static str> {
    let (socket, deaf, low) = (descriptor.socket, descriptor.deaf, descriptor.low);
    control::collect(&mut descriptor.reports, machine, socket);
    let reported = !descriptor.reports.is_empty();
    let Ok(info) = machine.info(socket) else { return vec!["POLLNVAL"] };
    if info.state == State::Listen {
        return if info.receive_queue > 0 { vec!["POLLIN"] } else { Vec::new() };
    }
    let finished = matches!(
        info.state,
        State::CloseWait | State::LastAck | State::Closing | State::TimeWait | State::Closed
    );
    let shut = matches!(
        info.state,
        State::FinWait1 | State::FinWait2 | State::LastAck | State::Closing | State::TimeWait
    );
    let closed = info.state == State::Closed;
    let failed = closed && machine.shard.pending_error(socket).is_some();
    let open = matches!(info.state, State::Established | State::CloseWait);
    let room = machine.shard.send_room(socket);
    let deferred = machine.shard.is_deferred(socket);
    // Linux: sk_stream_is_writeable().
    let roomy = deferred || open && room > 0 && room >= info.send_queue / 2;
    let mut events = Vec::new();
    let mut put = |there: bool, event| {
        if there {
            events.push(event);
        }
    };
    put(info.receive_queue >= low || finished || deaf, "POLLIN");
    put(roomy || shut || closed, "POLLOUT");
    put(finished || deaf, "POLLRDHUP");
    put(closed || (finished && shut), "POLLHUP");
    put(failed || reported, "POLLERR");
    events
}
