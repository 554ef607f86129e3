//! `narrows dump`: frames as they pass, in tcpdump(1)'s words, at any stage of their way; printed, or
//! written to pcapng files that say with each frame where it was and why it was dropped.
//!
//! Where it differs from tcpdump: files are pcapng; with `-G` they are numbered like those of `-C`; names
//! are never looked up; times are UTC's.

mod output;

use crate::{arguments::Dump, report};
use anyhow::{Context, Result, bail};
use narrows_capture::{
    file::{Packet, Reader},
    filter::{self, Filter},
    line::{self, Printer},
};
use narrows_client::Stack;
use narrows_ipc::see::{Direction, Seen, Stage, Told, WatchOptions};
use narrows_testbed::Interrupt;
use output::{Files, Limits};
use std::{
    fmt,
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
    time::Duration,
};

/// How long a wait for packets goes on before it looks for Ctrl-C.
const GLANCE: Duration = Duration::from_millis(50);

/// What is kept of a frame unless `-s` says otherwise, as with tcpdump.
const SNAP: u32 = 262_144;

pub fn execute(
    options: &Dump,
    ask: impl FnOnce() -> Result<Stack, narrows_client::OpenError>,
    out: &mut dyn Write,
) -> Result<()> {
    match &options.read {
        Some(file) => read(options, file, out),
        None => watch(options, &ask()?, out),
    }
}

fn watch(options: &Dump, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let interrupt = Interrupt::new().context("can't watch for Ctrl-C")?;
    let interface = interface_number(stack, options.interface.as_deref())?;
    let expression = options.filter.join(" ");
    let filter = (!expression.is_empty()).then(|| filter::compile(&expression)).transpose()?;
    let mut watch = stack.watch(WatchOptions {
        interface,
        filter,
        stages: stages(options)?,
        journeys: false,
        snap: options.snap.filter(|snap| *snap > 0).unwrap_or(SNAP),
    })?;
    let mut sink = Sink::new(options, interface == 0)?;
    eprintln!("narrows: watching, Ctrl-C ends it");
    let (mut count, mut lost) = (0_u64, 0_u64);
    while !interrupt.is_raised() && options.count.is_none_or(|most| count < most) {
        match watch.next(GLANCE)? {
            None => sink.flush(out)?,
            Some(Told::Frame { packet, stage, reason }) => {
                count += 1;
                sink.take(out, &packet, Some(stage), reason.as_deref())?;
            }
            Some(Told::Lost(more)) => {
                lost += more;
                sink.lost(more);
            }
            Some(Told::Journey(_)) => {}
        }
    }
    sink.flush(out)?;
    eprintln!(
        "{count} packets captured\n{lost} packets lost, which came too fast for this program"
    );
    Ok(())
}

fn read(options: &Dump, file: &Path, out: &mut dyn Write) -> Result<()> {
    let filter = Filter::new(&options.filter.join(" "))?;
    let name = file.display();
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).with_context(|| format!("can't open {name}"))?),
    };
    let within = || format!("{name}");
    let mut reader = Reader::new(BufReader::new(input)).with_context(within)?;
    let mut sink = Sink::new(options, false)?;
    let mut count = 0;
    while options.count.is_none_or(|most| count < most)
        && let Some(packet) = reader.next_packet().with_context(within)?
    {
        if !filter.takes(&packet.bytes) {
            continue;
        }
        count += 1;
        let Packet { time, length, bytes, .. } = packet;
        let seen = Seen {
            time,
            interface: 1,
            name: String::new(),
            direction: Direction::ToUs,
            user: None,
            length,
            bytes,
        };
        sink.take(out, &seen, None, None)?;
    }
    sink.flush(out)
}

/// 0: every one.
pub fn interface_number(stack: &Stack, name: Option<&str>) -> Result<u32> {
    match name {
        None | Some("any") => Ok(0),
        Some("lo") => Ok(1),
        Some(name) => {
            let links = stack.links()?;
            let found = links.iter().find(|link| link.name == name);
            found.map(|link| link.id).ok_or_else(|| report::no_such_device(name))
        }
    }
}

fn stages(options: &Dump) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for word in &options.stage {
        match Stage::ALL.into_iter().find(|stage| stage.name() == word) {
            Some(stage) if stages.contains(&stage) => {}
            Some(stage) => stages.push(stage),
            None => {
                let names = Stage::ALL.map(Stage::name).join(", ");
                bail!("--stage {word}: there are {names}");
            }
        }
    }
    if options.drops && !stages.contains(&Stage::Drop) {
        stages.push(Stage::Drop);
    }
    if stages.is_empty() {
        stages = vec![Stage::Receive, Stage::Transmit];
    }
    Ok(stages)
}

/// Where frames go: lines, or files.
enum Sink {
    Lines { printer: Box<Printer>, time: Time, named: bool, at_once: bool },
    Files(Box<Files>),
}

/// How the time is printed: `-t` not at all, `-tt` in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    OfDay,
    None,
    Seconds,
}

impl Sink {
    /// `named`: lines begin with the interface.
    fn new(options: &Dump, named: bool) -> Result<Self> {
        if let Some(path) = &options.write {
            let limits = Limits {
                megabytes: options.file_size,
                files: options.files,
                seconds: options.rotate_seconds,
            };
            return Ok(Self::Files(Box::new(Files::create(
                path,
                limits,
                options.packet_buffered,
            )?)));
        }
        let dump = match (options.hex, options.hex_ascii, options.ascii) {
            (0, 0, 0) => None,
            (_, 0, 0) => Some(line::Dump::Hex),
            (_, 0, _) => Some(line::Dump::Ascii),
            (..) => Some(line::Dump::HexAscii),
        };
        let printer = Printer::new(line::Options {
            link: options.link,
            verbose: options.verbose > 0,
            quiet: options.quiet,
            absolute: options.absolute,
            dump,
            dump_link: options.hex.max(options.hex_ascii).max(options.ascii) > 1,
        });
        let time = match options.no_time {
            0 => Time::OfDay,
            1 => Time::None,
            _ => Time::Seconds,
        };
        let at_once = options.line_buffered;
        Ok(Self::Lines { printer: Box::new(printer), time, named, at_once })
    }

    fn take(
        &mut self,
        out: &mut dyn Write,
        packet: &Seen,
        stage: Option<Stage>,
        reason: Option<&str>,
    ) -> Result<()> {
        match self {
            Self::Files(files) => files.write(packet, stage, reason)?,
            Self::Lines { printer, time, named, at_once } => {
                match time {
                    Time::OfDay => write!(out, "{} ", OfDay(packet.time))?,
                    Time::None => {}
                    Time::Seconds => {
                        let (seconds, nanos) =
                            (packet.time / 1_000_000_000, packet.time % 1_000_000_000);
                        write!(out, "{seconds}.{:06} ", nanos / 1000)?;
                    }
                }
                if *named {
                    write!(out, "{:<5} {:<3} ", packet.name, letters(packet.direction))?;
                }
                write!(out, "{}", printer.describe(&packet.bytes, packet.length as usize))?;
                match (stage, reason) {
                    (_, Some(reason)) => writeln!(out, " [dropped: {reason}]")?,
                    (Some(stage @ (Stage::Filter | Stage::Reassembled)), None) => {
                        writeln!(out, " [{}]", stage.name())?;
                    }
                    _ => writeln!(out)?,
                }
                if *at_once {
                    out.flush()?;
                }
            }
        }
        Ok(())
    }

    fn lost(&mut self, count: u64) {
        if let Self::Files(files) = self {
            files.lost(count);
        }
    }

    fn flush(&mut self, out: &mut dyn Write) -> Result<()> {
        match self {
            Self::Files(files) => Ok(files.flush()?),
            Self::Lines { .. } => Ok(out.flush()?),
        }
    }
}

/// As tcpdump has them with `-i any`.
pub fn letters(direction: Direction) -> &'static str {
    match direction {
        Direction::ToUs => "In",
        Direction::Broadcast => "B",
        Direction::Multicast => "M",
        Direction::ToOthers => "P",
        Direction::Outgoing => "Out",
    }
}

/// The time of day of nanoseconds since 1970.
pub struct OfDay(pub u64);

impl fmt::Display for OfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000_000_000;
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        let micros = self.0 % 1_000_000_000 / 1000;
        write!(f, "{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Dump {
        use clap::Parser;
        let words = [&["narrows", "dump"], words].concat();
        match crate::arguments::Arguments::try_parse_from(words).unwrap().command {
            crate::arguments::Command::Dump(dump) => dump,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn stages_are_those_asked_for() {
        use Stage::*;
        for (words, expected) in [
            (&[][..], vec![Receive, Transmit]),
            (&["--drops"], vec![Drop]),
            (&["--stage", "filter,drop", "--drops"], vec![Filter, Drop]),
            (&["--stage", "receive", "--stage", "receive"], vec![Receive]),
        ] {
            assert_eq!(stages(&options(words)).unwrap(), expected, "{words:?}");
        }
        let error = stages(&options(&["--stage", "nowhere"])).unwrap_err().to_string();
        assert!(error.contains("reassembled"), "{error}");
    }

    #[test]
    fn a_line_says_when_where_and_why() {
        let packet = Seen {
            time: 86_399_000_001_500,
            interface: 2,
            name: "lan".into(),
            direction: Direction::Broadcast,
            user: None,
            length: 60,
            bytes: [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[8, 6]].concat(),
        };
        for (words, named, expected) in [
            (
                &[][..],
                true,
                "23:59:59.000001 lan   B   ARP, [|arp], length 46 [dropped: martian]\n",
            ),
            (&["-t"], false, "ARP, [|arp], length 46 [dropped: martian]\n"),
            (&["-tt"], false, "86399.000001 ARP, [|arp], length 46 [dropped: martian]\n"),
        ] {
            let mut sink = Sink::new(&options(words), named).unwrap();
            let mut out = Vec::new();
            sink.take(&mut out, &packet, Some(Stage::Drop), Some("martian")).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
