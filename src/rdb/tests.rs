//! Snapshots of real servers (see tests/golden/README.md), round trips, damage.

use std::collections::BTreeMap;

use super::build::Limits;
use super::crc64::Crc64;
use super::*;
use crate::types::PackLimits;
use crate::types::hash::{FieldTtl, Hash, HashLimits, LATEST_FIELD_TTL_MS};
use crate::types::list::{List, ListLimits};
use crate::types::listpack::testing::Rng;
use crate::types::set::{Set, SetLimits};
use crate::types::value::{Value, ValueRef};
use crate::types::zset::Zset;

const LIMITS: Limits = Limits {
    list: ListLimits { fill: -2, compress_depth: 0, packed_threshold: 0 },
    set: SetLimits { intset_entries: 512, pack: PackLimits { entries: 128, value: 64 }, seed: 7 },
    hash: HashLimits { pack: PackLimits { entries: 512, value: 64 }, seed: 8 },
    zset: PackLimits { entries: 128, value: 64 },
};

struct Golden {
    name: &'static str,
    dump: &'static [u8],
    keys: &'static str,
    /// Whether the encodings are those of Redis 8.2.
    encodings: bool,
}

macro_rules! golden {
    ($name:literal, $encodings:literal) => {
        Golden {
            name: $name,
            dump: include_bytes!(concat!("../../tests/golden/", $name, "/dump.rdb")),
            keys: include_str!(concat!("../../tests/golden/", $name, "/keys.tsv")),
            encodings: $encodings,
        }
    };
}

const GOLDENS: [Golden; 17] = [
    golden!("redis-7.0", false),
    golden!("redis-8.2", true),
    golden!("valkey-9.1", false),
    golden!("redis-5.0", true),
    golden!("redis-7.4-rc", true),
    golden!("haversack", true),
    golden!("haversack/plain", true),
    golden!("versions/v1", true),
    golden!("versions/v2", true),
    golden!("versions/v3", true),
    golden!("versions/v4", true),
    golden!("versions/v5", true),
    golden!("versions/v6", true),
    golden!("versions/v7", true),
    golden!("versions/v8", true),
    golden!("versions/v9", true),
    golden!("versions/v11", true),
];

/// Keeps everything.
#[derive(Default)]
struct Kept {
    version: u32,
    aux: Vec<(String, String)>,
    db: u64,
    entries: BTreeMap<(u64, Vec<u8>), (Value, Attributes)>,
    sizes: Vec<(u64, u64)>,
    notes: Vec<String>,
    room: u64,
}

impl Sink for Kept {
    fn seed(&mut self) -> u64 {
        99
    }

    fn room(&self) -> u64 {
        self.room
    }

    fn version(&mut self, version: u32) {
        self.version = version;
    }

    fn aux(&mut self, field: &[u8], value: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.aux.push((text(field), text(value)));
    }

    fn select_db(&mut self, db: u64) -> Result<(), String> {
        if db >= 16 {
            return Err(format!("no db {db}"));
        }
        self.db = db;
        Ok(())
    }

    fn resize(&mut self, keys: u64, expires: u64) {
        self.sizes.push((keys, expires));
    }

    fn entry(&mut self, entry: Entry<'_>) -> Result<(), String> {
        let place = (self.db, entry.key.to_vec());
        match self.entries.insert(place, (entry.value, entry.attributes)) {
            None => Ok(()),
            Some(_) => Err("duplicate key".into()),
        }
    }

    fn note(&mut self, note: Note<'_>) {
        self.notes.push(format!("{note:?}"));
    }
}

fn load_in(chunk: usize, bytes: &[u8], verify: bool) -> Result<Kept, RdbError> {
    let mut kept = Kept { room: bytes.len() as u64, ..Kept::default() };
    let mut loader = Loader::new(LIMITS, verify);
    for piece in bytes.chunks(chunk) {
        let taken = loader.feed(piece, &mut kept)?;
        assert!(taken == piece.len() || loader.is_done());
    }
    loader.finish()?;
    Ok(kept)
}

fn load(bytes: &[u8]) -> Result<Kept, RdbError> {
    load_in(usize::MAX, bytes, true)
}

/// The elements as keys.tsv sums them, with type and encoding.
fn elements(value: &Value) -> (&'static str, &'static str, Vec<Vec<u8>>) {
    match value {
        Value::Int(value) => ("string", "int", vec![value.to_string().into_bytes()]),
        Value::String(bytes) => ("string", "", vec![bytes.clone()]),
        Value::Text(text) => ("string", "", vec![text.bytes().to_vec()]),
        Value::List(list) => ("list", list.encoding(), list.iter().map(|item| item.to_vec()).collect()),
        Value::Set(set) => {
            let mut members: Vec<_> = set.iter().map(|item| item.to_vec()).collect();
            members.sort();
            ("set", set.encoding(), members)
        }
        Value::Zset(zset) => {
            let pairs = zset.iter().flat_map(|(item, score)| [item.to_vec(), score.to_le_bytes().to_vec()]);
            ("zset", zset.encoding(), pairs.collect())
        }
        Value::Hash(hash) => {
            let mut fields: Vec<_> = hash.iter().collect();
            fields.sort_by_key(|field| field.name.to_vec());
            let parts = fields.iter().flat_map(|field| {
                [field.name.to_vec(), field.value.to_vec(), field.expiry_ms.unwrap_or(-1).to_le_bytes().to_vec()]
            });
            ("hash", hash.encoding(), parts.collect())
        }
    }
}

fn digest(value: &Value) -> u64 {
    let mut sum = Crc64::new();
    for element in elements(value).2 {
        sum.update(&(element.len() as u64).to_le_bytes());
        sum.update(&element);
    }
    sum.value()
}

/// The entries as lines of keys.tsv; `encoding` of those whose expected line has one to compare.
fn describe(kept: &Kept, encodings: bool) -> Vec<String> {
    let line = |((db, key), (value, attributes)): (&(u64, Vec<u8>), &(Value, Attributes))| {
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let (kind, encoding, elements) = elements(value);
        let encoding = if encodings && kind != "string" { encoding } else { "" };
        let expiry = attributes.expire_at_ms.unwrap_or(-1);
        format!("{db}\t{key}\t{kind}\t{encoding}\t{expiry}\t{}\t{:016x}", elements.len(), digest(value))
    };
    kept.entries.iter().map(line).collect()
}

fn expected(golden: &Golden) -> Vec<String> {
    let line = |line: &str| {
        let mut cells: Vec<_> = line.split('\t').collect();
        if !golden.encodings || cells[2] == "string" {
            cells[3] = "";
        }
        cells.join("\t")
    };
    golden.keys.lines().map(line).collect()
}

#[test]
fn loads_what_real_servers_wrote() {
    for golden in &GOLDENS {
        for chunk in [1, 7, 1000, usize::MAX] {
            let kept = load_in(chunk, golden.dump, true).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
            let (ours, theirs) = (describe(&kept, golden.encodings), expected(golden));
            assert_eq!(ours.len(), theirs.len(), "{}", golden.name);
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "{}", golden.name);
            }
            assert_eq!(kept.notes, [""; 0], "{}", golden.name);
        }
    }
}

#[test]
fn heads_and_attributes() {
    let versions = GOLDENS.map(|golden| load(golden.dump).unwrap().version);
    assert_eq!(versions, [10, 12, 80, 9, 12, 12, 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11]);
    let kept = load(GOLDENS[1].dump).unwrap();
    let fields: Vec<_> = kept.aux.iter().map(|(field, _)| &field[..]).collect();
    assert_eq!(fields, ["redis-ver", "redis-bits", "ctime", "used-mem", "aof-base"]);
    assert_eq!((&kept.aux[0].1[..], &kept.aux[1].1[..]), ("8.2.3", "64"));
    assert_eq!(kept.sizes, [(33, 1), (2, 1), (1, 0)]);
    let old = load(GOLDENS[3].dump).unwrap();
    let attributes = |key: &[u8]| old.entries[&(0, key.to_vec())].1;
    assert_eq!(attributes(b"idle").idle_seconds, Some(5));
    assert_eq!(attributes(b"frequent").frequency, Some(200));
    assert_eq!(attributes(b"list"), Attributes::default());
}

fn write(kept: &Kept, format: Format, compress: bool, checksum: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(format, compress);
    let replication = ReplicationAux { stream_db: 3, id: &"a".repeat(40), offset: 12345 };
    let aux = Aux {
        redis_version: "8.2.3",
        created_seconds: 1_800_000_000,
        used_bytes: 1 << 30,
        replication: Some(replication),
        aof_base: false,
    };
    writer.head(&aux, &mut out);
    let mut db = None;
    for ((at, key), (value, attributes)) in &kept.entries {
        if db != Some(*at) {
            db = Some(*at);
            writer.select_db(*at as usize, 10, 1, &mut out);
        }
        writer.entry(key, value.as_ref(), attributes, &mut out);
    }
    writer.finish(&mut out);
    Sum::new(checksum).seal(&mut out);
    out
}

#[test]
fn written_snapshots_load_again() {
    for golden in &GOLDENS {
        let kept = load(golden.dump).unwrap();
        for (format, compress, checksum) in
            [(Format::V10, true, true), (Format::V12, false, true), (Format::V12, true, false)]
        {
            let bytes = write(&kept, format, compress, checksum);
            assert_eq!(&bytes[..9], format!("REDIS{:04}", format.version()).as_bytes());
            assert_eq!(bytes.ends_with(&[0; 8]), !checksum);
            let again = load(&bytes).unwrap_or_else(|error| panic!("{}: {error}", golden.name));
            assert_eq!(describe(&again, false), describe(&kept, false), "{}", golden.name);
            let attributes = |kept: &Kept| kept.entries.values().map(|entry| entry.1).collect::<Vec<_>>();
            assert_eq!(attributes(&again), attributes(&kept));
            assert_eq!(
                again.aux[4..7].iter().map(|aux| &aux.1[..]).collect::<Vec<_>>(),
                ["3", &"a".repeat(40), "12345"]
            );
        }
    }
}

/// The type of each value in a file of ours, per format.
#[test]
fn old_format_has_no_new_types() {
    let mut small = Set::new();
    small.add(b"member", &LIMITS.set);
    let small = Value::Set(Box::new(small));
    let mut timed = Hash::new();
    timed.set(b"f", b"v", FieldTtl::At(5000), &LIMITS.hash);
    let mut plain = timed.clone();
    plain.persist(b"f");
    let kinds = |value: &Value| dump(value.as_ref(), true)[0];
    assert_eq!(kinds(&small), 2);
    let packed = dump(Value::Hash(Box::new(timed)).as_ref(), true);
    assert_eq!((packed[0], &packed[packed.len() - 10..][..2]), (25, &[12, 0][..]));
    // An encoding that remembers expire times, but without any: nothing that an old server lacks.
    let plain = dump(Value::Hash(Box::new(plain)).as_ref(), true);
    assert_eq!((plain[0], &plain[plain.len() - 10..][..2]), (4, &[10, 0][..]));
    let mut kept = Kept::default();
    kept.entries.insert((0, b"k".to_vec()), (small, Attributes::default()));
    let type_of = |bytes: Vec<u8>| bytes[bytes.windows(2).position(|two| two == [1, b'k']).unwrap() - 1];
    assert_eq!(type_of(write(&kept, Format::V10, true, true)), 2);
    assert_eq!(type_of(write(&kept, Format::V12, true, true)), 20);
}

#[test]
fn payloads_of_everything_restore() {
    for golden in &GOLDENS {
        for (value, _) in load(golden.dump).unwrap().entries.values() {
            for compress in [false, true] {
                let payload = dump(value.as_ref(), compress);
                let again = restore(&payload, &LIMITS, 5, true).unwrap();
                assert_eq!(elements(&again).2, elements(value).2);
                let mut damaged = payload.clone();
                damaged[payload.len() / 2] ^= 4;
                assert_eq!(restore(&damaged, &LIMITS, 5, true).err(), Some(RestoreError::Footer));
            }
        }
    }
}

fn payload(body: &[u8], version: u16) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    let sum = Crc64::of(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// What Redis 8.2 and Valkey 9.1 answer to these.
#[test]
fn payloads_refused_and_taken() {
    assert_eq!(dump(ValueRef::String(b"a"), true), payload(b"\x00\x01a", 10));
    let restored = |body: &[u8], version| restore(&payload(body, version), &LIMITS, 1, true);
    for version in (0..=12).chain([80]) {
        assert!(restored(b"\x00\x01a", version).is_ok());
    }
    // Redis does not look past the value.
    assert!(restored(b"\x00\x01ajunk", 10).is_ok());
    for version in [13, 79, 81, 336] {
        assert_eq!(restored(b"\x00\x01a", version).err(), Some(RestoreError::Footer), "{version}");
    }
    assert_eq!(restore(b"short", &LIMITS, 1, true).err(), Some(RestoreError::Footer));
    let nan = [&b"\x05\x01\x01a"[..], &f64::NAN.to_le_bytes()].concat();
    let twice_packed = b"\x10\x13\x13\0\0\0\x04\0\x81a\x02\x81a\x02\x81a\x02\x81a\x02\xff";
    let cases: [(&[u8], &str); 11] = [
        (b"", "unexpected end of data at offset 0"),
        (b"\x01\x00", "collection without elements at offset 2"),
        (b"\x02\x02\x01a\x01a", "duplicate set member at offset 6"),
        (b"\x04\x02\x01a\x01x\x01a\x01y", "duplicate hash field at offset 10"),
        (&nan, "a score is not a number at offset 12"),
        (twice_packed, "duplicate hash field at offset 21"),
        (b"\xfa\x01a\x01b", "unknown opcode or type 250 at offset 1"),
        (b"\x08\x01a", "unknown opcode or type 8 at offset 1"),
        (b"\x0f\x01a", "stored with type 15 (stream), which this version cannot load at offset 1"),
        (
            b"\x07\x81\x11\x22\x33\x44\x55\x66\x77\x88",
            "stored with type 7 (module value of 'ESIzRFVmd'), which this version cannot load at offset 10",
        ),
        (b"\x02\x80\xff\xff\xff\xff\x01a", "unexpected end of data at offset 6"),
    ];
    for (body, expected) in cases {
        let error = restored(body, 10).err().expect("refused");
        assert_eq!(error.to_string(), expected, "{body:x?}");
    }
    // The same type number means one thing to Redis and another to Valkey.
    let valkey = b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff";
    let Ok(Value::Hash(hash)) = restored(valkey, 80) else { panic!("not a hash") };
    assert_eq!((hash.len(), hash.min_expiry()), (1, None));
    assert!(restored(valkey, 12).is_err());
    // A time that no other form can hold becomes the latest that all can.
    let far = b"\x16\x01\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\x7f";
    let Ok(Value::Hash(hash)) = restored(far, 80) else { panic!("not a hash") };
    assert_eq!(hash.min_expiry(), Some(LATEST_FIELD_TTL_MS));
    assert!(restore(&dump(Value::Hash(hash).as_ref(), true), &LIMITS, 1, true).is_ok());
}

fn file(body: &[u8]) -> Vec<u8> {
    [b"REDIS0012", body, b"\xff", &[0; 8]].concat()
}

#[test]
fn passes_over_what_it_cannot_keep() {
    let id = b"\x81\x11\x22\x33\x44\x55\x66\x77\x88";
    let data = b"\x01\x05\x05\x03abc\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\0";
    let module_aux = [&b"\xf7"[..], id, b"\x02\x02", data].concat();
    let slots = b"\xf4\x05\x06\x07";
    let body =
        [&b"\xf5\x04code"[..], &module_aux, slots, b"\xfb\x00\x00", b"\x02\x01e\x00", b"\x00\x01k\x01v"].concat();
    for chunk in [1, 3, 1000] {
        let kept = load_in(chunk, &file(&body), true).unwrap();
        let id = 0x1122_3344_5566_7788u64;
        let notes = [
            format!("{:?}", Note::Function(b"code")),
            format!("ModuleAux({id})"),
            format!("{:?}", Note::EmptyKey(b"e")),
        ];
        assert_eq!(kept.notes, notes);
        assert_eq!(kept.entries.len(), 1);
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    let cases: [(&[u8], &str); 8] = [
        (
            b"\x00\x01k\x01v\x15\x06stream\x00",
            "key 'stream': stored with type 21 (stream), which this version cannot load at offset 22",
        ),
        (b"\x2a", "unknown opcode or type 42 at offset 9"),
        (b"\xfe\x10", "no db 16 at offset 11"),
        (b"\x00\x01k\x01v\x00\x01k\x01v", "key 'k': duplicate key at offset 19"),
        (b"\x00\x01k\xc4", "key 'k': unknown string encoding at offset 12"),
        (b"\x14\x01k\x01x", "key 'k': invalid listpack at offset 14"),
        (b"\xf7\x01\x02\x02\x09", "unknown opcode in data of a module at offset 13"),
        (b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff", "length 18446744073709551615 is too large at offset 10"),
    ];
    for (body, expected) in cases {
        let error = load(&file(body)).err().expect("refused");
        assert_eq!(error.to_string(), expected);
    }
    for (head, expected) in [
        ("REDIS0013", "can't handle RDB format version 13 at offset 0"),
        ("REDIS0080", "can't handle RDB format version 80 at offset 0"),
        ("VALKEY081", "can't handle RDB format version 81 at offset 0"),
        ("REDIS+012", "can't handle RDB format version +012 at offset 0"),
        ("*3\r\n$3\r\nS", "wrong signature, this is no RDB file at offset 0"),
    ] {
        assert_eq!(load(head.as_bytes()).err().expect("refused").to_string(), expected);
    }
    let mut bytes = GOLDENS[0].dump.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    assert!(load(&bytes).is_err());
}

/// What follows a snapshot (the tail of an append-only file) is left alone, wherever the chunks end.
#[test]
fn stops_where_the_snapshot_ends() {
    let dump = GOLDENS[4].dump;
    let bytes = [dump, b"*1\r\n$4\r\nPING\r\n"].concat();
    for chunk in [1, 5, 64, 1000] {
        let mut loader = Loader::new(LIMITS, true);
        let mut kept = Kept::default();
        let taken: usize = bytes.chunks(chunk).map(|piece| loader.feed(piece, &mut kept).unwrap()).sum();
        assert_eq!(taken, dump.len());
        assert_eq!(loader.offset(), dump.len() as u64);
    }
}

#[test]
fn every_truncation_is_an_error() {
    for golden in &GOLDENS {
        let mut kept = Kept::default();
        let mut loader = Loader::new(LIMITS, true);
        // One loader fed byte by byte meets every truncation.
        for (n, byte) in golden.dump.iter().enumerate() {
            let error = loader.finish().unwrap_err();
            assert_eq!((error.kind, error.offset), (RdbErrorKind::Truncated, n as u64));
            loader.feed(std::slice::from_ref(byte), &mut kept).unwrap();
        }
        assert!(loader.finish().is_ok());
        for (value, _) in kept.entries.values().filter(|entry| dump(entry.0.as_ref(), true).len() < 2000) {
            let whole = dump(value.as_ref(), true);
            for len in 0..whole.len() - 10 {
                assert!(restore(&payload(&whole[..len], 12), &LIMITS, 3, true).is_err());
            }
        }
    }
}

/// Damaged payloads are refused, or give a value that can be written and read again.
#[test]
fn damaged_payloads_never_panic() {
    let mut rng = Rng(11);
    for golden in &GOLDENS {
        for (value, _) in load(golden.dump).unwrap().entries.values() {
            let whole = dump(value.as_ref(), rng.below(2) == 0);
            let body = &whole[..whole.len() - 10];
            let rounds = if body.len() < 1000 { 300 } else { 30 };
            for _ in crate::types::tests::seeds(rounds) {
                let mut bytes = body.to_vec();
                for _ in 0..1 + rng.below(3) {
                    let at = rng.below(bytes.len());
                    bytes[at] = rng.next() as u8;
                }
                let Ok(value) = restore(&payload(&bytes, [12, 80][rng.below(2)]), &LIMITS, 3, true) else { continue };
                let again = restore(&dump(value.as_ref(), true), &LIMITS, 4, true).unwrap();
                assert_eq!(elements(&again).2, elements(&value).2);
            }
        }
    }
}

#[test]
fn damaged_snapshots_never_panic() {
    let mut rng = Rng(12);
    for golden in &GOLDENS {
        for _ in crate::types::tests::seeds(300) {
            let mut bytes = golden.dump.to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            let (whole, pieces) = (load_in(usize::MAX, &bytes, false), load_in(1 + rng.below(900), &bytes, false));
            match (whole, pieces) {
                (Ok(whole), Ok(pieces)) => assert_eq!(describe(&whole, true), describe(&pieces, true)),
                (Err(whole), Err(pieces)) => assert_eq!(whole, pieces),
                _ => panic!("chunking changed the outcome"),
            }
        }
    }
}

fn random_value(rng: &mut Rng) -> Value {
    let count = 1 + [rng.below(5), rng.below(150), rng.below(700)][rng.below(3)];
    match rng.below(6) {
        0 => Value::Int(rng.next() as i64 >> rng.below(64)),
        1 => Value::String([b"s".to_vec(), rng.element(), rng.element().repeat(rng.below(50))].concat()),
        2 => {
            let mut list = List::new();
            for _ in 0..count {
                list.push_back(&rng.element(), &LIMITS.list);
            }
            Value::List(Box::new(list))
        }
        3 => {
            let mut set = Set::new();
            let ints = rng.below(2) == 0;
            for _ in 0..count {
                let member = if ints { (rng.next() >> rng.below(64)).to_string().into_bytes() } else { rng.element() };
                set.add(&member, &LIMITS.set);
            }
            Value::Set(Box::new(set))
        }
        4 => {
            let mut zset = Zset::new(1);
            for _ in 0..count {
                let score = [rng.below(5) as f64, rng.next() as i64 as f64 / 1000.0, f64::INFINITY][rng.below(3)];
                zset.insert(&rng.element(), score, LIMITS.zset);
            }
            Value::Zset(Box::new(zset))
        }
        _ => {
            let mut hash = Hash::new();
            let timed = rng.below(2) == 0;
            for _ in 0..count {
                let ttl = if timed && rng.below(3) == 0 {
                    FieldTtl::At(1 + (rng.next() >> 19) as i64)
                } else {
                    FieldTtl::Clear
                };
                hash.set(&rng.element(), &rng.element(), ttl, &LIMITS.hash);
            }
            Value::Hash(Box::new(hash))
        }
    }
}

#[test]
fn random_values_round() {
    let mut rng = Rng(13);
    let mut kept = Kept::default();
    for n in 0..600 {
        let value = random_value(&mut rng);
        let again = restore(&dump(value.as_ref(), n % 2 == 0), &LIMITS, 4, true).unwrap();
        assert_eq!(elements(&again).2, elements(&value).2);
        let attributes = Attributes {
            expire_at_ms: (n % 3 == 0).then(|| rng.next() as i64),
            idle_seconds: (n % 5 == 0).then(|| rng.next() >> rng.below(64)),
            frequency: (n % 7 == 0).then(|| rng.next() as u8),
        };
        kept.entries.insert((n / 50, [rng.element(), n.to_string().into_bytes()].concat()), (value, attributes));
    }
    let bytes = write(&kept, Format::V12, true, true);
    for chunk in [997, usize::MAX] {
        let again = load_in(chunk, &bytes, true).unwrap();
        assert_eq!(describe(&again, false), describe(&kept, false));
        let attributes = |kept: &Kept| kept.entries.values().map(|entry| entry.1).collect::<Vec<_>>();
        assert_eq!(attributes(&again), attributes(&kept));
    }
}

/// Among strings that cannot be compressed those that can are still found, most of them, and all that is written loads.
#[test]
fn strings_of_a_kind_are_tried_seldom() {
    let mut rng = Rng(12);
    let mut noise = |len: usize| -> Vec<u8> { (0..len).map(|_| rng.next() as u8).collect() };
    let (mut kept, mut packed) = (Kept::default(), Kept::default());
    let attributes = Attributes::default();
    for n in 0..2000u32 {
        let (key, plain) = (n.to_be_bytes().to_vec(), Value::String(noise(100)));
        kept.entries.insert((0, key.clone()), (plain, attributes));
        let second_half = if n < 1000 { noise(100) } else { b"again and ".repeat(10) };
        packed.entries.insert((0, key), (Value::String(second_half), attributes));
    }
    let (all, half) = (write(&kept, Format::V10, true, true), write(&packed, Format::V10, true, true));
    assert!(all.len() > 200_000 && half.len() < 100_000 + 1000 * 40, "{} {}", all.len(), half.len());
    for (bytes, kept) in [(&all, &kept), (&half, &packed)] {
        let again = load(bytes).unwrap();
        for (place, (value, _)) in &kept.entries {
            assert_eq!(elements(&again.entries[place].0), elements(value));
        }
    }
}

/// Loads what a scout has gone over before, in pieces as it wants them; how many strings it has found.
fn load_scouted(rng: &mut Rng, chunk: usize, bytes: &[u8]) -> (Result<Kept, RdbError>, usize) {
    let mut kept = Kept { room: bytes.len() as u64, ..Kept::default() };
    let (mut loader, mut scout) = (Loader::new(LIMITS, false), Scout::default());
    let (mut start, mut end, mut found) = (0, 0, 0);
    while start < bytes.len() {
        end = bytes.len().min(end + chunk);
        let (ahead, used) = scout.look(&bytes[start..end], start == 0 || rng.below(4) > 0);
        found += ahead.count();
        loader.expect(ahead);
        // What is cut off at the end goes to the loader as well.
        let next = if end == bytes.len() { end } else { start + used };
        if let Err(error) = loader.feed(&bytes[start..next], &mut kept) {
            return (Err(error), found);
        }
        start = next;
    }
    (loader.finish().map(|()| kept), found)
}

/// A snapshot with lists of compressed nodes, hashes, and strings of all lengths.
fn varied_snapshot(rng: &mut Rng) -> Vec<u8> {
    let mut kept = Kept::default();
    for n in 0..6_u64 {
        let mut list = List::new();
        for _ in 0..rng.below(20_000) {
            list.push_back(format!("{:016x}", rng.next()).as_bytes(), &LIMITS.list);
        }
        let text = |rng: &mut Rng, len: usize| (0..len).map(|_| b'a' + rng.below(3) as u8).collect::<Vec<_>>();
        let string = text(rng, [10, 600, 70_000, 600_000, 1_500_000, 3_000_000][n as usize]);
        let plain: Vec<u8> = (0..rng.below(2_500_000)).map(|_| rng.next() as u8).collect();
        let mut hash = Hash::new();
        for field in 0..rng.below(3000) {
            let len = rng.below(if field % 1000 == 7 { 900_000 } else { 1500 });
            hash.set(format!("f{field}").as_bytes(), &text(rng, len), FieldTtl::Clear, &LIMITS.hash);
        }
        let values =
            [Value::List(Box::new(list)), Value::String(string), Value::String(plain), Value::Hash(Box::new(hash))];
        for (kind, value) in values.into_iter().enumerate() {
            let attributes = Attributes { expire_at_ms: (n == 3).then_some(1 << 45), ..Attributes::default() };
            kept.entries.insert((n / 2, format!("{n} {kind}").into_bytes()), (value, attributes));
        }
    }
    write(&kept, Format::V12, true, false)
}

/// However a snapshot is cut, and whatever a scout has found in it, it is the same.
#[test]
fn scouts_and_pieces_change_nothing() {
    let mut rng = Rng(31);
    let varied = varied_snapshot(&mut rng);
    let whole = describe(&load(&varied).unwrap(), true);
    for chunk in [1000, 16_384, 65_536, 65_536, 1 << 20, usize::MAX / 2] {
        assert!(describe(&load_in(chunk, &varied, true).unwrap(), true) == whole, "{chunk}");
        let (kept, found) = load_scouted(&mut rng, chunk, &varied);
        assert!(describe(&kept.unwrap(), true) == whole, "{chunk}");
        assert!(found > 50, "{chunk}: {found}");
    }
    for golden in &GOLDENS {
        let whole = describe(&load(golden.dump).unwrap(), true);
        for chunk in [1, 7, 300, 4096] {
            assert_eq!(
                describe(&load_scouted(&mut rng, chunk, golden.dump).0.unwrap(), true),
                whole,
                "{}",
                golden.name
            );
        }
    }
}

#[test]
fn scouts_judge_nothing() {
    let mut rng = Rng(32);
    let varied = varied_snapshot(&mut rng);
    let files = GOLDENS.iter().map(|golden| golden.dump).chain([&varied[..]]);
    for file in files {
        for _ in crate::types::tests::seeds(if file.len() > 1 << 20 { 10 } else { 100 }) {
            let mut bytes = file.to_vec();
            for _ in 0..1 + rng.below(3) {
                let at = rng.below(bytes.len());
                bytes[at] = rng.next() as u8;
            }
            let chunk = [1 + rng.below(900), 65_536][rng.below(2)].max(file.len() / 1000);
            match (load_in(usize::MAX, &bytes, false), load_scouted(&mut rng, chunk, &bytes).0) {
                (Ok(whole), Ok(scouted)) => assert!(describe(&whole, true) == describe(&scouted, true)),
                (Err(whole), Err(scouted)) => assert_eq!(whole, scouted),
                _ => panic!("a scout changed the outcome"),
            }
        }
    }
}
