//! How the codes of 16 groups of each block format are unpacked to 512-bit vectors of four groups, for few rows of activations.
//!
//! Not here: codes by 256-bit vectors, which panels take (`x86_codes.rs`), the products (`vnni_rows.rs`).

use core::arch::x86_64::*;

use super::vnni_scales::{Scales, index, windows};
use crate::block::{Iq4Nl, NON_LINEAR, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};

/// Four vectors, each with 16 bytes of four groups, and four with their other 16 bytes, where a group has as many.
pub(super) type Halves = [[__m512i; 2]; 4];

/// A format whose codes can be unpacked 16 groups at a time.
///
/// # Safety
/// `quads` needs AVX-512 F and BW.
pub(super) unsafe trait Quads: Scales {
    /// What is added to the signed codes of `quads` to make them unsigned is `128 >> SHIFT`; without meaning where there are minima.
    const SHIFT: u32;
    /// Whether vectors have every second group of 8, and not four in a row.
    const INTERLEAVED: bool = false;

    /// The unsigned codes of 16 groups at `p`: quarter `l` of vector `j` belongs to group [`group::<Self>(j, l)`](group).
    ///
    /// # Safety
    /// The blocks of 16 groups are readable at `p`.
    unsafe fn quads(p: *const Self) -> Halves;
}

/// Which group quarter `l` of vector `j` belongs to.
#[inline(always)]
pub(super) const fn group<B: Quads>(j: usize, l: usize) -> usize {
    if B::INTERLEAVED { j / 2 * 8 + 2 * l + j % 2 } else { 4 * j + l }
}

/// For 16 bytes that begin at `offset` in each of the j-th four blocks: where each of their words is in loads of 64 bytes at two places.
const fn words(stride: usize, j: usize, offset: usize, places: [usize; 2]) -> [u16; 32] {
    let mut at = [0; 32];
    let mut i = 0;
    while i < 32 {
        at[i] = index((4 * j + i / 8) * stride + offset + i % 8 * 2, places);
        i += 1;
    }
    at
}

/// The words that `at` says of the 64 bytes at each of two places beyond `p`.
///
/// # Safety
/// 64 bytes are readable at each place; the CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn gather(p: *const u8, at: &[u16; 32], [a, b]: [usize; 2]) -> __m512i {
    // SAFETY: the caller's contract; the index has 64 bytes.
    unsafe {
        let (a, b) = (_mm512_loadu_si512(p.add(a).cast()), _mm512_loadu_si512(p.add(b).cast()));
        _mm512_permutex2var_epi16(a, _mm512_loadu_si512(at.as_ptr().cast()), b)
    }
}

/// The low halves of all bytes, and the high halves.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn nibbles(bytes: __m512i) -> [__m512i; 2] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
    }
}

/// The same 128 or 256 bits in all places, each place rotated by its number of `by` in units of 64 bits; of that, the bits of `mask`.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn bits(v: __m512i, by: [i64; 4], mask: i8) -> __m512i {
    let [a, b, c, d] = by;
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm512_and_si512(_mm512_rolv_epi64(v, _mm512_setr_epi64(a, a, b, b, c, c, d, d)), _mm512_set1_epi8(mask)) }
}

/// `low & 15 | high`
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn with_high_bits(low: __m512i, high: __m512i) -> __m512i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm512_ternarylogic_epi32::<0xea>(low, _mm512_set1_epi8(15), high) }
}

/// Implements [`Quads`] for formats of 32 weights in 16 bytes of halves: four blocks, then what is done to their low and high halves.
macro_rules! of_halves {
    ($($block:ty, shift $shift:literal, codes at $offset:literal, |$p:ident, $halves:ident| $codes:expr;)*) => {$(
        // SAFETY: loads are within 16 blocks; the intrinsics need what the trait asks of the caller.
        unsafe impl Quads for $block {
            const SHIFT: u32 = $shift;

            #[inline(always)]
            unsafe fn quads(p: *const Self) -> Halves {
                const STRIDE: usize = size_of::<$block>();
                const WINDOWS: [[usize; 2]; 4] = windows(STRIDE);
                const fn at(j: usize) -> [u16; 32] {
                    words(STRIDE, j, $offset, WINDOWS[j])
                }
                const AT: [[u16; 32]; 4] = [at(0), at(1), at(2), at(3)];
                // SAFETY: the trait's contract.
                unsafe {
                    let mut quads = [[_mm512_setzero_si512(); 2]; 4];
                    for (j, quad) in quads.iter_mut().enumerate() {
                        let $halves = nibbles(gather(p.cast(), &AT[j], WINDOWS[j]));
                        let $p = p.add(4 * j);
                        *quad = $codes;
                    }
                    quads
                }
            }
        }
    )*};
}

/// Adds 16 where the fifth bit of a code is set, which the four bytes at `offset` of each of four blocks say.
///
/// # Safety
/// Four blocks are readable at `p`; the CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn with_fifths<B: Quads>(p: *const B, offset: usize, halves: [__m512i; 2]) -> [__m512i; 2] {
    let mut masks = [0_u64; 2];
    // SAFETY: the caller's contract; four bytes at `offset` are within a block.
    unsafe {
        for l in 0..4 {
            let bits = u64::from(p.add(l).cast::<u8>().add(offset).cast::<u32>().read_unaligned());
            masks[0] |= (bits & 0xffff) << (16 * l);
            masks[1] |= (bits >> 16) << (16 * l);
        }
        let sixteen = _mm512_set1_epi8(16);
        let [low, high] = halves;
        [_mm512_mask_add_epi8(low, masks[0], low, sixteen), _mm512_mask_add_epi8(high, masks[1], high, sixteen)]
    }
}

of_halves! {
    Q4_0, shift 4, codes at 2, |_p, halves| halves;
    Q4_1, shift 0, codes at 4, |_p, halves| halves;
    Q5_0, shift 3, codes at 6, |p, halves| with_fifths(p, 2, halves);
    Q5_1, shift 0, codes at 8, |p, halves| with_fifths(p, 4, halves);
    Iq4Nl, shift 0, codes at 2, |_p, halves| {
        let table = _mm512_broadcast_i32x4(_mm_xor_si128(_mm_loadu_si128(NON_LINEAR.as_ptr().cast()), _mm_set1_epi8(-128)));
        [_mm512_shuffle_epi8(table, halves[0]), _mm512_shuffle_epi8(table, halves[1])]
    };
}

// SAFETY: loads are of four blocks, 136 bytes; the intrinsics need what the trait asks of the caller.
unsafe impl Quads for Q8_0 {
    const SHIFT: u32 = 0;

    #[inline(always)]
    unsafe fn quads(p: *const Self) -> Halves {
        const FIRST: [u16; 32] = words(34, 0, 2, [0, 64]);
        const SECOND: [u16; 32] = words(34, 0, 18, [8, 72]);
        // SAFETY: the trait's contract.
        unsafe {
            let sign = _mm512_set1_epi8(-128);
            let mut quads = [[_mm512_setzero_si512(); 2]; 4];
            for (j, quad) in quads.iter_mut().enumerate() {
                let p = p.add(4 * j).cast();
                *quad = [_mm512_xor_si512(gather(p, &FIRST, [0, 64]), sign), _mm512_xor_si512(gather(p, &SECOND, [8, 72]), sign)];
            }
            quads
        }
    }
}

/// The first 16 bytes of each 32 of 128, and the second.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn halves_of_32(bytes: &[u8; 128]) -> [__m512i; 2] {
    // SAFETY: the loads are of the array; the features are the caller's.
    unsafe {
        let (a, b) = (_mm512_loadu_si512(bytes.as_ptr().cast()), _mm512_loadu_si512(bytes.as_ptr().add(64).cast()));
        [_mm512_shuffle_i64x2::<0x88>(a, b), _mm512_shuffle_i64x2::<0xdd>(a, b)]
    }
}

// SAFETY: loads are of two blocks' own arrays; the intrinsics need what the trait asks of the caller.
unsafe impl Quads for Q4K {
    const SHIFT: u32 = 0;
    const INTERLEAVED: bool = true;

    #[inline(always)]
    unsafe fn quads(p: *const Self) -> Halves {
        // SAFETY: the trait's contract.
        unsafe {
            let ([a, b], [c, d]) = (halves_of_32((*p).parts().2), halves_of_32((*p.add(1)).parts().2));
            let (a, b, c, d) = (nibbles(a), nibbles(b), nibbles(c), nibbles(d));
            [[a[0], b[0]], [a[1], b[1]], [c[0], d[0]], [c[1], d[1]]]
        }
    }
}

// SAFETY: loads are of two blocks' own arrays; the intrinsics need what the trait asks of the caller.
unsafe impl Quads for Q5K {
    const SHIFT: u32 = 0;
    const INTERLEAVED: bool = true;

    #[inline(always)]
    unsafe fn quads(p: *const Self) -> Halves {
        // SAFETY: the trait's contract.
        unsafe {
            let mut quads = [[_mm512_setzero_si512(); 2]; 4];
            for i in 0..2 {
                let low = halves_of_32((*p.add(i)).parts().2);
                for h in 0..2 {
                    // Group g has bit g of each byte.
                    let fifths = _mm512_broadcast_i32x4(_mm_loadu_si128((*p.add(i)).fifths()[16 * h..].as_ptr().cast()));
                    quads[2 * i][h] = with_high_bits(low[h], bits(fifths, [4, 2, 0, 62], 16));
                    quads[2 * i + 1][h] = with_high_bits(_mm512_srli_epi16::<4>(low[h]), bits(fifths, [3, 1, 63, 61], 16));
                }
            }
            quads
        }
    }
}

// SAFETY: loads are of the block's own arrays; the intrinsics need what the trait asks of the caller.
unsafe impl Quads for Q6K {
    const SHIFT: u32 = 2;

    #[inline(always)]
    unsafe fn quads(p: *const Self) -> Halves {
        // SAFETY: the trait's contract.
        unsafe {
            let (low, high, ..) = (*p).parts();
            let mut quads = [[_mm512_setzero_si512(); 2]; 4];
            for i in 0..2 {
                let low = _mm512_loadu_si512(low.as_ptr().add(64 * i).cast());
                let high = _mm512_broadcast_i64x4(_mm256_loadu_si256(high.as_ptr().add(32 * i).cast()));
                quads[2 * i][0] = with_high_bits(low, bits(high, [4, 4, 2, 2], 0x30));
                quads[2 * i + 1][0] = with_high_bits(_mm512_srli_epi16::<4>(low), bits(high, [0, 0, 62, 62], 0x30));
            }
            quads
        }
    }
}
