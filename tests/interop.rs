//! Files and payloads that pass between our server and real ones, in both directions.
//!
//! Every server is a process of its own with a folder of its own; what it holds is compared by reading all
//! of it, and by DEBUG DIGEST. The real servers are those of `pkg-scripts/servers`.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::contents::{self, Contents, Place, bytes, call, text};
use common::{Client, PATIENCE, Server, folder_with_log, folder_with_snapshot, fresh_folder, haversack, tool};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Ours,
    Redis7,
    Redis8,
    Valkey9,
}

use Who::{Ours, Redis7, Redis8, Valkey9};

/// Those that are not ours.
const OTHERS: [Who; 3] = [Redis7, Redis8, Valkey9];

/// Without snapshots of their own, and with DEBUG.
const PLAIN: [&str; 4] = ["--save", "", "--enable-debug-command", "yes"];

impl Who {
    fn binary(self) -> PathBuf {
        match self {
            Ours => haversack(),
            Redis7 => tool("HAVERSACK_REDIS7"),
            Redis8 => tool("HAVERSACK_REDIS8"),
            Valkey9 => tool("HAVERSACK_VALKEY9"),
        }
    }

    fn start(self, folder: &Path, options: &[&str]) -> Server {
        Server::start(self.binary(), folder.to_owned(), &[&PLAIN, options].concat())
    }

    fn start_fresh(self, options: &[&str]) -> Server {
        self.start(&fresh_folder("interop"), options)
    }

    /// Whether its hash fields have expire times.
    fn fields_expire(self) -> bool {
        self != Redis7
    }

    /// Whether it reads the field expire times that `writer` writes: Redis and Valkey chose different formats.
    fn reads_field_expiries_of(self, writer: Who) -> bool {
        match self {
            Ours => writer.fields_expire(),
            Redis8 => matches!(writer, Ours | Redis8),
            _ => self == writer,
        }
    }
}

/// A time that none of these tests lives to see.
const LATER: i64 = 4_102_444_800_000;

/// Text without meaning that does not compress well.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Sends one command whose elements are made of numbers.
fn with_many(
    client: &mut Client,
    head: &[&[u8]],
    numbers: std::ops::Range<u32>,
    mut each: impl FnMut(u32) -> Vec<Vec<u8>>,
) {
    let mut args: Vec<Vec<u8>> = head.iter().map(|word| word.to_vec()).collect();
    args.extend(numbers.flat_map(&mut each));
    let reply = client.call(&args).expect("the server answers");
    assert!(!reply.to_string().starts_with('-'), "{reply}");
}

fn do_all(client: &mut Client, commands: &[&str]) {
    for command in commands {
        let reply = client.ask(command);
        assert!(!reply.starts_with(['-', '(']), "{command}: {reply}");
    }
}

fn fill(client: &mut Client, fields_expire: bool) {
    fill_strings(client);
    fill_collections(client);
    fill_large(client);
    if fields_expire {
        fill_expiring_fields(client);
    }
    do_all(
        client,
        &[
            "SELECT 3",
            "SET in-db-3 here",
            "RPUSH list:expires a",
            &format!("PEXPIREAT list:expires {}", LATER + 123),
            "SELECT 15",
            "SET in-db-15 15",
            "SELECT 0",
        ],
    );
}

fn fill_strings(client: &mut Client) {
    do_all(
        client,
        &[
            "SET empty \"\"",
            "SET short hello",
            "SET int8 -128",
            "SET int16 -32768",
            "SET int32 2147483647",
            "SET int64 -9223372036854775808",
            "SET not-int 007",
            "SET minus-zero -0",
            "SET \"\\x00\\xff\\r\\n key\" odd",
            "SET 12345 \"a key that is a number\"",
            "SET expires later",
            &format!("PEXPIREAT expires {LATER}"),
            "SET grown a",
            "APPEND grown b",
        ],
    );
    let everything: Vec<u8> = (0..=255).collect();
    call(client, &[b"SET", b"binary", &everything]);
    call(client, &[b"SET", b"run", &b"x".repeat(5000)]);
    call(client, &[b"SET", &b"k".repeat(20_000), b"a long key"]);
}

fn fill_collections(client: &mut Client) {
    let number = |n: u32| vec![n.to_string().into_bytes()];
    let named = |n: u32| vec![format!("member {n}").into_bytes()];
    let long = "m".repeat(70);
    do_all(
        client,
        &[
            "RPUSH list:small 0 1 127 128 -1 -4096 4095 4096 32767 -32769 8388607 8388608 2147483648 -9223372036854775808 \"\"",
            "SADD set:int16 1 -5 300",
            "SADD set:int32 1 -5 70000",
            "SADD set:int64 1 -5 5000000000",
            "SADD set:small a bb 12 \"\"",
            "ZADD zset:small 0 a -1 b 1.5 c 0.1 d 3e100 e -2.5e-7 f inf g -inf h 1099511627776 i",
            "HSET hash:small field value n 12 \"\" \"\" x yyyy",
            &format!("RPUSH list:long-element a {} b", "z".repeat(9000)),
            &format!("SADD set:long-member {long}"),
            &format!("ZADD zset:long-member 3 {long} 2 {long}2"),
            &format!("HSET hash:long-value a {long} b 1"),
        ],
    );
    with_many(client, &[b"RPUSH", b"list:big"], 0..3000, named);
    with_many(client, &[b"SADD", b"set:many-ints"], 0..600, number);
    with_many(client, &[b"SADD", b"set:big"], 0..400, named);
    with_many(client, &[b"ZADD", b"zset:big"], 0..400, |n| {
        vec![(f64::from(n) / 7.0).to_string().into_bytes(), format!("member {n}").into_bytes()]
    });
    with_many(client, &[b"HSET", b"hash:big"], 0..600, |n| {
        vec![format!("field {n}").into_bytes(), format!("value {n}").into_bytes()]
    });
}

fn fill_large(client: &mut Client) {
    call(client, &[b"SET", b"large:noise", &noise(3 << 20, 1)]);
    call(client, &[b"SET", b"large:compressible", &b"haversack ".repeat(300_000)]);
    with_many(client, &[b"RPUSH", b"large:list"], 0..40, |n| vec![noise(20_000, u64::from(n))]);
    let pair = |n: u32| vec![n.to_string().into_bytes(), noise(16, u64::from(n))];
    with_many(client, &[b"HSET", b"large:hash"], 0..20_000, pair);
    with_many(client, &[b"ZADD", b"large:zset"], 0..20_000, pair);
    with_many(client, &[b"SADD", b"large:set"], 0..20_000, |n| vec![noise(12, u64::from(n))]);
}

fn fill_expiring_fields(client: &mut Client) {
    let long = "w".repeat(70);
    do_all(
        client,
        &[
            "HSET fields:small a 1 b 2 c never",
            &format!("HPEXPIREAT fields:small {LATER} FIELDS 1 a"),
            &format!("HPEXPIREAT fields:small {} FIELDS 1 b", LATER + 5000),
            &format!("HSET fields:big a 1 b 2 c never d {long}"),
            &format!("HPEXPIREAT fields:big {} FIELDS 2 b d", LATER + 1),
            "HSET fields:persisted a 1",
            &format!("HPEXPIREAT fields:persisted {LATER} FIELDS 1 a"),
            "HPERSIST fields:persisted FIELDS 1 a",
        ],
    );
}

type Everything = BTreeMap<Place, Contents>;

/// Fails with the keys that differ.
fn assert_same(left: &Everything, right: &Everything, what: &str) {
    let name = |(db, key): &Place| format!("db {db} key {}", key[..key.len().min(40)].escape_ascii());
    for (place, contents) in left {
        let other = right.get(place).unwrap_or_else(|| panic!("{what}: {} is missing", name(place)));
        assert_eq!(contents.data(), other.data(), "{what}: {}", name(place));
    }
    let more = right.keys().find(|place| !left.contains_key(*place));
    assert!(more.is_none(), "{what}: {} is too much", name(more.expect("just found")));
}

fn assert_same_encodings(left: &Everything, right: &Everything, what: &str) {
    // Once a field has had an expire time, a small hash is a `listpackex`. Redis keeps that in its snapshots
    // when none is left; ours becomes a plain `listpack`, which older servers can read. A short string that
    // APPEND made is `raw` until it is loaded, everywhere.
    let fickle = [&b"fields:persisted"[..], b"grown"];
    for (place, contents) in left.iter().filter(|((_, key), _)| !fickle.contains(&&key[..])) {
        let other = right[place].encoding.clone();
        assert_eq!(contents.encoding, other, "{what}: db {} key {}", place.0, place.1.escape_ascii());
    }
}

/// Whether DEBUG DIGEST says the same in both: Redis 7 prints scores in another way, and Valkey has another mark
/// for fields that expire.
fn have_same_digests(one: Who, other: Who, fields_expire: bool) -> bool {
    let odd = |who| who == Redis7 || who == Valkey9 && fields_expire;
    one == other || !odd(one) && !odd(other)
}

/// Waits until a field of INFO has a value.
fn wait_for_info(client: &mut Client, field: &str, wanted: &str) {
    let started = Instant::now();
    let line = format!("{field}:{wanted}\r\n");
    loop {
        let info = text(&call(client, &[b"INFO", b"everything"]));
        if info.contains(&line) {
            return;
        }
        assert!(started.elapsed() < PATIENCE * 3, "{field} does not become {wanted}: {info}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check_rdb(path: &Path) {
    let output = Command::new(tool("HAVERSACK_CHECK_RDB")).arg(path).output().expect("redis-check-rdb runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("looks OK"), "redis-check-rdb {}: {said}", path.display());
}

fn check_aof(folder: &Path) {
    let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
    let output = Command::new(tool("HAVERSACK_CHECK_AOF")).arg(&manifest).output().expect("redis-check-aof runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("are valid"), "redis-check-aof {}: {said}", manifest.display());
}

/// A snapshot written by `writer` and what is in it.
fn snapshot_of(writer: Who, fields_expire: bool) -> (PathBuf, Everything, String) {
    let server = writer.start_fresh(&[]);
    let mut client = server.client();
    fill(&mut client, fields_expire);
    let everything = contents::all(&mut client);
    let digest = client.ask("DEBUG DIGEST");
    assert_eq!(client.ask("SAVE"), "+OK");
    (server.stop(), everything, digest)
}

fn snapshot_passes(writer: Who, reader: Who, fields_expire: bool) {
    let (folder, everything, digest) = snapshot_of(writer, fields_expire);
    if writer == Ours && !fields_expire {
        check_rdb(&folder.join("dump.rdb"));
    }
    let server = reader.start(&folder_with_snapshot(&folder.join("dump.rdb")), &[]);
    let mut client = server.client();
    let what = format!("{writer:?} to {reader:?}");
    let loaded = contents::all(&mut client);
    assert_same(&everything, &loaded, &what);
    if have_same_digests(writer, reader, fields_expire) {
        assert_eq!(client.ask("DEBUG DIGEST"), digest, "{what}");
    }
    if [writer, reader].iter().all(|who| [Ours, Redis8].contains(who)) {
        assert_same_encodings(&everything, &loaded, &what);
    }
}

#[test]
fn our_snapshots_load_in_redis_7() {
    snapshot_passes(Ours, Redis7, false);
}

#[test]
fn our_snapshots_load_in_redis_8() {
    snapshot_passes(Ours, Redis8, true);
}

#[test]
fn our_snapshots_load_in_valkey_9() {
    snapshot_passes(Ours, Valkey9, false);
}

#[test]
fn our_snapshots_load_in_our_server() {
    snapshot_passes(Ours, Ours, true);
}

#[test]
fn snapshots_of_redis_7_load() {
    snapshot_passes(Redis7, Ours, false);
}

#[test]
fn snapshots_of_redis_8_load() {
    snapshot_passes(Redis8, Ours, true);
}

#[test]
fn snapshots_of_valkey_9_load() {
    snapshot_passes(Valkey9, Ours, true);
}

/// The servers are their own tools under other names. All of them find a snapshot of ours right, as far as they know
/// the version it needs.
#[test]
fn tools_of_others_find_our_snapshots_right() {
    for fields_expire in [false, true] {
        let (folder, ..) = snapshot_of(Ours, fields_expire);
        for who in OTHERS {
            let link = fresh_folder("interop").join("redis-check-rdb");
            std::os::unix::fs::symlink(who.binary(), &link).expect("a link");
            let output = Command::new(&link).arg(folder.join("dump.rdb")).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if !fields_expire || who == Redis8 {
                assert!(output.status.success() && said.contains("looks OK"), "{who:?}: {said}");
            } else {
                // Redis 7 does not know the version, Valkey not the types in it.
                assert!(!said.contains("looks OK"), "{who:?}: {said}");
            }
        }
    }
}

/// Hash fields that expire need version 12, which Redis 8 reads and the two others do not: they say so, and change
/// nothing. A log of commands brings such fields to Valkey all the same.
#[test]
fn others_say_that_they_cannot_read_expiring_fields() {
    let fields = ["HSET fields a 1 b 2", &format!("HPEXPIREAT fields {LATER} FIELDS 1 a")];
    let ours = Ours.start_fresh(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no"]);
    let mut client = ours.client();
    do_all(&mut client, &fields);
    let payload = bytes(&call(&mut client, &[b"DUMP", b"fields"]));
    assert_eq!(client.ask("SAVE"), "+OK");
    assert!(client.ask("BGREWRITEAOF").starts_with("+Background"));
    wait_for_info(&mut client, "aof_rewrite_in_progress", "0");
    wait_for_info(&mut client, "aof_last_bgrewrite_status", "ok");
    let everything = contents::all(&mut client);
    let folder = ours.stop();

    for reader in [Redis7, Valkey9] {
        let mut server = Server::spawn(reader.binary(), folder_with_snapshot(&folder.join("dump.rdb")), &PLAIN);
        assert!(!server.wait().success(), "{reader:?}");
        assert!(server.log().contains("RDB format version 12"), "{reader:?}: {}", server.log());
        let server = reader.start_fresh(&[]);
        let reply = call(&mut server.client(), &[b"RESTORE", b"fields", b"0", &payload]).to_string();
        assert_eq!(reply, "-ERR DUMP payload version or checksum are wrong", "{reader:?}");
    }
    for reader in [Redis8, Valkey9] {
        let server = reader.start(&folder_with_log(&folder), &["--appendonly", "yes"]);
        assert_same(&everything, &contents::all(&mut server.client()), &format!("a log of commands to {reader:?}"));
    }
}

/// Two counters that only ever change together show whether a snapshot is one point in time.
#[test]
fn snapshots_under_writes_are_a_point_in_time() {
    let server = Ours.start_fresh(&["--appendonly", "yes"]);
    let mut client = server.client();
    fill(&mut client, false);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        let port = server.port;
        let (stop, stopping) = (&stop, StopOnDrop(&stop));
        let writer = scope.spawn(move || churn(port, stop));
        let total = |client: &mut Client| bytes(&call(client, &[b"GET", b"last"]));
        let started = Instant::now();
        while call(&mut client, &[b"GET", b"last"]).is_null() {
            assert!(started.elapsed() < PATIENCE, "the writer does not write");
        }
        let mut seen = Vec::new();
        for command in ["BGSAVE", "BGREWRITEAOF"] {
            let before = total(&mut client);
            assert!(client.ask(command).starts_with("+Background"), "{command}");
            wait_for_info(&mut client, "rdb_bgsave_in_progress", "0");
            wait_for_info(&mut client, "aof_rewrite_in_progress", "0");
            seen.push((before, total(&mut client)));
        }
        drop(stopping);
        writer.join().expect("the writer is well");
        let number = |text: &[u8]| std::str::from_utf8(text).expect("text").parse::<u64>().expect("a number");
        (number(&seen[0].0), number(&seen[0].1))
    });
    let everything = contents::all(&mut client);
    let digest = client.ask("DEBUG DIGEST");
    let folder = server.stop();
    check_rdb(&folder.join("dump.rdb"));
    check_aof(&folder);
    for reader in [Ours, Redis7, Redis8, Valkey9] {
        let loaded = reader.start(&folder_with_snapshot(&folder.join("dump.rdb")), &[]);
        let mut client = loaded.client();
        let last = bytes(&call(&mut client, &[b"GET", b"last"]));
        for key in ["first", "last"] {
            assert_eq!(bytes(&call(&mut client, &[b"GET", key.as_bytes()])), last, "{reader:?}: torn in the middle");
        }
        let hash = bytes(&call(&mut client, &[b"HGET", b"large:hash", b"0"]));
        let list = bytes(&call(&mut client, &[b"LINDEX", b"large:list", b"0"]));
        assert_eq!((&hash, &list), (&last, &last), "{reader:?}: torn in the middle");
        let number: u64 = std::str::from_utf8(&last).expect("text").parse().expect("a number");
        assert!((before..=after).contains(&number), "{reader:?}: {before} <= {number} <= {after}");

        let loaded = reader.start(&folder_with_log(&folder), &["--appendonly", "yes"]);
        let mut client = loaded.client();
        assert_same(&everything, &contents::all(&mut client), &format!("{reader:?}: the log"));
        if have_same_digests(Ours, reader, false) {
            assert_eq!(client.ask("DEBUG DIGEST"), digest, "{reader:?}: the log");
        }
    }
}

/// Lets the writers end even if the test fails.
struct StopOnDrop<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Changes four keys at once, over and over.
fn churn(port: u16, stop: &std::sync::atomic::AtomicBool) {
    let mut client = Client::connect(port).expect("the server accepts");
    let mut number = 0u64;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        number += 1;
        let text = number.to_string();
        let text = text.as_bytes();
        client.send(&["MULTI"]).expect("sent");
        client.send(&[b"SET", &b"first"[..], text]).expect("sent");
        client.send(&[b"HSET", &b"large:hash"[..], b"0", text]).expect("sent");
        client.send(&[b"LSET", &b"large:list"[..], b"0", text]).expect("sent");
        client.send(&[b"SET", &b"last"[..], text]).expect("sent");
        client.send(&["EXEC"]).expect("sent");
        for _ in 0..6 {
            let reply = client.read(PATIENCE).expect("read").expect("a reply").to_string();
            assert!(!reply.starts_with('-'), "{reply}");
        }
    }
}

// ---- The log ----

/// Changes of every kind of propagation, behind the base or in the first part.
fn change(client: &mut Client, fields_expire: bool) {
    do_all(
        client,
        &[
            "SET again 1 EX 100000",
            "INCRBYFLOAT float 0.1",
            "SPOP set:big 7",
            "LPOP list:big 5",
            "RPOPLPUSH list:big list:other",
            "ZPOPMIN zset:big",
            "HINCRBYFLOAT hash:small float 1.25",
            "GETDEL short",
            "GETEX empty EX 100000",
            "RENAME run ran",
            "COPY binary binary:copy",
            "MOVE grown 3",
            "SORT set:many-ints STORE sorted LIMIT 0 10",
            "SETRANGE int8 10 \"\\x00\\x01\"",
            "SWAPDB 3 4",
            "DEL set:int16",
        ],
    );
    do_all(client, &["MULTI", "SET in-multi 1", "SELECT 5", "SET in-multi 2", "EXEC", "SELECT 0"]);
    if fields_expire {
        do_all(client, &["HEXPIRE hash:small 100000 FIELDS 1 field", "HSETEX hash:setex EX 100000 FIELDS 1 f v"]);
    }
}

/// A log of `writer`: without a rewrite, or with one in the middle of the changes.
fn log_of(writer: Who, fields_expire: bool, rewrite: bool, options: &[&str]) -> (PathBuf, Everything, String) {
    let server = writer.start_fresh(&[&["--appendonly", "yes"], options].concat());
    let mut client = server.client();
    fill(&mut client, fields_expire);
    if rewrite {
        wait_for_info(&mut client, "aof_rewrite_in_progress", "0");
        assert!(client.ask("BGREWRITEAOF").starts_with("+Background"));
        wait_for_info(&mut client, "aof_rewrite_in_progress", "0");
        wait_for_info(&mut client, "aof_last_bgrewrite_status", "ok");
    }
    change(&mut client, fields_expire);
    let everything = contents::all(&mut client);
    let digest = client.ask("DEBUG DIGEST");
    (server.stop(), everything, digest)
}

fn log_passes(writer: Who, reader: Who, options: &[&str]) {
    let fields_expire = reader.reads_field_expiries_of(writer);
    for rewrite in [false, true] {
        let (folder, everything, digest) = log_of(writer, fields_expire, rewrite, options);
        if writer == Ours && !(fields_expire && rewrite) {
            check_aof(&folder);
        }
        let server = reader.start(&folder_with_log(&folder), &["--appendonly", "yes"]);
        let mut client = server.client();
        let what = format!("{writer:?} to {reader:?}, rewritten: {rewrite}");
        assert_same(&everything, &contents::all(&mut client), &what);
        if have_same_digests(writer, reader, fields_expire) {
            assert_eq!(client.ask("DEBUG DIGEST"), digest, "{what}");
        }

        // The reader goes on with the log, and the writer takes it back where it can.
        do_all(&mut client, &["SET written-by reader", "RPUSH list:other more"]);
        let everything = contents::all(&mut client);
        let folder = server.stop();
        let server = writer.start(&folder_with_log(&folder), &["--appendonly", "yes"]);
        assert_same(&everything, &contents::all(&mut server.client()), &format!("{what}, and back"));
    }
}

#[test]
fn our_logs_load_in_redis_7() {
    log_passes(Ours, Redis7, &[]);
}

#[test]
fn our_logs_load_in_redis_8() {
    log_passes(Ours, Redis8, &[]);
}

#[test]
fn our_logs_load_in_valkey_9() {
    log_passes(Ours, Valkey9, &[]);
}

#[test]
fn our_logs_without_a_snapshot_at_the_start_load() {
    for reader in [Redis7, Redis8, Valkey9, Ours] {
        log_passes(Ours, reader, &["--aof-use-rdb-preamble", "no"]);
    }
}

#[test]
fn logs_of_redis_7_load() {
    log_passes(Redis7, Ours, &[]);
}

#[test]
fn logs_of_redis_8_load() {
    log_passes(Redis8, Ours, &["--aof-timestamp-enabled", "yes"]);
}

#[test]
fn logs_of_valkey_9_load() {
    log_passes(Valkey9, Ours, &[]);
}

#[test]
fn logs_without_a_snapshot_at_the_start_load() {
    log_passes(Redis8, Ours, &["--aof-use-rdb-preamble", "no"]);
}

/// Killed in the middle, our log goes on with another server, and comes back: its tools find nothing wrong with it.
#[test]
fn our_logs_go_on_elsewhere_after_a_kill() {
    // With `always`, room is laid out behind what is written.
    for (reader, policy) in OTHERS.into_iter().flat_map(|reader| [(reader, "everysec"), (reader, "always")]) {
        let options = ["--appendonly", "yes", "--appendfsync", policy, "--aof-timestamp-enabled", "yes"];
        let (again, what) = (&options[..4], format!("{reader:?}, {policy}"));
        let server = Ours.start_fresh(&options);
        let mut client = server.client();
        do_all(&mut client, &["SET a 1", "MULTI", "INCR a", "RPUSH l x", "EXEC", "BGREWRITEAOF"]);
        wait_for_info(&mut client, "aof_rewrite_in_progress", "0");
        do_all(&mut client, &["INCR a"]);
        let folder = server.kill();
        // The servers are their own tools under other names.
        let tool = folder.join("redis-check-aof");
        std::os::unix::fs::symlink(reader.binary(), &tool).expect("a link");
        let manifest = folder.join("appendonlydir/appendonly.aof.manifest");
        let checked = Command::new(&tool).arg(&manifest).output().expect("it runs");
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success() && said.contains("All AOF files and manifest are valid"), "{what}: {said}");
        let theirs = reader.start(&folder, again);
        do_all(&mut theirs.client(), &["INCR a", "RPUSH l y"]);
        let folder = theirs.stop();
        let ours = Ours.start(&folder, again);
        assert_eq!(ours.client().ask("GET a"), "\"4\"", "{what}");
        do_all(&mut ours.client(), &["INCR a"]);
        let folder = ours.stop();
        let theirs = reader.start(&folder, again);
        assert_eq!(theirs.client().ask("GET a"), "\"5\"", "{what}");
        assert_eq!(theirs.client().ask("LRANGE l 0 -1"), "[\"x\" \"y\"]", "{what}");
    }
}

/// Before Redis 7 a log was one file in the data folder. The next start moves it.
#[test]
fn old_logs_of_one_file_load() {
    let folder = fresh_folder("interop");
    let mut log = Vec::new();
    for command in [&["SELECT", "0"][..], &["SET", "old", "log"], &["RPUSH", "list", "a", "b"]] {
        haversack::resp::encode_command(command.iter().map(|word| word.as_bytes()), &mut log);
    }
    std::fs::write(folder.join("appendonly.aof"), &log).expect("written");
    let server = Ours.start(&folder, &["--appendonly", "yes"]);
    let mut client = server.client();
    do_all(&mut client, &["RPUSH list c"]);
    let everything = contents::all(&mut client);
    assert_eq!(everything.len(), 2);
    let folder = server.stop();
    assert!(!folder.join("appendonly.aof").exists());
    check_aof(&folder);
    for reader in [Ours, Redis7, Redis8, Valkey9] {
        let server = reader.start(&folder_with_log(&folder), &["--appendonly", "yes"]);
        assert_same(&everything, &contents::all(&mut server.client()), &format!("{reader:?}"));
    }
}

// ---- DUMP and RESTORE ----

fn payloads_pass(writer: Who, reader: Who, fields_expire: bool) {
    let (from, to) = (writer.start_fresh(&[]), reader.start_fresh(&[]));
    let (mut source, mut target) = (from.client(), to.client());
    fill(&mut source, fields_expire);
    let everything = contents::all(&mut source);
    for ((db, key), found) in &everything {
        for client in [&mut source, &mut target] {
            client.ask(&format!("SELECT {db}"));
        }
        let payload = bytes(&call(&mut source, &[b"DUMP", key]));
        let ttl = found.expiry_ms.max(0).to_string();
        let reply = call(&mut target, &[b"RESTORE", key, ttl.as_bytes(), &payload, b"ABSTTL"]);
        assert_eq!(reply.to_string(), "+OK", "{writer:?} to {reader:?}: db {db} {}", key.escape_ascii());
    }
    assert_same(&everything, &contents::all(&mut target), &format!("{writer:?} to {reader:?}"));
    for client in [&mut source, &mut target] {
        client.ask("SELECT 0");
    }
    if have_same_digests(writer, reader, fields_expire) {
        assert_eq!(source.ask("DEBUG DIGEST"), target.ask("DEBUG DIGEST"), "{writer:?} to {reader:?}");
    }
}

#[test]
fn our_payloads_restore_elsewhere() {
    for reader in OTHERS {
        payloads_pass(Ours, reader, reader.reads_field_expiries_of(Ours));
    }
}

#[test]
fn payloads_of_others_restore_here() {
    for writer in OTHERS {
        payloads_pass(writer, Ours, writer.fields_expire());
    }
}
