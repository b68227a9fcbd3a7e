//! From arguments to a configuration in force: files, includes, the background, the log.
//!
//! Redis' counterpart: the first half of `main` in `server.c`, and `loadServerConfig`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::engine::commands::Renames;
use crate::engine::config::{Config, Invocation, Source, Start, Step};
use crate::engine::host::Host;

use super::log::{self, in_words};
use super::{clock, process};

/// Files that include each other stop here.
const INCLUDE_DEPTH: usize = 32;

/// A server about to start.
pub struct Setup {
    /// Its configuration.
    pub config: Config,
    /// Its world.
    pub host: Host,
}

/// Reads arguments and files, and does what is to be done before there are threads.
///
/// # Errors
/// The exit code, if the process is to end here; everything has been said then.
pub fn prepare(args: Vec<OsString>) -> Result<Setup, ExitCode> {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsString::into_vec).collect();
    let start = match Invocation::parse(&args) {
        Invocation::Version => {
            println!("{}", version());
            return Err(ExitCode::SUCCESS);
        }
        Invocation::Help => {
            print!("{HELP}");
            return Err(ExitCode::FAILURE);
        }
        Invocation::TestMemory(_) => {
            eprintln!("--test-memory is not supported: use a memory tester such as memtest86.");
            return Err(ExitCode::FAILURE);
        }
        Invocation::CheckSystem => return Err(check_system()),
        Invocation::Run(start) if start.sentinel => {
            eprintln!("Sentinel mode is not supported: this program is the server only.");
            return Err(ExitCode::FAILURE);
        }
        Invocation::Run(start) => start,
    };
    let (config, warnings, config_file) = load(&start).map_err(|text| {
        eprintln!("{text}");
        ExitCode::FAILURE
    })?;
    enter(config, &warnings, &config_file, start == Start::default())
}

/// Goes into the background, opens the log and says hello.
fn enter(mut config: Config, warnings: &[String], config_file: &str, bare: bool) -> Result<Setup, ExitCode> {
    let supervised = process::is_supervised(config.supervised);
    let daemon = config.daemonize && !supervised;
    if daemon && let Err(error) = process::daemonize() {
        eprintln!("Cannot go into the background: {}", in_words(&error));
        return Err(ExitCode::FAILURE);
    }
    process::ignore_hangup();
    let logfile = (!config.logfile.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&config.logfile)));
    if let Err(error) = log::open(logfile, config.loglevel, daemon) {
        eprintln!("Can't open the log file '{}': {}", String::from_utf8_lossy(&config.logfile), in_words(&error));
        return Err(ExitCode::FAILURE);
    }
    if config.syslog_enabled {
        log::open_syslog(&config.syslog_ident, config.syslog_facility);
    }
    clock::prepare_stopwatch();
    let own = env!("CARGO_PKG_VERSION");
    let redis = String::from_utf8_lossy(&config.haversack_server_version).into_owned();
    log::notice("oO0OoO0OoO0Oo Haversack is starting oO0OoO0OoO0Oo");
    log::notice(&format!(
        "Haversack version={own}, compatible with Redis {redis}, bits={}, pid={}, just started",
        usize::BITS,
        std::process::id()
    ));
    if bare {
        log::warning("No config file given: using the defaults. To name one: haversack-server /path/to/redis.conf");
    } else {
        log::notice("Configuration loaded");
    }
    for warning in warnings {
        log::warning(warning);
    }
    if daemon && config.pidfile.is_empty() {
        config.pidfile = b"/var/run/redis.pid".to_vec();
    }
    if !config.pidfile.is_empty() {
        let path = Path::new(OsStr::from_bytes(&config.pidfile));
        if let Err(error) = std::fs::write(path, format!("{}\n", std::process::id())) {
            log::warning(&format!("Failed to write PID file {}: {}", path.display(), in_words(&error)));
        }
    }
    config.dir = std::env::current_dir().unwrap_or_default().into_os_string().into_vec();
    let host = process::host(config_file);
    Ok(Setup { config, host })
}

/// What `always-show-logo` asks for. Scripts look for the port and the process in these lines.
pub fn show_logo(config: &Config) {
    let redis = String::from_utf8_lossy(&config.haversack_server_version);
    log::plain(&format!(
        "\n     .-=====-.      Haversack {}\n    /_________\\     compatible with Redis {redis}\n    |  _____  |     \
         Running in standalone mode\n    | |__o__| |     Port: {}\n    |_________|     PID: {}\n\n",
        env!("CARGO_PKG_VERSION"),
        config.port,
        std::process::id()
    ));
}

/// The line of `--version`, in the form that scripts look for.
pub fn version() -> String {
    let redis = Config::default().haversack_server_version;
    format!(
        "Redis server v={} sha=00000000:0 malloc={} bits={} build=haversack-{}",
        String::from_utf8_lossy(&redis),
        process::ALLOCATOR,
        usize::BITS,
        env!("CARGO_PKG_VERSION"),
    )
}

const HELP: &str = "\
Usage: haversack-server [/path/to/redis.conf] [options] [-]
       haversack-server - (read the configuration from standard input)
       haversack-server -v or --version
       haversack-server -h or --help
       haversack-server --check-system

Every parameter of the configuration is also an option, and prevails over the file.

Examples:
       haversack-server                       (no persistence but save points, port 6379)
       haversack-server --port 7777
       haversack-server --dir /var/lib/haversack --appendonly yes
       haversack-server /etc/redis/redis.conf --loglevel verbose
       echo 'maxmemory 128mb' | haversack-server -

To talk to it: redis-cli -p 6379
";

/// Loads files, standard input and options. Gives warnings, and the absolute path of the file.
fn load(start: &Start) -> Result<(Config, Vec<String>, String), String> {
    let (mut path, mut file) = (String::new(), Vec::new());
    if let Some(name) = &start.config_file {
        let name = Path::new(OsStr::from_bytes(name));
        file = std::fs::read(name).map_err(|error| {
            format!("Fatal error, can't open config file '{}': {}", name.display(), in_words(&error))
        })?;
        path = std::fs::canonicalize(name).unwrap_or_else(|_| name.to_owned()).to_string_lossy().into_owned();
    }
    let mut stdin = Vec::new();
    if start.config_from_stdin {
        io::stdin()
            .read_to_end(&mut stdin)
            .map_err(|error| format!("Can't read standard input: {}", in_words(&error)))?;
    }
    let mut config = Config::default();
    let mut warnings = Vec::new();
    load_text(&mut config, &start.text(&file, &stdin), &mut warnings, 0)?;
    config.check().map_err(|error| error.to_string())?;
    Renames::new(&config.directives.rename_command)?;
    Ok((config, warnings, path))
}

/// Loads one text, and what it includes at the place where it says so.
fn load_text(config: &mut Config, text: &[u8], warnings: &mut Vec<String>, depth: usize) -> Result<(), String> {
    if depth > INCLUDE_DEPTH {
        return Err(format!("Fatal error: configuration files include each other more than {INCLUDE_DEPTH} deep"));
    }
    let mut source = Source::new(text);
    loop {
        let step = config.load(&mut source).map_err(|error| error.to_string())?;
        enter_dir(config)?;
        warnings.append(&mut source.warnings);
        let Step::Include(pattern) = step else { return Ok(()) };
        for path in included(&pattern)? {
            let text = std::fs::read(&path).map_err(|error| {
                format!("Fatal error, can't open config file '{}': {}", path.display(), in_words(&error))
            })?;
            load_text(config, &text, warnings, depth + 1)?;
        }
    }
}

/// `dir` is where relative paths start from now on.
fn enter_dir(config: &mut Config) -> Result<(), String> {
    if config.dir.is_empty() {
        return Ok(());
    }
    let dir = PathBuf::from(OsString::from_vec(std::mem::take(&mut config.dir)));
    std::env::set_current_dir(&dir).map_err(|error| {
        format!(
            "Can't use the data folder '{}' (parameter 'dir'): {}. Create it, or name another one with --dir.",
            dir.display(),
            in_words(&error)
        )
    })
}

/// The files that an `include` means: a path, or a pattern with `*`, `?` or `[` in its last part.
fn included(pattern: &[u8]) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(OsStr::from_bytes(pattern));
    if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
        return Ok(vec![path.to_owned()]);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().as_bytes();
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| !entry.file_name().as_bytes().starts_with(b".") || name.starts_with(b"."))
        .filter(|entry| crate::types::glob::matches(name, entry.file_name().as_bytes(), false))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found)
}

/// `--check-system`: whether the machine is set up so that the server runs well.
fn check_system() -> ExitCode {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut bad = false;
    let mut say = |name: &str, problem: Option<String>| {
        println!("[{name}]...{}", if problem.is_none() { "OK" } else { "WARNING" });
        if let Some(problem) = problem {
            bad = true;
            println!("{problem}\n");
        }
    };
    let most: u32 = read("/proc/sys/net/core/somaxconn").trim().parse().unwrap_or(u32::MAX);
    let backlog = Config::default().tcp_backlog;
    let short =
        || format!("somaxconn is {most}: fewer than tcp-backlog ({backlog}) connections can wait to be accepted.");
    say("backlog", (most < backlog).then(short));
    let source = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let slow = || format!("The clock source is '{}', which makes reading the time slow.", source.trim());
    say("slow-clocksource", (!["", "tsc", "kvm-clock", "arch_sys_counter"].contains(&source.trim())).then(slow));
    let pages = read("/sys/kernel/mm/transparent_hugepage/enabled");
    let huge = || "Transparent huge pages are 'always' on: memory use may grow. Write 'madvise' to them.".to_owned();
    say("THP", pages.contains("[always]").then(huge));
    ExitCode::from(u8::from(bad))
}
