//! LATENCY: what took long, as figures, as a drawing and in words; and how long commands take.
//!
//! Not here: how delays are recorded, which is in [`latency`](crate::engine::latency).

use crate::engine::call::Call;
use crate::engine::commands;
use crate::engine::error::{Error, Outcome};
use crate::engine::latency::{History, Sample};
use crate::engine::spec::*;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::container("latency", Group::Server, LATENCY_SUBCOMMANDS).docs(
    "2.8.13",
    "See the sub-commands.",
    "Commands that watch the server's delays.",
)];

/// Sub-commands of LATENCY.
const LATENCY_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("latency|doctor", latency_doctor, 2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.13", "O(1)", "Explains the delays seen and what to do about them.")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    Spec::sub("latency|graph", latency_graph, 3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.13", "O(1)", "Draws the delays of an event.")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .args("event:string"),
    Spec::sub("latency|help", latency_help, 2, LOADING | STALE, Group::Server).docs(
        "2.8.13",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("latency|histogram", latency_histogram, -2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("7.0.0", "O(N), N: commands shown", "How the run times of commands are distributed.")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .args("command:string?*"),
    Spec::sub("latency|history", latency_history, 3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.13", "O(1)", "The delays of an event, with their times.")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .args("event:string"),
    Spec::sub("latency|latest", latency_latest, 2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.13", "O(1)", "The newest delay of each event.")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"]),
    Spec::sub("latency|reset", latency_reset, -2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server)
        .docs("2.8.13", "O(1)", "Forgets the delays of events.")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .args("event:string?*"),
];

fn latency_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "DOCTOR",
            "    Explain the delays seen, and what may be done about them.",
            "GRAPH <event>",
            "    Draw the delays of an event.",
            "HISTOGRAM [<command> ...]",
            "    How the run times of commands, or of all commands, are distributed: how many",
            "    calls took less than each power of two of microseconds.",
            "HISTORY <event>",
            "    The delays of an event: Unix time and milliseconds.",
            "LATEST",
            "    The newest delay of each event, and its worst.",
            "RESET [<event> ...]",
            "    Forget the delays of events, or of all events.",
        ],
    );
    Ok(())
}

fn latency_history(call: &mut Call) -> Outcome {
    match history(call) {
        None => call.reply.array(0),
        Some(history) => {
            let history = history.clone();
            call.reply.array(history.samples.len());
            for Sample { time, ms } in &history.samples {
                call.reply.array(2);
                call.reply.int(*time);
                call.reply.int(*ms as i64);
            }
        }
    }
    Ok(())
}

/// The delays of the event that argument 2 names.
fn history<'a>(call: &'a Call) -> Option<&'a History> {
    let event = std::str::from_utf8(call.args.at(2)).ok()?;
    call.server.latency.events.get(event)
}

fn latency_latest(call: &mut Call) -> Outcome {
    let events = &call.server.latency.events;
    call.reply.array(events.len());
    for (event, history) in events {
        let newest = history.samples.back().copied().unwrap_or(Sample { time: 0, ms: 0 });
        call.reply.array(4);
        call.reply.bulk(event.as_bytes());
        call.reply.int(newest.time);
        call.reply.int(newest.ms as i64);
        call.reply.int(history.max_ms as i64);
    }
    Ok(())
}

fn latency_reset(call: &mut Call) -> Outcome {
    let events = &mut call.server.latency.events;
    let before = events.len();
    if call.args.len() == 2 {
        events.clear();
    }
    for name in call.args.from(2).iter() {
        events.retain(|event, _| event.as_bytes() != name);
    }
    call.reply.count(before - events.len());
    Ok(())
}

fn latency_histogram(call: &mut Call) -> Outcome {
    let table = commands::table();
    let mut wanted: Vec<u16> = Vec::new();
    if call.args.len() == 2 {
        wanted.extend(0..table.len() as u16);
    }
    for name in call.args.from(2).iter() {
        let Some(index) = call.server.renames.find_full(name) else { continue };
        // A container stands for its sub-commands too.
        wanted.extend(index..=index + table.row(index).subcommands.len() as u16);
    }
    let stats = &call.server.stats.commands;
    wanted.retain(|index| stats[usize::from(*index)].histogram.is_some());
    call.reply.map(wanted.len());
    for index in wanted {
        let Some(histogram) = &stats[usize::from(index)].histogram else { continue };
        let powers = histogram.by_powers();
        call.reply.bulk(table.row(index).full_name.as_bytes());
        call.reply.map(2);
        call.reply.bulk(b"calls");
        call.reply.int(histogram.count() as i64);
        call.reply.bulk(b"histogram_usec");
        call.reply.map(powers.len());
        for (micros, calls) in powers {
            call.reply.int(micros as i64);
            call.reply.int(calls as i64);
        }
    }
    Ok(())
}

fn latency_graph(call: &mut Call) -> Outcome {
    let Some(history) = history(call) else {
        let event = String::from_utf8_lossy(call.args.at(2));
        return Err(Error::new(format!("ERR No samples available for event '{event}'")));
    };
    let text = draw(&String::from_utf8_lossy(call.args.at(2)), history, call.keys.now.wall.seconds());
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A bar for each sample, the newest at the right, and how long ago it was below it, top down.
fn draw(event: &str, history: &History, now_s: i64) -> String {
    const ROWS: u64 = 4;
    const STEPS: [char; 3] = ['.', 'o', '#'];
    let summary = history.summary(now_s);
    let (low, high) = (summary.min_ms, summary.max_ms);
    let mut text =
        format!("{event} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n", history.max_ms, "-".repeat(80));
    let steps = ROWS * STEPS.len() as u64;
    // Samples weigh what they are above the lowest; that one still shows as a dot.
    let weight = |ms: u64| (ms - low) * (steps - 1) / (high - low).max(1);
    for row in (0..ROWS).rev() {
        for sample in &history.samples {
            let (full, part) = (weight(sample.ms) / 3, weight(sample.ms) % 3);
            text.push(match row {
                row if row < full => '|',
                row if row == full => STEPS[part as usize],
                _ => ' ',
            });
        }
        text.push('\n');
    }
    let labels: Vec<String> = history.samples.iter().map(|sample| age(now_s.saturating_sub(sample.time))).collect();
    text.push('\n');
    for place in 0..labels.iter().map(String::len).max().unwrap_or_default() {
        text.extend(labels.iter().map(|label| label.chars().nth(place).unwrap_or(' ')));
        text.push('\n');
    }
    text
}

/// A duration in its largest whole unit.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}

fn latency_doctor(call: &mut Call) -> Outcome {
    let text = diagnosis(call);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What was slow, and what may be done about it.
fn diagnosis(call: &Call) -> String {
    let (config, events) = (&call.server.config, &call.server.latency.events);
    let threshold = config.latency_monitor_threshold;
    if events.is_empty() {
        return match threshold {
            0 => "Nothing has been recorded: the latency monitor is off. CONFIG SET latency-monitor-threshold \
                <milliseconds> turns it on.\n"
                .into(),
            _ => format!("Nothing has taken {threshold} ms or longer since the monitor was turned on or reset.\n"),
        };
    }
    let now_s = call.keys.now.wall.seconds();
    let mut text = String::from("These events took long:\n\n");
    for (number, (event, history)) in events.iter().enumerate() {
        let summary = history.summary(now_s);
        text += &format!(
            "{}. {event}: {} times (mean {:.0} ms, mean deviation {:.0} ms, every {:.2} s). The worst ever took {} ms.\n",
            number + 1,
            history.samples.len(),
            summary.mean_ms,
            summary.deviation_ms,
            summary.period_s,
            history.max_ms
        );
    }
    text += "\nWhat may help:\n\n";
    for advice in advice(call) {
        text += &format!("- {advice}\n");
    }
    text
}

/// Advice for the events seen, under the configuration in force.
fn advice(call: &Call) -> Vec<String> {
    let (config, events) = (&call.server.config, &call.server.latency.events);
    let seen = |event: &str| events.contains_key(event);
    let mut advice = Vec::new();
    if seen("command") {
        let micros = config.latency_monitor_threshold.saturating_mul(1000);
        match u64::try_from(config.slowlog_log_slower_than) {
            Ok(limit) if limit <= micros.max(1) => {
                advice
                    .push("SLOWLOG GET shows which commands were slow: look for ones that touch many elements.".into());
            }
            _ => advice.push(format!(
                "The slow log leaves out commands that were noticed here. CONFIG SET slowlog-log-slower-than {micros} \
                 makes it keep them."
            )),
        }
        advice
            .push("UNLINK, FLUSHDB ASYNC and the lazyfree-lazy-* parameters free large values in small steps.".into());
    }
    if seen("fast-command") {
        advice.push(
            "Commands that do little work took long: the machine is short of processors or memory. See whether it swaps, \
             and what else runs on it."
                .into(),
        );
    }
    if seen("expire-cycle") {
        advice
            .push("Many keys expire at the same moment: spread their times by adding something random to them.".into());
    }
    if seen("eviction-cycle") || seen("eviction-del") {
        advice.push(
            "Keys have to be evicted before commands can run: raise maxmemory, write less, or evict large values in small \
             steps (lazyfree-lazy-eviction yes)."
                .into(),
        );
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_each_delay() {
        let samples = [(100, 10), (150, 20), (155, 40)].map(|(time, ms)| Sample { time, ms });
        let history = History { samples: samples.into(), max_ms: 99 };
        let dashes = "-".repeat(80);
        let expected = format!(
            "command - high 40 ms, low 10 ms (all time high 99 ms)\n{dashes}\n  #\n  |\n .|\n.||\n\n111\nm50\n ss\n"
        );
        assert_eq!(draw("command", &history, 165), expected);
    }
}
