//! The sub-commands of DEBUG that show how things are kept, and PROTOCOL, which shows every kind of reply.

use crate::engine::call::Call;
use crate::engine::client::Client;
use crate::engine::commands::object::encoding;
use crate::engine::entry::{Entry, ValueRef};
use crate::engine::error::{Error, Outcome};
use crate::engine::eviction::AccessPolicy;
use crate::engine::host::LogLevel;
use crate::rdb;
use crate::resp::Protocol;
use crate::types::hash::Hash;
use crate::types::list::{List, NodeRef};
use crate::types::listpack::Listpack;
use crate::types::set::{self, Set};
use crate::types::table::{Table, hash_bytes};
use crate::types::zset::Zset;
use std::borrow::Cow;

/// The bytes that DUMP adds to a value: its type, the format's version, a checksum.
const DUMP_FRAME: usize = 1 + 2 + 8;

/// How a value is kept, in one line.
pub fn object(call: &mut Call) -> Outcome {
    let fast = call.args.len() > 3 && call.word(3, "FAST");
    if call.args.len() > 3 && !fast {
        return Err(Error::subcommand_syntax(call.spec.full_name, call.args.at(1)));
    }
    let compress = call.server.config.rdbcompression;
    let access = AccessPolicy::new(&call.keys.settings, call.keys.now, true);
    let fill = call.keys.settings.list.fill;
    let compressed = u8::from(call.keys.settings.list.compress_depth != 0);
    let entry = call.keys.peek(call.args.at(2)).ok_or(Error::NoSuchKey)?;
    // FAST leaves out what has to be worked out.
    let length = match fast {
        true => String::new(),
        false => format!(" serializedlength:{}", rdb::dump(entry.value(), compress).len() - DUMP_FRAME),
    };
    let mut text = format!(
        "Value at:{:p} refcount:1 encoding:{}{length} lru:{} lru_seconds_idle:{}",
        entry.key().as_ptr(),
        encoding(entry),
        entry.access(),
        access.idle_seconds(entry.access()),
    );
    if let ValueRef::List(list) = entry.value()
        && list.encoding() == "quicklist"
    {
        let bytes: usize = list.nodes().map(node_bytes).sum();
        let (nodes, average) = (list.node_count(), list.len() as f64 / list.node_count() as f64);
        text += &format!(
            " ql_nodes:{nodes} ql_avg_node:{average:.2} ql_listpack_max:{fill} ql_compressed:{compressed} \
             ql_uncompressed_size:{bytes}"
        );
    }
    call.reply.simple(text);
    Ok(())
}

fn node_bytes(node: NodeRef) -> usize {
    match node {
        NodeRef::Packed(pack) => pack.byte_len(),
        NodeRef::Plain(element) => element.len(),
    }
}

/// The lengths of a key and of its string, and how many bytes each takes. Nothing is kept in reserve; a short
/// string lies in the key's own allocation.
pub fn sdslen(call: &mut Call) -> Outcome {
    let entry = call.keys.peek(call.args.at(2)).ok_or(Error::NoSuchKey)?;
    let (ValueRef::String(_) | ValueRef::Ascii(_)) = entry.value() else {
        return Err("ERR Not an sds encoded string.".into());
    };
    let value_len = entry.value().text_len();
    let value_bytes = if encoding(entry) == "raw" { value_len } else { 0 };
    call.reply.simple(format!(
        "key_sds_len:{}, key_sds_avail:0, key_zmalloc: {}, val_sds_len:{value_len}, val_sds_avail:0, val_zmalloc: {value_bytes}",
        entry.key().len(),
        entry.heap_bytes() - value_bytes,
    ));
    Ok(())
}

/// The listpack that a value is, if it is one.
fn listpack_of(entry: &Entry) -> Option<Cow<'_, Listpack>> {
    match entry.value() {
        ValueRef::List(list) if list.encoding() == "listpack" => match list.nodes().next()? {
            NodeRef::Packed(pack) => Some(pack),
            NodeRef::Plain(_) => None,
        },
        ValueRef::Set(set) => match set.view() {
            set::View::Listpack(pack) => Some(Cow::Borrowed(pack)),
            _ => None,
        },
        ValueRef::Hash(hash) => hash.to_listpack(),
        ValueRef::Zset(zset) => zset.as_listpack().map(Cow::Borrowed),
        _ => None,
    }
}

pub fn listpack(call: &mut Call) -> Outcome {
    let key = call.args.at(2);
    let entry = call.keys.peek(key).ok_or(Error::NoSuchKey)?;
    let pack = listpack_of(entry).ok_or("ERR Not a listpack encoded object.")?;
    let text = format!("{}: {} elements in {} bytes", key.escape_ascii(), pack.count(), pack.byte_len());
    call.server.log(LogLevel::Warning, text);
    call.reply.simple("Listpack structure printed on stdout");
    Ok(())
}

pub fn quicklist(call: &mut Call) -> Outcome {
    let key = call.args.at(2);
    let detailed = call.args.len() == 4 && call.args.at(3) != b"0";
    let entry = call.keys.peek(key).ok_or(Error::NoSuchKey)?;
    let ValueRef::List(list) = entry.value() else { return Err("ERR Not a quicklist encoded object.".into()) };
    if list.encoding() != "quicklist" {
        return Err("ERR Not a quicklist encoded object.".into());
    }
    let mut lines = vec![format!("{}: {} elements in {} nodes", key.escape_ascii(), list.len(), list.node_count())];
    if detailed {
        lines.extend(list.nodes().enumerate().map(|(number, node)| match node {
            NodeRef::Packed(pack) => format!("node {number}: {} elements in {} bytes", pack.count(), pack.byte_len()),
            NodeRef::Plain(element) => format!("node {number}: one element of {} bytes", element.len()),
        }));
    }
    lines.into_iter().for_each(|line| call.server.log(LogLevel::Warning, line));
    call.reply.simple("Quicklist structure printed on stdout");
    Ok(())
}

/// Whether the last argument, if it is there, asks for everything.
fn is_full(call: &Call) -> bool {
    call.word(3, "FULL")
}

pub fn htstats(call: &mut Call) -> Outcome {
    let full = is_full(call);
    let db = call.int(2)?;
    let db = usize::try_from(db).ok().and_then(|db| call.keys.dbs.get(db)).ok_or("ERR Out of range database")?;
    let seed = call.keys.seed();
    let mut text = "[Dictionary HT]\n".to_owned();
    text += &table_stats(&db.table, |entry| hash_bytes(seed, entry.key()), full);
    text += "[Expires HT]\n";
    text += &table_stats(&db.expires, |ticket| ticket.get(), full);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// How full a table is; `full`: how its entries are spread over its buckets.
fn table_stats<T>(table: &Table<T>, hash: impl Fn(&T) -> u64, full: bool) -> String {
    if table.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "Hash table 0 stats (main hash table):\n table size: {}\n number of elements: {}\n",
        table.buckets(),
        table.len()
    );
    if !full {
        return text;
    }
    let mut lengths: Vec<usize> = Vec::new();
    let (mut cursor, mut buckets) = (0, 0);
    loop {
        let mut length = 0;
        cursor = table.scan(cursor, &hash, |_| length += 1);
        if lengths.len() <= length {
            lengths.resize(length + 1, 0);
        }
        lengths[length] += 1;
        buckets += 1;
        if cursor == 0 {
            break;
        }
    }
    let filled = buckets - lengths[0];
    text += &format!(
        " different slots: {filled}\n max chain length: {}\n avg chain length (counted): {:.2}\n Chain length distribution:\n",
        lengths.len() - 1,
        table.len() as f64 / filled as f64
    );
    for (length, count) in lengths.iter().enumerate().filter(|(_, count)| **count > 0) {
        text += &format!("   {length}: {count} ({:.2}%)\n", *count as f64 * 100.0 / buckets as f64);
    }
    text
}

pub fn htstats_key(call: &mut Call) -> Outcome {
    let entry = call.keys.peek(call.args.at(2)).ok_or(Error::NoSuchKey)?;
    let (elements, bytes) = match entry.value() {
        ValueRef::Set(set) if set.encoding() == "hashtable" => (set.len(), set.heap_bytes()),
        ValueRef::Hash(hash) if hash.encoding() == "hashtable" => (hash.len(), hash.heap_bytes()),
        ValueRef::Zset(zset) if zset.encoding() == "skiplist" => (zset.len(), zset.heap_bytes()),
        _ => return Err("ERR The value stored at the specified key is not represented using an hash table".into()),
    };
    let mut text = format!("Hash table 0 stats (main hash table):\n number of elements: {elements}\n");
    if is_full(call) {
        text += &format!(" bytes: {bytes}\n");
    }
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub fn structsize(call: &mut Call) -> Outcome {
    call.reply.simple(format!(
        "bits:{} entry:{} client:{} list:{} set:{} hash:{} zset:{}",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<Client>(),
        size_of::<List>(),
        size_of::<Set>(),
        size_of::<Hash>(),
        size_of::<Zset>()
    ));
    Ok(())
}

/// A value of each kind that a reply may have. The values are those of Redis: clients test with them.
// 3.141 is what Redis answers, not an attempt at pi.
#[allow(clippy::approx_constant)]
pub fn protocol(call: &mut Call) -> Outcome {
    let kind = call.args.at(2).to_ascii_lowercase();
    let reply = &mut *call.reply;
    let resp3 = reply.protocol == Protocol::Resp3;
    match &kind[..] {
        b"string" => reply.bulk(b"Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(3.141),
        b"null" => reply.null(),
        b"array" => {
            reply.array(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"set" => {
            reply.set(3);
            (0..3).for_each(|n| reply.int(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.bool(n == 1);
            }
        }
        b"attrib" => {
            if resp3 {
                reply.raw(b"|1\r\n");
                reply.bulk(b"key-popularity");
                reply.array(2);
                reply.bulk(b"key:123");
                reply.int(90);
            }
            reply.bulk(b"Some real reply following the attribute");
        }
        b"push" if !resp3 => return Err("ERR RESP2 is not supported by this command".into()),
        b"push" => {
            reply.bulk(b"Some real reply following the push reply");
            reply.push(2);
            reply.bulk(b"server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.bool(true),
        b"false" => reply.bool(false),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        _ => {
            return Err("ERR Wrong protocol type name. Please use one of the following: \
                string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false"
                .into());
        }
    }
    Ok(())
}
