//! epoll(7): sets of descriptors, by level or by edge.
//!
//! An edge is a wake-up of the socket, as on Linux: text came, room came, the state changed, the error
//! queue got an entry. The engine's events say when; entries of the error queue are looked at here.

use super::{
    Fault,
    calls::{Arguments, Outcome, Program, would_block},
    machine::Machine,
    message::{field, names},
    poll,
    script::Expression,
};

/// One descriptor in a set.
#[derive(Clone, Debug)]
pub(super) struct Member {
    number: i64,
    /// Names of events, in epoll's spelling.
    asked: Vec<String>,
    edge: bool,
    once: bool,
    /// By edge: something happened since it was last told.
    woken: bool,
    /// Once, and told.
    disarmed: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    members: Vec<Member>,
}

impl Set {
    /// Something happened to a descriptor's socket.
    pub(super) fn wake(&mut self, number: i64) {
        self.members.iter_mut().filter(|it| it.number == number).for_each(|it| it.woken = true);
    }

    pub(super) fn forget(&mut self, number: i64) {
        self.members.retain(|it| it.number != number);
    }
}

/// `epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLOUT|EPOLLET, fd=4}) = 0`
pub(super) fn control(program: &mut Program, arguments: &Arguments<'_>) -> Result<Outcome, Fault> {
    let (operation, number) = (arguments.words(1)?, arguments.number(2)?);
    if !program.descriptors.contains_key(&number) {
        return Ok(Outcome::Failed("EBADF"));
    }
    let set = set_of(program, arguments)?;
    let known = set.members.iter().position(|it| it.number == number);
    match (operation.first(), known) {
        (Some(&"EPOLL_CTL_ADD"), None) => set.members.push(member(arguments, number)?),
        (Some(&"EPOLL_CTL_ADD"), Some(_)) => return Ok(Outcome::Failed("EEXIST")),
        (Some(&"EPOLL_CTL_MOD"), Some(at)) => set.members[at] = member(arguments, number)?,
        (Some(&"EPOLL_CTL_DEL"), Some(_)) => set.forget(number),
        (Some(&("EPOLL_CTL_MOD" | "EPOLL_CTL_DEL")), None) => {
            return Ok(Outcome::Failed("ENOENT"));
        }
        _ => return Ok(Outcome::Failed("EINVAL")),
    }
    Ok(Outcome::Returned(0))
}

fn set_of<'a>(program: &'a mut Program, arguments: &Arguments<'_>) -> Result<&'a mut Set, Fault> {
    let number = arguments.number(0)?;
    let set = program.sets.get_mut(&number);
    set.ok_or_else(|| Fault::syntax(arguments.line, format!("{number} is no epoll descriptor")))
}

fn member(arguments: &Arguments<'_>, number: i64) -> Result<Member, Fault> {
    let Some(Expression::Record(fields)) = arguments.get(3) else {
        return Err(arguments.syntax(3, "{events=…, fd=…}"));
    };
    let asked = field(fields, "events").map(names).unwrap_or_default();
    Ok(Member {
        number,
        edge: asked.contains(&"EPOLLET"),
        once: asked.contains(&"EPOLLONESHOT"),
        asked: asked.into_iter().map(str::to_owned).collect(),
        woken: true,
        disarmed: false,
    })
}

/// `epoll_wait(5, {events=EPOLLOUT, fd=4}, 1, 0) = 1`
pub(super) fn wait(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let mut ready = Vec::new();
    let members = set_of(program, arguments)?.members.clone();
    for member in members.iter().filter(|it| !it.disarmed && (it.woken || !it.edge)) {
        let came = events(program, machine, member);
        if !came.is_empty() {
            ready.push((member.number, came));
        }
    }
    let limit = usize::try_from(arguments.number(2)?).unwrap_or(0);
    ready.truncate(limit);
    if ready.is_empty() && arguments.number(3)? != 0 {
        return Ok(would_block(true));
    }
    for member in &mut set_of(program, arguments)?.members {
        if ready.iter().any(|(number, _)| *number == member.number) {
            member.woken = false;
            member.disarmed = member.once;
        } else if member.edge {
            // There was nothing to tell of what happened.
            member.woken = false;
        }
    }
    if let Some((number, came)) = ready.first() {
        check(arguments, *number, came)?;
    }
    Ok(Outcome::Returned(ready.len() as i64))
}

/// Which of a member's events are there.
fn events(program: &mut Program, machine: &mut Machine, member: &Member) -> Vec<String> {
    let Some(descriptor) = program.descriptors.get_mut(&member.number) else { return Vec::new() };
    let came = poll::events(machine, descriptor).into_iter();
    came.map(|name| name.replacen("POLL", "EPOLL", 1))
        .filter(|name| member.asked.contains(name) || name == "EPOLLERR" || name == "EPOLLHUP")
        .collect()
}

/// Only the first is in the script.
fn check(arguments: &Arguments<'_>, number: i64, came: &[String]) -> Result<(), Fault> {
    let record = match arguments.get(1) {
        Some(Expression::List(list)) => list.first(),
        other => other,
    };
    let Some(Expression::Record(fields)) = record else {
        return Err(arguments.syntax(1, "{events=…, fd=…}"));
    };
    let mut expected = field(fields, "events").map(names).unwrap_or_default();
    let mut came: Vec<&str> = came.iter().map(String::as_str).collect();
    expected.sort_unstable();
    came.sort_unstable();
    let named = match field(fields, "fd") {
        Some(Expression::Number(wanted)) => *wanted == number,
        _ => true,
    };
    if expected == came && named {
        return Ok(());
    }
    Err(Fault::mismatch(
        arguments.line,
        format!("the events {}", expected.join("|")),
        format!("they are {} of {number}", came.join("|")),
    ))
}
