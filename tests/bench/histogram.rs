//! A histogram of latencies: exact below 256 ns, within 1/128 above; the greatest is exact.

/// Buckets of one power of two.
const STEPS: u32 = 7;

/// Counts of nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; ((64 - STEPS as usize) + 1) << STEPS], total: 0, max_ns: 0 }
    }
}

fn shift(ns: u64) -> u32 {
    (63 - (ns | 1).leading_zeros()).saturating_sub(STEPS)
}

impl Histogram {
    /// Counts `times` events of this length.
    pub fn record(&mut self, ns: u64, times: u64) {
        let shift = shift(ns);
        self.counts[((shift as usize) << STEPS) + (ns >> shift) as usize] += times;
        self.total += times;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The length that this share of all events does not exceed.
    pub fn at(&self, share: f64) -> u64 {
        let wanted = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && *count > 0 {
                return upper_end(index).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// The greatest length.
    pub fn max(&self) -> u64 {
        self.max_ns
    }
}

/// The greatest length that is counted in this bucket.
fn upper_end(index: usize) -> u64 {
    if index < 2 << STEPS {
        return index as u64;
    }
    let shift = (index >> STEPS) as u32 - 1;
    let mantissa = (index - ((shift as usize) << STEPS)) as u64;
    (mantissa << shift) | ((1 << shift) - 1)
}
