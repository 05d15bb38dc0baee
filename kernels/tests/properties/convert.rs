//! Conversions, exhaustively: all 65,536 patterns of each half-width format, through the scalar decode and every rung's loads.

use infer_kernels::testing::Guarded;
use infer_kernels::{Activations, DType, Kernels, MatMut, as_bytes, bf16, decode, f16, round_to_bf16};

fn patterns() -> impl Iterator<Item = u16> {
    0..=u16::MAX
}

/// A format's value of a pattern, from its definition: (-1)^s · 2^(e - bias) · 1.f, and the special exponents.
fn defined(bits: u16, exponent_bits: u32) -> f64 {
    let fraction_bits = 15 - exponent_bits;
    let (sign, bias) = (if bits >> 15 == 0 { 1.0 } else { -1.0 }, (1i32 << (exponent_bits - 1)) - 1);
    let exponent = i32::from((bits >> fraction_bits) & ((1 << exponent_bits) - 1));
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1u32 << fraction_bits);
    match exponent {
        0 => sign * fraction * 2f64.powi(1 - bias),
        e if e == (1 << exponent_bits) - 1 => {
            if fraction == 0.0 {
                sign * f64::INFINITY
            } else {
                f64::NAN
            }
        }
        e => sign * (1.0 + fraction) * 2f64.powi(e - bias),
    }
}

fn same(got: f32, want: f64) -> bool {
    (got.is_nan() && want.is_nan()) || (f64::from(got) == want && got.is_sign_negative() == want.is_sign_negative())
}

#[test]
fn decoding_is_exact() {
    let mut got = vec![0.0; 1 << 16];
    let halves: Vec<f16> = patterns().map(f16::from_bits).collect();
    decode(DType::F16, as_bytes(&halves), &mut got);
    assert!(patterns().zip(&got).all(|(bits, &x)| same(x, defined(bits, 5))));
    let brains: Vec<bf16> = patterns().map(bf16::from_bits).collect();
    decode(DType::BF16, as_bytes(&brains), &mut got);
    assert!(patterns().zip(&got).all(|(bits, &x)| same(x, defined(bits, 8))));
}

/// Each pattern as a weight by itself, times one: what the vector loads make of it.
#[test]
fn every_rung_loads_every_pattern() {
    let halves: Vec<f16> = patterns().map(f16::from_bits).collect();
    let brains: Vec<bf16> = patterns().map(bf16::from_bits).collect();
    // A row of 32 elements of which one is looked at by its activation; the others are finite, so they add nothing.
    let check = |kernels: &Kernels, dtype: DType, row: &dyn Fn(usize) -> Vec<u8>, want: &dyn Fn(usize) -> f64| {
        for i in 0..1 << 16 {
            let mut x = [0.0f32; 33];
            x[i % 33] = 1.0;
            let mut out = [0.0];
            kernels.matmul(dtype, &row(i), Activations::F32(&x), 33, MatMut::new(&mut out, 1), &mut []);
            let want = want(i);
            // Adding zeros turns -0 into +0.
            assert!(
                same(out[0], want) || (out[0] == 0.0 && want == 0.0),
                "{} {dtype} {i:#x}: {} and not {want}",
                kernels.isa(),
                out[0]
            );
        }
    };
    for kernels in Kernels::available() {
        let row = |i: usize| {
            let mut row = vec![f16::ONE; 33];
            row[i % 33] = halves[i];
            as_bytes(&row).to_vec()
        };
        check(&kernels, DType::F16, &row, &|i| defined(i as u16, 5));
        let row = |i: usize| {
            let mut row = vec![bf16::ONE; 33];
            row[i % 33] = brains[i];
            as_bytes(&row).to_vec()
        };
        check(&kernels, DType::BF16, &row, &|i| defined(i as u16, 8));
    }
}

/// Rounding to bf16: to nearest, ties to even, from the definition.
#[test]
fn rounding_to_bf16() {
    // Every bf16 and the points a quarter, a half and three quarters of the way to the next.
    let x: Vec<f32> = patterns()
        .flat_map(|b| [0u32, 0x4000, 0x7fff, 0x8000, 0x8001, 0xc000].map(|low| f32::from_bits(u32::from(b) << 16 | low)))
        .collect();
    let mut got = vec![bf16::ZERO; x.len()];
    round_to_bf16(&x, &mut got);
    for (&x, got) in x.iter().zip(&got) {
        if x.is_nan() {
            assert!(got.is_nan(), "{:#x}", x.to_bits());
            continue;
        }
        let bits = x.to_bits();
        let (below, rest) = (bits >> 16, bits & 0xffff);
        let up = rest > 0x8000 || (rest == 0x8000 && below & 1 == 1);
        assert_eq!(u32::from(got.to_bits()), below + u32::from(up), "{bits:#x}");
    }
}

/// Every rung rounds as the plain loop does, to the last bit, in every lane and tail, and writes no further.
#[test]
fn every_rung_rounds_to_bf16_alike() {
    let all: Vec<f32> =
        patterns().flat_map(|b| [0u32, 0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(u32::from(b) << 16 | low))).collect();
    for kernels in Kernels::available() {
        for n in (0..=65).chain([all.len()]) {
            // Each time others: specials lie at either end of the patterns' halves.
            let x = &all[(n * 4001) % (all.len() - n + 1)..][..n];
            let (mut got, mut want) = (Guarded::new(n, n % 3, bf16::NAN, || bf16::ZERO), vec![bf16::ZERO; n]);
            kernels.round_to_bf16(x, got.get_mut());
            round_to_bf16(x, &mut want);
            assert!(got.is_intact(|x| x.is_nan()), "{} wrote outside of its output", kernels.isa());
            assert_eq!(as_bytes(got.get()), as_bytes(&want), "{}, {n} numbers", kernels.isa());
        }
    }
}
