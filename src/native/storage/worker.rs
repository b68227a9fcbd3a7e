//! The storage thread: everything that may wait for a disk, in the order it was asked for.
//!
//! The engine's thread hands over jobs and gets events back; it never waits but for a snapshot that is to
//! be stored before anything else is served. Redis' counterparts: `bio.c` and the forked child.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::engine::host::Ticket;
use crate::native::log::in_words;
use crate::native::ready::Flag;
use crate::rdb::Sum;

use super::append::OpenPart;
use super::disk::{Disk, DiskFile, SharedDisk};
use super::manifest::Manifest;
use super::seal::{BEGIN, Chain, End};

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
        /// It is a base of the log, cut where the part begins that was asked for last.
        base: bool,
        /// It consists of commands, and is the base with this number: with checksums.
        sealed: Option<u64>,
        /// Its sum, which is made here and stands at its end, if it has one.
        sum: Option<Sum>,
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
        file: Arc<dyn DiskFile>,
        /// The offset.
        offset: u64,
    },
    /// Flush a part of the log that nothing more is written to, and say so at its end.
    Close {
        /// The part.
        file: Arc<dyn DiskFile>,
        /// Its length; what stands behind it is room.
        length: u64,
        /// The line that says so.
        seal: Vec<u8>,
    },
    /// Flush a part of the log and open the next one. `listed`: with a manifest that names it.
    Switch {
        /// The part so far, if there is one.
        old: Option<Arc<dyn DiskFile>>,
        /// How it ends.
        end: End,
        /// Where the log is.
        place: LogPlace,
        /// The name of the new part.
        name: String,
        /// Its number.
        seq: u64,
        /// The manifest that names it.
        listed: Option<Manifest>,
        /// The last part that is there, where the log is just switched on: another server may be writing to it.
        there: Option<PathBuf>,
    },
    /// Something else with a result.
    Run(Ticket, Errand),
}

/// What is done once, with a result.
pub type Errand = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// What has happened.
pub enum Event {
    /// A piece of a snapshot is written; the buffer is free.
    Chunk(u64, Vec<u8>),
    /// A snapshot is stored, or why not.
    Snapshot(u64, Result<(), String>),
    /// The log is durable up to an offset, or why not, and how long the disk took; zero where time is simulated.
    Synced(u64, io::Result<()>, Duration),
    /// The next part of the log, or why it could not be opened.
    Switched(Result<OpenPart, SwitchError>),
    /// The end of a [`Job::Run`].
    Done(Ticket, Result<(), String>),
}

/// Why the next part could not be opened.
#[derive(Debug)]
pub struct SwitchError {
    /// What the system said.
    pub error: io::Error,
    /// The part before it is as good as it was, and still the last one.
    pub go_back: bool,
}

/// The engine's end.
pub struct Worker {
    hands: Hands,
}

/// Who does the work.
enum Hands {
    /// A thread.
    Thread { jobs: Option<Sender<Job>>, events: Receiver<Event>, thread: Option<JoinHandle<()>> },
    /// Whoever calls [`Worker::work_one`], or waits.
    Own { jobs: VecDeque<Job>, events: VecDeque<Event>, bench: Bench },
}

/// What the one who works has at hand.
struct Bench {
    disk: SharedDisk,
    snapshot: Option<Snapshot>,
    /// The last part could not be opened: a base that is cut where it begins would have nothing behind it.
    partless: bool,
    /// A flush of this part has failed. A later one may succeed, and would mean nothing.
    distrusted: Option<Arc<dyn DiskFile>>,
    /// Time is the world's, not a simulation's.
    timed: bool,
}

impl Worker {
    /// Starts the thread; `flag` is raised when there are events.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn start(flag: Arc<Flag>, disk: SharedDisk) -> io::Result<Worker> {
        let (jobs, inbox) = channel();
        let (outbox, events) = channel();
        let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(move || {
            let mut bench = Bench::new(disk, true);
            while let Ok(job) = inbox.recv() {
                if let Some(event) = bench.work(job) {
                    if outbox.send(event).is_err() {
                        return;
                    }
                    flag.raise();
                }
            }
        })?;
        Ok(Worker { hands: Hands::Thread { jobs: Some(jobs), events, thread: Some(thread) } })
    }

    /// One without a thread: for simulations.
    pub fn by_hand(disk: SharedDisk) -> Worker {
        let bench = Bench::new(disk, false);
        Worker { hands: Hands::Own { jobs: VecDeque::new(), events: VecDeque::new(), bench } }
    }

    /// Does one job, if there is no thread that does. False if there is none.
    pub fn work_one(&mut self) -> bool {
        let Hands::Own { jobs, events, bench } = &mut self.hands else { return false };
        let Some(job) = jobs.pop_front() else { return false };
        events.extend(bench.work(job));
        true
    }

    /// Hands over a job.
    pub fn submit(&mut self, job: Job) {
        match &mut self.hands {
            Hands::Thread { jobs: Some(jobs), .. } => {
                // The thread ends only when this end is gone.
                let _ = jobs.send(job);
            }
            Hands::Thread { .. } => {}
            Hands::Own { jobs, .. } => jobs.push_back(job),
        }
    }

    /// Flushes a file on the thread that asks, and says how long that took. `None` if the jobs are done by hand: their
    /// order is then the simulation's to choose.
    pub fn sync_here(&self, file: &dyn DiskFile) -> Option<(io::Result<()>, Duration)> {
        let Hands::Thread { .. } = &self.hands else { return None };
        let began = Instant::now();
        let done = file.sync();
        Some((done, began.elapsed()))
    }

    /// Does something that no file waits for, on a thread of its own; the worker only tells that it is done.
    pub fn run_aside(&mut self, ticket: Ticket, run: Errand) {
        let Hands::Thread { jobs: Some(jobs), .. } = &self.hands else { return self.submit(Job::Run(ticket, run)) };
        let jobs = jobs.clone();
        let work = move || {
            let result = run();
            let _ = jobs.send(Job::Run(ticket, Box::new(|| result)));
        };
        if let Err(error) = std::thread::Builder::new().name("aside".to_owned()).spawn(work) {
            self.submit(Job::Run(ticket, Box::new(move || Err(error.to_string()))));
        }
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// None now, or none any more.
    pub fn event(&mut self) -> Result<Event, TryRecvError> {
        match &mut self.hands {
            Hands::Thread { events, .. } => events.try_recv(),
            Hands::Own { events, .. } => events.pop_front().ok_or(TryRecvError::Empty),
        }
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn wait(&mut self) -> Result<Event, RecvError> {
        loop {
            match &mut self.hands {
                Hands::Thread { events, .. } => return events.recv(),
                Hands::Own { events, .. } => {
                    if let Some(event) = events.pop_front() {
                        return Ok(event);
                    }
                }
            }
            if !self.work_one() {
                return Err(RecvError);
            }
        }
    }

    /// The next event, if it comes within this time.
    pub fn wait_for(&mut self, time: Duration) -> Option<Event> {
        match &mut self.hands {
            Hands::Thread { events, .. } => events.recv_timeout(time).ok(),
            Hands::Own { .. } => {
                self.work_one();
                self.event().ok()
            }
        }
    }

    /// Ends the thread once everything is done.
    pub fn stop(&mut self) {
        while self.work_one() {}
        if let Hands::Thread { jobs, thread, .. } = &mut self.hands {
            *jobs = None;
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// A snapshot being written.
struct Snapshot {
    id: u64,
    disk: SharedDisk,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    length: u64,
    flush: bool,
    unflushed: u64,
    /// Its checksums, if it consists of commands.
    chain: Option<Chain>,
    /// Its sum, if it does not.
    sum: Option<Sum>,
}

impl Snapshot {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes, self.length)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Snapshot {
    /// What was not put in its place is removed.
    fn drop(&mut self) {
        let _ = self.disk.remove(&self.path);
    }
}

impl Bench {
    fn new(disk: SharedDisk, timed: bool) -> Bench {
        Bench { disk, snapshot: None, partless: false, distrusted: None, timed }
    }

    fn work(&mut self, job: Job) -> Option<Event> {
        match job {
            // The switch has told its own failure.
            Job::BeginSnapshot { base: true, .. } if self.partless => {
                self.snapshot = None;
                None
            }
            Job::BeginSnapshot { id, path, flush, sealed, sum, .. } => {
                match begin(&self.disk, id, &path, flush, sealed) {
                    Ok(mut snapshot) => {
                        snapshot.sum = sum;
                        self.snapshot = Some(snapshot);
                        None
                    }
                    Err(error) => {
                        Some(Event::Snapshot(id, Err(format!("can't create {}: {}", path.display(), in_words(&error)))))
                    }
                }
            }
            // Pieces of a snapshot that has failed are passed over.
            Job::Chunk(mut bytes) => {
                let current = self.snapshot.as_mut()?;
                let id = current.id;
                if let Err(error) = write(current, &mut bytes) {
                    self.snapshot = None;
                    return Some(Event::Snapshot(id, Err(format!("can't write: {}", in_words(&error)))));
                }
                bytes.clear();
                Some(Event::Chunk(id, bytes))
            }
            Job::FinishSnapshot(destination) => {
                let current = self.snapshot.take()?;
                let id = current.id;
                Some(Event::Snapshot(id, finish(current, destination).map_err(|error| in_words(&error))))
            }
            Job::DropSnapshot => {
                self.snapshot = None;
                None
            }
            Job::Sync { file, offset } => {
                let began = Instant::now();
                let done = file.sync();
                let took = if self.timed { began.elapsed() } else { Duration::ZERO };
                if done.is_err() {
                    self.distrusted = Some(file);
                }
                Some(Event::Synced(offset, done, took))
            }
            Job::Close { file, length, seal } => {
                let close = || {
                    file.cut(length)?;
                    file.sync()?;
                    file.write_all(&seal, length)?;
                    file.sync()
                };
                // Without the line the part is one that was not closed, and as good.
                let _ = close();
                None
            }
            Job::Switch { old, end, place, name, seq, listed, there } => {
                let known = |old: &Arc<dyn DiskFile>| self.distrusted.as_ref().is_some_and(|bad| Arc::ptr_eq(bad, old));
                let switched = match old.as_ref().is_some_and(known) {
                    true => Err(SwitchError { error: io::Error::other("an earlier flush failed"), go_back: false }),
                    false => check_claim(&*self.disk, there)
                        .and_then(|()| switch(&*self.disk, old, end, &place, &name, seq, listed)),
                };
                self.partless = switched.is_err();
                Some(Event::Switched(switched))
            }
            Job::Run(ticket, run) => Some(Event::Done(ticket, run())),
        }
    }
}

fn begin(disk: &SharedDisk, id: u64, path: &Path, flush: bool, sealed: Option<u64>) -> io::Result<Snapshot> {
    let file = disk.create(path)?;
    let mut snapshot = Snapshot {
        id,
        disk: disk.clone(),
        file,
        path: path.to_owned(),
        length: 0,
        flush,
        unflushed: 0,
        chain: None,
        sum: None,
    };
    if let Some(seq) = sealed {
        let mut head = Vec::new();
        let chain = Chain::begin(seq, true, End::default(), &mut head);
        write(&mut snapshot, &mut head)?;
        snapshot.chain = Some(chain);
    }
    Ok(snapshot)
}

fn write(snapshot: &mut Snapshot, bytes: &mut Vec<u8>) -> io::Result<()> {
    if let Some(chain) = &mut snapshot.chain {
        // The commands of a walk come whole.
        let mut batch = [BEGIN, bytes].concat();
        chain.seal(&mut batch, 0);
        *bytes = batch;
    }
    if let Some(sum) = &mut snapshot.sum {
        sum.add(bytes);
    }
    snapshot.append(bytes)?;
    snapshot.unflushed += bytes.len() as u64;
    if snapshot.flush && snapshot.unflushed >= FLUSH_BYTES {
        snapshot.unflushed = 0;
        snapshot.file.sync()?;
    }
    Ok(())
}

fn finish(mut snapshot: Snapshot, destination: Destination) -> io::Result<()> {
    if let Some(mut chain) = snapshot.chain.take() {
        let mut last = Vec::new();
        chain.seal(&mut last, chain.length());
        snapshot.append(&last)?;
    }
    if let Some(sum) = snapshot.sum.take() {
        snapshot.append(&sum.trailer())?;
    }
    snapshot.file.sync()?;
    let disk = snapshot.disk.clone();
    match destination {
        Destination::Rdb(path) => {
            disk.rename(&snapshot.path, &path)?;
            disk.sync_folder(path.parent().unwrap_or(Path::new(".")))
        }
        Destination::LogBase { place, mut manifest, name, keep_history } => {
            disk.make_folder(&place.dir)?;
            disk.rename(&snapshot.path, &place.dir.join(name))?;
            disk.sync_folder(&place.dir)?;
            manifest.store(&*disk, &place.dir, &place.prefix)?;
            // What is left of this when it fails takes room, and no more.
            if !keep_history && !manifest.history.is_empty() {
                for part in manifest.history.drain(..) {
                    let _ = disk.remove(&place.dir.join(part.name));
                }
                let _ = manifest.store(&*disk, &place.dir, &place.prefix);
            }
            Ok(())
        }
    }
}

/// Whether the log that is there is nobody else's.
fn check_claim(disk: &dyn Disk, there: Option<PathBuf>) -> Result<(), SwitchError> {
    match there.map(|path| disk.claim(&path)) {
        Some(Err(error)) if error.kind() == ErrorKind::ResourceBusy => {
            let error = io::Error::new(error.kind(), "another server is running that writes to this log");
            Err(SwitchError { error, go_back: true })
        }
        _ => Ok(()),
    }
}

fn switch(
    disk: &dyn Disk,
    old: Option<Arc<dyn DiskFile>>,
    end: End,
    place: &LogPlace,
    name: &str,
    seq: u64,
    listed: Option<Manifest>,
) -> Result<OpenPart, SwitchError> {
    if let Some(old) = old {
        // Room that is left there does no harm.
        let _ = old.cut(end.length);
        old.sync().map_err(|error| SwitchError { error, go_back: false })?;
    }
    let open = || {
        disk.make_folder(&place.dir)?;
        // One that is there was left by a rewrite that never came into a manifest.
        let path = place.dir.join(name);
        let file = disk.create(&path)?;
        let claim = disk.claim(&path)?;
        let mut head = Vec::new();
        let chain = Chain::begin(seq, false, end, &mut head);
        file.write_all(&head, 0)?;
        file.sync()?;
        disk.sync_folder(&place.dir)?;
        Ok(OpenPart::new(file, seq, chain, claim))
    };
    let part = open().map_err(|error| SwitchError { error, go_back: true })?;
    if let Some(manifest) = listed {
        // If the manifest that names the part may be in force, the part stays.
        let stored = manifest.store(disk, &place.dir, &place.prefix);
        stored.map_err(|failed| SwitchError { error: failed.error, go_back: !failed.in_doubt })?;
    }
    Ok(part)
}
