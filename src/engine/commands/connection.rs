//! Connections: AUTH, HELLO, PING, SELECT and the like.
//!
//! Not here: CLIENT, which is in [`client`](super::client). Only the user `default` exists; its password is
//! `requirepass`. Counterpart: parts of Redis' `networking.c`, `acl.c` and `db.c`.

use crate::engine::call::Call;
use crate::engine::client::ReplyMode;
use crate::engine::error::{Error, Outcome};
use crate::engine::server::Server;
use crate::engine::spec::*;
use crate::engine::{pubsub, transaction};
use crate::resp::Protocol;
use crate::types::number;

use super::client;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("auth", auth, -2, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, Group::Connection)
        .docs("1.0.0", "O(N), N: passwords of the user", "Logs in, with a password or a user name and a password.")
        .history(&[("6.0.0", "Takes a user name as well.")])
        .args("username:string@6.0.0? password:string"),
    Spec::container("client", Group::Connection, client::SUBCOMMANDS).docs(
        "2.4.0",
        "See the sub-commands.",
        "Commands about connections.",
    ),
    Spec::new("echo", echo, 2, LOADING | STALE | FAST, Group::Connection)
        .docs("1.0.0", "O(1)", "Replies its argument.")
        .args("message:string"),
    Spec::new("hello", hello, -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, Group::Connection)
        .docs(
            "6.0.0",
            "O(1)",
            "Greets the server, and optionally switches the protocol, logs in and names the connection.",
        )
        .history(&[("6.2.0", "Works without a protocol version and then changes nothing.")])
        .args(
            "arguments:block?(protover:integer auth:block=AUTH?(username:string password:string) \
            clientname:string=SETNAME?)",
        ),
    Spec::new("ping", ping, -1, FAST, Group::Connection)
        .docs("1.0.0", "O(1)", "Replies PONG, or its argument.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .args("message:string?"),
    Spec::new("quit", quit, -1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, Group::Connection)
        .docs("1.0.0", "O(1)", "Asks the server to close the connection.")
        .deprecated("7.2.0", "just closing the connection"),
    Spec::new("reset", reset, 1, NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY, Group::Connection).docs(
        "6.2.0",
        "O(1)",
        "Puts the connection back into its first state.",
    ),
    Spec::new("select", select, 2, LOADING | STALE | FAST, Group::Connection)
        .docs("1.0.0", "O(1)", "Changes the database of this connection.")
        .args("index:integer"),
];

fn ping(call: &mut Call) -> Outcome {
    if call.args.len() > 2 {
        return Err(Error::Arity("ping".into()));
    }
    let message = call.args.get(1);
    if call.reply.protocol == Protocol::Resp2 && call.client().is_subscriber() {
        call.reply.array(2);
        call.reply.bulk(b"pong");
        call.reply.bulk(message.unwrap_or_default());
        return Ok(());
    }
    match message {
        Some(message) => call.reply.bulk(message),
        None => call.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(call: &mut Call) -> Outcome {
    call.reply.bulk(call.args.at(1));
    Ok(())
}

fn select(call: &mut Call) -> Outcome {
    let index = call.int(1)?;
    if i32::try_from(index).is_err() {
        return Err("ERR value is out of range, value must between -2147483648 and 2147483647".into());
    }
    let Some(db) = usize::try_from(index).ok().filter(|db| *db < call.keys.dbs.len()) else {
        return Err("ERR DB index is out of range".into());
    };
    call.client().db = db;
    call.keys.db = db;
    call.reply.ok();
    Ok(())
}

fn quit(call: &mut Call) -> Outcome {
    call.reply.ok();
    call.server.close_after_reply(call.id);
    Ok(())
}

fn auth(call: &mut Call) -> Outcome {
    let (user, password) = match call.args.len() {
        2 if call.server.config.requirepass.is_empty() => {
            return Err("ERR AUTH <password> called without any password configured for the default user. Are you \
                sure your configuration is correct?"
                .into());
        }
        2 => (&b"default"[..], call.args.at(1)),
        3 => (call.args.at(1), call.args.at(2)),
        _ => return Err(Error::Syntax),
    };
    log_in(call, user, password)?;
    call.reply.ok();
    Ok(())
}

/// Logs the client in, if user and password are right.
fn log_in(call: &mut Call, user: &[u8], password: &[u8]) -> Outcome {
    let required = call.server.config.requirepass.as_slice();
    if user != b"default" || !(required.is_empty() || equal_in_constant_time(required, password)) {
        call.server.stats.auth_failures += 1;
        return Err("WRONGPASS invalid username-password pair or user is disabled.".into());
    }
    call.client().authenticated = true;
    Ok(())
}

/// Compares without telling by its duration where the first difference is.
fn equal_in_constant_time(secret: &[u8], given: &[u8]) -> bool {
    let mut differences = secret.len() ^ given.len();
    for (index, byte) in given.iter().enumerate() {
        differences |= usize::from(byte ^ secret.get(index).copied().unwrap_or_default());
    }
    differences == 0
}

/// Refuses names that would break the lines of CLIENT LIST.
pub fn check_name(name: &[u8]) -> Outcome {
    if name.iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err("ERR Client names cannot contain spaces, newlines or special characters.".into())
}

fn hello(call: &mut Call) -> Outcome {
    let mut protocol = None;
    if let Some(version) = call.args.get(1) {
        protocol = match number::parse_i64(version) {
            Some(2) => Some(Protocol::Resp2),
            Some(3) => Some(Protocol::Resp3),
            Some(_) => return Err("NOPROTO unsupported protocol version".into()),
            None => return Err("ERR Protocol version is not an integer or out of range".into()),
        };
    }
    let mut login = None;
    let mut name = None;
    let mut at = 2;
    while at < call.args.len() {
        let left = call.args.len() - at - 1;
        if call.word(at, "AUTH") && left >= 2 {
            login = Some((call.args.at(at + 1), call.args.at(at + 2)));
            at += 3;
        } else if call.word(at, "SETNAME") && left >= 1 {
            check_name(call.args.at(at + 1))?;
            name = Some(call.args.at(at + 1));
            at += 2;
        } else {
            let option = String::from_utf8_lossy(call.args.at(at));
            return Err(Error::new(format!("ERR Syntax error in HELLO option '{option}'")));
        }
    }
    if let Some((user, password)) = login {
        log_in(call, user, password)?;
    }
    if call.server.auth_required(call.id) {
        return Err("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> \
            AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
            the same time"
            .into());
    }
    if let Some(name) = name {
        call.client().name = name.to_vec();
    }
    if let Some(protocol) = protocol {
        speak(call, protocol);
    }
    greet(call);
    Ok(())
}

/// Switches the protocol of the client, from the reply to this command on.
fn speak(call: &mut Call, protocol: Protocol) {
    call.reply.protocol = protocol;
    call.client().reply.protocol = protocol;
}

fn greet(call: &mut Call) {
    let id = call.client().id;
    let (reply, config) = (&mut *call.reply, &call.server.config);
    let zone = &config.availability_zone;
    reply.map(7 + usize::from(!zone.is_empty()));
    reply.bulk(b"server");
    reply.bulk(&config.haversack_server_name);
    reply.bulk(b"version");
    reply.bulk(&config.haversack_server_version);
    reply.bulk(b"proto");
    reply.int(if reply.protocol == Protocol::Resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.int(id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(b"master");
    if !zone.is_empty() {
        reply.bulk(b"availability_zone");
        reply.bulk(zone);
    }
    reply.bulk(b"modules");
    reply.array(0);
}

fn reset(call: &mut Call) -> Outcome {
    let server = &mut *call.server;
    server.abandon_transaction(call.id);
    server.monitors.retain(|monitor| *monitor != call.id);
    let client = &mut server.clients[call.id];
    transaction::unwatch(call.keys, client);
    pubsub::forget(&mut server.pubsub, client);
    client.db = 0;
    client.name.clear();
    client.authenticated = server.config.requirepass.is_empty();
    client.is_monitor = false;
    client.no_evict = false;
    client.no_touch = false;
    client.reply_mode = ReplyMode::On;
    call.keys.db = 0;
    speak(call, Protocol::Resp2);
    call.reply.simple("RESET");
    Ok(())
}

impl Server {
    /// Whether a client must log in before it may do anything else.
    pub fn auth_required(&self, id: crate::engine::client::ClientId) -> bool {
        !self.config.requirepass.is_empty() && !self.clients[id].authenticated
    }
}
