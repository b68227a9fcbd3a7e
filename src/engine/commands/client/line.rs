//! A client in one line, as CLIENT LIST and CLIENT INFO show it: `field=value` pairs in Redis' order.
//!
//! The line is a reply format of Redis 8.2; fields are only ever added at its end. Counterpart:
//! `catClientInfoString`.

use std::io::Write;

use crate::engine::call::Call;
use crate::engine::client::{Client, ClientId};
use crate::engine::commands;
use crate::resp::Protocol;

/// Appends the line of client `id`, the newline included.
pub fn write(call: &Call, id: ClientId, out: &mut Vec<u8>) {
    let Some(client) = call.server.clients.find(id) else { return };
    let now = call.keys.now.mono;
    // The caller's output buffer and arguments are at hand here, not in its record.
    let running = id == call.id;
    let reply = if running { &*call.reply } else { &client.reply };
    let argument_bytes = match &client.blocked {
        Some(blocked) => blocked.args.as_args().iter().map(<[u8]>::len).sum(),
        None if running => call.args.iter().map(<[u8]>::len).sum(),
        None => 0,
    };
    // Without the room of its buffer: which one of those kept for all it happens to have is not its doing.
    let own_reply_bytes = if running { call.reply.buf.len() } else { 0 };
    let mut text = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b' ');
    };
    text("id", client.id.to_string().as_bytes());
    text("addr", client.peer.addr.as_bytes());
    text("laddr", client.peer.laddr.as_bytes());
    text("fd", client.peer.fd.to_string().as_bytes());
    text("name", &client.name);
    text("age", (now.ms_since(client.connected_at) / 1000).to_string().as_bytes());
    text("idle", (now.ms_since(client.last_seen) / 1000).to_string().as_bytes());
    text("flags", flags(client).as_bytes());
    let mut figure = |name: &str, value: i64| {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{name}={value} ");
    };
    figure("db", client.db as i64);
    figure("sub", client.channels.len() as i64);
    figure("psub", client.patterns.len() as i64);
    figure("ssub", client.shard_channels.len() as i64);
    figure("multi", client.multi.as_ref().map_or(-1, |multi| multi.queue.len() as i64));
    figure("watch", client.watched.len() as i64);
    // What is being run has not left the buffer yet.
    let kept = client.query.len().saturating_sub(client.decoder.parsed());
    let query = if running { call.server.running_bytes } else { kept };
    figure("qbuf", query as i64);
    figure("qbuf-free", client.query.capacity().saturating_sub(query) as i64);
    figure("argv-mem", argument_bytes as i64);
    figure("multi-mem", client.multi.as_ref().map_or(0, |multi| multi.bytes as i64));
    figure("rbs", reply.buf.capacity() as i64);
    figure("rbp", client.reply_peak.0.max(reply.buf.len()) as i64);
    figure("obl", reply.buf.len() as i64);
    figure("oll", client.unsent_pieces as i64);
    figure("omem", client.unsent as i64);
    figure("tot-mem", (client.memory_bytes() + own_reply_bytes + argument_bytes) as i64);
    let command = client.last_command.map_or("NULL", |command| commands::table().row(command).full_name);
    let events = if client.unsent > 0 { "rw" } else { "r" };
    let resp = if client.reply.protocol == Protocol::Resp3 { 3 } else { 2 };
    let _ = write!(out, "events={events} cmd={command} user=default redir=-1 resp={resp} lib-name=");
    out.extend_from_slice(&client.lib_name);
    out.extend_from_slice(b" lib-ver=");
    out.extend_from_slice(&client.lib_ver);
    let (net_in, net_out, commands) = (client.net_in, client.net_out, client.commands);
    let io_thread = client.peer.io_thread;
    let _ = writeln!(out, " io-thread={io_thread} tot-net-in={net_in} tot-net-out={net_out} tot-cmds={commands}");
}

/// All letters that [`flags`] may give, and those that belong to what this server does not do.
pub const FLAG_LETTERS: &str = "OSMPxbtRBdcuAUreTIN";

/// What is special about a client, as letters; `N` if nothing is.
pub fn flags(client: &Client) -> String {
    let all = [
        (client.is_monitor, 'O'),
        (client.is_subscriber(), 'P'),
        (client.multi.is_some(), 'x'),
        (client.blocked.is_some(), 'b'),
        (client.watch_failed, 'd'),
        (client.closing, 'c'),
        (client.doomed, 'A'),
        (client.peer.unix_socket, 'U'),
        (client.no_evict, 'e'),
        (client.no_touch, 'T'),
        (client.import_source, 'I'),
    ];
    let letters: String = all.iter().filter(|(is, _)| *is).map(|(_, letter)| *letter).collect();
    if letters.is_empty() { "N".into() } else { letters }
}
