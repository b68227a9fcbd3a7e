//! Commands on lists that wait if there is nothing to take.
//!
//! Each tries first; if nothing is there, the client waits for its keys and the same function runs again
//! when one of them is a list. To the stream they say what they did, never that they waited.
//!
//! Counterpart: the blocking half of `t_list.c` in Redis.

use crate::engine::call::Call;
use crate::engine::error::{Error, Outcome};
use crate::resp::Reply;
use crate::types::value::Kind;

use super::list::{PopPlan, Side, move_one, pop_one};

pub(super) fn blpop(call: &mut Call) -> Outcome {
    pop_or_wait(call, Side::Left)
}

pub(super) fn brpop(call: &mut Call) -> Outcome {
    pop_or_wait(call, Side::Right)
}

fn pop_or_wait(call: &mut Call, side: Side) -> Outcome {
    let last = call.args.len() - 1;
    let deadline = call.timeout(last)?;
    let names = call.args.up_to(last).from(1);
    for key in names {
        let head = |reply: &mut Reply| {
            reply.array(2);
            reply.bulk(key);
        };
        if pop_one(call.keys, call.reply, key, side, head)? {
            call.keys.effects.propagate(call.keys.db, &[side.pop_word(), key]);
            return Ok(());
        }
    }
    call.block_on_keys(Kind::List, names.iter(), deadline);
    Ok(())
}

pub(super) fn blmpop(call: &mut Call) -> Outcome {
    let plan = PopPlan::parse(call, 2)?;
    let deadline = call.timeout(1)?;
    if !plan.run(call)? {
        call.block_on_keys(Kind::List, plan.keys.iter(), deadline);
    }
    Ok(())
}

pub(super) fn blmove(call: &mut Call) -> Outcome {
    let (from, to) = (Side::parse(call, 3)?, Side::parse(call, 4)?);
    if move_or_wait(call, from, to, 5)? {
        let args = call.args;
        call.keys.effects.propagate(call.keys.db, &[b"LMOVE", args.at(1), args.at(2), args.at(3), args.at(4)]);
    }
    Ok(())
}

pub(super) fn brpoplpush(call: &mut Call) -> Outcome {
    if move_or_wait(call, Side::Right, Side::Left, 3)? {
        let args = call.args;
        call.keys.effects.propagate(call.keys.db, &[b"RPOPLPUSH", args.at(1), args.at(2)]);
    }
    Ok(())
}

/// Moves an element, or waits for the source; true if it moved one. `timeout` is an argument's index.
fn move_or_wait(call: &mut Call, from: Side, to: Side, timeout: usize) -> Result<bool, Error> {
    let deadline = call.timeout(timeout)?;
    let source = call.args.at(1);
    if move_one(call, source, from, call.args.at(2), to)? {
        return Ok(true);
    }
    if call.may_block() {
        call.block_on_keys(Kind::List, std::iter::once(source), deadline);
    } else {
        // In a transaction: a null as for an element, not the null array of a timeout.
        call.reply.null();
    }
    Ok(false)
}
