//! `narrows explain`: what a daemon would do with each frame of a capture, and why; for any user, without
//! a daemon. With `--live` the sockets that listen on the one that runs, its rules, neighbors and tracked flows are
//! taken over.

use crate::{arguments::Explain, report, trace};
use anyhow::{Context, Result, ensure};
use narrows_capture::{
    file::{Packet, Reader},
    filter::Filter,
};
use narrows_client::{NftOptions, OpenError, Stack, TcpState};
use narrows_daemon::explain::Explainer;
use std::{
    fs::File,
    io::{self, BufReader, IsTerminal, Read, Write},
    path::Path,
    rc::Rc,
};

/// Frames of one capture: they are kept while they are looked at.
const MAX_FRAMES: usize = 10_000_000;

pub fn execute(
    options: &Explain,
    ask: impl FnOnce() -> Result<Stack, OpenError>,
    out: &mut dyn Write,
) -> Result<()> {
    let filter = Filter::new(&options.filter.join(" "))?;
    let packets = read(&options.file)?;
    if let Some(number) = options.frame {
        let count = packets.len();
        ensure!((1..=count).contains(&number), "there are frames 1 to {count}, and no {number}");
    }
    let frames: Vec<&[u8]> = packets.iter().map(|(packet, _)| &packet.bytes[..]).collect();
    let mut explainer = match &options.config {
        Some(file) => Explainer::configured(file, options.interface.as_deref(), &frames)?,
        None => Explainer::guessed(&frames)?,
    };
    if options.live {
        take_over(&mut explainer, &ask()?)?;
    }
    let mut blocks = trace::Blocks::new(io::stdout().is_terminal());
    for (number, (packet, name)) in (1..).zip(&packets) {
        let Packet { time, length, bytes, .. } = packet;
        // Those before it are shown to the host, too: they may have to do with it.
        let way = explainer.frame(*time, name.as_deref(), bytes);
        if options.frame.is_some_and(|only| only != number) || !filter.takes(bytes) {
            continue;
        }
        let way = way.unwrap_or_else(|| explainer.sent(*time, name.as_deref(), bytes, *length));
        if options.json {
            let mut json = trace::to_json(&way, &mut blocks.printer);
            json["frame"] = number.into();
            report::write_json(out, &json)?;
        } else {
            blocks.write(out, Some(number), &way)?;
        }
        if options.frame == Some(number) {
            break;
        }
    }
    Ok(())
}

/// The frames, each with what the file calls its interface.
fn read(file: &Path) -> Result<Vec<(Packet, Option<Rc<str>>)>> {
    let name = file.display();
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).with_context(|| format!("can't open {name}"))?),
    };
    let within = || format!("{name}");
    let mut reader = Reader::new(BufReader::new(input)).with_context(within)?;
    let mut packets = Vec::new();
    let mut names: Vec<Rc<str>> = Vec::new();
    while let Some(packet) = reader.next_packet().with_context(within)? {
        ensure!(packets.len() < MAX_FRAMES, "{name} has more than {MAX_FRAMES} frames: cut it up");
        let name = reader.interface_name(packet.interface).map(|name| {
            let known = names.iter().find(|known| &***known == name).cloned();
            known.unwrap_or_else(|| {
                names.push(name.into());
                name.into()
            })
        });
        packets.push((packet, name));
    }
    Ok(packets)
}

/// What listens on the daemon that runs, its rules, and what it knows of neighbors and flows.
fn take_over(explainer: &mut Explainer, stack: &Stack) -> Result<()> {
    let options = NftOptions::default();
    explainer.set_rules(&stack.nft("list ruleset", options)?)?;
    for row in stack.sockets()? {
        let datagrams = row.protocol == "udp";
        if datagrams || row.state == TcpState::Listen {
            explainer.listen(row.local, datagrams)?;
        }
    }
    for row in stack.neighbors()? {
        if let (Some(mac), false) = (row.mac, row.proxy) {
            explainer.neighbor(&row.interface, row.address, mac)?;
        }
    }
    // None are tracked, where no rule asks for it.
    for row in stack.flows().unwrap_or_default() {
        explainer.flow(&row);
    }
    Ok(())
}
