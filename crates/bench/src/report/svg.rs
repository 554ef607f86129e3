//! The picture: for each row a bar a stack, with the spread as a whisker.
//!
//! Written out by hand: rectangles and lines of text are the whole of it, and the plotting
//! libraries bring fonts and rasterisers.

use super::{Report, table};
use crate::sample::{Row, Samples, Unit};
use std::fmt::Write;

const WIDTH: f64 = 920.0;
const LABELS: f64 = 300.0;
/// Room right of the longest bar for its value.
const VALUES: f64 = 150.0;
const BAR: f64 = 14.0;
const ROW: f64 = 2.0 * BAR + 16.0;
const HEAD: f64 = 64.0;
const FOOT: f64 = 30.0;
pub const NARROWS: &str = "#c2410c";
pub const KERNEL: &str = "#64748b";

pub fn render(report: &Report) -> String {
    let height = HEAD + ROW * report.rows.len() as f64 + FOOT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, 16.0, 24.0, "start", "600", "Narrows and the kernel, side by side");
    legend(&mut svg, LABELS, 44.0, NARROWS, "Narrows");
    legend(&mut svg, LABELS + 100.0, 44.0, KERNEL, "kernel");
    for (number, row) in report.rows.iter().enumerate() {
        bars(&mut svg, HEAD + ROW * number as f64, row);
    }
    let note = format!("{}; medians of {} rounds, min–max", report.machine, report.rounds);
    text(&mut svg, 16.0, height - 10.0, "start", "400", &note);
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, top: f64, row: &Row) {
    let name = if row.unit.less_is_better() {
        format!("{} (less is better)", row.name)
    } else {
        row.name.clone()
    };
    text(svg, LABELS - 10.0, top + BAR + 4.0, "end", "400", &name);
    let longest = row.narrows.spread().1.max(row.kernel.spread().1);
    // Rows without a number (NaN or all zero) get bars without length.
    let scale = if longest > 0.0 { (WIDTH - LABELS - VALUES) / longest } else { 0.0 };
    bar(svg, top, scale, row.unit, &row.narrows, NARROWS);
    bar(svg, top + BAR + 2.0, scale, row.unit, &row.kernel, KERNEL);
}

fn bar(svg: &mut String, top: f64, scale: f64, unit: Unit, samples: &Samples, colour: &str) {
    let length = |value: f64| if value.is_finite() { value * scale } else { 0.0 };
    let (min, max) = samples.spread();
    let (median, min, max) = (length(samples.median()), length(min), length(max));
    let middle = top + BAR / 2.0;
    let _ = writeln!(
        svg,
        "<rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{median:.1}\" height=\"{BAR}\" \
         fill=\"{colour}\"/>\n<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"black\"/>",
        LABELS + min,
        LABELS + max,
    );
    let value = format!("{} {}", table::median(unit, samples), unit.symbol());
    text(svg, LABELS + median.max(max) + 6.0, top + BAR - 3.0, "start", "400", &value);
}

pub fn legend(svg: &mut String, x: f64, y: f64, colour: &str, name: &str) {
    let top = y - 10.0;
    let _ =
        writeln!(svg, "<rect x=\"{x}\" y=\"{top}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>");
    text(svg, x + 18.0, y, "start", "400", name);
}

pub fn text(svg: &mut String, x: f64, y: f64, anchor: &str, weight: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" font-weight=\"{weight}\">\
         {content}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    fn report(rows: Vec<Row>) -> Report {
        Report {
            machine: Machine {
                processor: "A <fast> & loud CPU".into(),
                cpus: 2,
                memory_gib: 1,
                kernel: "6.18".into(),
                congestion_control: "cubic".into(),
            },
            rounds: 5,
            seconds: 1.0,
            bulk_program: "iperf3".into(),
            rows,
            idle: None,
        }
    }

    #[test]
    fn the_longest_value_fills_the_room() {
        let mut row = Row::new("bulk", Unit::GigabitsPerSecond);
        row.narrows = [10.0].into_iter().collect();
        row.kernel = [20.0].into_iter().collect();
        let svg = render(&report(vec![row]));
        let full = WIDTH - LABELS - VALUES;
        assert!(svg.contains(&format!("width=\"{full:.1}\"")), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", full / 2.0)), "{svg}");
        assert!(svg.contains("A &lt;fast&gt; &amp; loud CPU"), "{svg}");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn a_row_without_numbers_is_drawn_empty() {
        let svg = render(&report(vec![Row::new("bulk", Unit::PerSecond)]));
        assert!(!svg.contains("\"NaN\"") && !svg.contains("\"inf\""), "{svg}");
    }
}
