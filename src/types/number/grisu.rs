//! Shortest digits of a double by Grisu2 (Loitsch, "Printing Floating-Point Numbers Quickly and
//! Accurately with Integers", 2010).
//!
//! Redis prints doubles with Grisu2, which now and then emits one digit more than the shortest form;
//! clients compare these texts, so the same algorithm is used here instead of one that is always
//! shortest. Every text reads back as the same double. Counterpart: deps/fpconv in Redis.

/// 64-bit significands of 10^k, rounded to nearest, for k = -348, -340 … 340.
const POWERS: [u64; 87] = [
    0xfa8fd5a0081c0288,
    0xbaaee17fa23ebf76,
    0x8b16fb203055ac76,
    0xcf42894a5dce35ea,
    0x9a6bb0aa55653b2d,
    0xe61acf033d1a45df,
    0xab70fe17c79ac6ca,
    0xff77b1fcbebcdc4f,
    0xbe5691ef416bd60c,
    0x8dd01fad907ffc3c,
    0xd3515c2831559a83,
    0x9d71ac8fada6c9b5,
    0xea9c227723ee8bcb,
    0xaecc49914078536d,
    0x823c12795db6ce57,
    0xc21094364dfb5637,
    0x9096ea6f3848984f,
    0xd77485cb25823ac7,
    0xa086cfcd97bf97f4,
    0xef340a98172aace5,
    0xb23867fb2a35b28e,
    0x84c8d4dfd2c63f3b,
    0xc5dd44271ad3cdba,
    0x936b9fcebb25c996,
    0xdbac6c247d62a584,
    0xa3ab66580d5fdaf6,
    0xf3e2f893dec3f126,
    0xb5b5ada8aaff80b8,
    0x87625f056c7c4a8b,
    0xc9bcff6034c13053,
    0x964e858c91ba2655,
    0xdff9772470297ebd,
    0xa6dfbd9fb8e5b88f,
    0xf8a95fcf88747d94,
    0xb94470938fa89bcf,
    0x8a08f0f8bf0f156b,
    0xcdb02555653131b6,
    0x993fe2c6d07b7fac,
    0xe45c10c42a2b3b06,
    0xaa242499697392d3,
    0xfd87b5f28300ca0e,
    0xbce5086492111aeb,
    0x8cbccc096f5088cc,
    0xd1b71758e219652c,
    0x9c40000000000000,
    0xe8d4a51000000000,
    0xad78ebc5ac620000,
    0x813f3978f8940984,
    0xc097ce7bc90715b3,
    0x8f7e32ce7bea5c70,
    0xd5d238a4abe98068,
    0x9f4f2726179a2245,
    0xed63a231d4c4fb27,
    0xb0de65388cc8ada8,
    0x83c7088e1aab65db,
    0xc45d1df942711d9a,
    0x924d692ca61be758,
    0xda01ee641a708dea,
    0xa26da3999aef774a,
    0xf209787bb47d6b85,
    0xb454e4a179dd1877,
    0x865b86925b9bc5c2,
    0xc83553c5c8965d3d,
    0x952ab45cfa97a0b3,
    0xde469fbd99a05fe3,
    0xa59bc234db398c25,
    0xf6c69a72a3989f5c,
    0xb7dcbf5354e9bece,
    0x88fcf317f22241e2,
    0xcc20ce9bd35c78a5,
    0x98165af37b2153df,
    0xe2a0b5dc971f303a,
    0xa8d9d1535ce3b396,
    0xfb9b7cd9a4a7443c,
    0xbb764c4ca7a44410,
    0x8bab8eefb6409c1a,
    0xd01fef10a657842c,
    0x9b10a4e5e9913129,
    0xe7109bfba19c0c9d,
    0xac2820d9623bf429,
    0x80444b5e7aa7cf85,
    0xbf21e44003acdd2d,
    0x8e679c2f5e44ff8f,
    0xd433179d9c8cb841,
    0x9e19db92b4e31ba9,
    0xeb96bf6ebadf77d9,
    0xaf87023b9bf0ee6b,
];
/// Powers of ten of 32 bits.
const TENS: [u32; 10] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

const FIRST_POWER: i32 = -348;
const POWER_STEP: i32 = 8;

/// Most digits Grisu2 writes for a double.
pub(super) const MAX_DIGITS: usize = 20;

/// A floating point number `f * 2^e` with a 64-bit significand.
#[derive(Clone, Copy)]
struct Wide {
    f: u64,
    e: i32,
}

impl Wide {
    fn normalized(self) -> Wide {
        let shift = self.f.leading_zeros();
        Wide { f: self.f << shift, e: self.e - shift as i32 }
    }

    /// The upper half of the product, rounded half up.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.f) * u128::from(other.f) + (1 << 63);
        Wide { f: (product >> 64) as u64, e: self.e + other.e + 64 }
    }
}

/// The cached power of ten that brings a significand with binary exponent `e` into the range where
/// its integer part fits 32 bits, and its decimal exponent.
fn cached_power(e: i32) -> (Wide, i32) {
    // log10(2) scaled; the first guess is at most one step off.
    let guess = (f64::from(-(e + 87)) * std::f64::consts::LOG10_2) as i32;
    let mut index = ((guess - FIRST_POWER) / POWER_STEP).clamp(0, POWERS.len() as i32 - 1);
    loop {
        let k = FIRST_POWER + index * POWER_STEP;
        // floor(log2(10^k)) by multiplication, exact over the table.
        let power = Wide { f: POWERS[index as usize], e: ((k * 1_741_647) >> 19) - 63 };
        match e + power.e + 64 {
            ..-60 => index += 1,
            -31.. => index -= 1,
            _ => return (power, k),
        }
    }
}

/// Writes the digits of a positive finite `value`; returns their count and the exponent `k` so that
/// the value is `digits * 10^k`.
pub(super) fn digits(value: f64, out: &mut [u8; MAX_DIGITS]) -> (usize, i32) {
    const HIDDEN: u64 = 1 << 52;
    let bits = value.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & (HIDDEN - 1);
    let w = match biased {
        0 => Wide { f: fraction, e: -1074 },
        _ => Wide { f: fraction | HIDDEN, e: biased - 1075 },
    };
    // Halfway to the neighbours: everything between reads back as `value`. Below a power of two the
    // neighbour is twice as near.
    let upper = Wide { f: (w.f << 1) + 1, e: w.e - 1 }.normalized();
    let near = if w.f == HIDDEN { 2 } else { 1 };
    let lower_e = w.e - near;
    let lower = Wide { f: ((w.f << near) - 1) << (lower_e - upper.e), e: upper.e };

    let (power, k) = cached_power(upper.e);
    let w = w.normalized().times(power);
    let mut upper = upper.times(power);
    let mut lower = lower.times(power);
    // The products are off by less than one unit each: stay strictly inside.
    lower.f += 1;
    upper.f -= 1;
    generate(w.f, upper, lower.f, -k, out)
}

/// Digits of `upper` until the rest lies within the interval, then steps the last digit down towards
/// `w`.
fn generate(w: u64, upper: Wide, lower: u64, k: i32, out: &mut [u8; MAX_DIGITS]) -> (usize, i32) {
    let mut delta = upper.f - lower;
    let mut distance = upper.f - w;
    let shift = (-upper.e) as u32;
    let one = 1u64 << shift;
    // The cached power leaves less than 32 bits before the point.
    let mut integer = (upper.f >> shift) as u32;
    let mut fraction = upper.f & (one - 1);
    let mut count = 0;

    let mut kappa = integer.checked_ilog10().map_or(0, |log| log as i32 + 1);
    while kappa > 0 {
        kappa -= 1;
        let divisor = TENS[kappa as usize];
        out[count] = b'0' + (integer / divisor) as u8;
        count += 1;
        integer %= divisor;
        let rest = (u64::from(integer) << shift) + fraction;
        if rest <= delta {
            let unit = u64::from(divisor) << shift;
            step_down(&mut out[count - 1], delta, rest, unit, distance);
            return (count, k + kappa);
        }
    }
    loop {
        fraction *= 10;
        delta = delta.wrapping_mul(10);
        distance = distance.wrapping_mul(10);
        kappa -= 1;
        let digit = (fraction >> shift) as u8;
        if digit != 0 || count != 0 {
            out[count] = b'0' + digit;
            count += 1;
        }
        fraction &= one - 1;
        if fraction < delta || count == MAX_DIGITS {
            step_down(&mut out[count - 1], delta, fraction, one, distance);
            return (count, k + kappa);
        }
    }
}

fn step_down(last: &mut u8, delta: u64, mut rest: u64, unit: u64, distance: u64) {
    while rest < distance
        && delta - rest >= unit
        && (rest + unit < distance || distance - rest > rest + unit - distance)
    {
        *last -= 1;
        rest += unit;
    }
}
