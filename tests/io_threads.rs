//! What only io threads can break: order, counts and ends of many clients at once. (Every other test that starts a
//! server runs with io threads too, when HAVERSACK_IO_THREADS says so.)

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, PATIENCE, Server, fresh_folder, haversack};
use haversack::engine::rng::Rng;
use haversack::resp::{Value, encode_command};

const THREADS: [&str; 4] = ["--io-threads", "4", "--save", ""];

fn start(options: &[&str]) -> Server {
    Server::start(haversack(), fresh_folder("io-threads"), &[&THREADS, options].concat())
}

fn pipeline(commands: impl IntoIterator<Item = String>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        encode_command(command.split(' ').map(str::as_bytes).collect::<Vec<_>>(), &mut bytes);
    }
    bytes
}

fn next(client: &mut Client) -> Value {
    client.read(PATIENCE).expect("the connection stays").expect("a reply comes")
}

fn number_of(value: &Value) -> u64 {
    value.to_string().trim_start_matches(':').parse().unwrap_or_else(|_| panic!("a number, not {value}"))
}

/// Everything the server sends until it closes.
fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an orderly end");
    bytes
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A field of INFO.
fn info(client: &mut Client, section: &str, field: &str) -> String {
    let reply = client.call(&["INFO", section]).expect("a reply");
    let text = String::from_utf8_lossy(reply.as_bytes().expect("text")).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    found.unwrap_or_else(|| panic!("{field} stands in INFO {section}")).to_owned()
}

#[test]
fn threads_are_shown_as_redis_shows_them() {
    let server = start(&["--io-threads-do-reads", "yes"]);
    let mut clients: Vec<Client> = (0..6).map(|_| server.client()).collect();
    let mut seen = BTreeMap::<String, usize>::new();
    for client in &mut clients {
        assert_eq!(client.ask("PING"), "+PONG");
        let line = client.ask("CLIENT INFO");
        let at = line.find(" io-thread=").expect("the field") + " io-thread=".len();
        *seen.entry(line[at..at + 1].to_owned()).or_default() += 1;
    }
    let spread: Vec<(&str, usize)> = seen.iter().map(|(number, count)| (number.as_str(), *count)).collect();
    assert_eq!(spread, [("1", 2), ("2", 2), ("3", 2)]);
    let client = &mut clients[0];
    assert_eq!(info(client, "server", "io_threads_active"), "1");
    assert_eq!(info(client, "threads", "io_thread_0"), "clients=0,reads=0,writes=0");
    assert!(info(client, "threads", "io_thread_3").starts_with("clients=2,reads="));
    let threaded: u64 = info(client, "stats", "io_threaded_reads_processed").parse().expect("a number");
    assert!(threaded >= 12, "{threaded}");
    assert!(client.ask("CONFIG GET io-threads").contains("\"4\""));
    assert!(client.ask("CONFIG SET io-threads 2").contains("can't set immutable config"));
    assert!(!server.log().contains("no effect"), "{}", server.log());
}

#[test]
fn replies_come_out_whole_before_a_connection_ends() {
    let server = start(&[]);
    let mut admin = server.client();
    assert_eq!(admin.call(&["SET", "k", &"v".repeat(1000)]).expect("a reply").to_string(), "+OK");
    // More than the sockets hold, so that most of it waits for its reader.
    let count = 20_000;
    let asked = pipeline((0..count).map(|_| "GET k".to_owned()));
    for (last, farewell) in [("", 0), ("QUIT", 5)] {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
        let mut writer = stream.try_clone().expect("a handle");
        let mut bytes = asked.clone();
        if !last.is_empty() {
            bytes.extend(pipeline([last.to_owned()]));
        }
        let writing = thread::spawn(move || {
            writer.write_all(&bytes).expect("the server reads");
            writer.shutdown(Shutdown::Write).expect("half closed");
        });
        thread::sleep(Duration::from_millis(100));
        let got = read_to_end(&mut stream);
        writing.join().expect("written");
        assert_eq!(got.len(), count * (7 + 1002) + farewell, "{last}");
    }
    wait_until("the end of those clients", || info(&mut admin, "clients", "connected_clients") == "1");
}

#[test]
fn one_that_does_not_read_is_closed_and_holds_up_nobody() {
    let server = start(&["--client-output-buffer-limit", "pubsub 1mb 0 0"]);
    let mut lazy = server.client();
    lazy.send(&["SUBSCRIBE", "c"]).expect("sent");
    let mut publisher = server.client();
    wait_until("the subscription", || publisher.ask("PUBLISH c hello") == ":1");
    let text = "x".repeat(100_000);
    let started = Instant::now();
    while publisher.call(&["PUBLISH", "c", &text]).expect("a reply").to_string() == ":1" {
        assert!(started.elapsed() < PATIENCE, "the limit is never reached");
    }
    assert_eq!(info(&mut publisher, "stats", "client_output_buffer_limit_disconnections"), "1");
    // One that does read gets all of it, however long it takes.
    let mut reader = server.client();
    reader.send(&["SUBSCRIBE", "c"]).expect("sent");
    wait_until("the subscription", || publisher.ask("PUBLISH c hello") == ":1");
    for _ in 0..200 {
        assert_eq!(publisher.call(&["PUBLISH", "c", &text]).expect("a reply").to_string(), ":1");
        while !matches!(next(&mut reader), Value::Array(Some(items)) if items[2].as_bytes() == Some(text.as_bytes())) {}
    }
}

#[test]
fn one_that_wants_much_at_once_lets_others_go_first() {
    for threads in ["1", "4"] {
        let server = start(&["--io-threads", threads]);
        let mut admin = server.client();
        assert_eq!(admin.call(&["SET", "k", &"v".repeat(1_000_000)]).expect("a reply").to_string(), "+OK");
        assert_eq!(admin.ask("CONFIG RESETSTAT"), "+OK");
        let mut greedy = TcpStream::connect(("127.0.0.1", server.port)).expect("the server accepts");
        // It sends on while it waits its turn, reads nothing before it has said all, and hears every reply.
        for _ in 0..4 {
            greedy.write_all(&pipeline((0..25).map(|_| "GET k".to_owned()))).expect("the server reads");
            thread::sleep(Duration::from_millis(1));
        }
        greedy.shutdown(Shutdown::Write).expect("half closed");
        assert_eq!(read_to_end(&mut greedy).len(), 100 * (10 + 1_000_002), "io-threads {threads}");
        let most = info(&mut admin, "debug", "eventloop_cmd_per_cycle_max");
        assert!((1..=4).contains(&most.parse().expect("a number")), "{most} in one turn with io-threads {threads}");
    }
}

/// What all threads of [`crowd`] have done.
#[derive(Default)]
struct Tally {
    /// Replies to INCR that came, and requests that were sent.
    counted: AtomicU64,
    asked: AtomicU64,
    pushed: AtomicU64,
    popped: AtomicU64,
    done: AtomicBool,
}

/// Sends pipelines of all lengths and checks that each reply belongs to its request.
fn write_and_publish(port: u16, number: usize, rounds: u64, tally: &Tally) {
    let mut rng = Rng::new(number as u64);
    let mut client = Client::connect(port).expect("the server accepts");
    let mut own = 0;
    for round in 0..rounds {
        // From one request to more than one read takes.
        let size = [1, 2, 17, 500, 3000][rng.below(5) as usize];
        let commands = (0..size).map(|at| match at % 4 {
            0 => format!("INCR own:{number}"),
            1 => format!("ECHO {number}:{round}:{at}"),
            2 => "INCR all".to_owned(),
            _ => format!("RPUSH list {number}:{round}:{at}"),
        });
        let mut bytes = pipeline(commands);
        bytes.extend(pipeline([format!("PUBLISH news {number}:{round}")]));
        client.send_raw(&bytes).expect("the server reads");
        for at in 0..size {
            let reply = next(&mut client);
            match at % 4 {
                0 => {
                    own += 1;
                    assert_eq!(number_of(&reply), own);
                }
                1 => assert_eq!(reply.as_bytes(), Some(format!("{number}:{round}:{at}").as_bytes())),
                2 => {
                    tally.asked.fetch_add(1, SeqCst);
                    tally.counted.fetch_add(1, SeqCst);
                }
                _ => {
                    tally.pushed.fetch_add(1, SeqCst);
                }
            }
        }
        number_of(&next(&mut client));
    }
}

/// Hears every message of every publisher, in that publisher's order.
fn listen(mut client: Client, publishers: usize, rounds: u64) {
    let mut heard = vec![0; publishers];
    while heard.iter().any(|count| *count < rounds) {
        let Value::Array(Some(items)) = next(&mut client) else { panic!("a message") };
        let text = String::from_utf8_lossy(items[2].as_bytes().expect("bytes")).into_owned();
        let (publisher, round) = text.split_once(':').expect("two numbers");
        let publisher: usize = publisher.parse().expect("a number");
        assert_eq!(round, heard[publisher].to_string(), "of {publisher}");
        heard[publisher] += 1;
    }
}

/// Takes from the list until nothing is to come.
fn pop(port: u16, tally: &Tally) {
    let mut client = Client::connect(port).expect("the server accepts");
    loop {
        let done = tally.done.load(SeqCst);
        client.send(&["BLPOP", "list", "0.05"]).expect("the server reads");
        match next(&mut client) {
            Value::Array(Some(_)) => {
                tally.popped.fetch_add(1, SeqCst);
            }
            _ if done => return,
            _ => {}
        }
    }
}

/// Comes and goes: leaves in the middle of a request, of replies, or is killed.
fn come_and_go(port: u16, number: usize, tally: &Tally) {
    let mut rng = Rng::new(1000 + number as u64);
    while !tally.done.load(SeqCst) {
        let mut client = Client::connect(port).expect("the server accepts");
        let id = client.ask("CLIENT ID").trim_start_matches(':').to_owned();
        let count = 1 + rng.below(600);
        let mut bytes = pipeline((0..count).map(|_| "INCR all".to_owned()));
        let cut = rng.below(3);
        if cut == 0 {
            bytes.truncate(bytes.len() - 3);
        }
        tally.asked.fetch_add(count, SeqCst);
        if client.send_raw(&bytes).is_err() {
            continue;
        }
        if rng.below(2) == 0 {
            let mut killer = Client::connect(port).expect("the server accepts");
            let reply = killer.ask(&format!("CLIENT KILL ID {id}"));
            assert!([":0", ":1"].contains(&reply.as_str()), "{reply}");
        }
        let mut got = 0;
        while got < count - u64::from(cut == 0) && rng.below(200) > 0 {
            match client.read(PATIENCE) {
                Ok(Some(Value::Int(_))) => got += 1,
                Ok(other) => panic!("{other:?} is no count"),
                Err(_) => break,
            }
        }
        tally.counted.fetch_add(got, SeqCst);
    }
}

/// Many clients at once; everything they do is counted.
fn crowd(server: &Server, publishers: usize, rounds: u64) -> u64 {
    let (port, tally) = (server.port, Tally::default());
    let mut admin = server.client();
    let mut listeners: Vec<Client> = (0..3).map(|_| server.client()).collect();
    for client in &mut listeners {
        client.send(&["SUBSCRIBE", "news"]).expect("the server reads");
        next(client);
    }
    thread::scope(|scope| {
        let tally = &tally;
        let mut finite = Vec::new();
        for number in 0..publishers {
            finite.push(scope.spawn(move || write_and_publish(port, number, rounds, tally)));
        }
        for client in listeners {
            finite.push(scope.spawn(move || listen(client, publishers, rounds)));
        }
        for number in 0..3 {
            scope.spawn(move || pop(port, tally));
            scope.spawn(move || come_and_go(port, number, tally));
        }
        let ended: Vec<_> = finite.into_iter().map(|one| one.join()).collect();
        tally.done.store(true, SeqCst);
        assert!(ended.iter().all(Result::is_ok), "somebody has met something unexpected");
    });
    wait_until("the end of all clients", || info(&mut admin, "clients", "connected_clients") == "1");
    let total = number_of(&admin.call(&["INCR", "all"]).expect("a reply")) - 1;
    let (counted, asked) = (tally.counted.load(SeqCst), tally.asked.load(SeqCst));
    assert!((counted..=asked).contains(&total), "{counted} replies to {asked} requests, but {total} were run");
    assert_eq!(tally.pushed.load(SeqCst), tally.popped.load(SeqCst));
    assert_eq!(admin.ask("LLEN list"), ":0");
    assert!(info(&mut admin, "threads", "io_thread_2").starts_with("clients="));
    total
}

#[test]
fn a_crowd_is_served_in_order_and_nothing_is_lost() {
    let server = start(&[]);
    crowd(&server, 6, 40);
}

#[test]
fn a_crowd_that_waits_for_the_disk_loses_nothing_when_the_server_is_killed() {
    let options = [&THREADS[..], &["--appendonly", "yes", "--appendfsync", "always"]].concat();
    let server = Server::start(haversack(), fresh_folder("io-threads"), &options);
    let total = crowd(&server, 4, 12);
    let folder = server.kill();
    let server = Server::start(haversack(), folder, &options);
    let mut client = server.client();
    assert_eq!(client.ask("GET all"), format!("\"{}\"", total + 1));
}

#[test]
fn the_last_replies_leave_before_the_server_does() {
    let mut server = start(&[]);
    let mut client = server.client();
    let mut bytes = pipeline((0..1000).map(|at| format!("SET k {at}")));
    bytes.extend(pipeline(["SHUTDOWN NOSAVE".to_owned()]));
    client.send_raw(&bytes).expect("the server reads");
    for _ in 0..1000 {
        assert_eq!(next(&mut client).to_string(), "+OK");
    }
    assert!(client.read(PATIENCE).is_err(), "SHUTDOWN does not answer");
    assert!(server.wait().success(), "{}", server.log());
}

#[test]
fn threads_at_rest_keep_no_buffers() {
    let server = start(&[]);
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    let used = |client: &mut Client| info(client, "memory", "used_memory").parse::<u64>().expect("a number");
    let before = used(&mut clients[0]);
    let value = "x".repeat(300_000);
    for client in &mut clients {
        client.call(&["SET", "large", &value]).expect("a reply");
    }
    for client in &mut clients {
        client.send_raw(&pipeline(["GET large"; 5].map(str::to_owned))).expect("they are taken");
    }
    for client in &mut clients {
        (0..5).for_each(|_| assert_eq!(next(client).as_bytes().map(<[u8]>::len), Some(300_000)));
    }
    clients[0].call(&["DEL", "large"]).expect("a reply");
    thread::sleep(Duration::from_millis(2500));
    wait_until("letting go of buffers", || used(&mut clients[0]) < before + (1 << 20));
}
