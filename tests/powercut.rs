//! Crashes of the machine, and disks that fail, at every operation in turn: on a disk that forgets what was not
//! flushed and fails on demand (`common/disk.rs`), under a server as a value (`common/machine.rs`).
//!
//! Always true of what the next start has: it is a prefix in order of what was done, in whole transactions; it has
//! everything that was acknowledged (`always`), or was reported to be durable (any mode), or was acknowledged, if
//! only the process died (any mode). A start never refuses what a crash has left.
//!
//! `POWERCUT_SEEDS=n` runs n seeds instead of a few; `POWERCUT_SEED=s` runs that one.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::disk::{FakeDisk, Fault, Faults};
use common::machine::{Machine, WRITERS, config};
use haversack::engine::config::{Config, LogLevel};

use haversack::engine::rng::Rng;

const MODES: [&str; 3] = ["always", "everysec", "no"];

fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match (number("POWERCUT_SEED"), number("POWERCUT_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, more) => (1..=more.unwrap_or(count)).collect(),
    }
}

/// What the storage says goes to a file: there are thousands of starts.
fn quiet() {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("powercut.log");
    haversack::native::log::open(Some(path), LogLevel::Warning, false).expect("a file below the build folder");
}

fn config_of(mode: &str, seed: u64) -> Config {
    let preamble = if seed.is_multiple_of(3) { "no" } else { "yes" };
    let stamps = if seed.is_multiple_of(2) { "no" } else { "yes" };
    config(&[("appendfsync", mode), ("aof-use-rdb-preamble", preamble), ("aof-timestamp-enabled", stamps)])
}

/// Checks what a start finds, against what was done and what was promised. Gives how much it found.
fn look(disk: &FakeDisk, config: Config, live: &[String], promised: u64, what: &str) -> u64 {
    let mut after = Machine::start(disk, config, 7).unwrap_or_else(|refusal| panic!("{what}: refused: {refusal}"));
    let found = after.list("all");
    assert!(live.starts_with(&found), "{what}: not a prefix of what was done:\n{found:?}\n{live:?}");
    assert!(found.len() as u64 >= promised, "{what}: {promised} were promised, {} are there", found.len());
    for writer in 0..WRITERS {
        let prefix = format!("{writer}:");
        let expected: Vec<&str> = found.iter().filter_map(|item| item.strip_prefix(&prefix)).collect();
        assert_eq!(after.list(&format!("list:{writer}")), expected, "{what}: a transaction is torn");
    }
    found.len() as u64
}

/// Runs a machine on, and looks at it after cuts at many places.
fn run_and_cut(mode: &str, seed: u64, cuts: usize) -> u64 {
    let mut rng = Rng::new(seed);
    let disk = FakeDisk::default();
    let mut machine = Machine::start(&disk, config_of(mode, seed), seed).expect("an empty disk");
    for _ in 0..150 {
        machine.step(&mut rng);
    }
    if rng.below(4) == 0 {
        machine.stop();
    }
    let live = machine.list("all");
    assert!(live.len() > 30, "seed {seed}: hardly anything is written");
    let mut kept = 0;
    for _ in 0..cuts {
        let count = rng.below(disk.mark() as u64 + 1) as usize;
        let known = machine.marks.iter().rfind(|mark| mark.ops <= count);
        let (confirmed, durable) = known.map_or((0, 0), |mark| (mark.confirmed, mark.durable));
        let promised = if mode == "always" { confirmed.max(durable) } else { durable };
        let what = format!("{mode}, seed {seed}, power cut after {count} operations");
        kept += look(&disk.after_cut(count, &mut rng), config_of(mode, seed), &live, promised, &what);
        let confirmed = machine.marks.iter().rfind(|mark| mark.ops < count).map_or(0, |mark| mark.confirmed);
        let what = format!("{mode}, seed {seed}, killed after {count} operations");
        kept += look(&disk.after_kill(count, true, &mut rng), config_of(mode, seed), &live, confirmed, &what);
    }
    kept
}

#[test]
fn cuts_and_kills_at_any_operation_lose_nothing_promised() {
    quiet();
    for seed in seeds(12) {
        println!("seed {seed}");
        for mode in MODES {
            assert!(run_and_cut(mode, seed, 40) > 0, "{mode}, seed {seed}: nothing survives");
        }
    }
}

/// Kills a machine, starts another one on what it left, and cuts the power later: what the first one had written and not
/// flushed is still not on the disk.
fn kill_go_on_and_cut(mode: &str, seed: u64, cuts: usize) -> u64 {
    let mut rng = Rng::new(seed);
    let disk = FakeDisk::default();
    let mut first = Machine::start(&disk, config_of(mode, seed), seed).expect("an empty disk");
    for _ in 0..60 {
        first.step(&mut rng);
    }
    let end = disk.mark();
    let killed = disk.after_kill(end / 2 + rng.below(end as u64 / 2 + 1) as usize, true, &mut rng);
    let from = killed.mark();
    let mut second = Machine::start(&killed, config_of(mode, seed), seed).expect("what a kill has left");
    for _ in 0..rng.below(80) {
        second.step(&mut rng);
    }
    let live = second.list("all");
    let mut kept = 0;
    for _ in 0..cuts {
        let count = from + rng.below((killed.mark() - from) as u64 + 1) as usize;
        let known = first.marks.iter().take_while(|mark| mark.ops < from).chain(&second.marks);
        let known =
            known.take_while(|mark| mark.ops <= count).last().map_or((0, 0), |mark| (mark.confirmed, mark.durable));
        let promised = if mode == "always" { known.0.max(known.1) } else { known.1 };
        let what = format!("{mode}, seed {seed}, killed after {from} operations, power cut after {count}");
        kept += look(&killed.after_cut(count, &mut rng), config_of(mode, seed), &live, promised, &what);
    }
    kept
}

#[test]
fn a_power_cut_after_a_kill_and_a_start_loses_nothing_promised() {
    quiet();
    for seed in seeds(12) {
        println!("seed {seed}");
        for mode in MODES {
            assert!(kill_go_on_and_cut(mode, seed, 20) > 0, "{mode}, seed {seed}: nothing survives");
        }
    }
}

/// A machine whose disk fails; then the disk is good again.
fn fail_and_heal(mode: &str, seed: u64, faults: Faults) -> u64 {
    let what = format!("{mode}, seed {seed}, {faults:?}");
    let mut rng = Rng::new(seed);
    let disk = FakeDisk::default();
    let mut machine = Machine::start(&disk, config_of(mode, seed), seed).expect("an empty disk");
    disk.fail(Some(faults));
    for _ in 0..60 {
        machine.step(&mut rng);
    }
    // While the disk fails, reads go on.
    let live = machine.list("all");
    if std::env::var_os("POWERCUT_STORY").is_some() {
        println!("{what}\n{}", disk.story());
    }
    let known = *machine.marks.last().expect("notes were taken");
    let promised = if mode == "always" { known.confirmed } else { known.durable };
    look(
        &disk.after_cut(known.ops, &mut rng),
        config_of(mode, seed),
        &live,
        promised,
        &format!("{what}, cut while failing"),
    );
    look(
        &disk.after_kill(known.ops, false, &mut rng),
        config_of(mode, seed),
        &live,
        known.confirmed,
        &format!("{what}, killed while failing"),
    );

    disk.fail(None);
    machine.settle(40_000);
    let before = machine.marks.last().expect("notes were taken").confirmed;
    machine.push(0);
    machine.settle(3000);
    let after = machine.marks.last().expect("notes were taken").confirmed;
    assert!(after > before, "{what}: writes do not resume by themselves");
    let live = machine.list("all");
    assert_eq!(after, live.len() as u64, "{what}: a write was never answered");
    let ops = disk.mark();
    let promised = if mode == "no" { 0 } else { after };
    for _ in 0..3 {
        look(
            &disk.after_cut(ops, &mut rng),
            config_of(mode, seed),
            &live,
            promised,
            &format!("{what}, cut afterwards"),
        );
    }
    look(
        &disk.after_kill(ops, false, &mut rng),
        config_of(mode, seed),
        &live,
        after,
        &format!("{what}, killed afterwards"),
    );
    disk.hits()
}

#[test]
fn a_disk_that_fails_at_any_call_loses_nothing_and_is_forgiven() {
    quiet();
    for seed in seeds(1) {
        println!("seed {seed}");
        for mode in MODES {
            for fault in [Fault::Full, Fault::Short, Fault::Broken] {
                let (mut hits, mut from) = (0, 4);
                while from < 70 {
                    for count in [1, 2, 40] {
                        hits += fail_and_heal(mode, seed, Faults { fault, from, count });
                    }
                    from += 1 + seed % 2;
                }
                assert!(hits > 25, "{mode}, {fault:?}, seed {seed}: hardly anything failed");
            }
        }
    }
}

/// A log of several files, and what was in it after each of its units.
fn several_files(base: &str) -> (FakeDisk, Vec<String>) {
    let config = || config(&[("appendfsync", "always"), ("aof-use-rdb-preamble", base)]);
    let disk = FakeDisk::default();
    let mut machine = Machine::start(&disk, config(), 1).expect("an empty disk");
    for number in 0..4 {
        machine.push(number % WRITERS);
        machine.settle(100);
    }
    machine.ask(&["BGREWRITEAOF"]);
    machine.settle(100);
    for number in 0..3 {
        machine.push(number % WRITERS);
        machine.settle(100);
    }
    // The base that comes with the next part is never finished: the log is a base and two parts.
    machine.ask(&["BGREWRITEAOF"]);
    while machine.disk.files().len() < 5 {
        machine.work();
    }
    for number in 0..3 {
        machine.push(number % WRITERS);
        machine.pump();
        machine.work();
    }
    let live = machine.list("all");
    let files = disk.files().into_iter().filter(|(name, _)| !name.to_string_lossy().contains("temp-")).collect();
    (FakeDisk::with(files), live)
}

/// Where a part ends, but for the room laid out behind it.
fn written(part: &[u8]) -> usize {
    part.windows(2).rposition(|bytes| bytes == b"\r\n").map_or(part.len(), |at| at + 2)
}

/// Nobody has written for some seconds: then no end of a log can be one that a cut left.
#[test]
fn what_is_wrong_long_after_the_last_write_is_refused() {
    quiet();
    for mode in ["always", "everysec"] {
        let config = || config(&[("appendfsync", mode)]);
        let disk = FakeDisk::default();
        let mut machine = Machine::start(&disk, config(), 1).expect("an empty disk");
        machine.push(0);
        machine.settle(3000);
        machine.ask(&["SET", "blank", &"\0".repeat(3000)]);
        machine.settle(3000);
        let files = disk.files();
        let (name, part) =
            files.iter().rfind(|(name, _)| name.to_string_lossy().ends_with("incr.aof")).expect("a part");
        let line = part[..written(part) - 2].iter().rposition(|byte| *byte == b'\n').expect("a line") + 1;
        let begins = part.windows(2).position(|bytes| bytes == b"#{").expect("a batch");
        let refuses = |changed: Vec<u8>| {
            let mut all = files.clone();
            all.insert(name.clone(), changed);
            Machine::start(&FakeDisk::with(all), config(), 7).is_err()
        };
        assert!(!refuses(part.clone()), "{mode}: as it is it loads");
        for at in (begins..line).step_by(11) {
            let mut changed = part.clone();
            changed[at] ^= 1;
            assert!(refuses(changed), "{mode}: a flipped bit at {at} of {line}");
            let mut changed = part.clone();
            changed[at..line.min(at + 512)].fill(0);
            assert!(changed == *part || refuses(changed), "{mode}: zeros at {at} of {line}");
        }
    }
}

/// Loads a log that was tampered with: it is refused with file, offset and advice, or what it gives is a whole
/// prefix, and all of it unless the last file's end was touched.
fn tampered(
    disk: &FakeDisk,
    files: BTreeMap<PathBuf, Vec<u8>>,
    live: &[String],
    at: (&Path, usize),
    what: &str,
) -> bool {
    let (name, place) = at;
    let name = name.file_name().expect("a file").to_string_lossy();
    let what = format!("{what} at {place} of {name}");
    let broken = FakeDisk::with(files);
    let before = broken.files();
    let mut after = match Machine::start(&broken, config(&[]), 7) {
        Err(refusal) => {
            assert!(refusal.contains("appendonly.aof"), "{what}: which file? {refusal}");
            let place = ["offset ", "line ", "not there", "byte "].iter().any(|word| refusal.contains(word));
            let advice = ["backup", "redis-check", "remove this line"].iter().any(|word| refusal.contains(word));
            assert!(place && advice, "{what}: {refusal}");
            assert!(broken.files() == before, "{what}: refused, and changed: {refusal}");
            return true;
        }
        Ok(machine) => machine,
    };
    let found = after.list("all");
    assert!(live.starts_with(&found), "{what}: loaded as {found:?}");
    let (last, whole) =
        disk.files().into_iter().rfind(|(name, _)| name.to_string_lossy().ends_with("incr.aof")).expect("a part");
    if found.len() < live.len() {
        let torn = last.ends_with(&*name) && place + 200 > written(&whole);
        assert!(torn, "{what}: {} of {} loaded without a word", found.len(), live.len());
    }
    false
}

#[test]
fn every_byte_of_a_log_is_vouched_for() {
    quiet();
    for base in ["yes", "no"] {
        let (disk, live) = several_files(base);
        let files = disk.files();
        let parts = files.keys().filter(|name| name.to_string_lossy().ends_with(".incr.aof")).count();
        assert_eq!((files.len(), parts), (4, 2), "{:?}", files.keys());
        assert!(!tampered(&disk, files.clone(), &live, (Path::new("none"), 0), "nothing"), "as it is it loads");
        let (mut refused, mut loaded) = (0, 0);
        for (name, bytes) in &files {
            // Of the room, its beginning and its end.
            let written = written(bytes);
            let places = (0..bytes.len().min(written + 60)).chain(bytes.len().max(written + 120) - 60..bytes.len());
            for at in places {
                for change in 0..6 {
                    let mut changed = bytes.clone();
                    let what = match change {
                        0..=2 => {
                            changed[at] ^= [1, 0x20, 0x80][change];
                            "a flipped bit"
                        }
                        3 => {
                            changed.drain(at..(at + 5).min(bytes.len()));
                            "missing bytes"
                        }
                        4 => {
                            changed.drain(at..(at + 6).min(bytes.len()));
                            "an even number of missing bytes"
                        }
                        _ => {
                            let copy = changed[at..(at + 40).min(bytes.len())].to_vec();
                            changed.splice(at..at, copy);
                            "bytes twice"
                        }
                    };
                    let mut all = files.clone();
                    all.insert(name.clone(), changed);
                    match tampered(&disk, all, &live, (name, at), what) {
                        true => refused += 1,
                        false => loaded += 1,
                    }
                }
            }
        }
        println!("base as snapshot: {base}; {refused} refused, {loaded} loaded as a whole prefix");
        assert!(refused > loaded * 5, "{refused} refused, {loaded} loaded");
    }
}

/// Whole batches that are missing, doubled or exchanged, zeros in the middle, files of another time.
#[test]
fn batches_and_files_in_the_wrong_place_are_refused() {
    quiet();
    let (disk, live) = several_files("yes");
    let files = disk.files();
    let parts: Vec<_> = files.keys().filter(|name| name.to_string_lossy().ends_with(".incr.aof")).cloned().collect();
    let mut batches: Vec<Vec<u8>> = vec![Vec::new()];
    for line in files[&parts[1]].split_inclusive(|byte| *byte == b'\n') {
        batches.last_mut().expect("one").extend_from_slice(line);
        if line.starts_with(b"#HV") || line.starts_with(b"#}") {
            batches.push(Vec::new());
        }
    }
    batches.pop();
    assert!(batches.len() >= 4, "{}", batches.len());
    let refuse = |name: &Path, bytes: Vec<u8>, what: &str| {
        let mut all = files.clone();
        all.insert(name.to_owned(), bytes);
        assert!(tampered(&disk, all, &live, (name, 0), what), "{what}: loaded");
    };
    let without = |skip: usize| -> Vec<u8> {
        batches.iter().enumerate().filter(|(at, _)| *at != skip).flat_map(|(_, batch)| batch.clone()).collect()
    };
    refuse(&parts[1], without(1), "a batch is missing");
    refuse(&parts[1], without(2), "a batch is missing");
    refuse(
        &parts[1],
        [&batches[0][..], &batches[1], &batches[1], &batches[2], &batches[3]].concat(),
        "a batch is there twice",
    );
    refuse(&parts[1], [&batches[0][..], &batches[2], &batches[1], &batches[3]].concat(), "batches are exchanged");
    refuse(&parts[1], files[&parts[0]].clone(), "another part's contents");
    refuse(&parts[0], files[&parts[1]].clone(), "another part's contents");
    let first = &files[&parts[0]];
    refuse(&parts[0], first[..first.len() - 50].to_vec(), "an earlier part is shorter");
    refuse(&parts[0], Vec::new(), "an earlier part is empty");
    let mut zeroed = files[&parts[1]].clone();
    let durable = batches[0].len()..batches[0].len() + batches[1].len();
    zeroed[durable].fill(0);
    refuse(&parts[1], zeroed, "zeros where something durable was");
}
