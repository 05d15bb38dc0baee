//! AVX-512 with VNNI: Intel Cascade Lake and Ice Lake (2019), Tiger Lake and Rocket Lake (2021), and what has BF16 besides (`avx512_bf16.rs`).
//!
//! It inherits the AVX-512 rung and adds products of bytes by `vpdpbusd`, 64 multiply-adds. Not here: those products (`vnni.rs`).

use core::arch::x86_64::*;

use crate::arch::avx2_int8_panels::Panel;
use crate::arch::vnni_quads::Quads;
use crate::arch::{avx2, avx512, vnni, vnni_tiles};
use crate::block::{Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, cast};
use crate::dispatch::{Isa, Kernels};
use crate::dtype::DType;
use crate::generic::int8::Int8Rows;
use crate::generic::probe::{Instruction, MultiplyAdds, Probes, multiply_adds};
use crate::view::MatMut;

pub(crate) const KERNELS: Kernels = with_products::<false>(Kernels {
    isa: Isa::Avx512Vnni,
    probes: PROBES,
    int8_tiles: Some(vnni_tiles::TILES),
    ..avx512::KERNELS
});

/// The same for Intel's CPUs, whose caches have to be asked for lines early. Only reading differs, and so no bit of any result.
pub(crate) const PREFETCHING: Kernels = with_products::<true>(KERNELS);

/// Fills in the products that this rung adds.
const fn with_products<const PREFETCH: bool>(kernels: Kernels) -> Kernels {
    kernels
        .with_matmul_int8(DType::Q8_0, matmul_int8::<Q8_0, PREFETCH>)
        .with_matmul_int8(DType::Q4_0, matmul_int8::<Q4_0, PREFETCH>)
        .with_matmul_int8(DType::Q4_1, matmul_int8::<Q4_1, PREFETCH>)
        .with_matmul_int8(DType::Q5_0, matmul_int8::<Q5_0, PREFETCH>)
        .with_matmul_int8(DType::Q5_1, matmul_int8::<Q5_1, PREFETCH>)
        .with_matmul_int8(DType::Iq4Nl, matmul_int8::<Iq4Nl, PREFETCH>)
        .with_matmul_int8(DType::Q4K, matmul_int8::<Q4K, PREFETCH>)
        .with_matmul_int8(DType::Q5K, matmul_int8::<Q5K, PREFETCH>)
        .with_matmul_int8(DType::Q6K, matmul_int8::<Q6K, PREFETCH>)
        .with_matmul_int8(DType::Q2K, matmul_int8_of_rows::<Q2K>)
        .with_matmul_int8(DType::Q3K, matmul_int8_of_rows::<Q3K>)
        .with_matmul_int8(DType::Iq4Xs, matmul_int8_of_rows::<Iq4Xs>)
        .with_matmul_int8(DType::Mxfp4, matmul_int8_of_rows::<Mxfp4>)
}

/// Accumulators of the probe: with two operands they leave registers to spare.
const N: usize = 24;

/// What the machine can do with the instruction that this rung adds.
pub(crate) const PROBES: Probes =
    Probes { int8: Some(MultiplyAdds { run: multiply_adds_int8, per_round: (N * Dpbusd::MACS) as u64 }), ..avx512::PROBES };

/// Whether this CPU, and the system on it, can run the kernels of this file.
pub(crate) fn is_available() -> bool {
    avx512::is_available() && is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vnni")
}

/// Whether [`PREFETCHING`] is the faster: Intel's CPUs, where a single row took 1.5 times as long without. On AMD Zen 4 it took 0.93 times
/// as long without.
pub(crate) fn is_intel() -> bool {
    let vendor = __cpuid(0);
    [vendor.ebx, vendor.edx, vendor.ecx] == [*b"Genu", *b"ineI", *b"ntel"].map(u32::from_le_bytes)
}

/// 64 pairs of u8 and i8, added by fours to 16 i32 lanes: the probe.
struct Dpbusd;

// SAFETY: the intrinsics need the features of this file, which the trait's contract asks of the caller.
unsafe impl Instruction for Dpbusd {
    type Acc = __m512i;
    type Operand = __m512i;
    const MACS: usize = 64;

    #[inline(always)]
    unsafe fn acc(i: u8) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi32(i32::from(i)) }
    }

    #[inline(always)]
    unsafe fn operand() -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_set1_epi8(3) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the trait's contract.
        unsafe { _mm512_dpbusd_epi32(acc, a, b) }
    }
}

#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply_adds_int8(rounds: usize) {
    // SAFETY: this function has the features.
    unsafe { multiply_adds::<Dpbusd, N>(rounds) }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn matmul_int8<B: Quads, const PREFETCH: bool>(
    w: &[u8],
    x: Int8Rows<'_>,
    k: usize,
    mut out: MatMut<'_>,
    scratch: &mut [f32],
) {
    let w = cast::<B>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { vnni::matmul::<B, PREFETCH>(w, x, k, &mut out, scratch) }
}

/// The product of AVX2, of rows as they lie: its tiles are others.
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn matmul_int8_of_rows<P: Panel>(w: &[u8], x: Int8Rows<'_>, k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    // SAFETY: dispatch checked the shapes; this function has the features.
    unsafe { avx2::matmul_int8::<P>(w, Int8Rows { tiles: &[], ..x }, k, out, scratch) }
}
