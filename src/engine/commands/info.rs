//! INFO: facts and counters, as text. The sections are in [`crate::engine::info`].

use crate::engine::call::Call;
use crate::engine::error::Outcome;
use crate::engine::info::report;
use crate::engine::spec::*;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::new("info", info, -1, LOADING | STALE, Group::Server)
    .acl(ACL_DANGEROUS)
    .docs("1.0.0", "O(1)", "Facts and counters of the server.")
    .history(&[("7.0.0", "Takes several sections.")])
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
    .args("section:string?*")];

fn info(call: &mut Call) -> Outcome {
    let words: Vec<&[u8]> = call.args.from(1).iter().collect();
    let text = report(call.server, call.keys, &words);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}
