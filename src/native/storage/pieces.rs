//! What is loaded, read by a thread of its own, ahead of the engine.
//!
//! The thread also decompresses long strings of snapshots, as long as the engine has enough to do: otherwise the
//! engine does it itself, so that both are always busy. Pieces end where the engine has nothing to keep until the next
//! one comes, as far as that is possible. What is ahead is bounded: [`PIECES_AHEAD`] pieces with what an
//! [`Ahead`] may hold.

use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use crate::native::ready::Flag;
use crate::rdb::{Ahead, Scout};

use super::disk::{Disk, SharedDisk};

/// Bytes of a piece, unless it begins with a longer string.
const PIECE_BYTES: usize = 64 * 1024;

/// Pieces read ahead.
const PIECES_AHEAD: usize = 32;

/// With fewer pieces waiting the engine will soon have nothing to do.
const FEW: usize = 4;

/// What the thread hands over.
pub enum Piece {
    /// Bytes of a file, and what is known of them.
    Bytes(Vec<u8>, Ahead),
    /// The file ends.
    End,
    /// The file cannot be read.
    Failed(io::Error),
}

/// The pieces of some files, one after the other.
pub struct Pieces {
    inbox: Receiver<Piece>,
    waiting: Arc<AtomicUsize>,
}

impl Pieces {
    /// Starts to read; the flag is raised whenever a piece is there.
    ///
    /// # Errors
    /// The system has no room for another thread.
    pub fn of(paths: Vec<PathBuf>, disk: SharedDisk, flag: Arc<Flag>) -> io::Result<Pieces> {
        let (outbox, inbox) = sync_channel(PIECES_AHEAD);
        let waiting = Arc::new(AtomicUsize::new(0));
        let outbox = Outbox { outbox, waiting: waiting.clone(), flag };
        let read_all = move || paths.iter().all(|path| outbox.read(&*disk, path));
        std::thread::Builder::new().name("loader".to_owned()).spawn(read_all)?;
        Ok(Pieces { inbox, waiting })
    }

    /// The next piece.
    ///
    /// # Errors
    /// It is not there yet, or there are no more.
    pub fn next(&self) -> Result<Piece, TryRecvError> {
        let piece = self.inbox.try_recv()?;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        Ok(piece)
    }
}

struct Outbox {
    outbox: SyncSender<Piece>,
    /// Pieces that have not been taken.
    waiting: Arc<AtomicUsize>,
    flag: Arc<Flag>,
}

impl Outbox {
    /// Hands a piece over. False if nobody wants more.
    fn send(&self, piece: Piece) -> bool {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.outbox.send(piece).is_ok();
        self.flag.raise();
        sent
    }

    /// Reads a file to its end. False if nobody wants more.
    fn read(&self, disk: &dyn Disk, path: &Path) -> bool {
        let mut file = match disk.open(path) {
            Ok(file) => file,
            Err(error) => return self.send(Piece::Failed(error)),
        };
        let (mut scout, mut bytes) = (Scout::default(), Vec::new());
        loop {
            // What was cut off comes again, with more behind it.
            let end = match read_more(&mut *file, &mut bytes) {
                Ok(true) => None,
                Ok(false) => Some(Piece::End),
                Err(error) => Some(Piece::Failed(error)),
            };
            let busy = self.waiting.load(Ordering::Relaxed) >= FEW;
            let (ahead, used) = scout.look(&bytes, busy);
            let rest = bytes.split_off(if end.is_some() { bytes.len() } else { used });
            if !bytes.is_empty() && !self.send(Piece::Bytes(bytes, ahead)) {
                return false;
            }
            if let Some(end) = end {
                return self.send(end);
            }
            bytes = rest;
        }
    }
}

/// Reads as much as makes a piece with what is there. False if the file ends.
fn read_more(file: &mut dyn Read, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let kept = bytes.len();
    bytes.resize(PIECE_BYTES.max(kept + PIECE_BYTES / 2), 0);
    let read = loop {
        match file.read(&mut bytes[kept..]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    bytes.truncate(kept + *read.as_ref().unwrap_or(&0));
    read.map(|read| read > 0)
}
