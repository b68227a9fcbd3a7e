//! A disk in memory that remembers everything it was told, fails on demand, and can be cut off from power.
//!
//! What a cut leaves is decided by a seed: of each file, what was flushed is there; of what was not, nothing, all,
//! a part up to any byte, the right length without what stands at its end, or without some sectors. Where bytes never
//! came, those that they were to replace are still there, and zeros if there were none. Names that were not flushed
//! with their folder are there up to some point. After a failed flush the bytes it was for may be gone, whatever a
//! later flush says, as on Linux.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use haversack::engine::rng::Rng;
use haversack::native::storage::disk::{Disk, DiskFile};

/// Something that was done to the disk, with the number of the file it was done to.
#[derive(Clone, Debug)]
enum Op {
    Create(PathBuf, usize),
    Empty(usize),
    Write(usize, u64, Vec<u8>),
    Cut(usize, u64),
    Sync(usize),
    SyncFailed(usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
    SyncFolder(PathBuf),
}

/// How operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space left on device: for what needs space.
    Full,
    /// A part of a write is done before the space runs out.
    Short,
    /// Input/output error: for everything.
    Broken,
}

/// Which operations fail.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// How.
    pub fault: Fault,
    /// From this operation on, counted from 0.
    pub from: u64,
    /// How many of them.
    pub count: u64,
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    files: Vec<Vec<u8>>,
    ops: Vec<Op>,
    calls: u64,
    faults: Option<Faults>,
    /// Faults that came to pass.
    hits: u64,
}

/// The disk.
#[derive(Clone, Default)]
pub struct FakeDisk(Arc<Mutex<State>>);

struct FakeFile {
    disk: FakeDisk,
    id: usize,
}

fn os_error(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl FakeDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while it is held")
    }

    /// Operations so far: what is acknowledged now is to be there after a cut from here on.
    pub fn mark(&self) -> usize {
        self.state().ops.len()
    }

    /// Calls that may fail so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Faults that came to pass.
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    /// Makes operations fail.
    pub fn fail(&self, faults: Option<Faults>) {
        self.state().faults = faults;
    }

    /// The files with their contents.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(name, id)| (name.clone(), state.files[*id].clone())).collect()
    }

    /// A disk with these files, all durable.
    pub fn with(files: BTreeMap<PathBuf, Vec<u8>>) -> FakeDisk {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name, state.files.len());
            state.files.push(bytes);
        }
        FakeDisk(Arc::new(Mutex::new(state)))
    }

    /// What was done to the disk, a line for each operation: for those who look for the cause of a failure.
    pub fn story(&self) -> String {
        let state = self.state();
        let line = |(at, op): (usize, &Op)| match op {
            Op::Write(id, from, bytes) => format!("{at}: write {id} at {from}: {}\n", bytes.escape_ascii()),
            op => format!("{at}: {op:?}\n"),
        };
        state.ops.iter().enumerate().map(line).collect()
    }

    /// The disk as a killed process leaves it after the first `count` operations; `torn`: in the middle of the last.
    /// What was not flushed still waits for it: a power cut may come later.
    pub fn after_kill(&self, count: usize, torn: bool, rng: &mut Rng) -> FakeDisk {
        let mut ops = self.state().ops[..count].to_vec();
        if let (Some(Op::Write(_, _, bytes)), true) = (ops.last_mut(), torn) {
            bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize);
        }
        let mut replay = Replay::default();
        ops.iter().for_each(|op| replay.run(op));
        let count = replay.files.keys().max().map_or(0, |id| id + 1);
        let mut files = vec![Vec::new(); count];
        replay.files.into_iter().for_each(|(id, file)| files[id] = file.now);
        FakeDisk(Arc::new(Mutex::new(State { names: replay.names, files, ops, ..State::default() })))
    }

    /// The disk as a power cut leaves it after the first `count` operations.
    pub fn after_cut(&self, count: usize, rng: &mut Rng) -> FakeDisk {
        let state = self.state();
        let mut replay = Replay::default();
        state.ops[..count].iter().for_each(|op| replay.run(op));
        let pending = std::mem::take(&mut replay.pending);
        let mut left: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for op in &pending {
            *left.entry(folder_of(op)).or_default() += 1;
        }
        for count in left.values_mut() {
            *count = rng.below(*count + 1);
        }
        for op in &pending {
            let count = left.get_mut(&folder_of(op)).expect("counted above");
            if *count > 0 {
                *count -= 1;
                rename_in(&mut replay.durable, op);
            }
        }
        let names = std::mem::take(&mut replay.durable).into_iter();
        FakeDisk::with(names.map(|(name, id)| (name, replay.files[&id].after_cut(rng))).collect())
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    flushed: Vec<u8>,
    /// Where flushes have failed: from where on, and what may still be there.
    doubtful: Vec<(usize, Vec<u8>)>,
}

/// Where the first difference is.
fn difference(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Puts back what was there before a stretch was written: `old`, and zeros behind it.
fn forget(bytes: &mut [u8], old: &[u8], from: usize, to: usize) {
    for (at, byte) in bytes.iter_mut().enumerate().take(to).skip(from) {
        *byte = old.get(at).copied().unwrap_or(0);
    }
}

/// Writes over what is there, and behind it.
fn overwrite(file: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let at = at as usize;
    assert!(at <= file.len(), "a file has no gaps: {at} is behind its end at {}", file.len());
    let replaced = bytes.len().min(file.len() - at);
    file[at..at + replaced].copy_from_slice(&bytes[..replaced]);
    file.extend_from_slice(&bytes[replaced..]);
}

impl Inode {
    fn after_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let same = difference(&self.now, &self.flushed);
        let whole = same + rng.below((self.now.len() - same) as u64 + 1) as usize;
        let mut bytes = match rng.below(5) {
            _ if self.now.len() < self.flushed.len() => {
                return if rng.below(2) == 0 { self.now.clone() } else { self.flushed.clone() };
            }
            0 => self.flushed.clone(),
            1 => self.now.clone(),
            2 => [&self.now[..whole], self.flushed.get(whole..).unwrap_or_default()].concat(),
            3 => {
                let mut bytes = self.now.clone();
                forget(&mut bytes, &self.flushed, whole, self.now.len());
                bytes
            }
            _ => {
                let mut bytes = self.now.clone();
                let mut at = same;
                while at < bytes.len() {
                    let end = ((at / 512 + 1) * 512).min(bytes.len());
                    if rng.below(3) == 0 {
                        forget(&mut bytes, &self.flushed, at, end);
                    }
                    at = end;
                }
                bytes
            }
        };
        for (from, old) in &self.doubtful {
            if rng.below(2) == 0 && *from < bytes.len() {
                let to = old.len().min(bytes.len());
                forget(&mut bytes, old, *from, to);
            }
        }
        bytes
    }
}

/// What operations lead to.
#[derive(Default)]
struct Replay {
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Op>,
    files: BTreeMap<usize, Inode>,
}

fn folder_of(op: &Op) -> PathBuf {
    let path = match op {
        Op::Create(path, _) | Op::Remove(path) | Op::Rename(_, path, _) => path,
        _ => unreachable!("only names wait"),
    };
    path.parent().expect("files are in folders").to_owned()
}

fn rename_in(names: &mut BTreeMap<PathBuf, usize>, op: &Op) {
    match op {
        Op::Create(path, id) => {
            names.insert(path.clone(), *id);
        }
        Op::Remove(path) => {
            names.remove(path);
        }
        Op::Rename(from, to, id) => {
            names.remove(from);
            names.insert(to.clone(), *id);
        }
        _ => {}
    }
}

impl Replay {
    fn run(&mut self, op: &Op) {
        match op {
            Op::Create(_, id) => {
                self.files.insert(*id, Inode::default());
            }
            Op::Empty(id) => {
                let file = self.file(*id);
                file.now.clear();
                file.doubtful.clear();
            }
            Op::Write(id, at, bytes) => overwrite(&mut self.file(*id).now, *at, bytes),
            Op::Cut(id, length) => {
                let file = self.file(*id);
                file.now.truncate(*length as usize);
                file.doubtful.retain(|(from, _)| *from < *length as usize);
            }
            Op::Sync(id) => {
                let file = self.file(*id);
                file.flushed = file.now.clone();
            }
            Op::SyncFailed(id) => {
                let file = self.file(*id);
                let from = difference(&file.now, &file.flushed);
                let mut old = file.now.clone();
                forget(&mut old, &file.flushed, from, file.now.len());
                file.doubtful.push((from, old));
            }
            Op::SyncFolder(folder) => {
                let (durable, rest): (Vec<Op>, Vec<Op>) =
                    std::mem::take(&mut self.pending).into_iter().partition(|op| folder_of(op) == *folder);
                durable.iter().for_each(|op| rename_in(&mut self.durable, op));
                self.pending = rest;
            }
            Op::Rename(..) | Op::Remove(_) => {}
        }
        if matches!(op, Op::Create(..) | Op::Rename(..) | Op::Remove(_)) {
            rename_in(&mut self.names, op);
            self.pending.push(op.clone());
        }
    }

    fn file(&mut self, id: usize) -> &mut Inode {
        self.files.get_mut(&id).expect("created before")
    }
}

impl State {
    /// Counts a call; fails it if that is its turn.
    fn call(&mut self, needs_space: bool) -> io::Result<()> {
        let call = self.calls;
        self.calls += 1;
        let Some(faults) = self.faults else { return Ok(()) };
        if !(faults.from..faults.from.saturating_add(faults.count)).contains(&call) {
            return Ok(());
        }
        match faults.fault {
            Fault::Broken => {
                self.hits += 1;
                Err(os_error(EIO))
            }
            _ if needs_space => {
                self.hits += 1;
                Err(os_error(ENOSPC))
            }
            _ => Ok(()),
        }
    }
}

impl DiskFile for FakeFile {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let mut taken = bytes.len();
        if let Err(error) = state.call(true) {
            if state.faults.is_none_or(|faults| faults.fault != Fault::Short) || bytes.len() < 2 {
                return Err(error);
            }
            taken = bytes.len() / 2;
        }
        overwrite(&mut state.files[self.id], at, &bytes[..taken]);
        state.ops.push(Op::Write(self.id, at, bytes[..taken].to_vec()));
        Ok(taken)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let done = state.call(true);
        state.ops.push(if done.is_ok() { Op::Sync(self.id) } else { Op::SyncFailed(self.id) });
        done
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.call(false)?;
        state.files[self.id].truncate(length as usize);
        state.ops.push(Op::Cut(self.id, length));
        Ok(())
    }
}

impl FakeDisk {
    fn file(&self, path: &Path, empty: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.call(true)?;
        let id = match state.names.get(path) {
            Some(id) => *id,
            None => {
                let id = state.files.len();
                state.files.push(Vec::new());
                state.names.insert(path.to_owned(), id);
                state.ops.push(Op::Create(path.to_owned(), id));
                id
            }
        };
        if empty && !state.files[id].is_empty() {
            state.files[id].clear();
            state.ops.push(Op::Empty(id));
        }
        Ok(Arc::new(FakeFile { disk: self.clone(), id }))
    }
}

impl Disk for FakeDisk {
    fn edit(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path, false)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(path, true)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let state = self.state();
        let id = state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(io::Cursor::new(state.files[*id].clone())))
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        let state = self.state();
        Ok(state.names.get(path).map(|id| state.files[*id].len() as u64))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        let id = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        let op = Op::Rename(from.to_owned(), to.to_owned(), id);
        rename_in(&mut state.names, &op);
        state.ops.push(op);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(false)?;
        state.names.remove(path).ok_or(ErrorKind::NotFound)?;
        state.ops.push(Op::Remove(path.to_owned()));
        Ok(())
    }

    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        self.state().call(true)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.call(true)?;
        state.ops.push(Op::SyncFolder(path.to_owned()));
        Ok(())
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let state = self.state();
        let inside = state.names.keys().filter(|name| name.parent() == Some(path));
        Ok(inside.filter_map(|name| name.file_name().map(OsString::from)).collect())
    }
}
