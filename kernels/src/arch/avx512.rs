//! AVX-512 F and VL: Intel Skylake-SP (2017), AMD Zen 4 (2022) and later. Sixteen lanes, 32 registers.
//!
//! Not here: the algorithms (`generic/`); this file gives them lanes and the tile that fits the registers: 4 x 6 outputs are 24 accumulators,
//! with four weights and an activation beside them.

use core::arch::x86_64::*;

use half::{bf16, f16};

use crate::arch::avx2;
use crate::attention::{AttentionKernels, by_kv_dtype};
use crate::block::{Element, Quantized, cast};
use crate::convert;
use crate::dispatch::{Isa, Kernels};
use crate::dtype::{DType, by_dtype};
use crate::generic::attention::{Chunk, Rows, Stored, Sums};
use crate::generic::decode::decode_blocks;
use crate::generic::matmul::Widen;
use crate::generic::matmul_blocks::{Packed, matmul_blocks};
use crate::generic::probe::{self, Instruction, Lanes, MultiplyAdds, Probes, by_read_way};
use crate::generic::{attention, elementwise, matmul as product, rmsnorm as norm, rope as rotary};
use crate::kv::{KvDType, KvLayout};
use crate::vector::{MAX_FOLD, MAX_LANES, Vector};
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx512,
    matmul_f32: by_dtype!(matmul_f32, matmul_f32_blocks),
    f32_tiles: None,
    bf16_tiles: None,
    matmul_bf16: [None; DType::COUNT],
    matmul_int8: avx2::KERNELS.matmul_int8,
    int8_tiles: avx2::KERNELS.int8_tiles,
    rmsnorm,
    rope,
    swiglu,
    add,
    round_to_bf16,
    round_to_int8: avx2::KERNELS.round_to_int8,
    hadamard: avx2::KERNELS.hadamard,
    attention: by_kv_dtype!(pack, attend),
    attention_bf16: [None; KvDType::COUNT],
    merge,
    attempt: avx2::KERNELS.attempt,
    probes: PROBES,
    bf16_is_faster: false,
};

/// What the machine can do with these vectors.
pub(crate) const PROBES: Probes = Probes {
    read: by_read_way!(read),
    f32: MultiplyAdds { run: multiply_adds_f32, per_round: (24 * <Lanes<__m512> as Instruction>::MACS) as u64 },
    bf16: None,
    int8: avx2::PROBES.int8,
};

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    avx2::is_available() && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")
}

// SAFETY: the intrinsics need the features of this file, which the trait's contract asks of the caller; loads and stores are the
// unaligned ones and touch exactly LANES elements.
unsafe impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_bf16_even(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_loadu_si512(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16_odd(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p.cast()), _mm512_set1_epi32(!0xffff))) }
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm512_storeu_ps(p, self) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_add_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_sub_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_mul_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_div_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_fmadd_ps(self, a, b) }
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_max_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_min_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn scale_exp2(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm512_scalef_ps(self, n) }
    }

    #[inline(always)]
    unsafe fn keep(self, from: usize, to: usize, other: Self) -> Self {
        let lanes = (0xffff_u32 << from) & ((1 << to) - 1);
        // SAFETY: the trait's contract.
        unsafe { _mm512_mask_mov_ps(other, lanes as __mmask16, self) }
    }

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe {
            {
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self)));
                let a = _mm256_add_ps(_mm512_castps512_ps256(self), upper);
                let b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let c = _mm_add_ps(b, _mm_movehl_ps(b, b));
                _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)))
            }
        }
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe {
            {
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self)));
                let a = _mm256_max_ps(_mm512_castps512_ps256(self), upper);
                let b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
                let c = _mm_max_ps(b, _mm_movehl_ps(b, b));
                _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)))
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a hint, which reads nothing; SSE is there on every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }

    // Each level adds the halves of two vectors' parts at once and packs the results: 46 operations for what are 16 trees of 8.
    const FOLD: usize = 4;

    #[inline(always)]
    unsafe fn fold([a, b, c, d]: [Self; MAX_FOLD]) -> Self {
        // SAFETY: the trait's contract.
        unsafe { quarters(a, b, c, d) }
    }

    #[inline(always)]
    unsafe fn sum_folded(folded: &[Self; MAX_LANES]) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let (ab, cd) = (pairs(folded[0], folded[1]), pairs(folded[2], folded[3]));
            let sums = _mm512_add_ps(_mm512_shuffle_ps::<0x88>(ab, cd), _mm512_shuffle_ps::<0xdd>(ab, cd));
            // Quarter q has row q of each folded vector.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_ps(order, sums)
        }
    }
}

/// Lane i + lane i + 8 of each vector, then lane i + lane i + 4: four lanes of a, b, c and d.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn quarters(a: __m512, b: __m512, c: __m512, d: __m512) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        let ab = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
        let cd = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
        _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(ab, cd), _mm512_shuffle_f32x4::<0xdd>(ab, cd))
    }
}

/// Lane i + lane i + 2 of each quarter: two lanes of `a` and of `b` in each quarter.
///
/// # Safety
/// The CPU has AVX-512F.
#[inline(always)]
unsafe fn pairs(a: __m512, b: __m512) -> __m512 {
    // SAFETY: the caller's contract.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    }
}

// VL lets the compiler keep accumulators in all 32 registers although sums begin with instructions of half the width.
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn matmul_f32<W: Element>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = cast::<W>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { product::matmul::<Widen<__m512, W>, 4, 6>(w, x, k, out, scratch) }
}

unsafe fn matmul_f32_blocks<B: Quantized>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = Packed { bytes: w, row_bytes: k / B::LEN * size_of::<B>(), decode: decode::<B> };
    // SAFETY: dispatch checked the shapes; the caller has the features.
    unsafe { matmul_packed(w, x, k, out, scratch) }
}

#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn matmul_packed(w: Packed<'_>, x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { matmul_blocks::<__m512, 4, 6>(w, x, k, out, scratch) }
}

#[target_feature(enable = "avx512f")]
unsafe fn decode<B: Quantized>(bytes: &[u8], out: &mut [f32]) {
    // SAFETY: this function has the features.
    unsafe { decode_blocks::<__m512, B>(bytes, out) }
}

#[target_feature(enable = "avx512f")]
unsafe fn rmsnorm(x: &mut [f32], w: &[f32], eps: f32) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { norm::rmsnorm::<__m512>(x, w, eps) }
}

#[target_feature(enable = "avx512f")]
unsafe fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { rotary::rope::<__m512>(x, cos, sin) }
}

#[target_feature(enable = "avx512f")]
unsafe fn swiglu(gate: &mut [f32], up: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { elementwise::swiglu::<__m512>(gate, up) }
}

#[target_feature(enable = "avx512f")]
unsafe fn add(x: &mut [f32], y: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { elementwise::add::<__m512>(x, y) }
}

#[target_feature(enable = "avx512f")]
unsafe fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
    convert::round_to_bf16(x, out);
}

#[target_feature(enable = "avx512f")]
unsafe fn pack<S: Stored>(q: &mut [f32], factor: f32) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::pack::<attention::Widen<__m512, S>>(q, factor) }
}

#[target_feature(enable = "avx512f")]
unsafe fn attend<S: Stored>(layout: KvLayout, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::attend::<attention::Widen<__m512, S>, 6, 4>(layout, chunk, rows, q, scores, out) }
}

#[target_feature(enable = "avx512f")]
unsafe fn merge(chunk: &[f32], running: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::merge::<__m512>(chunk, running) }
}

#[target_feature(enable = "avx512f")]
unsafe fn multiply_adds_f32(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { probe::multiply_adds::<Lanes<__m512>, 24>(rounds) }
}

/// By halves of a line: on an Intel server CPU of 2024 that reads memory 1.2 times as fast as whole lines do, with any number of streams.
#[target_feature(enable = "avx512f")]
unsafe fn read<const STREAMS: usize, const PREFETCH: usize>(data: &[f32]) {
    // SAFETY: this function has the features: AVX-512F implies AVX2, FMA and F16C.
    unsafe { probe::read::<__m256, STREAMS, PREFETCH>(data) }
}
