//! DUMP and RESTORE: one value as a payload that other servers take.
//!
//! Not here: the payload itself (`rdb::dump`). RESTORE goes to the stream with an absolute time.
//! Redis' counterpart: the first third of `cluster.c`.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::entry::Entry;
use crate::engine::error::{Error, Outcome};
use crate::engine::eviction::AccessPolicy;
use crate::engine::keyspace::ExpiryMode;
use crate::engine::spec::*;
use crate::rdb::{self, RestoreError};
use crate::types::number::IntBuf;

use super::generic::announce_overwrite;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("dump", dump, 2, READONLY, Group::Generic)
        .keys(&[KeySpec::key("RO access", 1)])
        .acl(ACL_KEYSPACE)
        .docs("2.6.0", "O(N) for a value of N bytes", "Serializes the value of a key.")
        .tips(&["nondeterministic_output"])
        .args("key:key#0"),
    Spec::new("restore", restore, -4, WRITE | DENYOOM, Group::Generic)
        .keys(&[KeySpec::key("OW update", 1)])
        .acl(ACL_KEYSPACE | ACL_DANGEROUS)
        .docs("2.6.0", "O(N) for a value of N bytes, O(N*log(N)) for sorted sets", "Creates a key from what DUMP gave.")
        .history(&[
            ("3.0.0", "Option `REPLACE`."),
            ("5.0.0", "Option `ABSTTL`."),
            ("5.0.0", "Options `IDLETIME` and `FREQ`."),
        ])
        .args(
            "key:key#0 ttl:integer serialized-value:string REPLACE@3.0.0? ABSTTL@5.0.0? \
            seconds:integer=IDLETIME@5.0.0? frequency:integer=FREQ@5.0.0?",
        ),
];

fn dump(call: &mut Call) -> Outcome {
    let compress = call.server.config.rdbcompression;
    match call.keys.read(call.args.at(1)) {
        Some(entry) => call.reply.bulk(&rdb::dump(entry.value(), compress)),
        None => call.reply.null(),
    }
    Ok(())
}

/// The options of RESTORE.
#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(call: &Call) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 4;
        while at < call.args.len() {
            let has_value = at + 1 < call.args.len();
            if call.word(at, "REPLACE") {
                options.replace = true;
            } else if call.word(at, "ABSTTL") {
                options.absolute = true;
            } else if call.word(at, "IDLETIME") && has_value && options.frequency.is_none() {
                let idle = u64::try_from(call.int(at + 1)?);
                options.idle_seconds = Some(idle.map_err(|_| "ERR Invalid IDLETIME value, must be >= 0")?);
                at += 1;
            } else if call.word(at, "FREQ") && has_value && options.idle_seconds.is_none() {
                let frequency = u8::try_from(call.int(at + 1)?);
                options.frequency = Some(frequency.map_err(|_| "ERR Invalid FREQ value, must be >= 0 and <= 255")?);
                at += 1;
            } else {
                return Err(Error::Syntax);
            }
            at += 1;
        }
        Ok(options)
    }
}

fn restore(call: &mut Call) -> Outcome {
    let (key, payload) = (call.args.at(1), call.args.at(3));
    let options = Options::parse(call)?;
    if !options.replace && call.keys.exists(key) {
        return Err("BUSYKEY Target key name already exists.".into());
    }
    let ttl = call.int(2)?;
    if ttl < 0 {
        return Err("ERR Invalid TTL value, must be >= 0".into());
    }
    let limits = call.keys.rdb_limits();
    let seed = call.keys.rng.next();
    let verify = !call.keys.settings.skip_checksums;
    let value = rdb::restore(payload, &limits, seed, verify).map_err(|error| match error {
        RestoreError::Footer => "ERR DUMP payload version or checksum are wrong",
        RestoreError::Value(_) => "ERR Bad data format",
    })?;
    call.server.stats.payloads_checked += 1;
    let now = call.keys.now_ms();
    let expire_at = match ttl {
        0 => None,
        at if options.absolute => Some(at),
        ttl => Some(ttl.saturating_add(now)),
    };
    let overwritten = call.keys.peek(key).map(Entry::kind);
    let lazy = call.keys.settings.lazyfree_server_del;
    call.keys.remove(key, lazy);
    call.reply.ok();
    if expire_at.is_some_and(|at| at <= now) && call.keys.expiry == ExpiryMode::Delete {
        if overwritten.is_some() {
            call.keys.changed(key, NotifyFlags::GENERIC, "del", 1);
            let word: &[u8] = if lazy { b"UNLINK" } else { b"DEL" };
            call.keys.effects.propagate(call.keys.db, &[word, key]);
        }
        return Ok(());
    }
    let mut entry = Entry::new(key, value);
    entry.set_expire_at(expire_at);
    let kind = entry.kind();
    call.keys.insert(entry);
    set_access(call, &options);
    call.keys.changed(key, NotifyFlags::GENERIC, "restore", 1);
    announce_overwrite(call.keys, key, overwritten, kind);
    if let (Some(at), false) = (expire_at, options.absolute) {
        let mut digits = IntBuf::new();
        let mut args: Vec<&[u8]> = call.args.iter().collect();
        args[2] = digits.format(at).as_bytes();
        args.push(b"ABSTTL");
        call.keys.effects.propagate(call.keys.db, &args);
    }
    Ok(())
}

/// Sets the access clock of the new key to what the options say.
fn set_access(call: &mut Call, options: &Options) {
    let policy = AccessPolicy::new(&call.keys.settings, call.keys.now, false);
    if let Some(entry) = call.keys.write(call.args.at(1)) {
        policy.start(entry);
        policy.restore(entry, options.idle_seconds, options.frequency);
    }
}
