//! Transactions: MULTI queues, EXEC runs what is queued as one unit, WATCH makes it conditional.

use crate::engine::call::{Call, Mode};
use crate::engine::error::Outcome;
use crate::engine::spec::*;
use crate::engine::{dispatch, transaction};

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("discard", discard, 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, Group::Transactions).docs(
        "2.0.0",
        "O(N), when N is the number of queued commands",
        "Drops the queued commands of a transaction.",
    ),
    Spec::new("exec", exec, 1, NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG, Group::Transactions).docs(
        "1.2.0",
        "Depends on commands in the transaction",
        "Runs the queued commands of a transaction.",
    ),
    Spec::new("multi", multi, 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, Group::Transactions).docs(
        "1.2.0",
        "O(1)",
        "Begins a transaction: commands are queued until EXEC.",
    ),
    Spec::new("unwatch", unwatch, 1, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, Group::Transactions).docs(
        "2.2.0",
        "O(1)",
        "Forgets the watched keys.",
    ),
    Spec::new("watch", watch, -2, NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY, Group::Transactions)
        .keys(&[KeySpec::range("RO", 1, -1, 1, 0)])
        .docs("2.2.0", "O(1) for every key.", "Makes the next EXEC fail if one of the keys changes before it.")
        .args("key:key#0*"),
];

fn multi(call: &mut Call) -> Outcome {
    let client = call.client();
    if client.multi.is_some() {
        return Err("ERR MULTI calls can not be nested".into());
    }
    client.multi = Some(Box::default());
    call.reply.ok();
    Ok(())
}

fn discard(call: &mut Call) -> Outcome {
    if call.client().multi.take().is_none() {
        return Err("ERR DISCARD without MULTI".into());
    }
    forget_watched(call);
    call.reply.ok();
    Ok(())
}

fn watch(call: &mut Call) -> Outcome {
    let client = &mut call.server.clients[call.id];
    if client.multi.is_some() {
        return Err("ERR WATCH inside MULTI is not allowed".into());
    }
    for key in call.args.from(1).iter() {
        transaction::watch(call.keys, client, key);
    }
    call.reply.ok();
    Ok(())
}

fn unwatch(call: &mut Call) -> Outcome {
    forget_watched(call);
    call.reply.ok();
    Ok(())
}

fn forget_watched(call: &mut Call) {
    transaction::unwatch(call.keys, &mut call.server.clients[call.id]);
}

fn exec(call: &mut Call) -> Outcome {
    let Some(multi) = call.client().multi.take() else { return Err("ERR EXEC without MULTI".into()) };
    if multi.aborted {
        forget_watched(call);
        return Err("EXECABORT Transaction discarded because of previous errors.".into());
    }
    let failed = call.client().watch_failed || watched_key_expired(call);
    forget_watched(call);
    if failed {
        call.reply.null_array();
        return Ok(());
    }
    call.reply.array(multi.queue.len());
    for (command, args) in &multi.queue {
        let mut inner = Call::new(
            args.as_args(),
            call.reply,
            call.keys,
            call.server,
            call.id,
            (crate::engine::commands::table().row(*command), *command),
            if call.mode == Mode::Replay { Mode::Replay } else { Mode::Transaction },
        );
        let (closing, start) = (inner.client().closing, inner.reply.buf.len());
        inner.keys.db = inner.server.clients[inner.id].db;
        dispatch::invoke(&mut inner);
        // One that has had itself killed hears no more.
        if closing {
            call.reply.buf.truncate(start);
        }
    }
    // What the queued commands did has been counted and propagated one by one.
    call.keys.effects.begin_command();
    Ok(())
}

/// Whether the time of a watched key has come since it was watched: expiry is a change.
fn watched_key_expired(call: &mut Call) -> bool {
    let id = call.id;
    let watched = &call.server.clients[id].watched;
    watched.iter().any(|(db, key)| call.keys.lapsed_under_watch(*db, key, id))
}
