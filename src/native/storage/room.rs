//! Room laid out ahead in the last part of the log (`appendfsync always`).
//!
//! A flush of a file that has grown stores the file's new length, too, in the journal of the file system; a flush of
//! bytes that only replace others does not. So behind the last batch stand lines of a single `#`, which every loader of
//! such logs skips; the next batches replace them. Measured on ext4: 240 to 280 microseconds where the file grows, 135
//! to 170 within room; with 50 clients that wait for each reply 1.13 to 1.2 times as many writes a second, and 1.2 to
//! 1.4 times with a pipeline of 16; room of 1 MB makes no difference to 64 KB.
//!
//! An even offset has the `#`, an odd one the end of the line; where a batch ends at an odd offset, a `#` is put there,
//! and the first line has two of them. When the part is left, its room is cut off.
//!
//! A power cut leaves sectors as they were before or as they are now, so room within a batch tells that the batch is
//! torn. Room ends in the middle of a sector: what another server has appended behind it begins there, and a piece of a
//! torn batch begins where a sector does. Nothing here reads or writes files.

use super::seal::SEAL;

/// So much is laid out at once.
const ROOM_BYTES: u64 = 64 * 1024;

/// A stretch that is longer than this was not laid out by us, and need not be kept until it is known what follows.
pub const LONGEST: u64 = 4 * ROOM_BYTES;

/// What a disk writes as a whole, at the least.
pub const SECTOR: u64 = 512;

/// Fewer bytes than this are no sign of anything.
const FEWEST: usize = 32;

/// What stands at an offset of a file, if it is room.
fn byte(at: u64) -> u8 {
    if at.is_multiple_of(2) { b'#' } else { b'\n' }
}

/// Whether what begins with these bytes, between batches, is room.
pub fn begins(bytes: &[u8]) -> bool {
    matches!(bytes, [b'#', b'#' | b'\n', ..])
}

/// Whether a batch that ends at this offset leaves a line of the room that ends at `room`.
pub fn fits(batch_end: u64, room: u64) -> bool {
    batch_end + 1 < room
}

/// Room behind a batch that ends at this offset.
pub fn lay_out(batch_end: u64) -> Vec<u8> {
    let end = (batch_end + ROOM_BYTES) / SECTOR * SECTOR + SECTOR / 2;
    let mut bytes = b"\n#".repeat((end - batch_end) as usize / 2 + 1);
    bytes.drain(..1 - (batch_end % 2) as usize);
    bytes.truncate((end - batch_end) as usize);
    bytes[0] = b'#';
    bytes
}

/// How many of `bytes`, which stand at offset `at`, are room.
pub fn measure(at: u64, bytes: &[u8]) -> usize {
    let first = usize::from(bytes.first() == Some(&b'#'));
    first + bytes.iter().zip(at..).skip(first).take_while(|(found, at)| **found == byte(*at)).count()
}

/// Whether there is room, left from before, within the batch that begins at offset `at`, and not behind it: whether
/// the batch is torn.
pub fn tears(at: u64, rest: &[u8]) -> bool {
    let mut run = 0;
    for (index, (found, here)) in rest.iter().zip(at..).enumerate() {
        let room = *found == byte(here) || (index == 0 && *found == b'#');
        run = if room { run + 1 } else { 0 };
        let (last, whole) = (index + 1 == rest.len(), run == index + 1);
        let ends = (here + 1).is_multiple_of(SECTOR) || last;
        // Nothing of ours that ends where a sector does looks like this from its beginning on; and where the room behind it
        // has been cut off already, the last sector may hold little of it.
        let little = last && run as u64 > here % SECTOR;
        if ends && (run >= FEWEST || little || (whole && (run > 1 || rest[0] != b'#'))) {
            // A seal may end in what looks like room, too, and a `#` may stand behind it.
            let start = index + 1 - run;
            let ends = [start.saturating_sub(1), start, start + usize::from(rest[start] == b'\n')];
            return !ends.into_iter().any(|end| ends_with_seal(&rest[..end], at));
        }
    }
    false
}

/// Whether the last line is the seal of a batch that begins at `from`, damaged or not: it begins like one, or it ends
/// like one, or a single byte of it is wrong.
fn ends_with_seal(bytes: &[u8], from: u64) -> bool {
    let from = from.to_string();
    if let Some(text) = bytes.strip_suffix(b"\r\n") {
        let line = memchr::memrchr(b'\n', text).map_or(text, |end| &text[end + 1..]);
        let mut words = line.rsplit(|byte| *byte == b' ').skip(1);
        if line.starts_with(SEAL) || words.next() == Some(from.as_bytes()) {
            return true;
        }
    }
    // The last number is not known, and no longer than this.
    (1..=20).any(|digits| {
        let pattern = [SEAL, b"xxxxxxxx xxxxxxxx ", from.as_bytes(), b" ", &b"9".repeat(digits), b"\r\n"].concat();
        let Some(line) = bytes.len().checked_sub(pattern.len()).map(|start| &bytes[start..]) else { return false };
        let wrong = |(found, wanted): (&u8, &u8)| match wanted {
            b'x' => usize::from(!found.is_ascii_hexdigit()),
            // More digits than these: the end of the line is missing.
            b'\r' if found.is_ascii_digit() => 2,
            _ if wanted.is_ascii_digit() => usize::from(!found.is_ascii_digit()),
            _ => usize::from(found != wanted),
        };
        line.iter().zip(&pattern).map(wrong).sum::<usize>() <= 1
    })
}

#[cfg(test)]
mod tests {
    use super::super::seal::{BEGIN, Chain};
    use super::*;

    fn file(batches: usize) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        let mut chain = Chain::begin(1, false, Default::default(), &mut bytes);
        let mut last = 0;
        for number in 0..batches {
            last = chain.length();
            let mut batch = BEGIN.to_vec();
            batch.extend_from_slice(&b"*1\r\n$4\r\nPING\r\n".repeat(50 + number));
            chain.seal(&mut batch, last);
            bytes.extend_from_slice(&batch);
        }
        (bytes, last)
    }

    #[test]
    fn room_is_lines_and_ends_within_a_sector() {
        for end in 1000..1030 {
            let room = lay_out(end);
            assert_eq!((end + room.len() as u64) % SECTOR, SECTOR / 2, "{end}");
            assert_eq!(measure(end, &room), room.len(), "{end}");
            assert!(begins(&room) && room.ends_with(b"\n"));
            assert!(room.split(|byte| *byte == b'\n').all(|line| line.is_empty() || line.starts_with(b"#")));
        }
        assert!(fits(998, 1000) && !fits(999, 1000) && !fits(1000, 1000));
    }

    #[test]
    fn a_batch_before_room_is_torn_only_if_its_end_is_missing() {
        for batches in 1..9 {
            let (mut bytes, last) = file(batches);
            let end = bytes.len() as u64;
            bytes.extend_from_slice(&lay_out(end));
            let rest = |bytes: &[u8]| bytes[last as usize..].to_vec();
            assert!(!tears(last, &rest(&bytes)));
            // A wrong byte is no tear, wherever it is.
            for at in last as usize..end as usize {
                let mut wrong = bytes.clone();
                wrong[at] ^= 0x55;
                assert!(!tears(last, &rest(&wrong)), "{at} of {last} to {end}");
            }
            // A sector that never came is one.
            let mut sector = last / SECTOR * SECTOR;
            while sector < end {
                let mut torn = bytes.clone();
                for at in sector.max(last)..(sector + SECTOR).min(end) {
                    torn[at as usize] = byte(at);
                }
                assert!(tears(last, &rest(&torn)), "sector at {sector} of {last} to {end}");
                // The room has been cut off already, when the part was left or opened again.
                if sector > last {
                    assert!(tears(last, &torn[last as usize..end as usize]), "no room, and none at {sector} to {end}");
                }
                sector += SECTOR;
            }
        }
    }
}
