//! MONITOR: every command that is run, as a line to those who asked for it.

use crate::resp::Args;

use super::call::{Call, Mode};
use super::spec;

/// Shows the command about to run to all monitors.
pub fn show(call: &mut Call) {
    if call.spec.flags & (spec::SKIP_MONITOR | spec::ADMIN) != 0 || call.mode == Mode::Replay {
        return;
    }
    let micros = call.keys.now.wall.micros;
    let client = &call.server.clients[call.id];
    let mut line = format!(
        "{}.{:06} [{} {}]",
        micros / 1_000_000,
        micros % 1_000_000,
        client.db,
        if client.peer.addr.is_empty() { "unknown" } else { &client.peer.addr }
    );
    quote_args(call.args, call.spec.name, &mut line);
    for id in call.server.monitors.clone() {
        call.server.push_to(id, |reply| reply.simple(&line));
    }
}

/// Adds the arguments in quotes; secrets are not shown.
fn quote_args(args: Args, command: &str, line: &mut String) {
    for (index, arg) in args.iter().enumerate() {
        let secret = index > 0 && (command == "auth" || (command == "hello" && index > 2));
        line.push_str(" ");
        if secret { line.push_str("\"(redacted)\"") } else { quote(arg, line) }
    }
}

/// Adds bytes in double quotes with the escapes of redis-cli.
pub fn quote(bytes: &[u8], line: &mut String) {
    line.push('"');
    for byte in bytes {
        match byte {
            b'\\' => line.push_str("\\\\"),
            b'"' => line.push_str("\\\""),
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            7 => line.push_str("\\a"),
            8 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            _ => line.push_str(&format!("\\x{byte:02x}")),
        }
    }
    line.push('"');
}
