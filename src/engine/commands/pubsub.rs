//! Publish and subscribe: the commands.
//!
//! Not here: how a message reaches its listeners, which is in [`pubsub`](crate::engine::pubsub).
//! Counterpart: the command functions of Redis' `pubsub.c`.

use crate::engine::call::Call;
use crate::engine::client::{Client, ReplyMode};
use crate::engine::error::{Error, Outcome};
use crate::engine::pubsub::{self, Kind};
use crate::engine::spec::*;
use crate::resp::Reply;
use crate::types::glob;

use super::help::help;

/// The commands of this family.
pub const SPECS: &[Spec] = &[
    Spec::new("psubscribe", psubscribe, -2, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .docs("2.0.0", "O(N), N: patterns", "Subscribes to all channels that match patterns.")
        .args("pattern:pattern*"),
    Spec::new("publish", publish, 3, PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE, Group::PubSub)
        .docs(
            "2.0.0",
            "O(N+M), N: listeners of the channel, M: patterns of all clients",
            "Sends a message to a channel.",
        )
        .args("channel:string message:string"),
    Spec::container("pubsub", Group::PubSub, PUBSUB_SUBCOMMANDS).docs(
        "2.8.0",
        "See the sub-commands.",
        "Commands about channels and their subscribers.",
    ),
    Spec::new("punsubscribe", punsubscribe, -1, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .docs("2.0.0", "O(N), N: patterns", "Ends subscriptions to patterns.")
        .args("pattern:pattern?*"),
    Spec::new("spublish", spublish, 3, PUBSUB | LOADING | STALE | FAST | MAY_REPLICATE, Group::PubSub)
        .keys(&[KeySpec::key("not_key", 1)])
        .docs("7.0.0", "O(N), N: listeners of the shard channel", "Sends a message to a shard channel.")
        .args("shardchannel:string message:string"),
    Spec::new("ssubscribe", ssubscribe, -2, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .keys(&[KeySpec::range("not_key", 1, -1, 1, 0)])
        .docs("7.0.0", "O(N), N: shard channels", "Subscribes to shard channels.")
        .args("shardchannel:string*"),
    Spec::new("subscribe", subscribe, -2, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .docs("2.0.0", "O(N), N: channels", "Subscribes to channels.")
        .args("channel:string*"),
    Spec::new("sunsubscribe", sunsubscribe, -1, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .keys(&[KeySpec::range("not_key", 1, -1, 1, 0)])
        .docs("7.0.0", "O(N), N: shard channels", "Ends subscriptions to shard channels.")
        .args("shardchannel:string?*"),
    Spec::new("unsubscribe", unsubscribe, -1, PUBSUB | NOSCRIPT | LOADING | STALE, Group::PubSub)
        .docs("2.0.0", "O(N), N: channels", "Ends subscriptions to channels.")
        .args("channel:string?*"),
];

/// Sub-commands of PUBSUB.
const PUBSUB_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("pubsub|channels", pubsub_channels, -2, PUBSUB | LOADING | STALE, Group::PubSub)
        .docs("2.8.0", "O(N), N: channels with subscribers", "The channels that have subscribers.")
        .args("pattern:pattern?"),
    Spec::sub("pubsub|help", pubsub_help, 2, LOADING | STALE, Group::PubSub).docs(
        "6.2.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("pubsub|numpat", pubsub_numpat, 2, PUBSUB | LOADING | STALE, Group::PubSub).docs(
        "2.8.0",
        "O(1)",
        "How many patterns are subscribed to.",
    ),
    Spec::sub("pubsub|numsub", pubsub_numsub, -2, PUBSUB | LOADING | STALE, Group::PubSub)
        .docs("2.8.0", "O(N), N: channels asked for", "How many subscribers channels have.")
        .args("channel:string?*"),
    Spec::sub("pubsub|shardchannels", pubsub_shardchannels, -2, PUBSUB | LOADING | STALE, Group::PubSub)
        .docs("7.0.0", "O(N), N: shard channels with subscribers", "The shard channels that have subscribers.")
        .args("pattern:pattern?"),
    Spec::sub("pubsub|shardnumsub", pubsub_shardnumsub, -2, PUBSUB | LOADING | STALE, Group::PubSub)
        .docs("7.0.0", "O(N), N: shard channels asked for", "How many subscribers shard channels have.")
        .args("shardchannel:string?*"),
];

fn subscribe(call: &mut Call) -> Outcome {
    add(call, Kind::Channel, b"subscribe")
}

fn psubscribe(call: &mut Call) -> Outcome {
    add(call, Kind::Pattern, b"psubscribe")
}

fn ssubscribe(call: &mut Call) -> Outcome {
    add(call, Kind::Shard, b"ssubscribe")
}

fn unsubscribe(call: &mut Call) -> Outcome {
    drop_names(call, Kind::Channel, b"unsubscribe")
}

fn punsubscribe(call: &mut Call) -> Outcome {
    drop_names(call, Kind::Pattern, b"punsubscribe")
}

fn sunsubscribe(call: &mut Call) -> Outcome {
    drop_names(call, Kind::Shard, b"sunsubscribe")
}

/// Subscribes to every argument. Each is confirmed, even one that was subscribed to before.
fn add(call: &mut Call, kind: Kind, verb: &[u8]) -> Outcome {
    for name in call.args.from(1).iter() {
        if call.client().names(kind).insert(name.into()) {
            call.server.pubsub.add(kind, name, call.id);
        }
        confirm(call, kind, verb, Some(name));
    }
    Ok(())
}

/// Ends the subscriptions to every argument, or all of this kind if there is none. Each is confirmed; if
/// there is nothing to end, that is.
fn drop_names(call: &mut Call, kind: Kind, verb: &[u8]) -> Outcome {
    if call.args.len() > 1 {
        for name in call.args.from(1).iter() {
            remove(call, kind, name);
            confirm(call, kind, verb, Some(name));
        }
        return Ok(());
    }
    let mut names: Vec<Box<[u8]>> = call.client().names(kind).iter().cloned().collect();
    names.sort_unstable();
    for name in &names {
        remove(call, kind, name);
        confirm(call, kind, verb, Some(name));
    }
    if names.is_empty() {
        confirm(call, kind, verb, None);
    }
    Ok(())
}

fn remove(call: &mut Call, kind: Kind, name: &[u8]) {
    if call.client().names(kind).remove(name) {
        call.server.pubsub.remove(kind, name, call.id);
    }
}

/// The push that confirms a change, with what the client is subscribed to now. A client that wants no
/// replies gets it all the same.
fn confirm(call: &mut Call, kind: Kind, verb: &[u8], name: Option<&[u8]>) {
    let client: &Client = &call.server.clients[call.id];
    let count = if kind == Kind::Shard { client.shard_channels.len() } else { client.subscriptions() };
    let protocol = call.reply.protocol;
    let reply: &mut Reply = if client.reply_mode == ReplyMode::On { call.reply } else { &mut call.server.deferred };
    reply.protocol = protocol;
    reply.push(3);
    reply.bulk(verb);
    reply.bulk_or_null(name);
    reply.count(count);
}

// A message is no change of data: it goes to replicas, never to the log, so nothing is propagated here.

fn publish(call: &mut Call) -> Outcome {
    let receivers = pubsub::publish(call.server, call.args.at(1), call.args.at(2));
    call.reply.count(receivers);
    Ok(())
}

fn spublish(call: &mut Call) -> Outcome {
    let receivers = pubsub::publish_shard(call.server, call.args.at(1), call.args.at(2));
    call.reply.count(receivers);
    Ok(())
}

fn pubsub_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "CHANNELS [<pattern>]",
            "    The channels that have subscribers, all or those that match.",
            "NUMPAT",
            "    How many patterns are subscribed to.",
            "NUMSUB [<channel> ...]",
            "    How many subscribers each channel has; those of patterns do not count.",
            "SHARDCHANNELS [<pattern>]",
            "    The shard channels that have subscribers, all or those that match.",
            "SHARDNUMSUB [<shardchannel> ...]",
            "    How many subscribers each shard channel has.",
        ],
    );
    Ok(())
}

fn pubsub_channels(call: &mut Call) -> Outcome {
    list(call, Kind::Channel)
}

fn pubsub_shardchannels(call: &mut Call) -> Outcome {
    list(call, Kind::Shard)
}

fn list(call: &mut Call, kind: Kind) -> Outcome {
    if call.args.len() > 3 {
        return Err(Error::subcommand_syntax(call.spec.full_name, call.args.at(1)));
    }
    let pattern = call.args.get(2);
    let start = call.reply.deferred();
    let mut count = 0;
    for name in call.server.pubsub.listened(kind).keys() {
        if pattern.is_none_or(|pattern| glob::matches(pattern, name, false)) {
            call.reply.bulk(name);
            count += 1;
        }
    }
    call.reply.finish_array(start, count);
    Ok(())
}

fn pubsub_numpat(call: &mut Call) -> Outcome {
    call.reply.count(call.server.pubsub.patterns.len());
    Ok(())
}

fn pubsub_numsub(call: &mut Call) -> Outcome {
    count_listeners(call, Kind::Channel)
}

fn pubsub_shardnumsub(call: &mut Call) -> Outcome {
    count_listeners(call, Kind::Shard)
}

fn count_listeners(call: &mut Call, kind: Kind) -> Outcome {
    let names = call.args.from(2);
    call.reply.array(names.len() * 2);
    for name in names.iter() {
        call.reply.bulk(name);
        call.reply.count(call.server.pubsub.listened(kind).get(name).map_or(0, Vec::len));
    }
    Ok(())
}
