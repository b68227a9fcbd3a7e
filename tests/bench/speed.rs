//! The benchmark: our server beside the real Valkey and Redis, in one run, interleaved.
//!
//! Servers share one processor core, this program has another. Every shape of load is measured in short rounds;
//! in each round every server has its turn, so that a disturbance from outside meets all of them, and ratios are
//! taken within a round. Requests per second of the server's processor time hold also where the generator is the
//! limit. `pkg-scripts/bench` builds, installs and starts everything; `--help` tells the options.
//!
//! Redis' counterpart: `redis-benchmark`, which knows no processor time and no neighbour.

mod flushing;
mod histogram;
mod load;
mod pauses;
mod persistence;
mod picture;
mod report;
mod servers;
mod shapes;
mod sys;
mod table;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use haversack::engine::rng::Rng;

use histogram::Histogram;
use load::{Load, Pool};
use report::{Figures, Growth, Report, Row, Weight, WeightRow};
use servers::{Client, Cores, Kind, Server};
use shapes::{ITEMS, Shape};

const HELP: &str = "\
Usage: pkg-scripts/bench [persistence | pauses] [OPTION...] [NAME...]

Measures the server beside Valkey 9.1 and Redis 8.2 and writes results.md and results.svg.
A NAME is a shape or an item, or a part of some names, such as \"GET P16\", \"zset\" or \"string 16\"; without one, all
of them are measured.

With the word persistence in front it measures instead what BGSAVE costs while it runs and how long loading takes,
with 2 million keys, a hash and a list of 5 million elements and others, and how many writes a second there are with
appendfsync always; a NAME is a part of what stands in the tables, such as \"hash\" or \"always\", --percent N takes so
many percent of the data, --rounds N loads so often, and has so many rounds of writes.
With the word pauses it measures how long the server keeps anybody waiting while 10 million keys come and go, large
collections are thrown away and a million keys expire at once; --percent N takes so many percent of that.

  --rounds N          rounds of each shape (default 7)
  --seconds S         length of one server's turn in a round (default 0.4)
  --connections N     connections to each server (default 50)
  --servers A,B       only these of haversack, valkey, redis, canned
  --items N           items that memory is weighed with (default 500000)
  --no-memory         no weighing
  --no-speed          only weighing
  --flat              also GET and SET with 10 thousand keys and with 10 million; takes minutes and gigabytes
  --quick             3 rounds of 0.15 s, 100000 items
  --list              the names of shapes and items
  --out FOLDER        where results are written (default target/bench)
  --commit            write them to tests/bench, where the README shows them; refused for a part of a run, and
                      when the machine was busy with something else
";

/// Results for the README need a machine on which servers wait for their core no longer than this.
const QUIET: f64 = 0.03;

/// What is asked for.
struct Options {
    names: Vec<String>,
    rounds: usize,
    turn: Duration,
    connections: usize,
    kinds: Vec<Kind>,
    items: u64,
    speed: bool,
    memory: bool,
    flat: bool,
    quick: bool,
    percent: u64,
    list: bool,
    commit: bool,
    out: PathBuf,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            names: Vec::new(),
            rounds: 7,
            turn: Duration::from_millis(400),
            connections: 50,
            kinds: Kind::ALL.to_vec(),
            items: 500_000,
            speed: true,
            memory: true,
            flat: false,
            quick: false,
            percent: 100,
            list: false,
            commit: false,
            out: default_out(),
        };
        while let Some(arg) = args.next() {
            let mut next = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            fn number<N: std::str::FromStr>(text: String) -> Result<N, String> {
                text.parse().map_err(|_| format!("{text} is no number here"))
            }
            match &arg[..] {
                "--rounds" => options.rounds = number::<usize>(next()?)?.max(1),
                "--seconds" => options.turn = Duration::from_secs_f64(number::<f64>(next()?)?.clamp(0.01, 60.0)),
                "--connections" => options.connections = number::<usize>(next()?)?.max(1),
                "--servers" => options.kinds = kinds(&next()?)?,
                "--items" => options.items = number::<u64>(next()?)?.max(1000),
                "--percent" => options.percent = number::<u64>(next()?)?.clamp(1, 1000),
                "--no-memory" => options.memory = false,
                "--no-speed" => options.speed = false,
                "--flat" => options.flat = true,
                "--quick" => {
                    options.quick = true;
                    (options.rounds, options.turn, options.items) = (3, Duration::from_millis(150), 100_000);
                }
                "--list" => options.list = true,
                "--out" => options.out = next()?.into(),
                "--commit" => options.commit = true,
                // What `cargo bench` adds.
                "--bench" => {}
                option if option.starts_with('-') => return Err(format!("unknown option {option}; see --help")),
                name => options.names.push(name.to_lowercase()),
            }
        }
        if options.commit {
            let whole = options.names.is_empty() && options.speed && options.memory && !options.quick;
            if !whole || options.kinds.len() < Kind::ALL.len() {
                return Err("--commit is for a whole run only".to_owned());
            }
            options.out = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench").into();
        }
        Ok(options)
    }

    /// Whether a label is asked for: "get p16" is one shape, not "HGET P16" as well; "get" is both.
    fn wants(&self, label: &str) -> bool {
        let whole = |name: &String| shapes::shapes().iter().any(|shape| shape.label().to_lowercase() == *name);
        let label = label.to_lowercase();
        let fits = |name: &String| if whole(name) { label == *name } else { label.contains(name) };
        self.names.is_empty() || self.names.iter().any(fits)
    }
}

fn default_out() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench")
}

fn kinds(names: &str) -> Result<Vec<Kind>, String> {
    let find = |name: &str| {
        let kind = Kind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name));
        kind.ok_or_else(|| format!("no server {name:?}; there are haversack, valkey, redis, canned"))
    };
    names.split(',').map(find).collect()
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).peekable();
    let done = match args.peek().map(String::as_str) {
        Some("canned-server") => {
            let port = args.nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
            servers::serve_canned(port).map_err(|error| error.to_string())
        }
        Some("--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some("persistence") => {
            args.next();
            Options::parse(args).and_then(|options| persistence(&options))
        }
        Some("pauses") => {
            args.next();
            Options::parse(args).and_then(|options| pauses(&options))
        }
        _ => Options::parse(args).and_then(|options| bench(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// The other benchmark: see `persistence.rs`.
fn persistence(options: &Options) -> Result<(), String> {
    let cores = Cores::choose();
    sys::pin(cores.generator);
    let plan = persistence::Plan {
        percent: options.percent,
        rounds: options.rounds.min(5),
        turn: options.turn,
        connections: options.connections,
        kinds: options.kinds.clone(),
        names: options.names.clone(),
    };
    keep(options, persistence::HEADING, &persistence::measure(&plan, cores)?)
}

/// The third benchmark: see `pauses.rs`.
fn pauses(options: &Options) -> Result<(), String> {
    let cores = Cores::choose();
    sys::pin(cores.generator);
    keep(options, pauses::HEADING, &pauses::measure(options.percent, cores)?)
}

/// Shows a section, and puts it into the report.
fn keep(options: &Options, heading: &str, section: &str) -> Result<(), String> {
    println!("{section}");
    std::fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    let path = options.out.join("results.md");
    let report = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, report::with_section(&report, heading, section)).map_err(|error| error.to_string())
}

fn bench(options: &Options) -> Result<(), String> {
    let shapes: Vec<Shape> = shapes::shapes().into_iter().filter(|shape| options.wants(&shape.label())).collect();
    let items: Vec<&shapes::Item> = ITEMS.iter().filter(|item| options.wants(item.name)).collect();
    if options.list {
        shapes.iter().for_each(|shape| println!("{}", shape.label()));
        items.iter().for_each(|item| println!("{}", item.name));
        return Ok(());
    }
    if shapes.is_empty() && items.is_empty() {
        return Err("nothing is called so; --list tells the names".to_owned());
    }
    let cores = Cores::choose();
    sys::pin(cores.generator);
    let mut report = Report { kinds: options.kinds.clone(), ..Report::default() };
    report.facts = facts(options, cores)?;
    if options.speed && !shapes.is_empty() {
        let servers = start(&options.kinds, cores)?;
        for shape in &shapes {
            let row = measure(shape, &servers, options).map_err(|error| format!("{}: {error}", shape.label()))?;
            eprintln!("{}", progress(&row));
            report.rows.push(row);
        }
    }
    if options.memory {
        for item in items {
            let row = weigh(item, cores, options).map_err(|error| format!("{}: {error}", item.name))?;
            let weights = row.weights.iter().map(|(kind, weight)| format!("{} {:.1}", kind.name(), weight.resident));
            eprintln!("{:<24} {}", row.label, weights.collect::<Vec<_>>().join(", "));
            report.weights.push(row);
        }
    }
    if options.flat {
        report.growth = growth(cores, options)?;
    }
    let disturbed = report.rows.iter().map(|row| row.disturbed).sum::<f64>() / report.rows.len().max(1) as f64;
    report
        .facts
        .push(format!("Other work on the machine held the servers up for {:.1} % of the time", disturbed * 100.0));
    let text = report.markdown();
    println!("{text}");
    let refused = options.commit && disturbed > QUIET;
    let out = if refused { default_out() } else { options.out.clone() };
    std::fs::create_dir_all(&out).map_err(|error| error.to_string())?;
    // What the other benchmarks have found stays.
    let old = std::fs::read_to_string(out.join("results.md")).unwrap_or_default();
    let text = [persistence::HEADING, pauses::HEADING].iter().fold(text, |text, heading| {
        report::section_of(&old, heading).map_or(text.clone(), |section| report::with_section(&text, heading, section))
    });
    std::fs::write(out.join("results.md"), text).map_err(|error| error.to_string())?;
    if let Some(svg) = picture::svg(&report) {
        std::fs::write(out.join("results.svg"), svg).map_err(|error| error.to_string())?;
    }
    match refused {
        true => Err(format!("not for the README: the servers were held up for over {} % of the time", QUIET * 100.0)),
        false => Ok(()),
    }
}

/// What there is to know about a run besides its figures. No name of a machine, no path.
fn facts(options: &Options, cores: Cores) -> Result<Vec<String>, String> {
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().map_err(|error| format!("date: {error}"))?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let servers = start(&options.kinds, cores)?;
    let versions = servers.iter().filter(|server| server.kind != Kind::Canned).map(Server::version);
    let versions: Vec<String> = versions.collect::<Result<_, _>>()?;
    Ok(vec![
        versions.join(", "),
        match cores.count {
            1 => format!("One core ({model}), shared by servers and load generator: nothing here is reliable"),
            count => format!("{count} cores ({model}): one for the servers, one for the load generator"),
        },
        format!(
            "{}, {} rounds of {:.2} s each, {} connections, keys of 16 bytes, values of 16 bytes",
            String::from_utf8_lossy(&date.stdout).trim(),
            options.rounds,
            options.turn.as_secs_f64(),
            options.connections
        ),
    ])
}

fn start(kinds: &[Kind], cores: Cores) -> Result<Vec<Server>, String> {
    kinds.iter().map(|kind| Server::start(*kind, cores)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// The turns of one server.
struct Turns<'a> {
    server: &'a Server,
    load: Load,
    rates: Vec<f64>,
    per_cpu_s: Vec<f64>,
    latency: Histogram,
    /// How long the server was kept from running, and how long it was measured.
    waited_ns: u64,
    time: Duration,
}

impl<'a> Turns<'a> {
    fn new(server: &'a Server, options: &Options) -> Result<Turns<'a>, String> {
        let load = Load::connect(server.port, options.connections).map_err(|error| error.to_string())?;
        let latency = Histogram::default();
        Ok(Turns { server, load, rates: vec![], per_cpu_s: vec![], latency, waited_ns: 0, time: Duration::ZERO })
    }
}

impl Turns<'_> {
    /// Empties the server and fills it for a shape.
    fn fill(&self, shape: &Shape) -> Result<(), String> {
        if self.server.kind == Kind::Canned {
            return Ok(());
        }
        let mut client = Client::connect(self.server.port)?;
        client.ask(&["FLUSHALL"])?;
        (shape.fill)(&mut client, &mut Rng::new(7))
    }

    /// One turn. It counts only when it is not the one that warms up.
    fn take(&mut self, pool: &Pool, time: Option<Duration>, counts: bool) -> Result<(), String> {
        let before = self.server.times()?;
        let run = self.load.run(pool, time).map_err(|error| format!("{}: {error}", self.server.kind.name()))?;
        let after = self.server.times()?;
        let cpu_ns = (after.ran_ns - before.ran_ns).max(1);
        if counts {
            self.rates.push(run.requests as f64 / run.time.as_secs_f64());
            self.per_cpu_s.push(run.requests as f64 * 1e9 / cpu_ns as f64);
            self.latency.merge(&run.latency);
            self.waited_ns += after.waited_ns - before.waited_ns;
            self.time += run.time;
        }
        Ok(())
    }

    fn figures(&self) -> Figures {
        Figures {
            rate: median(self.rates.clone()),
            per_cpu_s: median(self.per_cpu_s.clone()),
            latency_ns: [self.latency.at(0.5), self.latency.at(0.99), self.latency.at(0.999), self.latency.max()],
        }
    }
}

fn measure(shape: &Shape, servers: &[Server], options: &Options) -> Result<Row, String> {
    let mut rng = Rng::new(42);
    let mut number = 0;
    let pool = Pool::new(shape.depth, shape.requests / shape.depth, |into| {
        (shape.request)(into, &mut rng, number);
        number += 1;
    });
    let mut all = Vec::new();
    for server in servers.iter().filter(|server| server.kind != Kind::Canned || shape.has_limit()) {
        let turns = Turns::new(server, options)?;
        turns.fill(shape)?;
        all.push(turns);
    }
    if !shape.once {
        for turns in &mut all {
            turns.take(&pool, Some(options.turn / 2), false)?;
        }
    }
    let count = all.len();
    for round in 0..options.rounds {
        for offset in 0..count {
            let turns = &mut all[(round + offset) % count];
            if shape.once {
                turns.fill(shape)?;
            }
            turns.take(&pool, (!shape.once).then_some(options.turn), true)?;
        }
    }
    let of = |kind: Kind| all.iter().find(|turns| turns.server.kind == kind);
    let peers: Vec<&Turns> = all.iter().filter(|turns| turns.server.kind.is_peer()).collect();
    let ratio = |pick: fn(&Turns, usize) -> f64, others: &[&Turns]| {
        let ours = of(Kind::Haversack).filter(|_| !others.is_empty())?;
        let in_round =
            |round| pick(ours, round) / others.iter().map(|turns| pick(turns, round)).fold(f64::MIN_POSITIVE, f64::max);
        Some(median((0..options.rounds).map(in_round).collect()))
    };
    let time: Duration = all.iter().map(|turns| turns.time).sum();
    let waited_ns: u64 = all.iter().map(|turns| turns.waited_ns).sum();
    let canned: Vec<&Turns> = of(Kind::Canned).into_iter().collect();
    Ok(Row {
        label: shape.label(),
        figures: all.iter().map(|turns| (turns.server.kind, turns.figures())).collect(),
        rate_ratio: ratio(|turns, round| turns.rates[round], &peers).unwrap_or(0.0),
        cpu_ratio: ratio(|turns, round| turns.per_cpu_s[round], &peers).unwrap_or(0.0),
        disturbed: waited_ns as f64 / time.as_nanos() as f64,
        limit_ratio: ratio(|turns, round| turns.per_cpu_s[round], &canned),
    })
}

fn progress(row: &Row) -> String {
    let mut text = format!("{:<24}", row.label);
    for (kind, figures) in &row.figures {
        text += &format!(" {} {:.0} k/cpu-s,", kind.name(), figures.per_cpu_s / 1000.0);
    }
    text + &format!(" ratio {:.2}", row.cpu_ratio)
}

/// Fills fresh servers with one kind of item and asks the system what that took.
fn weigh(item: &shapes::Item, cores: Cores, options: &Options) -> Result<WeightRow, String> {
    let kinds: Vec<Kind> = options.kinds.iter().copied().filter(|kind| *kind != Kind::Canned).collect();
    let servers = start(&kinds, cores)?;
    let used = |server: &Server| -> Result<f64, String> {
        server.info("used_memory")?.parse::<f64>().map_err(|error| format!("used_memory: {error}"))
    };
    let state = |server: &Server| -> Result<[f64; 2], String> { Ok([used(server)?, server.resident_bytes()? as f64]) };
    // Tables that grow in steps, and pages that go back late, get the time for it.
    let settle = || std::thread::sleep(Duration::from_secs(2));
    let empty = servers.iter().map(state).collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        (item.fill)(&mut Client::connect(server.port)?, &mut Rng::new(7), options.items)?;
    }
    settle();
    let full = servers.iter().map(state).collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        Client::connect(server.port)?.ask(&["FLUSHALL"])?;
    }
    settle();
    let flushed = servers.iter().map(state).collect::<Result<Vec<_>, _>>()?;
    let weights = kinds.iter().enumerate().map(|(at, kind)| {
        let grown = full[at][1] - empty[at][1];
        let weight = Weight {
            resident: grown / options.items as f64,
            used: (full[at][0] - empty[at][0]) / options.items as f64,
            left: (flushed[at][1] - empty[at][1]) / grown.max(1.0),
        };
        (*kind, weight)
    });
    Ok(WeightRow { label: item.name.to_owned(), weights: weights.collect() })
}

/// What a request costs with few keys and with many.
fn growth(cores: Cores, options: &Options) -> Result<Vec<Growth>, String> {
    const SIZES: [u64; 2] = [10_000, 10_000_000];
    /// Enough that the requests of one turn meet mostly other keys than those of the last.
    const REQUESTS: usize = 3_200_000;
    const DEPTH: usize = 16;
    let kinds: Vec<Kind> = options.kinds.iter().copied().filter(|kind| *kind != Kind::Canned).collect();
    let servers = start(&kinds, cores)?;
    let mut found: Vec<Growth> = Vec::new();
    for label in ["GET", "SET"] {
        found.extend(kinds.iter().map(|kind| Growth { kind: *kind, label, ns: [0.0; 2] }));
    }
    for (column, size) in SIZES.into_iter().enumerate() {
        for server in &servers {
            eprintln!("{size} keys to {}", server.kind.name());
            shapes::strings(&mut Client::connect(server.port)?, &mut Rng::new(7), size)?;
        }
        for label in ["GET", "SET"] {
            let mut rng = Rng::new(42);
            let pool = Pool::new(DEPTH, REQUESTS / DEPTH, |into| {
                let key = shapes::key(rng.below(size));
                let value = shapes::value(&mut rng);
                let words = [label.as_bytes(), key.as_bytes(), value.as_bytes()];
                haversack::resp::encode_command(words[..if label == "GET" { 2 } else { 3 }].iter().copied(), into);
            });
            let turns = servers.iter().map(|server| Turns::new(server, options));
            let mut all = turns.collect::<Result<Vec<_>, _>>()?;
            for round in 0..=options.rounds {
                for turns in &mut all {
                    turns.take(&pool, Some(options.turn), round > 0)?;
                }
            }
            for turns in &all {
                let row = found.iter_mut().find(|row| row.kind == turns.server.kind && row.label == label);
                row.expect("made above").ns[column] = 1e9 / turns.figures().per_cpu_s;
            }
        }
    }
    Ok(found)
}
