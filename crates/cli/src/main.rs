//! `narrows`: the daemon, programs on it, and what can be seen and asked of it.
//!
//! One file a subcommand. Each reads its words from [`arguments`], asks the daemon where it needs
//! to, and writes to the output it is given, so that what is printed can be tested from rows alone.

#![forbid(unsafe_code)]

mod addr;
mod arguments;
mod audit;
mod bond;
mod bridge;
mod ct;
mod demo;
mod down;
mod drill;
mod drops;
mod dump;
mod explain;
mod link;
mod maddr;
mod neigh;
mod nft;
mod ping;
mod policy;
mod reload;
mod report;
mod route;
mod rule;
mod run;
mod ss;
mod stat;
mod trace;
mod up;
mod who_has;
mod words;
mod zone;

use anyhow::Result;
use arguments::{Arguments, Command};
use narrows_client::Stack;
use std::{
    io::{self, Write},
    process::ExitCode,
};

fn main() -> ExitCode {
    let arguments = Arguments::read();
    let mut out = io::stdout().lock();
    let result = execute(arguments, &mut out).and_then(|code| {
        out.flush()?;
        Ok(code)
    });
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("narrows: {error:#}");
            if is_refused(&error) { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
        }
    }
}

/// As with ip(8), what was understood and refused is another failure than what was not understood.
const REFUSED: u8 = 2;

fn is_refused(error: &anyhow::Error) -> bool {
    use narrows_client::Error;
    let error = error.chain().find_map(|cause| cause.downcast_ref());
    matches!(error, Some(Error::Refused(_) | Error::RefusedBecause(_)))
}

fn execute(arguments: Arguments, out: &mut dyn Write) -> Result<ExitCode> {
    let socket = narrows_ipc::path::socket_path(arguments.socket.as_deref());
    let ask = || Stack::connect(Some(&socket));
    match arguments.command {
        Command::Up(options) => up::execute(options, socket)?,
        Command::Keeper(options) => {
            narrows_daemon::keeper::run(&socket, options.config.as_deref())?
        }
        Command::Run(program) => run::execute(&program, &socket)?,
        Command::Ss(options) => ss::execute(&options, &ask()?, out)?,
        Command::Stat(options) => stat::execute(&options, &ask()?, out)?,
        Command::Dump(options) => dump::execute(&options, ask, out)?,
        Command::Trace(options) => trace::execute(&options, &ask()?, out)?,
        Command::Explain(options) => explain::execute(&options, ask, out)?,
        Command::Drops(options) => drops::execute(&options, &ask()?, out)?,
        Command::Addr(query) => addr::execute(&query, &ask()?, out)?,
        Command::Link(query) => link::execute(&query, &ask()?, out)?,
        Command::Bond(query) => bond::execute(&query, &ask()?, out)?,
        Command::Bridge(query) => bridge::execute(&query, &ask()?, out)?,
        Command::Route(query) => route::execute(&query, &ask()?, out)?,
        Command::Rule(query) => rule::execute(&query, &ask()?, out)?,
        Command::Neigh(query) => neigh::execute(&query, &ask()?, out)?,
        Command::Zone(query) => zone::execute(&query, &ask()?, out)?,
        Command::Maddr(query) => maddr::execute(&query, &ask()?, out)?,
        Command::Audit(options) => return audit::execute(&options, ask, out),
        Command::Policy(query) => return policy::execute(&query, &ask()?, out),
        Command::Ping(options) => return ping::execute(&options, &ask()?, out),
        Command::WhoHas(options) => who_has::execute(&options, &ask()?, out)?,
        Command::Ct(arguments) => ct::execute(&arguments, &ask()?, out)?,
        Command::Nft(arguments) => nft::execute(&ask()?, &arguments, out)?,
        Command::Reload => reload::execute(&ask()?, out)?,
        Command::Down => down::execute(&ask()?)?,
        Command::Drill(words) => return drill::execute(&words, out),
        Command::Demo => return demo::execute(out),
        Command::Peer(peer) => return Ok(narrows_testbed::peer::main(peer.words.into_iter())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whoever read our output has had enough of it (`narrows ss | head`).
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
