//! AVX-512 with BF16 and VNNI: AMD Zen 4 (2022), Intel Cooper Lake (2020), Sapphire Rapids (2023) and later.
//!
//! It inherits the rung of VNNI and adds the product of bf16 weights and bf16 activations by `vdpbf16ps`, which multiplies 32 pairs and
//! adds neighbours into 16 f32 lanes, and attention by the same instruction over keys and values in bf16. Rounding is to nearest even
//! whatever the control register says, and denormal inputs count as zero.

use core::arch::x86_64::*;

use half::bf16;

use crate::arch::avx512_vnni;
use crate::attention::AttentionKernels;
use crate::block::cast;
use crate::dispatch::{Bf16Rows, Isa, Kernels};
use crate::dtype::DType;
use crate::generic::attention::{self, Chunk, Multiply, Rows, Sums};
use crate::generic::matmul::{Dot, matmul};
use crate::generic::probe::{Instruction, MultiplyAdds, Probes, multiply_adds};
use crate::kv::{KvDType, KvLayout};
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels =
    with_products::<false>(Kernels { isa: Isa::Avx512Bf16, probes: PROBES, bf16_is_faster: true, ..avx512_vnni::KERNELS });

/// The same for Intel's CPUs, whose `vdpbf16ps` besides multiplies at half of the rate of f32.
pub(crate) const PREFETCHING: Kernels =
    with_products::<true>(Kernels { isa: Isa::Avx512Bf16, probes: PROBES, ..avx512_vnni::PREFETCHING });

/// Fills in the product and the attention that this rung adds.
const fn with_products<const INTEL: bool>(kernels: Kernels) -> Kernels {
    kernels
        .with_matmul_bf16(DType::BF16, matmul_bf16_bf16::<INTEL>)
        .with_attention_bf16(KvDType::BF16, AttentionKernels { pack, attend })
}

/// Accumulators of a probe: with two operands they leave registers to spare.
const N: usize = 24;

/// What the machine can do with the instruction that this rung adds.
pub(crate) const PROBES: Probes = Probes {
    bf16: Some(MultiplyAdds { run: multiply_adds_bf16, per_round: (N * <Dpbf16 as Instruction>::MACS) as u64 }),
    ..avx512_vnni::PROBES
};

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    avx512_vnni::is_available() && is_x86_feature_detected!("avx512bf16")
}

/// 32 bf16 pairs at a time, both sides as they lie in memory. `INTEL`: a single row reads its weights in the way measured there.
struct Dpbf16<const INTEL: bool = false>;

// SAFETY: loads read 32 elements, tails the `n` that their mask names; the intrinsics need the features of this file.
unsafe impl<const INTEL: bool> Dot for Dpbf16<INTEL> {
    type W = bf16;
    type X = bf16;
    type Acc = __m512;
    type WReg = __m512bh;
    type XReg = __m512bh;
    const STEP: usize = 32;
    const AHEAD: usize = if INTEL { 4096 } else { 768 };
    const ONE_STREAM: bool = INTEL;
    type Widened = Self;
    const WIDENS: bool = false;

    #[inline(always)]
    unsafe fn load_w(p: *const bf16) -> __m512bh {
        // SAFETY: the trait's contract; both types are 512 plain bits.
        unsafe { core::mem::transmute(_mm512_loadu_si512(p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_w_tail(p: *const bf16, n: usize) -> __m512bh {
        // SAFETY: the trait's contract; masked-out elements are not touched, and both types are 512 plain bits.
        unsafe { core::mem::transmute(_mm512_maskz_loadu_epi16((1u32 << n) - 1, p.cast())) }
    }

    #[inline(always)]
    unsafe fn load_x(p: *const bf16) -> __m512bh {
        // SAFETY: the trait's contract.
        unsafe { Self::load_w(p) }
    }

    #[inline(always)]
    unsafe fn load_x_tail(p: *const bf16, n: usize) -> __m512bh {
        // SAFETY: the trait's contract.
        unsafe { Self::load_w_tail(p, n) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: __m512, w: __m512bh, x: __m512bh) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_dpbf16_ps(acc, w, x) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn matmul_bf16_bf16<const INTEL: bool>(w: &[u8], x: Bf16Rows<'_>, k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = cast::<bf16>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { matmul::<Dpbf16<INTEL>, 4, 6>(w, x.rows, k, out, scratch) }
}

// SAFETY: loads read 16 pairs, a factor one; the intrinsics need the features of this file.
unsafe impl Multiply for Dpbf16 {
    type V = __m512;
    type Stored = bf16;
    type Operand = bf16;
    type Reg = __m512bh;
    type Factor = __m512bh;
    const STEP: usize = 2;
    const PARTS: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load(p: *const bf16, _: usize) -> __m512bh {
        // SAFETY: the trait's contract.
        unsafe { <Self as Dot>::load_w(p) }
    }

    #[inline(always)]
    unsafe fn factor(p: *const bf16, _: usize) -> __m512bh {
        // SAFETY: the trait's contract; both types are 512 plain bits.
        unsafe { core::mem::transmute(_mm512_set1_epi32(p.cast::<i32>().read_unaligned())) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: __m512, x: __m512bh, factor: __m512bh) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_dpbf16_ps(acc, x, factor) }
    }

    #[inline(always)]
    unsafe fn mul_add_one(acc: __m512, x: *const bf16, operands: *const bf16, which: usize) -> __m512 {
        // SAFETY: the trait's contract; both types are 512 plain bits.
        unsafe {
            let one = _mm512_set1_epi32(0xffff << (16 * which));
            let x = core::mem::transmute::<__m512i, __m512bh>(_mm512_and_si512(_mm512_loadu_si512(x.cast()), one));
            _mm512_dpbf16_ps(acc, x, <Self as Multiply>::factor(operands, 0))
        }
    }

    #[inline(always)]
    unsafe fn store(x: __m512, p: *mut bf16) -> __m512 {
        // SAFETY: the trait's contract; both types are 256 plain bits.
        unsafe {
            let rounded = core::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x));
            _mm256_storeu_si256(p.cast(), rounded);
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(rounded)))
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn pack(q: &mut [f32], factor: f32) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::pack::<Dpbf16>(q, factor) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn attend(layout: KvLayout, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { attention::attend::<Dpbf16, 6, 4>(layout, chunk, rows, q, scores, out) }
}

// SAFETY: the intrinsics need the features of this file, which the trait's contract asks of the caller.
unsafe impl Instruction for Dpbf16 {
    type Acc = __m512;
    type Operand = __m512bh;
    const MACS: usize = 32;

    #[inline(always)]
    unsafe fn acc(i: u8) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_ps(f32::from(i)) }
    }

    #[inline(always)]
    unsafe fn operand() -> __m512bh {
        let half = [bf16::from_f32_const(0.5); 32];
        // SAFETY: the trait's contract; the array holds the elements of a load.
        unsafe { <Self as Dot>::load_w(half.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: __m512, a: __m512bh, b: __m512bh) -> __m512 {
        // SAFETY: the trait's contract.
        unsafe { _mm512_dpbf16_ps(acc, a, b) }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn multiply_adds_bf16(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { multiply_adds::<Dpbf16, N>(rounds) }
}
