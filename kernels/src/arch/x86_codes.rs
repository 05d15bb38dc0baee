//! How the codes of each block format are unpacked to bytes by 256-bit vectors, row by row: what products of AVX2 and AVX-512 share.
//!
//! Not here: scales (`vnni_scales.rs`), products (`avx2_int8.rs`, `vnni.rs`), codes of eight rows at once (`avx2_int8_formats.rs`).

use core::arch::x86_64::*;

use crate::block::{DOUBLED, Iq4Nl, Iq4Xs, Mxfp4, NON_LINEAR, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Quantized};

/// A format whose codes are unpacked by vectors, to the bytes of [`Quantized::write_codes`].
///
/// # Safety
/// `codes` needs AVX2.
pub(super) unsafe trait Codes: Quantized {
    /// The `i`-th 32 codes of the block, in order. `i < LEN / 32`
    #[allow(clippy::missing_safety_doc, reason = "the contract stands on the trait")]
    unsafe fn codes(&self, i: usize) -> __m256i;
}

/// 32 bytes of a block.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn load(bytes: &[u8]) -> __m256i {
    debug_assert!(bytes.len() >= 32);
    // SAFETY: the slice has 32 bytes; the features are the caller's.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

/// The low halves of 16 bytes, then the high halves.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn nibbles(packed: &[u8; 16]) -> __m256i {
    // SAFETY: the load is of the array's 16 bytes; the features are the caller's.
    unsafe {
        // Each half of the vector by its own shift: nothing is moved across lanes.
        let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(packed.as_ptr().cast()));
        _mm256_and_si256(_mm256_srlv_epi64(twice, _mm256_set_epi64x(4, 4, 0, 0)), _mm256_set1_epi8(15))
    }
}

/// 16 where the bit is set, else 0; one byte for each bit.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn fifths(bits: &[u8; 4]) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let byte = _mm256_set_epi64x(0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0);
        let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(*bits)), byte);
        let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), _mm256_set1_epi8(16))
    }
}

/// Each byte's bits from `shift` on, as many as `mask` has. `shift < 8`
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn field(bytes: __m256i, shift: usize, mask: i8) -> __m256i {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe { _mm256_and_si256(_mm256_srl_epi16(bytes, _mm_cvtsi32_si128(shift as i32)), _mm256_set1_epi8(mask)) }
}

/// The numbers of a table that codes of four bits stand for: the low halves of 16 bytes, then the high halves.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn values(table: &[i8; 16], packed: &[u8; 16]) -> __m256i {
    // SAFETY: the load is of the array; the features are the caller's.
    unsafe { _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast())), nibbles(packed)) }
}

/// Implements [`Codes`] for formats; the body is in an unsafe block, since AVX2 is the caller's.
macro_rules! codes {
    ($($block:ty, |$self:ident, $i:ident| $codes:expr;)*) => {$(
        // SAFETY: loads are of the block's own arrays; the intrinsics need AVX2, which the trait asks of the caller.
        unsafe impl Codes for $block {
            #[inline(always)]
            unsafe fn codes(&$self, $i: usize) -> __m256i {
                // SAFETY: the trait's contract.
                unsafe { $codes }
            }
        }
    )*};
}

codes! {
    Q8_0, |self, _i| _mm256_loadu_si256(self.parts().1.as_ptr().cast());
    Q4_0, |self, _i| _mm256_sub_epi8(nibbles(self.parts().1), _mm256_set1_epi8(8));
    Q4_1, |self, _i| nibbles(self.parts().1);
    Q5_0, |self, _i| {
        let (_, high, low) = self.parts();
        _mm256_sub_epi8(_mm256_or_si256(nibbles(low), fifths(high)), _mm256_set1_epi8(16))
    };
    Q5_1, |self, _i| {
        let (_, high, low) = self.parts();
        _mm256_or_si256(nibbles(low), fifths(high))
    };
    Iq4Nl, |self, _i| values(&NON_LINEAR, self.parts().1);
    Iq4Xs, |self, i| values(&NON_LINEAR, &self.codes()[i]);
    Mxfp4, |self, _i| values(&DOUBLED, self.codes());
    // Of each 128 weights, the i-th 32 are bits 2i and 2i + 1 of 32 bytes.
    Q2K, |self, i| field(load(&self.codes()[i / 4 * 32..]), i % 4 * 2, 3);
    Q3K, |self, i| {
        let third = _mm256_slli_epi16::<2>(field(load(self.thirds()), i, 1));
        let codes = _mm256_or_si256(field(load(&self.codes()[i / 4 * 32..]), i % 4 * 2, 3), third);
        _mm256_sub_epi8(codes, _mm256_set1_epi8(4))
    };
    Q4K, |self, i| field(load(&self.parts().2[i / 2 * 32..]), i % 2 * 4, 15);
    Q5K, |self, i| {
        let high = _mm256_slli_epi16::<4>(field(load(self.fifths()), i, 1));
        _mm256_or_si256(field(load(&self.parts().2[i / 2 * 32..]), i % 2 * 4, 15), high)
    };
    // Of each 128 weights, the first 64 have their low bits in the low halves of 64 bytes, the others in the high halves.
    Q6K, |self, i| {
        let (low, high, ..) = self.parts();
        let low = field(load(&low[i / 4 * 64 + i % 2 * 32..]), i % 4 / 2 * 4, 15);
        let high = _mm256_slli_epi16::<4>(field(load(&high[i / 4 * 32..]), i % 4 * 2, 3));
        _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32))
    };
}
