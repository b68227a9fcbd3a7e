//! Files of the log that are not as they were written: which ones are mended, and what is said of the others.
//!
//! A write that was cut short leaves a torn end; nothing was promised about it, and it is cut off. Anything else is
//! refused, and no byte is changed: the reason names the file, the offset, what is wrong there and what to do. When
//! what is cut off may hold something that somebody misses, it is kept in a file of its own beside it.

use std::io;
use std::path::PathBuf;

use crate::engine::config::Config;
use crate::engine::load::LoadError;
use crate::native::clock::Clock;
use crate::native::log::{self, in_words};

use super::check::{Checker, Damage, Evidence, Found, Stop};
use super::disk::Disk;
use super::load::Source;
use super::manifest::{self, Manifest};
use super::seal::{End, Head, read_head};
use super::worker::LogPlace;

/// A file was torn, and is whole up to this length now.
pub struct Mended {
    /// Its length.
    pub length: u64,
}

/// Checks that a file is the one that the manifest means, and follows the one before it.
///
/// # Errors
/// In words for the log.
pub(super) fn check_head(source: &Source, head: Option<Head>, before: Option<End>) -> Result<(), String> {
    let Some(head) = head else { return Ok(()) };
    let path = source.path.display();
    let kind = |base| if base { "base" } else { "part" };
    if (head.seq, head.base) != (source.seq, source.base) {
        return Err(format!(
            "{path} stands in the manifest as {} {}, but says of itself at offset 0 that it is {} {}: files have been \
             swapped, or it belongs to another log. Nothing was changed. Put the files back from a backup.",
            kind(source.base),
            source.seq,
            kind(head.base),
            head.seq
        ));
    }
    match before {
        Some(before) if head.after != before => Err(format!(
            "{path} says at offset 0 that it follows part {} of {} bytes; but the part before it in the manifest is part {} \
             of {} bytes{}. Something is missing or was changed there. Nothing was changed now. Put the files back from a \
             backup.",
            head.after.seq,
            head.after.length,
            before.seq,
            before.length,
            if head.after.length == before.length { ", with other checksums" } else { "" },
        )),
        _ => Ok(()),
    }
}

/// The files of the folder that are named like those of the log, with one of these ends.
fn names_of(disk: &dyn Disk, place: &LogPlace, ends: &[&str]) -> Vec<PathBuf> {
    let ours = |name: &str| {
        let number = name.strip_prefix(&*place.prefix)?.strip_prefix('.')?;
        let number = ends.iter().find_map(|end| number.strip_suffix(end))?;
        number.bytes().all(|digit| digit.is_ascii_digit()).then(|| place.dir.join(name))
    };
    let names = disk.names(&place.dir).unwrap_or_default();
    names.iter().filter_map(|name| ours(name.to_str()?)).collect()
}

/// Checks that a manifest without checksums has not lost the line of its base.
///
/// # Errors
/// In words for the log.
pub(super) fn check_base(disk: &dyn Disk, place: &LogPlace, manifest: &Manifest) -> Result<(), String> {
    let lost = names_of(disk, place, &[".base.rdb", ".base.aof"]).pop().filter(|_| manifest.base.is_none());
    let Some(base) = lost else { return Ok(()) };
    Err(format!(
        "The manifest of the log, {}, has no line for a base and no checksum, but {} is there: a line may be missing. \
         Nothing was changed. Put the manifest back from a backup; or, if the log has no base, move that file away.",
        manifest::path(&place.dir, &place.prefix).display(),
        base.display()
    ))
}

/// Checks, where there is no manifest, that there has been none: a log that was in force is not to be begun anew.
///
/// # Errors
/// In words for the log.
pub(super) fn check_forgotten(disk: &dyn Disk, place: &LogPlace) -> Result<(), String> {
    for path in names_of(disk, place, &[".incr.aof"]) {
        let bytes = disk.read(&path).map_err(|error| format!("Can't read {}: {}", path.display(), in_words(&error)))?;
        if !was_in_force(&bytes) {
            continue;
        }
        return Err(format!(
            "The manifest of the log, {}, is not there, but parts of a log are: {} has {} bytes. Nothing was changed. Put the \
             manifest back from a backup; or, to begin a new log, move those files away.",
            manifest::path(&place.dir, &place.prefix).display(),
            path.display(),
            bytes.len()
        ));
    }
    Ok(())
}

/// Whether a manifest must have named this part. Before one does, nothing but its first line is made durable.
fn was_in_force(bytes: &[u8]) -> bool {
    let line = memchr::memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..=end]);
    match read_head(line) {
        Ok(head) => {
            let begins = line.len() as u64;
            head.after.seq > 0 || Evidence::gather(begins, &bytes[line.len()..]).durable > begins
        }
        // Another server's.
        Err(_) => bytes.starts_with(b"*"),
    }
}

/// Checks that a base has its end.
///
/// # Errors
/// In words for the log.
pub(super) fn check_end(source: &Source, found: &Found) -> Result<(), String> {
    if found.head.is_some_and(|head| head.base) && !found.closed {
        return Err(format!(
            "{} ends too early, at offset {}: the line that closes a base is missing. Nothing was changed. Put the file \
             back from a backup.",
            source.path.display(),
            source.bytes
        ));
    }
    Ok(())
}

/// Checks that no checksums of ours stand where they could not be checked: behind something that is no command, and
/// that the engine has taken for one nevertheless.
///
/// # Errors
/// In words for the log.
pub(super) fn check_lost(disk: &dyn Disk, source: &Source, found: &Found, config: &Config) -> Result<(), String> {
    let Some(seen) = found.lost else { return Ok(()) };
    let at = found.chain.from;
    if Evidence::gather(at, &rest_of(disk, source, at)?).seals == 0 {
        return Ok(());
    }
    let damage = Damage { at, seen, what: "something that is no command", torn: false };
    // The engine has run what stands there, so it is not to be cut off now.
    let mut strict = config.clone();
    (strict.aof_load_truncated, strict.aof_load_corrupt_tail_max_size) = (false, 0);
    damaged(disk, source, &damage, &strict, false).map(|_| ())
}

/// Deals with a damaged file: cuts it if that is safe.
///
/// # Errors
/// It is not: in words for the log.
pub(super) fn damaged(
    disk: &dyn Disk,
    source: &Source,
    damage: &Damage,
    config: &Config,
    may_cut: bool,
) -> Result<Mended, String> {
    let rest = rest_of(disk, source, damage.at)?;
    let evidence = Evidence::gather(damage.at, &rest);
    let tail = rest.len() as u64;
    // A base is whole before anything names it.
    let explained = evidence.explains(damage) && !(source.base && damage.at == 0);
    if source.last && explained && config.aof_load_truncated {
        // Behind room, a command where a sector begins may be another server's.
        let foreign = rest.get((damage.seen - damage.at) as usize) == Some(&b'*');
        return cut(disk, source, damage.at, &rest, foreign || evidence.whole > 0, may_cut);
    }
    if source.last && tail <= config.aof_load_corrupt_tail_max_size {
        log::warning(&format!(
            "{}: {} at offset {}; cut off because aof-load-corrupt-tail-max-size allows it",
            source.path.display(),
            damage.what,
            damage.seen
        ));
        return cut(disk, source, damage.at, &rest, true, may_cut);
    }
    if source.last && explained {
        return Err(torn(source, damage.at));
    }
    let (path, Damage { at, seen, what, .. }) = (source.path.display(), damage);
    let promised = match (evidence.moved, evidence.durable > *at) {
        (true, _) => " They do not stand where they were written: bytes are missing before them, or too many.",
        (_, true) => " They were on the disk when this was written, so no power cut explains it.",
        _ => "",
    };
    let advice = match source.last {
        true => format!(
            "put the file back from a backup; or give up everything from offset {at} on: start once with \
             --aof-load-corrupt-tail-max-size {tail}, which cuts these {tail} bytes off and keeps them in a file beside it."
        ),
        false => {
            "put the file back from a backup: it is not the last part of the log, so nothing can be cut off.".to_owned()
        }
    };
    Err(format!(
        "Bad file format reading the append only file {path}: {what} at offset {seen}. Whole up to offset {at} of {}; behind \
         it {} batches that are whole by themselves.{promised} Nothing was changed. What to do: make a backup of the files \
         as they are; then {advice} Exiting.",
        source.bytes, evidence.whole
    ))
}

/// Deals with a file that ends within a command or a transaction, where there are no checksums.
///
/// # Errors
/// It is not mended: in words for the log.
pub(super) fn truncated(
    disk: &dyn Disk,
    source: &Source,
    error: &LoadError,
    config: &Config,
    may_cut: bool,
    found: &Found,
) -> Result<Mended, String> {
    let LoadError::Truncated { valid } = error else { return Err(refusal(source, error)) };
    let path = source.path.display();
    if !source.last {
        return Err(format!(
            "{path} ends in the middle of a command, and it is not the last part of the log: data behind it would be \
             lost. Whole up to byte {valid} of {}. Put the file back from a backup.",
            source.bytes
        ));
    }
    let at = found.chain.from;
    let rest = rest_of(disk, source, at)?;
    let evidence = Evidence::gather(at, &rest);
    if evidence.seals > 0 {
        // A length that was changed swallowed what follows it.
        let damage = Damage { at, seen: *valid, what: "a command that does not end", torn: false };
        return damaged(disk, source, &damage, config, may_cut);
    }
    if !config.aof_load_truncated {
        return Err(torn(source, *valid));
    }
    cut(disk, source, *valid, &rest[(*valid - at) as usize..], false, may_cut)
}

fn torn(source: &Source, valid: u64) -> String {
    format!(
        "Unexpected end of file reading the append only file {}, whole up to byte {valid} of {}. You can: 1) make \
         a backup of the file, then cut it with: redis-check-aof --fix <file>. 2) set 'aof-load-truncated yes' and \
         start again.",
        source.path.display(),
        source.bytes
    )
}

fn rest_of(disk: &dyn Disk, source: &Source, from: u64) -> Result<Vec<u8>, String> {
    let mut bytes = disk.read(&source.path).map_err(|error| unreadable(source, &error))?;
    bytes.drain(..(from as usize).min(bytes.len()));
    Ok(bytes)
}

fn unreadable(source: &Source, error: &io::Error) -> String {
    format!("Can't read {}: {}", source.path.display(), in_words(error))
}

fn now_seconds() -> i64 {
    Clock::start().now().wall.seconds()
}

/// Cuts a file; keeps what is cut off if somebody may miss it.
fn cut(disk: &dyn Disk, source: &Source, at: u64, rest: &[u8], keep: bool, may_cut: bool) -> Result<Mended, String> {
    let path = source.path.display();
    let mended = Mended { length: at };
    log::warning(&format!("The end of {path} is torn: a write was cut short when the server stopped."));
    if !may_cut {
        log::warning(&format!("{} bytes of it are not loaded, {at} are whole; the file is left as it is", rest.len()));
        return Ok(mended);
    }
    let kept = PathBuf::from(format!("{path}.cut-at-{at}-{}", now_seconds()));
    let done = || -> io::Result<()> {
        if keep {
            let file = disk.create(&kept)?;
            file.write_all(rest, 0)?;
            file.sync()?;
            disk.sync_folder(kept.parent().unwrap_or(&kept))?;
        }
        let file = disk.edit(&source.path)?;
        file.cut(at)?;
        file.sync()
    };
    done().map_err(|error| format!("Error truncating the AOF file {path}: {}", in_words(&error)))?;
    log::warning(&format!(
        "AOF loaded anyway because aof-load-truncated is enabled: {} bytes cut off, {at} kept",
        rest.len()
    ));
    if keep {
        log::warning(&format!("What was cut off stands in {}, to be looked at or thrown away", kept.display()));
    }
    Ok(mended)
}

/// What a file is, up to where it is whole.
///
/// # Errors
/// In words for the log.
pub(super) fn look_again(disk: &dyn Disk, source: &Source, mended: Mended) -> Result<Found, String> {
    let mut bytes = disk.read(&source.path).map_err(|error| unreadable(source, &error))?;
    bytes.truncate(mended.length as usize);
    let (mut checker, mut out) = (Checker::new(None), Vec::new());
    let found = checker.take(&bytes, &mut out).and_then(|()| checker.end(&mut out));
    found.map_err(|stop| match stop {
        Stop::Damage(damage) => format!("{}: {} at offset {}", source.path.display(), damage.what, damage.seen),
        Stop::Until(_) => String::new(),
    })
}

// ---- Up to a point in time ----

/// The log does not go back so far.
pub(super) fn too_early(until: Option<i64>, checker: &Checker) -> String {
    let until = until.unwrap_or_default();
    let began = checker.base_time().or(checker.stamps.map(|(first, _)| first));
    let began = began.map_or_else(String::new, |time| format!(", at the unix time {time}"));
    format!(
        "aof-load-until {until} is before the base of the log was written{began}: what came before is not in the log any \
         more. Nothing was changed. Name a later time, or take a backup."
    )
}

/// Nothing tells what happened when.
pub(super) fn no_stamps(until: i64) -> String {
    format!(
        "aof-load-until {until}: no times are noted in the log, since it was written without 'aof-timestamp-enabled yes'. \
         Nothing was changed."
    )
}

/// Before the log goes on from an earlier point: its manifest is kept under another name, and its files are named by
/// that one only.
///
/// # Errors
/// In words for the log.
pub(super) fn keep_for_later(disk: &dyn Disk, place: &LogPlace, mut manifest: Manifest) -> Result<Manifest, String> {
    let name = manifest::path(&place.dir, &place.prefix);
    let kept = PathBuf::from(format!("{}.before-{}", name.display(), now_seconds()));
    let done = || -> io::Result<()> {
        let text = disk.read(&name)?;
        let file = disk.create(&kept)?;
        file.write_all(&text, 0)?;
        file.sync()?;
        disk.sync_folder(&place.dir)
    };
    done().map_err(|error| format!("Can't keep a copy of {}: {}", name.display(), in_words(&error)))?;
    log::warning(&format!(
        "The log goes on from here in new files. All files of before are kept, and their manifest as {}: to have \
         everything back, stop the server, rename that one to {} and start without aof-load-until.",
        kept.display(),
        name.display()
    ));
    manifest.forget_files();
    Ok(manifest)
}

/// Says what is wrong with a file, and what to do.
pub(super) fn refusal(source: &Source, error: &LoadError) -> String {
    let path = source.path.display();
    // These words are looked for by those who watch logs.
    if let LoadError::Log { reason, .. } = error {
        let what = ["Unknown command", "Bad file format"].into_iter().find(|what| reason.starts_with(what));
        let what = what.map_or("Bad file format", |what| if what.starts_with('U') { reason } else { what });
        return format!(
            "{what} reading the append only file {path}: {error}. Make a backup of the file, then mend it with: \
             redis-check-aof --fix <file>. Exiting."
        );
    }
    let (kind, tool) = match error {
        LoadError::Snapshot(_) => ("snapshot", "redis-check-rdb"),
        _ => ("append only file", "redis-check-aof"),
    };
    format!(
        "Bad data in the {kind} {path}: {error}. Nothing was changed. Put the file back from a backup, look at it with \
         {tool}, or move it away to start without it. Exiting."
    )
}
