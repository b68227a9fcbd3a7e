//! The report as an SVG picture: a bar for each ratio and a line where the better of the others is.
//!
//! Colours are those of the reader's scheme, dark or light; text needs no font of ours.

use std::fmt::Write;

use crate::report::Report;

const WIDTH: f64 = 820.0;
/// Where bars begin, and how far they may reach.
const LEFT: f64 = 200.0;
const RIGHT: f64 = WIDTH - 60.0;
const ROW: f64 = 20.0;
const BAR: f64 = 13.0;

const STYLE: &str = "
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 14px; font-weight: 600 }
.faint { fill: #59636e; font-size: 11px }
.good { fill: #1a7f5a }
.bad { fill: #bc4c00 }
.line { stroke: #24292f; stroke-width: 1 }
.grid { stroke: #818b98; stroke-opacity: .35; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.good { fill: #3fb984 }
.bad { fill: #e3823c }
.line { stroke: #e6edf3 }
}
";

/// A group of bars.
struct Panel {
    title: &'static str,
    note: &'static str,
    bars: Vec<(String, f64)>,
    /// Whether longer is better.
    more_is_better: bool,
}

/// The picture, or nothing if there is nothing to compare.
pub fn svg(report: &Report) -> Option<String> {
    let speed = report.rows.iter().filter(|row| row.cpu_ratio > 0.0).map(|row| (row.label.clone(), row.cpu_ratio));
    let memory = report.weights.iter().filter_map(|row| Some((row.label.clone(), row.ratio()?)));
    let panels = [
        Panel {
            title: "Requests per second of processor time",
            note: "1.0 is the better of Valkey and Redis in the same run; longer is faster",
            bars: speed.collect(),
            more_is_better: true,
        },
        Panel {
            title: "Resident memory per item",
            note: "1.0 is the lighter of Valkey and Redis; shorter is smaller",
            bars: memory.collect(),
            more_is_better: false,
        },
    ];
    let panels: Vec<&Panel> = panels.iter().filter(|panel| !panel.bars.is_empty()).collect();
    let height = panels.iter().map(|panel| panel.bars.len() as f64 * ROW + 80.0).sum::<f64>();
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"Haversack beside Valkey and Redis\">\n<style>{STYLE}</style>\n"
    );
    let mut top = 0.0;
    for panel in &panels {
        top = draw(&mut text, panel, top);
    }
    text += "</svg>\n";
    (!panels.is_empty()).then_some(text)
}

/// Draws a panel and says where the next one begins.
fn draw(text: &mut String, panel: &Panel, top: f64) -> f64 {
    let most = panel.bars.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let end = (most * 2.0).ceil() / 2.0;
    let x = |ratio: f64| LEFT + (RIGHT - LEFT) * ratio / end;
    let _ = writeln!(text, "<text class=\"title\" x=\"12\" y=\"{}\">{}</text>", top + 22.0, panel.title);
    let _ = writeln!(text, "<text class=\"faint\" x=\"12\" y=\"{}\">{}</text>", top + 39.0, panel.note);
    let (from, to) = (top + 48.0, top + 50.0 + panel.bars.len() as f64 * ROW);
    for half in 0..=(end * 2.0) as u32 {
        let ratio = f64::from(half) / 2.0;
        let at = x(ratio);
        let class = if half == 2 { "line" } else { "grid" };
        let _ = writeln!(text, "<path class=\"{class}\" d=\"M{at:.1} {from}V{to}\"/>");
        let _ = writeln!(
            text,
            "<text class=\"faint\" x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{ratio:.1}</text>",
            to + 14.0
        );
    }
    for (row, (label, ratio)) in panel.bars.iter().enumerate() {
        let y = top + 51.0 + row as f64 * ROW;
        let good = (*ratio >= 1.0) == panel.more_is_better;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"{}\" x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{ratio:.2}</text>",
            LEFT - 8.0,
            y + 11.0,
            if good { "good" } else { "bad" },
            x(*ratio) - LEFT,
            WIDTH - 12.0,
            y + 11.0,
        );
    }
    to + 30.0
}
