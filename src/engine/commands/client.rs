//! CLIENT: what connections are, and what becomes of them.
//!
//! Not here: which clients a filter means ([`filter`]), how a client is described in a line ([`line`]).
//! Client-side caching (TRACKING and its kin) is not part of this server. Counterpart: `clientCommand` in
//! Redis' `networking.c`.

mod filter;
mod line;

use crate::engine::blocking;
use crate::engine::call::Call;
use crate::engine::client::{Client, ClientId, ReplyMode};
use crate::engine::error::{Error, Outcome};
use crate::engine::server::Pause;
use crate::engine::spec::*;
use crate::types::number;

use super::connection::check_name;
use super::help::help;
use filter::Filter;

/// The sub-commands of CLIENT.
pub const SUBCOMMANDS: &[Spec] = &[
    Spec::sub("client|capa", client_capa, -3, NOSCRIPT | LOADING | STALE | ALLOW_BUSY, Group::Connection)
        .docs("8.0.0", "O(1)", "Tells the server what the client can handle.")
        .args("capability:string*"),
    Spec::sub("client|getname", client_getname, 2, NOSCRIPT | LOADING | STALE, Group::Connection).docs(
        "2.6.9",
        "O(1)",
        "The name of this connection.",
    ),
    Spec::sub("client|help", client_help, 2, LOADING | STALE, Group::Connection).docs(
        "5.0.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("client|id", client_id, 2, NOSCRIPT | LOADING | STALE, Group::Connection).docs(
        "5.0.0",
        "O(1)",
        "The number of this connection.",
    ),
    Spec::sub("client|import-source", client_import_source, 3, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("8.1.0", "O(1)", "Marks this connection as the source of an import.")
        .args("enabled:oneof(ON OFF)"),
    Spec::sub("client|info", client_info, 2, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("6.2.0", "O(1)", "One line of facts about this connection.")
        .tips(&["nondeterministic_output"]),
    Spec::sub("client|kill", client_kill, -3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("2.4.0", "O(N), N: clients", "Closes connections.")
        .history(&[
            ("2.8.12", "Takes filters instead of an address."),
            ("2.8.12", "Filter `ID`."),
            ("3.2.0", "`TYPE` knows `master`."),
            ("5.0.0", "`TYPE replica` is the new name of `TYPE slave`, which stays valid."),
            ("6.2.0", "Filter `LADDR`."),
            ("7.4.0", "Filter `MAXAGE`."),
        ])
        .args(
            "filter:oneof(old-format:string~ip:port!2.8.12 new-format:oneof*(client-id:integer=ID@2.8.12? \
            client-type:oneof=TYPE@2.8.12?(NORMAL MASTER@3.2.0 SLAVE REPLICA@5.0.0 PUBSUB) \
            username:string=USER? addr:string=ADDR~ip:port? laddr:string=LADDR~ip:port@6.2.0? \
            skipme:oneof=SKIPME?(YES NO) maxage:integer=MAXAGE@7.4.0?))",
        ),
    Spec::sub("client|list", client_list, -2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("2.4.0", "O(N), N: clients", "One line of facts about each connection.")
        .history(&[
            ("2.8.12", "Field `id`."),
            ("5.0.0", "Filter `TYPE`."),
            ("6.0.0", "Field `user`."),
            ("6.2.0", "Filter `ID`; fields `argv-mem`, `tot-mem`, `laddr` and `redir`."),
            ("7.0.0", "Fields `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "Field `ssub`."),
            ("7.2.0", "Fields `lib-name` and `lib-ver`."),
            ("7.4.0", "Field `watch`."),
            ("8.0.0", "Field `io-thread`."),
        ])
        .tips(&["nondeterministic_output"])
        .args("client-type:oneof=TYPE@5.0.0?(NORMAL MASTER REPLICA PUBSUB) client-id:integer=ID@6.2.0?*"),
    Spec::sub("client|no-evict", client_no_evict, 3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("7.0.0", "O(1)", "Protects this connection from being closed for lack of memory, or stops doing so.")
        .args("enabled:oneof(ON OFF)"),
    Spec::sub("client|no-touch", client_no_touch, 3, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("7.2.0", "O(1)", "Chooses whether this connection's commands count as accesses of the keys.")
        .args("enabled:oneof(ON OFF)"),
    Spec::sub("client|pause", client_pause, -3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("3.0.0", "O(1)", "Holds back the commands of all clients for a while.")
        .history(&[("6.2.0", "Mode `WRITE`: holds back only what may change data.")])
        .args("timeout:integer mode:oneof@6.2.0?(WRITE ALL)"),
    Spec::sub("client|reply", client_reply, 3, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("3.2.0", "O(1)", "Turns replies to this connection on or off, or skips one.")
        .args("action:oneof(ON OFF SKIP)"),
    Spec::sub("client|setinfo", client_setinfo, 4, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("7.2.0", "O(1)", "Records the name or version of the client library.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args("attr:oneof(libname:string=LIB-NAME libver:string=LIB-VER)"),
    Spec::sub("client|setname", client_setname, 3, NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("2.6.9", "O(1)", "Names this connection.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args("connection-name:string"),
    Spec::sub("client|unblock", client_unblock, -3, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection)
        .docs("5.0.0", "O(log N), N: clients", "Wakes a client that waits in a blocking command.")
        .args("client-id:integer unblock-type:oneof?(TIMEOUT ERROR)"),
    Spec::sub("client|unpause", client_unpause, 2, ADMIN | NOSCRIPT | LOADING | STALE, Group::Connection).docs(
        "6.2.0",
        "O(N), N: paused clients",
        "Ends a pause of the clients.",
    ),
];

fn client_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "CAPA <capability> [<capability> ...]",
            "    Say what this client can handle: REDIRECT.",
            "GETNAME",
            "    The name of this connection.",
            "ID",
            "    The number of this connection.",
            "IMPORT-SOURCE (ON|OFF)",
            "    Mark this connection as the source of an import: it sees expired keys.",
            "INFO",
            "    One line of facts about this connection.",
            "KILL <ip:port>",
            "    Close the connection from this address.",
            "KILL <filter> <value> [<filter> <value> ...]",
            "    Close all connections that pass every filter. Filters are those of LIST;",
            "    SKIPME is YES unless stated.",
            "LIST [<filter> <value> ...]",
            "    One line of facts about each connection that passes every filter:",
            "    * ID <id> [<id> ...], TYPE (NORMAL|MASTER|REPLICA|PUBSUB), USER <name>,",
            "      ADDR <ip:port>, LADDR <ip:port>, IP <ip>, NAME <name>, LIB-NAME <name>,",
            "      LIB-VER <version>, FLAGS <letters>, DB <index>, CAPA <letters>",
            "    * NOT- before any of these turns it round.",
            "    * MAXAGE <seconds>, IDLE <seconds>",
            "      Connected, or idle, for at least so long.",
            "    * SKIPME (YES|NO)",
            "      Leave out this connection.",
            "NO-EVICT (ON|OFF)",
            "    Keep this connection when clients are closed for lack of memory.",
            "NO-TOUCH (ON|OFF)",
            "    Do not count this connection's commands as accesses of the keys.",
            "PAUSE <milliseconds> [WRITE|ALL]",
            "    Hold back all commands, or those that may change data, for a while.",
            "REPLY (ON|OFF|SKIP)",
            "    Turn replies to this connection on or off, or skip the next one.",
            "SETINFO (LIB-NAME|LIB-VER) <value>",
            "    Record the name or the version of the client library.",
            "SETNAME <name>",
            "    Name this connection.",
            "UNBLOCK <id> [TIMEOUT|ERROR]",
            "    Wake a client that waits, as if its time had run out or with an error.",
            "UNPAUSE",
            "    End a pause.",
        ],
    );
    Ok(())
}

fn client_id(call: &mut Call) -> Outcome {
    let id = call.client().id;
    call.reply.int(id as i64);
    Ok(())
}

fn client_info(call: &mut Call) -> Outcome {
    let mut text = Vec::new();
    line::write(call, call.id, &mut text);
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn client_list(call: &mut Call) -> Outcome {
    let filter = Filter::parse(call, filter::Use::List)?;
    let mut text = Vec::new();
    for id in filter.matching(call, false) {
        line::write(call, id, &mut text);
    }
    call.reply.verbatim("txt", &text);
    Ok(())
}

fn client_kill(call: &mut Call) -> Outcome {
    if call.args.len() == 3 {
        let addr = call.args.at(2);
        let is_meant = |client: &&Client| !client.is_internal && !client.doomed && client.peer.addr.as_bytes() == addr;
        let found = call.server.clients.iter().find(is_meant).map(|client| client.handle);
        let Some(id) = found else { return Err("ERR No such client".into()) };
        call.reply.ok();
        kill(call, id);
        return Ok(());
    }
    let filter = Filter::parse(call, filter::Use::Kill)?;
    let victims = filter.matching(call, true);
    call.reply.count(victims.len());
    victims.into_iter().for_each(|id| kill(call, id));
    Ok(())
}

/// Closes a connection: that of the caller behind its reply, any other at once.
fn kill(call: &mut Call, id: ClientId) {
    if id == call.id {
        return call.server.close_after_reply(id);
    }
    call.server.close_now(id);
    call.server.detach(call.keys, id);
}

fn client_getname(call: &mut Call) -> Outcome {
    let name = &call.server.clients[call.id].name;
    call.reply.bulk_or_null((!name.is_empty()).then_some(name));
    Ok(())
}

fn client_setname(call: &mut Call) -> Outcome {
    let name = call.args.at(2);
    check_name(name)?;
    call.client().name = name.to_vec();
    call.reply.ok();
    Ok(())
}

fn client_setinfo(call: &mut Call) -> Outcome {
    let (attribute, value) = (call.args.at(2), call.args.at(3));
    let shown = String::from_utf8_lossy(attribute);
    let is_name = call.word(2, "LIB-NAME");
    if !is_name && !call.word(2, "LIB-VER") {
        return Err(Error::new(format!("ERR Unrecognized option '{shown}'")));
    }
    if !value.iter().all(u8::is_ascii_graphic) {
        return Err(Error::new(format!("ERR {shown} cannot contain spaces, newlines or special characters.")));
    }
    let client = call.client();
    *if is_name { &mut client.lib_name } else { &mut client.lib_ver } = value.to_vec();
    call.reply.ok();
    Ok(())
}

/// Argument 2 as ON or OFF.
fn switch(call: &Call) -> Result<bool, Error> {
    match (call.word(2, "ON"), call.word(2, "OFF")) {
        (false, false) => Err(Error::Syntax),
        (on, _) => Ok(on),
    }
}

fn client_no_evict(call: &mut Call) -> Outcome {
    call.client().no_evict = switch(call)?;
    call.reply.ok();
    Ok(())
}

fn client_no_touch(call: &mut Call) -> Outcome {
    call.client().no_touch = switch(call)?;
    call.reply.ok();
    Ok(())
}

fn client_import_source(call: &mut Call) -> Outcome {
    if !call.server.config.import_mode {
        return Err("ERR Server is not in import mode".into());
    }
    call.client().import_source = switch(call)?;
    call.reply.ok();
    Ok(())
}

/// Capabilities that are not known are accepted and mean nothing.
fn client_capa(call: &mut Call) -> Outcome {
    if (2..call.args.len()).any(|index| call.word(index, "REDIRECT")) {
        call.client().capa_redirect = true;
    }
    call.reply.ok();
    Ok(())
}

fn client_reply(call: &mut Call) -> Outcome {
    let mode = call.client().reply_mode;
    if call.word(2, "ON") {
        call.client().reply_mode = ReplyMode::On;
        call.reply.ok();
    } else if call.word(2, "OFF") {
        call.client().reply_mode = ReplyMode::Off;
    } else if call.word(2, "SKIP") {
        if mode != ReplyMode::Off {
            call.client().reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(Error::Syntax);
    }
    Ok(())
}

fn client_pause(call: &mut Call) -> Outcome {
    if call.args.len() > 4 {
        return Err(Error::subcommand_syntax(call.spec.full_name, call.args.at(1)));
    }
    let mut writes_only = false;
    if call.args.len() == 4 {
        writes_only = call.word(3, "WRITE");
        if !writes_only && !call.word(3, "ALL") {
            return Err("ERR CLIENT PAUSE mode must be WRITE or ALL".into());
        }
    }
    let ms = match number::parse_i64(call.args.at(2)) {
        None => return Err("ERR timeout is not an integer or out of range".into()),
        Some(ms) if ms < 0 => return Err("ERR timeout is negative".into()),
        Some(ms) if call.keys.now_ms().checked_add(ms).is_none() => return Err("ERR timeout is out of range".into()),
        Some(ms) => ms as u64,
    };
    let mut pause = Pause { until: call.keys.now.mono.plus_ms(ms), writes_only };
    // A pause in force is never shortened and never loosened.
    if let Some(old) = call.server.active_pause() {
        pause = Pause { until: old.until.max(pause.until), writes_only: old.writes_only && writes_only };
    }
    call.server.pause = Some(pause);
    call.reply.ok();
    Ok(())
}

fn client_unpause(call: &mut Call) -> Outcome {
    call.server.pause = None;
    call.server.pause_ended = true;
    call.reply.ok();
    Ok(())
}

fn client_unblock(call: &mut Call) -> Outcome {
    if call.args.len() > 4 {
        return Err(Error::subcommand_syntax(call.spec.full_name, call.args.at(1)));
    }
    let with_error = call.word(3, "ERROR");
    if call.args.len() == 4 && !with_error && !call.word(3, "TIMEOUT") {
        return Err("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR".into());
    }
    let number = call.int(2)?;
    let target = u64::try_from(number).ok().and_then(|number| call.server.clients.by_id(number));
    let waiting = target.filter(|id| call.server.clients[*id].blocked.as_ref().is_some_and(|b| b.cause.has_timeout()));
    if let Some(id) = waiting {
        if with_error {
            const TEXT: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
            blocking::release(call.keys, call.server, id, |reply| reply.error(TEXT));
            call.server.stats.count_error(TEXT);
        } else {
            blocking::time_out(call.keys, call.server, id);
        }
    }
    call.reply.int(waiting.is_some().into());
    Ok(())
}
