//! COMMAND and its sub-commands: the command table as clients see it.
//!
//! Everything is read off the rows; nothing is known here about any single command. What a row leaves to
//! be derived is derived here (the range of keys that old clients expect) or in `keyspec`. The shapes are
//! those of `command*Command` in Redis' `server.c`.

use super::docs::{self, Arg};
use super::help::help;
use super::{Renames, table};
use crate::engine::call::Call;
use crate::engine::error::{Error, Outcome};
use crate::engine::keyspec::{self, Key};
use crate::engine::spec::*;
use crate::resp::{Args, Reply};
use crate::types::glob;

/// The commands of this family.
pub const SPECS: &[Spec] = &[Spec::new("command", command, -1, LOADING | STALE, Group::Server)
    .subcommands(COMMAND_SUBCOMMANDS)
    .acl(ACL_CONNECTION)
    .docs("2.8.13", "O(N) where N is the total number of Redis commands", "What the server knows about its commands.")
    .tips(&["nondeterministic_output_order"])];

/// Sub-commands of COMMAND.
const COMMAND_SUBCOMMANDS: &[Spec] = &[
    Spec::sub("command|count", command_count, 2, LOADING | STALE, Group::Server).acl(ACL_CONNECTION).docs(
        "2.8.13",
        "O(1)",
        "How many commands there are.",
    ),
    Spec::sub("command|docs", command_docs, -2, LOADING | STALE, Group::Server)
        .acl(ACL_CONNECTION)
        .docs("7.0.0", "O(N) where N is the number of commands to look up", "The documentation of commands.")
        .tips(&["nondeterministic_output_order"])
        .args("command-name:string?*"),
    Spec::sub("command|getkeys", command_getkeys, -3, LOADING | STALE, Group::Server)
        .acl(ACL_CONNECTION)
        .docs(
            "2.8.13",
            "O(N) where N is the number of arguments to the command",
            "Finds the keys among the arguments of a command.",
        )
        .args("command:string arg:string?*"),
    Spec::sub("command|getkeysandflags", command_getkeysandflags, -3, LOADING | STALE, Group::Server)
        .acl(ACL_CONNECTION)
        .docs(
            "7.0.0",
            "O(N) where N is the number of arguments to the command",
            "Finds the keys among the arguments of a command, and what happens to them.",
        )
        .args("command:string arg:string?*"),
    Spec::sub("command|help", command_help, 2, LOADING | STALE, Group::Server).acl(ACL_CONNECTION).docs(
        "5.0.0",
        "O(1)",
        "Lists the sub-commands with a line on each.",
    ),
    Spec::sub("command|info", command_info, -2, LOADING | STALE, Group::Server)
        .acl(ACL_CONNECTION)
        .docs(
            "2.8.13",
            "O(N) where N is the number of commands to look up",
            "Arity, flags, keys and categories of commands.",
        )
        .history(&[("7.0.0", "Without names it covers all commands.")])
        .tips(&["nondeterministic_output_order"])
        .args("command-name:string?*"),
    Spec::sub("command|list", command_list, -2, LOADING | STALE, Group::Server)
        .acl(ACL_CONNECTION)
        .docs("7.0.0", "O(N) where N is the total number of Redis commands", "The names of the commands.")
        .tips(&["nondeterministic_output_order"])
        .args(
            "filterby:oneof=FILTERBY?(module-name:string=MODULE category:string=ACLCAT \
            pattern:pattern=PATTERN)",
        ),
];

/// COMMAND: what COMMAND INFO says of every command.
fn command(call: &mut Call) -> Outcome {
    let names = &call.server.renames;
    call.reply.array(names.commands().count());
    for spec in names.commands() {
        info(call.reply, spec);
    }
    Ok(())
}

/// COMMAND COUNT
fn command_count(call: &mut Call) -> Outcome {
    call.reply.count(call.server.renames.commands().count());
    Ok(())
}

/// COMMAND INFO [name …]
fn command_info(call: &mut Call) -> Outcome {
    if call.args.len() == 2 {
        return command(call);
    }
    call.reply.array(call.args.len() - 2);
    for name in call.args.from(2).iter() {
        match call.server.renames.find_full(name) {
            Some(index) => info(call.reply, table().row(index)),
            None => call.reply.null(),
        }
    }
    Ok(())
}

/// COMMAND DOCS [name …]: unknown names are left out.
fn command_docs(call: &mut Call) -> Outcome {
    let names = &call.server.renames;
    if call.args.len() == 2 {
        call.reply.map(names.commands().count());
        for spec in names.commands() {
            documentation(call.reply, spec);
        }
        return Ok(());
    }
    let mark = call.reply.deferred();
    let mut found = 0;
    for index in call.args.from(2).iter().filter_map(|name| names.find_full(name)) {
        documentation(call.reply, table().row(index));
        found += 1;
    }
    call.reply.finish_map(mark, found);
    Ok(())
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
fn command_list(call: &mut Call) -> Outcome {
    let (args, names) = (call.args, &call.server.renames);
    match args.len() {
        2 => list(call.reply, names, |_| true),
        5 if call.word(2, "FILTERBY") => {
            let value = args.at(4);
            if call.word(3, "MODULE") {
                list(call.reply, names, |_| false); // there are no modules
            } else if call.word(3, "ACLCAT") {
                let category = ACL_NAMES.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(value));
                list(call.reply, names, |spec| category.is_some_and(|bit| spec.acl_categories() >> bit & 1 == 1));
            } else if call.word(3, "PATTERN") {
                list(call.reply, names, |spec| glob::matches(value, spec.full_name.as_bytes(), true));
            } else {
                return Err(Error::Syntax);
            }
        }
        _ => return Err(Error::Syntax),
    }
    Ok(())
}

/// The full names of all commands that have a name, sub-commands included, and that `wanted` keeps.
fn list(reply: &mut Reply, names: &Renames, wanted: impl Fn(&Spec) -> bool) {
    let mark = reply.deferred();
    let mut found = 0;
    let all = names.commands().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    for spec in all.filter(|spec| wanted(spec)) {
        reply.bulk(spec.full_name.as_bytes());
        found += 1;
    }
    reply.finish_array(mark, found);
}

/// COMMAND GETKEYS name [arg …]
fn command_getkeys(call: &mut Call) -> Outcome {
    let args = call.args.from(2);
    let spec = named(args, &call.server.renames);
    reply_keys(call.reply, spec, args, |reply, key| reply.bulk(args.at(key.index)))
}

/// COMMAND GETKEYSANDFLAGS name [arg …]
fn command_getkeysandflags(call: &mut Call) -> Outcome {
    let args = call.args.from(2);
    let spec = named(args, &call.server.renames);
    reply_keys(call.reply, spec, args, |reply, key| {
        reply.array(2);
        reply.bulk(args.at(key.index));
        words(reply, "", key.flags.split(' '));
    })
}

fn reply_keys(reply: &mut Reply, spec: Option<&Spec>, args: Args, write: impl Fn(&mut Reply, Key)) -> Outcome {
    let spec = spec.ok_or("ERR Invalid command specified")?;
    if !spec.has_keys() {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.arity_fits(args.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    match keyspec::keys(spec, args) {
        Ok(keys) if !keys.is_empty() || spec.is(NO_MANDATORY_KEYS) => {
            reply.array(keys.clone().count());
            keys.for_each(|key| write(reply, key));
        }
        Err(_) if spec.is(NO_MANDATORY_KEYS) => reply.array(0),
        _ => return Err("ERR Invalid arguments specified for command".into()),
    }
    Ok(())
}

/// The row a request means, whatever its arity: a container where nothing follows its name.
fn named(args: Args, names: &Renames) -> Option<&'static Spec> {
    let index = names.find(args.first()?)?;
    let spec = table().row(index);
    match args.get(1) {
        Some(word) if !spec.subcommands.is_empty() => Some(table().row(table().subcommand(index, word)?)),
        _ => Some(spec),
    }
}

/// COMMAND HELP
fn command_help(call: &mut Call) -> Outcome {
    help(
        call,
        &[
            "(no subcommand)",
            "    Like INFO without names.",
            "COUNT",
            "    How many commands there are.",
            "DOCS [<command-name> ...]",
            "    What the given commands do, or all.",
            "GETKEYS <full-command>",
            "    The keys among the arguments of a command.",
            "GETKEYSANDFLAGS <full-command>",
            "    The keys among the arguments of a command, each with what happens to it.",
            "INFO [<command-name> ...]",
            "    Arity, flags, keys and categories of the given commands, or of all.",
            "LIST [FILTERBY MODULE <module-name>|ACLCAT <category>|PATTERN <pattern>]",
            "    The names of all commands, or of those that the filter keeps.",
        ],
    );
    Ok(())
}

/// A set of simple strings, each behind `prefix`.
fn words<'a>(reply: &mut Reply, prefix: &str, words: impl Iterator<Item = &'a str> + Clone) {
    reply.set(words.clone().count());
    for word in words {
        reply.simple(format!("{prefix}{word}"));
    }
}

fn field(reply: &mut Reply, name: &str, text: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

fn int_field(reply: &mut Reply, name: &str, value: i32) {
    reply.bulk(name.as_bytes());
    reply.int(i64::from(value));
}

/// One entry of COMMAND INFO.
fn info(reply: &mut Reply, spec: &Spec) {
    let (first, last, step) = key_range(spec.keys);
    let categories = spec.acl_categories();
    reply.array(10);
    reply.bulk(spec.full_name.as_bytes());
    reply.int(i64::from(spec.arity));
    words(reply, "", FLAG_NAMES.iter().filter(|(bit, _)| spec.is(*bit)).map(|(_, name)| *name));
    for number in [first, last, step] {
        reply.int(i64::from(number));
    }
    let names = ACL_NAMES.iter().enumerate().filter(|(bit, _)| categories >> bit & 1 == 1);
    words(reply, "@", names.map(|(_, name)| *name));
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(spec.keys.len());
    for keys in spec.keys {
        key_spec(reply, keys);
    }
    if spec.subcommands.is_empty() {
        return reply.set(0);
    }
    reply.array(spec.subcommands.len());
    for sub in spec.subcommands {
        info(reply, sub);
    }
}

/// First key, last key and step, for clients that know no key specs: what all ranges that begin at a
/// fixed argument span together. Ranges with gaps count only where they stand alone.
fn key_range(specs: &[KeySpec]) -> (i32, i32, i32) {
    let mut range = None;
    for spec in specs {
        let (Begin::Index(first), Find::Range { last, step, .. }) = (spec.begin, spec.find) else { continue };
        let last = if last >= 0 { first + last } else { last };
        if specs.len() == 1 {
            return (first, last, step);
        }
        if step == 1 {
            // Seen as unsigned, what counts from the end is behind all that counts from the beginning.
            let (low, high) = range.unwrap_or((first, last));
            range = Some((low.min(first), high.cast_unsigned().max(last.cast_unsigned()).cast_signed()));
        }
    }
    range.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

fn key_spec(reply: &mut Reply, spec: &KeySpec) {
    reply.map(3 + usize::from(!spec.notes.is_empty()));
    if !spec.notes.is_empty() {
        field(reply, "notes", spec.notes);
    }
    reply.bulk(b"flags");
    words(reply, "", spec.flags.split(' '));
    reply.bulk(b"begin_search");
    reply.map(2);
    match spec.begin {
        Begin::Index(index) => {
            kind(reply, "index", 1);
            int_field(reply, "index", index);
        }
        Begin::Keyword { word, from } => {
            kind(reply, "keyword", 2);
            field(reply, "keyword", word);
            int_field(reply, "startfrom", from);
        }
        Begin::Unknown => kind(reply, "unknown", 0),
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    match spec.find {
        Find::Range { last, step, limit } => {
            kind(reply, "range", 3);
            int_field(reply, "lastkey", last);
            int_field(reply, "keystep", step);
            int_field(reply, "limit", limit);
        }
        Find::Keynum { count, first, step } => {
            kind(reply, "keynum", 3);
            int_field(reply, "keynumidx", count);
            int_field(reply, "firstkey", first);
            int_field(reply, "keystep", step);
        }
        Find::Unknown => kind(reply, "unknown", 0),
    }
}

/// The type of a search and the header of its `fields`.
fn kind(reply: &mut Reply, name: &str, fields: usize) {
    field(reply, "type", name);
    reply.bulk(b"spec");
    reply.map(fields);
}

/// One entry of COMMAND DOCS: the name and what there is to say.
fn documentation(reply: &mut Reply, spec: &Spec) {
    reply.bulk(spec.full_name.as_bytes());
    let mark = reply.deferred();
    let mut fields = 3;
    field(reply, "summary", spec.summary);
    field(reply, "since", spec.since);
    field(reply, "group", spec.group.name());
    if !spec.complexity.is_empty() {
        field(reply, "complexity", spec.complexity);
        fields += 1;
    }
    if spec.deprecated.is_some() || spec.is(SYSCMD) {
        reply.bulk(b"doc_flags");
        let flags = [(spec.deprecated.is_some(), "deprecated"), (spec.is(SYSCMD), "syscmd")];
        words(reply, "", flags.into_iter().filter_map(|(set, name)| set.then_some(name)));
        fields += 1;
    }
    if let Some((version, instead)) = spec.deprecated {
        field(reply, "deprecated_since", version);
        field(reply, "replaced_by", instead);
        fields += 2;
    }
    if !spec.history.is_empty() {
        reply.bulk(b"history");
        reply.set(spec.history.len());
        for (version, change) in spec.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
        fields += 1;
    }
    // A test reads the notation of every row, so that it cannot be broken here.
    let args = docs::parse(spec.args).unwrap_or_default();
    if !args.is_empty() {
        reply.bulk(b"arguments");
        arguments(reply, &args);
        fields += 1;
    }
    if !spec.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(spec.subcommands.len());
        for sub in spec.subcommands {
            documentation(reply, sub);
        }
        fields += 1;
    }
    reply.finish_map(mark, fields);
}

fn arguments(reply: &mut Reply, args: &[Arg]) {
    reply.array(args.len());
    for arg in args {
        let mark = reply.deferred();
        let mut fields = 2;
        field(reply, "name", &arg.name);
        field(reply, "type", arg.kind);
        if !arg.is_group() {
            field(reply, "display_text", arg.display_text());
            fields += 1;
        }
        if let Some(index) = arg.key_spec {
            int_field(reply, "key_spec_index", i32::from(index));
            fields += 1;
        }
        let texts = [("token", &arg.token), ("since", &arg.since), ("deprecated_since", &arg.deprecated)];
        for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            field(reply, name, text);
            fields += 1;
        }
        if arg.flags().next().is_some() {
            reply.bulk(b"flags");
            words(reply, "", arg.flags());
            fields += 1;
        }
        if arg.is_group() {
            reply.bulk(b"arguments");
            arguments(reply, &arg.children);
            fields += 1;
        }
        reply.finish_map(mark, fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    /// What the compiler cannot see in rows.
    #[test]
    fn every_row_is_sound() {
        assert!(!table().is_empty());
        for (index, spec) in table().iter() {
            let name = spec.full_name;
            let args = docs::parse(spec.args).unwrap_or_else(|bad| panic!("{name}: {bad:?} in {}", spec.args));
            assert_key_specs_exist(spec, &args);
            assert_eq!(Renames::default().find_full(name.to_uppercase().as_bytes()), Some(index), "{name}");
            assert!(spec.keys.len() <= keyspec::MAX_SPECS, "{name}");
            assert!(!spec.summary.is_empty() && !spec.since.is_empty(), "{name}");
            assert!(spec.arity != 0 && name == name.to_lowercase(), "{name}");
            assert!(!spec.is(WRITE | READONLY), "{name}");
        }
    }

    fn assert_key_specs_exist(spec: &Spec, args: &[Arg]) {
        for arg in args {
            if let Some(index) = arg.key_spec {
                assert!(usize::from(index) < spec.keys.len(), "{}: {}", spec.full_name, arg.name);
            }
            assert_key_specs_exist(spec, &arg.children);
        }
    }

    /// Whatever the arguments are, what is found lies among them.
    #[test]
    fn keys_are_among_the_arguments() {
        const WORDS: [&str; 12] =
            ["", "0", "1", "2", "-1", "9223372036854775807", "KEYS", "STORE", "STREAMS", "GET", "LIMIT", "x"];
        let mut random = 1u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) as usize % below
        };
        let mut found = 0;
        for (_, spec) in table().iter() {
            for _ in 0..500 {
                let args: OwnedArgs = (0..next(9)).map(|_| WORDS[next(WORDS.len())].as_bytes()).collect();
                let args = args.as_args();
                for keys in [keyspec::keys(spec, args), keyspec::slot_names(spec, args)].into_iter().flatten() {
                    for key in keys {
                        assert!(key.index > 0 && key.index < args.len(), "{} {args:?}", spec.full_name);
                        found += 1;
                    }
                }
            }
        }
        assert!(found > 0);
    }

    #[test]
    fn old_clients_get_one_range() {
        let key = |index| KeySpec::key("RO", index);
        let counted = KeySpec::counted("RO", 2);
        assert_eq!(key_range(&[]), (0, 0, 0));
        assert_eq!(key_range(&[counted]), (0, 0, 0));
        assert_eq!(key_range(&[KeySpec::range("RO", 1, -1, 2, 0)]), (1, -1, 2));
        assert_eq!(key_range(&[key(1), counted]), (1, 1, 1));
        assert_eq!(key_range(&[key(2), KeySpec::range("RO", 3, -1, 1, 0)]), (2, -1, 1));
        assert_eq!(key_range(&[KeySpec::range("RO", 3, -1, 1, 0), key(2)]), (2, -1, 1));
        assert_eq!(key_range(&[key(1), key(2)]), (1, 2, 1));
    }
}
