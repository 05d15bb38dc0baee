//! How the scales and minima of each block format become f32 lanes, 16 groups of weights at a time, by AVX-512.
//!
//! Not here: codes (`x86_codes.rs`), products (`vnni.rs`).

use core::arch::x86_64::*;

use super::x86_codes::Codes;
use crate::block::{Block, Iq4Nl, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

/// The scales of the groups of a row.
///
/// # Safety
/// `scales` needs AVX2, F16C and AVX-512 F, BW and VL.
pub(super) unsafe trait Scales: Codes {
    /// Scales and minima of the 16 groups at `p`, a whole number of blocks.
    ///
    /// # Safety
    /// The blocks of 16 groups are readable at `p`.
    unsafe fn scales(p: *const Self) -> (__m512, __m512);
}

/// Of each four of 16 blocks of `stride` bytes, two places from which 64 bytes each have what they begin with, as much as fits. Neighbours
/// share places where they can, so that few loads cross a line of the cache.
pub(super) const fn windows(stride: usize) -> [[usize; 2]; 4] {
    let mut windows = [[0; 2]; 4];
    let mut j = 0;
    while j < 4 {
        let (start, end) = (4 * stride * j, 4 * stride * (j + 1));
        let line = start / 64 * 64;
        let a = if line + 128 >= end { line } else { start };
        let last = 16 * stride - 64;
        windows[j] = [a, if a + 64 < last { a + 64 } else { last }];
        j += 1;
    }
    windows
}

/// The word at `byte`, as the index that picks it from loads of 64 bytes at `a` and at `b`.
pub(super) const fn index(byte: usize, [a, b]: [usize; 2]) -> u16 {
    (if byte >= a && byte + 2 <= a + 64 { (byte - a) / 2 } else { 32 + (byte - b) / 2 }) as u16
}

/// Where loads of twice 64 bytes find an f16 of each of 16 blocks.
struct Finder {
    /// Of each pair of loads, the two places.
    places: [[usize; 2]; 4],
    /// The lanes that the pair has.
    lanes: [u16; 4],
    /// Each lane's word; of lanes that the pair has not, any.
    words: [[u16; 32]; 4],
}

impl Finder {
    /// Of the f16 at `offset` bytes of a block.
    const fn new<B: Block>(offset: usize) -> Finder {
        let stride = size_of::<B>();
        let mut finder = Finder { places: windows(stride), lanes: [0xf, 0xf0, 0xf00, 0xf000], words: [[0; 32]; 4] };
        if stride <= 24 {
            // Three pairs of neighbours have all.
            let last = 16 * stride - 64;
            finder.places = [[0, 64], [128, 192], [if last < 256 { last } else { 256 }, last], [0, 64]];
            finder.lanes = [0; 4];
        }
        let mut g = 0;
        while g < 16 {
            let byte = g * stride + offset;
            if stride <= 24 {
                finder.lanes[byte / 128] |= 1 << g;
            }
            let mut j = 0;
            while j < 4 {
                if finder.lanes[j] & 1 << g != 0 {
                    finder.words[j][g] = index(byte, finder.places[j]);
                }
                j += 1;
            }
            g += 1;
        }
        finder
    }
}

/// The f16 at `OFFSET` bytes in each of 16 blocks.
///
/// # Safety
/// - 16 blocks at `p` are readable.
/// - `OFFSET` is 0 or 2.
/// - The CPU has AVX-512 F and BW, and F16C.
#[inline(always)]
unsafe fn halves<B: Block, const OFFSET: usize>(p: *const B) -> __m512 {
    // SAFETY: the caller's contract; places lie within 16 blocks.
    unsafe {
        let Finder { places, lanes, words } = const { &Finder::new::<B>(OFFSET) };
        let mut found = _mm512_setzero_si512();
        for j in 0..4 {
            if lanes[j] != 0 {
                let [a, b] = places[j];
                let (a, b) = (_mm512_loadu_si512(p.cast::<u8>().add(a).cast()), _mm512_loadu_si512(p.cast::<u8>().add(b).cast()));
                let at = _mm512_loadu_si512(words[j].as_ptr().cast());
                found = _mm512_or_si512(found, _mm512_maskz_permutex2var_epi16(u32::from(lanes[j]), a, at, b));
            }
        }
        _mm512_cvtph_ps(_mm512_castsi512_si256(found))
    }
}

/// An f16 in all lanes.
///
/// # Safety
/// The CPU has AVX2 and F16C.
#[inline(always)]
unsafe fn splat(bits: [u8; 2]) -> __m256 {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm256_broadcastss_ps(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(u16::from_le_bytes(bits))))) }
}

/// The scales and minima of two super-blocks of Q4_K or Q5_K, which begin with two f16 and the 12 bytes of 8 scales and minima: what
/// `block/parts.rs` does, for all at once. Lanes 8i + j are group j of block i.
///
/// # Safety
/// - 16 bytes are readable at each of `headers`.
/// - The CPU has AVX2, F16C and AVX-512 F, BW and VL.
#[inline(always)]
unsafe fn two_super_blocks(headers: [*const u8; 2]) -> (__m512, __m512) {
    const NONE: i8 = -128;
    // SAFETY: the caller's contract.
    unsafe {
        let [first, second] = [_mm_loadu_si128(headers[0].cast()), _mm_loadu_si128(headers[1].cast())];
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(first), second);
        // Scales 0 to 3 and 4 to 7, minima 0 to 3 and 4 to 7: the byte that has the lower bits, and where the upper two lie apart, theirs.
        let lower = _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15);
        let upper = _mm_setr_epi8(NONE, NONE, NONE, NONE, 4, 5, 6, 7, NONE, NONE, NONE, NONE, 8, 9, 10, 11);
        let lower = _mm256_shuffle_epi8(both, _mm256_broadcastsi128_si256(lower));
        let upper = _mm256_shuffle_epi8(both, _mm256_broadcastsi128_si256(upper));
        let lower = _mm256_srlv_epi32(lower, _mm256_setr_epi32(0, 0, 0, 4, 0, 0, 0, 4));
        let (six, four) = (0x3f3f_3f3f, 0x0f0f_0f0f);
        let lower = _mm256_and_si256(lower, _mm256_setr_epi32(six, four, six, four, six, four, six, four));
        // a | b & c
        let numbers = _mm256_ternarylogic_epi32::<0xf8>(lower, _mm256_srli_epi16::<2>(upper), _mm256_set1_epi8(0x30));
        // All scales, then all minima.
        let numbers = _mm256_permute4x64_epi64::<0b11_01_10_00>(numbers);
        let scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_castsi256_si128(numbers)));
        let minima = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm256_extracti128_si256::<1>(numbers)));
        let d = _mm512_castps128_ps512(_mm_movelh_ps(_mm_cvtph_ps(first), _mm_cvtph_ps(second)));
        let of_scales = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
        let of_minima = _mm512_setr_epi32(1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3);
        (_mm512_mul_ps(scales, _mm512_permutexvar_ps(of_scales, d)), _mm512_mul_ps(minima, _mm512_permutexvar_ps(of_minima, d)))
    }
}

/// The lanes of two super-blocks.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn join(low: __m256, high: __m256) -> __m512 {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm512_castpd_ps(_mm512_insertf64x4::<1>(_mm512_castps_pd(_mm512_castps256_ps512(low)), _mm256_castps_pd(high))) }
}

/// Implements [`Scales`] for formats of one scale, with or without a minimum that is added.
macro_rules! plain {
    ($($block:ty, minimum $minimum:ident;)*) => {$(
        // SAFETY: the intrinsics need what the trait asks of the caller.
        unsafe impl Scales for $block {
            #[inline(always)]
            unsafe fn scales(p: *const Self) -> (__m512, __m512) {
                // SAFETY: the trait's contract; the f16 lie within the block.
                unsafe { (halves::<Self, 0>(p), $minimum(p)) }
            }
        }
    )*};
}

/// No minima.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn none<B>(_: *const B) -> __m512 {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm512_setzero_ps() }
}

/// The second f16 of each block, negated: it is added, and minima are subtracted.
///
/// # Safety
/// As [`halves`].
#[inline(always)]
unsafe fn second<B: Block>(p: *const B) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe { _mm512_sub_ps(_mm512_setzero_ps(), halves::<B, 2>(p)) }
}

plain! {
    Q8_0, minimum none;
    Q4_0, minimum none;
    Q5_0, minimum none;
    Iq4Nl, minimum none;
    Q4_1, minimum second;
    Q5_1, minimum second;
}

/// Implements [`Scales`] for formats of super-blocks with 8 scales and minima.
macro_rules! in_two_levels {
    ($($block:ty)*) => {$(
        // SAFETY: the intrinsics need what the trait asks of the caller.
        unsafe impl Scales for $block {
            #[inline(always)]
            unsafe fn scales(p: *const Self) -> (__m512, __m512) {
                // SAFETY: the trait's contract: there are two blocks, longer than their headers.
                unsafe { two_super_blocks([p.cast(), p.add(1).cast()]) }
            }
        }
    )*};
}

in_two_levels! { Q4K Q5K }

// SAFETY: the intrinsics need what the trait asks of the caller.
unsafe impl Scales for Q6K {
    #[inline(always)]
    unsafe fn scales(p: *const Self) -> (__m512, __m512) {
        // SAFETY: the trait's contract; the load is of the block's 16 scales.
        unsafe {
            let (_, _, scales, d) = (*p).parts();
            let scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(scales.as_ptr().cast())));
            let d = splat(d);
            (_mm512_mul_ps(scales, join(d, d)), _mm512_setzero_ps())
        }
    }
}
