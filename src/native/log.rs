//! The log: lines as Redis writes them, to standard output, a file, or the system's log.
//!
//! `pid:role dd Mon yyyy hh:mm:ss.mmm mark text`, where the mark tells the level: `.` debug, `-` verbose,
//! `*` notice, `#` warning. The file is opened for each line, so that it may be moved away at any time.
//! One log for the process; threads may write to it. Not the log of changes (the AOF).

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::engine::config;
use crate::engine::host::LogLevel;

/// Where lines go and which are written.
#[derive(Debug)]
struct Log {
    level: config::LogLevel,
    file: Option<PathBuf>,
    syslog: bool,
    daemon: bool,
}

static LOG: Mutex<Log> = Mutex::new(Log { level: config::LogLevel::Notice, file: None, syslog: false, daemon: false });

/// Which levels are written from now on.
pub fn set_level(level: config::LogLevel) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).level = level;
}

/// Sets up the log as the configuration says. `daemon`: standard output is gone.
///
/// # Errors
/// The log file cannot be opened for writing.
pub fn open(file: Option<PathBuf>, level: config::LogLevel, daemon: bool) -> std::io::Result<()> {
    if let Some(path) = &file {
        OpenOptions::new().append(true).create(true).open(path)?;
    }
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    (log.file, log.level, log.daemon) = (file, level, daemon);
    Ok(())
}

/// Sends lines to the system's log, too.
pub fn open_syslog(ident: &[u8], facility: config::SyslogFacility) {
    use config::SyslogFacility::*;
    let facility = match facility {
        User => libc::LOG_USER,
        Local0 => libc::LOG_LOCAL0,
        Local1 => libc::LOG_LOCAL1,
        Local2 => libc::LOG_LOCAL2,
        Local3 => libc::LOG_LOCAL3,
        Local4 => libc::LOG_LOCAL4,
        Local5 => libc::LOG_LOCAL5,
        Local6 => libc::LOG_LOCAL6,
        Local7 => libc::LOG_LOCAL7,
    };
    let Ok(ident) = CString::new(ident) else { return };
    let ident: &'static CString = Box::leak(Box::new(ident));
    // SAFETY: the name lives as long as the process, as openlog wants.
    unsafe { libc::openlog(ident.as_ptr(), libc::LOG_PID | libc::LOG_NDELAY | libc::LOG_NOWAIT, facility) };
    LOG.lock().unwrap_or_else(PoisonError::into_inner).syslog = true;
}

/// Writes a line for debugging.
pub fn debug(text: &str) {
    write(LogLevel::Debug, text);
}

/// Writes a line of the verbose kind.
pub fn verbose(text: &str) {
    write(LogLevel::Verbose, text);
}

/// Writes a line that everybody may want to see.
pub fn notice(text: &str) {
    write(LogLevel::Notice, text);
}

/// Writes a line that somebody should see.
pub fn warning(text: &str) {
    write(LogLevel::Warning, text);
}

/// Writes text as it is, whatever the level.
pub fn plain(text: &str) {
    put(&LOG.lock().unwrap_or_else(PoisonError::into_inner), text);
}

/// To the file, or to standard output.
fn put(log: &Log, text: &str) {
    if let Some(path) = &log.file {
        if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
            let _ = file.write_all(text.as_bytes());
        }
    } else if !log.daemon {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

/// Writes a line. What cannot be written is lost: there is nobody to tell.
pub fn write(level: LogLevel, text: &str) {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let (rank, mark, priority) = match level {
        LogLevel::Debug => (0, '.', libc::LOG_DEBUG),
        LogLevel::Verbose => (1, '-', libc::LOG_INFO),
        LogLevel::Notice => (2, '*', libc::LOG_NOTICE),
        LogLevel::Warning => (3, '#', libc::LOG_WARNING),
    };
    let least = match log.level {
        config::LogLevel::Debug => 0,
        config::LogLevel::Verbose => 1,
        config::LogLevel::Notice => 2,
        config::LogLevel::Warning => 3,
        config::LogLevel::Nothing => 4,
    };
    if rank < least {
        return;
    }
    let line = format!("{}:M {} {mark} {text}\n", std::process::id(), timestamp());
    put(&log, &line);
    if log.syslog
        && let Ok(text) = CString::new(text)
    {
        // SAFETY: both strings end in a zero byte, and the format takes exactly one string.
        unsafe { libc::syslog(priority, c"%s".as_ptr(), text.as_ptr()) };
    }
}

/// An error of the system without its number, which says nothing to most readers.
pub fn in_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Whether a person reads what is printed.
pub fn is_terminal() -> bool {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.file.is_none() && !log.daemon && std::io::stdout().is_terminal()
}

/// The local time as `22 Nov 2026 13:37:49.123`.
fn timestamp() -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs() as libc::time_t;
    // SAFETY: all bit patterns of the struct are valid, zero included.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live values of the right types.
    unsafe { libc::localtime_r(&seconds, &mut tm) };
    let month = MONTHS[tm.tm_mon.clamp(0, 11) as usize];
    let (hour, minute, second) = (tm.tm_hour, tm.tm_min, tm.tm_sec);
    let (day, year, ms) = (tm.tm_mday, tm.tm_year + 1900, since.subsec_millis());
    format!("{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}
