//! `exp` in f64 from additions, multiplications and bit operations only, so that every machine computes the same bits.
//!
//! Not a general `exp`: the domain is `x <= 0`, which is all a softmax shifted by its maximum needs, and no platform library
//! or fused multiply-add is used, because these differ in the last bit from machine to machine.
//!
//! Method (Tang, "Table-driven implementation of the exponential function", 1989, without the table):
//! `x = k ln 2 + r` with integer `k` and `|r| <= ln 2 / 2`, then `exp(x) = 2^k P(r)` with the Taylor polynomial of degree 13. The
//! remainder is below `0.3466^14 / 14! < 5e-18`; with the rounding of Horner's scheme the result is within 2 units in the
//! last place (a test compares it with a reference over the whole domain).

/// Below this the true value is under 2^-1021; the argument is held here, which keeps `2^k` a normal number.
const LOWEST: f64 = -708.0;

/// 1.5 x 2^52: adding it to a small number rounds that number to an integer, held in the low bits of the sum.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The high part of ln 2: its last 21 bits are zero, so that its product with any `k` of the domain is exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);

/// ln 2 - LN_2_HIGH, rounded.
const LN_2_LOW: f64 = f64::from_bits(0x3DEA_39EF_3579_3C76);

/// 1 / n! for n = 13 down to 0.
const COEFFICIENTS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
    1.0,
];

/// e^x for `x <= 0` (negative infinity allowed), within 2 units in the last place for `x >= -708`; below, the value at -708.
///
/// Branch-free, so that the compiler can compute several at a time without changing a bit of any.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let x = if x > LOWEST { x } else { LOWEST };
    let rounded = x * std::f64::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut p = COEFFICIENTS[0];
    for &c in &COEFFICIENTS[1..] {
        p = p * r + c;
    }
    // The low 12 bits of `rounded` are k in two's complement; shifted into the exponent field they multiply by 2^k.
    let power = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    p * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_within_two_units_in_the_last_place_of_the_platform() {
        // The platform's own exp is within 1 ulp; 3 between the two is what 2 of ours allows.
        let mut x = 0.0_f64;
        while x > -708.0 {
            let (ours, theirs) = (exp(x), x.exp());
            let ulps = ours.to_bits().abs_diff(theirs.to_bits());
            assert!(ulps <= 3, "exp({x}) = {ours:e}, expected {theirs:e}");
            x -= 0.000_977 + x.abs() * 1e-5;
        }
    }

    #[test]
    fn holds_its_edges() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!(exp(-f64::MIN_POSITIVE), 1.0);
        assert!(exp(f64::NEG_INFINITY) > 0.0 && exp(f64::NEG_INFINITY) < 1e-300);
        assert_eq!(exp(-1e300), exp(-708.0));
    }

    #[test]
    fn gives_the_recorded_bits() {
        // The same on every machine: a change here changes every sampled text.
        for (x, bits) in RECORDED {
            assert_eq!(exp(x).to_bits(), bits, "exp({x}) = {:#018x}", exp(x).to_bits());
        }
    }

    const RECORDED: [(f64, u64); 6] = [
        (-0.1, 0x3FEC_F46D_99D5_2B3A),
        (-0.5, 0x3FE3_68B2_FC6F_960A),
        (-1.0, 0x3FD7_8B56_362C_EF38),
        (-3.75, 0x3F98_1509_354F_0D29),
        (-20.25, 0x3E1B_93DE_1E27_CA3B),
        (-300.7, 0x24D2_2572_0438_E36D),
    ];
}
