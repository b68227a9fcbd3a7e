//! Random commands for the differential test: templates, and what stands for their placeholders.
//!
//! A template is words. `[a|b|c]` is one of the alternatives (which may be empty or several words), `{x}`
//! is replaced: see [`Generator::fill`]. Keys are few and named after the type that they usually hold, so
//! that commands mostly meet their own type and sometimes another. Keys called `e…` are sorted sets whose
//! members all have score 0, as ranges by name want it; nothing else is ever put there.

use haversack::engine::rng::Rng;

/// One command: its words.
pub type Command = Vec<Vec<u8>>;

/// What all three servers understand, with a weight.
pub const COMMON: &[(u32, &str)] = &[
    // Strings.
    (6, "SET {s} {v}"),
    (6, "SET {s} {v} [|NX|XX|GET|KEEPTTL|NX GET|XX GET] [|{when}|{when}|FOO]"),
    (4, "GET {s}"),
    (2, "GETSET {s} {v}"),
    (2, "GETDEL {s}"),
    (3, "GETEX {s} [|PERSIST|{when}|FOO]"),
    (2, "SETNX {s} {v}"),
    (1, "SETEX {s} [{far}|{bad}] {v}"),
    (1, "PSETEX {s} [{far}000|{bad}] {v}"),
    (3, "MGET {s} {s} {any}"),
    (2, "MSET {s} {v} {s} {v}"),
    (1, "MSETNX {s} {v} {s} {v}"),
    (4, "APPEND {s} {v}"),
    (3, "STRLEN {s}"),
    (3, "SETRANGE {s} [{i}|{i}|600000000] {v}"),
    (3, "[GETRANGE|SUBSTR] {s} {i} {i}"),
    (4, "[INCR|DECR] {s}"),
    (3, "[INCRBY|DECRBY] {s} {i}"),
    (4, "INCRBYFLOAT {s} {f}"),
    (2, "LCS {s} {s} [|LEN|IDX|IDX WITHMATCHLEN|IDX MINMATCHLEN {i}|FOO]"),
    // Lists.
    (8, "[LPUSH|RPUSH] {l} {vs}"),
    (3, "RPUSH {l} {manyvs}"),
    (2, "[LPUSHX|RPUSHX] {l} {vs}"),
    (5, "[LPOP|RPOP] {l} [||{i}]"),
    (3, "LLEN {l}"),
    (5, "LRANGE {l} [0 -1|{i} {i}]"),
    (3, "LINDEX {l} {i}"),
    (4, "LINSERT {l} [BEFORE|AFTER|FOO] {v} {v}"),
    (3, "LSET {l} {i} {v}"),
    (4, "LREM {l} {i} {v}"),
    (3, "LTRIM {l} {i} {i}"),
    (4, "LPOS {l} {v} [|RANK {i}|COUNT {i}|MAXLEN {i}|RANK {i} COUNT {i}|RANK {i} COUNT {i} MAXLEN {i}]"),
    (3, "[LMOVE|LMOVE|BLMOVE] {l} {l} {side} {side}"),
    (1, "BLMOVE {l} {l} {side} {side} 0.001"),
    (2, "RPOPLPUSH {l} {l}"),
    (3, "LMPOP 2 {l} {l} {side} [|COUNT {i}]"),
    (1, "[BLPOP|BRPOP] {l} {l} [0.001|0.001|-1|x]"),
    (1, "BLMPOP 0.001 2 {l} {l} {side} [|COUNT {i}]"),
    // Sets.
    (8, "SADD {t} {ms}"),
    (3, "SADD {t} {manyms}"),
    (5, "SREM {t} {ms}"),
    (3, "SPOP {t} [||{i}]"),
    (3, "SRANDMEMBER {t} [||{i}]"),
    (2, "SCARD {t}"),
    (3, "SMEMBERS {t}"),
    (2, "SISMEMBER {t} {m}"),
    (2, "SMISMEMBER {t} {ms}"),
    (3, "SMOVE {t} {t} {m}"),
    (4, "[SINTER|SUNION|SDIFF] {t} {t} [|{t}]"),
    (5, "[SINTERSTORE|SUNIONSTORE|SDIFFSTORE] {t} {t} {t} [|{t}]"),
    (3, "SINTERCARD 2 {t} {t} [|LIMIT {i}]"),
    (2, "SSCAN {t} 0 COUNT 100000 [|MATCH {pattern}]"),
    // Sorted sets.
    (8, "ZADD {z} [||NX|XX|GT|LT|CH|XX GT CH|LT CH|NX GT|INCR] {sms}"),
    (3, "ZADD {z} INCR [|NX|XX|GT|LT] {sc} {m}"),
    (3, "ZADD {z} {manysms}"),
    (3, "ZINCRBY {z} {sc} {m}"),
    (4, "ZREM {z} {ms}"),
    (2, "ZCARD {z}"),
    (2, "ZSCORE {z} {m}"),
    (2, "ZMSCORE {z} {ms}"),
    (3, "[ZRANK|ZREVRANK] {z} {m} [|WITHSCORE]"),
    (2, "ZCOUNT {z} {sb} {sb}"),
    (2, "ZLEXCOUNT {e} {lb} {lb}"),
    (4, "ZRANGE {z} {i} {i} [|REV] [|WITHSCORES]"),
    (4, "ZRANGE {z} {sb} {sb} BYSCORE [|REV] [|WITHSCORES] [|LIMIT {i} {i}]"),
    (3, "ZRANGE {e} {lb} {lb} BYLEX [|REV] [|LIMIT {i} {i}]"),
    (2, "ZREVRANGE {z} {i} {i} [|WITHSCORES]"),
    (3, "[ZRANGEBYSCORE|ZREVRANGEBYSCORE] {z} {sb} {sb} [|WITHSCORES] [|LIMIT {i} {i}]"),
    (3, "[ZRANGEBYLEX|ZREVRANGEBYLEX] {e} {lb} {lb} [|LIMIT {i} {i}]"),
    (3, "ZRANGESTORE {z} {z} [{i} {i}|{sb} {sb} BYSCORE|{sb} {sb} BYSCORE LIMIT {i} {i}] [|REV]"),
    (1, "ZRANGESTORE {e} {e} {lb} {lb} BYLEX [|REV] [|LIMIT {i} {i}]"),
    (3, "ZADD {e} 0 {m} 0 {m} 0 {m}"),
    (1, "ZREM {e} {ms}"),
    (1, "DEL {e}"),
    (2, "ZREMRANGEBYRANK {z} {i} {i}"),
    (2, "ZREMRANGEBYSCORE {z} {sb} {sb}"),
    (1, "ZREMRANGEBYLEX {e} {lb} {lb}"),
    (4, "[ZPOPMIN|ZPOPMAX] {z} [||{i}]"),
    (3, "ZMPOP 2 {z} {z} [MIN|MAX] [|COUNT {i}]"),
    (1, "[BZPOPMIN|BZPOPMAX] {z} {z} [0.001|0.001|-1|x]"),
    (1, "BZMPOP 0.001 2 {z} {z} [MIN|MAX] [|COUNT {i}]"),
    (2, "[ZUNION|ZINTER] 2 {zt} {zt} [|WEIGHTS {f} {f}] [|AGGREGATE SUM|AGGREGATE MIN|AGGREGATE MAX] [|WITHSCORES]"),
    (2, "ZDIFF 2 {zt} {zt} [|WITHSCORES]"),
    (3, "[ZUNIONSTORE|ZINTERSTORE] {z} 2 {zt} {zt} [|WEIGHTS {f} {f}] [|AGGREGATE MIN|AGGREGATE MAX]"),
    (2, "ZDIFFSTORE {z} 2 {zt} {zt}"),
    (2, "ZINTERCARD 2 {zt} {zt} [|LIMIT {i}]"),
    (2, "ZRANDMEMBER {z} [||{i}|{i} WITHSCORES]"),
    (2, "ZSCAN {z} 0 COUNT 100000 [|MATCH {pattern}]"),
    // Hashes.
    (8, "[HSET|HMSET] {h} {fvs}"),
    (3, "HSET {h} {manyfvs}"),
    (2, "HSETNX {h} {fd} {v}"),
    (3, "HGET {h} {fd}"),
    (3, "HMGET {h} {fds}"),
    (4, "HGETALL {h}"),
    (3, "[HKEYS|HVALS|HLEN] {h}"),
    (2, "[HEXISTS|HSTRLEN] {h} {fd}"),
    (4, "HDEL {h} {fds}"),
    (3, "HINCRBY {h} {fd} {i}"),
    (3, "HINCRBYFLOAT {h} {fd} {f}"),
    (2, "HRANDFIELD {h} [||{i}|{i} WITHVALUES]"),
    (2, "HSCAN {h} 0 COUNT 100000 [|MATCH {pattern}|NOVALUES]"),
    (3, "[HEXPIRE|HPEXPIRE] {h} [{far}|{far}|{small}] [|NX|XX|GT|LT] FIELDS 2 {fd} {fd}"),
    (2, "HEXPIREAT {h} [{at}|{at}|{small}] [|NX|XX|GT|LT] FIELDS 2 {fd} {fd}"),
    (2, "HPEXPIREAT {h} [{at}000|{at}000|{small}] [|NX|XX|GT|LT] FIELDS 2 {fd} {fd}"),
    (2, "[HTTL|HPTTL|HEXPIRETIME|HPEXPIRETIME|HPERSIST] {h} FIELDS 2 {fd} {fd}"),
    (2, "HGETDEL {h} FIELDS 2 {fd} {fd}"),
    (2, "HGETEX {h} [|PERSIST|{when}] FIELDS 2 {fd} {fd}"),
    (2, "HSETEX {h} [|FNX|FXX|KEEPTTL] [|{when}] FIELDS 1 {fd} {v}"),
    // Generic.
    (6, "[DEL|UNLINK] {any} [|{any}]"),
    (3, "[EXISTS|TOUCH] {any} {any}"),
    (3, "TYPE {any}"),
    (5, "OBJECT ENCODING {any}"),
    (1, "OBJECT REFCOUNT {l}"),
    (3, "EXPIRE {any} [{far}|{far}|{bad}] [|NX|XX|GT|LT|FOO]"),
    (1, "PEXPIRE {any} [{far}000|{bad}]"),
    (2, "[EXPIREAT|PEXPIREAT] {any} [{at}|{at}000|{bad}] [|NX|XX|GT|LT]"),
    (3, "[TTL|PTTL|EXPIRETIME|PEXPIRETIME] {any}"),
    (2, "PERSIST {any}"),
    (3, "[RENAME|RENAMENX] {any} {any}"),
    (3, "COPY {any} {any} [|REPLACE|DB 1|DB 1 REPLACE]"),
    (1, "MOVE {any} [1|1|0|x]"),
    (1, "KEYS {pattern}"),
    (1, "SCAN 0 COUNT 100000 [|MATCH {pattern}|TYPE list|TYPE hash]"),
    (1, "RANDOMKEY"),
    (1, "DBSIZE"),
    (3, "[SORT|SORT|SORT_RO] [{l}|{t}|{e}] [|ALPHA] [|ASC|DESC] [|LIMIT {i} {i}]"),
    (1, "SORT {l} BY s* GET # GET s*"),
    (2, "SORT {any} [ALPHA|ALPHA|] STORE {l}"),
    // Transactions, connection.
    (3, "MULTI"),
    (1, "WATCH {any}"),
    (1, "UNWATCH"),
    (1, "DISCARD"),
    (1, "EXEC"),
    (1, "SWAPDB 0 1"),
    (1, "SELECT [0|0|16|x]"),
    (1, "ECHO {v}"),
    (1, "PING [|{v}]"),
    (1, "FOO {v} {v}"),
];

/// What means something else to Valkey 9: it allows field times of any size.
pub const REDIS: &[(u32, &str)] = &[
    (1, "[HEXPIRE|HPEXPIRE] {h} [{far}000|{bad}] [|NX|XX|GT|LT] FIELDS 2 {fd} {fd}"),
    (1, "[HEXPIREAT|HPEXPIREAT] {h} [{at}|{at}000|{bad}] [|NX|XX|GT|LT] FIELDS 2 {fd} {fd}"),
];

/// What Valkey 9 has and Redis 8.2 has not.
pub const VALKEY: &[(u32, &str)] =
    &[(4, "SET {s} {v} IFEQ {v} [|GET] [|{when}]"), (3, "DELIFEQ {s} {v}"), (2, "ZSCAN {z} 0 COUNT 100000 NOSCORES")];

/// A source of commands that follows from its seed.
pub struct Generator {
    rng: Rng,
    templates: Vec<(u32, &'static str)>,
    total: u64,
    /// Whether numbers like 0x10 are wanted, which Valkey refuses.
    hexadecimal: bool,
    /// By client: commands until the transaction it is in shall end.
    left: [u32; 2],
}

impl Generator {
    /// A generator over some tables of templates.
    pub fn new(seed: u64, tables: &[&[(u32, &'static str)]], hexadecimal: bool) -> Generator {
        let templates: Vec<_> = tables.iter().copied().flatten().copied().collect();
        let total = templates.iter().map(|(weight, _)| u64::from(*weight)).sum();
        Generator { rng: Rng::new(seed), templates, total, hexadecimal, left: [0; 2] }
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.rng.below(bound)
    }

    /// The next command and the client that sends it.
    pub fn next(&mut self) -> (usize, Command) {
        let client = self.below(2) as usize;
        if self.left[client] > 0 {
            self.left[client] -= 1;
            if self.left[client] == 0 {
                return (client, vec![b"EXEC".to_vec()]);
            }
        }
        let template = self.template();
        let mut command = self.expand(template);
        if template == "MULTI" && self.left[client] == 0 {
            self.left[client] = 2 + self.below(8) as u32;
        }
        // A scan has to stay a whole one, and ranges by name keep to their keys.
        if self.below(60) == 0
            && !template.contains("SCAN ")
            && !command.get(1).is_some_and(|key| key.starts_with(b"e"))
        {
            self.spoil(&mut command);
        }
        (client, command)
    }

    fn template(&mut self) -> &'static str {
        let mut at = self.rng.below(self.total);
        for (weight, template) in &self.templates {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return template,
            }
        }
        unreachable!("the weights add up to the total")
    }

    /// Makes a command wrong in a small way.
    fn spoil(&mut self, command: &mut Command) {
        let at = self.below(command.len() as u64) as usize;
        match self.below(4) {
            0 if command.len() > 1 => drop(command.pop()),
            1 if at > 0 => command[at] = self.value(),
            2 => command.push(self.value()),
            _ => command[at] = command[at].to_ascii_lowercase(),
        }
    }

    fn expand(&mut self, template: &str) -> Command {
        let mut text = template.to_owned();
        while let Some(open) = text.find('[') {
            let close = open + text[open..].find(']').expect("a closed alternative");
            let alternatives: Vec<&str> = text[open + 1..close].split('|').collect();
            let chosen = alternatives[self.below(alternatives.len() as u64) as usize].to_owned();
            text.replace_range(open..=close, &chosen);
        }
        let mut command = Command::new();
        for word in text.split_whitespace() {
            match (word.find('{'), word.find('}')) {
                (Some(open), Some(close)) => {
                    let mut filled = self.fill(&word[open + 1..close]);
                    filled[0].splice(0..0, word[..open].bytes());
                    filled.last_mut().expect("something").extend(word[close + 1..].bytes());
                    command.append(&mut filled);
                }
                _ => command.push(word.into()),
            }
        }
        command
    }

    /// What stands for a placeholder, one word or several.
    fn fill(&mut self, name: &str) -> Vec<Vec<u8>> {
        let few = 1 + self.below(4) as usize;
        // More than the small limits of `Limits` below, and sometimes more than the usual ones.
        let many = if self.below(8) == 0 { 140 } else { 3 + self.below(12) as usize };
        match name {
            "s" | "l" | "t" | "z" | "h" | "e" => vec![self.key(name)],
            "any" => {
                let kind = ["s", "l", "t", "z", "h"][self.below(5) as usize];
                vec![self.key(kind)]
            }
            "zt" => {
                let kind = ["z", "z", "z", "t"][self.below(4) as usize];
                vec![self.key(kind)]
            }
            "v" => vec![self.value()],
            "vs" => (0..few).map(|_| self.value()).collect(),
            "manyvs" => (0..many).map(|_| self.value()).collect(),
            "m" | "fd" => vec![self.member()],
            "ms" | "fds" => (0..few).map(|_| self.member()).collect(),
            "manyms" => {
                let letter = ["", "", "m"][self.below(3) as usize];
                (0..many).map(|i| format!("{letter}{i}").into()).collect()
            }
            "fvs" => (0..few).flat_map(|_| [self.member(), self.value()]).collect(),
            "manyfvs" => (0..many).flat_map(|i| [format!("m{i}").into(), self.value()]).collect(),
            "sms" => (0..few).flat_map(|_| [self.score(), self.member()]).collect(),
            "manysms" => (0..many).flat_map(|i| [self.score(), format!("m{i}").into()]).collect(),
            "sc" => vec![self.score()],
            "i" => vec![self.int()],
            // Nothing that comes soon: no two servers are equally fast.
            "bad" => vec![self.pick(&[
                "-1",
                "0",
                "x",
                "",
                "1.5",
                "9223372036854775807",
                "9223372036854775",
                "-9223372036854775808",
            ])],
            "small" => vec![self.pick(&["-1", "0", "-100", "x", "", "1.5"])],
            "f" => vec![self.float()],
            "far" => vec![(100_000 + self.below(100) * 1000).to_string().into()],
            "at" => vec![(9_000_000_000 + self.below(100) * 1_000_000).to_string().into()],
            "when" => self.when(),
            "side" => vec![self.pick(&["LEFT", "RIGHT", "LEFT", "RIGHT", "right", "FOO"])],
            "sb" => vec![self.score_bound()],
            "lb" => vec![self.lex_bound()],
            "pattern" => vec![self.pick(&["*", "m*", "*1*", "[a-m]?", "s*", "nosuch", "\\*", "[^m]*"])],
            other => panic!("no placeholder {other}"),
        }
    }

    fn pick(&mut self, words: &[&str]) -> Vec<u8> {
        words[self.below(words.len() as u64) as usize].into()
    }

    fn key(&mut self, kind: &str) -> Vec<u8> {
        let kind = if kind != "e" && self.below(40) == 0 { self.pick(&["s", "l", "t", "z", "h"]) } else { kind.into() };
        [&kind[..], self.below(3).to_string().as_bytes()].concat()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.below(10) {
            0..=2 => self.int(),
            3 => self.float(),
            4 | 5 => self.member(),
            6 => "x".repeat(self.below(90) as usize).into(),
            7 => self.pick(&["abc", "hello world", "a\r\nb", "\u{fe}\0\u{1}", "1e3", " 1", "+1", "-", "1.", "é"]),
            8 => "long ".repeat(if self.below(10) == 0 { 2000 } else { 20 }).into(),
            _ => format!("v{}", self.below(20)).into(),
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.below(20) {
            0..=7 => (self.below(30) as i64 - 10).to_string().into(),
            8..=16 => format!("m{}", self.below(20)).into(),
            17 => "y".repeat(self.pick_number(&[7, 8, 9, 63, 64, 65, 100]) as usize).into(),
            18 => self.pick(&["", "01", "-0", "1.5", "a\r\nb", "\u{ff}", "99999999999999999999"]),
            _ => self.pick(&["32767", "32768", "-2147483649", "9223372036854775807", "-9223372036854775808"]),
        }
    }

    fn pick_number(&mut self, numbers: &[u64]) -> u64 {
        numbers[self.below(numbers.len() as u64) as usize]
    }

    fn int(&mut self) -> Vec<u8> {
        match self.below(20) {
            0..=13 => (self.below(12) as i64 - 4).to_string().into(),
            14..=16 => (self.below(300) as i64 - 150).to_string().into(),
            17 => self.pick(&["9223372036854775807", "-9223372036854775808", "9223372036854775806", "4294967296"]),
            18 => self.pick(&["9223372036854775808", "", "abc", "1.5", " 1", "01", "-0", "+1", "1 "]),
            _ => (self.rng.next() as i64 / 2).to_string().into(),
        }
    }

    fn float(&mut self) -> Vec<u8> {
        match self.below(12) {
            0..=3 => format!("{}", (self.below(400) as f64 - 200.0) / 8.0).into(),
            4 | 5 => format!("{}", (self.below(2000) as f64 - 1000.0) / 100.0).into(),
            6 if self.hexadecimal => self.pick(&["0x10", "0x1p3", "-0xa.8"]),
            6 => self.pick(&["inf", "-inf", "nan", "1e400", "-1e-400", "abc", "", " 1", "1e"]),
            7 => self.pick(&["1e5", "2.5e-3", "1e17", "3.0", "-0", "0.1", "0.30000000000000004", "1e-7", "5e18"]),
            _ => (self.below(12) as i64 - 4).to_string().into(),
        }
    }

    fn score(&mut self) -> Vec<u8> {
        match self.below(12) {
            0..=8 => (self.below(12) as i64 - 4).to_string().into(),
            9 => self.pick(&["inf", "-inf", "1e300", "123456789012345678", "4611686018427387905", "1e17", "0.1", "-0"]),
            _ => self.float(),
        }
    }

    fn score_bound(&mut self) -> Vec<u8> {
        match self.below(10) {
            0 => self.pick(&["-inf", "+inf", "inf", "(-inf", "(+inf"]),
            1 => self.pick(&["-inf", "x", "", "(", "nan", "(1.5", "1e500"]),
            2..=4 => [b"(".to_vec(), self.score()].concat(),
            _ => self.score(),
        }
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.below(10) {
            0..=3 => self.pick(&["-", "+", "-", "+", "[", "(", "q", ""]),
            4..=6 => [b"(".to_vec(), self.member()].concat(),
            _ => [b"[".to_vec(), self.member()].concat(),
        }
    }

    fn when(&mut self) -> Vec<Vec<u8>> {
        let (word, amount) = match self.below(6) {
            0 => ("EX", self.fill("far")),
            1 => ("PX", vec![[self.fill("far").remove(0), b"000".to_vec()].concat()]),
            2 | 3 => ("EXAT", self.fill("at")),
            4 => ("PXAT", vec![[self.fill("at").remove(0), b"000".to_vec()].concat()]),
            _ => (["EX", "PX", "EXAT", "PXAT"][self.below(4) as usize], self.fill("bad")),
        };
        vec![word.into(), amount.into_iter().next().expect("one")]
    }
}
