//! CLIENT: what connections are, and what becomes of them.

use crate::engine::call::Call;
use crate::engine::error::Outcome;
use crate::engine::spec::*;

/// The sub-commands of CLIENT.
pub const SUBCOMMANDS: &[Spec] = &[Spec::sub("client|id", client_id, 2, NOSCRIPT | LOADING | STALE, Group::Connection)
    .docs("5.0.0", "O(1)", "The number of this connection.")];

fn client_id(call: &mut Call) -> Outcome {
    let id = call.client().id;
    call.reply.int(id as i64);
    Ok(())
}
