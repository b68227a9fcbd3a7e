//! The latency monitor: what took longer than `latency-monitor-threshold` milliseconds, by kind of event.
//!
//! Not here: the histograms of commands, which are in [`stats`](super::stats), and the command LATENCY.
//! Each event keeps its newest samples, at most one a second (the worst of it). Counterpart: `latency.c`.

use std::collections::{BTreeMap, VecDeque};

use super::server::Server;

/// Samples kept of an event.
const MAX_SAMPLES: usize = 160;

/// One delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, in Unix seconds.
    pub time: i64,
    /// How long, in milliseconds.
    pub ms: u64,
}

/// The delays of one event.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The newest samples, oldest first.
    pub samples: VecDeque<Sample>,
    /// The worst delay of all time.
    pub max_ms: u64,
}

/// The delays of all events, by name.
#[derive(Clone, Debug, Default)]
pub struct LatencyMonitor {
    /// Only events that had a delay.
    pub events: BTreeMap<&'static str, History>,
}

impl LatencyMonitor {
    fn add(&mut self, event: &'static str, sample: Sample) {
        let history = self.events.entry(event).or_default();
        history.max_ms = history.max_ms.max(sample.ms);
        match history.samples.back_mut() {
            Some(last) if last.time == sample.time => last.ms = last.ms.max(sample.ms),
            _ => history.samples.push_back(sample),
        }
        if history.samples.len() > MAX_SAMPLES {
            history.samples.pop_front();
        }
    }
}

/// What a history amounts to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The shortest delay in milliseconds.
    pub min_ms: u64,
    /// The longest delay among the samples.
    pub max_ms: u64,
    /// The mean delay.
    pub mean_ms: f64,
    /// How far the delays are from the mean, on average.
    pub deviation_ms: f64,
    /// Seconds from one delay to the next, on average.
    pub period_s: f64,
}

impl History {
    /// Figures over all samples.
    pub fn summary(&self, now_s: i64) -> Summary {
        let count = self.samples.len().max(1) as f64;
        let ms = || self.samples.iter().map(|sample| sample.ms);
        let mean_ms = ms().sum::<u64>() as f64 / count;
        let since = self.samples.front().map_or(0, |oldest| now_s.saturating_sub(oldest.time).max(1));
        Summary {
            min_ms: ms().min().unwrap_or_default(),
            max_ms: ms().max().unwrap_or_default(),
            mean_ms,
            deviation_ms: ms().map(|ms| (ms as f64 - mean_ms).abs()).sum::<f64>() / count,
            period_s: since as f64 / count,
        }
    }
}

impl Server {
    /// Whether delays are recorded at all.
    #[inline]
    pub fn monitors_latency(&self) -> bool {
        self.config.latency_monitor_threshold > 0
    }

    /// Records that `event` took so many nanoseconds, if that is long.
    #[inline]
    pub fn note_latency(&mut self, event: &'static str, nanos: u64) {
        let threshold = self.config.latency_monitor_threshold;
        let ms = nanos / 1_000_000;
        if threshold > 0 && ms >= threshold {
            self.latency.add(event, Sample { time: self.now.wall.seconds(), ms });
        }
    }

    /// Runs `work` and records how long it took as `event`.
    pub fn watch_latency<T>(&mut self, event: &'static str, work: impl FnOnce(&mut Server) -> T) -> T {
        if !self.monitors_latency() {
            return work(self);
        }
        let began = (self.host.stopwatch_ns)();
        let result = work(self);
        let nanos = (self.host.stopwatch_ns)().saturating_sub(began);
        self.note_latency(event, nanos);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_a_second_and_not_too_many() {
        let mut monitor = LatencyMonitor::default();
        for time in 0..200 {
            monitor.add("command", Sample { time, ms: 5 });
            monitor.add("command", Sample { time, ms: time as u64 + 3 });
        }
        let history = &monitor.events["command"];
        assert_eq!(history.samples.len(), MAX_SAMPLES);
        assert_eq!(history.samples.front(), Some(&Sample { time: 40, ms: 43 }));
        assert_eq!(history.max_ms, 202);
        let summary = history.summary(200);
        assert_eq!((summary.min_ms, summary.max_ms), (43, 202));
        assert_eq!((summary.mean_ms, summary.deviation_ms, summary.period_s), (122.5, 40.0, 1.0));
    }
}
