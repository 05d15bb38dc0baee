//! What a panel is whose lanes are eight weight rows in blocks, and how packed bytes are transposed and unpacked to one, by AVX2.
//!
//! Not here: each format (`avx2_int8_formats.rs`), products (`avx2_int8.rs`).
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
    /// How many sums of two products, of one `vpmaddubsw` each, fit in 16 bits together.
    const DEPTH: usize;
    /// Steps of four codes that are multiplied before anything else is done: as many as fit in 16 bits, or the whole group.
    const RUN: usize = if Self::SIGNED { Self::GROUP / 4 } else { Self::DEPTH };
}

/// Codes of up to 3 bits without signs, of which 16 share a scale: four times two products of at most 7 · 127 fit in 16 bits.
pub(super) struct ThreeBits;

impl Kind for ThreeBits {
    const GROUP: usize = 16;
    const SIGNED: bool = false;
    const DEPTH: usize = 4;
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
pub(super) unsafe fn columns_16<B>(rows: &Rows<B>, at: usize) -> [__m256i; 4] {
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
pub(super) unsafe fn columns_32<B>(rows: &Rows<B>, at: usize) -> [__m256i; 8] {
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
pub(super) unsafe fn f16s<B>(rows: &Rows<B>, at: usize) -> __m256 {
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
pub(super) unsafe fn words<B>(rows: &Rows<B>, at: usize) -> __m256i {
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
pub(super) unsafe fn field<const SHIFT: i32>(bytes: __m256i, mask: i8) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm256_and_si256(_mm256_srli_epi32::<SHIFT>(bytes), _mm256_set1_epi8(mask)) }
}

/// Codes whose lower `BITS` bits are those of `low` from `LOW` on, and whose upper are those of `high` from `HIGH` on, as many as `mask` has.
///
/// # Safety
/// - Eight vectors can be written at `to`.
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn join<const BITS: i32, const LOW: i32, const HIGH: i32>(
    low: &[__m256i; 8],
    high: &[__m256i; 8],
    mask: i8,
    to: *mut __m256i,
) {
    // SAFETY: the caller's contract.
    unsafe {
        for d in 0..8 {
            // Constants: one of the two moves nothing.
            let high = _mm256_sll_epi32(high[d], _mm_cvtsi32_si128(i32::max(0, BITS - HIGH)));
            let high = _mm256_srl_epi32(high, _mm_cvtsi32_si128(i32::max(0, HIGH - BITS)));
            let high = _mm256_and_si256(high, _mm256_set1_epi8(mask << BITS));
            *to.add(d) = _mm256_or_si256(field::<LOW>(low[d], (1 << BITS) - 1), high);
        }
    }
}

/// The low halves of 16 bytes, then the high halves.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn halves(bytes: [__m256i; 4]) -> [__m256i; 8] {
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
pub(super) unsafe fn fifths(bits: __m256i) -> [__m256i; 8] {
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

/// The numbers of a table that codes stand for.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn values(table: &[i8; 16], mut codes: [__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: the load is of the array; the features are the caller's.
    unsafe {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        for d in 0..8 {
            codes[d] = _mm256_shuffle_epi8(table, codes[d]);
        }
        codes
    }
}

/// Writes eight vectors of codes.
///
/// # Safety
/// There is room for them.
#[inline(always)]
pub(super) unsafe fn write(codes: [__m256i; 8], to: *mut __m256i) {
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
pub(super) unsafe fn write_with_fifths(codes: [__m256i; 8], fifths: [__m256i; 8], to: *mut __m256i) {
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
pub(super) unsafe fn numbers(bytes: __m256i) -> [__m256; 4] {
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
pub(super) unsafe fn signed_numbers(bytes: __m256i) -> [__m256; 4] {
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
