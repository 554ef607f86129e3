//! `narrows demo`: everything at once, on a network of its own, every byte checked.
//!
//! Two network namespaces joined by a wire; at one end a daemon, at the other the kernel. What is
//! started and written belongs to the [`Scene`] and goes with it, however the demo ends.

mod report;
mod scene;
mod steps;

use anyhow::{Context, Result};
use report::Report;
use scene::Scene;
use std::{io::Write, process::ExitCode, time::Instant};

/// As a shell reports a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

pub fn execute(out: &mut dyn Write) -> Result<ExitCode> {
    narrows_testbed::enter_user_namespace_if_needed()?;
    let interrupt = narrows_testbed::Interrupt::new().context("can't watch for Ctrl-C")?;
    let began = Instant::now();
    let mut report = Report::new(out);
    let mut scene = Scene::new(&interrupt, &mut report)?;
    let result = steps::all(&mut scene, &mut report);
    let log = scene.log();
    drop(scene);
    if interrupt.is_raised() {
        report.line("\nInterrupted; nothing is left behind.")?;
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let failures = result?;
    if failures.is_empty() {
        let seconds = began.elapsed().as_secs_f64();
        report.line(&format!("\nEvery step and every byte was right. ({seconds:.0} s)"))?;
        return Ok(ExitCode::SUCCESS);
    }
    report.line("\nFailed:")?;
    for failure in failures {
        report.line(&format!("  {failure}"))?;
    }
    report.line("\nThe daemon's log:")?;
    log.lines().try_for_each(|line| report.line(&format!("  {line}")))?;
    Ok(ExitCode::FAILURE)
}
