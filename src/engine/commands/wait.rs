//! WAIT and WAITAOF: clients that wait until their writes are safe elsewhere.
//!
//! A client waits for the offset of the stream after its own last write. Whoever hears that an offset is
//! stored wakes it (`engine::persistence`); a tick answers when its time runs out.
//! Redis' counterpart: the end of `replication.c`.

use crate::engine::blocking::Cause;
use crate::engine::call::Call;
use crate::engine::error::{Error, Outcome};
use crate::engine::spec::*;
use crate::engine::time::MonoTime;
use crate::types::number;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("wait", wait, 3, BLOCKING, Group::Generic)
        .acl(ACL_CONNECTION)
        .docs("3.0.0", "O(1)", "Waits until enough replicas have this connection's writes.")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .args("numreplicas:integer timeout:integer"),
    Spec::new("waitaof", waitaof, 4, BLOCKING, Group::Generic)
        .acl(ACL_CONNECTION)
        .docs(
            "7.2.0",
            "O(1)",
            "Waits until this connection's writes are in the append-only files, here and on replicas.",
        )
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .args("numlocal:integer numreplicas:integer timeout:integer"),
];

/// Argument `index` as a timeout in whole milliseconds (0 is forever), as the moment it ends.
fn timeout_ms(call: &Call, index: usize) -> Result<MonoTime, Error> {
    let ms = number::parse_i64(call.args.at(index)).ok_or("ERR timeout is not an integer or out of range")?;
    if ms > i64::MAX - call.keys.now_ms() {
        return Err("ERR timeout is out of range".into());
    }
    match u64::try_from(ms) {
        Ok(0) => Ok(MonoTime::NEVER),
        Ok(ms) => Ok(call.keys.now.mono.plus_ms(ms)),
        Err(_) => Err(Error::NegativeTimeout),
    }
}

fn wait(call: &mut Call) -> Outcome {
    let replicas = call.int(1)?;
    let deadline = timeout_ms(call, 2)?;
    if replicas <= 0 || !call.may_block() {
        call.reply.int(0);
        return Ok(());
    }
    let target = call.client().write_offset;
    call.block_on(Cause::Offset { target, local: 0, replicas, aof: false }, deadline);
    Ok(())
}

fn waitaof(call: &mut Call) -> Outcome {
    let local = match call.int(1)? {
        local @ (0 | 1) => local,
        _ => return Err("ERR value is out of range, value must between 0 and 1".into()),
    };
    let replicas = call.int_in(2, 0, i64::MAX, "ERR value is out of range, must be positive")?;
    let deadline = timeout_ms(call, 3)?;
    if local > 0 && !call.server.config.appendonly {
        return Err("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.".into());
    }
    let target = call.client().write_offset;
    let stored = i64::from(call.server.persistence.has_stored(target));
    if (stored >= local && replicas == 0) || !call.may_block() {
        call.reply.array(2);
        call.reply.int(stored);
        call.reply.int(0);
        return Ok(());
    }
    call.block_on(Cause::Offset { target, local, replicas, aof: true }, deadline);
    Ok(())
}
