//! The storage thread: everything that may wait for a disk, in the order it was asked for.
//!
//! The engine's thread hands over jobs and gets events back; it never waits but for a snapshot that is to
//! be stored before anything else is served. Redis' counterparts: `bio.c` and the forked child.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use crate::engine::host::Ticket;
use crate::native::log::in_words;
use crate::native::ready::Flag;

use super::manifest::{Manifest, sync_dir};

/// A snapshot is flushed each time so many bytes are written, so that the end comes without a long wait.
const FLUSH_BYTES: u64 = 4 << 20;

/// Where the files of the log are and what their names begin with.
#[derive(Clone, Debug)]
pub struct LogPlace {
    /// The folder, absolute.
    pub dir: PathBuf,
    /// `appendfilename`.
    pub prefix: String,
}

/// What becomes of a finished snapshot.
#[derive(Debug)]
pub enum Destination {
    /// It is renamed to this.
    Rdb(PathBuf),
    /// It becomes the base of the log; the manifest is that of the new generation.
    LogBase {
        /// Where the log is.
        place: LogPlace,
        /// The new manifest.
        manifest: Manifest,
        /// Its base's name.
        name: String,
        /// Whether old files are kept (`aof-disable-auto-gc`).
        keep_history: bool,
    },
}

/// Something to do.
pub enum Job {
    /// Create the temporary file of a snapshot; `flush`: in steps.
    BeginSnapshot {
        /// Its number: events carry it.
        id: u64,
        /// Where.
        path: PathBuf,
        /// Whether to flush in steps.
        flush: bool,
    },
    /// Write a piece of it.
    Chunk(Vec<u8>),
    /// Make it durable and put it in its place.
    FinishSnapshot(Destination),
    /// Remove it.
    DropSnapshot,
    /// Make a part of the log durable up to an offset.
    Sync {
        /// The part.
        file: Arc<File>,
        /// The offset.
        offset: u64,
    },
    /// Flush a part of the log and open the next one. `listed`: with a manifest that names it.
    Switch {
        /// The part so far, if there is one.
        old: Option<Arc<File>>,
        /// Where the log is.
        place: LogPlace,
        /// The name of the new part.
        name: String,
        /// The manifest that names it.
        listed: Option<Manifest>,
    },
    /// Something else with a result.
    Run(Ticket, Box<dyn FnOnce() -> Result<(), String> + Send>),
}

/// What has happened.
pub enum Event {
    /// A piece of a snapshot is written; the buffer is free.
    Chunk(u64, Vec<u8>),
    /// A snapshot is stored, or why not.
    Snapshot(u64, Result<(), String>),
    /// The log is durable up to an offset, or why not.
    Synced(u64, io::Result<()>),
    /// The next part of the log, or why it could not be opened.
    Switched(io::Result<Arc<File>>),
    /// The end of a [`Job::Run`].
    Done(Ticket, Result<(), String>),
}

/// The engine's end.
pub struct Worker {
    jobs: Option<Sender<Job>>,
    events: Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread; `flag` is raised when there are events.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(flag: Arc<Flag>) -> io::Result<Worker> {
        let (jobs, inbox) = channel();
        let (outbox, events) = channel();
        let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(move || {
            let mut snapshot = None;
            while let Ok(job) = inbox.recv() {
                let event = work(job, &mut snapshot);
                if let Some(event) = event {
                    if outbox.send(event).is_err() {
                        return;
                    }
                    flag.raise();
                }
            }
        })?;
        Ok(Worker { jobs: Some(jobs), events, thread: Some(thread) })
    }

    /// Hands over a job.
    pub fn submit(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only when this end is gone.
            let _ = jobs.send(job);
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// None now, or none any more.
    pub fn event(&self) -> Result<Event, TryRecvError> {
        self.events.try_recv()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn wait(&self) -> Result<Event, RecvError> {
        self.events.recv()
    }

    /// Ends the thread once everything is done.
    pub fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A snapshot being written.
struct Snapshot {
    id: u64,
    file: File,
    path: PathBuf,
    flush: bool,
    unflushed: u64,
}

impl Drop for Snapshot {
    /// What was not put in its place is removed.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn work(job: Job, snapshot: &mut Option<Snapshot>) -> Option<Event> {
    match job {
        Job::BeginSnapshot { id, path, flush } => match File::create(&path) {
            Ok(file) => {
                *snapshot = Some(Snapshot { id, file, path, flush, unflushed: 0 });
                None
            }
            Err(error) => {
                Some(Event::Snapshot(id, Err(format!("can't create {}: {}", path.display(), in_words(&error)))))
            }
        },
        // Pieces of a snapshot that has failed are passed over.
        Job::Chunk(mut bytes) => {
            let current = snapshot.as_mut()?;
            let id = current.id;
            if let Err(error) = write(current, &bytes) {
                *snapshot = None;
                return Some(Event::Snapshot(id, Err(format!("can't write: {}", in_words(&error)))));
            }
            bytes.clear();
            Some(Event::Chunk(id, bytes))
        }
        Job::FinishSnapshot(destination) => {
            let current = snapshot.take()?;
            let id = current.id;
            Some(Event::Snapshot(id, finish(current, destination).map_err(|error| in_words(&error))))
        }
        Job::DropSnapshot => {
            *snapshot = None;
            None
        }
        Job::Sync { file, offset } => Some(Event::Synced(offset, file.sync_data())),
        Job::Switch { old, place, name, listed } => Some(Event::Switched(switch(old, &place, &name, listed))),
        Job::Run(ticket, run) => Some(Event::Done(ticket, run())),
    }
}

fn write(snapshot: &mut Snapshot, bytes: &[u8]) -> io::Result<()> {
    snapshot.file.write_all(bytes)?;
    snapshot.unflushed += bytes.len() as u64;
    if snapshot.flush && snapshot.unflushed >= FLUSH_BYTES {
        snapshot.unflushed = 0;
        snapshot.file.sync_data()?;
    }
    Ok(())
}

fn finish(snapshot: Snapshot, destination: Destination) -> io::Result<()> {
    snapshot.file.sync_all()?;
    match destination {
        Destination::Rdb(path) => {
            std::fs::rename(&snapshot.path, &path)?;
            sync_dir(path.parent().unwrap_or(Path::new(".")))
        }
        Destination::LogBase { place, mut manifest, name, keep_history } => {
            std::fs::create_dir_all(&place.dir)?;
            std::fs::rename(&snapshot.path, place.dir.join(name))?;
            manifest.store(&place.dir, &place.prefix)?;
            if !keep_history && !manifest.history.is_empty() {
                for part in manifest.history.drain(..) {
                    let _ = std::fs::remove_file(place.dir.join(part.name));
                }
                manifest.store(&place.dir, &place.prefix)?;
            }
            Ok(())
        }
    }
}

fn switch(old: Option<Arc<File>>, place: &LogPlace, name: &str, listed: Option<Manifest>) -> io::Result<Arc<File>> {
    if let Some(old) = old {
        old.sync_data()?;
    }
    std::fs::create_dir_all(&place.dir)?;
    let path = place.dir.join(name);
    let file = OpenOptions::new().append(true).create(true).open(&path)?;
    // Left over from a rewrite that never came into a manifest.
    file.set_len(0)?;
    if let Some(manifest) = listed
        && let Err(error) = manifest.store(&place.dir, &place.prefix)
    {
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(Arc::new(file))
}
