//! AVX2 + FMA + F16C: Intel Haswell (2013), AMD Zen (2017) and later. Eight lanes, 16 registers.
//!
//! Not here: the algorithms (`generic/`); this file gives them lanes and the tile that fits the registers: 3 x 4 outputs are 12 accumulators, with
//! three weights and an activation beside them. Products of many rows are in `avx2_panels.rs`, those of bytes in `avx2_int8.rs`.

use core::arch::x86_64::*;

use half::{bf16, f16};

use crate::arch::avx2_int8_dot::Maddubs;
use crate::arch::avx2_int8_panels::Panel;
use crate::arch::{avx2_int8, avx2_int8_tiles, avx2_panels};
use crate::attention::{AttentionKernels, by_kv_dtype};
use crate::block::{Element, Quantized, cast};
use crate::convert;
use crate::dispatch::{F32Tiles, Isa, Kernels};
use crate::dtype::{DType, by_dtype};
use crate::generic::attempt::{self as attempts, Candidates, Outcome};
use crate::generic::attention::{Chunk, Rows, Stored, Sums};
use crate::generic::decode::decode_blocks;
use crate::generic::int8::{Int8Rows, Int8RowsMut};
use crate::generic::matmul::Widen;
use crate::generic::matmul_blocks::{Packed, matmul_blocks};
use crate::generic::probe::{self, Instruction, Lanes, MultiplyAdds, Probes, by_read_way};
use crate::generic::{attention, elementwise, hadamard as blocks, int8, matmul as product, rmsnorm as norm, rope as rotary};
use crate::kv::{KvDType, KvLayout};
use crate::vector::Vector;
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx2,
    matmul_f32: by_dtype!(matmul_f32, matmul_f32_blocks),
    f32_tiles: Some(F32Tiles {
        tiles: avx2_panels::TILES,
        scratch: avx2_panels::SCRATCH,
        matmul: by_dtype!(matmul_f32_tiles, matmul_f32_tiles_blocks),
    }),
    bf16_tiles: None,
    matmul_bf16: [None; DType::COUNT],
    matmul_int8: by_dtype!(None, matmul_int8),
    int8_tiles: Some(avx2_int8_tiles::TILES),
    rmsnorm,
    rope,
    swiglu,
    add,
    round_to_bf16,
    round_to_int8: [round_to_int8::<false>, round_to_int8::<true>],
    hadamard,
    attention: by_kv_dtype!(pack, attend),
    attention_bf16: [None; KvDType::COUNT],
    merge,
    attempt: [attempt::<false>, attempt::<true>],
    probes: PROBES,
    bf16_is_faster: false,
};

/// What the machine can do with these vectors.
pub(crate) const PROBES: Probes = Probes {
    read: by_read_way!(read),
    f32: MultiplyAdds { run: multiply_adds_f32, per_round: (12 * <Lanes<__m256> as Instruction>::MACS) as u64 },
    bf16: None,
    int8: Some(MultiplyAdds { run: multiply_adds_int8, per_round: (12 * Maddubs::MACS) as u64 }),
};

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

// SAFETY: the intrinsics need the features of this file, which the trait's contract asks of the caller; loads and stores are the
// unaligned ones and touch exactly LANES elements.
unsafe impl Vector for __m256 {
    const LANES: usize = 8;
    const AHEAD: usize = 256;
    const ASKS_APART: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast())))) }
    }

    #[inline(always)]
    unsafe fn load_bf16_even(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_loadu_si256(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16_odd(p: *const bf16) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(p.cast()), _mm256_set1_epi32(!0xffff))) }
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p.cast()))) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: the trait's contract.
        unsafe { _mm256_storeu_ps(p, self) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_add_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_sub_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_mul_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_div_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_fmadd_ps(self, a, b) }
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_max_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_min_ps(self, b) }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the trait's contract.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
    }

    #[inline(always)]
    unsafe fn scale_exp2(self, n: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let n = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(self, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(n)))
        }
    }

    #[inline(always)]
    unsafe fn keep(self, from: usize, to: usize, other: Self) -> Self {
        // SAFETY: the trait's contract.
        unsafe {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let not_before = _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(from as i32 - 1));
            let before_end = _mm256_cmpgt_epi32(_mm256_set1_epi32(to as i32), lane);
            _mm256_blendv_ps(other, self, _mm256_castsi256_ps(_mm256_and_si256(not_before, before_end)))
        }
    }

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe {
            {
                let a = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
                let b = _mm_add_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_add_ss(b, _mm_movehdup_ps(b)))
            }
        }
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        // SAFETY: the trait's contract.
        unsafe {
            {
                let a = _mm_max_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
                let b = _mm_max_ps(a, _mm_movehl_ps(a, a));
                _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)))
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: a hint, which reads nothing; SSE is there on every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_f32<W: Element>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = cast::<W>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { product::matmul::<Widen<__m256, W>, 3, 4>(w, x, k, out, scratch) }
}

unsafe fn matmul_f32_blocks<B: Quantized>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = Packed { bytes: w, row_bytes: k / B::LEN * size_of::<B>(), decode: decode::<B> };
    // SAFETY: dispatch checked the shapes; the caller has the features.
    unsafe { matmul_packed(w, x, k, out, scratch) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_f32_tiles<W: Element>(w: &[u8], x: &[f32], tiles: &[f32], k: usize, mut out: MatMut<'_>, scratch: &mut [f32]) {
    let rows = cast::<W>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe {
        if !avx2_panels::matmul(rows, tiles, k, &mut out, scratch) {
            matmul_f32::<W>(w, x, k, out, scratch);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_f32_tiles_blocks<B: Quantized>(
    w: &[u8],
    x: &[f32],
    tiles: &[f32],
    k: usize,
    mut out: MatMut<'_>,
    scratch: &mut [f32],
) {
    let rows = Packed { bytes: w, row_bytes: k / B::LEN * size_of::<B>(), decode: decode::<B> };
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe {
        if !avx2_panels::matmul(&rows, tiles, k, &mut out, scratch) {
            matmul_packed(rows, x, k, out, scratch);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_packed(w: Packed<'_>, x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { matmul_blocks::<__m256, 3, 4>(w, x, k, out, scratch) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn decode<B: Quantized>(bytes: &[u8], out: &mut [f32]) {
    // SAFETY: this function has the features.
    unsafe { decode_blocks::<__m256, B>(bytes, out) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rmsnorm(x: &mut [f32], w: &[f32], eps: f32) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { norm::rmsnorm::<__m256>(x, w, eps) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { rotary::rope::<__m256>(x, cos, sin) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn attempt<const WITH_ERROR: bool>(x: &[f32], importance: &[f32], tried: Candidates<'_>) -> Outcome {
    // SAFETY: this function has the features.
    unsafe { attempts::attempt::<__m256, WITH_ERROR>(x, importance, tried) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn swiglu(gate: &mut [f32], up: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { elementwise::swiglu::<__m256>(gate, up) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add(x: &mut [f32], y: &[f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { elementwise::add::<__m256>(x, y) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
    convert::round_to_bf16(x, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn round_to_int8<const FITTED: bool>(x: &[f32], to: Int8RowsMut<'_>) {
    // SAFETY: this function has the features.
    unsafe { int8::round_to_int8::<__m256, FITTED>(x, to) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn hadamard(x: &mut [f32], order: usize) {
    blocks::hadamard(x, order);
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn pack<S: Stored>(q: &mut [f32], factor: f32) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::pack::<attention::Widen<__m256, S>>(q, factor) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn attend<S: Stored>(layout: KvLayout, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::attend::<attention::Widen<__m256, S>, 6, 2>(layout, chunk, rows, q, scores, out) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn merge(chunk: &[f32], running: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::merge::<__m256>(chunk, running) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_adds_f32(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { probe::multiply_adds::<Lanes<__m256>, 12>(rounds) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn multiply_adds_int8(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { probe::multiply_adds::<Maddubs, 12>(rounds) }
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn read<const STREAMS: usize, const PREFETCH: usize>(data: &[f32]) {
    // SAFETY: this function has the features.
    unsafe { probe::read::<__m256, STREAMS, PREFETCH>(data) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn matmul_int8<P: Panel>(w: &[u8], x: Int8Rows<'_>, k: usize, mut out: MatMut<'_>, _: &mut [f32]) {
    let w = cast::<P>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { avx2_int8::matmul::<Maddubs, P>(w, x, k, &mut out) }
}

// The probe of `vpmaddubsw` alone.
// SAFETY: no method touches memory; the intrinsics need AVX2, which the trait asks of the caller.
unsafe impl Instruction for Maddubs {
    type Acc = __m256i;
    type Operand = __m256i;
    const MACS: usize = 32;

    #[inline(always)]
    unsafe fn acc(i: u8) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi8(i as i8) }
    }

    #[inline(always)]
    unsafe fn operand() -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_set1_epi8(3) }
    }

    /// The accumulator is a factor: a product of two operands alone would be taken out of the loop.
    #[inline(always)]
    unsafe fn mul_add(acc: __m256i, a: __m256i, _: __m256i) -> __m256i {
        // SAFETY: the trait's contract.
        unsafe { _mm256_maddubs_epi16(acc, a) }
    }
}
