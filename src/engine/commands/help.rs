//! The HELP of every container command, in the frame that Redis gives it (`addReplyHelp`).
//!
//! Not here: what the lines say. Each container writes its own.

use crate::engine::call::Call;

/// Replies `lines` under a heading, and HELP itself as the last entry. A line that belongs to the one
/// above it is indented by four blanks.
pub fn help(call: &mut Call, lines: &[&str]) {
    let name = call.spec.full_name;
    let container = name.split_once('|').map_or(name, |(container, _)| container).to_uppercase();
    call.reply.array(lines.len() + 3);
    call.reply.simple(format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        call.reply.simple(line);
    }
    call.reply.simple("HELP");
    call.reply.simple("    Print this help.");
}
