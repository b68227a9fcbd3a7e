//! What to forget when memory is short: access clocks (LRU, LFU) and the choice of victims.
//!
//! The clock of an entry has 24 bits. LRU: seconds, wrapping. LFU: 16 bits of minutes since the last
//! decay and 8 bits of a logarithmic counter. Memory is measured by the front end's probe.

use super::config::MaxmemoryPolicy;
use super::entry::Entry;
use super::keyspace::Keyspace;
use super::rng::Rng;
use super::server::Server;
use super::settings::Settings;
use super::time::Now;

const CLOCK_MASK: u32 = (1 << 24) - 1;

/// What a new key's LFU counter starts with, so that it is not evicted at once.
const LFU_INITIAL: u32 = 5;

/// How accesses are recorded, resolved once per lookup.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessPolicy {
    lfu: bool,
    frozen: bool,
    seconds: u32,
    minutes: u32,
    log_factor: u32,
    decay_minutes: u32,
}

impl AccessPolicy {
    /// The policy that `settings` say; `frozen`: nothing moves.
    #[inline]
    pub fn new(settings: &Settings, now: Now, frozen: bool) -> AccessPolicy {
        AccessPolicy {
            lfu: settings.eviction.is_lfu(),
            frozen,
            seconds: lru_clock(now),
            minutes: if settings.eviction.is_lfu() { lfu_minutes(now) } else { 0 },
            log_factor: settings.lfu_log_factor,
            decay_minutes: settings.lfu_decay_minutes,
        }
    }

    /// Records a use.
    #[inline]
    pub fn touch(self, entry: &mut Entry, rng: &mut Rng) {
        if self.frozen {
            return;
        }
        if !self.lfu {
            // An entry that is touched again within the second stays clean in the cache.
            if entry.access() != self.seconds {
                entry.set_access(self.seconds);
            }
            return;
        }
        let counter = self.decayed(entry.access());
        let counter = if counter < 255 && self.counts(counter, rng) { counter + 1 } else { counter };
        entry.set_access(self.minutes << 8 | counter);
    }

    /// Sets the clock of a new entry.
    pub fn start(self, entry: &mut Entry) {
        entry.set_access(if self.lfu { self.minutes << 8 | LFU_INITIAL } else { self.seconds });
    }

    /// Sets the clock to what a snapshot or RESTORE says; what the policy in force does not use is ignored.
    pub fn restore(self, entry: &mut Entry, idle_seconds: Option<u64>, frequency: Option<u8>) {
        match (self.lfu, idle_seconds, frequency) {
            (true, _, Some(frequency)) => entry.set_access(self.minutes << 8 | u32::from(frequency)),
            (false, Some(idle), _) => {
                let idle = idle.min(u64::from(CLOCK_MASK)) as u32;
                entry.set_access(self.seconds.wrapping_sub(idle) & CLOCK_MASK);
            }
            _ => {}
        }
    }

    /// The LFU counter of a clock value, decayed to now.
    pub fn decayed(self, access: u32) -> u32 {
        let counter = access & 255;
        let elapsed = self.minutes.wrapping_sub(access >> 8) & 0xffff;
        match elapsed.checked_div(self.decay_minutes) {
            Some(periods) => counter.saturating_sub(periods),
            None => counter,
        }
    }

    /// Whether a use moves the counter: the higher it is, the less likely.
    fn counts(self, counter: u32, rng: &mut Rng) -> bool {
        let base = f64::from(counter.saturating_sub(LFU_INITIAL));
        let chance = 1.0 / (base * f64::from(self.log_factor) + 1.0);
        (rng.next() >> 11) as f64 / (1u64 << 53) as f64 <= chance
    }

    /// Seconds since the last use, for LRU.
    pub fn idle_seconds(self, access: u32) -> u32 {
        self.seconds.wrapping_sub(access) & CLOCK_MASK
    }
}

/// The LRU clock: seconds, 24 bits.
pub fn lru_clock(now: Now) -> u32 {
    now.wall.seconds() as u32 & CLOCK_MASK
}

fn lfu_minutes(now: Now) -> u32 {
    (now.wall.seconds() / 60) as u32 & 0xffff
}

/// Evicts until memory is below `maxmemory`, or until it has done as many steps as
/// `maxmemory-eviction-tenacity` allows: then ticks go on, so that a limit set far too low holds nobody up.
/// False if memory is still above and nothing more can go.
pub fn make_room(keys: &mut Keyspace, server: &mut Server) -> bool {
    let over = |server: &Server| {
        let used = (server.host.used_memory)().saturating_sub(server.doomed_bytes);
        used as u64 > server.config.maxmemory
    };
    if over(server) {
        // What serves nobody goes before any key does.
        server.drop_spare_buffers();
    }
    if !over(server) {
        server.stats.over_memory.end(server.now.mono);
        return true;
    }
    server.stats.over_memory.begin(server.now.mono);
    let evicts = server.config.maxmemory_policy != MaxmemoryPolicy::NoEviction;
    if !evicts && keys.garbage.is_empty() {
        return false;
    }
    let samples = server.config.maxmemory_samples as usize;
    let selected = keys.db;
    let began = (server.host.stopwatch_ns)();
    let mut steps = match server.config.maxmemory_eviction_tenacity {
        // What was deleted is freed before a write is refused.
        _ if !evicts => u64::MAX,
        100 => u64::MAX,
        tenacity => STEPS_PER_TENACITY * (u64::from(tenacity) + 1),
    };
    let mut stuck = false;
    while !stuck && steps > 0 && over(server) {
        // What was unlinked but not freed yet still counts: more victims would be too many.
        if !keys.garbage.is_empty() {
            keys.free_slice();
            steps = steps.saturating_sub(STEPS_PER_FREE_SLICE);
            continue;
        }
        steps -= 1;
        let Some((db, key)) = evicts.then(|| keys.choose_victim(samples)).flatten() else {
            stuck = true;
            continue;
        };
        keys.db = db;
        server.watch_latency("eviction-del", |_| keys.evict(&key));
    }
    keys.db = selected;
    keys.effects.set_apart();
    server.note_latency("eviction-cycle", (server.host.stopwatch_ns)().saturating_sub(began));
    let over = over(server);
    if !over {
        server.stats.over_memory.end(server.now.mono);
    }
    server.clock.busy |= !stuck && over;
    !stuck || !over
}

/// Victims per unit of `maxmemory-eviction-tenacity`.
const STEPS_PER_TENACITY: u64 = 10;

/// A slice of what is being freed takes as long as so many victims.
const STEPS_PER_FREE_SLICE: u64 = 50;

impl Keyspace {
    /// The best of a few random keys of all dbs, by the policy.
    fn choose_victim(&mut self, samples: usize) -> Option<(usize, Box<[u8]>)> {
        let policy = self.settings.eviction;
        let access = AccessPolicy::new(&self.settings, self.now, true);
        let mut best: Option<(u64, usize, Box<[u8]>)> = None;
        for db in 0..self.dbs.len() {
            for _ in 0..samples {
                let draw = self.rng.next();
                let Some((score, key)) = self.sample_key(db, draw, policy, access) else { break };
                if best.as_ref().is_none_or(|(highest, ..)| score > *highest) {
                    best = Some((score, db, key));
                }
            }
        }
        best.map(|(_, db, key)| (db, key))
    }

    /// A random key of one db that may be evicted, and how good a victim it is.
    fn sample_key(
        &self,
        db: usize,
        draw: u64,
        policy: MaxmemoryPolicy,
        access: AccessPolicy,
    ) -> Option<(u64, Box<[u8]>)> {
        let db = &self.dbs[db];
        let entry = if policy.is_allkeys() {
            db.table.random(draw)?
        } else {
            let wanted = *db.expires.random(draw)?;
            db.table.find(wanted.get(), |e| {
                e.expire_at().is_some() && super::keyspace::ticket(self.hash(e.key())) == wanted
            })?
        };
        let score = match policy {
            policy if policy.is_lfu() => 255 - u64::from(access.decayed(entry.access())),
            policy if policy.is_lru() => u64::from(access.idle_seconds(entry.access())),
            MaxmemoryPolicy::VolatileTtl => u64::MAX - entry.expire_at().unwrap_or(i64::MAX).max(0) as u64,
            _ => 0,
        };
        Some((score, entry.key().into()))
    }

    /// Removes a key because memory is short.
    fn evict(&mut self, key: &[u8]) {
        let lazy = self.settings.lazyfree_eviction;
        let Some(entry) = self.take(key) else { return };
        self.discard(entry, lazy);
        self.stats.evicted += 1;
        let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
        self.effects.append(self.db, [word, key].into_iter());
        self.touched(key);
        self.notify(super::config::NotifyFlags::EVICTED, "evicted", key);
    }
}
