//! How long anybody is kept waiting: `pkg-scripts/bench pauses`.
//!
//! Keys come and go by the million at full speed, large collections are thrown away, a million keys expire in one
//! moment, then a million fields of one hash, and half of all keys are evicted. What each command took inside the
//! engine is the server's own histogram (`latency-tracking`), what a turn of its loop took is `eventloop_duration_max`,
//! and a client that sends PING each millisecond tells what can be felt outside; it feels the system's scheduler, too.

use std::time::{Duration, Instant};

use haversack::engine::rng::Rng;
use haversack::resp::Value;

use crate::persistence::Prober;
use crate::servers::{Client, Cores, Kind, Server};
use crate::shapes::{key, value};
use crate::table::table;

/// What the section of the report begins with.
pub const HEADING: &str = "## Pauses";

/// Keys at 100 %.
const KEYS: u64 = 10_000_000;
/// Elements of a collection at 100 %.
const ELEMENTS: u64 = 5_000_000;
/// Keys that expire together at 100 %, and fields of one hash.
const EXPIRING: u64 = 1_000_000;
/// Keys half of which are evicted at 100 %.
const EVICTED: u64 = 2_000_000;
/// Elements that one command brings.
const AT_ONCE: u64 = 100;
/// Keys and fields that are to expire must be there within this time.
const FILLING_MS: u64 = 15_000;
/// Until then it must be over.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one phase has cost.
struct Phase {
    name: String,
    took: Duration,
    /// p50, p99, p99.99 and the longest time of the command inside the engine, in microseconds.
    engine_us: [String; 4],
    turn_us: String,
    ping: Duration,
    /// Upper ends in microseconds, and how many commands took no longer.
    histogram: Vec<(u64, u64)>,
}

/// Measures, and gives the section of the report.
pub fn measure(percent: u64, cores: Cores) -> Result<String, String> {
    let of = |count: u64| (count * percent / 100).max(1);
    let server = Server::start(Kind::Haversack, cores)?;
    let mut client = Client::connect(server.port)?;
    client.ask(&["CONFIG", "SET", "latency-tracking-info-percentiles", "50 99 99.99 100"])?;
    let mut bench = Bench { server, client, phases: Vec::new() };
    let (keys, elements, expiring) = (of(KEYS), of(ELEMENTS), of(EXPIRING));
    bench.phase(format!("SET of {keys} new keys"), "set", |client, _| {
        let mut rng = Rng::new(7);
        (0..keys).try_for_each(|n| client.pipe(&[b"SET", key(n).as_bytes(), value(&mut rng).as_bytes()]))?;
        client.finish()
    })?;
    bench.phase(format!("DEL of {keys} keys"), "del", |client, _| {
        (0..keys).try_for_each(|n| client.pipe(&[b"DEL", key(n).as_bytes()]))?;
        client.finish()
    })?;
    for (kind, add) in [("hash", "HSET"), ("set", "SADD"), ("sorted set", "ZADD"), ("list", "RPUSH")] {
        fill(&mut bench.client, add, elements)?;
        let kept = bench.used_bytes()?;
        bench.phase(format!("UNLINK of a {kind} of {elements} elements"), "unlink", |client, server| {
            client.ask(&["UNLINK", "c"])?;
            freed(server, kept)
        })?;
    }
    fill(&mut bench.client, "SADD", elements)?;
    let kept = bench.used_bytes()?;
    bench.phase(format!("FLUSHALL ASYNC of a set of {elements} elements"), "flushall", |client, server| {
        client.ask(&["FLUSHALL", "ASYNC"])?;
        freed(server, kept)
    })?;
    expire(&mut bench, expiring)?;
    evict(&mut bench, of(EVICTED))?;
    Ok(section(&bench.phases))
}

/// Keys that expire all at once, and fields: 0.1 s after the phase begins.
fn expire(bench: &mut Bench, count: u64) -> Result<(), String> {
    let moment = || now_ms().map(|now| (now + FILLING_MS, (now + FILLING_MS).to_string()));
    let (at_ms, at) = moment()?;
    for n in 0..count {
        bench.client.pipe(&[b"SET", key(n).as_bytes(), b"value", b"PXAT", at.as_bytes()])?;
    }
    bench.client.finish()?;
    wait_for(at_ms)?;
    bench.phase(format!("{count} keys expire in one moment"), "ping", |client, _| {
        until(|| Ok(client.ask(&["DBSIZE"])? == Value::Int(0)), "the keys do not expire")
    })?;
    let (at_ms, at) = moment()?;
    let at_once = AT_ONCE.to_string();
    for start in (0..count).step_by(AT_ONCE as usize) {
        let mut words = ["HSETEX", "c", "PXAT", &at, "FIELDS", &at_once].map(str::to_owned).to_vec();
        (start..start + AT_ONCE).for_each(|n| words.extend([key(n), "value".to_owned()]));
        bench.client.pipe(&words.iter().map(String::as_bytes).collect::<Vec<_>>())?;
    }
    bench.client.finish()?;
    wait_for(at_ms)?;
    bench.phase(format!("{count} fields of a hash expire in one moment"), "ping", |client, _| {
        until(|| Ok(client.ask(&["EXISTS", "c"])? == Value::Int(0)), "the fields do not expire")
    })
}

/// Half of all keys have to go.
fn evict(bench: &mut Bench, count: u64) -> Result<(), String> {
    let mut rng = Rng::new(11);
    (0..count).try_for_each(|n| bench.client.pipe(&[b"SET", key(n).as_bytes(), value(&mut rng).as_bytes()]))?;
    bench.client.finish()?;
    let limit = bench.used_bytes()? / 2;
    bench.phase(format!("half of {count} keys are evicted"), "config|set", |client, server| {
        client.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", &limit.to_string()])?;
        until(|| Ok(used_bytes(server)? <= limit + (1 << 20)), "the keys are not evicted")
    })
}

/// Waits for something.
fn until(mut holds: impl FnMut() -> Result<bool, String>, failure: &str) -> Result<(), String> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > PATIENCE {
            return Err(failure.to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> Result<u64, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|error| error.to_string())?;
    Ok(now.as_millis() as u64)
}

/// Waits until it is nearly time.
fn wait_for(at_ms: u64) -> Result<(), String> {
    let left_ms = at_ms.checked_sub(now_ms()? + 100).ok_or("it took too long to fill the server")?;
    std::thread::sleep(Duration::from_millis(left_ms));
    Ok(())
}

/// A collection of so many elements under the key `c`.
fn fill(client: &mut Client, add: &str, elements: u64) -> Result<(), String> {
    let mut rng = Rng::new(9);
    for start in (0..elements).step_by(AT_ONCE as usize) {
        let mut words = vec![add.to_owned(), "c".to_owned()];
        for n in start..elements.min(start + AT_ONCE) {
            match add {
                "HSET" => words.extend([key(n), value(&mut rng)]),
                "ZADD" => words.extend([rng.below(1 << 40).to_string(), key(n)]),
                _ => words.push(key(n)),
            }
        }
        client.pipe(&words.iter().map(String::as_bytes).collect::<Vec<_>>())?;
    }
    client.finish()
}

/// Waits until most of the memory is free again.
fn freed(server: &Server, before: u64) -> Result<(), String> {
    until(|| Ok(used_bytes(server)? <= before / 8 + (8 << 20)), "the memory is not given back")
}

fn used_bytes(server: &Server) -> Result<u64, String> {
    server.info("used_memory")?.trim_end().parse().map_err(|_| "used_memory is no number".to_owned())
}

struct Bench {
    server: Server,
    client: Client,
    phases: Vec<Phase>,
}

impl Bench {
    fn used_bytes(&self) -> Result<u64, String> {
        used_bytes(&self.server)
    }

    /// Runs a phase; `command` is the one whose times are told.
    fn phase(
        &mut self,
        name: String,
        command: &str,
        work: impl FnOnce(&mut Client, &Server) -> Result<(), String>,
    ) -> Result<(), String> {
        self.client.ask(&["CONFIG", "RESETSTAT"])?;
        let prober = Prober::start(self.server.port)?;
        let began = Instant::now();
        work(&mut self.client, &self.server)?;
        let took = began.elapsed();
        let ping = prober.end()?;
        let percentiles =
            self.server.info_of("latencystats", &format!("latency_percentiles_usec_{command}")).unwrap_or_default();
        let mut figures = percentiles.trim_end().split(',').map(|figure| figure.split('=').nth(1).unwrap_or("–"));
        let engine_us = std::array::from_fn(|_| figures.next().unwrap_or("–").to_owned());
        let turn_us = self.server.info_of("debug", "eventloop_duration_max")?.trim_end().to_owned();
        let histogram = self.histogram(command)?;
        let phase = Phase { name, took, engine_us, turn_us, ping, histogram };
        eprintln!("{}", phase.cells().join(", "));
        self.phases.push(phase);
        Ok(())
    }

    /// LATENCY HISTOGRAM of a command.
    fn histogram(&mut self, command: &str) -> Result<Vec<(u64, u64)>, String> {
        let text = self.client.ask(&["LATENCY", "HISTOGRAM", command])?.to_string();
        let numbers = text.split("histogram_usec").nth(1).unwrap_or_default();
        let numbers = numbers.split("(integer) ").skip(1);
        let numbers: Vec<u64> =
            numbers.filter_map(|it| it.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect();
        Ok(numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }
}

impl Phase {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.name.clone(), format!("{:.2}", self.took.as_secs_f64())];
        cells.extend(self.engine_us.iter().cloned());
        cells.extend([self.turn_us.clone(), format!("{:.2}", self.ping.as_secs_f64() * 1e3)]);
        cells
    }
}

fn section(phases: &[Phase]) -> String {
    let mut text = format!(
        "{HEADING}\n\nMicroseconds that the command took inside the engine, the longest turn of the loop in microseconds, \
         and the longest that a client waited for PING, in milliseconds. The server has a core of its own.\n\n"
    );
    let head = ["what", "s", "p50", "p99", "p99.99", "longest", "turn", "PING ms"].map(str::to_owned);
    text += &table(&head, &phases.iter().map(Phase::cells).collect::<Vec<_>>());
    for phase in phases.iter().filter(|phase| phase.histogram.len() > 1) {
        let cells = phase.histogram.iter().map(|(us, count)| format!("≤ {us}: {count}"));
        text += &format!("\n{}, commands by microseconds: {}.\n", phase.name, cells.collect::<Vec<_>>().join(", "));
    }
    text
}
