//! The picture: for each cell a bar a stack, in Mbit/s.

use super::{Results, Row};
use crate::report::svg::{KERNEL, NARROWS, legend, text};
use std::fmt::Write;

const WIDTH: f64 = 920.0;
const LABELS: f64 = 260.0;
const VALUES: f64 = 70.0;
const BAR: f64 = 10.0;
const ROW: f64 = 2.0 * BAR + 10.0;
const HEAD: f64 = 64.0;
/// What the path carries, in Mbit/s.
const FULL: f64 = 100.0;

pub fn render(results: &Results) -> String {
    let height = HEAD + ROW * results.rows.len() as f64 + 20.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, 16.0, 24.0, "start", "600", "Goodput over 100 Mbit/s and 40 ms, in Mbit/s");
    legend(&mut svg, LABELS, 44.0, NARROWS, "Narrows");
    legend(&mut svg, LABELS + 100.0, 44.0, KERNEL, "Linux");
    for (number, row) in results.rows.iter().enumerate() {
        bars(&mut svg, HEAD + ROW * number as f64, row);
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(svg: &mut String, top: f64, row: &Row) {
    let name = format!("{}, {}", row.cell, row.algorithm.name());
    text(svg, LABELS - 10.0, top + BAR + 4.0, "end", "400", &name);
    bar(svg, top, row.narrows, NARROWS);
    if let Some(linux) = row.linux {
        bar(svg, top + BAR + 1.0, linux, KERNEL);
    }
}

fn bar(svg: &mut String, top: f64, value: f64, colour: &str) {
    let width = (WIDTH - LABELS - VALUES) * (value / FULL).clamp(0.0, 1.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{LABELS}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" \
         fill=\"{colour}\"/>"
    );
    let value = format!("{value:.1}");
    text(svg, LABELS + width + 6.0, top + BAR - 1.0, "start", "400", &value);
}
