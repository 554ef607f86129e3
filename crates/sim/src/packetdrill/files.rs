//! Pipes and files, as far as bytes go between them and sockets: pipe(), open(), splice(), sendfile().
//!
//! Scripts look at how many bytes move, and never at which: so a pipe is a number, and a file as long
//! as it is read.

use super::{
    Fault,
    calls::{Arguments, Outcome, Program, would_block},
    machine::Machine,
    script::Expression,
};
use narrows_stack::Error;

/// What a pipe holds on Linux.
const PIPE_CAPACITY: usize = 65_536;

/// What a descriptor is that is no socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Other {
    File,
    /// Both ends of a pipe are the same here, by the number of the one to read from.
    Pipe(i64),
}

/// `pipe([5, 6]) = 0`
pub(super) fn pipe(program: &mut Program, arguments: &Arguments<'_>) -> Result<Outcome, Fault> {
    let [Expression::Number(read), Expression::Number(write)] = arguments.list(0)? else {
        return Err(arguments.syntax(0, "two numbers in brackets"));
    };
    program.others.insert(*read, Other::Pipe(*read));
    program.others.insert(*write, Other::Pipe(*read));
    program.pipes.insert(*read, 0);
    Ok(Outcome::Returned(0))
}

/// `open("/tmp/testfile", O_RDONLY) = 5`
pub(super) fn open(program: &mut Program, arguments: &Arguments<'_>) -> Result<Outcome, Fault> {
    let number = arguments.new_descriptor(program)?;
    program.others.insert(number, Other::File);
    Ok(Outcome::Returned(number))
}

/// `splice(4, NULL, 6, NULL, 99, 0) = 99`
pub(super) fn splice(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let (from, to) = (arguments.number(0)?, arguments.number(2)?);
    let length = usize::try_from(arguments.number(4)?).unwrap_or(0);
    let flags = arguments.words(5)?;
    let patient = !flags.contains(&"SPLICE_F_NONBLOCK");
    let pipe_of = |number| match program.others.get(&number) {
        Some(Other::Pipe(pipe)) => Some(*pipe),
        _ => None,
    };
    match (pipe_of(from), pipe_of(to)) {
        (None, Some(pipe)) => receive(program, machine, (from, pipe), length, patient),
        (Some(pipe), None) => {
            let held = program.pipes.get(&pipe).copied().unwrap_or(0);
            let outcome = send(program, machine, to, length.min(held), patient)?;
            if let (Outcome::Returned(moved), Some(held)) = (&outcome, program.pipes.get_mut(&pipe))
            {
                *held -= usize::try_from(*moved).unwrap_or(0).min(*held);
            }
            Ok(outcome)
        }
        _ => Ok(Outcome::Failed("EINVAL")),
    }
}

/// From a socket into a pipe.
fn receive(
    program: &mut Program,
    machine: &mut Machine,
    (from, pipe): (i64, i64),
    length: usize,
    patient: bool,
) -> Result<Outcome, Fault> {
    let Some(descriptor) = program.descriptors.get(&from) else {
        return Ok(Outcome::Failed("EBADF"));
    };
    let (socket, blocking) = (descriptor.socket, descriptor.blocking && patient);
    let Some(held) = program.pipes.get_mut(&pipe) else { return Ok(Outcome::Failed("EBADF")) };
    let room = PIPE_CAPACITY.saturating_sub(*held).min(length);
    let urgent = machine.info(socket).ok().and_then(|info| info.tcp?.urgent_offset);
    // As on Linux, the urgent octet is not spliced, nor what is beyond it.
    let room = urgent.map_or(room, |offset| room.min(offset as usize));
    if urgent == Some(0) {
        return Ok(Outcome::Returned(0));
    }
    let now = machine.now;
    let result = machine
        .shard
        .receive_with(now, socket, room, |parts| parts.iter().map(|part| part.len()).sum());
    Ok(match result {
        Ok(moved) => {
            *held += moved;
            Outcome::Returned(moved as i64)
        }
        Err(Error::WouldBlock) => would_block(blocking),
        Err(error) => Outcome::Failed(super::calls::errno(error)),
    })
}

/// From a pipe or a file into a socket.
fn send(
    program: &mut Program,
    machine: &mut Machine,
    to: i64,
    length: usize,
    patient: bool,
) -> Result<Outcome, Fault> {
    let Some(descriptor) = program.descriptors.get(&to) else {
        return Ok(Outcome::Failed("EBADF"));
    };
    let (socket, blocking) = (descriptor.socket, descriptor.blocking && patient);
    let now = machine.now;
    let result = machine
        .shard
        .send_with(now, socket, length, |parts| parts.iter().map(|part| part.len()).sum());
    Ok(match result {
        Ok(0) if length > 0 => would_block(blocking),
        Ok(moved) => Outcome::Returned(moved as i64),
        Err(error) => Outcome::Failed(super::calls::errno(error)),
    })
}

/// `sendfile(4, 5, [0], 5) = 5`
pub(super) fn sendfile(
    program: &mut Program,
    machine: &mut Machine,
    arguments: &Arguments<'_>,
) -> Result<Outcome, Fault> {
    let (to, from) = (arguments.number(0)?, arguments.number(1)?);
    if program.others.get(&from) != Some(&Other::File) {
        return Ok(Outcome::Failed("EBADF"));
    }
    let length = usize::try_from(arguments.number(3)?).unwrap_or(0);
    send(program, machine, to, length, true)
}
