//! What the engine wants done: settings of sockets and files, snapshots, the end.
//!
//! Each ask is dealt with when it comes out, after what was appended before it; answers go back as reports.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::config::{self, Config};
use crate::engine::host::{Ask, Refusal, Report, SnapshotKind};
use crate::engine::time::Now;

use super::listen::{self, Listener};
use super::log::{self, in_words};
use super::process;
use super::pump::Pump;
use super::storage::{Storage, disk};

/// So much in memory is little.
const LITTLE_BYTES: usize = 64 << 20;

impl Storage {
    /// Does what is asked of storage alone; gives back any other ask.
    pub fn answer(&mut self, engine: &mut Engine, now: Now, ask: Ask) -> Option<Ask> {
        match ask {
            Ask::StartSnapshot { kind, at, at_once } => {
                // That of a new base has begun already, where the stream was cut.
                if kind == SnapshotKind::Rdb {
                    self.begin_snapshot(engine, now, kind, at);
                }
                if at_once {
                    self.store_at_once(engine, now);
                }
            }
            Ask::CancelSnapshot => self.cancel_snapshot(),
            Ask::Sync => self.ask_sync(engine, now),
            Ask::DelayLog { micros } => self.log_delay = Duration::from_micros(micros),
            other => return Some(other),
        }
        None
    }
}

impl Pump {
    /// Does what is asked.
    pub(super) fn answer(&mut self, now: Now, ask: Ask) {
        let Some(ask) = self.storage.answer(&mut self.engine, now, ask) else { return };
        match ask {
            // Those were for storage.
            Ask::StartSnapshot { .. } | Ask::CancelSnapshot | Ask::Sync | Ask::DelayLog { .. } => {}
            Ask::Log { level, text } => log::write(level, &text),
            Ask::Configure { ticket, changes } => {
                let result = self.configure(now, &changes);
                let failed = result.is_err();
                self.engine.report(now, Report::Done { ticket, result });
                // The engine has taken the values back.
                if failed {
                    let _ = self.configure(now, &changes);
                }
            }
            Ask::RewriteConfig { ticket, all } => {
                let config = self.engine.config().clone();
                let path = self.files.config.clone();
                self.storage.run(ticket, move || rewrite(&path, &config, all));
            }
            Ask::GiveBack { ticket, at_rest } => {
                self.inbox.rest();
                if at_rest && let Some(threads) = &mut self.threads {
                    threads.rest();
                }
                // It takes milliseconds where much has just been freed; with much in memory it would be little beside
                // it.
                if at_rest && super::memory::used_bytes() < LITTLE_BYTES {
                    super::memory::let_go();
                }
                self.storage.run_aside(ticket, || {
                    super::memory::give_back();
                    Ok(())
                });
            }
            Ask::Reload { ticket, kind, flush } => self.reload(now, ticket, kind, flush),
            Ask::Stall { micros } => std::thread::sleep(Duration::from_micros(micros)),
            Ask::Exit => self.exit = Some(std::process::ExitCode::SUCCESS),
        }
    }

    /// Brings sockets, files and the process in line with the configuration, as far as `changes` name them.
    fn configure(&mut self, now: Now, changes: &[(&'static str, String)]) -> Result<(), Refusal> {
        let changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
        let about = |about: &'static str| move |text| Refusal { about, text };
        if changed("maxclients") {
            process::permits_clients(self.engine.config()).map_err(about("maxclients"))?;
        }
        if changed("oom-score-adj") || changed("oom-score-adj-values") {
            process::set_oom_score(self.engine.config()).map_err(about("oom-score-adj"))?;
        }
        if changed("dir") {
            let dir = Path::new(OsStr::from_bytes(&self.engine.config().dir));
            let done = std::env::set_current_dir(dir);
            done.map_err(|error| about("dir")(format!("Changing directory: {}", in_words(&error))))?;
        }
        if changed("port") || changed("bind") {
            let name = if changed("bind") { "bind" } else { "port" };
            self.listen_again(changed("bind")).map_err(about(name))?;
        }
        if changed("loglevel") {
            log::set_level(self.engine.config().loglevel);
        }
        if changed("appendfsync") {
            self.storage.set_policy(self.engine.config().appendfsync);
        }
        if changed("appendonly") {
            self.follow_appendonly(now);
        }
        Ok(())
    }

    /// Switches the log on or off as the configuration says, unless it is being loaded.
    pub(super) fn follow_appendonly(&mut self, now: Now) {
        if self.loader.is_some() {
            return;
        }
        match (self.engine.config().appendonly, self.engine.is_logging()) {
            (true, false) => {
                // Files of a rewrite that was asked for while the log was off hold no changes.
                self.storage.stop_log(&mut self.engine, now);
                self.engine.start_log(now);
            }
            (false, true) => {
                self.storage.stop_log(&mut self.engine, now);
                self.engine.stop_log(now);
            }
            _ => {}
        }
    }

    /// Listens where `port` and `bind` say now. If that fails, TCP clients are not accepted any more until
    /// it is called again with values that work.
    fn listen_again(&mut self, bind: bool) -> Result<(), String> {
        let mut listeners: Vec<Listener> = self.listeners.drain(..).map(|(listener, _)| listener).collect();
        listeners.retain(|listener| matches!(listener, Listener::Unix(..)));
        let opened = listen::open_tcp(self.engine.config());
        let result = match opened {
            Ok(tcp) => {
                listeners.extend(tcp);
                Ok(())
            }
            Err(reason) => {
                log::warning(&reason);
                Err(match bind {
                    true => "Failed to bind to specified addresses.".to_owned(),
                    false => "Unable to listen on this port. Check server logs.".to_owned(),
                })
            }
        };
        self.set_listeners(listeners);
        result
    }

    /// The last things: everything durable, no traces left.
    pub(super) fn leave(&mut self, now: Now) {
        process::tell_stopping(self.engine.config().supervised);
        if let Some(threads) = &mut self.threads {
            threads.leave();
        }
        self.storage.finish(now);
        // Why a start has failed stands in the last line of the log.
        let orderly = self.exit == Some(std::process::ExitCode::SUCCESS);
        let say = |text: &str| {
            if orderly {
                log::notice(text)
            }
        };
        for (listener, _) in self.listeners.drain(..) {
            if let Listener::Unix(_, path) = listener {
                say("Removing the unix socket file.");
                let _ = std::fs::remove_file(path);
            }
        }
        if !self.files.pid.is_empty() {
            say("Removing the pid file.");
            let _ = std::fs::remove_file(OsStr::from_bytes(&self.files.pid));
        }
        if orderly {
            log::warning("Redis is now ready to exit, bye bye...");
        }
    }
}

/// Writes the configuration back to its file: a new file beside it, renamed over it.
fn rewrite(path: &str, config: &Config, all: bool) -> Result<(), String> {
    if path.is_empty() {
        return Err("The server is running without a config file".to_owned());
    }
    let old = std::fs::read(path).unwrap_or_default();
    let users: Vec<Vec<u8>> = config.directives.user.iter().map(|words| words.join(&b' ')).collect();
    let text = config::rewrite(&old, config, &users, all);
    let path = Path::new(path);
    let temp = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = File::create(&temp).and_then(|mut file| {
        if let Ok(data) = std::fs::metadata(path) {
            file.set_permissions(data.permissions())?;
        }
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temp, path)?;
        disk::sync_folder(path.parent().unwrap_or(Path::new("/")))
    });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temp);
        format!("Rewriting config file: {}", in_words(&error))
    })
}
