//! How eight weight rows in blocks become a panel whose lanes are the rows, by AVX2.
//!
//! Not here: products (`avx2_int8.rs`), what a format's numbers mean (`block/`).
//!
//! ```text
//! of a block of each of the eight rows:
//!     codes   [LEN / 4][8 rows][4 bytes]      four codes that follow each other in a row are a lane
//!     scales  [LEN / GROUP][8 rows]
//!     minima  [LEN / GROUP][8 rows]           what is multiplied by the negated sum of the activations
//! ```
//!
//! Packed bytes are transposed first and unpacked then, since a field of bits stays in its byte: each operation unpacks four codes of eight rows,
//! and half as many bytes, or fewer, move across lanes.

use core::arch::x86_64::*;

use super::x86_codes::Codes;
use super::x86_transposed::transposed;
use crate::block::{Iq4Nl, NON_LINEAR, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

/// Rows of a panel: lanes of a vector.
pub(super) const PANEL_ROWS: usize = 8;

/// The same block of each row of a panel.
pub(super) type Rows<B> = [*const B; PANEL_ROWS];

/// Where the scales of a block of a panel lie, aligned for vectors.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    /// `LEN / GROUP` vectors.
    pub scales: *mut __m256,
    /// `LEN / GROUP` vectors, where the format has minima.
    pub minima: *mut __m256,
}

/// How codes are stored in a panel, and so how they are multiplied.
pub(super) trait Kind {
    /// Weights that share a scale.
    const GROUP: usize;
    /// Whether codes have signs: then they have eight bits.
    const SIGNED: bool;
    /// The products of twos of a code and an activation that are summed in 16 bits: two for each `vpmaddubsw`.
    const DEPTH: usize;
}

/// Codes of 4 bits without signs: eight times two products of at most 15 · 127 fit in 16 bits.
pub(super) struct FourBits;

impl Kind for FourBits {
    const GROUP: usize = 32;
    const SIGNED: bool = false;
    const DEPTH: usize = 8;
}

/// Codes of 5 bits without signs: four times two products of at most 31 · 127.
pub(super) struct FiveBits;

impl Kind for FiveBits {
    const GROUP: usize = 32;
    const SIGNED: bool = false;
    const DEPTH: usize = 4;
}

/// Codes of 6 bits without signs, of which 16 share a scale: twice two products of at most 63 · 127.
pub(super) struct SixBits;

impl Kind for SixBits {
    const GROUP: usize = 16;
    const SIGNED: bool = false;
    const DEPTH: usize = 2;
}

/// Codes of 8 bits with signs: two products of at most 128 · 127.
pub(super) struct SignedBytes;

impl Kind for SignedBytes {
    const GROUP: usize = 32;
    const SIGNED: bool = true;
    const DEPTH: usize = 1;
}

/// What a group's scaled sum lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Added {
    /// Nothing.
    Nothing,
    /// Codes are larger than the format's by this power of two: as many times the activations' sum is taken off before scaling.
    Offset(usize),
    /// A minimum, times the activations' negated sum.
    Minimum,
}

/// A format whose weights are `scale · code`, or `scale · code - minimum`.
///
/// # Safety
/// - `unpack` and `scales` need AVX2 and F16C.
/// - They write all vectors of a block, and only codes that [`Kind`] allows.
pub(super) unsafe trait Panel: Codes {
    /// The codes of its panels.
    type Kind: Kind;
    /// What their sums lack.
    const ADDED: Added;
    /// Unpacks the codes of a block of each row.
    ///
    /// # Safety
    /// The blocks are readable, and so many codes can be written.
    unsafe fn unpack(rows: &Rows<Self>, to: *mut __m256i);
    /// Unpacks their scales and minima.
    ///
    /// # Safety
    /// The blocks are readable, and so many scales and, with them, minima can be written.
    unsafe fn scales(rows: &Rows<Self>, to: Scales);
}

/// 16 bytes of each block, from `at` on: lane i of vector d is the d-th four bytes of row i.
///
/// # Safety
/// - The blocks have these bytes and are readable.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn columns_16<B>(rows: &Rows<B>, at: usize) -> [__m256i; 4] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut v = [_mm256_setzero_si256(); 4];
        for j in 0..4 {
            let low = _mm_loadu_si128(rows[j].byte_add(at).cast());
            let high = _mm_loadu_si128(rows[j + 4].byte_add(at).cast());
            v[j] = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high);
        }
        let (ab, cd) = (_mm256_unpacklo_epi32(v[0], v[1]), _mm256_unpacklo_epi32(v[2], v[3]));
        let (low, high) = (_mm256_unpackhi_epi32(v[0], v[1]), _mm256_unpackhi_epi32(v[2], v[3]));
        [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(low, high),
            _mm256_unpackhi_epi64(low, high),
        ]
    }
}

/// 32 bytes of each block, from `at` on: lane i of vector d is the d-th four bytes of row i.
///
/// # Safety
/// As [`columns_16`].
#[inline(always)]
unsafe fn columns_32<B>(rows: &Rows<B>, at: usize) -> [__m256i; 8] {
    // SAFETY: the caller's contract.
    unsafe {
        let mut v = [_mm256_setzero_si256(); 8];
        for j in 0..8 {
            v[j] = _mm256_loadu_si256(rows[j].byte_add(at).cast());
        }
        transposed(&v)
    }
}

/// The f16 at byte `at` of each block, as f32.
///
/// # Safety
/// - The blocks have these bytes and are readable.
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn f16s<B>(rows: &Rows<B>, at: usize) -> __m256 {
    // SAFETY: the caller's contract.
    unsafe {
        let mut h = [0; 8];
        for j in 0..8 {
            h[j] = rows[j].byte_add(at).cast::<i16>().read_unaligned();
        }
        _mm256_cvtph_ps(_mm_setr_epi16(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]))
    }
}

/// The four bytes at byte `at` of each block.
///
/// # Safety
/// - The blocks have these bytes and are readable.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn words<B>(rows: &Rows<B>, at: usize) -> __m256i {
    // SAFETY: the caller's contract.
    unsafe {
        let mut w = [0; 8];
        for j in 0..8 {
            w[j] = rows[j].byte_add(at).cast::<i32>().read_unaligned();
        }
        _mm256_setr_epi32(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7])
    }
}

/// Each byte's bits from `SHIFT` on, as many as `mask` has. `SHIFT < 8`
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn field<const SHIFT: i32>(bytes: __m256i, mask: i8) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm256_and_si256(_mm256_srli_epi32::<SHIFT>(bytes), _mm256_set1_epi8(mask)) }
}

/// Codes whose lower four bits are those of `low` from `LOW` on, and whose upper are those of `high` from `HIGH` on, as many as `mask` has.
///
/// # Safety
/// - Eight vectors can be written at `to`.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn join<const LOW: i32, const HIGH: i32>(low: &[__m256i; 8], high: &[__m256i; 8], mask: i8, to: *mut __m256i) {
    // SAFETY: the caller's contract.
    unsafe {
        for d in 0..8 {
            // Constants: one of the two moves nothing.
            let high = _mm256_sll_epi32(high[d], _mm_cvtsi32_si128(i32::max(0, 4 - HIGH)));
            let high = _mm256_srl_epi32(high, _mm_cvtsi32_si128(i32::max(0, HIGH - 4)));
            let high = _mm256_and_si256(high, _mm256_set1_epi8(mask << 4));
            *to.add(d) = _mm256_or_si256(field::<LOW>(low[d], 15), high);
        }
    }
}

/// The low halves of 16 bytes, then the high halves.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn halves(bytes: [__m256i; 4]) -> [__m256i; 8] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let mut codes = [_mm256_setzero_si256(); 8];
        for d in 0..4 {
            codes[d] = field::<0>(bytes[d], 15);
            codes[d + 4] = field::<4>(bytes[d], 15);
        }
        codes
    }
}

/// 16 where a bit is set, else 0: of each lane's 32 bits, vector d has bits 4d to 4d + 3, one byte for each.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn fifths(bits: __m256i) -> [__m256i; 8] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let parts = [field::<0>(bits, 15), field::<4>(bits, 15)];
        let first_byte = _mm256_setr_epi32(0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c, 0, 0x0404_0404, 0x0808_0808, 0x0c0c_0c0c);
        let bit = _mm256_set1_epi32(0x0804_0201);
        let mut fifths = [_mm256_setzero_si256(); 8];
        for d in 0..8 {
            // The lane's byte with these bits, four times, and of each a bit.
            let byte = _mm256_shuffle_epi8(parts[d % 2], _mm256_add_epi8(first_byte, _mm256_set1_epi8(d as i8 / 2)));
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit);
            fifths[d] = _mm256_and_si256(is_set, _mm256_set1_epi8(16));
        }
        fifths
    }
}

/// Writes eight vectors of codes.
///
/// # Safety
/// There is room for them.
#[inline(always)]
unsafe fn write(codes: [__m256i; 8], to: *mut __m256i) {
    // SAFETY: the caller's contract.
    unsafe {
        for d in 0..8 {
            *to.add(d) = codes[d];
        }
    }
}

/// Writes codes of four bits with a fifth.
///
/// # Safety
/// - There is room for eight vectors.
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn write_with_fifths(codes: [__m256i; 8], fifths: [__m256i; 8], to: *mut __m256i) {
    // SAFETY: the caller's contract.
    unsafe {
        for d in 0..8 {
            *to.add(d) = _mm256_or_si256(codes[d], fifths[d]);
        }
    }
}

/// The four bytes of each lane as numbers, from the lowest on.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn numbers(bytes: __m256i) -> [__m256; 4] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let byte = _mm256_set1_epi32(0xff);
        [
            _mm256_cvtepi32_ps(_mm256_and_si256(bytes, byte)),
            _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<8>(bytes), byte)),
            _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32::<16>(bytes), byte)),
            _mm256_cvtepi32_ps(_mm256_srli_epi32::<24>(bytes)),
        ]
    }
}

/// The same, of bytes with signs.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn signed_numbers(bytes: __m256i) -> [__m256; 4] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        // A byte at the top of its lane keeps its sign on the way down.
        [
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<24>(bytes))),
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<16>(bytes))),
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(_mm256_slli_epi32::<8>(bytes))),
            _mm256_cvtepi32_ps(_mm256_srai_epi32::<24>(bytes)),
        ]
    }
}

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

/// The scales of Q6_K, bytes with signs, and their scale.
///
/// # Safety
/// - The contract of [`Panel::scales`].
/// - The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn scales_of_sixteen(rows: &Rows<Q6K>, to: Scales) {
    // SAFETY: the caller's contract.
    unsafe {
        let (scales, d) = (columns_16(rows, 192), f16s(rows, 208));
        for i in 0..4 {
            let scales = signed_numbers(scales[i]);
            for j in 0..4 {
                *to.scales.add(4 * i + j) = _mm256_mul_ps(scales[j], d);
            }
        }
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
            <$kind>::GROUP == <$block as Codes>::GROUP && matches!($added, Added::Minimum) == <$block as Codes>::HAS_MINIMA
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
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(NON_LINEAR.as_ptr().cast()));
        let mut codes = halves(columns_16(rows, 2));
        for d in 0..8 {
            codes[d] = _mm256_shuffle_epi8(table, codes[d]);
        }
        write(codes, to);
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
        join::<0, 0>(&low, &high, 1, to);
        join::<4, 1>(&low, &high, 1, to.add(8));
        let low = columns_32(rows, 80);
        join::<0, 2>(&low, &high, 1, to.add(16));
        join::<4, 3>(&low, &high, 1, to.add(24));
        let low = columns_32(rows, 112);
        join::<0, 4>(&low, &high, 1, to.add(32));
        join::<4, 5>(&low, &high, 1, to.add(40));
        let low = columns_32(rows, 144);
        join::<0, 6>(&low, &high, 1, to.add(48));
        join::<4, 7>(&low, &high, 1, to.add(56));
    }
    // Of each 128 weights, the first 64 have their low bits in the low halves of 64 bytes, the others in the high halves; the upper bits of the
    // i-th 32 weights are bits 2i and 2i + 1 of 32 bytes.
    Q6K: SixBits, Added::Offset(32), scales_of_sixteen, |rows, to| {
        for i in 0..2 {
            let high = columns_32(rows, 128 + 32 * i);
            let to = to.add(32 * i);
            let low = columns_32(rows, 64 * i);
            join::<0, 0>(&low, &high, 3, to);
            join::<4, 4>(&low, &high, 3, to.add(16));
            let low = columns_32(rows, 64 * i + 32);
            join::<0, 2>(&low, &high, 3, to.add(8));
            join::<4, 6>(&low, &high, 3, to.add(24));
        }
    }
}
