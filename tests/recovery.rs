//! Ends in the middle of work, and what the next start makes of the files: nothing acknowledged is lost, and what
//! cannot be loaded is refused with reasons and left as it is.
//!
//! A killed process loses nothing that it handed to the system, whatever `appendfsync` says; the machine's own
//! end is another matter, and the business of the simulation.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::contents::{bytes, call, int, strings, text};
use common::{Client, PATIENCE, Server, fresh_folder, haversack};

const NO_SNAPSHOTS: [&str; 2] = ["--save", ""];
const LOGGED: [&str; 4] = ["--save", "", "--appendonly", "yes"];

fn start(folder: &Path, options: &[&str]) -> Server {
    Server::start(haversack(), folder.to_owned(), options)
}

fn do_all(client: &mut Client, commands: &[&str]) {
    for command in commands {
        let reply = client.ask(command);
        assert!(!reply.starts_with(['-', '(']), "{command}: {reply}");
    }
}

/// Polls until something holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE * 3, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn info(client: &mut Client) -> String {
    text(&call(client, &[b"INFO", b"everything"]))
}

// ---- Kills under load ----

/// Clients that write at the same time.
const WRITERS: usize = 4;

/// What one writer knows.
#[derive(Default)]
struct Progress {
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// Writes rising numbers until the connection breaks: each to a list, and to two keys in one transaction.
fn write_until_lost(port: u16, writer: usize, progress: &Progress) {
    let Ok(mut client) = Client::connect(port) else { return };
    let [list, one, two] = ["list", "one", "two"].map(|name| format!("{name}:{writer}"));
    loop {
        let number = progress.sent.load(Ordering::Relaxed) + 1;
        progress.sent.store(number, Ordering::Relaxed);
        let number = number.to_string();
        let mut batch = Vec::new();
        for command in
            [&["MULTI"][..], &["SET", &one, &number], &["RPUSH", &list, &number], &["SET", &two, &number], &["EXEC"]]
        {
            haversack::resp::encode_command(command.iter().map(|word| word.as_bytes()), &mut batch);
        }
        if client.send_raw(&batch).is_err() {
            return;
        }
        for _ in 0..5 {
            match client.read(PATIENCE) {
                Ok(Some(reply)) => assert!(!reply.to_string().starts_with('-'), "{reply}"),
                _ => return,
            }
        }
        progress.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the writers write, starts `command` in the middle, kills the server, and looks at what a new one has.
fn kill_and_look(folder: &Path, options: &[&str], command: Option<&str>, progress: &[Progress; WRITERS]) {
    let server = start(folder, options);
    let port = server.port;
    let total = || -> u64 { progress.iter().map(|one| one.acknowledged.load(Ordering::Relaxed)).sum() };
    std::thread::scope(|scope| {
        for (writer, progress) in progress.iter().enumerate() {
            scope.spawn(move || write_until_lost(port, writer, progress));
        }
        let before = total();
        wait_until("the writing", || total() > before + 200);
        if let Some(command) = command {
            let reply = server.client().ask(command);
            assert!(reply.starts_with("+Background"), "{reply}");
            let before = total();
            wait_until("the writing meanwhile", || total() > before + 20);
        }
        // Somewhere: the clock decides, and a failure says where.
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").subsec_nanos();
        let (before, more) = (total(), u64::from(nanos / 1000 % 400));
        println!("{options:?} {command:?}: killed after {more} more transactions");
        wait_until("the writing before the kill", || total() >= before + more);
        server.kill();
    });

    let server = start(folder, options);
    let mut client = server.client();
    for (writer, progress) in progress.iter().enumerate() {
        let list = strings(call(&mut client, &[b"LRANGE", format!("list:{writer}").as_bytes(), b"0", b"-1"]));
        let numbers: Vec<u64> = list.iter().map(|item| std::str::from_utf8(item).unwrap().parse().unwrap()).collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "writer {writer}: a gap or a repetition");
        let (sent, acknowledged) = (&progress.sent, &progress.acknowledged);
        let range = acknowledged.load(Ordering::Relaxed)..=sent.load(Ordering::Relaxed);
        let kept = numbers.len() as u64;
        assert!(range.contains(&kept), "writer {writer}: {kept} kept, acknowledged..=sent is {range:?}");
        for name in ["one", "two"] {
            let value = bytes(&call(&mut client, &[b"GET", format!("{name}:{writer}").as_bytes()]));
            assert_eq!(Some(&value), list.last(), "writer {writer}: a transaction is torn");
        }
        sent.store(kept, Ordering::Relaxed);
        acknowledged.store(kept, Ordering::Relaxed);
    }
    server.kill();
}

fn survives_kills(appendfsync: &str) {
    let folder = fresh_folder("recovery");
    let options = [&LOGGED[..], &["--appendfsync", appendfsync, "--enable-debug-command", "yes"]].concat();
    let server = start(&folder, &options);
    // Something to do for snapshots, so that they are under way when the end comes.
    do_all(&mut server.client(), &["DEBUG POPULATE 50000 filling 100"]);
    do_all(&mut server.client(), &["BGREWRITEAOF"]);
    wait_until("the rewrite", || info(&mut server.client()).contains("aof_rewrite_in_progress:0"));
    server.kill();
    let progress = Default::default();
    let rewrite = Some("BGREWRITEAOF");
    for command in [None, rewrite, Some("BGSAVE"), rewrite, None, rewrite] {
        kill_and_look(&folder, &options, command, &progress);
    }
    let server = start(&folder, &options);
    assert_eq!(server.client().ask("DBSIZE"), format!(":{}", 50_000 + 3 * WRITERS));
}

#[test]
fn kills_lose_nothing_with_appendfsync_always() {
    survives_kills("always");
}

#[test]
fn kills_lose_nothing_with_appendfsync_everysec() {
    survives_kills("everysec");
}

#[test]
fn kills_lose_nothing_with_appendfsync_no() {
    survives_kills("no");
}

/// What a killed snapshot or rewrite leaves behind does not pile up in the log's folder.
#[test]
fn leftovers_of_killed_rewrites_are_removed() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &LOGGED);
    do_all(&mut server.client(), &["SET a 1"]);
    server.kill();
    let log = folder.join("appendonlydir");
    std::fs::write(log.join("temp-appendonly.aof.manifest"), "half a manif").unwrap();
    std::fs::write(folder.join("temp-rewriteaof-bg-1.aof"), "half a base").unwrap();
    // A part that no manifest names: the kill came between its creation and the manifest's.
    std::fs::write(log.join("appendonly.aof.2.incr.aof"), "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n").unwrap();
    let server = start(&folder, &LOGGED);
    let mut client = server.client();
    assert_eq!(client.ask("GET a"), "\"1\"");
    do_all(&mut client, &["BGREWRITEAOF"]);
    wait_until("the rewrite", || info(&mut client).contains("aof_rewrite_in_progress:0"));
    do_all(&mut client, &["INCR a"]);
    server.kill();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("GET a"), "\"2\"");
    let mut names: Vec<String> = names_in(&log);
    names.sort();
    assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof", "appendonly.aof.manifest"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

// ---- The log, switched and read again while the server runs ----

#[test]
fn a_log_read_again_does_not_hold_up_the_end() {
    let folder = fresh_folder("recovery");
    let mut server = start(&folder, &[&LOGGED[..], &["--enable-debug-command", "yes"]].concat());
    let mut client = server.client();
    do_all(&mut client, &["SET a 1", "DEBUG LOADAOF", "SET b 2"]);
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.log());
    drop(server);
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("MGET a b"), "[\"1\" \"2\"]");
}

#[test]
fn the_end_comes_though_a_rewrite_has_just_begun() {
    for policy in ["everysec", "no"].repeat(4) {
        let mut server = start(&fresh_folder("end-in-rewrite"), &[&LOGGED[..], &["--appendfsync", policy]].concat());
        let mut client = server.client();
        let commands: Vec<String> = (0..200).map(|n| format!("SET key:{n} value")).collect();
        let commands = commands.iter().map(String::as_str).chain(["BGREWRITEAOF"]);
        commands.clone().for_each(|it| client.send(&it.split(' ').collect::<Vec<_>>()).expect("it takes commands"));
        commands.for_each(|_| assert!(client.read(PATIENCE).expect("the connection stays").is_some()));
        server.signal("TERM");
        assert!(server.wait().success());
    }
}

#[test]
fn a_rewrite_without_a_log_leaves_the_log_to_be_switched_on() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &[&NO_SNAPSHOTS[..], &["--enable-debug-command", "yes"]].concat());
    let mut client = server.client();
    let rewritten = |client: &mut Client| {
        wait_until("the rewrite", || info(client).contains("aof_rewrite_in_progress:0"));
    };
    do_all(&mut client, &["SET old 1", "BGREWRITEAOF"]);
    rewritten(&mut client);
    do_all(&mut client, &["DEBUG LOADAOF", "FLUSHALL", "CONFIG SET appendonly yes", "SET new 1"]);
    rewritten(&mut client);
    assert!(info(&mut client).contains("aof_enabled:1"));
    do_all(&mut client, &["DEBUG LOADAOF"]);
    assert_eq!(client.ask("MGET old new"), "[(nil) \"1\"]");
    server.kill();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("MGET old new"), "[(nil) \"1\"]");
}

#[test]
fn the_first_base_of_a_log_is_waited_for_and_given_up() {
    let folder = fresh_folder("recovery");
    let slow = ["--rdb-key-save-delay", "1000000"];
    let server = start(&folder, &[&NO_SNAPSHOTS[..], &slow].concat());
    let mut client = server.client();
    let keys: Vec<String> = (0..100).map(|n| format!("SET k{n} {n}")).collect();
    do_all(&mut client, &keys.iter().map(String::as_str).collect::<Vec<_>>());
    do_all(&mut client, &["CONFIG SET appendonly yes"]);
    assert!(info(&mut client).contains("aof_rewrite_in_progress:1"));
    server.signal("TERM");
    wait_until("the refusal", || server.log().contains("Writing initial AOF, can't exit"));
    assert!(client.ask("SHUTDOWN").starts_with("-ERR Errors trying to SHUTDOWN"));
    do_all(&mut client, &["CONFIG SET appendonly no"]);
    assert!(info(&mut client).contains("aof_rewrite_in_progress:0"));
    do_all(&mut client, &["CONFIG SET rdb-key-save-delay 0", "CONFIG SET appendonly yes"]);
    wait_until("the base", || info(&mut client).contains("aof_rewrite_in_progress:0"));
    server.kill();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("DBSIZE"), ":100");
}

#[test]
fn a_snapshot_is_read_again() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &[&NO_SNAPSHOTS[..], &["--enable-debug-command", "yes"]].concat());
    let mut client = server.client();
    assert!(client.ask("DEBUG RELOAD NOSAVE").starts_with("-ERR Error trying to load the RDB dump"));
    do_all(&mut client, &["SET a 1", "SAVE", "SET a 2", "SET b 2", "DEBUG RELOAD NOSAVE"]);
    assert_eq!(client.ask("MGET a b"), "[\"1\" (nil)]");
}

// ---- Snapshots only ----

#[test]
fn signals_and_shutdown_save_as_the_save_points_say() {
    let with_points = ["--save", "3600 1000000"];
    for (options, end, kept) in [
        (&with_points, "TERM", true),
        (&with_points, "INT", true),
        (&NO_SNAPSHOTS, "TERM", false),
        (&with_points, "SHUTDOWN", true),
        (&NO_SNAPSHOTS, "SHUTDOWN", false),
        (&with_points, "SHUTDOWN NOSAVE", false),
        (&NO_SNAPSHOTS, "SHUTDOWN SAVE", true),
    ] {
        let folder = fresh_folder("recovery");
        let mut server = start(&folder, options);
        let mut client = server.client();
        do_all(&mut client, &["SET a 1", "SELECT 9", "RPUSH b 1 2 3"]);
        match end.strip_prefix("SHUTDOWN") {
            Some(_) => drop(client.ask(end)),
            None => server.signal(end),
        }
        assert!(server.wait().success(), "{end} {options:?}: {}", server.log());
        drop(server);
        let server = start(&folder, &NO_SNAPSHOTS);
        let mut client = server.client();
        assert_eq!(client.ask("EXISTS a"), format!(":{}", u8::from(kept)), "{end} {options:?}");
        client.ask("SELECT 9");
        assert_eq!(client.ask("LLEN b"), if kept { ":3" } else { ":0" }, "{end} {options:?}");
    }
}

#[test]
fn save_points_save_while_the_server_runs() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &["--save", "1 3"]);
    let mut client = server.client();
    let last_save = int(&call(&mut client, &[b"LASTSAVE"]));
    do_all(&mut client, &["SET a 1", "SET b 2", "SET c 3"]);
    wait_until("the save", || int(&call(&mut client, &[b"LASTSAVE"])) > last_save);
    server.kill();
    let server = start(&folder, &NO_SNAPSHOTS);
    assert_eq!(server.client().ask("MGET a b c"), "[\"1\" \"2\" \"3\"]");
}

#[test]
fn a_kill_goes_back_to_the_last_snapshot() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &NO_SNAPSHOTS);
    do_all(&mut server.client(), &["SET a saved", "SAVE", "SET a lost"]);
    server.kill();
    let server = start(&folder, &NO_SNAPSHOTS);
    assert_eq!(server.client().ask("GET a"), "\"saved\"");
}

/// The time to live goes on while the server is down.
#[test]
fn keys_that_expire_meanwhile_are_gone() {
    for options in [&NO_SNAPSHOTS[..], &LOGGED] {
        let folder = fresh_folder("recovery");
        let server = start(&folder, options);
        let mut client = server.client();
        do_all(&mut client, &["SET short 1 PX 150", "SET long 1 PX 10000000", "HSET h a 1 b 2"]);
        do_all(&mut client, &["HPEXPIRE h 150 FIELDS 1 a", "SAVE"]);
        server.kill();
        let killed = Instant::now();
        wait_until("the expiry", || killed.elapsed() > Duration::from_millis(200));
        let server = start(&folder, options);
        let mut client = server.client();
        assert_eq!(client.ask("MGET short long"), "[(nil) \"1\"]", "{options:?}");
        assert_eq!(client.ask("HGETALL h"), "[\"b\" \"2\"]", "{options:?}");
        wait_until("the removal", || client.ask("DBSIZE") == ":2");
    }
}

// ---- Cut ends ----

/// A folder with a log of known commands, its last part, and what stands in that part.
fn logged() -> (PathBuf, PathBuf, Vec<u8>) {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &LOGGED);
    do_all(&mut server.client(), &["SET a 1", "SET b 2", "MULTI", "SET c 3", "SET d 4", "EXEC"]);
    server.stop();
    let part = folder.join("appendonlydir/appendonly.aof.1.incr.aof");
    let log = std::fs::read(&part).expect("a log");
    (folder, part, log)
}

/// Every file below a folder but the server's own output.
fn files_in(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for name in names_in(folder).into_iter().filter(|name| name != "server.log") {
        let path = folder.join(name);
        if path.is_dir() {
            files.extend(files_in(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    files
}

/// Starts a server that must refuse, twice. Gives what it said; the files must be as they were.
fn refused(folder: &Path, options: &[&str]) -> String {
    let before = files_in(folder);
    let mut said = String::new();
    for _ in 0..2 {
        let mut server = Server::spawn(haversack(), folder.to_owned(), options);
        let status = server.wait();
        said = server.log();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(files_in(folder) == before, "a refused start changed the files: {said}");
    }
    said
}

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

/// Where the lines of a log end that vouch for what is before them, and its first line.
fn sealed_ends(log: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    for line in log.split_inclusive(|byte| *byte == b'\n') {
        at += line.len();
        if line.starts_with(b"#HV") || line.starts_with(b"#}") {
            ends.push(at);
        }
    }
    ends
}

#[test]
fn a_torn_end_of_the_log_is_cut_off() {
    let (folder, part, log) = logged();
    let find = |word: &str| log.windows(word.len()).position(|window| window == word.as_bytes()).expect("in the log");
    let multi = find("*1\r\n$5\r\nMULTI");
    let third = find("*3\r\n$3\r\nSET\r\n$1\r\nb");
    let ends = sealed_ends(&log);
    // Cuts at every byte of two commands would be too many starts: ends, headers and the middle.
    let cuts = [
        third,
        third + 1,
        third + 7,
        multi - 5,
        multi - 4,
        multi - 3,
        multi,
        multi + 3,
        multi + 20,
        log.len() - 60,
        log.len() - 1,
    ];
    for cut in cuts {
        std::fs::write(&part, &log[..cut]).unwrap();
        let server = start(&folder, &LOGGED);
        let mut client = server.client();
        let kept = *ends.iter().rfind(|end| **end <= cut).expect("the first line is whole");
        let second = if kept < third { "(nil)" } else { "\"2\"" };
        let last = if kept < multi { "(nil) (nil)" } else { "\"3\" \"4\"" };
        assert_eq!(client.ask("MGET a b c d"), format!("[\"1\" {second} {last}]"), "cut at {cut}");
        if cut != kept {
            assert_says(&server.log(), &["is torn", "aof-load-truncated", &format!("{} bytes cut off", cut - kept)]);
        }
        assert_eq!(std::fs::read(&part).unwrap(), log[..kept], "cut at {cut}");
        // What is appended stands behind something whole.
        do_all(&mut client, &["SET e 5"]);
        server.kill();
        let server = start(&folder, &LOGGED);
        assert_eq!(server.client().ask("GET e"), "\"5\"", "cut at {cut}");
        server.kill();
    }
}

/// Blocks that never reached the disk read as zeros.
#[test]
fn zeros_at_the_end_of_the_log_are_cut_off() {
    let (folder, part, log) = logged();
    for zeros in [1, 5000] {
        std::fs::write(&part, [&log[..], &vec![0; zeros]].concat()).unwrap();
        let server = start(&folder, &LOGGED);
        assert_eq!(server.client().ask("MGET a b c d"), "[\"1\" \"2\" \"3\" \"4\"]");
        assert_says(&server.log(), &["is torn", &format!("{zeros} bytes cut off, {} kept", log.len())]);
        server.kill();
        assert_eq!(std::fs::read(&part).unwrap(), log);
    }
}

#[test]
fn a_torn_end_is_refused_if_the_configuration_says_so() {
    let (folder, part, log) = logged();
    let options = [&LOGGED[..], &["--aof-load-truncated", "no"]].concat();
    let ends = sealed_ends(&log);
    let valid = ends[ends.len() - 3];
    std::fs::write(&part, &log[..valid + 30]).unwrap();
    let said = refused(&folder, &options);
    let place = format!("byte {valid} of {}", valid + 30);
    assert_says(&said, &["appendonly.aof.1.incr.aof", &place, "redis-check-aof --fix", "aof-load-truncated"]);
    std::fs::write(&part, &log).unwrap();
    assert_eq!(start(&folder, &options).client().ask("GET d"), "\"4\"");
}

/// Adds a file to the manifest as another server would, which knows nothing of checksums.
fn list_also(folder: &Path, line: &str) {
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    let listed = std::fs::read_to_string(&manifest).unwrap();
    let listed: String = listed.split_inclusive('\n').filter(|line| !line.starts_with("#CRC")).collect();
    std::fs::write(&manifest, listed + line).unwrap();
}

/// Only the last part was being written when the process ended.
#[test]
fn a_torn_end_of_an_earlier_part_is_refused() {
    let (folder, part, log) = logged();
    std::fs::write(&part, &log[..log.len() - 5]).unwrap();
    list_also(&folder, "file appendonly.aof.2.incr.aof seq 2 type i\n");
    std::fs::write(part.with_file_name("appendonly.aof.2.incr.aof"), "").unwrap();
    let said = refused(&folder, &LOGGED);
    assert_says(&said, &["appendonly.aof.1.incr.aof", "not the last part", "backup"]);
}

// ---- Without checksums ----

/// What other servers write behind ours is loaded, and gets a checksum then.
#[test]
fn what_another_server_appended_is_kept() {
    let (folder, part, log) = logged();
    let ends = sealed_ends(&log);
    for end in [log.len(), ends[ends.len() - 2]] {
        let mut longer = log[..end].to_vec();
        for command in [&["SELECT", "0"][..], &["SET", "theirs", "6"], &["INCR", "a"]] {
            haversack::resp::encode_command(command.iter().map(|word| word.as_bytes()), &mut longer);
        }
        // Torn as well: as a server without checksums would leave it.
        let whole = longer.len();
        longer.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nhalf");
        std::fs::write(&part, &longer).unwrap();
        let server = start(&folder, &LOGGED);
        let mut client = server.client();
        assert_eq!(client.ask("MGET a d theirs"), "[\"2\" \"4\" \"6\"]");
        do_all(&mut client, &["INCR a"]);
        server.kill();
        let server = start(&folder, &LOGGED);
        assert_eq!(server.client().ask("GET a"), "\"3\"");
        assert!(!server.log().contains("no checksums"), "{}", server.log());
        server.kill();
        let mut sealed = std::fs::read(&part).unwrap();
        assert_eq!(sealed[..whole], longer[..whole]);
        // A line's end that nobody looks at when loading; and a value.
        for (back, what) in [(4, "no command"), (3, "does not fit")] {
            sealed[whole - back] ^= 1;
            std::fs::write(&part, &sealed).unwrap();
            assert_says(&refused(&folder, &LOGGED), &[what, &format!("offset {end}"), "backup"]);
            sealed[whole - back] ^= 1;
        }
        std::fs::write(&part, &log).unwrap();
    }
}

#[test]
fn logs_without_checksums_load_with_a_note() {
    let (folder, part, _) = logged();
    let mut log = Vec::new();
    for command in [&["SELECT", "0"][..], &["SET", "old", "log"]] {
        haversack::resp::encode_command(command.iter().map(|word| word.as_bytes()), &mut log);
    }
    std::fs::write(&part, &log).unwrap();
    let server = start(&folder, &LOGGED);
    let mut client = server.client();
    assert_eq!(client.ask("GET old"), "\"log\"");
    assert_says(&server.log(), &[&format!("{} bytes of", log.len()), "no checksums"]);
    do_all(&mut client, &["SET new 1"]);
    server.stop();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("MGET old new"), "[\"log\" \"1\"]");
    assert!(!server.log().contains("no checksums"));
}

// ---- Files that are wrong ----

fn snapshot() -> Vec<u8> {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &NO_SNAPSHOTS);
    let mut client = server.client();
    do_all(&mut client, &["SET a 1", "RPUSH l a b c", "HSET h f v", "ZADD z 1 a", "SADD s x", "SET big 1"]);
    call(&mut client, &[b"SET", b"big", &b"0123456789abcdef".repeat(500)]);
    do_all(&mut client, &["CONFIG SET rdbcompression no", "SAVE"]);
    server.stop();
    std::fs::read(folder.join("dump.rdb")).expect("a snapshot")
}

#[test]
fn wrong_snapshots_are_refused() {
    let whole = snapshot();
    let text = whole.windows(16).position(|window| window == b"0123456789abcdef").expect("in the snapshot");
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let cases: [(&str, Vec<u8>, &[&str]); 8] = [
        ("no snapshot at all", b"hello, I am a text file\n".to_vec(), &["offset 0"]),
        ("too new", changed(0, b"REDIS9999"), &["9999"]),
        ("nothing", Vec::new(), &["offset 0"]),
        ("a header only", whole[..9].to_vec(), &["offset 9"]),
        ("half", whole[..whole.len() / 2].to_vec(), &["offset"]),
        ("without its last byte", whole[..whole.len() - 1].to_vec(), &["offset"]),
        ("a bit turned over", changed(text, b"1"), &["checksum"]),
        ("a type that is none", changed(whole.len() - 9, &[200]), &["offset", "200"]),
    ];
    for (name, bytes, words) in cases {
        let folder = fresh_folder("recovery");
        std::fs::write(folder.join("dump.rdb"), bytes).unwrap();
        println!("{name}");
        let said = refused(&folder, &NO_SNAPSHOTS);
        assert_says(&said, &["Bad data in the snapshot", "dump.rdb", "backup", "redis-check-rdb"]);
        assert_says(&said, words);
        // The same as the base of a log.
        if name == "a bit turned over" {
            let (folder, part, _) = logged();
            std::fs::write(part.with_file_name("appendonly.aof.1.base.rdb"), changed(text, b"1")).unwrap();
            assert_says(&refused(&folder, &LOGGED), &["appendonly.aof.1.base.rdb", "checksum", "backup"]);
        }
    }
    // A snapshot that is not to be checked is not checked.
    let folder = fresh_folder("recovery");
    std::fs::write(folder.join("dump.rdb"), changed(text, b"1")).unwrap();
    let server = start(&folder, &["--save", "", "--rdbchecksum", "no"]);
    assert_eq!(server.client().ask("GETRANGE big 0 2"), "\"112\"");
}

#[test]
fn wrong_logs_are_refused() {
    let (folder, part, log) = logged();
    let second = log.windows(10).position(|window| window == b"$1\r\nb\r\n$1\r").expect("in the log");
    let changed = |at: usize, to: u8| {
        let mut bytes = log.clone();
        bytes[at] = to;
        bytes
    };
    let with_tail = |tail: &[u8]| [&log[..], tail].concat();
    let offset = format!("offset {}", log.len());
    let cut = "aof-load-corrupt-tail-max-size";
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        ("a text", b"hello, I am a text file\n".to_vec(), &["offset 0", "redis-check-aof"]),
        ("a length that is no number", changed(second + 1, b'x'), &["offset", cut]),
        ("a length that is larger", changed(second + 1, b'9'), &["offset", cut]),
        ("a value", changed(second + 4, b'B'), &["offset", "does not fit its checksum", cut]),
        ("an unknown command", with_tail(b"*2\r\n$4\r\nNOPE\r\n$1\r\na\r\n"), &["NOPE", &offset, "redis-check-aof"]),
        ("too few arguments", with_tail(b"*2\r\n$3\r\nSET\r\n$1\r\na\r\n"), &["offset", "redis-check-aof"]),
    ];
    for (name, bytes, words) in cases {
        std::fs::write(&part, bytes).unwrap();
        println!("{name}");
        let said = refused(&folder, &LOGGED);
        assert_says(&said, &["append only file", "appendonly.aof.1.incr.aof", "backup"]);
        assert_says(&said, words);
    }
    std::fs::write(&part, &log).unwrap();
    assert_eq!(start(&folder, &LOGGED).client().ask("GET d"), "\"4\"");
}

/// What a refusal advises is what helps, and nothing is lost by it.
#[test]
fn the_damaged_end_of_a_log_is_cut_off_on_demand() {
    let (folder, part, log) = logged();
    let second = log.windows(10).position(|window| window == b"$1\r\nb\r\n$1\r").expect("in the log");
    let mut bytes = log.clone();
    bytes[second + 4] = b'B';
    std::fs::write(&part, &bytes).unwrap();
    let said = refused(&folder, &LOGGED);
    let size = said.split("--aof-load-corrupt-tail-max-size ").nth(1).and_then(|rest| rest.split(',').next());
    let size = size.expect("advice");
    let server = start(&folder, &[&LOGGED[..], &["--aof-load-corrupt-tail-max-size", size]].concat());
    assert_eq!(server.client().ask("MGET a b c d"), "[\"1\" (nil) (nil) (nil)]");
    server.kill();
    let names = names_in(part.parent().unwrap());
    let kept = names.iter().find(|name| name.contains(".cut-at-")).expect("what was cut off");
    let size: usize = size.parse().unwrap();
    assert_eq!(std::fs::read(part.with_file_name(kept)).unwrap(), bytes[bytes.len() - size..]);
    assert_eq!(std::fs::read(&part).unwrap(), bytes[..bytes.len() - size]);
}

#[test]
fn wrong_manifests_are_refused() {
    let (folder, part, _) = logged();
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    let good = std::fs::read_to_string(&manifest).unwrap();
    let cases: [(&str, &[&str]); 8] = [
        ("", &["empty AOF manifest"]),
        ("hello\n", &["line 1", "hello"]),
        ("file a seq 1 type b\nfile b seq 2 type b\n", &["line 2", "duplicate base file"]),
        ("file a seq 1 type b\nfile c seq 2 type i\nfile b seq 1 type i\n", &["line 3", "non-monotonic"]),
        ("file ../dump.rdb seq 1 type b\n", &["line 1", "just a filename"]),
        ("file a seq x type b\n", &["line 1", "Invalid AOF manifest file format"]),
        ("file a seq 1 type z\n", &["line 1", "Unknown AOF file type"]),
        ("file \"a seq 1 type b\n", &["line 1", "Invalid AOF manifest file format"]),
    ];
    for (text, words) in cases {
        std::fs::write(&manifest, text).unwrap();
        let said = refused(&folder, &LOGGED);
        assert_says(&said, &["appendonly.aof.manifest"]);
        assert_says(&said, words);
    }
    std::fs::write(&manifest, good).unwrap();
    std::fs::remove_file(&part).unwrap();
    assert_says(&refused(&folder, &LOGGED), &["appendonly.aof.1.incr.aof", "not there", "backup"]);
}

#[test]
fn a_log_without_its_manifest_or_its_base_is_not_begun_anew() {
    let (folder, part, _) = logged();
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let bytes = std::fs::read(&part).unwrap();
    let words = ["appendonly.aof.manifest", "Nothing was changed", "backup"];

    std::fs::remove_file(&manifest).unwrap();
    let said = refused(&folder, &LOGGED);
    assert_says(&said, &words);
    assert_says(&said, &["not there", "appendonly.aof.1.incr.aof"]);

    // The checksum and the beginning of the base's line: what is left of them looks like a comment.
    let (_, parts) = text.split_once("base.rdb").unwrap();
    std::fs::write(&manifest, format!("#{parts}")).unwrap();
    let said = refused(&folder, &LOGGED);
    assert_says(&said, &words);
    assert_says(&said, &["no line for a base", "appendonly.aof.1.base.rdb"]);
    assert_eq!(std::fs::read(&part).unwrap(), bytes);

    // What a cut leaves of a log that has just begun is no log.
    std::fs::remove_file(&manifest).unwrap();
    std::fs::write(&part, b"").unwrap();
    start(&folder, &LOGGED).stop();
}

// ---- Folders ----

#[test]
fn folders_that_cannot_be_used_are_refused() {
    let folder = fresh_folder("recovery");
    let said = refused(&folder, &["--dir", "/nowhere/at/all"]);
    assert_says(&said, &["/nowhere/at/all", "No such file or directory", "--dir"]);

    // Nobody can create files there, not even the superuser.
    let said = refused(&folder, &["--dir", "/proc", "--appendonly", "yes"]);
    assert_says(&said, &["/proc", "not writable", "--dir"]);

    std::fs::write(folder.join("appendonlydir"), "a file where the folder should be").unwrap();
    assert_says(&refused(&folder, &LOGGED), &["appendonlydir"]);
}

#[test]
fn a_second_server_does_not_write_to_the_log_of_another() {
    let folder = fresh_folder("two-servers");
    let first = start(&folder, &LOGGED);
    let mut client = first.client();
    do_all(&mut client, &["SET a 1", "BGREWRITEAOF"]);
    wait_until("the rewrite", || folder.join("appendonlydir/appendonly.aof.2.incr.aof").exists());
    let files = |folder: &Path| files_in(&folder.join("appendonlydir"));
    wait_until("the end of the rewrite", || files(&folder).len() == 3);
    let before = files(&folder);
    let mut second = Server::spawn(haversack(), folder.clone(), &LOGGED);
    assert!(!second.wait().success());
    assert_says(&second.log(), &["Another server is running", "appendonly.aof.2.incr.aof", "--dir"]);
    // Nor does one that has begun without a log.
    let late = start(&folder, &NO_SNAPSHOTS);
    let mut other = late.client();
    assert_eq!(other.ask("CONFIG SET appendonly yes"), "+OK");
    wait_until("the failure", || info(&mut other).contains("aof_last_write_status:err"));
    assert!(other.ask("SET b 2").starts_with("-MISCONF"));
    assert_eq!(other.ask("CONFIG SET appendonly no"), "+OK");
    assert_eq!(other.ask("SET b 2"), "+OK");
    assert_eq!(files(&folder), before);
    do_all(&mut client, &["SET c 3"]);
    first.kill();
    assert_eq!(other.ask("CONFIG SET appendonly yes"), "+OK");
    late.kill();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("MGET a b c"), r#"["1" (nil) "3"]"#);
}

#[test]
fn a_log_whose_folder_is_removed_begins_anew() {
    for policy in ["always", "everysec"] {
        let outer = fresh_folder("removed-folder");
        let folder = outer.join("data");
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.to_str().expect("a plain name");
        let server = start(&outer, &[&LOGGED, &["--appendfsync", policy, "--dir", path][..]].concat());
        let mut client = server.client();
        do_all(&mut client, &["SET a 1"]);
        std::fs::remove_dir_all(&folder).expect("it is there");
        // With appendfsync always, this is answered when it is safe again.
        wait_until("a write", || server.client().ask("SET b 2") == "+OK");
        let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
        wait_until("a new log", || manifest.exists());
        wait_until("the end of the refusal of writes", || server.client().ask("SET c 3") == "+OK");
        server.kill();
        let server = start(&outer, &[&LOGGED, &["--dir", path][..]].concat());
        assert_eq!(server.client().ask("MGET a b c"), r#"["1" "2" "3"]"#);
    }
}

#[test]
fn writes_are_refused_while_snapshots_cannot_be_stored() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &["--save", "3600 100000", "--dir", "/proc", "--enable-protected-configs", "yes"]);
    assert_says(&server.log(), &["/proc", "not writable"]);
    let mut client = server.client();
    do_all(&mut client, &["SET a 1"]);
    client.ask("BGSAVE");
    wait_until("the failure", || info(&mut client).contains("rdb_last_bgsave_status:err"));
    assert!(client.ask("SET a 2").starts_with("-MISCONF"));
    assert_eq!(client.ask("GET a"), "\"1\"");
    // The server does not leave without having saved, unless it is told to.
    assert_eq!(client.ask("SHUTDOWN SAVE"), "-ERR Errors trying to SHUTDOWN. Check logs.");
    do_all(&mut client, &[&format!("CONFIG SET dir {}", folder.display()), "SAVE", "SET a 2"]);
}

// ---- Loading ----

#[test]
fn clients_are_told_while_data_are_loaded() {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &LOGGED);
    do_all(&mut server.client(), &["SET before 1"]);
    server.stop();
    let part = folder.join("appendonlydir/appendonly.aof.1.incr.aof");
    let mut log = std::fs::read(&part).unwrap();
    for number in 0..600_000 {
        let key = format!("key:{number}");
        haversack::resp::encode_command([&b"SET"[..], key.as_bytes(), b"value"], &mut log);
    }
    std::fs::write(&part, &log).unwrap();

    let mut server = Server::spawn(haversack(), folder.clone(), &LOGGED);
    let port = server.port;
    wait_until("the listening", || Client::connect(port).is_ok());
    let mut client = server.client();
    assert!(client.ask("GET before").starts_with("-LOADING "), "the load is over before it began");
    let progress = info(&mut client);
    assert_says(&progress, &["loading:1\r\n", "loading_total_bytes:", "loading_loaded_perc:"]);
    server.wait_until_ready();
    assert!(info(&mut client).contains("loading:0\r\n"));
    assert_eq!(client.ask("DBSIZE"), ":600001");
    server.kill();

    // An end while loading is an end in good order, and leaves everything as it was.
    let before = files_in(&folder);
    let mut server = Server::spawn(haversack(), folder.clone(), &["--save", "1 1", "--appendonly", "yes"]);
    let port = server.port;
    wait_until("the listening", || Client::connect(port).is_ok());
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.log());
    assert!(files_in(&folder) == before);
}

// ---- Up to a point in time ----

/// A log with times: each of three seconds has its value. Gives the folder and the second of the middle one.
fn log_with_times() -> (PathBuf, i64) {
    let folder = fresh_folder("recovery");
    let server = start(&folder, &[&LOGGED[..], &["--aof-timestamp-enabled", "yes"]].concat());
    let mut client = server.client();
    let mut seconds = Vec::new();
    for value in ["first", "second", "third"] {
        let now = |client: &mut Client| -> i64 {
            let time = strings(call(client, &[b"TIME"]));
            std::str::from_utf8(&time[0]).unwrap().parse().unwrap()
        };
        wait_until("the next second", || Some(&now(&mut client)) > seconds.last());
        do_all(&mut client, &[&format!("SET a {value}"), &format!("RPUSH all {value}")]);
        seconds.push(now(&mut client));
    }
    server.kill();
    (folder, seconds[1])
}

/// With the log off, the past is looked at, and no file is touched.
#[test]
fn a_log_is_looked_at_as_it_was() {
    let (folder, second) = log_with_times();
    let before = files_in(&folder);
    let until = second.to_string();
    let server = start(&folder, &["--save", "", "--aof-load-until", &until]);
    let mut client = server.client();
    assert_eq!(client.ask("LRANGE all 0 -1"), "[\"first\" \"second\"]");
    do_all(&mut client, &["SET a changed"]);
    server.stop();
    assert!(files_in(&folder) == before);

    let early = (second - 100).to_string();
    let said = refused(&folder, &["--save", "", "--aof-load-until", &early]);
    assert_says(&said, &["aof-load-until", "before the base", "Nothing was changed"]);
    assert_says(&refused(&folder, &[&LOGGED[..], &["--aof-load-until", &early]].concat()), &["before the base"]);
    let (plain, _, _) = logged();
    assert_says(&refused(&plain, &["--save", "", "--aof-load-until", "4000000000"]), &["aof-timestamp-enabled"]);
}

/// With the log on, it goes on from there in new files; those of before are kept, and can be had back.
#[test]
fn a_log_goes_back_and_forth_in_time() {
    let (folder, second) = log_with_times();
    let until = second.to_string();
    let back = [&LOGGED[..], &["--aof-load-until", &until]].concat();
    let before = files_in(&folder);
    let server = start(&folder, &back);
    let mut client = server.client();
    assert_eq!(client.ask("LRANGE all 0 -1"), "[\"first\" \"second\"]");
    do_all(&mut client, &["RPUSH all instead"]);
    server.kill();
    // What is acknowledged is in the new log, and the old one is there as it was, under a name that says so.
    let log = folder.join("appendonlydir");
    let kept =
        names_in(&log).into_iter().find(|name| name.contains(".manifest.before-")).expect("the manifest of before");
    for (path, bytes) in &before {
        let path = if path.ends_with("appendonly.aof.manifest") { log.join(&kept) } else { path.clone() };
        assert!(std::fs::read(&path).expect("kept") == *bytes, "{}", path.display());
    }
    // The same again would throw away what has been written since.
    assert_says(&refused(&folder, &back), &["before the base"]);
    let server = start(&folder, &LOGGED);
    let mut client = server.client();
    assert_eq!(client.ask("LRANGE all 0 -1"), "[\"first\" \"second\" \"instead\"]");
    do_all(&mut client, &["BGREWRITEAOF"]);
    wait_until("the rewrite", || info(&mut client).contains("aof_rewrite_in_progress:0"));
    server.kill();
    std::fs::rename(log.join(&kept), log.join("appendonly.aof.manifest")).unwrap();
    let server = start(&folder, &LOGGED);
    assert_eq!(server.client().ask("LRANGE all 0 -1"), "[\"first\" \"second\" \"third\"]");
}
