//! The workloads of `workloads.rs` natively and as WebAssembly, beside each other: how much slower is a browser?
//!
//! The engine's own operations, without JavaScript and without sockets. Native: this program, a release as the
//! server is, with its allocator. WebAssembly: `wasm_module.rs` in Node, whose machine is that of Chromium. Both do
//! the same commands in the same order, workload by workload in turns, so that a disturbance from outside meets both;
//! a ratio is taken within a round. Rounds before the first one that counts give the machine's second compiler time.
//! `pkg-scripts/bench wasm` builds everything; `--help` tells the options. Redis' counterpart: none.

mod table;
mod workloads;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::Instant;

use haversack::native::memory::Counting;

use table::table;
use workloads::{COMMANDS, WORKLOADS, World};

/// The server's allocator.
#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HELP: &str = "\
Usage: pkg-scripts/bench wasm [OPTION...]

Measures the engine as WebAssembly beside the native one and writes results-wasm.md.

  --rounds N          rounds of each workload (default 25)
  --quick             7 rounds
  --out FOLDER        where results are written (default target/bench)
  --commit            write them to tests/bench
  --limit R           end with an error if a ratio is above R
";

/// Rounds that warm both sides up.
const WARM_UP: u64 = 10;

struct Options {
    rounds: u64,
    limit: f64,
    out: PathBuf,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("../bench");
        let mut options = Options { rounds: 25, limit: f64::INFINITY, out };
        while let Some(arg) = args.next() {
            let mut next = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            let wrong = |text: &str| format!("{text} is no number here");
            match &arg[..] {
                "--rounds" => options.rounds = next()?.parse::<u64>().map_err(|_| wrong("--rounds"))?.max(1),
                "--limit" => options.limit = next()?.parse().map_err(|_| wrong("--limit"))?,
                "--quick" => options.rounds = 7,
                "--out" => options.out = next()?.into(),
                "--commit" => options.out = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench").into(),
                // What `cargo bench` adds.
                "--bench" => {}
                other => return Err(format!("unknown option {other}; see --help")),
            }
        }
        Ok(options)
    }
}

/// The other side: a process that runs the module.
struct Node {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    fn start() -> Result<Node, String> {
        let module = std::env::var("HAVERSACK_WASM_BENCH").map_err(|_| "start it with pkg-scripts/bench wasm")?;
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/wasm.mjs")).arg(module);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("cannot start node: {error}"))?;
        let (questions, answers) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Ok(Node { child, questions, answers: BufReader::new(answers) })
    }

    /// Nanoseconds that a command of this workload took.
    fn measured(&mut self, number: usize, round: u64) -> Result<f64, String> {
        let mut line = String::new();
        let asked = writeln!(self.questions, "{number} {round}").and_then(|()| self.answers.read_line(&mut line));
        let ms = asked.ok().and_then(|_| line.trim().parse::<f64>().ok());
        ms.map(|ms| ms * 1e6 / COMMANDS as f64).ok_or_else(|| "node has ended".to_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn native(world: &mut World, number: usize, round: u64) -> f64 {
    let pieces = workloads::pieces(number, round);
    world.replies = 0;
    let began = Instant::now();
    pieces.iter().for_each(|piece| world.turn(piece));
    let took = began.elapsed();
    assert!(world.replies > COMMANDS, "{} is answered", WORKLOADS[number].0);
    took.as_secs_f64() * 1e9 / COMMANDS as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Name, nanoseconds natively and as WebAssembly, ratio: medians over the rounds.
type Row = (&'static str, f64, f64, f64);

fn measure(options: &Options) -> Result<Vec<Row>, String> {
    let mut node = Node::start()?;
    let mut world = World::new();
    world.fill();
    let mut taken: Vec<Vec<(f64, f64)>> = vec![Vec::new(); WORKLOADS.len()];
    for round in 0..WARM_UP + options.rounds {
        eprint!("\rround {} of {}", round + 1, WARM_UP + options.rounds);
        for (number, taken) in taken.iter_mut().enumerate() {
            let both = (native(&mut world, number, round), node.measured(number, round)?);
            if round >= WARM_UP {
                taken.push(both);
            }
        }
    }
    eprintln!();
    let rows = WORKLOADS.iter().zip(&taken).map(|((name, _), taken)| {
        let of = |figure: fn(&(f64, f64)) -> f64| median(taken.iter().map(figure).collect());
        (*name, of(|both| both.0), of(|both| both.1), of(|both| both.1 / both.0))
    });
    Ok(rows.collect())
}

fn bench(options: &Options) -> Result<(), String> {
    let rows = measure(options)?;
    let node = Command::new("node").args(["-p", "`Node ${process.version}, V8 ${process.versions.v8}`"]).output();
    let node = node.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let head = ["workload", "native", "WebAssembly", "ratio"].map(str::to_owned);
    let cells =
        |row: &Row| vec![row.0.to_owned(), format!("{:.0}", row.1), format!("{:.0}", row.2), format!("{:.2}", row.3)];
    let mean = (rows.iter().map(|row| row.3.ln()).sum::<f64>() / rows.len() as f64).exp();
    let text = format!(
        "# The engine as WebAssembly beside the native one\n\n\
         Nanoseconds per command, the engine alone: no JavaScript, no sockets; sixteen commands at once. The ratio is \
         taken within a round, the median of {} rounds; above 1 the browser is slower. WebAssembly: {node}. Made by \
         `pkg-scripts/bench wasm`.\n\n{}\nThe geometric mean of the ratios is {mean:.2}.\n",
        options.rounds,
        table(&head, &rows.iter().map(cells).collect::<Vec<_>>()),
    );
    std::fs::create_dir_all(&options.out).map_err(|error| error.to_string())?;
    let path = options.out.join("results-wasm.md");
    std::fs::write(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
    print!("{text}");
    let slow: Vec<&str> = rows.iter().filter(|row| row.3 > options.limit).map(|row| row.0).collect();
    if slow.is_empty() { Ok(()) } else { Err(format!("over the limit of {}: {}", options.limit, slow.join(", "))) }
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(std::env::args().skip(1)).and_then(|options| bench(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
