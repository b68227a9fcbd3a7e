//! The manifest of the log: which files it consists of, in which order.
//!
//! One line per file, `file <name> seq <number> type <b|i|h>`: one base, then the incremental parts in
//! ascending order; history files wait to be deleted. A new manifest is written beside the old one, made
//! durable and renamed over it, so there is always a whole one. Its first line is a comment, which other servers
//! pass over: the CRC-32C of the lines below it. Tools find the newest part in the last line. (Once the comment was
//! the last line, about those above it; this is read as well.) Redis' counterpart: `aofManifest`.

use std::io;
use std::path::{Path, PathBuf};

use crate::engine::config::{parse_line, quote};

use super::disk::Disk;

/// What the first line begins with.
const CHECKSUM: &str = "#CRC ";

/// Lines that are longer are not ours.
const LONGEST_LINE: usize = 1024;

/// A file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name in the folder.
    pub name: String,
    /// Its number among those of its kind.
    pub seq: u64,
}

/// The files of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The snapshot, or the commands, to begin with.
    pub base: Option<Part>,
    /// What came after it.
    pub parts: Vec<Part>,
    /// What is no longer needed.
    pub history: Vec<Part>,
    last_base: u64,
    last_part: u64,
    /// It had a checksum when it was read.
    pub sealed: bool,
}

impl Manifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// In words: which line, and what is wrong.
    pub fn parse(text: &str) -> Result<Manifest, String> {
        let mut manifest = Manifest::default();
        let mut begins = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let above = &text[..begins];
            begins += line.len();
            let others = if number == 0 { &text[begins..] } else { above };
            if let Some(checksum) = line.strip_prefix(CHECKSUM) {
                let whole = number == 0 || begins == text.len();
                let fits = whole && checksum == format!("{:08x}\n", crc32c::crc32c(others.as_bytes()));
                if !fits {
                    return Err(format!(
                        "line {}: the checksum does not fit the other lines. If you have changed them yourself, remove this \
                         line; if not, put the file back from a backup",
                        number + 1
                    ));
                }
                manifest.sealed = true;
                continue;
            }
            if line.starts_with('#') {
                continue;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            let wrong = |what: &str| format!("line {}: {what}: '{line}'", number + 1);
            if line.is_empty() {
                return Err(wrong("Invalid AOF manifest file format"));
            }
            if line.len() > LONGEST_LINE {
                return Err(format!("line {}: The AOF manifest file contains too long line", number + 1));
            }
            manifest.read_line(line).map_err(wrong)?;
        }
        if manifest.base.is_none() && manifest.parts.is_empty() && manifest.history.is_empty() {
            return Err("Found an empty AOF manifest".to_owned());
        }
        Ok(manifest)
    }

    fn read_line(&mut self, line: &str) -> Result<(), &'static str> {
        let words = parse_line(line.as_bytes()).ok_or("Invalid AOF manifest file format")?;
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("Invalid AOF manifest file format");
        }
        let (mut name, mut seq, mut kind) = (None, None, None);
        for [key, value] in pairs {
            let value = std::str::from_utf8(value).map_err(|_| "not a text")?;
            match key.to_ascii_lowercase().as_slice() {
                b"file" => name = Some(value.to_owned()),
                b"seq" => seq = value.parse::<u64>().ok().filter(|seq| *seq > 0),
                b"type" => kind = value.chars().next(),
                _ => {} // newer versions add offsets
            }
        }
        let name = name.filter(|name| !name.is_empty()).ok_or("Invalid AOF manifest file format")?;
        if name.contains('/') {
            return Err("File can't be a path, just a filename");
        }
        let seq = seq.ok_or("Invalid AOF manifest file format")?;
        let part = Part { name, seq };
        match kind {
            Some('b') if self.base.is_some() => return Err("Found duplicate base file information"),
            Some('b') => {
                self.last_base = self.last_base.max(seq);
                self.base = Some(part);
            }
            Some('i') if seq <= self.last_part => return Err("Found a non-monotonic sequence number"),
            Some('i') => {
                self.last_part = seq;
                self.parts.push(part);
            }
            Some('h') => self.history.push(part),
            Some(_) => return Err("Unknown AOF file type"),
            None => return Err("Invalid AOF manifest file format"),
        }
        Ok(())
    }

    /// The manifest as text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |part: &Part, kind: char| {
            let plain = part.name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte));
            let name =
                if plain { part.name.clone() } else { String::from_utf8_lossy(&quote(part.name.as_bytes())).into() };
            text += &format!("file {name} seq {} type {kind}\n", part.seq);
        };
        self.base.iter().for_each(|part| line(part, 'b'));
        self.history.iter().for_each(|part| line(part, 'h'));
        self.parts.iter().for_each(|part| line(part, 'i'));
        text
    }

    /// The same with its checksum.
    fn sealed_text(&self) -> String {
        let text = self.text();
        format!("{CHECKSUM}{:08x}\n{text}", crc32c::crc32c(text.as_bytes()))
    }

    /// Takes a number for a base. It is never used for another one, even if this one comes to nothing: a manifest
    /// on the disk may name it.
    pub fn reserve_base(&mut self) {
        self.last_base += 1;
    }

    /// The number that was taken last for a base.
    pub fn last_base(&self) -> u64 {
        self.last_base
    }

    /// The number of the last part.
    pub fn last_part(&self) -> u64 {
        self.last_part
    }

    /// Names a new base, a snapshot or (`commands`) a log, with the number that was taken last; the old one becomes
    /// history.
    pub fn next_base(&mut self, prefix: &str, commands: bool) -> String {
        let end = if commands { "aof" } else { "rdb" };
        let part = Part { name: format!("{prefix}.{}.base.{end}", self.last_base), seq: self.last_base };
        let name = part.name.clone();
        self.history.extend(self.base.replace(part));
        name
    }

    /// Takes an existing file as the base: an old log of one file. With the number that was taken last.
    pub fn adopt_base(&mut self, name: &str) {
        self.base = Some(Part { name: name.to_owned(), seq: self.last_base });
    }

    /// Names no files any more, and gives their numbers to no others.
    pub fn forget_files(&mut self) {
        (self.base, self.parts, self.history) = (None, Vec::new(), Vec::new());
    }

    /// Names a new incremental part.
    pub fn next_part(&mut self, prefix: &str) -> String {
        self.last_part += 1;
        let part = Part { name: format!("{prefix}.{}.incr.aof", self.last_part), seq: self.last_part };
        self.parts.push(part.clone());
        part.name
    }

    /// Makes history of all parts but the last `keep`.
    pub fn retire_parts(&mut self, keep: usize) {
        let old = self.parts.len().saturating_sub(keep);
        self.history.extend(self.parts.drain(..old));
    }

    /// Writes the manifest into `dir`, durably. The files that it names must be there, and their names durable.
    ///
    /// # Errors
    /// The old one is in force, or it is not known which one is.
    pub fn store(&self, disk: &dyn Disk, dir: &Path, prefix: &str) -> Result<(), StoreError> {
        let temp = dir.join(format!("temp-{prefix}.manifest"));
        let sealed = self.sealed_text();
        let written = || {
            let file = disk.create(&temp)?;
            file.write_all(sealed.as_bytes(), 0)?;
            file.sync()
        };
        written().map_err(|error| StoreError { error, in_doubt: false })?;
        let renamed = disk.rename(&temp, &path(dir, prefix)).and_then(|()| disk.sync_folder(dir));
        renamed.map_err(|error| StoreError { error, in_doubt: true })
    }
}

/// Where the manifest is.
pub fn path(dir: &Path, prefix: &str) -> PathBuf {
    dir.join(format!("{prefix}.manifest"))
}

/// Why a manifest could not be stored.
#[derive(Debug)]
pub struct StoreError {
    /// What the system said.
    pub error: io::Error,
    /// It is not known which manifest is in force.
    pub in_doubt: bool,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        error.error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_names_new_files_and_retires_the_old_ones() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\nfile appendonly.aof.7.incr.aof seq 7 type i\n";
        let mut manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.text(), text);
        assert_eq!(manifest.next_part("appendonly.aof"), "appendonly.aof.8.incr.aof");
        manifest.reserve_base();
        assert_eq!(manifest.next_base("appendonly.aof", false), "appendonly.aof.3.base.rdb");
        manifest.retire_parts(1);
        let expected = "file appendonly.aof.3.base.rdb seq 3 type b\nfile appendonly.aof.2.base.rdb seq 2 type h\n\
            file appendonly.aof.7.incr.aof seq 7 type h\nfile appendonly.aof.8.incr.aof seq 8 type i\n";
        assert_eq!(manifest.text(), expected);
        assert_eq!(Manifest::parse(expected).unwrap().text(), expected);
    }

    #[test]
    fn the_checksum_stands_before_the_files_and_once_stood_behind_them() {
        let mut manifest = Manifest::default();
        manifest.next_part("log");
        manifest.next_part("log");
        let (text, sealed) = (manifest.text(), manifest.sealed_text());
        assert!(sealed.ends_with("\nfile log.2.incr.aof seq 2 type i\n"));
        let old = format!("{text}{CHECKSUM}{:08x}\n", crc32c::crc32c(text.as_bytes()));
        for whole in [&sealed, &old] {
            let read = Manifest::parse(whole).unwrap();
            assert!(read.sealed && read.text() == text);
            assert!(Manifest::parse(&whole.replace("log.1", "log.3")).is_err());
            assert!(
                Manifest::parse(&whole.replacen("type i\n", "type i\nfile log.9.incr.aof seq 1 type h\n", 1)).is_err()
            );
            assert!(Manifest::parse(&format!("{whole}file log.9.incr.aof seq 9 type i\n")).is_err());
        }
        assert!((40..sealed.len() - 1).all(|end| Manifest::parse(&sealed[..end]).is_err()));
        assert!(!Manifest::parse(&text).unwrap().sealed);
    }

    #[test]
    fn names_with_blanks_are_quoted() {
        let mut manifest = Manifest::default();
        manifest.next_part("my log");
        assert_eq!(manifest.text(), "file \"my log.1.incr.aof\" seq 1 type i\n");
        assert_eq!(Manifest::parse(&manifest.text()).unwrap(), manifest);
    }

    #[test]
    fn offsets_of_newer_versions_are_passed_over_and_nonsense_is_refused() {
        assert!(Manifest::parse("file a.1.incr.aof seq 1 type i startoffset 5 endoffset 9\n").is_ok());
        for wrong in
            ["", "file a seq 0 type i", "file ../a seq 1 type i", "file a seq 1 type x", "file a seq 1 type", "x"]
        {
            assert!(Manifest::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Manifest::parse("file a seq 2 type i\nfile b seq 2 type i\n").is_err());
    }
}
