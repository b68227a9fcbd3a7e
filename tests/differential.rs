//! Our server against real ones: the same random commands, the same replies, the same data at the end.
//!
//! Episodes of commands over a few keys, from two connections (RESP2 and RESP3), with small and usual limits
//! of the encodings. Replies are compared after [`normal`] has taken out what is free (the order of a hash
//! table), commands of chance by their properties, times with a tolerance. With Redis the digest of all data
//! is compared when an episode ends; with Valkey, which has no such promise, every key is read instead.
//!
//! The first difference is made short and printed with its seed.
//! `DIFFERENTIAL_EPISODES=n` runs more, `DIFFERENTIAL_SEED=s` starts at another seed.

#[path = "differential/commands.rs"]
mod commands;
mod common;

use std::time::{Duration, Instant};

use commands::{COMMON, Command, Generator, REDIS, VALKEY};
use common::{Client, Server, fresh_folder, haversack, tool};
use haversack::resp::Value;

/// Commands in one episode.
const EPISODE: usize = 1500;
/// Relative times may differ by this much: the servers do not run in step.
const TOLERANCE_MS: i64 = 5000;
/// Time to make a difference short.
const SHORTENING: Duration = Duration::from_secs(60);

/// Limits of encodings: small ones, so that every form occurs, and the usual ones.
const LIMITS: [(&str, [&str; 2]); 9] = [
    ("hash-max-listpack-entries", ["5", "128"]),
    ("hash-max-listpack-value", ["8", "64"]),
    ("set-max-intset-entries", ["5", "512"]),
    ("set-max-listpack-entries", ["5", "128"]),
    ("set-max-listpack-value", ["8", "64"]),
    ("zset-max-listpack-entries", ["5", "128"]),
    ("zset-max-listpack-value", ["8", "64"]),
    ("list-max-listpack-size", ["4", "-2"]),
    ("list-compress-depth", ["1", "0"]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reference {
    Redis8,
    Valkey9,
}

/// One thing that happens.
#[derive(Clone)]
struct Step {
    client: usize,
    command: Command,
}

impl Step {
    fn name(&self) -> String {
        self.command.first().map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default()
    }

    fn has(&self, word: &str) -> bool {
        self.command.iter().any(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }

    fn text(&self) -> String {
        let words = self.command.iter().map(|word| match word.as_slice() {
            plain if !plain.is_empty() && plain.iter().all(|b| b.is_ascii_graphic() && *b != b'"') => {
                String::from_utf8_lossy(plain).into_owned()
            }
            other => format!("\"{}\"", other.escape_ascii()),
        });
        format!("{}> {}", ["a", "b"][self.client], words.collect::<Vec<_>>().join(" "))
    }
}

/// A server with the two connections of an episode.
struct Side {
    server: Server,
    admin: Client,
    clients: [Client; 2],
}

impl Side {
    fn start(binary: std::path::PathBuf, name: &str) -> Side {
        let options = ["--save", "", "--enable-debug-command", "yes"];
        let server = Server::start(binary, fresh_folder(name), &options);
        let (admin, clients) = (server.client(), [server.client(), server.client()]);
        Side { server, admin, clients }
    }

    /// Empty data, fresh connections.
    fn reset(&mut self, limits: &[(&str, &str)]) {
        self.clients = [self.server.client(), self.server.client()];
        assert!(self.clients[1].ask("HELLO 3").starts_with('%'));
        assert_eq!(self.admin.ask("FLUSHALL"), "+OK");
        let mut command = vec!["CONFIG", "SET"];
        command.extend(limits.iter().flat_map(|(name, value)| [*name, *value]));
        assert_eq!(self.admin.call(&command).expect("a reply").to_string(), "+OK");
    }

    fn call(&mut self, client: usize, command: &Command) -> Value {
        let text = || String::from_utf8_lossy(&command.join(&b' ')).into_owned();
        self.clients[client].call(command).unwrap_or_else(|error| panic!("{}: {error}\n{}", text(), self.server.log()))
    }

    /// All data as text, a line for each key.
    fn data(&mut self, reference: Reference) -> Vec<String> {
        let mut lines = Vec::new();
        for db in ["0", "1"] {
            self.admin.ask(&format!("SELECT {db}"));
            let Ok(Value::Array(Some(keys))) = self.admin.call(&["KEYS", "*"]) else { panic!("no keys") };
            for key in keys {
                let key = key.as_bytes().expect("a key").to_vec();
                let shown = format!("{db} {}", key.escape_ascii());
                if reference == Reference::Redis8 {
                    let digest = self.admin.call(&[b"DEBUG", &b"DIGEST-VALUE"[..], &key]).expect("a reply");
                    lines.push(format!("{shown} {digest}"));
                }
                let kind = self.admin.call(&[b"TYPE", &key[..]]).expect("a reply").to_string();
                let read: &[&[u8]] = match kind.as_str() {
                    "+string" => &[b"GET", &key],
                    "+list" => &[b"LRANGE", &key, b"0", b"-1"],
                    "+set" => &[b"SMEMBERS", &key],
                    "+zset" => &[b"ZRANGE", &key, b"0", b"-1", b"WITHSCORES"],
                    _ => &[b"HGETALL", &key],
                };
                let step = Step { client: 0, command: read.iter().map(|word| word.to_vec()).collect() };
                let value = normal(&step, &self.admin.call(read).expect("a reply"));
                let value = match reference {
                    Reference::Redis8 => value.to_string(),
                    Reference::Valkey9 => without_negative_zero(&value.to_string()),
                };
                lines.push(format!("{shown} {kind} {value}"));
            }
        }
        self.admin.ask("SELECT 0");
        lines.sort();
        lines
    }
}

/// Two servers and what they are asked.
struct Duel {
    reference: Reference,
    ours: Side,
    theirs: Side,
}

impl Duel {
    fn start(reference: Reference) -> Duel {
        let (variable, name) = match reference {
            Reference::Redis8 => ("HAVERSACK_REDIS8", "redis"),
            Reference::Valkey9 => ("HAVERSACK_VALKEY9", "valkey"),
        };
        let theirs = Side::start(tool(variable), name);
        Duel { reference, ours: Side::start(haversack(), &format!("against-{name}")), theirs }
    }

    /// Runs steps from empty data; the first difference with the number of steps that it took.
    fn run(&mut self, limits: &[(&str, &str)], steps: &[Step]) -> Option<(usize, String)> {
        self.ours.reset(limits);
        self.theirs.reset(limits);
        // Commands queued in a transaction, by client.
        let mut queued: [Option<Vec<Step>>; 2] = [None, None];
        for (index, step) in steps.iter().enumerate() {
            let queue = &mut queued[step.client];
            if is_chance(step) {
                // Inside a transaction nobody could follow what was chosen.
                if queue.is_none()
                    && let Err(difference) = self.chance(step)
                {
                    return Some((index + 1, difference));
                }
                continue;
            }
            if self.skips(step, queue.is_some()) {
                continue;
            }
            let ours = self.ours.call(step.client, &step.command);
            let theirs = self.theirs.call(step.client, &step.command);
            match (step.name().as_str(), queue.take()) {
                ("EXEC", Some(steps)) => {
                    if let (Value::Array(Some(a)), Value::Array(Some(b))) = (&ours, &theirs)
                        && a.len() == b.len()
                        && a.len() == steps.len()
                    {
                        let different = steps.iter().zip(a.iter().zip(b)).find(|(s, (a, b))| !self.same(s, a, b));
                        if let Some((inner, (a, b))) = different {
                            return Some((index + 1, format!("in EXEC, {}\n{}", inner.text(), shown(a, b))));
                        }
                        continue;
                    }
                }
                ("DISCARD", _) | (_, None) => {}
                (_, Some(mut steps)) => {
                    if ours.to_string() == "+QUEUED" {
                        steps.push(step.clone());
                    }
                    *queue = Some(steps);
                }
            }
            if step.name() == "MULTI" && ours.to_string() == "+OK" {
                *queue = Some(Vec::new());
            }
            if !self.same(step, &ours, &theirs) {
                return Some((index + 1, shown(&ours, &theirs)));
            }
        }
        self.end(steps.len())
    }

    /// Whether a command is left out because what follows would differ, on purpose.
    fn skips(&mut self, step: &Step, in_transaction: bool) -> bool {
        match step.name().as_str() {
            // Redis gives a sorted set that is sorted its large form, for good; we only read it.
            "SORT" | "SORT_RO" => {
                let key = step.command.get(1).map(Vec::as_slice).unwrap_or_default();
                let on_purpose = key.starts_with(b"e");
                let mut is_zset = || self.theirs.admin.call(&[b"TYPE", key]).expect("a reply").to_string() == "+zset";
                !on_purpose && (in_transaction || is_zset())
            }
            // Redis takes the lowest 32 bits of the index and finds an element.
            "LSET" => {
                let index = step.command.get(2).and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
                index.is_some_and(|index| i32::try_from(index).is_err())
            }
            // Valkey allows field times of any size.
            "HSETEX" | "HGETEX" if self.reference == Reference::Valkey9 => step.command.iter().any(|word| {
                std::str::from_utf8(word).ok().and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n >= 1 << 46)
            }),
            // Valkey takes a negative offset for 0.
            name if name.starts_with('Z') && self.reference == Reference::Valkey9 => {
                let limit = step.command.iter().position(|word| word.eq_ignore_ascii_case(b"LIMIT"));
                limit.is_some_and(|at| step.command.get(at + 1).is_some_and(|offset| offset.starts_with(b"-")))
            }
            // Valkey aborts the transaction that these words stand in.
            "MULTI" | "WATCH" => self.reference == Reference::Valkey9 && in_transaction,
            _ => false,
        }
    }

    /// Compares all data.
    fn end(&mut self, steps: usize) -> Option<(usize, String)> {
        let (ours, theirs) = (self.ours.data(self.reference), self.theirs.data(self.reference));
        let lost: Vec<&String> = ours.iter().filter(|line| !theirs.contains(line)).collect();
        let missing: Vec<&String> = theirs.iter().filter(|line| !ours.contains(line)).collect();
        if !lost.is_empty() || !missing.is_empty() {
            return Some((steps, format!("the data differ\n  ours   {lost:?}\n  theirs {missing:?}")));
        }
        if self.reference == Reference::Redis8 {
            let (ours, theirs) = (self.ours.admin.ask("DEBUG DIGEST"), self.theirs.admin.ask("DEBUG DIGEST"));
            if ours != theirs {
                return Some((steps, format!("DEBUG DIGEST\n  ours   {ours}\n  theirs {theirs}")));
            }
        }
        None
    }

    /// A command that chooses at random: what ours chose must be a choice that theirs could have made.
    fn chance(&mut self, step: &Step) -> Result<(), String> {
        let command = &step.command;
        let key = command.get(1).map(Vec::as_slice).unwrap_or_default();
        let ours = self.ours.call(step.client, command);
        if ours.to_string() == "-ERR value is out of range" {
            // So many that a real server would never be done.
            return Ok(());
        }
        let chosen = members(&ours, step.has("WITHSCORES") || step.has("WITHVALUES"));
        if step.name() == "SPOP" && !chosen.is_empty() {
            // The others shall lose the same members, all of which they must have.
            let mut remove = vec![b"SREM".to_vec(), key.to_vec()];
            remove.extend(chosen.iter().map(|(member, _)| member.clone()));
            let removed = self.theirs.call(step.client, &remove);
            let expected = Value::Int(chosen.len() as i64);
            return if removed == expected { Ok(()) } else { Err(shown(&ours, &removed)) };
        }
        let theirs = self.theirs.call(step.client, command);
        if step.name() == "RANDOMKEY" {
            let same = ours.as_bytes().is_some() == theirs.as_bytes().is_some();
            return if same { Ok(()) } else { Err(shown(&ours, &theirs)) };
        }
        if chosen.is_empty() {
            return if self.same(step, &ours, &theirs) { Ok(()) } else { Err(shown(&ours, &theirs)) };
        }
        let expected = members(&theirs, step.has("WITHSCORES") || step.has("WITHVALUES"));
        if chosen.len() != expected.len() || outline(&ours) != outline(&theirs) {
            return Err(shown(&ours, &theirs));
        }
        let may_repeat = command.get(2).is_some_and(|count| count.starts_with(b"-"));
        let mut distinct: Vec<_> = chosen.iter().map(|(member, _)| member).collect();
        distinct.sort();
        distinct.dedup();
        if !may_repeat && distinct.len() != chosen.len() {
            return Err(format!("a member twice: {ours}"));
        }
        let lookup: &[u8] = match step.name().as_str() {
            "SRANDMEMBER" => b"SMISMEMBER",
            "ZRANDMEMBER" => b"ZMSCORE",
            _ => b"HMGET",
        };
        let mut look = vec![lookup.to_vec(), key.to_vec()];
        look.extend(chosen.iter().map(|(member, _)| member.clone()));
        let Value::Array(Some(found)) = self.theirs.call(step.client, &look) else { panic!("no lookup") };
        for ((member, value), found) in chosen.iter().zip(&found) {
            let absent = matches!(found, Value::Bulk(None) | Value::Null | Value::Int(0));
            if absent || value.as_ref().is_some_and(|value| value != found) {
                return Err(format!("{} {value:?} is not there ({found})", member.escape_ascii()));
            }
        }
        Ok(())
    }

    fn same(&self, step: &Step, ours: &Value, theirs: &Value) -> bool {
        let (a, b) = (normal(step, ours), normal(step, theirs));
        a == b
            || (is_time(step) && near(&a, &b))
            || known_redis(step, &a, &b)
            || (self.reference == Reference::Valkey9 && known_valkey(step, &a, &b))
    }

    /// Leaves out whatever is not needed for a difference.
    fn shorten(
        &mut self,
        limits: &[(&str, &str)],
        mut steps: Vec<Step>,
        mut difference: String,
    ) -> (Vec<Step>, String) {
        let started = Instant::now();
        let mut size = steps.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < steps.len() && started.elapsed() < SHORTENING {
                let end = (at + size).min(steps.len());
                let fewer: Vec<Step> = steps[..at].iter().chain(&steps[end..]).cloned().collect();
                match self.run(limits, &fewer) {
                    Some((length, found)) => {
                        steps = fewer[..length].to_vec();
                        difference = found;
                    }
                    None => at = end,
                }
            }
            if size == 1 || started.elapsed() >= SHORTENING {
                return (steps, difference);
            }
            size = size.div_ceil(2);
        }
    }
}

/// Where we differ from Redis 8.2 on purpose.
fn known_redis(step: &Step, ours: &Value, theirs: &Value) -> bool {
    match step.name().as_str() {
        // Redis changes the encoding of a hash even when no field got a time.
        "OBJECT" => ours.as_bytes() == Some(b"listpack") && theirs.as_bytes() == Some(b"listpackex"),
        _ => false,
    }
}

/// Where Valkey 9 is known to differ from Redis 8.2, which we follow.
fn known_valkey(step: &Step, ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        // Many error texts differ; Redis decides about ours.
        (Value::Error(_), Value::Error(_)) => return true,
        // It looks at the time before it looks for the key.
        (Value::Bulk(None) | Value::Null, Value::Error(_)) if step.name() == "GETEX" => return true,
        // It takes fewer texts for numbers, and reads all elements even when LIMIT wants none.
        (Value::Array(Some(_)), Value::Error(_)) if step.name().starts_with("SORT") => return true,
        // An integer with a TTL, or a copy of one, is not a shared one there.
        (Value::Int(2_147_483_647), Value::Int(1)) if step.name() == "OBJECT" => return true,
        // How a score is shown hangs on the encoding.
        (Value::Array(Some(a)), Value::Array(Some(b))) if step.name() == "ZSCAN" && a.len() == 2 && b.len() == 2 => {
            return equal_numbers(&a[1], &b[1]);
        }
        _ => {}
    }
    // Hashes with field times have no encoding of their own there, ZADD XX may enlarge a sorted set, …
    let is_encoding = step.name() == "OBJECT" && ours.as_bytes().is_some() && theirs.as_bytes().is_some();
    is_encoding || without_negative_zero(&ours.to_string()) == without_negative_zero(&theirs.to_string())
}

/// Whether the elements of two arrays are equal, as numbers if they are numbers.
fn equal_numbers(a: &Value, b: &Value) -> bool {
    let number = |value: &Value| std::str::from_utf8(value.as_bytes()?).ok()?.parse::<f64>().ok();
    match (a, b) {
        (Value::Array(Some(a)), Value::Array(Some(b))) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| a == b || (number(a).is_some() && number(a) == number(b)))
        }
        _ => false,
    }
}

/// Text without the sign of a zero, which Valkey keeps in scores.
fn without_negative_zero(text: &str) -> String {
    text.replace("\"-0\"", "\"0\"").replace(",-0", ",0")
}

fn shown(ours: &Value, theirs: &Value) -> String {
    format!("  ours   {ours}\n  theirs {theirs}")
}

fn is_chance(step: &Step) -> bool {
    matches!(step.name().as_str(), "SPOP" | "SRANDMEMBER" | "ZRANDMEMBER" | "HRANDFIELD" | "RANDOMKEY")
}

fn is_time(step: &Step) -> bool {
    let name = step.name();
    ["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"].iter().any(|end| name == *end || name == format!("H{end}"))
}

/// Whether numbers differ only by the time that went by.
fn near(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.min(b) >= &0 && (a - b).abs() < TOLERANCE_MS,
        (Value::Array(Some(a)), Value::Array(Some(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || near(a, b))
        }
        _ => false,
    }
}

/// The members in a reply, with their values if `paired`.
fn members(reply: &Value, paired: bool) -> Vec<(Vec<u8>, Option<Value>)> {
    let bytes = |value: &Value| value.as_bytes().expect("a member").to_vec();
    match reply {
        Value::Bulk(Some(member)) => vec![(member.clone(), None)],
        Value::Array(Some(values)) if paired && matches!(values.first(), Some(Value::Array(_))) => {
            let pair = |value: &Value| match value {
                Value::Array(Some(pair)) => (bytes(&pair[0]), Some(pair[1].clone())),
                other => panic!("not a pair: {other}"),
            };
            values.iter().map(pair).collect()
        }
        Value::Array(Some(values)) if paired => {
            values.chunks(2).map(|pair| (bytes(&pair[0]), Some(pair[1].clone()))).collect()
        }
        Value::Array(Some(values)) | Value::Set(values) => values.iter().map(|value| (bytes(value), None)).collect(),
        _ => Vec::new(),
    }
}

/// The shape of a reply: types and lengths of the outermost values.
fn outline(reply: &Value) -> String {
    let sort = |value: &Value| value.to_string().chars().next().unwrap_or(' ');
    match reply {
        Value::Array(Some(values)) => format!("[{}", values.iter().map(sort).collect::<String>()),
        other => sort(other).to_string(),
    }
}

/// A reply without what the servers are free to choose: the order of members, fields and keys.
fn normal(step: &Step, reply: &Value) -> Value {
    let by_text = |values: &[Value]| {
        let mut sorted = values.to_vec();
        sorted.sort_by_key(Value::to_string);
        sorted
    };
    let by_pair = |values: &[Value]| {
        let mut pairs: Vec<&[Value]> = values.chunks(2).collect();
        pairs.sort_by_key(|pair| pair[0].to_string());
        pairs.concat()
    };
    match (step.name().as_str(), reply) {
        ("SMEMBERS" | "SINTER" | "SUNION" | "SDIFF" | "KEYS" | "HKEYS" | "HVALS", Value::Array(Some(values))) => {
            Value::Array(Some(by_text(values)))
        }
        ("SMEMBERS" | "SINTER" | "SUNION" | "SDIFF", Value::Set(values)) => Value::Set(by_text(values)),
        ("HGETALL", Value::Array(Some(values))) => Value::Array(Some(by_pair(values))),
        ("HGETALL", Value::Map(pairs)) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_key(|(field, _)| field.to_string());
            Value::Map(pairs)
        }
        ("SCAN" | "SSCAN" | "HSCAN" | "ZSCAN", Value::Array(Some(page))) => match page.as_slice() {
            [cursor, Value::Array(Some(found))] => {
                let paired = matches!(step.name().as_str(), "HSCAN" | "ZSCAN")
                    && !step.has("NOVALUES")
                    && !step.has("NOSCORES")
                    && found.len() % 2 == 0;
                let found = if paired { by_pair(found) } else { by_text(found) };
                Value::Array(Some(vec![cursor.clone(), Value::Array(Some(found))]))
            }
            _ => reply.clone(),
        },
        _ => reply.clone(),
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

fn duel(reference: Reference) {
    let mut duel = Duel::start(reference);
    let first = number("DIFFERENTIAL_SEED").unwrap_or(1);
    let episodes = number("DIFFERENTIAL_EPISODES").unwrap_or(20);
    for seed in first..first + episodes {
        println!("seed {seed}");
        let is_redis = reference == Reference::Redis8;
        let mut generator = Generator::new(seed, &[COMMON, if is_redis { REDIS } else { VALKEY }], is_redis);
        let limits = LIMITS.map(|(name, choices)| (name, choices[generator.below(2) as usize]));
        let steps: Vec<Step> = (0..EPISODE)
            .map(|_| {
                let (client, command) = generator.next();
                Step { client, command }
            })
            .collect();
        if let Some((length, difference)) = duel.run(&limits, &steps) {
            let (steps, difference) = duel.shorten(&limits, steps[..length].to_vec(), difference);
            let lines: Vec<String> = steps.iter().map(Step::text).collect();
            panic!("DIFFERENTIAL_SEED={seed}, limits {limits:?}:\n{}\n{difference}", lines.join("\n"));
        }
    }
}

#[test]
fn redis_8() {
    duel(Reference::Redis8);
}

#[test]
fn valkey_9() {
    duel(Reference::Valkey9);
}
