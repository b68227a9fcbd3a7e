//! MONITOR: every command that is run, as a line to those who asked for it.

use super::call::{Call, Mode};
use super::{secret, spec};

/// Shows the command that was just run to all monitors.
pub fn show(call: &mut Call) {
    if call.spec.flags & (spec::SKIP_MONITOR | spec::ADMIN) != 0 || call.mode == Mode::Replay {
        return;
    }
    let micros = call.keys.now.wall.micros;
    let client = &call.server.clients[call.id];
    let mut line = format!("{}.{:06} [{} ", micros / 1_000_000, micros % 1_000_000, client.db);
    if client.peer.unix_socket {
        line.push_str("unix:");
        line.push_str(client.peer.addr.trim_end_matches(":0"));
    } else {
        line.push_str(&client.peer.addr);
    }
    line.push(']');
    for arg in secret::shown(call.spec.full_name, call.args) {
        line.push(' ');
        quote(arg, &mut line);
    }
    for id in call.server.monitors.clone() {
        call.server.push_to(id, |reply| reply.simple(&line));
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
