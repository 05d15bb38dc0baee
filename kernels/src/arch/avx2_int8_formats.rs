//! How the blocks of each format become panels of AVX2.
//!
//! Not here: how bytes are transposed (`avx2_int8_panels.rs`), products (`avx2_int8.rs`), what a format's numbers mean (`block/`).

use core::arch::x86_64::*;

use super::avx2_int8_panels::*;
use crate::block::{DOUBLED, Iq4Nl, Iq4Xs, Mxfp4, NON_LINEAR, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Quantized};

/// Scales, and minima negated: f16s that are added.
///
/// # Safety
/// - The contract of [`Panel::scales`]; the format begins with its scale, and its minimum, if it has one.
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn plain_scales<P: Panel>(rows: &Rows<P>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        *to.scales = f16s(rows, 0);
        if P::ADDED == Added::Minimum {
            *to.minima = _mm256_sub_ps(_mm256_setzero_ps(), f16s(rows, 2));
        }
    }
}

/// The scales and minima of Q4_K and Q5_K, which begin with two f16 and the 12 bytes of 8 scales and minima: what `block/parts.rs` does, of
/// all rows at once.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_in_two_levels<P: Panel>(rows: &Rows<P>, to: Scales) {
    // SAFETY: the caller's contract; the format has 8 groups.
    unsafe {
        let [d, first, second, third] = columns_16(rows, 0);
        let d = _mm256_packus_epi32(_mm256_and_si256(d, _mm256_set1_epi32(0xffff)), _mm256_srli_epi32::<16>(d));
        let d = _mm256_permute4x64_epi64::<0b11_01_10_00>(d);
        let (d, dmin) = (_mm256_cvtph_ps(_mm256_castsi256_si128(d)), _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(d)));
        let upper_two = _mm256_set1_epi8(0x30);
        let scales = [
            field::<0>(first, 0x3f),
            _mm256_or_si256(field::<0>(third, 15), _mm256_and_si256(_mm256_srli_epi32::<2>(first), upper_two)),
        ];
        let minima = [
            field::<0>(second, 0x3f),
            _mm256_or_si256(field::<4>(third, 15), _mm256_and_si256(_mm256_srli_epi32::<2>(second), upper_two)),
        ];
        for i in 0..2 {
            let (scales, minima) = (numbers(scales[i]), numbers(minima[i]));
            for j in 0..4 {
                *to.scales.add(4 * i + j) = _mm256_mul_ps(scales[j], d);
                *to.minima.add(4 * i + j) = _mm256_mul_ps(minima[j], dmin);
            }
        }
    }
}

/// Bytes with signs that become scales: each vector has those of four groups.
///
/// # Safety
/// - `to` has room for them.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn scaled(d: __m256, scales: [__m256i; 4], to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        for i in 0..4 {
            let scales = signed_numbers(scales[i]);
            for j in 0..4 {
                *to.scales.add(4 * i + j) = _mm256_mul_ps(scales[j], d);
            }
        }
    }
}

/// The scales of Q6_K, bytes with signs, and their scale.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_of_sixteen(rows: &Rows<Q6K>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        scaled(f16s(rows, 208), columns_16(rows, 192), to);
    }
}

/// The scales of Q3_K: their low four bits lie in the halves of 8 bytes, the upper two in the quarters of 4.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_of_six_bits(rows: &Rows<Q3K>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        let [_, first, second, upper] = columns_16(rows, 92);
        let low = [field::<0>(first, 15), field::<0>(second, 15), field::<4>(first, 15), field::<4>(second, 15)];
        let high = [field::<0>(upper, 3), field::<2>(upper, 3), field::<4>(upper, 3), field::<6>(upper, 3)];
        let mut scales = [_mm256_setzero_si256(); 4];
        for i in 0..4 {
            let scale = _mm256_or_si256(low[i], _mm256_slli_epi32::<4>(high[i]));
            scales[i] = _mm256_sub_epi8(scale, _mm256_set1_epi8(32));
        }
        scaled(f16s(rows, 108), scales, to);
    }
}

/// The scales and minima of Q2_K: halves of 16 bytes.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_and_minima_of_four_bits(rows: &Rows<Q2K>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        let (bytes, d, dmin) = (columns_16(rows, 0), f16s(rows, 80), f16s(rows, 82));
        for i in 0..4 {
            let (scales, minima) = (numbers(field::<0>(bytes[i], 15)), numbers(field::<4>(bytes[i], 15)));
            for j in 0..4 {
                *to.scales.add(4 * i + j) = _mm256_mul_ps(scales[j], d);
                *to.minima.add(4 * i + j) = _mm256_mul_ps(minima[j], dmin);
            }
        }
    }
}

/// The scales of IQ4_XS: the i-th four bits of one number of 32 bits, and above them the i-th two of one of 16 bits, which follows their scale.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_of_eight(rows: &Rows<Iq4Xs>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        let (d, upper, lower) = (f16s(rows, 0), _mm256_srli_epi32::<16>(words(rows, 0)), words(rows, 4));
        for i in 0..8 {
            let low = _mm256_srl_epi32(lower, _mm_cvtsi32_si128(4 * i));
            let high = _mm256_srl_epi32(upper, _mm_cvtsi32_si128(2 * i));
            let low = _mm256_and_si256(low, _mm256_set1_epi32(15));
            let high = _mm256_slli_epi32::<4>(_mm256_and_si256(high, _mm256_set1_epi32(3)));
            let scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
            *to.scales.add(i as usize) = _mm256_mul_ps(_mm256_cvtepi32_ps(scale), d);
        }
    }
}

/// The scales of MXFP4, powers of two, halved as its codes are doubled.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn powers_of_two(rows: &Rows<Mxfp4>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        let e = _mm256_and_si256(words(rows, 0), _mm256_set1_epi32(0xff));
        let normal = _mm256_slli_epi32::<23>(_mm256_sub_epi32(e, _mm256_set1_epi32(1)));
        let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), e);
        let is_subnormal = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);
        *to.scales = _mm256_castsi256_ps(_mm256_blendv_epi8(normal, subnormal, is_subnormal));
    }
}

/// Implements [`Panel`] for formats; the body is in an unsafe block, since AVX2 and F16C are the caller's.
macro_rules! panels {
    ($($block:ty: $kind:ty, $added:expr, $scales:ident, |$rows:ident, $to:ident| $unpack:block)*) => {$(
        // SAFETY: loads are of bytes that the format has, stores of what the contract allows; the intrinsics need what the trait asks of the
        // caller.
        unsafe impl Panel for $block {
            type Kind = $kind;
            const ADDED: Added = $added;

            #[inline(always)]
            unsafe fn unpack($rows: &Rows<Self>, $to: *mut __m256i) {
                // SAFETY: the trait's contract.
                unsafe { $unpack }
            }

            #[inline(always)]
            unsafe fn scales(rows: &Rows<Self>, to: Scales) {
                // SAFETY: the trait's contract.
                unsafe { $scales(rows, to) }
            }
        }

        const _: () = assert!(
            <$kind>::GROUP == <$block as Quantized>::GROUP
                && matches!($added, Added::Minimum) == <$block as Quantized>::HAS_MINIMA
                && (!<$kind>::SIGNED || matches!($added, Added::Nothing))
        );
    )*};
}

panels! {
    Q8_0: SignedBytes, Added::Nothing, plain_scales, |rows, to| {
        write(columns_32(rows, 2), to);
    }
    Q4_0: FourBits, Added::Offset(8), plain_scales, |rows, to| {
        write(halves(columns_16(rows, 2)), to);
    }
    Q4_1: FourBits, Added::Minimum, plain_scales, |rows, to| {
        write(halves(columns_16(rows, 4)), to);
    }
    Q5_0: FiveBits, Added::Offset(16), plain_scales, |rows, to| {
        write_with_fifths(halves(columns_16(rows, 6)), fifths(words(rows, 2)), to);
    }
    Q5_1: FiveBits, Added::Minimum, plain_scales, |rows, to| {
        write_with_fifths(halves(columns_16(rows, 8)), fifths(words(rows, 4)), to);
    }
    Iq4Nl: SignedBytes, Added::Nothing, plain_scales, |rows, to| {
        write(values(&NON_LINEAR, halves(columns_16(rows, 2))), to);
    }
    // Values of -12 to 12.
    Mxfp4: FiveBits, Added::Offset(16), powers_of_two, |rows, to| {
        let mut codes = values(&DOUBLED, halves(columns_16(rows, 1)));
        for d in 0..8 {
            codes[d] = _mm256_add_epi8(codes[d], _mm256_set1_epi8(16));
        }
        write(codes, to);
    }
    Iq4Xs: SignedBytes, Added::Nothing, scales_of_eight, |rows, to| {
        for i in 0..8 {
            write(values(&NON_LINEAR, halves(columns_16(rows, 8 + 16 * i))), to.add(8 * i));
        }
    }
    // Of each 128 weights, the i-th 32 are bits 2i and 2i + 1 of 32 bytes.
    Q2K: ThreeBits, Added::Minimum, scales_and_minima_of_four_bits, |rows, to| {
        for i in 0..2 {
            let columns = columns_32(rows, 16 + 32 * i);
            for d in 0..8 {
                *to.add(32 * i + d) = field::<0>(columns[d], 3);
                *to.add(32 * i + 8 + d) = field::<2>(columns[d], 3);
                *to.add(32 * i + 16 + d) = field::<4>(columns[d], 3);
                *to.add(32 * i + 24 + d) = field::<6>(columns[d], 3);
            }
        }
    }
    // The same, with bit i of each of 32 bytes as the third of the i-th 32 weights.
    Q3K: ThreeBits, Added::Offset(4), scales_of_six_bits, |rows, to| {
        let high = columns_32(rows, 0);
        let low = columns_32(rows, 32);
        join::<2, 0, 0>(&low, &high, 1, to);
        join::<2, 2, 1>(&low, &high, 1, to.add(8));
        join::<2, 4, 2>(&low, &high, 1, to.add(16));
        join::<2, 6, 3>(&low, &high, 1, to.add(24));
        let low = columns_32(rows, 64);
        join::<2, 0, 4>(&low, &high, 1, to.add(32));
        join::<2, 2, 5>(&low, &high, 1, to.add(40));
        join::<2, 4, 6>(&low, &high, 1, to.add(48));
        join::<2, 6, 7>(&low, &high, 1, to.add(56));
    }
    // Of each 64 weights, the first 32 have the low halves of 32 bytes, the others the high halves.
    Q4K: FourBits, Added::Minimum, scales_in_two_levels, |rows, to| {
        for i in 0..4 {
            let columns = columns_32(rows, 16 + 32 * i);
            for d in 0..8 {
                *to.add(16 * i + d) = field::<0>(columns[d], 15);
                *to.add(16 * i + 8 + d) = field::<4>(columns[d], 15);
            }
        }
    }
    // The same, with bit i of each of 32 bytes as the fifth of the i-th 32 weights.
    Q5K: FiveBits, Added::Minimum, scales_in_two_levels, |rows, to| {
        let high = columns_32(rows, 16);
        let low = columns_32(rows, 48);
        join::<4, 0, 0>(&low, &high, 1, to);
        join::<4, 4, 1>(&low, &high, 1, to.add(8));
        let low = columns_32(rows, 80);
        join::<4, 0, 2>(&low, &high, 1, to.add(16));
        join::<4, 4, 3>(&low, &high, 1, to.add(24));
        let low = columns_32(rows, 112);
        join::<4, 0, 4>(&low, &high, 1, to.add(32));
        join::<4, 4, 5>(&low, &high, 1, to.add(40));
        let low = columns_32(rows, 144);
        join::<4, 0, 6>(&low, &high, 1, to.add(48));
        join::<4, 4, 7>(&low, &high, 1, to.add(56));
    }
    // Of each 128 weights, the first 64 have their low bits in the low halves of 64 bytes, the others in the high halves; the upper bits of the
    // i-th 32 weights are bits 2i and 2i + 1 of 32 bytes.
    Q6K: SixBits, Added::Offset(32), scales_of_sixteen, |rows, to| {
        for i in 0..2 {
            let high = columns_32(rows, 128 + 32 * i);
            let to = to.add(32 * i);
            let low = columns_32(rows, 64 * i);
            join::<4, 0, 0>(&low, &high, 3, to);
            join::<4, 4, 4>(&low, &high, 3, to.add(16));
            let low = columns_32(rows, 64 * i + 32);
            join::<4, 0, 2>(&low, &high, 3, to.add(8));
            join::<4, 4, 6>(&low, &high, 3, to.add(24));
        }
    }
}
