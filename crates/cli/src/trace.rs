//! `narrows trace`: each packet's whole way, with every decision and what decided, as it happens.

use crate::{
    arguments::Trace,
    dump::{OfDay, interface_number, letters},
    report,
};
use anyhow::{Context, Result};
use narrows_capture::{
    filter,
    line::{Options, Printer},
};
use narrows_client::Stack;
use narrows_ipc::see::{JourneyReport, StepReport, Told, WatchOptions};
use narrows_testbed::Interrupt;
use serde_json::{Value, json};
use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

const GLANCE: Duration = Duration::from_millis(50);

/// Of each packet: its headers, and what is quoted in them.
const SNAP: u32 = 65_600;

pub fn execute(options: &Trace, stack: &Stack, out: &mut dyn Write) -> Result<()> {
    let interrupt = Interrupt::new().context("can't watch for Ctrl-C")?;
    let expression = options.filter.join(" ");
    let filter = (!expression.is_empty()).then(|| filter::compile(&expression)).transpose()?;
    let interface = interface_number(stack, options.interface.as_deref())?;
    let mut watch = stack.watch(WatchOptions {
        interface,
        filter,
        stages: Vec::new(),
        journeys: true,
        snap: SNAP,
    })?;
    eprintln!("narrows: tracing, Ctrl-C ends it");
    let mut blocks = Blocks::new(io::stdout().is_terminal());
    let mut count = 0;
    while !interrupt.is_raised() && options.count.is_none_or(|most| count < most) {
        match watch.next(GLANCE)? {
            Some(Told::Journey(journey)) => {
                count += 1;
                if options.json {
                    report::write_json(out, &to_json(&journey, &mut blocks.printer))?;
                } else {
                    blocks.write(out, None, &journey)?;
                }
                out.flush()?;
            }
            Some(Told::Lost(lost)) => {
                eprintln!(
                    "narrows: {lost} packets lost here, which came too fast for this program"
                );
            }
            Some(Told::Frame { .. }) | None => {}
        }
    }
    Ok(())
}

/// Prints ways, a block each.
pub struct Blocks {
    pub printer: Printer,
    /// The output is a terminal.
    colours: bool,
}

impl Blocks {
    pub fn new(colours: bool) -> Self {
        Self { printer: Printer::new(Options::default()), colours }
    }

    /// `number`: of the packet in its file.
    pub fn write(
        &mut self,
        out: &mut dyn Write,
        number: Option<usize>,
        journey: &JourneyReport,
    ) -> io::Result<()> {
        let packet = &journey.packet;
        if let Some(number) = number {
            write!(out, "frame {number} ")?;
        }
        let line = self.printer.describe(&packet.bytes, packet.length as usize);
        let (time, name, way) = (OfDay(packet.time), &packet.name, letters(packet.direction));
        writeln!(out, "{time} {name} {way} {line}")?;
        for StepReport { what, text, frame } in &journey.steps {
            let frame = frame.as_ref().map(|frame| self.printer.describe(frame, frame.len()));
            let frame = frame.map_or_else(String::new, |line| format!(": {line}"));
            writeln!(out, " ├─ {what:<8} {text}{frame}")?;
        }
        let (begin, end) = match (self.colours, &journey.reason) {
            (false, _) => ("", ""),
            (true, Some(_)) => ("\x1b[31m", "\x1b[0m"),
            (true, None) => ("\x1b[32m", "\x1b[0m"),
        };
        writeln!(out, " └▶ {begin}{:<8}{end} {}\n", journey.verdict, journey.because)
    }
}

pub fn to_json(journey: &JourneyReport, printer: &mut Printer) -> Value {
    let packet = &journey.packet;
    let steps: Vec<_> = journey
        .steps
        .iter()
        .map(|StepReport { what, text, frame }| {
            let line = frame.as_ref().map(|frame| printer.describe(frame, frame.len()));
            json!({ "what": what, "text": text, "packet": line })
        })
        .collect();
    json!({
        "time": packet.time,
        "dev": packet.name,
        "direction": letters(packet.direction),
        "user": packet.user,
        "packet": printer.describe(&packet.bytes, packet.length as usize),
        "steps": steps,
        "verdict": journey.verdict,
        "reason": journey.reason,
        "because": journey.because,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_ipc::see::{Direction, Seen};

    fn journey() -> JourneyReport {
        let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &[8, 6]].concat();
        let step = |what: &str, text: &str, frame| StepReport {
            what: what.into(),
            text: text.into(),
            frame,
        };
        JourneyReport {
            packet: Seen {
                time: 1_000_000_000,
                interface: 2,
                name: "lan".into(),
                direction: Direction::Broadcast,
                user: None,
                length: 14,
                bytes: arp.clone(),
            },
            steps: vec![step("link", "at lan", None), step("sent", "dev lan", Some(arp))],
            verdict: "dropped".into(),
            because: "arp-malformed: not ARP".into(),
            reason: Some("arp-malformed".into()),
        }
    }

    #[test]
    fn a_block_is_a_tree_and_coloured_on_terminals_alone() {
        let mut out = Vec::new();
        Blocks::new(false).write(&mut out, Some(17), &journey()).unwrap();
        let expected = "\
frame 17 00:00:01.000000 lan B ARP, [|arp], length 0
 ├─ link     at lan
 ├─ sent     dev lan: ARP, [|arp], length 0
 └▶ dropped  arp-malformed: not ARP

";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        Blocks::new(true).write(&mut out, None, &journey()).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("\x1b[31mdropped \x1b[0m"));
    }

    #[test]
    fn json_has_the_same() {
        let json = to_json(&journey(), &mut Printer::new(Options::default()));
        assert_eq!(json["steps"][1]["packet"], "ARP, [|arp], length 0");
        assert_eq!(
            (&json["verdict"], &json["reason"]),
            (&json!("dropped"), &json!("arp-malformed"))
        );
    }
}
