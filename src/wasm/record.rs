//! The records of a database in IndexedDB, and the chain that ties them together. Bytes and values only.
//!
//! A *chunk* holds a piece of the base (RDB) or of the log (RESP stream): a fixed head, a postcard header,
//! the payload as it is, so that an export is a concatenation. Each header names the checksum of its
//! payload and that of the record before it; so rot, gaps, reordering and foreign chunks are found. The
//! *manifest* says where the chain begins: which generation's base to load, and what the log after it
//! must begin with.
//!
//! Invariants: sequence numbers of the log go on over generations and never repeat; a generation's base
//! is the state at exactly `first_offset`; log runs of later generations than the manifest's belong to
//! rewrites that did not finish, and continue the log, so the next rewrite takes the number after theirs.
//! Redis' counterpart: the manifest of a multi-part AOF.

use serde::{Deserialize, Serialize};

/// The format written here. Readers of a format from `MINIMUM_READER` on can read it.
pub const FORMAT: u16 = 1;
/// The oldest reader that can read what is written here.
pub const MINIMUM_READER: u16 = 1;

const CHUNK_MAGIC: &[u8; 4] = b"HVCK";
const MANIFEST_MAGIC: &[u8; 4] = b"HVMF";

/// What a chunk's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A part of a snapshot.
    Base,
    /// A piece of the log.
    Incr,
}

/// What a chunk says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What its payload is.
    pub kind: Kind,
    /// The generation it belongs to.
    pub generation: u64,
    /// Its number: parts of a base from 0 on, pieces of the log without an end.
    pub sequence: u64,
    /// Offset of the payload's first byte in its base, or in the log since the database was made.
    pub first_offset: u64,
    /// Bytes of the payload.
    pub length: u64,
    /// CRC-32C of the payload.
    pub checksum: u32,
    /// Checksum of the record before this one, or the generation's seed.
    pub previous: u32,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not a record of ours at all, or cut short in its header.
    Foreign,
    /// It was written by a later version that this one cannot read.
    Newer {
        /// Its format.
        format: u16,
    },
    /// It does not continue where the one before ended.
    Gap {
        /// The sequence number that was due.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// It continues another chain: generation, kind, offset or the checksum of its predecessor differ.
    Chain,
    /// Its payload is not what was written.
    Payload,
    /// The browser cannot read it.
    Unreadable {
        /// In its words.
        reason: String,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Foreign => write!(f, "it is not a record of this database"),
            Fault::Newer { format } => write!(f, "it has format {format}, this version reads up to {FORMAT}"),
            Fault::Gap { expected, found } => write!(f, "record {expected} is missing, {found} comes instead"),
            Fault::Chain => write!(f, "it does not continue the record before it"),
            Fault::Payload => write!(f, "its checksum does not fit its bytes"),
            Fault::Unreadable { reason } => write!(f, "the browser cannot read it ({reason})"),
        }
    }
}

/// The place in the chain that the next record takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// What the records hold.
    pub kind: Kind,
    /// The generation of the last record, or of the manifest.
    pub generation: u64,
    /// The next sequence number.
    pub sequence: u64,
    /// The next byte's offset.
    pub offset: u64,
    /// Checksum of the last record.
    pub previous: u32,
}

impl Chain {
    /// The chain of a generation's base.
    pub fn base(generation: u64) -> Chain {
        Chain { kind: Kind::Base, generation, sequence: 0, offset: 0, previous: seed(generation) }
    }

    /// The chain of the log that follows a manifest's base.
    pub fn incr(manifest: &Manifest) -> Chain {
        Chain {
            kind: Kind::Incr,
            generation: manifest.generation,
            sequence: manifest.first_sequence,
            offset: manifest.first_offset,
            previous: manifest.first_previous,
        }
    }

    /// Makes the next record of the chain.
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            kind: self.kind,
            generation: self.generation,
            sequence: self.sequence,
            first_offset: self.offset,
            length: payload.len() as u64,
            checksum: crc32c::crc32c(payload),
            previous: self.previous,
        };
        let (mut record, checksum) = head(&header);
        record.extend_from_slice(payload);
        self.pass(&header, checksum);
        record
    }

    /// Takes the record that stands at `generation`, `sequence`, if it is the next one; gives its payload.
    ///
    /// # Errors
    /// What is wrong with it. The chain stays where it is.
    pub fn verify<'r>(&mut self, generation: u64, sequence: u64, record: &'r [u8]) -> Result<&'r [u8], Fault> {
        let (header, body) = parse(record)?;
        if sequence != self.sequence {
            return Err(Fault::Gap { expected: self.sequence, found: sequence });
        }
        // A base stays in its generation; the log goes on into later ones.
        let follows = match self.kind {
            Kind::Base => generation == self.generation,
            Kind::Incr => generation >= self.generation,
        };
        let in_place = header.generation == generation && header.sequence == sequence && header.kind == self.kind;
        if !follows || !in_place || header.first_offset != self.offset || header.previous != self.previous {
            return Err(Fault::Chain);
        }
        let payload = &record[body..];
        if payload.len() as u64 != header.length || crc32c::crc32c(payload) != header.checksum {
            return Err(Fault::Payload);
        }
        self.pass(&header, crc32c::crc32c(&record[..body]));
        Ok(payload)
    }

    fn pass(&mut self, header: &Header, checksum: u32) {
        self.generation = header.generation;
        self.sequence = header.sequence + 1;
        self.offset = header.first_offset + header.length;
        self.previous = checksum;
    }
}

/// What the first part of a generation's base names as its predecessor.
fn seed(generation: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(CHUNK_MAGIC), &generation.to_le_bytes())
}

/// A record without its payload, and the checksum that the next one names.
fn head(header: &Header) -> (Vec<u8>, u32) {
    let text = encode(header);
    let mut record = Vec::with_capacity(8 + text.len() + header.length as usize);
    record.extend_from_slice(CHUNK_MAGIC);
    record.extend_from_slice(&FORMAT.to_le_bytes());
    record.extend_from_slice(&(text.len() as u16).to_le_bytes());
    record.extend_from_slice(&text);
    let checksum = crc32c::crc32c(&record);
    (record, checksum)
}

/// A record's header, and where its payload begins.
///
/// # Errors
/// It has none that can be read.
pub fn parse(record: &[u8]) -> Result<(Header, usize), Fault> {
    let fixed = record.get(..8).filter(|head| head.starts_with(CHUNK_MAGIC)).ok_or(Fault::Foreign)?;
    let format = u16::from_le_bytes([fixed[4], fixed[5]]);
    if format > FORMAT {
        return Err(Fault::Newer { format });
    }
    let body = 8 + usize::from(u16::from_le_bytes([fixed[6], fixed[7]]));
    let text = record.get(8..body).ok_or(Fault::Foreign)?;
    match postcard::take_from_bytes::<Header>(text) {
        Ok((header, [])) => Ok((header, body)),
        _ => Err(Fault::Foreign),
    }
}

/// Whether a record is less than the beginning of what was written: the only thing that storing in part leaves.
pub fn is_cut_short(record: &[u8]) -> bool {
    let Some(fixed) = record.get(..8) else { return CHUNK_MAGIC.starts_with(&record[..record.len().min(4)]) };
    match parse(record) {
        Ok((header, body)) => ((record.len() - body) as u64) < header.length,
        Err(_) => {
            fixed.starts_with(CHUNK_MAGIC) && record.len() < 8 + usize::from(u16::from_le_bytes([fixed[6], fixed[7]]))
        }
    }
}

/// Where the database begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The generation whose base is to be loaded.
    pub generation: u64,
    /// Parts of the base; a database that was never rewritten has none.
    pub base_parts: u64,
    /// Bytes of the base.
    pub base_bytes: u64,
    /// Checksum of the base's last record.
    pub base_checksum: u32,
    /// Number of the first record of the log after the base.
    pub first_sequence: u64,
    /// Offset of its first byte.
    pub first_offset: u64,
    /// What it names as its predecessor.
    pub first_previous: u32,
    /// Who wrote it: counts the times the database was opened.
    pub epoch: u64,
    /// When it was written, in milliseconds since 1970.
    pub created_ms: i64,
    /// The version that wrote it.
    pub engine: String,
}

/// Why a manifest cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestFault {
    /// A later version wrote it, and this one cannot read what it wrote.
    Newer {
        /// The format it has.
        format: u16,
    },
    /// It is not what was written.
    Damaged,
}

impl Manifest {
    /// That of a new database.
    pub fn fresh(created_ms: i64) -> Manifest {
        Manifest {
            generation: 1,
            base_parts: 0,
            base_bytes: 0,
            base_checksum: seed(1),
            first_sequence: 0,
            first_offset: 0,
            first_previous: seed(0),
            epoch: 0,
            created_ms,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// As a record.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = encode(self);
        let mut bytes = MANIFEST_MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&MINIMUM_READER.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&text).to_le_bytes());
        bytes.extend_from_slice(&text);
        bytes
    }

    /// Reads a record. Fields that a later version has added behind ours are passed over.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest, ManifestFault> {
        let (fixed, text) = bytes.split_at_checked(12).ok_or(ManifestFault::Damaged)?;
        if !fixed.starts_with(MANIFEST_MAGIC) {
            return Err(ManifestFault::Damaged);
        }
        let word = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
        if word(6) > FORMAT {
            return Err(ManifestFault::Newer { format: word(4) });
        }
        if fixed[8..] != crc32c::crc32c(text).to_le_bytes() {
            return Err(ManifestFault::Damaged);
        }
        postcard::take_from_bytes(text).map(|(manifest, _)| manifest).map_err(|_| ManifestFault::Damaged)
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("numbers and short strings always encode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(pieces: &[&[u8]]) -> (Manifest, Vec<Vec<u8>>) {
        let manifest = Manifest::fresh(0);
        let mut chain = Chain::incr(&manifest);
        let records = pieces.iter().map(|piece| chain.seal(piece)).collect();
        (manifest, records)
    }

    #[test]
    fn a_chain_gives_back_what_was_sealed() {
        let (manifest, records) = log(&[b"one", b"", b"three"]);
        let mut chain = Chain::incr(&manifest);
        let read: Vec<&[u8]> =
            records.iter().enumerate().map(|(at, record)| chain.verify(1, at as u64, record).unwrap()).collect();
        assert_eq!(read, [&b"one"[..], b"", b"three"]);
        assert_eq!((chain.sequence, chain.offset), (3, 8));
    }

    #[test]
    fn the_log_goes_on_in_a_later_generation_but_not_back() {
        let manifest = Manifest::fresh(0);
        let mut chain = Chain::incr(&manifest);
        let first = chain.seal(b"a");
        chain.generation = 2;
        let second = chain.seal(b"b");
        let mut reader = Chain::incr(&manifest);
        reader.verify(1, 0, &first).unwrap();
        let after_first = reader.clone();
        assert_eq!(reader.verify(2, 1, &second), Ok(&b"b"[..]));
        let mut ahead = after_first;
        ahead.generation = 3;
        assert_eq!(ahead.verify(2, 1, &second), Err(Fault::Chain));
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_found_here_or_at_the_next_one() {
        let (manifest, records) = log(&[b"first", b"second"]);
        for at in 0..records[0].len() * 8 {
            let mut bad = records[0].clone();
            bad[at / 8] ^= 1 << (at % 8);
            let mut chain = Chain::incr(&manifest);
            let found =
                chain.verify(1, 0, &bad).and_then(|_| chain.verify(1, 1, &records[1])).map(|payload| payload.to_vec());
            assert!(found.is_err(), "bit {at}");
        }
    }

    #[test]
    fn every_cut_of_a_record_is_found() {
        let (manifest, records) = log(&[b"payload"]);
        for end in 0..records[0].len() {
            assert!(Chain::incr(&manifest).verify(1, 0, &records[0][..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_cut_short_is_told_from_what_is_spoilt() {
        let (_, records) = log(&[b"payload"]);
        let record = &records[0];
        assert!((0..record.len()).all(|end| is_cut_short(&record[..end])));
        for bit in 0..record.len() * 8 {
            let mut bad = record.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A length that is wrong looks like it; the two that are written are in the head and in the header.
            assert!(!is_cut_short(&bad) || matches!(bit / 8, 6 | 7 | 12), "bit {bit}");
        }
        assert!(!is_cut_short(record) && !is_cut_short(b"something else"));
    }

    #[test]
    fn gaps_swaps_and_strangers_are_told_apart() {
        let (manifest, records) = log(&[b"a", b"b", b"c"]);
        let mut chain = Chain::incr(&manifest);
        chain.verify(1, 0, &records[0]).unwrap();
        assert_eq!(chain.verify(1, 2, &records[2]), Err(Fault::Gap { expected: 1, found: 2 }));
        assert_eq!(chain.verify(1, 1, &records[2]), Err(Fault::Chain));
        assert_eq!(chain.verify(1, 1, b"something else"), Err(Fault::Foreign));
        let mut newer = records[1].clone();
        newer[4] = 9;
        assert_eq!(chain.verify(1, 1, &newer), Err(Fault::Newer { format: 9 }));
        assert_eq!(chain.verify(1, 1, &records[1]), Ok(&b"b"[..]));
        let (other, strangers) = log(&[b"x", b"b"]);
        assert_eq!(other, manifest);
        let mut chain = Chain::incr(&manifest);
        chain.verify(1, 0, &records[0]).unwrap();
        assert_eq!(chain.verify(1, 1, &strangers[1]), Err(Fault::Chain));
    }

    #[test]
    fn a_manifest_comes_back_and_says_when_it_cannot() {
        let manifest = Manifest { generation: 7, base_parts: 3, ..Manifest::fresh(12) };
        let bytes = manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest.clone()));
        for end in 0..bytes.len() {
            assert_eq!(Manifest::from_bytes(&bytes[..end]), Err(ManifestFault::Damaged));
        }
        let mut newer = bytes.clone();
        (newer[4], newer[6]) = (9, 9);
        assert_eq!(Manifest::from_bytes(&newer), Err(ManifestFault::Newer { format: 9 }));
        let mut rotten = bytes;
        *rotten.last_mut().unwrap() ^= 1;
        assert_eq!(Manifest::from_bytes(&rotten), Err(ManifestFault::Damaged));
        // A later version that we may read: its own fields stand behind ours.
        let mut text = encode(&manifest);
        text.extend_from_slice(b"more");
        let mut later = [&MANIFEST_MAGIC[..], &[9, 0, 1, 0], &crc32c::crc32c(&text).to_le_bytes()].concat();
        later.extend_from_slice(&text);
        assert_eq!(Manifest::from_bytes(&later), Ok(manifest));
    }
}
