//! Sessions of the `redis` crate with our server, in RESP2 and RESP3. Other clients: `tests/clients`.

mod common;

use std::time::Duration;

use redis::{Commands, Connection, ProtocolVersion, RedisConnectionInfo, Value};

use common::{PATIENCE, Server, fresh_folder, haversack};

const PROTOCOLS: [ProtocolVersion; 2] = [ProtocolVersion::RESP2, ProtocolVersion::RESP3];

fn start(options: &[&str]) -> Server {
    Server::start(haversack(), fresh_folder("rust-client"), options)
}

fn connect(server: &Server, protocol: ProtocolVersion) -> Connection {
    let url = format!("redis://127.0.0.1:{}/", server.port);
    let info = redis::IntoConnectionInfo::into_connection_info(url).expect("a good address");
    let info = info.set_redis_settings(RedisConnectionInfo::default().set_protocol(protocol));
    let client = redis::Client::open(info).expect("a good address");
    let connection = client.get_connection_with_timeout(PATIENCE).expect("the server accepts");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection
}

/// Runs a session with a server of its own, in both protocols.
fn each(session: impl Fn(&Server, ProtocolVersion)) {
    for protocol in PROTOCOLS {
        session(&start(&["--save", ""]), protocol);
    }
}

#[test]
fn values_of_all_types_come_back() {
    each(|server, protocol| {
        let mut con = connect(server, protocol);
        let nasty: Vec<u8> = (0..=255).chain(*b"\r\n$-1\r\n").collect();
        let () = con.set(&nasty, &nasty).unwrap();
        assert_eq!(con.get::<_, Vec<u8>>(&nasty).unwrap(), nasty);
        assert_eq!(con.get::<_, Option<String>>("none").unwrap(), None);
        assert_eq!(con.incr::<_, _, i64>("n", 5).unwrap(), 5);
        assert_eq!(con.incr::<_, _, f64>("f", 0.5).unwrap(), 0.5);
        assert_eq!(con.rpush::<_, _, usize>("l", &["a", "b"]).unwrap(), 2);
        assert_eq!(con.lrange::<_, Vec<String>>("l", 0, -1).unwrap(), ["a", "b"]);
        let () = con.hset_multiple("h", &[("f", "v"), ("g", "w")]).unwrap();
        let hash: std::collections::BTreeMap<String, String> = con.hgetall("h").unwrap();
        assert_eq!(hash.into_iter().collect::<Vec<_>>(), [("f".into(), "v".into()), ("g".into(), "w".into())]);
        assert_eq!(con.sadd::<_, _, usize>("s", &[1, 2, 3]).unwrap(), 3);
        let set: std::collections::BTreeSet<i64> = con.smembers("s").unwrap();
        assert!(set.into_iter().eq(1..=3));
        let () = con.zadd_multiple("z", &[(1.0, "one"), (2.5, "two")]).unwrap();
        let ranked: Vec<(String, f64)> = con.zrange_withscores("z", 0, -1).unwrap();
        assert_eq!(ranked, [("one".to_owned(), 1.0), ("two".to_owned(), 2.5)]);
        assert!(con.sismember::<_, _, bool>("s", 2).unwrap());
        assert_eq!(con.del::<_, usize>(&["l", "none"]).unwrap(), 1);
    });
}

#[test]
fn pipelines_and_transactions() {
    each(|server, protocol| {
        let mut con = connect(server, protocol);
        let mut pipe = redis::pipe();
        for n in 0..3000 {
            pipe.set(n, n).ignore().incr(n, 1);
        }
        let sums: Vec<i64> = pipe.query(&mut con).unwrap();
        assert!(sums.into_iter().eq(1..=3000));
        let (one, two): (i64, i64) = redis::pipe().atomic().incr("a", 1).incr("a", 1).query(&mut con).unwrap();
        assert_eq!((one, two), (1, 2));
        // Several clients raise one number, each by watching it.
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut con = connect(server, protocol);
                    for _ in 0..25 {
                        let (_,): (i64,) = redis::transaction(&mut con, &["watched"], |con, pipe| {
                            let value: Option<i64> = con.get("watched")?;
                            pipe.set("watched", value.unwrap_or(0) + 1).ignore().get("watched").query(con)
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(con.get::<_, i64>("watched").unwrap(), 100);
    });
}

#[test]
fn messages_and_blocking_pops() {
    each(|server, protocol| {
        let mut con = connect(server, protocol);
        let mut listener = connect(server, protocol);
        let mut subscription = listener.as_pubsub();
        subscription.subscribe("news").unwrap();
        subscription.psubscribe("o*").unwrap();
        assert_eq!(con.publish::<_, _, usize>("news", "hello").unwrap(), 1);
        assert_eq!(con.publish::<_, _, usize>("other", "x").unwrap(), 1);
        let message = subscription.get_message().unwrap();
        assert_eq!((message.get_channel_name(), message.get_payload_bytes()), ("news", &b"hello"[..]));
        let message = subscription.get_message().unwrap();
        assert_eq!(message.get_pattern::<String>().unwrap(), "o*");
        subscription.unsubscribe("news").unwrap();
        subscription.punsubscribe("o*").unwrap();
        drop(subscription);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| connect(server, protocol).blpop::<_, (String, i64)>("jobs", 20.0).unwrap());
            let started = std::time::Instant::now();
            while redis::cmd("INFO")
                .arg("clients")
                .query::<redis::InfoDict>(&mut con)
                .unwrap()
                .get::<i64>("blocked_clients")
                != Some(1)
            {
                assert!(started.elapsed() < PATIENCE, "the client does not wait");
                std::thread::sleep(Duration::from_millis(5));
            }
            let () = con.rpush("jobs", 7).unwrap();
            assert_eq!(waiting.join().unwrap(), ("jobs".to_owned(), 7));
        });
        assert_eq!(con.blpop::<_, Option<(String, String)>>("jobs", 0.05).unwrap(), None);
    });
}

#[test]
fn scans_give_everything() {
    each(|server, protocol| {
        let mut con = connect(server, protocol);
        let pairs: Vec<(String, i32)> = (0..1000).map(|n| (format!("key:{n}"), n)).collect();
        let () = con.mset(&pairs).unwrap();
        let keys: std::collections::BTreeSet<String> =
            con.scan_match("key:*").unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(keys.len(), 1000);
    });
}

#[test]
fn errors_have_their_kinds() {
    each(|server, protocol| {
        let mut con = connect(server, protocol);
        let () = con.rpush("l", 1).unwrap();
        let code = |error: redis::RedisError| error.code().unwrap_or_default().to_owned();
        assert_eq!(code(con.get::<_, String>("l").unwrap_err()), "WRONGTYPE");
        let unknown = redis::cmd("NOPE").query::<Value>(&mut con).unwrap_err();
        assert!(unknown.to_string().contains("unknown command"), "{unknown}");
        assert_eq!(con.ttl::<_, i64>("l").unwrap(), -1);
        assert_eq!(code(con.incr::<_, _, i64>("l", 1).unwrap_err()), "WRONGTYPE");
        let info: redis::InfoDict = redis::cmd("INFO").query(&mut con).unwrap();
        assert!(info.get::<String>("redis_version").unwrap().starts_with("8."));
    });
}

#[test]
fn data_are_there_after_a_restart() {
    for protocol in PROTOCOLS {
        let options = ["--save", "", "--appendonly", "yes"];
        let server = start(&options);
        let mut con = connect(&server, protocol);
        let () = con.set("a", "kept").unwrap();
        let folder = server.kill();
        assert!(con.get::<_, String>("a").unwrap_err().is_connection_dropped());
        let server = Server::start(haversack(), folder, &options);
        assert_eq!(connect(&server, protocol).get::<_, String>("a").unwrap(), "kept");
    }
}
