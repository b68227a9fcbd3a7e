//! What the engine counts, for INFO, LATENCY and SLOWLOG.

use std::collections::BTreeMap;

use super::commands;
use super::time::MonoTime;

/// Counters of one command.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    /// Times it was run.
    pub calls: u64,
    /// Nanoseconds it took in all.
    pub nanos: u64,
    /// Times it was refused before it ran.
    pub rejected: u64,
    /// Times it ran and answered an error.
    pub failed: u64,
    /// How long single calls took.
    pub histogram: Option<Box<Histogram>>,
}

/// Durations by power of two of nanoseconds, each power in eight steps.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: [u64; Histogram::BUCKETS],
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; Histogram::BUCKETS] }
    }
}

impl Histogram {
    const STEPS: u32 = 8;
    const BUCKETS: usize = 40 * Histogram::STEPS as usize;

    fn bucket(nanos: u64) -> usize {
        let n = nanos.max(8);
        let power = n.ilog2();
        let step = (n >> (power - 3)) & 7;
        (((power - 3) * Histogram::STEPS) as usize + step as usize).min(Histogram::BUCKETS - 1)
    }

    /// The largest duration that falls into a bucket.
    fn upper(bucket: usize) -> u64 {
        let (power, step) = (bucket as u32 / Histogram::STEPS + 3, bucket as u64 % u64::from(Histogram::STEPS));
        ((8 + step + 1) << (power - 3)) - 1
    }

    /// Counts one duration.
    pub fn add(&mut self, nanos: u64) {
        self.buckets[Histogram::bucket(nanos)] += 1;
    }

    /// How many durations have been counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in nanoseconds that `percent` of all calls did not exceed.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (self.count() as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Histogram::upper(bucket);
            }
        }
        0
    }

    /// The durations by power of two: microseconds, and how many calls took less than that, from the first
    /// power that any call stayed below to the last one that changes the count.
    pub fn by_powers(&self) -> Vec<(u64, u64)> {
        // Redis shows the upper end of the bucket that its own histogram has at a power of two.
        const FIRST: u32 = 10;
        let mut shown = Vec::new();
        let (mut seen, mut before) = (0, 0);
        for power in 4..=3 + Histogram::BUCKETS as u32 / Histogram::STEPS {
            let row = ((power - 4) * Histogram::STEPS) as usize;
            seen += self.buckets[row..row + Histogram::STEPS as usize].iter().sum::<u64>();
            if power >= FIRST && seen > before {
                shown.push((((1 << power) + (1 << (power - 7)) - 1) / 1000, seen));
                before = seen;
            }
        }
        shown
    }

    /// How many calls took at most `nanos`.
    pub fn at_most(&self, nanos: u64) -> u64 {
        self.buckets.iter().enumerate().filter(|(b, _)| Histogram::upper(*b) <= nanos).map(|(_, n)| n).sum()
    }
}

/// A figure per second, sampled by the tick.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: [u64; 16],
    next: usize,
    last_total: u64,
    last_ms: u64,
}

impl Rate {
    /// Takes a sample of a growing total.
    pub fn sample(&mut self, total: u64, now_ms: u64) {
        let elapsed = now_ms.saturating_sub(self.last_ms);
        if elapsed == 0 {
            return;
        }
        self.samples[self.next] = total.saturating_sub(self.last_total) * 1000 / elapsed;
        self.next = (self.next + 1) % self.samples.len();
        (self.last_total, self.last_ms) = (total, now_ms);
    }

    /// The average of the last samples.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

/// How long something has been the case, all times together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spell {
    since: Option<MonoTime>,
    ended_ms: u64,
}

impl Spell {
    /// It is the case; nothing if it was already.
    pub fn begin(&mut self, now: MonoTime) {
        self.since.get_or_insert(now);
    }

    /// It is not the case any more; nothing if it was not.
    pub fn end(&mut self, now: MonoTime) {
        if let Some(since) = self.since.take() {
            self.ended_ms += now.ms_since(since);
        }
    }

    /// Milliseconds since it has been the case, 0 if it is not.
    pub fn current_ms(&self, now: MonoTime) -> u64 {
        self.since.map_or(0, |since| now.ms_since(since))
    }

    /// Milliseconds in all.
    pub fn total_ms(&self, now: MonoTime) -> u64 {
        self.ended_ms + self.current_ms(now)
    }
}

/// The turns of the front end's loop: see [`Engine::end_turn`](super::Engine::end_turn).
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct Turns {
    pub count: u64,
    pub nanos: u64,
    pub longest_nanos: u64,
    /// The most commands that one turn ran.
    pub most_commands: u64,
    /// Commands that had been run when the last turn ended.
    pub commands_before: u64,
    /// Time that rounds of periodic work took.
    pub round_nanos: u64,
    /// Time that handing on the stream took.
    pub storing_nanos: u64,
}

/// All counters.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Stats {
    /// By index in the command table.
    pub commands: Vec<CommandStats>,
    /// Error replies by their first word.
    pub errors: BTreeMap<String, u64>,
    pub error_replies: u64,
    pub commands_processed: u64,
    pub connections_received: u64,
    pub rejected_connections: u64,
    /// Times that bytes came from a client, and that bytes to one left.
    pub reads: u64,
    pub writes: u64,
    /// The same by the thread that has the socket.
    pub by_thread: Vec<(u64, u64)>,
    pub auth_failures: u64,
    pub net_input: u64,
    pub net_output: u64,
    pub output_limit_disconnections: u64,
    pub query_limit_disconnections: u64,
    pub evicted_clients: u64,
    pub client_timeouts: u64,
    pub peak_memory: usize,
    /// Unix time in seconds at which memory was at its peak.
    pub peak_memory_at: i64,
    /// Memory is above `maxmemory`.
    pub over_memory: Spell,
    pub turns: Turns,
    /// Pipelines whose keys were fetched ahead, and how many keys.
    pub prefetch_batches: u64,
    pub prefetch_keys: u64,
    /// Payloads of RESTORE that were checked in depth.
    pub payloads_checked: u64,
    pub peak_input_buffer: usize,
    pub peak_output_buffer: usize,
    pub unexpected_errors: u64,
    pub ops_rate: Rate,
    pub input_rate: Rate,
    pub output_rate: Rate,
    pub turn_rate: Rate,
    pub turn_nanos_rate: Rate,
    /// Whether `latency-tracking` is on.
    pub track_latency: bool,
}

impl Default for Stats {
    fn default() -> Stats {
        Stats {
            commands: vec![CommandStats::default(); commands::table().len()],
            errors: BTreeMap::new(),
            error_replies: 0,
            commands_processed: 0,
            connections_received: 0,
            rejected_connections: 0,
            reads: 0,
            writes: 0,
            by_thread: Vec::new(),
            auth_failures: 0,
            net_input: 0,
            net_output: 0,
            output_limit_disconnections: 0,
            query_limit_disconnections: 0,
            evicted_clients: 0,
            client_timeouts: 0,
            peak_memory: 0,
            peak_memory_at: 0,
            over_memory: Spell::default(),
            turns: Turns::default(),
            prefetch_batches: 0,
            prefetch_keys: 0,
            payloads_checked: 0,
            peak_input_buffer: 0,
            peak_output_buffer: 0,
            unexpected_errors: 0,
            ops_rate: Rate::default(),
            input_rate: Rate::default(),
            output_rate: Rate::default(),
            turn_rate: Rate::default(),
            turn_nanos_rate: Rate::default(),
            track_latency: true,
        }
    }
}

impl Stats {
    /// Kinds of errors that are counted apart; past that they are only counted together.
    const ERROR_KINDS: usize = 128;

    /// Reads and writes of the thread with this number.
    #[inline]
    pub fn of_thread(&mut self, number: u32) -> &mut (u64, u64) {
        let index = number as usize;
        if index >= self.by_thread.len() {
            self.by_thread.resize(index + 1, (0, 0));
        }
        &mut self.by_thread[index]
    }

    /// Counts one run of a command.
    #[inline]
    pub fn count_command(&mut self, command: u16, nanos: u64, failed: bool) {
        self.commands_processed += 1;
        let stats = &mut self.commands[usize::from(command)];
        stats.calls += 1;
        stats.nanos += nanos;
        stats.failed += u64::from(failed);
        if self.track_latency {
            stats.histogram.get_or_insert_default().add(nanos);
        }
    }

    /// Counts an error reply by its first word.
    pub fn count_error(&mut self, text: &str) {
        self.error_replies += 1;
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < Stats::ERROR_KINDS {
            self.errors.insert(code.to_owned(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_close_and_never_too_small() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add(us * 1000));
        for (percent, exact) in [(50.0, 500_000.0), (99.0, 990_000.0), (100.0, 1_000_000.0)] {
            let got = histogram.percentile(percent) as f64;
            assert!(got >= exact && got <= exact * 1.13, "{percent}: {got} for {exact}");
        }
        assert_eq!(histogram.count(), 1000);
    }
}
