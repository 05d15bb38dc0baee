//! What adds products of bytes in vectors of 256 bits: the one instruction in which AVX2 and AVX-VNNI differ. Here is that of AVX2.
//!
//! Not here: the loops around it (`avx2_int8.rs`), the instruction of AVX-VNNI (`avx_vnni.rs`).

use core::arch::x86_64::*;

use super::avx2_int8::{self, PanelRows, Part, Segment};
use super::avx2_int8_one;
use super::avx2_int8_panels::{Added, Kind, Panel};
use super::avx2_int8_steps::{signed_run, unsigned_run};
use super::avx2_int8_tiles::{Source, TILE_ROWS};
use crate::generic::int8::{CODE_OFFSET, Int8Rows};

/// A way to add products of codes with activations: `vpmaddubsw` or `vpdpbusd`.
///
/// # Safety
/// Every method may only be called where the CPU has AVX2, FMA, F16C and the features of the implementing ISA, and `tile` and `one_row` on
/// what [`avx2_int8::tile`] and [`avx2_int8_one::one_row`] ask for.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(super) unsafe trait ByteDot {
    /// Whether all codes are multiplied without signs: those that have some ([`Kind::SIGNED`]) are multiplied 128 too large.
    const UNSIGNED: bool;
    /// The products of a code and an activation in a lane of [`ByteDot::multiply`]: two in 16 bits, or four in 32.
    const PRODUCTS: usize;
    /// Whether codes with signs are split where they serve many rows: see [`is_split`].
    const SPLITS: bool;

    /// 32 products of codes, larger by what [`added`] tells, added by twos or by fours.
    unsafe fn multiply<K: Kind>(codes: __m256i, x: __m256i) -> __m256i;

    /// Adds the products of a group of `MR` panels with group `g` of `NR` rows of activations, and what split codes lack.
    unsafe fn add_group<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: &[Part; MR],
        x: Source<PACKED>,
        g: usize,
        sums: &mut [[__m256i; MR]; NR],
    );

    /// [`avx2_int8::tile`], a function of its own with the features.
    unsafe fn tile<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: [Part; MR],
        segment: Segment,
        x: Source<PACKED>,
        acc: &mut [[__m256; MR]; NR],
    );

    /// [`avx2_int8_one::one_row`], a function of its own with the features.
    unsafe fn one_row<P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, rows: PanelRows) -> __m256;
}

/// What a sum of a format's codes lacks if they are multiplied so.
pub(super) const fn added<D: ByteDot, P: Panel>() -> Added {
    if D::UNSIGNED && P::Kind::SIGNED { Added::Offset(CODE_OFFSET as usize) } else { P::ADDED }
}

/// Whether the codes of `MR` panels at a time are split into their signs, of which all bits are alike, and their magnitudes.
///
/// A sign turns all bits of the activation, which an operation of any pipe does. It becomes one less than its negative, and the product less by
/// the magnitude, which is the same for all rows: the sum of a group's negative magnitudes is what its products begin with. An activation of 127
/// becomes -128 so, and two products of 128 · -128 are the least that fits in 16 bits.
pub(super) const fn is_split<D: ByteDot, K: Kind>(panels: usize) -> bool {
    D::SPLITS && K::SIGNED && panels == 2
}

/// Splits the codes of `groups` groups, which begin at the room for them: they are half of it.
///
/// # Safety
/// - The codes were unpacked, and there is room for what they become.
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn split<K: Kind>(part: Part, groups: usize) {
    let vectors = K::GROUP / 4;
    // SAFETY: the caller's contract. From the last to the first, so that a vector is read before its place is written.
    unsafe {
        for g in (0..groups).rev() {
            let mut negative = _mm256_setzero_si256();
            for d in (g * vectors..(g + 1) * vectors).rev() {
                let codes = part.codes(d);
                let (signs, magnitudes) = (_mm256_cmpgt_epi8(_mm256_setzero_si256(), codes), _mm256_abs_epi8(codes));
                part.set_codes(2 * d, signs);
                part.set_codes(2 * d + 1, magnitudes);
                let twos = _mm256_maddubs_epi16(_mm256_and_si256(signs, magnitudes), _mm256_set1_epi8(1));
                negative = _mm256_add_epi16(negative, twos);
            }
            part.set_begin(g, _mm256_madd_epi16(negative, _mm256_set1_epi16(1)));
        }
    }
}

/// `vpmaddubsw` of AVX2: two products are added in 16 bits, and [`Kind::DEPTH`] such sums before they are widened.
pub(super) struct Maddubs;

// SAFETY: loads are of groups that the panels and the activation rows have; the intrinsics need AVX2, which the trait asks of the caller.
unsafe impl ByteDot for Maddubs {
    const UNSIGNED: bool = false;
    const PRODUCTS: usize = 2;
    const SPLITS: bool = true;

    #[inline(always)]
    unsafe fn multiply<K: Kind>(codes: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe {
            if K::SIGNED {
                _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
            } else {
                _mm256_maddubs_epi16(codes, x)
            }
        }
    }

    #[inline(always)]
    unsafe fn add_group<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: &[Part; MR],
        x: Source<PACKED>,
        g: usize,
        sums: &mut [[__m256i; MR]; NR],
    ) {
        // SAFETY: the trait's contract.
        unsafe {
            if MR == 2 && NR == TILE_ROWS && PACKED {
                Self::add_group_of_tile::<K, MR, NR, PACKED>(panels, x, g, sums);
            } else {
                Self::add_group_of_rows::<K, MR, NR, PACKED>(panels, x, g, sums);
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn tile<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: [Part; MR],
        segment: Segment,
        x: Source<PACKED>,
        acc: &mut [[__m256; MR]; NR],
    ) {
        // SAFETY: the trait's contract; this function has the features.
        unsafe { avx2_int8::tile::<Self, K, MR, NR, PACKED>(panels, segment, x, acc) }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn one_row<P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, rows: PanelRows) -> __m256 {
        // SAFETY: the trait's contract; this function has the features.
        unsafe { avx2_int8_one::one_row::<Self, P>(w, x, k, rows) }
    }
}

/// All of these ask for what [`ByteDot::add_group`] asks.
impl Maddubs {
    /// Two panels and a packed tile of four rows, in assembly.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    unsafe fn add_group_of_tile<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: &[Part; MR],
        x: Source<PACKED>,
        g: usize,
        sums: &mut [[__m256i; MR]; NR],
    ) {
        let [first, second] = [panels[0], panels[MR - 1]];
        // SAFETY: the trait's contract.
        unsafe {
            for run in 0..K::GROUP / 4 / K::RUN {
                let from = run * K::RUN;
                let x = x.fours(g * (K::GROUP / 4) + from);
                let products = if K::SIGNED {
                    signed_run::<K>([first.codes_from(2 * from), second.codes_from(2 * from)], [first.begin(), second.begin()], x)
                } else {
                    unsigned_run::<K>([first.codes_from(from), second.codes_from(from)], x)
                };
                for b in 0..NR {
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], products[b][a]);
                    }
                }
            }
        }
    }

    /// Any other number of panels and rows.
    ///
    /// # Safety
    /// See above.
    #[inline(always)]
    unsafe fn add_group_of_rows<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: &[Part; MR],
        x: Source<PACKED>,
        g: usize,
        sums: &mut [[__m256i; MR]; NR],
    ) {
        let is_split = is_split::<Self, K>(MR);
        // SAFETY: the trait's contract.
        unsafe {
            let ones = _mm256_set1_epi16(1);
            if is_split {
                for b in 0..NR {
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], *panels[a].begin());
                    }
                }
            }
            for first in (0..K::GROUP / 4).step_by(K::DEPTH) {
                let mut short = [[_mm256_setzero_si256(); MR]; NR];
                for d in first..first + K::DEPTH {
                    let (mut codes, mut signs) = ([_mm256_setzero_si256(); MR], [_mm256_setzero_si256(); MR]);
                    for a in 0..MR {
                        if is_split {
                            signs[a] = panels[a].codes(2 * d);
                            codes[a] = panels[a].codes(2 * d + 1);
                        } else {
                            codes[a] = panels[a].codes(d);
                        }
                    }
                    for b in 0..NR {
                        let bytes = x.four(b, g * (K::GROUP / 4) + d);
                        for a in 0..MR {
                            let products = if is_split {
                                _mm256_maddubs_epi16(codes[a], _mm256_xor_si256(bytes, signs[a]))
                            } else {
                                Self::multiply::<K>(codes[a], bytes)
                            };
                            short[b][a] = _mm256_add_epi16(short[b][a], products);
                        }
                    }
                }
                for b in 0..NR {
                    for a in 0..MR {
                        sums[b][a] = _mm256_add_epi32(sums[b][a], _mm256_madd_epi16(short[b][a], ones));
                    }
                }
            }
        }
    }
}
