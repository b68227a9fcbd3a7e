//! 80-bit extended arithmetic for INCRBYFLOAT and HINCRBYFLOAT.
//!
//! Redis adds with C's `long double`, on x86 the x87 format: 64 bits of significand, 15 of exponent. The
//! sums are visible to clients and go into the replication stream, so they are the same here on every
//! platform, in software. Only what these commands need: reading, adding, printing. All results are
//! correctly rounded, half to even.
//!
//! Invariant: a finite number is `mantissa * 2^exponent` with the top bit of the mantissa set, or has
//! the smallest exponent (zero, subnormal).
//!
//! Counterpart: `string2ld` and `ld2string` in Redis, `strtold` and `printf("%.17Lf")` below them.

use std::cmp::Ordering;
use std::fmt;

use super::number::{exponent_value, named, scan_decimal, scan_hexadecimal, shift_right_even};

/// Exponent of subnormals and of the smallest normal numbers.
const EXPONENT_MIN: i64 = -16445;
/// Exponent of the largest numbers.
const EXPONENT_MAX: i64 = 16320;
/// Longest text that is read, as in Redis.
const TEXT_MAX: usize = 5119;
/// Digits after the point.
const FRACTION_DIGITS: usize = 17;
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
    Nan,
}

/// A number in x87 extended precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble {
    negative: bool,
    kind: Kind,
}

impl LongDouble {
    fn zero(negative: bool) -> LongDouble {
        LongDouble { negative, kind: Kind::Finite { mantissa: 0, exponent: EXPONENT_MIN } }
    }

    /// `wide * 2^exponent` rounded. If `sticky` (the true value is a little more), `wide` has at least
    /// 66 bits.
    fn rounded(negative: bool, wide: u128, exponent: i64, sticky: bool) -> LongDouble {
        if wide == 0 {
            return LongDouble::zero(negative);
        }
        let top = exponent + 128 - i64::from(wide.leading_zeros());
        let mut last = (top - 64).max(EXPONENT_MIN);
        let mut kept = shift_right_even(wide, last - exponent, sticky);
        if kept >> 64 != 0 {
            kept >>= 1;
            last += 1;
        }
        let kind = match last {
            ..=EXPONENT_MAX => Kind::Finite { mantissa: kept as u64, exponent: last },
            _ => Kind::Infinite,
        };
        LongDouble { negative, kind }
    }

    /// Parses a whole text: decimal, hexadecimal, `inf`. Refused are spaces, trailing bytes, NaN, texts
    /// of 5120 bytes or more, and numbers beyond the format (1e5000, 1e-5000).
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if let Some((value, len)) = named(rest) {
            let whole = len == rest.len() && !value.is_nan();
            return whole.then_some(LongDouble { negative, kind: Kind::Infinite });
        }
        let (value, nonzero) = if let Some(hex) = scan_hexadecimal(rest) {
            if hex.len != rest.len() {
                return None;
            }
            let value = LongDouble::rounded(negative, hex.significand, hex.exponent, hex.sticky);
            (value, hex.significand != 0)
        } else {
            let scan = scan_decimal(rest);
            if scan.len == 0 || scan.len != rest.len() {
                return None;
            }
            let (mantissa, exponent) = rest.split_at(scan.mantissa_len);
            (decimal(negative, mantissa, exponent_value(exponent)), scan.nonzero)
        };
        let in_range = match value.kind {
            Kind::Finite { mantissa, .. } => mantissa != 0 || !nonzero,
            _ => false,
        };
        in_range.then_some(value)
    }

    /// Whether the number is neither infinite nor NaN.
    pub fn is_finite(self) -> bool {
        matches!(self.kind, Kind::Finite { .. })
    }

    /// Whether the number is NaN, as the sum of two infinities may be.
    pub fn is_nan(self) -> bool {
        self.kind == Kind::Nan
    }

    /// Appends the text Redis stores and replies with: 17 digits after the point without trailing
    /// zeros, never an exponent; `0` for a negative zero.
    pub fn format(self, out: &mut Vec<u8>) {
        let mut digits = Vec::new();
        let fraction = match self.kind {
            Kind::Nan => return out.extend_from_slice(b"nan"),
            Kind::Infinite => {
                return out.extend_from_slice(if self.negative { b"-inf" } else { b"inf" });
            }
            Kind::Finite { mantissa, exponent } => fixed(mantissa, exponent, &mut digits),
        };
        if self.negative && (fraction != 0 || digits != b"0") {
            out.push(b'-');
        }
        out.extend_from_slice(&digits);
        if fraction != 0 {
            // A one in front keeps the leading zeros.
            let mut buffer = itoa::Buffer::new();
            let text = buffer.format(FRACTION_SCALE as u64 + fraction);
            out.push(b'.');
            out.extend_from_slice(text[1..].trim_end_matches('0').as_bytes());
        }
    }
}

impl std::ops::Add for LongDouble {
    type Output = LongDouble;

    fn add(self, other: LongDouble) -> LongDouble {
        let (a, b) = match (self.kind, other.kind) {
            (Kind::Finite { .. }, Kind::Finite { .. }) => (self, other),
            (Kind::Nan, _) | (_, Kind::Nan) => {
                return LongDouble { negative: false, kind: Kind::Nan };
            }
            (Kind::Infinite, Kind::Infinite) if self.negative != other.negative => {
                return LongDouble { negative: false, kind: Kind::Nan };
            }
            (Kind::Infinite, _) => return self,
            (_, Kind::Infinite) => return other,
        };
        add_finite(a, b)
    }
}

/// Adds two finite numbers: both in 126 bits, the smaller shifted right by the distance of the exponents.
fn add_finite(a: LongDouble, b: LongDouble) -> LongDouble {
    const GUARD: i64 = 62;
    let (Kind::Finite { mantissa: ma, exponent: ea }, Kind::Finite { mantissa: mb, exponent: eb }) = (a.kind, b.kind)
    else {
        return LongDouble { negative: false, kind: Kind::Nan };
    };
    if ea < eb {
        return add_finite(b, a);
    }
    let wide_a = u128::from(ma) << GUARD;
    let (unshifted, distance) = (u128::from(mb) << GUARD, ea - eb);
    let wide_b = if distance < 128 { unshifted >> distance } else { 0 };
    let sticky = if distance < 128 { wide_b << distance != unshifted } else { mb != 0 };
    let exponent = ea - GUARD;
    if a.negative == b.negative {
        return LongDouble::rounded(a.negative, wide_a + wide_b, exponent, sticky);
    }
    match wide_a.cmp(&wide_b) {
        Ordering::Equal if !sticky => LongDouble::zero(false),
        // Bits were cut off `b` only if it is far smaller.
        Ordering::Less => LongDouble::rounded(b.negative, wide_b - wide_a, exponent, false),
        _ => LongDouble::rounded(a.negative, wide_a - wide_b - u128::from(sticky), exponent, sticky),
    }
}

impl From<i64> for LongDouble {
    fn from(value: i64) -> LongDouble {
        LongDouble::rounded(value < 0, u128::from(value.unsigned_abs()), 0, false)
    }
}

impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.format(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Rounds a decimal: digits with at most one dot, times ten to the `exponent`.
fn decimal(negative: bool, text: &[u8], exponent: i64) -> LongDouble {
    let point = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let mut digits: Vec<u8> = text.iter().filter(|b| **b != b'.').map(|b| b - b'0').collect();
    // Ten to this is the place of the last digit.
    let mut place = exponent - (digits.len() - point) as i64;
    while digits.last() == Some(&0) {
        digits.pop();
        place += 1;
    }
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[leading..];
    if digits.is_empty() {
        return LongDouble::zero(negative);
    }
    // Beyond these the result is certain, and the integers below stay small.
    match place + digits.len() as i64 {
        ..-4960 => return LongDouble::zero(negative),
        4940.. => {
            return LongDouble { negative, kind: Kind::Infinite };
        }
        _ => {}
    }
    if digits.len() <= 19 && (-18..=19).contains(&place) {
        let value = digits.iter().fold(0u64, |value, digit| value * 10 + u64::from(*digit));
        let scale = 10u128.pow(place.unsigned_abs() as u32);
        if place >= 0 {
            return LongDouble::rounded(negative, u128::from(value) * scale, 0, false);
        }
        let shift = u128::from(value).leading_zeros();
        let wide = u128::from(value) << shift;
        return LongDouble::rounded(negative, wide / scale, -i64::from(shift), wide % scale != 0);
    }
    let mut big = Big::from_digits(digits);
    if place >= 0 {
        big.scale_by_ten(place as usize);
        let (wide, exponent, sticky) = big.top();
        return LongDouble::rounded(negative, wide, exponent, sticky);
    }
    let mut divisor = Big(vec![1]);
    divisor.scale_by_ten(place.unsigned_abs() as usize);
    let (wide, exponent, sticky) = big.divide(divisor);
    LongDouble::rounded(negative, wide, exponent, sticky)
}

/// The digits before the point of `mantissa * 2^exponent`, and its fraction in units of 10^-17,
/// rounded half to even.
fn fixed(mantissa: u64, exponent: i64, digits: &mut Vec<u8>) -> u64 {
    if exponent > 0 {
        let mut big = Big(vec![mantissa as u32, (mantissa >> 32) as u32]);
        big.shift_left(exponent as usize);
        big.write_decimal(digits);
        return 0;
    }
    let scaled = shift_right_even(u128::from(mantissa) * FRACTION_SCALE, -exponent, false);
    digits.extend_from_slice(itoa::Buffer::new().format(scaled / FRACTION_SCALE).as_bytes());
    (scaled % FRACTION_SCALE) as u64
}

/// An unsigned integer of any size: limbs, the least significant first, no zero limb at the end.
#[derive(Clone)]
struct Big(Vec<u32>);

impl Big {
    fn from_digits(digits: &[u8]) -> Big {
        let mut big = Big(Vec::new());
        for chunk in digits.chunks(9) {
            let value = chunk.iter().fold(0, |value, digit| value * 10 + u32::from(*digit));
            big.multiply_add(10u32.pow(chunk.len() as u32), value);
        }
        big
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for limb in &mut self.0 {
            carry += u64::from(*limb) * u64::from(factor);
            *limb = carry as u32;
            carry >>= 32;
        }
        if carry != 0 {
            self.0.push(carry as u32);
        }
    }

    fn scale_by_ten(&mut self, power: usize) {
        for _ in 0..power / 9 {
            self.multiply_add(1_000_000_000, 0);
        }
        self.multiply_add(10u32.pow((power % 9) as u32), 0);
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn shift_left(&mut self, bits: usize) {
        self.multiply_add(1 << (bits % 32), 0);
        self.0.splice(0..0, std::iter::repeat_n(0, bits / 32));
        self.trim();
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for limb in self.0.iter_mut().rev() {
            let next = *limb << 31;
            *limb = *limb >> 1 | carry;
            carry = next;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// The top bits `t`, their exponent, and whether nonzero bits follow: `t * 2^e`.
    fn top(&self) -> (u128, i64, bool) {
        let skip = self.0.len().saturating_sub(4);
        let wide = self.0[skip..].iter().rev().fold(0, |wide, limb| wide << 32 | u128::from(*limb));
        (wide, skip as i64 * 32, self.0[..skip].iter().any(|limb| *limb != 0))
    }

    /// Subtracts `other` if that is not larger.
    fn subtract(&mut self, other: &Big) -> bool {
        let order = self.0.len().cmp(&other.0.len());
        if order.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev())) == Ordering::Less {
            return false;
        }
        let mut borrow = false;
        for (i, limb) in self.0.iter_mut().enumerate() {
            let (value, under) = limb.overflowing_sub(other.0.get(i).copied().unwrap_or(0));
            let (value, under_again) = value.overflowing_sub(u32::from(borrow));
            *limb = value;
            borrow = under || under_again;
        }
        self.trim();
        true
    }

    /// `self / divisor` to at least 70 bits, as [`Big::top`].
    fn divide(mut self, mut divisor: Big) -> (u128, i64, bool) {
        const QUOTIENT_BITS: usize = 71;
        // Shift so that the quotient is below 2^71 and at least 2^69.
        let wanted = divisor.bits() + QUOTIENT_BITS - 1;
        let bits = self.bits();
        let exponent = if bits < wanted {
            self.shift_left(wanted - bits);
            -((wanted - bits) as i64)
        } else {
            divisor.shift_left(bits - wanted);
            (bits - wanted) as i64
        };
        divisor.shift_left(QUOTIENT_BITS - 1);
        let mut quotient = 0u128;
        for i in 0..QUOTIENT_BITS {
            quotient = quotient << 1 | u128::from(self.subtract(&divisor));
            if i + 1 < QUOTIENT_BITS {
                divisor.halve();
            }
        }
        (quotient, exponent, !self.0.is_empty())
    }

    fn write_decimal(mut self, out: &mut Vec<u8>) {
        const CHUNK: u64 = 1_000_000_000;
        let mut chunks = Vec::new();
        while !self.0.is_empty() {
            let mut rest = 0u64;
            for limb in self.0.iter_mut().rev() {
                rest = rest << 32 | u64::from(*limb);
                *limb = (rest / CHUNK) as u32;
                rest %= CHUNK;
            }
            self.trim();
            chunks.push(rest);
        }
        let mut buffer = itoa::Buffer::new();
        let top = chunks.pop().unwrap_or(0);
        out.extend_from_slice(buffer.format(top).as_bytes());
        for chunk in chunks.iter().rev() {
            // A one in front keeps the leading zeros.
            out.extend_from_slice(&buffer.format(CHUNK + chunk).as_bytes()[1..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let [a, b] = [a, b].map(|text| LongDouble::parse(text.as_bytes()).expect(text));
        (a + b).to_string()
    }

    /// What Redis 8.2 on x86-64 replied to SET k a, INCRBYFLOAT k b.
    #[test]
    fn sums_of_a_real_server() {
        for (a, b, result) in [
            ("0.1", "0.2", "0.3"),
            ("5.0e3", "2.0e2", "5200"),
            ("3.0", "0", "3"),
            ("1", "1e-20", "1"),
            ("1e20", "1", "100000000000000000000"),
            ("-0", "-0", "0"),
            ("3", "-3", "0"),
            ("0x10", "0", "16"),
            ("0x1p-2", "0", "0.25"),
            ("1e-17", "0", "0.00000000000000001"),
            ("4.9e-18", "0", "0"),
            ("-1e-30", "0", "0"),
            ("0.000000000000000015", "0", "0.00000000000000002"),
            ("0.00000000000000000500001", "0", "0.00000000000000001"),
            ("1e-4950", "0", "0"),
            ("1.9e-4951", "0", "0"),
        ] {
            assert_eq!(sum(a, b), result, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_refused() {
        let long = format!("{}1", "0".repeat(TEXT_MAX));
        for text in [
            "",
            ".",
            "-",
            " 1",
            "1 ",
            "1e",
            "nan",
            "-nan(1)",
            "1_0",
            "1\0",
            "0x",
            "infx",
            "1e4933",
            "-1e4933",
            "1e-4951",
            "1.8e-4951",
            "1e99999999999999999999",
            "1.18973149535723176509e4932",
            "0x1p20000",
            &long,
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        assert!(LongDouble::parse(&long.as_bytes()[1..]).is_some());
    }

    #[test]
    fn infinities_and_nan() {
        let [inf, minus, one, huge] =
            ["INF", "-infinity", "1", "1e4932"].map(|text| LongDouble::parse(text.as_bytes()).unwrap());
        assert!((inf + minus).is_nan() && !(inf + minus).is_finite());
        assert_eq!((inf + one).to_string(), "inf");
        assert_eq!((one + minus).to_string(), "-inf");
        assert!(!(huge + huge).is_finite());
        assert!((huge + one).is_finite());
    }

    #[test]
    fn integers_are_exact() {
        for value in [0, 1, -1, i64::MAX, i64::MIN, 1 << 53, (1 << 53) + 1] {
            assert_eq!(LongDouble::from(value).to_string(), value.to_string());
            assert_eq!(LongDouble::parse(value.to_string().as_bytes()), Some(LongDouble::from(value)));
        }
        let max = u64::MAX.to_string();
        assert_eq!(sum(&max, "0"), max);
        // The 65th bit rounds half to even.
        assert_eq!(sum(&max, "1"), "18446744073709551616");
        assert_eq!(sum(&max, "2"), "18446744073709551616");
        assert_eq!(sum(&max, "4"), "18446744073709551620");
    }

    #[test]
    fn doubles_pass_through_exactly() {
        // A double has fewer bits: the standard library is the model for reading and printing.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..5_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let value = f64::from_bits(state);
            if !value.is_finite() {
                continue;
            }
            // 767 digits are all a double can have.
            let parsed = LongDouble::parse(format!("{value:.766e}").as_bytes()).unwrap();
            let fixed = format!("{value:.17}");
            let fixed = fixed.trim_end_matches('0').trim_end_matches('.');
            let expected = if fixed == "-0" { "0" } else { fixed };
            assert_eq!(parsed.to_string(), expected, "{value:e}");
            let hex = LongDouble::rounded(
                value < 0.0,
                u128::from(value.to_bits() & ((1 << 52) - 1)) | u128::from(value.to_bits() >> 52 & 0x7ff != 0) << 52,
                (value.to_bits() >> 52 & 0x7ff).max(1) as i64 - 1075,
                false,
            );
            assert_eq!(parsed, hex, "{value:e}");
        }
    }

    #[test]
    fn addition_is_exact_where_it_can_be() {
        // Sums of integers up to 2^63 need no rounding: i128 is the model.
        let mut state = 7u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let a = (state as i64) >> (state % 61 + 1);
            let b = ((state.rotate_left(29)) as i64) >> (state % 7 + 1);
            assert_eq!((LongDouble::from(a) + LongDouble::from(b)).to_string(), (a + b).to_string());
        }
    }
}
