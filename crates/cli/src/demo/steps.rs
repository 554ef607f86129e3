//! The seven steps. A step that fails is told and the next one goes on, so that one run says all.

use super::{
    report::{self, Report},
    scene::{AT_A_TIME, FILE_SIZE, Place, SHORT_CONNECTIONS, Scene},
};
use crate::{
    arguments::Ss,
    report::{Align, write_table},
    ss, stat,
};
use anyhow::{Context, Result, bail, ensure};
use narrows_ipc::message::{SocketRow, TcpState};
use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

/// Echo requests each way.
const PINGS: u16 = 5;

/// One line of the comparison: what was done, and the two places it was done between.
struct Work {
    name: &'static str,
    unit: &'static str,
    narrows: Option<f64>,
    kernel: Option<f64>,
}

/// Server and client, on Narrows and then on the kernel instead.
const TRANSFERS: [(&str, [Place; 2], [Place; 2]); 3] = {
    use Place::{Kernel, KernelAtNarrowsEnd, Narrows};
    [
        ("to a client across the wire", [Narrows, Kernel], [KernelAtNarrowsEnd, Kernel]),
        ("from a server across the wire", [Kernel, Narrows], [Kernel, KernelAtNarrowsEnd]),
        ("between two programs here", [Narrows, Narrows], [KernelAtNarrowsEnd, KernelAtNarrowsEnd]),
    ]
};

/// The same for the short connections.
const STORMS: [(&str, [Place; 2], [Place; 2]); 2] = {
    use Place::{Kernel, KernelAtNarrowsEnd, Narrows};
    [
        ("connections taken", [Narrows, Kernel], [KernelAtNarrowsEnd, Kernel]),
        ("connections made", [Kernel, Narrows], [Kernel, KernelAtNarrowsEnd]),
    ]
};

/// What has gone wrong, a line each. An interrupt is an error, at once.
pub fn all(scene: &mut Scene<'_>, report: &mut Report<'_>) -> Result<Vec<String>> {
    let mut play = Play { failures: Vec::new(), work: Vec::new() };
    let server = scene.file_server();

    report.step(1, "Ping, both ways")?;
    play.attempt(scene, report, "ping", ping)?;
    let titles = [
        format!("{server} on Narrows, 256 MiB fetched by a client on the kernel"),
        format!("{server} on the kernel, 256 MiB fetched by a client on Narrows"),
        "The same with both on Narrows".to_owned(),
    ];
    for (index, title) in titles.iter().enumerate() {
        report.step(2 + index, title)?;
        let (name, [from, to], _) = TRANSFERS[index];
        let rate = play.attempt(scene, report, title, |scene, report| {
            transfer(scene, report, name, from, to)
        })?;
        play.work.push(Work { name, unit: "Gbit/s", narrows: rate, kernel: None });
    }
    report.step(5, &format!("{SHORT_CONNECTIONS} short connections, {AT_A_TIME} at a time"))?;
    for (name, [from, to], _) in STORMS {
        let rate = play
            .attempt(scene, report, name, |scene, report| storm(scene, report, name, from, to))?;
        play.work.push(Work { name, unit: "1/s", narrows: rate, kernel: None });
    }
    // Told last, but asked now: the daemon would see the kernel's frames too, and slow it down.
    let seen = play.attempt(scene, report, "asking the daemon what it saw", what_was_seen)?;

    report.step(6, "The same from kernel to kernel, the daemon ended")?;
    play.attempt(scene, report, "ending the daemon", |scene, _| scene.leave_to_the_kernel())?;
    play.on_the_kernel(scene, report)?;

    report.step(7, "What the daemon saw")?;
    if let Some(seen) = seen {
        report.block(&seen)?;
    }
    Ok(play.failures)
}

/// What came out so far.
struct Play {
    failures: Vec<String>,
    work: Vec<Work>,
}

impl Play {
    /// Does something, and notes when it fails. An error is an interrupt, or that nothing can be shown.
    fn attempt<T>(
        &mut self,
        scene: &mut Scene<'_>,
        report: &mut Report<'_>,
        name: &str,
        work: impl FnOnce(&mut Scene<'_>, &mut Report<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        match work(scene, report) {
            result if scene.is_interrupted() => result.and_then(|_| bail!("interrupted")),
            Ok(result) => Ok(Some(result)),
            Err(error) => {
                report.result(&format!("FAILED: {error:#}"))?;
                self.failures.push(format!("{name}: {error:#}"));
                Ok(None)
            }
        }
    }

    /// Step 6: each work again, and the table.
    fn on_the_kernel(&mut self, scene: &mut Scene<'_>, report: &mut Report<'_>) -> Result<()> {
        for (index, (name, _, [from, to])) in TRANSFERS.into_iter().enumerate() {
            let rate = self.attempt(scene, report, name, |scene, report| {
                transfer(scene, report, name, from, to)
            })?;
            self.set_kernel(index, rate);
        }
        for (index, (name, _, [from, to])) in STORMS.into_iter().enumerate() {
            let rate = self.attempt(scene, report, name, |scene, report| {
                storm(scene, report, name, from, to)
            })?;
            self.set_kernel(TRANSFERS.len() + index, rate);
        }
        report.line("")?;
        report.block(&self.table()?)
    }

    fn set_kernel(&mut self, index: usize, value: Option<f64>) {
        if let Some(work) = self.work.get_mut(index) {
            work.kernel = value;
        }
    }

    fn table(&self) -> Result<String> {
        let number = |value: Option<f64>| match value {
            Some(value) if value < 1000.0 => format!("{value:.1}"),
            Some(value) => format!("{value:.0}"),
            None => "-".to_owned(),
        };
        let mut rows = vec![["", "Narrows", "kernel", "", "ratio"].map(str::to_owned)];
        rows.extend(self.work.iter().map(|work| {
            let ratio = work.narrows.zip(work.kernel).map(|(narrows, kernel)| narrows / kernel);
            [
                work.name.to_owned(),
                format!("  {}", number(work.narrows)),
                format!("  {}", number(work.kernel)),
                work.unit.to_owned(),
                ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            ]
        }));
        let mut text = Vec::new();
        use Align::{Left, Right};
        write_table(&mut text, [Left, Right, Right, Left, Right], &rows)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn ping(scene: &mut Scene<'_>, report: &mut Report<'_>) -> Result<()> {
    let (narrows, kernel) = (Place::Narrows.address(), Place::Kernel.address());
    let times = narrows_testbed::ping(&scene.network.kernel, narrows, PINGS.into())?;
    report.result(&describe_pings("kernel → Narrows", times))?;
    let times = ping_from_narrows(scene, kernel)?;
    report.result(&describe_pings("Narrows → kernel", times))
}

fn ping_from_narrows(scene: &Scene<'_>, destination: Ipv4Addr) -> Result<Vec<Duration>> {
    let stack = scene.stack()?;
    (1..=PINGS)
        .map(|sequence| {
            stack
                .ping(destination, sequence, 56, Duration::from_secs(1))
                .map(|pong| pong.round_trip)
                .with_context(|| format!("echo request {sequence} to {destination}"))
        })
        .collect()
}

fn describe_pings(way: &str, mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3;
    format!("{way}: {} of {PINGS} answered, median {median:.3} ms", times.len())
}

/// The file from a web server at `from` to a client at `to`; the rate in Gbit/s.
fn transfer(
    scene: &mut Scene<'_>,
    report: &mut Report<'_>,
    name: &str,
    from: Place,
    to: Place,
) -> Result<f64> {
    let url = scene.serve_files(from)?;
    let bar = report.transfer(name, FILE_SIZE)?;
    let fetch = scene.fetch(to, &url, |bytes| bar.set_position(bytes));
    bar.finish_and_clear();
    let fetch = fetch?;
    let rate = report::rate(fetch.bytes, fetch.seconds);
    report.result(&format!("{name}: 256 MiB in {:.2} s, {rate}, SHA-256 right", fetch.seconds))?;
    Ok(report::gigabits(fetch.bytes, fetch.seconds))
}

/// Short connections from `to` to an echo server at `from`; connections a second.
fn storm(
    scene: &mut Scene<'_>,
    report: &mut Report<'_>,
    name: &str,
    from: Place,
    to: Place,
) -> Result<f64> {
    let server = scene.serve_echo(from)?;
    let bar = report.spinner(name)?;
    let storm = scene.storm(to, server);
    bar.finish_and_clear();
    let storm = storm?;
    let rate = storm.connections as f64 / storm.seconds;
    report.result(&format!(
        "{name}: {} of {SHORT_CONNECTIONS}, {rate:.0} a second",
        storm.connections
    ))?;
    Ok(rate)
}

/// Sockets with their owners, counters, drops by name: as `narrows ss` and `narrows stat` show them.
fn what_was_seen(scene: &mut Scene<'_>, _: &mut Report<'_>) -> Result<String> {
    let server: SocketAddrV4 = scene.serve_echo(Place::Narrows)?;
    let held = scene.hold(Place::Kernel, server)?;
    let stack = scene.stack()?;
    let sockets = stack.sockets()?;
    let statistics = stack.statistics()?;
    drop(held);

    let connected =
        |row: &&SocketRow| row.state == TcpState::Established && row.local == server.into();
    let row = sockets.iter().find(connected).context("an open connection is not in its list")?;
    ensure!(row.owner.is_some(), "an open connection has no owner in its list");
    let count = |state| sockets.iter().filter(|row| row.state == state).count();
    let waiting = count(TcpState::TimeWait);
    let owned: Vec<_> = sockets.into_iter().filter(|row| row.owner.is_some()).collect();

    let mut text = Vec::new();
    let options = Ss { processes: true, ..Ss::default() };
    ss::write_sockets(&mut text, &options, &owned)?;
    text.extend(format!("and {waiting} connections in TIME-WAIT\n\n").bytes());
    stat::write_statistics(&mut text, &statistics)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
