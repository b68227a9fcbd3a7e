//! Strings: GET, SET and everything else whose value is one piece of bytes.

use crate::engine::call::Call;
use crate::engine::config::NotifyFlags;
use crate::engine::error::Outcome;
use crate::engine::keyspace::Ttl;
use crate::engine::spec::*;
use crate::types::value::ValueRef;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("get", get, 2, READONLY | FAST, Group::String)
        .keys(&[KeySpec::key("RO access", 1)])
        .docs("1.0.0", "O(1)", "The string value of a key.")
        .args("key:key#0"),
    Spec::new("set", set, -3, WRITE | DENYOOM, Group::String)
        .keys(&[KeySpec::key("RW access update", 1)])
        .docs("1.0.0", "O(1)", "Sets a string.")
        .args("key:key#0"),
];

fn get(call: &mut Call) -> Outcome {
    match call.keys.string(call.args.at(1))? {
        None => call.reply.null(),
        Some(ValueRef::String(bytes)) => call.reply.bulk(bytes),
        Some(ValueRef::Int(n)) => call.reply.bulk_int(n),
        Some(_) => {}
    }
    Ok(())
}

fn set(call: &mut Call) -> Outcome {
    let key = call.args.at(1);
    call.keys.set_string(key, call.args.at(2), Ttl::Clear);
    call.keys.changed(key, NotifyFlags::STRING, "set", 1);
    call.reply.ok();
    Ok(())
}
