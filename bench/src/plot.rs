//! The one plot: cold starts as bars, in plain SVG.

use std::fmt::Write as _;

use crate::figures::Figures;
use crate::programs::NAMES;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 440.0;
const BAR: f64 = 18.0;
const STEP: f64 = 26.0;
const TOP: f64 = 52.0;

/// Bars from a program's start until its first delivery has ended, with a cold page cache; nothing where that was not
/// measured.
pub fn starts(figures: &Figures) -> Option<String> {
    let mut bars = Vec::new();
    for (registry, kept) in [("file", "file"), ("secretsmanager", "secret"), ("dynamodb", "table")] {
        for name in NAMES {
            let median = |what: &str| figures.get(&format!("start.{name}.{registry}.cold.{what}.median"));
            bars.push((format!("{name}, {kept}"), median("init")?, median("total")?));
        }
    }
    let longest = bars.iter().map(|(.., total)| *total).fold(0.0, f64::max);
    let height = TOP + STEP * bars.len() as f64 + 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>Cold starts until the first delivery has ended</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" fill=\"#222222\">Cold start until the first delivery has ended, ms (cold page cache)</text>\n\
         <rect x=\"12\" y=\"32\" width=\"10\" height=\"10\" fill=\"#1b6ca8\"/><text x=\"27\" y=\"42\" fill=\"#444444\">init</text>\n\
         <rect x=\"62\" y=\"32\" width=\"10\" height=\"10\" fill=\"#9cc9e8\"/><text x=\"77\" y=\"42\" fill=\"#444444\">look-up and delivery over HTTPS</text>\n"
    );
    for (index, (label, init, total)) in bars.iter().enumerate() {
        let y = TOP + STEP * index as f64;
        let (text, init, end) = (y + 14.0, WIDTH * init / longest, WIDTH * total / longest);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text:.1}\" text-anchor=\"end\" fill=\"#222222\">{label}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{end:.1}\" height=\"{BAR}\" fill=\"#9cc9e8\"/>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{init:.1}\" height=\"{BAR}\" fill=\"#1b6ca8\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\" fill=\"#444444\">{total:.0}</text>",
            LEFT - 8.0,
            LEFT + end + 6.0,
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}
