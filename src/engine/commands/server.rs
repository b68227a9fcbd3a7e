//! The server as a whole: flushing and swapping databases, snapshots, the end.
//!
//! Not here: CONFIG, INFO, MEMORY and DEBUG, which have files of their own. Saving is asked for here and
//! done by the snapshot walk and the front end; see `persistence`.

use crate::engine::blocking::Cause;
use crate::engine::call::{Call, Mode};
use crate::engine::effects::Propagate;
use crate::engine::error::{Error, Outcome};
use crate::engine::host::SnapshotKind;
use crate::engine::spec::*;
use crate::engine::time::MonoTime;

/// The commands of this family.
pub const SPECS: &[Spec] =
    &[
        Spec::new("bgrewriteaof", bgrewriteaof, 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, Group::Server).docs(
            "1.0.0",
            "O(1)",
            "Starts rewriting the append-only file in the background.",
        ),
        Spec::new("bgsave", bgsave, -1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING, Group::Server)
            .docs("1.0.0", "O(1)", "Starts saving a snapshot in the background.")
            .history(&[("3.2.2", "Option `SCHEDULE`.")])
            .args("SCHEDULE@3.2.2?"),
        Spec::new("dbsize", dbsize, 1, READONLY | FAST, Group::Server)
            .acl(ACL_KEYSPACE)
            .docs("1.0.0", "O(1)", "How many keys the database has.")
            .tips(&["request_policy:all_shards", "response_policy:agg_sum"]),
        Spec::new("flushall", flushall, -1, WRITE, Group::Server)
            .acl(ACL_KEYSPACE | ACL_DANGEROUS)
            .docs("1.0.0", "O(N), N keys in all databases", "Deletes all keys of all databases.")
            .history(&[("4.0.0", "Option `ASYNC`."), ("6.2.0", "Option `SYNC`.")])
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
            .args("flush-type:oneof?(ASYNC@4.0.0 SYNC@6.2.0)"),
        Spec::new("flushdb", flushdb, -1, WRITE, Group::Server)
            .acl(ACL_KEYSPACE | ACL_DANGEROUS)
            .docs("1.0.0", "O(N), N keys in the database", "Deletes all keys of the database.")
            .history(&[("4.0.0", "Option `ASYNC`."), ("6.2.0", "Option `SYNC`.")])
            .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
            .args("flush-type:oneof?(ASYNC@4.0.0 SYNC@6.2.0)"),
        Spec::new("lastsave", lastsave, 1, LOADING | STALE | FAST, Group::Server)
            .acl(ACL_ADMIN | ACL_DANGEROUS)
            .docs("1.0.0", "O(1)", "When the last snapshot was saved, in Unix seconds.")
            .tips(&["nondeterministic_output"]),
        Spec::new("lolwut", lolwut, -1, READONLY | FAST, Group::Server)
            .docs("5.0.0", "", "Shows some computer art and the version.")
            .args("version:integer=VERSION?"),
        Spec::new("role", role, 1, NOSCRIPT | LOADING | STALE | FAST, Group::Server)
            .acl(ACL_ADMIN | ACL_DANGEROUS)
            .docs("2.8.12", "O(1)", "Whether this is a primary or a replica, and of whom."),
        Spec::new("save", save, 1, ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI, Group::Server).docs(
            "1.0.0",
            "O(N), N keys in all databases",
            "Saves a snapshot at once.",
        ),
        Spec::new("shutdown", shutdown, -1, ADMIN | NOSCRIPT | LOADING | STALE | NO_MULTI | ALLOW_BUSY, Group::Server)
            .docs(
                "1.0.0",
                "O(N), N keys in all databases, if it saves; otherwise O(1)",
                "Saves if need be and ends the server.",
            )
            .history(&[("7.0.0", "Options `NOW`, `FORCE` and `ABORT`.")])
            .args("save-selector:oneof?(NOSAVE SAVE) NOW@7.0.0? FORCE@7.0.0? ABORT@7.0.0?"),
        Spec::new("swapdb", swapdb, 3, WRITE | FAST, Group::Server)
            .acl(ACL_KEYSPACE | ACL_DANGEROUS)
            .docs("4.0.0", "O(N), N clients that watch or wait for keys of the two", "Exchanges two databases.")
            .args("index1:integer index2:integer"),
        Spec::new("time", time, 1, LOADING | STALE | FAST, Group::Server)
            .docs("2.6.0", "O(1)", "The server's clock.")
            .tips(&["nondeterministic_output"]),
    ];

// ---- Databases ----

fn dbsize(call: &mut Call) -> Outcome {
    let keys = call.keys.dbs[call.keys.db].table.len();
    call.reply.count(keys);
    Ok(())
}

/// Whether the only option, ASYNC or SYNC, asks for freeing in slices.
fn is_lazy_flush(call: &Call) -> Result<bool, Error> {
    match call.args.len() {
        1 => Ok(call.keys.settings.lazyfree_user_flush),
        2 if call.word(1, "ASYNC") => Ok(true),
        2 if call.word(1, "SYNC") => Ok(false),
        _ => Err(Error::Syntax),
    }
}

fn flushdb(call: &mut Call) -> Outcome {
    let lazy = is_lazy_flush(call)?;
    let (db, garbage) = (call.keys.db, call.keys.garbage.len());
    let keys = call.keys.flush(db, true);
    count_flushed(call, keys, lazy);
    answer_flush(call, lazy, garbage);
    Ok(())
}

fn flushall(call: &mut Call) -> Outcome {
    let lazy = is_lazy_flush(call)?;
    let garbage = call.keys.garbage.len();
    let keys: usize = (0..call.keys.dbs.len()).map(|db| call.keys.flush(db, true)).sum();
    count_flushed(call, keys, lazy);
    // The snapshot on disk, and one under way, hold what has just been thrown away.
    if call.mode != Mode::Replay {
        cancel_save(call);
        if !call.server.config.save.0.is_empty() {
            want(call, SnapshotKind::Rdb, true);
        }
    }
    answer_flush(call, lazy, garbage);
    Ok(())
}

/// Answers a flush: when all of it is freed, unless that is left to the background. Meanwhile others go on. `garbage`:
/// how much was waiting to be freed before.
fn answer_flush(call: &mut Call, lazy: bool, garbage: usize) {
    if !lazy {
        let waits = call.may_block() && !call.server.clock.stopped;
        // A slice of each piece: often that is all.
        let mut slices = if waits { call.keys.garbage.len() - garbage } else { usize::MAX };
        while call.keys.garbage.len() > garbage && slices > 0 {
            call.keys.free_slice();
            slices -= 1;
        }
        if call.keys.garbage.len() > garbage {
            call.server.flushing.push((call.id, garbage));
            return call.block_on(Cause::Freeing, MonoTime::NEVER);
        }
    }
    call.reply.ok();
}

/// Redis frees in the background even what a client flushes synchronously, except in a transaction: such
/// keys count as freed lazily.
fn count_flushed(call: &mut Call, keys: usize, lazy: bool) {
    call.keys.effects.dirty += keys as u64;
    call.keys.effects.propagate = Propagate::Always;
    if lazy || call.may_block() {
        call.keys.stats.lazyfreed += keys as u64;
    }
}

fn swapdb(call: &mut Call) -> Outcome {
    const DB: std::ops::RangeInclusive<i64> = i32::MIN as i64..=i32::MAX as i64;
    let a = call.int_in(1, *DB.start(), *DB.end(), "ERR invalid first DB index")?;
    let b = call.int_in(2, *DB.start(), *DB.end(), "ERR invalid second DB index")?;
    let databases = call.keys.dbs.len();
    let index = |n: i64| usize::try_from(n).ok().filter(|n| *n < databases).ok_or("ERR DB index is out of range");
    let (a, b) = (index(a)?, index(b)?);
    call.keys.swap(a, b);
    call.keys.effects.dirty += 1;
    call.reply.ok();
    Ok(())
}

// ---- Snapshots ----

/// Whether a snapshot of this kind is under way or about to begin.
fn is_under_way(call: &Call, kind: SnapshotKind) -> bool {
    let persistence = &call.server.persistence;
    persistence.snapshot == Some(kind) || persistence.wanted.is_some_and(|(wanted, _)| wanted == kind)
}

/// Asks for a snapshot as soon as the unit has ended, or after the one that is to begin then.
fn want(call: &mut Call, kind: SnapshotKind, at_once: bool) {
    let persistence = &mut call.server.persistence;
    match (persistence.wanted, kind) {
        (Some((SnapshotKind::LogBase, _)), SnapshotKind::Rdb) if !at_once => persistence.save_scheduled = true,
        (Some((SnapshotKind::LogBase, _)), SnapshotKind::Rdb) => {
            persistence.rewrite_scheduled = true;
            call.server.want_snapshot(kind, at_once);
        }
        (Some((SnapshotKind::Rdb, _)), SnapshotKind::LogBase) => persistence.rewrite_scheduled = true,
        _ => call.server.want_snapshot(kind, at_once),
    }
}

/// Gives up an RDB snapshot under way; false if there is none.
fn cancel_save(call: &mut Call) -> bool {
    if call.server.persistence.snapshot != Some(SnapshotKind::Rdb) {
        return false;
    }
    call.server.cancel_snapshot(call.keys);
    if std::mem::take(&mut call.server.persistence.rewrite_scheduled) {
        want(call, SnapshotKind::LogBase, false);
    }
    true
}

fn save(call: &mut Call) -> Outcome {
    if is_under_way(call, SnapshotKind::Rdb) {
        return Err("ERR Background save already in progress".into());
    }
    want(call, SnapshotKind::Rdb, true);
    call.block_on(Cause::Snapshot, MonoTime::NEVER);
    Ok(())
}

fn bgsave(call: &mut Call) -> Outcome {
    let schedule = call.args.len() == 2 && call.word(1, "SCHEDULE");
    if call.args.len() == 2 && call.word(1, "CANCEL") {
        return bgsave_cancel(call);
    }
    if call.args.len() > 1 && !schedule {
        return Err(Error::Syntax);
    }
    if is_under_way(call, SnapshotKind::Rdb) {
        return Err("ERR Background save already in progress".into());
    }
    if is_under_way(call, SnapshotKind::LogBase) {
        if !schedule && call.mode != Mode::Transaction {
            return Err(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order \
                to schedule a BGSAVE whenever possible."
                    .into(),
            );
        }
        call.server.persistence.save_scheduled = true;
        call.reply.simple("Background saving scheduled");
        return Ok(());
    }
    want(call, SnapshotKind::Rdb, false);
    let scheduled = call.mode == Mode::Transaction;
    call.reply.simple(if scheduled { "Background saving scheduled" } else { "Background saving started" });
    Ok(())
}

fn bgsave_cancel(call: &mut Call) -> Outcome {
    let text = if cancel_save(call) {
        "Background saving cancelled"
    } else if std::mem::take(&mut call.server.persistence.save_scheduled) {
        "Scheduled background saving cancelled"
    } else {
        return Err("ERR Background saving is currently not in progress or scheduled".into());
    };
    call.reply.simple(text);
    Ok(())
}

fn bgrewriteaof(call: &mut Call) -> Outcome {
    if is_under_way(call, SnapshotKind::LogBase) {
        return Err("ERR Background append only file rewriting already in progress".into());
    }
    let scheduled = call.mode == Mode::Transaction || is_under_way(call, SnapshotKind::Rdb);
    if is_under_way(call, SnapshotKind::Rdb) {
        call.server.persistence.rewrite_scheduled = true;
    } else {
        want(call, SnapshotKind::LogBase, false);
    }
    call.reply.simple(match scheduled {
        true => "Background append only file rewriting scheduled",
        false => "Background append only file rewriting started",
    });
    Ok(())
}

fn lastsave(call: &mut Call) -> Outcome {
    let seconds = call.server.persistence.last_save;
    call.reply.int(seconds);
    Ok(())
}

fn shutdown(call: &mut Call) -> Outcome {
    let (mut save, mut force, mut abort, mut other) = (None, false, false, false);
    for index in 1..call.args.len() {
        if call.word(index, "SAVE") || call.word(index, "NOSAVE") {
            let wanted = call.word(index, "SAVE");
            if save.is_some_and(|before| before != wanted) {
                return Err(Error::Syntax);
            }
            save = Some(wanted);
        } else if call.word(index, "FORCE") {
            force = true;
        } else if call.word(index, "ABORT") {
            abort = true;
        } else if call.word(index, "NOW") || call.word(index, "SAFE") {
            // NOW: replicas are not waited for. SAFE: matters to primaries of a cluster only.
            other = true;
        } else if call.word(index, "FAILOVER") {
            return Err("ERR SHUTDOWN FAILOVER is only supported in cluster mode.".into());
        } else {
            return Err(Error::Syntax);
        }
    }
    if abort {
        if save.is_some() || force || other {
            return Err(Error::Syntax);
        }
        if !call.server.abort_shutdown() {
            return Err("ERR No shutdown in progress.".into());
        }
        call.reply.ok();
        return Ok(());
    }
    if call.server.shutdown.is_none() {
        // What is being loaded is not all there is.
        let save = if call.server.persistence.loading.is_some() { Some(false) } else { save };
        if !call.server.begin_shutdown(save, force) {
            return Err("ERR Errors trying to SHUTDOWN. Check logs.".into());
        }
    }
    call.block_on(Cause::Shutdown, MonoTime::NEVER);
    Ok(())
}

// ---- Who and when ----

fn role(call: &mut Call) -> Outcome {
    call.reply.array(3);
    call.reply.bulk(b"master");
    call.reply.int(call.server.offset as i64);
    call.reply.array(0);
    Ok(())
}

fn time(call: &mut Call) -> Outcome {
    let micros = call.keys.now.wall.micros;
    call.reply.array(2);
    call.reply.bulk_int(micros / 1_000_000);
    call.reply.bulk_int(micros % 1_000_000);
    Ok(())
}

/// Columns and rows of the picture that LOLWUT draws.
const PICTURE: (usize, usize) = (64, 9);

fn lolwut(call: &mut Call) -> Outcome {
    if call.args.len() >= 3 && call.word(1, "VERSION") {
        call.int(2)?;
    }
    let mut text = hills(call);
    text += "\nPack light, walk far: Haversack ";
    text += env!("CARGO_PKG_VERSION");
    text += ", at home in a server and in a tab.\nRedis ver. ";
    text += &String::from_utf8_lossy(&call.server.config.haversack_server_version);
    text += "\n";
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A mountain range with a path before it, another one each time.
fn hills(call: &mut Call) -> String {
    let (width, height) = PICTURE;
    let rng = &mut call.keys.rng;
    let mut ridge = |low: u64, high: u64| -> Vec<u64> {
        let mut at = low + rng.below(high - low + 1);
        let mut line = Vec::new();
        for _ in 0..width {
            at = (at + rng.below(3)).saturating_sub(1).clamp(low, high);
            line.push(at);
        }
        line
    };
    let (far, near) = (ridge(3, height as u64), ridge(0, 3));
    let mut picture = String::new();
    for row in (1..=height as u64).rev() {
        let line = far.iter().zip(&near).map(|(far, near)| match () {
            () if row <= *near => ':',
            () if row == *far => '^',
            () if row < *far => '|',
            () => ' ',
        });
        picture.push_str(line.collect::<String>().trim_end());
        picture.push('\n');
    }
    picture
}
