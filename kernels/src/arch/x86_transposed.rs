//! Matrices of four bytes each, transposed in 256-bit registers: what the panels of AVX2 and of AVX-512 share.
//!
//! Not here: what is transposed (`avx2_panels.rs`, `avx2_int8_panels.rs`, `vnni_panels.rs`).

use core::arch::x86_64::*;

/// An 8 x 8 matrix of four bytes each, transposed.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn transposed(v: &[__m256i; 8]) -> [__m256i; 8] {
    // SAFETY: no memory is touched; the features are the caller's.
    unsafe {
        let zero = _mm256_setzero_si256();
        // Columns 0, 1, 4, 5 and columns 2, 3, 6, 7 of two rows; then columns i and i + 4 of four.
        let (mut low, mut high) = ([zero; 4], [zero; 4]);
        for i in 0..4 {
            low[i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
            high[i] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
        }
        let mut columns = [[zero; 2]; 4];
        for j in 0..2 {
            columns[0][j] = _mm256_unpacklo_epi64(low[2 * j], low[2 * j + 1]);
            columns[1][j] = _mm256_unpackhi_epi64(low[2 * j], low[2 * j + 1]);
            columns[2][j] = _mm256_unpacklo_epi64(high[2 * j], high[2 * j + 1]);
            columns[3][j] = _mm256_unpackhi_epi64(high[2 * j], high[2 * j + 1]);
        }
        let mut out = [zero; 8];
        for i in 0..4 {
            out[i] = _mm256_permute2x128_si256::<0x20>(columns[i][0], columns[i][1]);
            out[i + 4] = _mm256_permute2x128_si256::<0x31>(columns[i][0], columns[i][1]);
        }
        out
    }
}
