//! What the demo shows: a line for each result, and while something takes time a bar, if somebody
//! watches.

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

pub struct Report<'a> {
    out: &'a mut dyn Write,
    /// Bars go to standard error, and only to a terminal.
    bars: bool,
}

impl<'a> Report<'a> {
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, bars: stderr().is_terminal() }
    }

    pub fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{text}")?;
        Ok(self.out.flush()?)
    }

    /// A step's heading.
    pub fn step(&mut self, number: usize, title: &str) -> Result<()> {
        self.line(&format!("\n{number}. {title}"))
    }

    /// One result under it.
    pub fn result(&mut self, text: &str) -> Result<()> {
        self.line(&format!("   {text}"))
    }

    /// Several lines under it, as another command prints them.
    pub fn block(&mut self, text: &str) -> Result<()> {
        text.lines().try_for_each(|line| self.result(line))
    }

    /// A bar for `total` bytes; where nobody watches, a line that says what has begun.
    pub fn transfer(&mut self, what: &str, total: u64) -> Result<ProgressBar> {
        if !self.bars {
            self.result(&format!("{what} …"))?;
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template(
            "   {msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
        )?
        .progress_chars("=> ");
        Ok(ProgressBar::new(total).with_style(style).with_message(what.to_owned()))
    }

    /// The same for work that has no measure.
    pub fn spinner(&mut self, what: &str) -> Result<ProgressBar> {
        if !self.bars {
            self.result(&format!("{what} …"))?;
            return Ok(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner()
            .with_style(ProgressStyle::with_template("   {spinner} {msg}")?)
            .with_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Ok(bar)
    }
}

/// `6.1 Gbit/s`.
pub fn rate(bytes: u64, seconds: f64) -> String {
    format!("{:.1} Gbit/s", gigabits(bytes, seconds))
}

pub fn gigabits(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 * 8.0 / 1e9 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_bits() {
        assert_eq!(rate(1_250_000_000, 2.0), "5.0 Gbit/s");
    }

    #[test]
    fn lines_are_indented_under_their_step() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out);
        report.step(3, "third").unwrap();
        report.block("a\nb\n").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "\n3. third\n   a\n   b\n");
    }
}
