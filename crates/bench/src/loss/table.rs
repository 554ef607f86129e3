//! The results as text that is a page of the documentation as it stands.

use super::{Results, Row, Sharing};
use std::fmt::Write;

const PREFACE: &str = "\
# TCP on bad paths

Goodput of one stream in Mbit/s over 100 Mbit/s and 40 ms there and back, and how flows share such
a path: Narrows in virtual time, Linux in real time over a wire in user space that treats frames by the
same code and seeds, and for some cells Narrows' daemon on that wire. Written by
`narrows-bench --only loss`.

![Goodput](loss.svg)
";

pub fn line(row: &Row) -> String {
    let number = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.2}"));
    let ratio = row.linux.map(|linux| row.narrows / linux);
    format!(
        "| {} | {} | {:.2} | {} | {} | {} |",
        row.cell,
        row.algorithm.name(),
        row.narrows,
        number(row.linux),
        number(ratio),
        number(row.daemon),
    )
}

pub fn sharing_line(row: &Sharing) -> String {
    let both = |(index, sum): (f64, f64)| format!("{index:.3} ({sum:.1})");
    let linux = row.linux.map_or("–".into(), both);
    format!("| {} | {} | {} | {linux} |", row.flows, row.algorithm.name(), both(row.narrows))
}

pub fn render(results: &Results) -> String {
    let mut text = String::from(PREFACE);
    let _ = writeln!(
        text,
        "\n{}; {} virtual seconds of Narrows, {} real ones of Linux and the daemon.\n",
        results.machine,
        super::VIRTUAL_TIME.as_secs(),
        results.seconds
    );
    text.push_str("| path | congestion control | Narrows | Linux | ratio | daemon |\n");
    text.push_str("|---|---|--:|--:|--:|--:|\n");
    for row in &results.rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text.push_str("\n## Sharing\n\nJain's index of flows on one path with a queue of one round ");
    text.push_str("trip, 1 when all get the same, and Mbit/s of all together.\n\n");
    text.push_str("| flows | congestion control | Narrows | Linux |\n|--:|---|--:|--:|\n");
    for row in &results.sharing {
        let _ = writeln!(text, "{}", sharing_line(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use narrows_stack::tcp::congestion::Algorithm;

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let mut row = Row {
            cell: "no loss",
            algorithm: Algorithm::Cubic,
            narrows: 93.0,
            linux: None,
            daemon: None,
        };
        assert_eq!(line(&row), "| no loss | cubic | 93.00 | – | – | – |");
        row.linux = Some(46.5);
        assert_eq!(line(&row), "| no loss | cubic | 93.00 | 46.50 | 2.00 | – |");
    }
}
