//! The process and its machine: limits, signals, the background, and the figures INFO shows.
//!
//! All calls to the C library but those of the log stand here.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::engine::config::{Config, OomScoreAdj, Supervised};
use crate::engine::host::{Host, Resources};

use super::log::in_words;
use super::{clock, log, memory};

/// Files the server needs besides those of its clients.
const RESERVED_FILES: u64 = 32;

/// Files an io thread needs for its event loop.
const THREAD_FILES: u64 = 4;

/// Files needed besides those of clients.
fn reserved_files(config: &Config) -> u64 {
    RESERVED_FILES + THREAD_FILES * u64::from(config.io_threads - 1)
}

/// The name and version of the allocator.
pub const ALLOCATOR: &str = "mimalloc";

/// What the engine is told of the world.
pub fn host(config_file: &str) -> Host {
    let executable = std::env::current_exe().map(|path| path.to_string_lossy().into_owned());
    Host {
        stopwatch_ns: clock::stopwatch_ns,
        used_memory: memory::used_bytes,
        resources,
        pid: std::process::id(),
        os: operating_system(),
        executable: executable.unwrap_or_default(),
        config_file: config_file.to_owned(),
        monotonic_clock: "POSIX clock_gettime",
        multiplexing: if cfg!(target_os = "linux") { "epoll" } else { "kqueue" },
        allocator: ALLOCATOR,
        total_memory: total_memory(),
    }
}

/// A seed from the system's source of chance.
pub fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

fn operating_system() -> String {
    // SAFETY: all bit patterns of the struct are valid, zero included.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::uname(&mut names) } != 0 {
        return std::env::consts::OS.to_owned();
    }
    // SAFETY: uname ends each field with a zero byte.
    let text = |field: &[libc::c_char]| unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned();
    format!("{} {} {}", text(&names.sysname), text(&names.release), text(&names.machine))
}

fn total_memory() -> u64 {
    // SAFETY: sysconf only reads.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    if pages > 0 && size > 0 { pages as u64 * size as u64 } else { 0 }
}

fn usage(who: libc::c_int) -> libc::rusage {
    // SAFETY: all bit patterns of the struct are valid, zero included.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live value.
    unsafe { libc::getrusage(who, &mut usage) };
    usage
}

/// Keeps the system from backing memory by huge pages, of which a few used bytes take two megabytes.
pub fn disable_huge_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: it changes how pages are allocated, not what they hold. A system that does not know it refuses.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// What the system says of this process.
pub fn resources() -> Resources {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let all = usage(libc::RUSAGE_SELF);
    let (cpu_user_main, cpu_sys_main) = match std::thread::current().name() {
        #[cfg(target_os = "linux")]
        Some("main") => {
            let main = usage(libc::RUSAGE_THREAD);
            (seconds(main.ru_utime), seconds(main.ru_stime))
        }
        // An io thread asks: the main thread's figures are those of its task, in hundredths of a second.
        _ => main_thread_times().unwrap_or((seconds(all.ru_utime), seconds(all.ru_stime))),
    };
    let unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
    let peak = all.ru_maxrss as u64 * unit;
    let rss = resident_bytes().unwrap_or(peak);
    Resources {
        rss,
        // What the allocator has given back still counts as committed there.
        committed: memory::committed_bytes().min(rss),
        peak_rss: peak,
        cpu_user: seconds(all.ru_utime),
        cpu_sys: seconds(all.ru_stime),
        cpu_user_main,
        cpu_sys_main,
    }
}

/// Seconds of user and system time of the main thread, where the system tells them to others.
fn main_thread_times() -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{}/stat", std::process::id())).ok()?;
    // The name, in brackets, may hold anything.
    let (_, figures) = text.rsplit_once(") ")?;
    let mut times = figures.split(' ').skip(11).map(|ticks| ticks.parse::<f64>().ok());
    Some((times.next()?? / 100.0, times.next()?? / 100.0))
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: sysconf only reads.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * size as u64)
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what can be had.
pub fn raise_file_limit(config: &mut Config) {
    let wanted = u64::from(config.maxclients) + reserved_files(config);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return;
    }
    let had = limit.rlim_cur;
    let try_limit = |files: u64| {
        let raised = libc::rlimit { rlim_cur: files, rlim_max: limit.rlim_max.max(files) };
        // SAFETY: the pointer is to a live value.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0 }
    };
    if try_limit(wanted) {
        return log::notice(&format!("Increased maximum number of open files to {wanted} (it was {had})."));
    }
    let best = if limit.rlim_max > had && try_limit(limit.rlim_max) { limit.rlim_max } else { had };
    let fits = best.saturating_sub(reserved_files(config)).max(1) as u32;
    log::warning(&format!(
        "maxclients {} needs {wanted} open files, but this process may open only {best}. maxclients is now {fits}; \
         raise the limit with 'ulimit -n {wanted}' to have more.",
        config.maxclients
    ));
    config.maxclients = fits;
}

/// Tells the system how readily to end this process when memory is short, as `oom-score-adj` says.
///
/// # Errors
/// In Redis' words: the system does not let this process.
pub fn set_oom_score(config: &Config) -> Result<(), String> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    static BASE: std::sync::OnceLock<Option<i32>> = std::sync::OnceLock::new();
    static ACTIVE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    let read = || std::fs::read_to_string(SCORE).ok().and_then(|text| text.trim().parse().ok());
    let Some(base) = *BASE.get_or_init(read) else { return Ok(()) };
    let value = config.oom_score_adj_values[0];
    let (score, active) = match config.oom_score_adj {
        OomScoreAdj::No => (base, false),
        OomScoreAdj::Yes | OomScoreAdj::Relative => ((base + value).clamp(-1000, 1000), true),
        OomScoreAdj::Absolute => (value.clamp(-1000, 1000), true),
    };
    // What was never changed need not be restored.
    if !ACTIVE.swap(active, std::sync::atomic::Ordering::Relaxed) && !active {
        return Ok(());
    }
    std::fs::write(SCORE, score.to_string()).map_err(|error| {
        log::warning(&format!("Unable to write oom_score_adj: {}", in_words(&error)));
        "Failed to apply new oom_score_adj configuration, check server logs.".to_owned()
    })
}

/// Whether as many files may be opened as `maxclients` clients and the server need.
pub fn permits_clients(config: &Config) -> Result<(), String> {
    let wanted = u64::from(config.maxclients) + reserved_files(config);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 || limit.rlim_cur >= wanted {
        return Ok(());
    }
    let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    // SAFETY: the pointer is to a live value.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
        return Ok(());
    }
    let most = limit.rlim_max.saturating_sub(reserved_files(config));
    Err(format!("The operating system is not able to handle the specified number of clients, try with {most}"))
}

/// Goes into the background: a new session, no terminal. Call it while there is one thread.
///
/// # Errors
/// The system has no room for another process.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: no other thread exists yet, so the child is complete.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        // SAFETY: the parent leaves at once, without running anything of the child's.
        _ => unsafe { libc::_exit(0) },
    }
    // SAFETY: the descriptors are those of the process, and the path ends with a zero byte.
    unsafe {
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for fd in 0..3 {
                libc::dup2(null, fd);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Ignores the hang-up of a terminal, as a server should. (A broken pipe is ignored already.)
pub fn ignore_hangup() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// Whether there is a process with this id.
pub fn is_running(pid: i32) -> bool {
    // SAFETY: signal 0 only asks.
    let found = unsafe { libc::kill(pid, 0) } == 0;
    found || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether a supervisor waits for the server to say when it is ready.
pub fn is_supervised(mode: Supervised) -> bool {
    let systemd = std::env::var_os("NOTIFY_SOCKET").is_some();
    let upstart = std::env::var_os("UPSTART_JOB").is_some();
    match mode {
        Supervised::No => false,
        Supervised::Systemd => systemd,
        Supervised::Upstart => upstart,
        Supervised::Auto => systemd || upstart,
    }
}

/// Tells the supervisor that the server is ready.
pub fn tell_ready(mode: Supervised) {
    if matches!(mode, Supervised::Upstart | Supervised::Auto) && std::env::var_os("UPSTART_JOB").is_some() {
        log::notice("supervised by upstart, will stop to signal readiness");
        // SAFETY: raise only sends the process a signal; upstart continues it.
        unsafe { libc::raise(libc::SIGSTOP) };
    }
    notify_systemd(mode, "STATUS=Ready to accept connections\nREADY=1\n");
}

/// Tells the supervisor that the server is leaving.
pub fn tell_stopping(mode: Supervised) {
    notify_systemd(mode, "STOPPING=1\n");
}

fn notify_systemd(mode: Supervised, text: &str) {
    if !matches!(mode, Supervised::Systemd | Supervised::Auto) {
        return;
    }
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        if mode == Supervised::Systemd {
            log::warning("supervised by systemd is configured, but NOTIFY_SOCKET is not set");
        }
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| send_to(&socket, text, Path::new(&path)));
    if let Err(error) = sent {
        log::warning(&format!("Cannot tell systemd: {error}"));
    }
}

/// Sends to a path, or to an abstract name if it starts with `@`.
fn send_to(socket: &UnixDatagram, text: &str, path: &Path) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;
        if let Some(name) = path.as_os_str().as_bytes().strip_prefix(b"@") {
            return socket.send_to_addr(text.as_bytes(), &SocketAddr::from_abstract_name(name)?);
        }
    }
    socket.send_to(text.as_bytes(), path)
}

/// The number of a group, by its name.
pub fn group_id(name: &[u8]) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: the name ends with a zero byte; this runs at start, while nobody else asks.
    let group = unsafe { libc::getgrnam(name.as_ptr()) };
    // SAFETY: getgrnam gives null or a pointer that is good until the next call.
    (!group.is_null()).then(|| unsafe { (*group).gr_gid })
}
