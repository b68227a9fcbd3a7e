//! What was measured, as text for a terminal, as Markdown and as a picture.

use crate::servers::Kind;
use crate::table::table;

/// One server under one shape: medians over the rounds.
#[derive(Clone, Copy, Default)]
pub struct Figures {
    /// Requests per second.
    pub rate: f64,
    /// Requests per second of processor time of the server.
    pub per_cpu_s: f64,
    /// Latencies: p50, p99, p99.9, max.
    pub latency_ns: [u64; 4],
}

/// A shape with all its figures.
pub struct Row {
    /// Name and pipeline.
    pub label: String,
    /// By server.
    pub figures: Vec<(Kind, Figures)>,
    /// Requests per second: ours to the best peer of the same round, median.
    pub rate_ratio: f64,
    /// The same per second of processor time.
    pub cpu_ratio: f64,
    /// The share of the time that other work kept the servers from running.
    pub disturbed: f64,
    /// Ours to the canned server, per second of processor time.
    pub limit_ratio: Option<f64>,
}

/// The memory of one kind of item on one server.
#[derive(Clone, Copy)]
pub struct Weight {
    /// Growth of resident memory per item.
    pub resident: f64,
    /// Growth of INFO `used_memory` per item.
    pub used: f64,
    /// Resident memory that was left after FLUSHALL, as a share of the growth.
    pub left: f64,
}

/// An item with its weights.
pub struct WeightRow {
    /// What it is called.
    pub label: String,
    /// By server.
    pub weights: Vec<(Kind, Weight)>,
}

impl WeightRow {
    /// Ours to the lightest peer.
    pub fn ratio(&self) -> Option<f64> {
        let ours = self.weights.iter().find(|(kind, _)| *kind == Kind::Haversack)?.1.resident;
        let peers = self.weights.iter().filter(|(kind, _)| kind.is_peer());
        let best = peers.map(|(_, weight)| weight.resident).fold(f64::INFINITY, f64::min);
        best.is_finite().then_some(ours / best)
    }
}

/// The cost of a request with few keys and with many.
pub struct Growth {
    /// The server.
    pub kind: Kind,
    /// The command.
    pub label: &'static str,
    /// Nanoseconds of processor time per request with few keys, with many.
    pub ns: [f64; 2],
}

/// Everything that one run has brought.
#[derive(Default)]
pub struct Report {
    /// What was measured where and when, a line each.
    pub facts: Vec<String>,
    /// Who was measured.
    pub kinds: Vec<Kind>,
    /// Speed.
    pub rows: Vec<Row>,
    /// Memory.
    pub weights: Vec<WeightRow>,
    /// Cost with few keys and many.
    pub growth: Vec<Growth>,
}

/// Thousands, with three digits.
pub fn thousands(rate: f64) -> String {
    let k = rate / 1000.0;
    if k >= 100.0 { format!("{k:.0} k") } else { format!("{k:.1} k") }
}

fn micros(ns: u64) -> String {
    let us = ns as f64 / 1000.0;
    if us >= 100.0 { format!("{us:.0}") } else { format!("{us:.1}") }
}

impl Report {
    /// The whole report. Its text is Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Speed and memory beside Valkey and Redis\n\n");
        self.facts.iter().for_each(|fact| text += &format!("- {fact}\n"));
        if !self.rows.is_empty() {
            text += "\n## Requests per second of processor time\n\nThe ratio is ours to the better of the others in the \
                same round, the median of all rounds; above 1 is faster. P16: sixteen requests sent at once.\n\n";
            text += &self.speed_table();
            text += "\n## Requests per second by the wall clock\n\nThis one meets the limit of the load generator.\n\n";
            text += &self.rate_table();
            text += "\n## Latency in microseconds\n\np50 / p99 / p99.9 / max, from sending a batch to its last reply, \
                under full load.\n\n";
            text += &self.latency_table();
        }
        if !self.weights.is_empty() {
            text += "\n## Bytes of resident memory per item\n\nThe ratio is ours to the lighter of the others; below 1 is \
                smaller. In brackets: the growth of `used_memory` per item, and what of the growth was still resident \
                two seconds after FLUSHALL.\n\n";
            text += &self.memory_table();
        }
        if !self.growth.is_empty() {
            text += "\n## Processor time per request with 10 thousand keys and 10 million\n\n";
            text += &self.growth_table();
        }
        text
    }

    fn head(&self, first: &str, more: &[&str]) -> Vec<String> {
        let kinds = self.kinds.iter().map(|kind| kind.name());
        std::iter::once(first).chain(kinds).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// A row for each shape: a cell for each server, then `more`.
    fn by_shape(&self, cell: fn(&Figures) -> String, more: fn(&Row) -> Vec<f64>) -> Vec<Vec<String>> {
        let of = |row: &Row, kind: &Kind| {
            let figures = row.figures.iter().find(|(other, _)| other == kind);
            figures.map_or(String::new(), |(_, figures)| cell(figures))
        };
        let ratio = |ratio: f64| if ratio > 0.0 { format!("{ratio:.2}") } else { String::new() };
        let line = |row: &Row| {
            let cells = self.kinds.iter().map(|kind| of(row, kind)).chain(more(row).into_iter().map(ratio));
            std::iter::once(row.label.clone()).chain(cells).collect()
        };
        self.rows.iter().map(line).collect()
    }

    fn speed_table(&self) -> String {
        let more = |row: &Row| vec![row.cpu_ratio, row.limit_ratio.unwrap_or(0.0)];
        let rows = self.by_shape(|figures| thousands(figures.per_cpu_s), more);
        table(&self.head("shape", &["ratio", "of canned"]), &rows)
    }

    fn rate_table(&self) -> String {
        let rows = self.by_shape(|figures| thousands(figures.rate), |row| vec![row.rate_ratio]);
        table(&self.head("shape", &["ratio"]), &rows)
    }

    fn latency_table(&self) -> String {
        let rows = self.by_shape(|figures| figures.latency_ns.map(micros).join(" / "), |_| Vec::new());
        table(&self.head("shape", &[]), &rows)
    }

    fn memory_table(&self) -> String {
        let kinds: Vec<Kind> = self.kinds.iter().copied().filter(|kind| *kind != Kind::Canned).collect();
        let rows: Vec<Vec<String>> = self
            .weights
            .iter()
            .map(|row| {
                let mut cells = vec![row.label.clone()];
                for kind in &kinds {
                    let weight = row.weights.iter().find(|(other, _)| other == kind);
                    cells.push(weight.map_or(String::new(), |(_, w)| {
                        format!("{:.1} ({:.1}, {:.0} %)", w.resident, w.used, w.left * 100.0)
                    }));
                }
                cells.push(row.ratio().map_or(String::new(), |ratio| format!("{ratio:.2}")));
                cells
            })
            .collect();
        let mut head = vec!["item".to_owned()];
        head.extend(kinds.iter().map(|kind| kind.name().to_owned()));
        head.push("ratio".to_owned());
        table(&head, &rows)
    }

    fn growth_table(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .growth
            .iter()
            .map(|row| {
                let [few, many] = row.ns;
                vec![
                    format!("{} {}", row.kind.name(), row.label),
                    format!("{few:.0} ns"),
                    format!("{many:.0} ns"),
                    format!("{:.2}", many / few),
                ]
            })
            .collect();
        let head = ["", "10 k keys", "10 M keys", "growth"].map(str::to_owned);
        table(&head, &rows)
    }
}

/// The section of a report that begins with this heading, if it has it.
pub fn section_of<'a>(report: &'a str, heading: &str) -> Option<&'a str> {
    let rest = &report[report.find(heading)?..];
    let end = rest[heading.len()..].find("\n## ").map_or(rest.len(), |end| heading.len() + end + 1);
    Some(&rest[..end])
}

/// The report with this section in place of the one that it has, or at its end.
pub fn with_section(report: &str, heading: &str, section: &str) -> String {
    match section_of(report, heading) {
        Some(old) => report.replace(old, &format!("{}\n", section.trim_end())),
        None => format!("{}\n\n{}\n", report.trim_end(), section.trim_end()),
    }
}
