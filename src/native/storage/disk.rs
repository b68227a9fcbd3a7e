//! The seam to the file system: the few operations that stored data go through.
//!
//! Behind it are the system's files ([`system`]), or, in tests, a disk that records what it is told, fails on
//! demand and forgets what was not flushed. Writes come in batches, so a call through the seam costs nothing
//! beside the system call it stands for. What it does not hide: a name is durable only once its folder is
//! flushed, and bytes only once their file is.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// A file open for writing.
pub trait DiskFile: Send + Sync {
    /// Writes from offset `at` on, which is not behind the file's end; gives how many bytes were taken.
    ///
    /// # Errors
    /// Nothing was written.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<usize>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// What became of the bytes is unknown; asking again would not tell. Or the file has been removed: nobody would find
    /// them.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file to this length.
    ///
    /// # Errors
    /// It is as it was.
    fn cut(&self, length: u64) -> io::Result<()>;

    /// Writes all of `bytes` from offset `at` on.
    ///
    /// # Errors
    /// A part of them may have been written.
    fn write_all(&self, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes, at) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => (bytes, at) = (&bytes[written..], at + written as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A file is claimed for as long as this is kept.
pub type Claim = Arc<dyn Send + Sync>;

/// Where files are.
pub trait Disk: Send + Sync {
    /// Opens a file to write to it as it is; makes it if it is not there.
    ///
    /// # Errors
    /// As the system says.
    fn edit(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, in place of one that is there.
    ///
    /// # Errors
    /// As the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Claims a file: no other process can, until this one lets go of it, or ends. A disk that only one process uses, or
    /// that knows no claims, grants all.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceBusy`]: another process has claimed it. Or as the system says.
    fn claim(&self, path: &Path) -> io::Result<Claim> {
        let _ = path;
        Ok(Arc::new(()))
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As the system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// The length of a file, or nothing if there is no such file.
    ///
    /// # Errors
    /// As the system says.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Renames a file, over another one if there is one.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder and those above it, durably.
    ///
    /// # Errors
    /// As the system says.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder.
    ///
    /// # Errors
    /// As the system says.
    fn names(&self, path: &Path) -> io::Result<Vec<OsString>>;

    /// What a file holds.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// A disk that several threads use.
pub type SharedDisk = Arc<dyn Disk>;

/// The system's files.
pub fn system() -> SharedDisk {
    Arc::new(System)
}

struct System;

impl DiskFile for File {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        self.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// A file that has a name: nobody would find what is written to it when that is gone.
struct Named(File);

impl DiskFile for Named {
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        DiskFile::write(&self.0, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()?;
        match self.0.metadata()?.nlink() {
            0 => Err(io::Error::new(ErrorKind::NotFound, "the file has been removed")),
            _ => Ok(()),
        }
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.0.cut(length)
    }
}

/// A file that has just been opened. There are file systems that count no names.
fn named(file: File) -> io::Result<Arc<dyn DiskFile>> {
    Ok(match file.metadata()?.nlink() {
        0 => Arc::new(file),
        _ => Arc::new(Named(file)),
    })
}

impl Disk for System {
    fn edit(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        named(OpenOptions::new().write(true).create(true).truncate(false).open(path)?)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        named(File::create(path)?)
    }

    fn claim(&self, path: &Path) -> io::Result<Claim> {
        let file = OpenOptions::new().write(true).open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(ErrorKind::ResourceBusy.into()),
            // A file system without locks: nothing can be known.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Arc::new(file)),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(path)?))
    }

    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(data) => Ok(Some(data.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        // One that is there may have been made by a process that did not live to flush its name.
        std::fs::create_dir_all(path)?;
        path.parent().map_or(Ok(()), sync_folder)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        sync_folder(path)
    }

    fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }
}

/// Makes the names in a folder of the system durable.
///
/// # Errors
/// The folder cannot be opened or flushed.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
