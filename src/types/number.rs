//! Strict parsing and exact formatting of numbers.
//!
//! Text in, number out, and back: integers as Redis' `string2ll` accepts them, doubles as its
//! `string2d` reads and `d2string` prints them, sizes as in redis.conf. Not here: the 80-bit
//! arithmetic of INCRBYFLOAT (`long_double`).
//!
//! Invariants: no function panics on any input; [`format_i64`] of a number parses back to it with
//! [`parse_i64`], [`format_f64`] with [`parse_f64`] (NaN excepted).
//!
//! Counterpart: util.c in Redis.

mod grisu;

/// Parses a canonical decimal: no plus sign, leading zero, space or `-0`.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let magnitude = parse_u64(digits)?;
    if !negative {
        i64::try_from(magnitude).ok()
    } else if magnitude == 0 {
        None
    } else {
        0i64.checked_sub_unsigned(magnitude)
    }
}

/// Parses a canonical unsigned decimal: digits only, no leading zero.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= 20 => {}
        _ => return None,
    }
    // Nineteen digits cannot overflow.
    let (head, tail) = text.split_at(text.len().min(19));
    let mut value = 0u64;
    for &byte in head {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    for &byte in tail {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Parses a size as in redis.conf: digits, then nothing or `b`, `k`, `kb`, `m`, `mb`, `g`, `gb` in any
/// case. `k` is 1000, `kb` is 1024. No digits are 0, as in Redis; a size past 64 bits is refused.
pub fn parse_memory(text: impl AsRef<[u8]>) -> Option<u64> {
    let text = text.as_ref();
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    const UNITS: [(&[u8], u64); 8] = [
        (b"", 1),
        (b"b", 1),
        (b"k", 1000),
        (b"kb", 1 << 10),
        (b"m", 1_000_000),
        (b"mb", 1 << 20),
        (b"g", 1_000_000_000),
        (b"gb", 1 << 30),
    ];
    let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    let mut value = 0u64;
    for &byte in digits {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    value.checked_mul(*factor)
}

/// Parses a whole text as a double: decimal or hexadecimal, `inf`, `infinity`, signs. Refused are
/// spaces, trailing bytes, NaN, and what a double cannot hold (1e400, 1e-400).
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    parse_f64_or_nan(text).filter(|value| !value.is_nan())
}

/// As [`parse_f64`], but `nan` is a value, for callers with an error of its own for it.
pub fn parse_f64_or_nan(text: &[u8]) -> Option<f64> {
    if matches!(text.first()?, b' ' | 9..=13) {
        return None;
    }
    let parsed = strtod(text);
    (parsed.len == text.len() && !parsed.out_of_range).then_some(parsed.value)
}

/// Parses an end of a score range: a decimal or `inf`, exclusive after `(` (the second value). Unlike
/// [`parse_f64`] it takes no hexadecimal, what a double cannot hold becomes infinity or zero, and nothing
/// is 0.
pub fn parse_bound(text: &[u8]) -> Option<(f64, bool)> {
    let (rest, exclusive) = match text {
        [b'(', rest @ ..] => (rest, true),
        _ => (text, false),
    };
    let Some(first) = rest.first() else {
        return Some((0.0, exclusive));
    };
    if matches!(first, b' ' | 9..=13) || rest.iter().any(|b| b.eq_ignore_ascii_case(&b'x')) {
        return None;
    }
    let parsed = strtod(rest);
    (parsed.len == rest.len() && !parsed.value.is_nan()).then_some((parsed.value, exclusive))
}

/// What [`strtod`] read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parsed {
    /// The number, 0 if there is none.
    pub value: f64,
    /// Bytes read, 0 if there is no number.
    pub len: usize,
    /// The text names a number that became infinity or zero.
    pub out_of_range: bool,
}

/// Reads the longest number at the start of a text like C's `strtod`: leading spaces, sign, decimal or
/// hexadecimal digits, exponent, `inf`, `infinity`, `nan`, `nan(…)`, in any case.
pub fn strtod(text: &[u8]) -> Parsed {
    const NONE: Parsed = Parsed { value: 0.0, len: 0, out_of_range: false };
    let blanks = text.iter().take_while(|b| matches!(b, b' ' | 9..=13)).count();
    let mut at = blanks;
    let negative = text.get(at) == Some(&b'-');
    if negative || text.get(at) == Some(&b'+') {
        at += 1;
    }
    let rest = &text[at..];
    let (magnitude, len, out_of_range) = if let Some((value, len)) = named(rest) {
        (value, len, false)
    } else if let Some(hex) = hexadecimal(rest) {
        (hex.value, hex.len, hex.out_of_range)
    } else {
        let scan = scan_decimal(rest);
        if scan.len == 0 {
            return NONE;
        }
        // Only digits, at most one dot and a complete exponent: the standard parser takes them all,
        // and rounds to nearest.
        let value = std::str::from_utf8(&rest[..scan.len]).ok().and_then(|t| t.parse::<f64>().ok());
        let value = value.unwrap_or(0.0);
        (value, scan.len, value.is_infinite() || (value == 0.0 && scan.nonzero))
    };
    Parsed { value: if negative { -magnitude } else { magnitude }, len: at + len, out_of_range }
}

/// The shape of a decimal number at the start of a text.
pub(super) struct DecimalScan {
    /// Bytes that belong to the number, 0 if there is none.
    pub len: usize,
    /// Bytes before the exponent (digits and dot).
    pub mantissa_len: usize,
    /// Whether any digit is not zero.
    pub nonzero: bool,
}

/// Finds the end of an unsigned decimal number. An exponent without digits does not belong to it.
pub(super) fn scan_decimal(text: &[u8]) -> DecimalScan {
    let mut len = 0;
    let (mut digits, mut dot, mut nonzero) = (false, false, false);
    while let Some(&byte) = text.get(len) {
        match byte {
            b'0'..=b'9' => {
                digits = true;
                nonzero |= byte != b'0';
            }
            b'.' if !dot => dot = true,
            _ => break,
        }
        len += 1;
    }
    if !digits {
        return DecimalScan { len: 0, mantissa_len: 0, nonzero: false };
    }
    let exponent = exponent_len(&text[len..], b'e');
    DecimalScan { len: len + exponent, mantissa_len: len, nonzero }
}

/// Length of a complete exponent (`e+5`), 0 if there is none.
fn exponent_len(text: &[u8], letter: u8) -> usize {
    if !text.first().is_some_and(|b| b.eq_ignore_ascii_case(&letter)) {
        return 0;
    }
    let sign = usize::from(matches!(text.get(1), Some(b'+' | b'-')));
    let digits = text[1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 { 0 } else { 1 + sign + digits }
}

/// Value of an exponent that [`exponent_len`] measured, clamped far outside every number format.
pub(super) fn exponent_value(text: &[u8]) -> i64 {
    let Some((_, rest)) = text.split_first() else {
        return 0;
    };
    let (negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, rest),
    };
    const CLAMP: i64 = 1 << 40;
    let value = digits.iter().fold(0i64, |v, b| (v * 10 + i64::from(b - b'0')).min(CLAMP));
    if negative { -value } else { value }
}

/// `inf`, `infinity`, `nan` and `nan(word)`, with their length.
pub(super) fn named(text: &[u8]) -> Option<(f64, usize)> {
    let starts = |word: &[u8]| text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word);
    if starts(b"infinity") {
        Some((f64::INFINITY, 8))
    } else if starts(b"inf") {
        Some((f64::INFINITY, 3))
    } else if starts(b"nan") {
        let tail = &text[3..];
        let word = tail.iter().skip(1).take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let closed = tail.first() == Some(&b'(') && tail.get(1 + word) == Some(&b')');
        Some((f64::NAN, if closed { 3 + word + 2 } else { 3 }))
    } else {
        None
    }
}

/// A hexadecimal number as its leading bits: `significand * 2^exponent`, plus `sticky` if nonzero bits
/// below were cut off. At least 125 bits are kept then.
pub(super) struct HexScan {
    pub significand: u128,
    pub exponent: i64,
    pub sticky: bool,
    pub len: usize,
}

/// Reads `0x` digits with an optional dot and `p` exponent; `None` if the text does not start like that.
pub(super) fn scan_hexadecimal(text: &[u8]) -> Option<HexScan> {
    if text.len() < 3 || text[0] != b'0' || !text[1].eq_ignore_ascii_case(&b'x') {
        return None;
    }
    let mut scan = HexScan { significand: 0, exponent: 0, sticky: false, len: 2 };
    let (mut digits, mut dot) = (false, false);
    while let Some(&byte) = text.get(scan.len) {
        if let Some(digit) = char::from(byte).to_digit(16) {
            digits = true;
            if scan.significand >> 124 == 0 {
                scan.significand = scan.significand << 4 | u128::from(digit);
                scan.exponent -= if dot { 4 } else { 0 };
            } else {
                scan.sticky |= digit != 0;
                scan.exponent += if dot { 0 } else { 4 };
            }
        } else if byte == b'.' && !dot {
            dot = true;
        } else {
            break;
        }
        scan.len += 1;
    }
    if !digits {
        return None;
    }
    let exponent = exponent_len(&text[scan.len..], b'p');
    scan.exponent += exponent_value(&text[scan.len..scan.len + exponent]);
    scan.len += exponent;
    Some(scan)
}

/// `wide / 2^drop` rounded half to even; `sticky` says that the true value is a little more than `wide`.
pub(super) fn shift_right_even(wide: u128, drop: i64, sticky: bool) -> u128 {
    let (kept, rest) = match drop {
        ..=0 => return wide << -drop,
        1..128 => (wide >> drop, wide << (128 - drop)),
        128 => (0, wide),
        _ => return 0,
    };
    const HALF: u128 = 1 << 127;
    let up = rest > HALF || (rest == HALF && (sticky || kept & 1 == 1));
    kept + u128::from(up)
}

fn hexadecimal(text: &[u8]) -> Option<Parsed> {
    let HexScan { significand, exponent, sticky, len } = scan_hexadecimal(text)?;
    if significand == 0 {
        return Some(Parsed { value: 0.0, len, out_of_range: false });
    }
    // Binary exponent of the top bit, then of the last bit that is kept.
    let top = exponent + 127 - i64::from(significand.leading_zeros());
    if top > 1023 {
        return Some(Parsed { value: f64::INFINITY, len, out_of_range: true });
    }
    let last = (top - 52).max(-1074);
    let kept = shift_right_even(significand, last - exponent, sticky) as u64;
    // A carry out of the significand moves into the exponent field by itself.
    let bits = if top >= -1022 { ((top + 1022) as u64) << 52 } else { 0 };
    let value = f64::from_bits(bits + kept);
    Some(Parsed { value, len, out_of_range: value.is_infinite() || value == 0.0 })
}

/// Scratch space for [`format_i64`].
#[derive(Clone, Copy, Default)]
pub struct IntBuf(itoa::Buffer);

impl IntBuf {
    /// Room for one integer.
    pub fn new() -> IntBuf {
        IntBuf(itoa::Buffer::new())
    }

    /// The decimal text of a signed integer.
    pub fn format(&mut self, value: i64) -> &str {
        self.0.format(value)
    }

    /// The decimal text of an unsigned integer.
    pub fn format_u64(&mut self, value: u64) -> &str {
        self.0.format(value)
    }
}

/// The decimal text of an integer.
pub fn format_i64(value: i64, buf: &mut IntBuf) -> &str {
    buf.format(value)
}

/// Scratch space for [`format_f64`].
#[derive(Clone, Copy)]
pub struct FloatBuf([u8; 40]);

impl Default for FloatBuf {
    fn default() -> FloatBuf {
        FloatBuf::new()
    }
}

impl FloatBuf {
    /// Room for one double.
    pub const fn new() -> FloatBuf {
        FloatBuf([0; 40])
    }

    /// The text of a double as bytes, see [`format_f64`].
    pub fn format(&mut self, value: f64) -> &[u8] {
        let len = write_f64(value, &mut self.0);
        &self.0[..len]
    }
}

/// Appends a double with 17 significant digits as C's `%.17g` writes it: what ZSCAN shows.
pub fn format_17_digits(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(FloatBuf::new().format(value));
    }
    // One digit, a point, 16 digits, the exponent.
    let text = format!("{:.16e}", value.abs());
    let Some((digits, exponent)) = text.split_once('e') else { return };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let digits: Vec<u8> = digits.bytes().filter(|byte| *byte != b'.').collect();
    let significant = digits.iter().rposition(|digit| *digit != b'0').map_or(1, |last| last + 1);
    if (-4..17).contains(&exponent) {
        out.extend_from_slice(&b"0.000"[..if exponent < 0 { 1 + exponent.unsigned_abs() as usize } else { 0 }]);
        let point = usize::try_from(exponent + 1).unwrap_or(0);
        out.extend_from_slice(&digits[..point]);
        if significant > point {
            if point > 0 {
                out.push(b'.');
            }
            out.extend_from_slice(&digits[point..significant]);
        }
        return;
    }
    out.push(digits[0]);
    if significant > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..significant]);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
}

/// The text of a double as Redis prints scores: integers plainly up to 2^62, otherwise the digits of
/// Grisu2, with an exponent when the plain form would be long; `inf`, `-inf`, `nan`, `-0`.
pub fn format_f64(value: f64, buf: &mut FloatBuf) -> &str {
    std::str::from_utf8(buf.format(value)).unwrap_or_default()
}

fn put(out: &mut [u8; 40], at: usize, text: &[u8]) -> usize {
    out[at..at + text.len()].copy_from_slice(text);
    at + text.len()
}

/// The text of a double in the digits of Grisu2, integers too; `inf`, `-inf`, `nan`, `-0`.
pub fn format_grisu(value: f64, buf: &mut FloatBuf) -> &str {
    let len = write_signed(value, &mut buf.0, write_grisu);
    std::str::from_utf8(&buf.0[..len]).unwrap_or_default()
}

fn write_f64(value: f64, out: &mut [u8; 40]) -> usize {
    write_signed(value, out, |value, at, out| {
        const INTEGER_MAX: f64 = (1u64 << 62) as f64;
        if value <= INTEGER_MAX && value as u64 as f64 == value {
            return put(out, at, itoa::Buffer::new().format(value as u64).as_bytes());
        }
        write_grisu(value, at, out)
    })
}

/// Writes the sign and what is no number; `finite` writes the magnitude of anything else.
#[inline]
fn write_signed(value: f64, out: &mut [u8; 40], finite: impl Fn(f64, usize, &mut [u8; 40]) -> usize) -> usize {
    if value.is_nan() {
        return put(out, 0, b"nan");
    }
    let mut at = 0;
    if value.is_sign_negative() {
        at = put(out, 0, b"-");
    }
    let value = value.abs();
    if value.is_infinite() {
        return put(out, at, b"inf");
    }
    finite(value, at, out)
}

fn write_grisu(value: f64, at: usize, out: &mut [u8; 40]) -> usize {
    if value == 0.0 {
        return put(out, at, b"0");
    }
    let mut digits = [0; grisu::MAX_DIGITS];
    let (count, k) = grisu::digits(value, &mut digits);
    write_digits(&digits[..count], k, at, out)
}

/// Lays out `digits * 10^k` after `at` bytes (a sign or nothing).
fn write_digits(digits: &[u8], k: i32, at: usize, out: &mut [u8; 40]) -> usize {
    const ZEROS: &[u8] = b"00000000000000000000";
    let count = digits.len();
    let exponent = k + count as i32 - 1;
    if k >= 0 && exponent < count as i32 + 7 {
        let at = put(out, at, digits);
        return put(out, at, &ZEROS[..k as usize]);
    }
    if k < 0 && (k > -7 || exponent.abs() < 4) {
        let point = count as i32 + k;
        if point <= 0 {
            let at = put(out, at, b"0.");
            let at = put(out, at, &ZEROS[..-point as usize]);
            return put(out, at, digits);
        }
        let (integer, fraction) = digits.split_at(point as usize);
        let at = put(out, at, integer);
        let at = put(out, at, b".");
        return put(out, at, fraction);
    }
    // Redis keeps 18 characters of sign and digits.
    let kept = count.min(18 - at);
    let mut at = put(out, at, &digits[..1]);
    if kept > 1 {
        at = put(out, at, b".");
        at = put(out, at, &digits[1..kept]);
    }
    at = put(out, at, if k + kept as i32 - 1 < 0 { b"e-" } else { b"e+" });
    put(out, at, itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seventeen_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (-12345.678, "-12345.678"),
            (0.1, "0.10000000000000001"),
            (0.001, "0.001"),
            (0.00012, "0.00012"),
            (-1e-7, "-9.9999999999999995e-08"),
            (1e16, "10000000000000000"),
            (12345678901234567.0, "12345678901234568"),
            (1e17, "1e+17"),
            (1e300, "1.0000000000000001e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut out = Vec::new();
            format_17_digits(value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    fn random(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed | 1;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }
    }

    fn shown(value: f64) -> String {
        format_f64(value, &mut FloatBuf::new()).to_string()
    }

    #[test]
    fn integers_are_canonical() {
        for text in ["0", "1", "-1", "10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse_i64(text.as_bytes()), text.parse().ok(), "{text}");
        }
        for text in ["", "-", "+1", "01", "-0", "-01", " 1", "1 ", "1a", "9223372036854775808", "0x1"] {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_i64(b"-9223372036854775809"), None);
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"184467440737095516150"), None);
        let mut next = random(1);
        for _ in 0..10_000 {
            let value = (next() >> (next() % 64)) as i64;
            let mut buf = IntBuf::new();
            assert_eq!(parse_i64(format_i64(value, &mut buf).as_bytes()), Some(value));
            assert_eq!(parse_i64(format_i64(value.wrapping_neg(), &mut buf).as_bytes()), Some(-value));
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [
            ("100", Some(100)),
            ("1b", Some(1)),
            ("1k", Some(1000)),
            ("1Kb", Some(1024)),
            ("512MB", Some(512 << 20)),
            ("1g", Some(1_000_000_000)),
            ("1gb", Some(1 << 30)),
            ("kb", Some(0)),
            ("-1", None),
            ("1.5gb", None),
            ("1 kb", None),
            ("1t", None),
            ("18446744073709551616", None),
            ("20000000000gb", None),
        ] {
            assert_eq!(parse_memory(text), size, "{text}");
        }
    }

    #[test]
    fn doubles_are_read_like_c() {
        for (text, value) in [
            ("1", 1.0),
            ("+1.", 1.0),
            ("-.5e1", -5.0),
            ("1E5", 1e5),
            ("0x10", 16.0),
            ("-0X1.8p-1", -0.75),
            ("0x1.fffffffffffff7p0", 2.0 - f64::EPSILON),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.8p-1075", f64::from_bits(1)),
            ("0x1p-1022", f64::MIN_POSITIVE),
            ("iNf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0e99999999999999999999", 0.0),
            ("2.5e-324", f64::from_bits(1)),
            ("1e0000000000000000000000005", 1e5),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "",
            " 1",
            "1 ",
            "\x0b1",
            ".",
            "-",
            "1e",
            "1e+",
            "1..2",
            "nan",
            "-nan(1)",
            "infinit",
            "0x",
            "0xg",
            "0x1p",
            "1e400",
            "1e-400",
            "0x1p-1075",
            "0x1.fffffffffffff8p1023",
            "1\0",
            "1_0",
            "++1",
        ] {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text}");
        }
        assert!(parse_f64_or_nan(b"nan").is_some_and(f64::is_nan));
        assert_eq!(strtod(b" 12abc"), Parsed { value: 12.0, len: 3, out_of_range: false });
        assert_eq!(strtod(b"0xg").len, 1);
        assert_eq!(strtod(b"nan(ab_1)x").len, 9);
        assert_eq!(strtod(b" x").len, 0);
        let huge = [&b"0x"[..], &[b'f'; 400], b"p-1600"].concat();
        assert_eq!(parse_f64(&huge), Some(1.0));
    }

    #[test]
    fn bounds() {
        assert_eq!(parse_bound(b"(1.5"), Some((1.5, true)));
        assert_eq!(parse_bound(b"-inf"), Some((f64::NEG_INFINITY, false)));
        assert_eq!(parse_bound(b"1e400"), Some((f64::INFINITY, false)));
        assert_eq!(parse_bound(b"("), Some((0.0, true)));
        for text in ["((1", " 1", "1 ", "0x5", "nan", "a", "( 1"] {
            assert_eq!(parse_bound(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_print_as_scores() {
        for (value, text) in [
            (0.1, "0.1"),
            (-0.0, "-0"),
            (3.0, "3"),
            (1e-7, "1e-7"),
            (0.00001, "0.00001"),
            (1.5e-5, "0.000015"),
            (1e17, "100000000000000000"),
            (1e20, "1e+20"),
            (1e100, "1e+100"),
            (-1.5e-300, "-1.5e-300"),
            (123_456_789.123_456_79, "1.2345678912345679e+8"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::from_bits(1), "5e-324"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(shown(value), text);
        }
    }

    #[test]
    fn printed_doubles_read_back() {
        let mut next = random(2);
        for i in 0..200_000u64 {
            let bits = match i % 3 {
                0 => next(),
                1 => (next() as f64 / 1000.0).to_bits(),
                // Near powers of two and in the subnormals.
                _ => ((next() % 2048) << 52).wrapping_add(next() % 5).wrapping_sub(2),
            };
            let value = f64::from_bits(bits);
            if !value.is_nan() {
                let text = shown(value);
                assert!(text.len() <= 26, "{text}");
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), bits, "{text}");
            }
        }
    }
}
