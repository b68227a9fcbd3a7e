//! How many writes a server acknowledges where each is on the disk before its reply (`appendfsync always`): a part of
//! `pkg-scripts/bench persistence`.
//!
//! Many clients send SET and wait, one command at a time or sixteen. Servers take turns within each round, and ratios
//! are taken within a round: a disk is not as quick in one second as in the next. How long it takes for one small
//! append stands beside, because the ratio depends on it: on a quick disk it tells how little a server does around a
//! flush, on a slow one how many writes it has each flush serve.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use haversack::engine::rng::Rng;
use haversack::resp::encode_command;

use crate::load::{Load, Pool};
use crate::persistence::Plan;
use crate::report::thousands;
use crate::servers::{Client, Cores, Kind, Server};
use crate::shapes::{SPACE, key, strings, value};
use crate::table::table;

/// Pipelines, and what they are called.
const SHAPES: [(usize, &str); 2] = [(1, "SET always P1"), (16, "SET always P16")];
/// Requests made ready; they are sent round and round.
const REQUESTS: usize = 160_000;
/// No server begins its log anew meanwhile.
const ARGS: [&str; 6] = ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"];
/// What is appended to see how quick the disk is, and how often: about what clients write that ask together.
const APPEND_BYTES: usize = 2048;
const APPENDS: usize = 200;

/// Writes per second of each server, medians, and ours to the better of the others within a round.
struct Row {
    name: &'static str,
    rates: Vec<f64>,
    ratio: Option<f64>,
}

/// Whether anything of this is asked for.
pub fn is_wanted(plan: &Plan) -> bool {
    SHAPES.iter().any(|(_, name)| plan.wants(name))
}

/// Measures, and gives the end of the section of the report.
pub fn measure(plan: &Plan, kinds: &[Kind], cores: Cores) -> Result<String, String> {
    let flush = flush_time().map_err(|error| format!("cannot append to a file: {error}"))?;
    let servers = kinds.iter().map(|kind| Server::start_logging(*kind, cores, &ARGS));
    let servers = servers.collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        strings(&mut Client::connect(server.port)?, &mut Rng::new(7), SPACE)?;
    }
    let mut rows = Vec::new();
    for (depth, name) in SHAPES.into_iter().filter(|(_, name)| plan.wants(name)) {
        let row = run(plan, &servers, depth, name)?;
        eprintln!("{}; one fdatasync {}", row.words(kinds), in_ms(flush));
        rows.push(row);
    }
    Ok(part(kinds, plan, &rows, flush))
}

/// All rounds of one pipeline.
fn run(plan: &Plan, servers: &[Server], depth: usize, name: &'static str) -> Result<Row, String> {
    let mut rng = Rng::new(42);
    let pool = Pool::new(depth, REQUESTS / depth, |into| {
        let (key, value) = (key(rng.below(SPACE)), value(&mut rng));
        encode_command([&b"SET"[..], key.as_bytes(), value.as_bytes()], into);
    });
    let loads = servers.iter().map(|server| Load::connect(server.port, plan.connections));
    let mut loads = loads.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    let mut rounds = vec![vec![0.0; servers.len()]; plan.rounds];
    // The first time is for warming up.
    for round in 0..=plan.rounds {
        for turn in 0..servers.len() {
            let at = (round + turn) % servers.len();
            let run = loads[at].run(&pool, Some(plan.turn));
            let run = run.map_err(|error| format!("{}: {error}", servers[at].kind.name()))?;
            if let Some(rates) = round.checked_sub(1).map(|round| &mut rounds[round]) {
                rates[at] = run.requests as f64 / run.time.as_secs_f64();
            }
        }
    }
    let rates = (0..servers.len()).map(|at| crate::median(rounds.iter().map(|rates| rates[at]).collect())).collect();
    let best_of = |rates: &[f64], wanted: fn(Kind) -> bool| {
        let rates = servers.iter().zip(rates).filter(|(server, _)| wanted(server.kind));
        rates.map(|(_, rate)| *rate).reduce(f64::max)
    };
    let ratios = rounds
        .iter()
        .filter_map(|rates| Some(best_of(rates, |kind| kind == Kind::Haversack)? / best_of(rates, Kind::is_peer)?));
    let ratios: Vec<f64> = ratios.collect();
    Ok(Row { name, rates, ratio: (!ratios.is_empty()).then(|| crate::median(ratios)) })
}

/// How long one small append takes until it is on the disk that the servers write to.
fn flush_time() -> std::io::Result<Duration> {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}-flush", std::process::id()));
    let mut file = File::create(&path)?;
    let mut once = || {
        let began = Instant::now();
        file.write_all(&[b'x'; APPEND_BYTES])?;
        file.sync_data().map(|()| began.elapsed().as_secs_f64())
    };
    let times = (0..APPENDS).map(|_| once()).collect::<std::io::Result<Vec<f64>>>();
    fs::remove_file(&path)?;
    Ok(Duration::from_secs_f64(crate::median(times?)))
}

fn in_ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

impl Row {
    fn words(&self, kinds: &[Kind]) -> String {
        let rates = kinds.iter().zip(&self.rates).map(|(kind, rate)| format!("{} {}/s", kind.name(), thousands(*rate)));
        let ratio = self.ratio.map_or(String::new(), |ratio| format!(", ratio {ratio:.2}"));
        format!("{}: {}{ratio}", self.name, rates.collect::<Vec<_>>().join(", "))
    }
}

fn part(kinds: &[Kind], plan: &Plan, rows: &[Row], flush: Duration) -> String {
    let mut text = format!(
        "\nSET per second with `appendonly yes` and `appendfsync always`, {} connections, medians; the ratio is ours to the \
         better of the others in the same round, the median of all rounds; above 1 is faster. On that disk {APPEND_BYTES} \
         bytes and one fdatasync took {} (the median of {APPENDS}).\n\n",
        plan.connections,
        in_ms(flush)
    );
    let names = kinds.iter().map(|kind| kind.name());
    let head: Vec<String> = std::iter::once("writes").chain(names).chain(["ratio"]).map(str::to_owned).collect();
    let line = |row: &Row| {
        let mut cells = vec![row.name.to_owned()];
        cells.extend(row.rates.iter().map(|rate| thousands(*rate)));
        cells.push(row.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")));
        cells
    };
    text += &table(&head, &rows.iter().map(line).collect::<Vec<_>>());
    text
}
