//! The files in `tests/golden`, which real servers and older builds of ours wrote: each loads with what was in it,
//! or is refused in clear words. Nothing here needs another server.

mod common;

use std::path::{Path, PathBuf};

use common::contents;
use common::{Server, folder_with_log, folder_with_snapshot, haversack};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn start(folder: &Path, options: &[&str]) -> Server {
    let plain = ["--save", "", "--enable-debug-command", "yes"];
    Server::start(haversack(), folder.to_owned(), &[&plain, options].concat())
}

fn from_hex(hex: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    hex.as_bytes().chunks(2).map(byte).collect()
}

/// Compares what a server holds with `keys.tsv` (`tests/golden/README.md` tells the columns).
fn assert_holds(server: &Server, name: &str, with_encodings: bool) {
    let everything = contents::all(&mut server.client());
    let described = std::fs::read_to_string(golden(name).join("keys.tsv")).expect("a description");
    assert_eq!(described.lines().count(), everything.len(), "{name}: number of keys");
    for line in described.lines() {
        let [db, key, kind, encoding, expiry_ms, count, checksum] =
            line.split('\t').collect::<Vec<_>>().try_into().expect("seven columns");
        let found = &everything[&(db.parse().expect("a db"), from_hex(key))];
        let shown = format!("{kind} {expiry_ms} {count} {checksum}");
        let (kind, expiry_ms, count, checksum) = found.data();
        assert_eq!(format!("{kind} {expiry_ms} {count} {checksum:016x}"), shown, "{name}: {line}");
        if with_encodings {
            assert_eq!(found.encoding, encoding, "{name}: {line}");
        }
    }
}

/// Those whose encodings Redis 8.2 named; other versions choose others.
const NAMED_BY_REDIS_8: [&str; 5] = ["redis-5.0", "redis-7.4-rc", "redis-8.2", "haversack", "haversack/plain"];

#[test]
fn snapshots_load() {
    let versions: Vec<String> = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11].map(|version| format!("versions/v{version}")).into();
    let old = versions.iter().map(|name| (&name[..], true));
    let named = NAMED_BY_REDIS_8.map(|name| (name, true));
    for (name, with_encodings) in [("redis-7.0", false), ("valkey-9.1", false)].into_iter().chain(named).chain(old) {
        let server = start(&folder_with_snapshot(&golden(name).join("dump.rdb")), &[]);
        assert_holds(&server, name, with_encodings);
    }
}

/// Of every writer, with a snapshot or commands at the start. They load again after they have been gone on with.
#[test]
fn logs_load() {
    for writer in ["redis-7.0", "redis-8.2", "valkey-9.1", "haversack"] {
        for log in ["log", "log-commands"] {
            let name = format!("{writer}/{log}");
            let folder = folder_with_log(&golden(&name));
            let server = start(&folder, &["--appendonly", "yes"]);
            assert_holds(&server, &name, false);
            // Ours has checksums, all of it; a log of others has none yet.
            assert_eq!(server.log().contains("no checksums"), writer != "haversack", "{name}: {}", server.log());
            let mut client = server.client();
            assert_eq!(client.ask("RPUSH more a b"), ":2", "{name}");
            let digest = client.ask("DEBUG DIGEST");
            let server = start(&server.stop(), &["--appendonly", "yes"]);
            assert_eq!(server.client().ask("DEBUG DIGEST"), digest, "{name}");
        }
    }
}

/// A single changed byte anywhere in our part with checksums is found.
#[test]
fn our_log_vouches_for_itself() {
    let part = "appendonlydir/appendonly.aof.2.incr.aof";
    let whole = std::fs::read(golden("haversack/log").join(part)).expect("our part");
    for at in (0..whole.len()).step_by(whole.len() / 10) {
        let folder = folder_with_log(&golden("haversack/log"));
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(folder.join(part), &bytes).expect("written");
        let said = refused(&folder, &["--appendonly", "yes"]);
        assert!(said.contains("appendonly.aof.2.incr.aof"), "byte {at}: {said}");
    }
}

fn refused(folder: &Path, options: &[&str]) -> String {
    let mut server = Server::spawn(haversack(), folder.to_owned(), &[&["--save", ""], options].concat());
    let status = server.wait();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    server.log()
}

/// What this version does not have is not left out in silence.
#[test]
fn values_of_unknown_types_are_refused_by_name() {
    for (name, expected) in [
        ("redis-7.0/only/stream.rdb", "key 'stream': stored with type 19 (stream), which this version cannot load"),
        ("redis-8.2/only/stream.rdb", "key 'stream': stored with type 21 (stream), which this version cannot load"),
        ("valkey-9.1/only/stream.rdb", "key 'stream': stored with type 21 (stream), which this version cannot load"),
        (
            "redis-8.2/only/vectors.rdb",
            "key 'vectors': stored with type 7 (module value of 'vectorset'), which this version cannot load",
        ),
    ] {
        let said = refused(&folder_with_snapshot(&golden(name)), &[]);
        assert!(said.contains(expected), "{name}: {said}");
    }
}

#[test]
fn functions_are_passed_over_with_a_word() {
    for writer in ["redis-7.0", "redis-8.2", "valkey-9.1"] {
        let server = start(&folder_with_snapshot(&golden(writer).join("only/function.rdb")), &[]);
        assert_eq!(server.client().ask("DBSIZE"), ":0", "{writer}");
        assert!(server.log().contains("skipped a function library"), "{writer}: {}", server.log());
    }
}
