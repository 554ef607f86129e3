//! The table: Markdown, lined up so that it reads as plain text too.

use super::Report;
use crate::sample::{Row, Samples, Unit};

/// The table, with a line before it that names the machine.
pub fn render(report: &Report) -> String {
    let header = ["", "Narrows", "(min–max)", "kernel", "(min–max)", "", "Narrows : kernel"];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(report.rows.iter().map(cells));
    let widths: [usize; 7] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = format!(
        "{}; medians of {} rounds; bulk by {}\n\n",
        report.machine, report.rounds, report.bulk_program
    );
    for (number, row) in rows.iter().enumerate() {
        push_row(&mut text, widths, row);
        if number == 0 {
            let rule: [String; 7] = std::array::from_fn(|column| match column {
                0 | 5 => "-".repeat(widths[column]),
                _ => format!("{}:", "-".repeat(widths[column].saturating_sub(1))),
            });
            push_row(&mut text, widths, &rule);
        }
    }
    if let Some(idle) = report.idle {
        text.push_str(&format!("\nAn idle daemon takes {:.3} % of a core.\n", idle * 100.0));
    }
    text
}

fn push_row(text: &mut String, widths: [usize; 7], row: &[String; 7]) {
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let gap = " ".repeat(width - cell.chars().count());
        match column {
            0 | 5 => text.extend(["| ", cell, &gap, " "]),
            _ => text.extend(["| ", &gap, cell, " "]),
        }
    }
    text.push_str("|\n");
}

fn cells(row: &Row) -> [String; 7] {
    [
        row.name.clone(),
        median(row.unit, &row.narrows),
        spread(row.unit, &row.narrows),
        median(row.unit, &row.kernel),
        spread(row.unit, &row.kernel),
        row.unit.symbol().to_owned(),
        format!("{:.2}", row.ratio()),
    ]
}

pub fn median(unit: Unit, samples: &Samples) -> String {
    unit.format(samples.median())
}

fn spread(unit: Unit, samples: &Samples) -> String {
    let (min, max) = samples.spread();
    format!("{}–{}", unit.format(min), unit.format(max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    #[test]
    fn is_markdown_that_lines_up() {
        let mut row = Row::new("bulk, 1 stream, to the kernel", Unit::GigabitsPerSecond);
        row.narrows = [18.0, 20.0, 22.5].into_iter().collect();
        row.kernel = [25.0].into_iter().collect();
        let report = Report {
            machine: Machine {
                processor: "Some CPU".into(),
                cpus: 2,
                memory_gib: 24,
                kernel: "6.18".into(),
                congestion_control: "cubic".into(),
            },
            rounds: 3,
            seconds: 1.0,
            bulk_program: "iperf3".into(),
            rows: vec![row],
            idle: Some(0.000_2),
        };
        assert_eq!(
            render(&report),
            "\
Some CPU, 2 CPUs, 24 GiB, Linux 6.18 (cubic); medians of 3 rounds; bulk by iperf3

|                               | Narrows | (min–max) | kernel | (min–max) |        | Narrows : kernel |
| ----------------------------- | ------: | --------: | -----: | --------: | ------ | ---------------: |
| bulk, 1 stream, to the kernel |    20.0 | 18.0–22.5 |   25.0 | 25.0–25.0 | Gbit/s |             0.80 |

An idle daemon takes 0.020 % of a core.
"
        );
        assert_eq!(report.to_json().unwrap()["rows"][0]["ratio"], 0.8);
    }
}
