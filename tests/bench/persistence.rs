//! What a snapshot costs while it is taken, and how long it takes to load: `pkg-scripts/bench persistence`. What a log
//! costs that is flushed for each write is measured by `flushing.rs`.
//!
//! One server after the other gets the same data, a client that writes as fast as it is answered and one that
//! sends PING each millisecond: first with nothing else going on, then during BGSAVE. Memory is what the system
//! says of the process and its children. All servers then load the same file, one that ours has written (in
//! version 10 of the format, which all of them read), several times in turn. Servers may use all cores here:
//! the others fork, ours has a thread for files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use haversack::engine::rng::Rng;

use crate::flushing;
use crate::servers::{Client, Cores, Kind, Server};
use crate::shapes::{key, long_value};
use crate::sys;
use crate::table::table;

/// What is asked for.
pub struct Plan {
    /// How many keys, fields and elements: 2 million keys, 5 million of the others are 100 %.
    pub percent: u64,
    /// How often the file is loaded, and how often each server has its turn to write.
    pub rounds: usize,
    /// How long such a turn is.
    pub turn: Duration,
    /// How many clients write then.
    pub connections: usize,
    /// Who is measured.
    pub kinds: Vec<Kind>,
    /// Only what is called by one of these, or contains it.
    pub names: Vec<String>,
}

impl Plan {
    /// Whether this is asked for.
    pub fn wants(&self, label: &str) -> bool {
        let label = label.to_lowercase();
        self.names.is_empty() || self.names.iter().any(|name| label.contains(name.as_str()))
    }
}

/// Some data and who writes to it.
struct Data {
    name: &'static str,
    count: u64,
    fill: fn(&mut Client, &mut Rng, u64) -> Result<(), String>,
    write: fn(&mut Client, &mut Rng, u64) -> Result<(), String>,
}

const DATA: [Data; 4] = [
    Data {
        name: "2 M keys of 16 + 100 bytes",
        count: 2_000_000,
        fill: |client, rng, count| {
            (0..count).try_for_each(|n| client.pipe(&[b"SET", key(n).as_bytes(), long_value(rng, 100).as_bytes()]))
        },
        write: |client, rng, count| {
            client.pipe(&[b"SET", key(rng.below(count)).as_bytes(), long_value(rng, 100).as_bytes()])
        },
    },
    Data {
        name: "a hash of 5 M fields",
        count: 5_000_000,
        fill: |client, rng, count| {
            (0..count)
                .try_for_each(|n| client.pipe(&[b"HSET", b"hash", key(n).as_bytes(), long_value(rng, 16).as_bytes()]))
        },
        write: |client, rng, count| {
            client.pipe(&[b"HSET", b"hash", key(rng.below(count)).as_bytes(), long_value(rng, 16).as_bytes()])
        },
    },
    Data {
        name: "a sorted set of 2 M members",
        count: 2_000_000,
        fill: |client, rng, count| {
            (0..count).try_for_each(|n| {
                client.pipe(&[b"ZADD", b"zset", rng.below(1 << 40).to_string().as_bytes(), key(n).as_bytes()])
            })
        },
        write: |client, rng, count| {
            let score = rng.below(1 << 40).to_string();
            client.pipe(&[b"ZADD", b"zset", score.as_bytes(), key(rng.below(count)).as_bytes()])
        },
    },
    Data {
        name: "a list of 5 M elements",
        count: 5_000_000,
        fill: |client, rng, count| {
            (0..count).try_for_each(|_| client.pipe(&[b"RPUSH", b"list", long_value(rng, 16).as_bytes()]))
        },
        write: |client, rng, _| {
            client.pipe(&[b"RPUSH", b"list", long_value(rng, 16).as_bytes()])?;
            client.pipe(&[b"LPOP", b"list"])
        },
    },
];

/// How long nothing but writing goes on.
const BEFORE: Duration = Duration::from_secs(3);
/// Commands that the writer sends at once.
const DEPTH: usize = 16;

/// One server with some data.
struct Cost {
    kind: Kind,
    data: &'static str,
    /// Memory at its highest during BGSAVE, over what it was before.
    memory: f64,
    ping_before: Duration,
    ping_during: Duration,
    /// Writes per second.
    rate_before: f64,
    rate_during: f64,
    took: Duration,
}

/// Measures, and gives the section of the report.
pub fn measure(plan: &Plan, cores: Cores) -> Result<String, String> {
    let kinds: Vec<Kind> = plan.kinds.iter().copied().filter(|kind| *kind != Kind::Canned).collect();
    let data: Vec<&Data> = DATA.iter().filter(|data| plan.wants(data.name)).collect();
    let flushes = flushing::is_wanted(plan);
    if data.is_empty() && !flushes {
        return Err("nothing in the tables is called so".to_owned());
    }
    let (mut costs, mut loads) = (Vec::new(), Vec::new());
    for data in data {
        let count = data.count * plan.percent / 100;
        let mut file = None;
        for kind in &kinds {
            let (cost, saved) = snapshot(*kind, data, count, cores)?;
            eprintln!("{}", cost.words());
            costs.push(cost);
            file = file.or(saved);
        }
        let Some(file) = file else { continue };
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
        for _ in 0..plan.rounds {
            for (times, kind) in times.iter_mut().zip(&kinds) {
                times.push(load(*kind, &file, cores)?.as_secs_f64());
            }
        }
        let _ = fs::remove_file(&file);
        let medians: Vec<f64> = times.into_iter().map(crate::median).collect();
        eprintln!("{}: loaded in {medians:.3?} s", data.name);
        loads.push((data.name, medians));
    }
    let mut text = format!("{HEADING}\n");
    if !costs.is_empty() {
        text += &snapshots(&costs);
    }
    if !loads.is_empty() {
        text += &loading(&kinds, &loads);
    }
    if flushes {
        text += &flushing::measure(plan, &kinds, cores)?;
    }
    Ok(text)
}

impl Cost {
    fn words(&self) -> String {
        format!(
            "{}, {}: memory +{:.1} %, worst PING {:.1} → {:.1} ms, {:.0} → {:.0} k writes/s ({:.0} %), BGSAVE {:.2} s",
            self.kind.name(),
            self.data,
            self.memory * 100.0,
            self.ping_before.as_secs_f64() * 1e3,
            self.ping_during.as_secs_f64() * 1e3,
            self.rate_before / 1e3,
            self.rate_during / 1e3,
            self.rate_during / self.rate_before * 100.0,
            self.took.as_secs_f64()
        )
    }
}

/// A client in a thread of its own.
struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Worker {
    fn start(mut turn: impl FnMut() -> Result<(), String> + Send + 'static) -> Worker {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                turn()?;
            }
            Ok(())
        });
        Worker { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Result<(), String> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err("a client has panicked".to_owned()),
        }
    }
}

/// A client that sends PING each millisecond and remembers the longest wait.
pub struct Prober {
    worst_ns: Arc<AtomicU64>,
    worker: Worker,
}

impl Prober {
    /// Begins.
    pub fn start(port: u16) -> Result<Prober, String> {
        let (worst_ns, mut client) = (Arc::new(AtomicU64::new(0)), Client::connect(port)?);
        let worst = worst_ns.clone();
        let worker = Worker::start(move || {
            let sent = Instant::now();
            client.ask(&["PING"])?;
            worst.fetch_max(sent.elapsed().as_nanos() as u64, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        });
        Ok(Prober { worst_ns, worker })
    }

    /// The longest wait since this was asked last.
    pub fn take(&self) -> Duration {
        Duration::from_nanos(self.worst_ns.swap(0, Ordering::Relaxed))
    }

    /// Ends; the longest wait.
    pub fn end(self) -> Result<Duration, String> {
        let worst = self.take();
        self.worker.end().map(|()| worst)
    }
}

/// Fills a server, saves it, and gives the file if it is ours.
fn snapshot(kind: Kind, data: &Data, count: u64, cores: Cores) -> Result<(Cost, Option<PathBuf>), String> {
    let server = Server::start_free(kind, cores, None)?;
    let mut client = Client::connect(server.port)?;
    (data.fill)(&mut client, &mut Rng::new(7), count)?;
    client.finish()?;
    std::thread::sleep(Duration::from_secs(1));

    let writes = Arc::new(AtomicU64::new(0));
    let prober = Prober::start(server.port)?;
    let (mut writer, mut rng, write, written) =
        (Client::connect(server.port)?, Rng::new(8), data.write, writes.clone());
    let writer = Worker::start(move || {
        (0..DEPTH).try_for_each(|_| write(&mut writer, &mut rng, count))?;
        writer.finish()?;
        written.fetch_add(DEPTH as u64, Ordering::Relaxed);
        Ok(())
    });
    // The first moments are for connecting.
    std::thread::sleep(Duration::from_millis(300));
    let take = |since: Instant| {
        let writes = writes.swap(0, Ordering::Relaxed) as f64 / since.elapsed().as_secs_f64();
        (prober.take(), writes)
    };
    take(Instant::now());
    let began = Instant::now();
    std::thread::sleep(BEFORE);
    let (ping_before, rate_before) = take(began);
    let before = server.family_bytes()?;
    let mut highest = before;
    take(began);
    let began = Instant::now();
    client.ask(&["BGSAVE"])?;
    while server.info("rdb_bgsave_in_progress")? == "1" {
        highest = highest.max(server.family_bytes()?);
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed();
    let (ping_during, rate_during) = take(began);
    writer.end()?;
    prober.end()?;
    if server.info("rdb_last_bgsave_status")? != "ok" {
        return Err(format!("{} could not save", kind.name()));
    }
    let file = (kind == Kind::Haversack).then(|| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{}.rdb", std::process::id()));
        fs::rename(server.folder().join("dump.rdb"), &kept).map(|()| kept).map_err(|error| error.to_string())
    });
    let memory = highest as f64 / before as f64 - 1.0;
    let cost = Cost { kind, data: data.name, memory, ping_before, ping_during, rate_before, rate_during, took };
    Ok((cost, file.transpose()?))
}

/// How long a server takes from its start until it serves what is in the file.
fn load(kind: Kind, file: &Path, cores: Cores) -> Result<Duration, String> {
    // The file is in the cache for everybody.
    let _ = fs::read(file).map_err(|error| error.to_string())?;
    let began = Instant::now();
    let server = Server::start_free(kind, cores, Some(file))?;
    let mut client = Client::connect(server.port)?;
    loop {
        let reply = client.ask(&["DBSIZE"])?.to_string();
        if !reply.contains("LOADING") {
            return Ok(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn snapshots(costs: &[Cost]) -> String {
    let mut text = format!(
        "\nA client writes as fast as it is answered ({DEPTH} commands at once), another sends PING each \
         millisecond: before BGSAVE, and until it ends. Memory: the highest during BGSAVE, over that before.\n\n"
    );
    let head = ["data and server", "memory", "worst PING ms", "k writes/s", "kept", "BGSAVE s"].map(str::to_owned);
    let line = |cost: &Cost| {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        vec![
            format!("{}, {}", cost.data, cost.kind.name()),
            format!("+{:.1} %", cost.memory * 100.0),
            format!("{:.1} → {:.1}", ms(cost.ping_before), ms(cost.ping_during)),
            format!("{:.0} → {:.0}", cost.rate_before / 1e3, cost.rate_during / 1e3),
            format!("{:.0} %", cost.rate_during / cost.rate_before * 100.0),
            format!("{:.2}", cost.took.as_secs_f64()),
        ]
    };
    text += &table(&head, &costs.iter().map(line).collect::<Vec<_>>());
    text
}

fn loading(kinds: &[Kind], loads: &[(&'static str, Vec<f64>)]) -> String {
    let mut text =
        "\nSeconds from the start of the process until it serves the same file, medians; the ratio is the faster of \
        the others to ours.\n\n"
            .to_owned();
    let head: Vec<String> = std::iter::once("data")
        .chain(kinds.iter().map(|kind| kind.name()))
        .chain(["ratio"])
        .map(str::to_owned)
        .collect();
    let line = |(name, seconds): &(&'static str, Vec<f64>)| {
        let of = |wanted: fn(Kind) -> bool| {
            let times = kinds.iter().zip(seconds).filter(|(kind, _)| wanted(**kind));
            times.map(|(_, seconds)| *seconds).fold(f64::INFINITY, f64::min)
        };
        let mut cells = vec![(*name).to_owned()];
        cells.extend(seconds.iter().map(|seconds| format!("{seconds:.3}")));
        cells.push(format!("{:.2}", of(Kind::is_peer) / of(|kind| kind == Kind::Haversack)));
        cells
    };
    text += &table(&head, &loads.iter().map(line).collect::<Vec<_>>());
    text
}

/// What the section of the report begins with.
pub const HEADING: &str = "## Snapshots, loading and flushes";

/// Lets the processes that are started from now on use all cores.
pub fn on_all_cores<R>(cores: Cores, start: impl FnOnce() -> R) -> R {
    sys::pin_all();
    let started = start();
    sys::pin(cores.generator);
    started
}
