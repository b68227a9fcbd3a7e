//! Checksums in the log: each batch is followed by a line that vouches for it, its seal.
//!
//! The lines begin with `#`, which every loader of such logs skips between commands; so a sealed log is one that
//! Redis and Valkey load. A part that is ours reads
//!
//! ```text
//! #HV1 part=3 after=2:8123:a1b2c3d4 crc=99887766
//! #{
//! *2 $6 SELECT …                                  a batch: what one write brought
//! #}0c2d7a91 5be01f3c 48 48
//! ```
//!
//! - the head: the part's number in the manifest; number, length and chain of the part before it (zeros if there
//!   was none); the CRC-32C of the line up to ` crc=`. A base of commands has `base=3`, and no part before it.
//! - `#{`: a batch of ours begins. What stands behind a seal without it was written by another server.
//! - the seal: the CRC-32C of all bytes since the last seal's (or the head's) end, these two numbers included; the
//!   chain, a CRC-32C over the chain before and this CRC; where those bytes begin; how many bytes before that place
//!   were not known to be durable when this was written. A seal that stands alone seals no bytes, but says that: of the
//!   last batch once it is quiet, in 26 to 36 bytes.
//!
//! Room may follow the last of them ([`super::room`]). A batch holds whole units, so no line of these stands inside a
//! transaction. A batch costs 4 bytes in front and 23 and the two numbers behind it: 32 to 45 in all; a single `SET` of
//! 16 and 16 bytes takes 59 without and about 100 with them; with a pipeline or many clients a batch is many commands.
//! Nothing here reads or writes files.

use std::io::Write;

/// The line before a batch.
pub const BEGIN: &[u8] = b"#{\r\n";

/// What the first line of a part of ours begins with.
pub const HEAD: &[u8] = b"#HV";

/// What a seal begins with.
pub const SEAL: &[u8] = b"#}";

/// The version of the lines that is written.
const VERSION: &str = "#HV1 ";

/// How a file of the log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Its number in the manifest.
    pub seq: u64,
    /// Its length.
    pub length: u64,
    /// The chain of its seals.
    pub chain: u32,
}

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in the manifest.
    pub seq: u64,
    /// It is a base.
    pub base: bool,
    /// The end of the part before it.
    pub after: End,
    /// The chain begins with this.
    pub chain: u32,
}

/// What a seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The checksum of the batch.
    pub crc: u32,
    /// The chain up to here.
    pub chain: u32,
    /// Where the batch begins in the file.
    pub from: u64,
    /// How many bytes before it were not known to be durable.
    pub loose: u64,
}

/// The state of a file's checksums between two seals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The chain up to the last seal.
    pub chain: u32,
    /// Where that seal ends.
    pub from: u64,
    /// The checksum of the bytes since.
    crc: u32,
    /// How many they are.
    pub open: u64,
}

impl Chain {
    /// A file begins: appends its head to `out`.
    pub fn begin(seq: u64, base: bool, after: End, out: &mut Vec<u8>) -> Chain {
        let start = out.len();
        let End { seq: last, length, chain } = after;
        let _ = match base {
            true => write!(out, "{VERSION}base={seq}"),
            false => write!(out, "{VERSION}part={seq} after={last}:{length}:{chain:08x}"),
        };
        let crc = crc32c::crc32c(&out[start..]);
        let _ = write!(out, " crc={crc:08x}\r\n");
        Chain { chain: crc, from: (out.len() - start) as u64, crc: 0, open: 0 }
    }

    /// Where the file goes on.
    pub fn length(&self) -> u64 {
        self.from + self.open
    }

    /// Bytes that no seal has followed yet.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.open += bytes.len() as u64;
    }

    /// Seals `batch` and all that was passed before: appends the line to it. `durable`: bytes of the file that are
    /// known to be so.
    pub fn seal(&mut self, batch: &mut Vec<u8>, durable: u64) {
        self.pass(batch);
        let loose = self.from.saturating_sub(durable);
        let crc = self.closing_crc(self.from, loose);
        self.chain = link(self.chain, crc);
        let start = batch.len();
        let _ = write!(batch, "#}}{crc:08x} {:08x} {} {loose}\r\n", self.chain, self.from);
        *self = Chain { chain: self.chain, from: self.length() + (batch.len() - start) as u64, crc: 0, open: 0 };
    }

    /// Whether a seal that ends `line_bytes` further on is what should stand here; goes on behind it if so.
    pub fn check(&mut self, seal: &Seal, line_bytes: u64) -> bool {
        let fits = self.vouches(seal) && seal.chain == link(self.chain, seal.crc);
        if fits {
            *self = Chain { chain: seal.chain, from: self.length() + line_bytes, crc: 0, open: 0 };
        }
        fits
    }

    /// Whether a seal stands behind the bytes that it was written for, whatever came before them.
    pub fn vouches(&self, seal: &Seal) -> bool {
        seal.from == self.from && seal.crc == self.closing_crc(seal.from, seal.loose)
    }

    /// Goes on behind a seal that does not fit.
    pub fn restart(&mut self, chain: u32, at: u64) {
        *self = Chain { chain, from: at, crc: 0, open: 0 };
    }

    fn closing_crc(&self, from: u64, loose: u64) -> u32 {
        let crc = crc32c::crc32c_append(self.crc, &from.to_le_bytes());
        crc32c::crc32c_append(crc, &loose.to_le_bytes())
    }
}

fn link(chain: u32, crc: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&chain.to_le_bytes()), &crc.to_le_bytes())
}

/// Reads a seal: a whole line.
pub fn read_seal(line: &[u8]) -> Option<Seal> {
    let mut words = std::str::from_utf8(line.strip_prefix(SEAL)?.strip_suffix(b"\r\n")?).ok()?.split(' ');
    let (crc, chain) = (hex(words.next()?)?, hex(words.next()?)?);
    let (from, loose) = (number(words.next()?)?, number(words.next()?)?);
    (words.next().is_none() && loose <= from).then_some(Seal { crc, chain, from, loose })
}

/// Reads a head: a whole line. An error is a head that is damaged or of a later version.
///
/// # Errors
/// In words.
pub fn read_head(line: &[u8]) -> Result<Head, &'static str> {
    let text = std::str::from_utf8(line).ok().and_then(|text| text.strip_suffix("\r\n")).unwrap_or_default();
    let (said, crc) = text.rsplit_once(" crc=").ok_or("its first line is damaged")?;
    let chain = hex(crc).filter(|crc| *crc == crc32c::crc32c(said.as_bytes()));
    let chain = chain.ok_or("its first line is damaged")?;
    let words = said.strip_prefix(VERSION).ok_or("it was written by a later version of this server")?;
    let read = || {
        if let Some(seq) = words.strip_prefix("base=") {
            return Some(Head { seq: number(seq)?, base: true, after: End::default(), chain });
        }
        let (seq, after) = words.strip_prefix("part=")?.split_once(" after=")?;
        let mut after = after.splitn(3, ':');
        let (last, length, link) = (number(after.next()?)?, number(after.next()?)?, hex(after.next()?)?);
        let after = End { seq: last, length, chain: link };
        Some(Head { seq: number(seq)?, base: false, after, chain })
    };
    read().ok_or("its first line is damaged")
}

/// Eight digits, as they are written.
fn hex(digits: &str) -> Option<u32> {
    let plain = digits.len() == 8 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// A number as it is written: no sign, no zero in front.
fn number(digits: &str) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let after = End { seq: 2, length: 8123, chain: 0xa1b2_c3d4 };
        let mut file = Vec::new();
        let mut chain = Chain::begin(3, false, after, &mut file);
        let head = read_head(&file).unwrap();
        assert_eq!(head, Head { seq: 3, base: false, after, chain: chain.chain });
        let mut reader = chain;
        let mut batch = b"#{\r\n*1\r\n$4\r\nPING\r\n".to_vec();
        let bytes = batch.len();
        chain.seal(&mut batch, 10);
        let line = &batch[bytes..];
        let seal = read_seal(line).unwrap();
        assert_eq!((seal.from, seal.loose), (file.len() as u64, file.len() as u64 - 10));
        reader.pass(&batch[..bytes]);
        assert!(reader.check(&seal, line.len() as u64));
        assert_eq!(reader, chain);
        assert!(line.len() + BEGIN.len() <= 40, "{}", line.escape_ascii());
    }

    #[test]
    fn every_changed_bit_of_a_line_or_its_batch_is_found() {
        let mut file = Vec::new();
        let chain = Chain::begin(3, false, End::default(), &mut file);
        for bit in 0..file.len() * 8 {
            let mut other = file.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(read_head(&other).is_err(), "bit {bit}: {}", other.escape_ascii());
        }
        let mut batch = b"#{\r\n*1\r\n$4\r\nPING\r\n".to_vec();
        let bytes = batch.len();
        chain.clone().seal(&mut batch, 0);
        for bit in 0..batch.len() * 8 {
            let mut other = batch.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let mut reader = chain;
            reader.pass(&other[..bytes]);
            let fits = read_seal(&other[bytes..]).is_some_and(|seal| reader.check(&seal, 1));
            assert!(!fits, "bit {bit}: {}", other.escape_ascii());
        }
    }
}
