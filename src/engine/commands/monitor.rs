//! MONITOR: makes a client see every command. How it is shown is in the engine's module of the same name.

use crate::engine::call::{Call, Mode};
use crate::engine::error::Outcome;
use crate::engine::spec::*;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::new("monitor", monitor, 1, ADMIN | NOSCRIPT | LOADING | STALE, Group::Server).docs(
    "1.0.0",
    "",
    "Shows every command the server runs, as it runs.",
)];

fn monitor(call: &mut Call) -> Outcome {
    if call.mode == Mode::Transaction {
        return Err("ERR MONITOR isn't allowed for DENY BLOCKING client".into());
    }
    // Asked a second time, Redis answers nothing.
    if !call.client().is_monitor {
        call.client().is_monitor = true;
        call.server.monitors.push(call.id);
        call.reply.ok();
    }
    Ok(())
}
