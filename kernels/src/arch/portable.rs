//! The portable rung: eight lanes by the `wide` crate, on any CPU. Only this rung's files name `wide`; products of bytes are in `portable_int8.rs`.
//!
//! `wide` chooses instructions when it is built, so on x86-64 these are two SSE2 halves without fused multiply-add: this is the rung for
//! CPUs that no other file covers, and not a way to AVX2.

use half::{bf16, f16};
use wide::{bytemuck, f32x8, i16x8, i32x8, u16x8};

use crate::arch::portable_int8;
use crate::attention::{AttentionKernels, by_kv_dtype};
use crate::block::{Element, Quantized, cast};
use crate::convert;
use crate::dispatch::{Isa, Kernels};
use crate::dtype::{DType, by_dtype};
use crate::generic::attempt::{self as attempts, Candidates, Outcome};
use crate::generic::attention::{Chunk, Rows, Stored, Sums};
use crate::generic::decode::decode_blocks;
use crate::generic::int8::{Int8Rows, Int8RowsMut};
use crate::generic::matmul::Widen;
use crate::generic::matmul_blocks::{Packed, matmul_blocks};
use crate::generic::probe::{self, Instruction, Lanes, MultiplyAdds, Probes, by_read_way};
use crate::generic::{attention, elementwise, hadamard, int8, matmul as product, rmsnorm as norm, rope as rotary};
use crate::kv::{KvDType, KvLayout};
use crate::vector::Vector;
use crate::view::MatMut;

/// The vector, for tests of what is written over it.
#[cfg(test)]
pub(crate) use wide::f32x8 as Wide;

pub(crate) const KERNELS: Kernels = Kernels {
    isa: Isa::Portable,
    matmul_f32: by_dtype!(matmul_f32, matmul_f32_blocks),
    f32_tiles: None,
    bf16_tiles: None,
    matmul_bf16: [None; DType::COUNT],
    matmul_int8: by_dtype!(None, matmul_int8),
    int8_tiles: None,
    rmsnorm,
    rope,
    swiglu,
    add,
    round_to_bf16: convert::round_to_bf16,
    round_to_int8: [round_to_int8::<false>, round_to_int8::<true>],
    hadamard: hadamard::hadamard,
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
    f32: MultiplyAdds { run: multiply_adds_f32, per_round: (6 * <Lanes<f32x8> as Instruction>::MACS) as u64 },
    bf16: None,
    int8: Some(MultiplyAdds { run: multiply_adds_int8, per_round: (12 * Maddwd::MACS) as u64 }),
};

// SAFETY: plain Rust on arrays needs no CPU feature; loads and stores go through unaligned copies of LANES elements.
unsafe impl Vector for f32x8 {
    const LANES: usize = 8;
    const WIDENS_SLOWLY: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        f32x8::splat(x)
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: eight elements are readable (the trait's contract).
        f32x8::new(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_f16(p: *const f16) -> Self {
        // SAFETY: eight elements are readable (the trait's contract).
        let bits = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        f32x8::new(bits.map(convert::f16_to_f32))
    }

    #[inline(always)]
    unsafe fn load_bf16(p: *const bf16) -> Self {
        // SAFETY: eight elements are readable (the trait's contract).
        let bits = unsafe { p.cast::<[u16; 8]>().read_unaligned() };
        f32x8::new(bits.map(|b| f32::from_bits(u32::from(b) << 16)))
    }

    #[inline(always)]
    unsafe fn load_bf16_even(p: *const bf16) -> Self {
        // SAFETY: eight pairs are readable (the trait's contract).
        let pairs = unsafe { p.cast::<[[u16; 2]; 8]>().read_unaligned() };
        f32x8::new(pairs.map(|pair| f32::from_bits(u32::from(pair[0]) << 16)))
    }

    #[inline(always)]
    unsafe fn load_bf16_odd(p: *const bf16) -> Self {
        // SAFETY: eight pairs are readable (the trait's contract).
        let pairs = unsafe { p.cast::<[[u16; 2]; 8]>().read_unaligned() };
        f32x8::new(pairs.map(|pair| f32::from_bits(u32::from(pair[1]) << 16)))
    }

    #[inline(always)]
    unsafe fn load_i8(p: *const i8) -> Self {
        // SAFETY: eight elements are readable (the trait's contract).
        let bytes = unsafe { p.cast::<u64>().read_unaligned() } ^ 0x8080_8080_8080_8080;
        // By way of unsigned numbers: of signs, the compiler makes an SSE2 instruction that waits for the register's last use.
        let numbers = i16x8::from_u8x16_low(bytemuck::cast([bytes, 0]));
        f32x8::from_i32x8(i32x8::from_u16x8(bytemuck::cast::<_, u16x8>(numbers))) - f32x8::splat(128.0)
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: eight elements are writable (the trait's contract).
        unsafe { p.cast::<[f32; 8]>().write_unaligned(self.to_array()) }
    }

    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        self + b
    }

    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        self - b
    }

    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        self * b
    }

    #[inline(always)]
    unsafe fn div(self, b: Self) -> Self {
        self / b
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        f32x8::mul_add(self, a, b)
    }

    #[inline(always)]
    unsafe fn max(self, b: Self) -> Self {
        self.simd_gt(b).select(self, b)
    }

    #[inline(always)]
    unsafe fn min(self, b: Self) -> Self {
        self.simd_lt(b).select(self, b)
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 1.5 · 2²³ leaves an integer, ties to even, for |x| < 2²²: exp's arguments are below 128.
        const MAGIC: f32 = 12_582_912.0;
        (self + f32x8::splat(MAGIC)) - f32x8::splat(MAGIC)
    }

    #[inline(always)]
    unsafe fn scale_exp2(self, n: Self) -> Self {
        self * f32x8::new(n.to_array().map(|n| f32::from_bits(((n as i32 + 127) << 23) as u32)))
    }

    #[inline(always)]
    unsafe fn keep(self, from: usize, to: usize, other: Self) -> Self {
        let mut lanes = other.to_array();
        lanes[from..to].copy_from_slice(&self.to_array()[from..to]);
        f32x8::new(lanes)
    }

    #[inline(always)]
    unsafe fn reduce_add(self) -> f32 {
        let a = self.to_array();
        let b = [a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]];
        (b[0] + b[2]) + (b[1] + b[3])
    }

    #[inline(always)]
    unsafe fn reduce_max(self) -> f32 {
        self.to_array().into_iter().fold(f32::NEG_INFINITY, |m, x| if x > m || x.is_nan() { x } else { m })
    }
}

fn matmul_f32<W: Element>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = cast::<W>(w).expect("checked by dispatch");
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { product::matmul::<Widen<f32x8, W>, 2, 2>(w, x, k, out, scratch) }
}

fn matmul_f32_blocks<B: Quantized>(w: &[u8], x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    let w = Packed { bytes: w, row_bytes: k / B::LEN * size_of::<B>(), decode: decode::<B> };
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { matmul_packed(w, x, k, out, scratch) }
}

fn matmul_int8<B: Quantized>(w: &[u8], x: Int8Rows<'_>, k: usize, mut out: MatMut<'_>, scratch: &mut [f32]) {
    portable_int8::matmul(cast::<B>(w).expect("checked by dispatch"), x, k, &mut out, scratch);
}

unsafe fn matmul_packed(w: Packed<'_>, x: &[f32], k: usize, out: MatMut<'_>, scratch: &mut [f32]) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { matmul_blocks::<f32x8, 2, 2>(w, x, k, out, scratch) }
}

fn decode<B: Quantized>(bytes: &[u8], out: &mut [f32]) {
    // SAFETY: no CPU feature is needed.
    unsafe { decode_blocks::<f32x8, B>(bytes, out) }
}

fn rmsnorm(x: &mut [f32], w: &[f32], eps: f32) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { norm::rmsnorm::<f32x8>(x, w, eps) }
}

fn rope(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { rotary::rope::<f32x8>(x, cos, sin) }
}

fn attempt<const WITH_ERROR: bool>(x: &[f32], importance: &[f32], tried: Candidates<'_>) -> Outcome {
    // SAFETY: no CPU feature is needed.
    unsafe { attempts::attempt::<f32x8, WITH_ERROR>(x, importance, tried) }
}

fn round_to_int8<const FITTED: bool>(x: &[f32], to: Int8RowsMut<'_>) {
    // SAFETY: no CPU feature is needed.
    unsafe { int8::round_to_int8::<f32x8, FITTED>(x, to) }
}

fn swiglu(gate: &mut [f32], up: &[f32]) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { elementwise::swiglu::<f32x8>(gate, up) }
}

fn add(x: &mut [f32], y: &[f32]) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { elementwise::add::<f32x8>(x, y) }
}

unsafe fn pack<S: Stored>(q: &mut [f32], factor: f32) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { attention::pack::<attention::Widen<f32x8, S>>(q, factor) }
}

unsafe fn attend<S: Stored>(layout: KvLayout, chunk: &Chunk<'_>, rows: Rows, q: &[f32], scores: &mut [f32], out: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { attention::attend::<attention::Widen<f32x8, S>, 2, 2>(layout, chunk, rows, q, scores, out) }
}

unsafe fn merge(chunk: &[f32], running: &mut Sums<'_>) {
    // SAFETY: dispatch checked the shapes; no CPU feature is needed.
    unsafe { attention::merge::<f32x8>(chunk, running) }
}

/// What products of bytes are made of: two products of 16 bits to a lane of 32.
struct Maddwd;

// SAFETY: safe operations, for which no CPU feature is needed.
unsafe impl Instruction for Maddwd {
    type Acc = i16x8;
    type Operand = i16x8;
    const MACS: usize = 8;

    #[inline(always)]
    unsafe fn acc(i: u8) -> i16x8 {
        i16x8::splat(i.into())
    }

    #[inline(always)]
    unsafe fn operand() -> i16x8 {
        i16x8::splat(3)
    }

    /// The accumulator is a factor: a product of two operands alone would be taken out of the loop.
    #[inline(always)]
    unsafe fn mul_add(acc: i16x8, a: i16x8, _: i16x8) -> i16x8 {
        bytemuck::cast(acc.dot(a))
    }
}

fn multiply_adds_int8(rounds: usize) {
    // SAFETY: no CPU feature is needed.
    unsafe { probe::multiply_adds::<Maddwd, 12>(rounds) }
}

fn multiply_adds_f32(rounds: usize) {
    // SAFETY: no CPU feature is needed.
    unsafe { probe::multiply_adds::<Lanes<f32x8>, 6>(rounds) }
}

fn read<const STREAMS: usize, const PREFETCH: usize>(data: &[f32]) {
    // SAFETY: no CPU feature is needed.
    unsafe { probe::read::<f32x8, STREAMS, PREFETCH>(data) }
}
