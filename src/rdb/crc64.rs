//! CRC-64 as RDB files and DUMP payloads use it: polynomial of Jones, reflected, starting at 0.
//!
//! It sums chunks of any size one after another and reads eight bytes at a step ("slicing by 8"). It is a
//! guard against accidents, not against forgers. Redis' counterpart: `crc64.c`.

/// The polynomial, its bits in the order the sum uses them.
const POLYNOMIAL: u64 = 0x95AC_9329_AC4B_C9B5;

/// `TABLES[n][b]` is the sum of the byte `b` followed by `n` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = tables[0][(before & 0xFF) as usize] ^ (before >> 8);
            byte += 1;
        }
        n += 1;
    }
    tables
}

/// A sum in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc64(u64);

impl Crc64 {
    /// The sum of no bytes.
    pub const fn new() -> Crc64 {
        Crc64(0)
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut sum = self.0;
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let word = sum ^ u64::from_le_bytes(*eight);
            let part = |n: usize| TABLES[7 - n][(word >> (8 * n)) as usize & 0xFF];
            sum = part(0) ^ part(1) ^ part(2) ^ part(3) ^ part(4) ^ part(5) ^ part(6) ^ part(7);
        }
        for byte in rest {
            sum = TABLES[0][(sum as u8 ^ byte) as usize] ^ (sum >> 8);
        }
        self.0 = sum;
    }

    /// The sum of all bytes so far.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The sum of these bytes alone.
    pub fn of(bytes: &[u8]) -> u64 {
        let mut sum = Crc64::new();
        sum.update(bytes);
        sum.value()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value() {
        assert_eq!(Crc64::of(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(Crc64::of(b""), 0);
    }

    /// Any cutting gives the sum that bit-by-bit division gives.
    #[test]
    fn chunks_against_bits() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut bits = 0u64;
        for byte in &bytes {
            bits ^= u64::from(*byte);
            for _ in 0..8 {
                bits = if bits & 1 == 1 { (bits >> 1) ^ POLYNOMIAL } else { bits >> 1 };
            }
        }
        for size in [1, 3, 7, 8, 9, 64, 1000] {
            let mut sum = Crc64::new();
            bytes.chunks(size).for_each(|chunk| sum.update(chunk));
            assert_eq!(sum.value(), bits, "{size}");
        }
    }
}
