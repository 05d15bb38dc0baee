//! AVX-VNNI: `vpdpbusd` in vectors of 256 bits. Intel's Core CPUs since Alder Lake (2021), which have no AVX-512, and AMD Zen 5.
//!
//! It inherits the AVX2 rung and replaces the instruction of its products of bytes: four products are added to 32 bits at once, where AVX2 adds two
//! in 16 bits, some of those, and widens the sum. Not here: the loops around it (`avx2_int8.rs`), 512 bits (`vnni.rs`).

use core::arch::x86_64::*;

use super::avx2_int8::{self, PanelRows, Part, Segment};
use super::avx2_int8_dot::ByteDot;
use super::avx2_int8_panels::{Kind, Panel};
use super::avx2_int8_tiles::Source;
use super::{avx2, avx2_int8_one};
use crate::block::cast;
use crate::dispatch::{Isa, Kernels};
use crate::dtype::by_dtype;
use crate::generic::int8::Int8Rows;
use crate::generic::probe::{Instruction, MultiplyAdds, Probes, multiply_adds};
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels =
    Kernels { isa: Isa::AvxVnni, matmul_int8: by_dtype!(None, matmul_int8), probes: PROBES, ..avx2::KERNELS };

/// Accumulators of the probe: with two operands they leave registers to spare.
const N: usize = 12;

/// What the machine can do with the instruction that this rung adds.
const PROBES: Probes =
    Probes { int8: Some(MultiplyAdds { run: multiply_adds_int8, per_round: (N * Dpbusd::MACS) as u64 }), ..avx2::PROBES };

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    avx2::is_available() && is_x86_feature_detected!("avxvnni")
}

#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn matmul_int8<P: Panel>(w: &[u8], x: Int8Rows<'_>, k: usize, mut out: MatMut<'_>, _: &mut [f32]) {
    let w = cast::<P>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { avx2_int8::matmul::<Dpbusd, P>(w, x, k, &mut out) }
}

#[target_feature(enable = "avx2,avxvnni")]
unsafe fn multiply_adds_int8(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { multiply_adds::<Dpbusd, N>(rounds) }
}

/// 32 pairs of u8 and i8, added by fours to 8 i32 lanes.
struct Dpbusd;

impl Dpbusd {
    /// Codes of a panel as the instruction wants them: those with signs 128 larger.
    ///
    /// # Safety
    /// The CPU has AVX2.
    #[inline(always)]
    unsafe fn unsigned<K: Kind>(codes: __m256i) -> __m256i {
        // SAFETY: no memory is touched; the features are the caller's.
        unsafe { if K::SIGNED { _mm256_xor_si256(codes, _mm256_set1_epi8(-128)) } else { codes } }
    }
}

// SAFETY: loads are of groups that the panels and the activation rows have; the intrinsics need the features of this file, which the trait asks of
// the caller.
unsafe impl ByteDot for Dpbusd {
    const UNSIGNED: bool = true;
    const PRODUCTS: usize = 4;
    const SPLITS: bool = false;

    #[inline(always)]
    unsafe fn multiply<K: Kind>(codes: __m256i, x: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), codes, x) }
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
            for d in 0..K::GROUP / 4 {
                let mut codes = [_mm256_setzero_si256(); MR];
                for a in 0..MR {
                    codes[a] = Self::unsigned::<K>(panels[a].codes(d));
                }
                for b in 0..NR {
                    let bytes = x.four(b, g * (K::GROUP / 4) + d);
                    for a in 0..MR {
                        sums[b][a] = _mm256_dpbusd_avx_epi32(sums[b][a], codes[a], bytes);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn tile<K: Kind, const MR: usize, const NR: usize, const PACKED: bool>(
        panels: [Part; MR],
        segment: Segment,
        x: Source<PACKED>,
        acc: &mut [[__m256; MR]; NR],
    ) {
        // SAFETY: the trait's contract; this function has the features.
        unsafe { avx2_int8::tile::<Self, K, MR, NR, PACKED>(panels, segment, x, acc) }
    }

    #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    unsafe fn one_row<P: Panel>(w: &[P], x: Int8Rows<'_>, k: usize, rows: PanelRows) -> __m256 {
        // SAFETY: the trait's contract; this function has the features.
        unsafe { avx2_int8_one::one_row::<Self, P>(w, x, k, rows) }
    }
}

// SAFETY: no method touches memory; the intrinsics need the features of this file, which the trait asks of the caller.
unsafe impl Instruction for Dpbusd {
    type Acc = __m256i;
    type Operand = __m256i;
    const MACS: usize = 32;

    #[inline(always)]
    unsafe fn acc(i: u8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi32(i32::from(i)) }
    }

    #[inline(always)]
    unsafe fn operand() -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi8(3) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_dpbusd_avx_epi32(acc, a, b) }
    }
}
