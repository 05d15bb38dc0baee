//! `bf16`: a block of one bfloat16 number (the upper 16 bits of an f32), little-endian. Not here: arithmetic on it (`generic/`).

use half::bf16;

use super::{Block, Element, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;
use crate::vector::Vector;

const _: () = assert!(size_of::<bf16>() == 2);

// SAFETY: every bit pattern is a valid bf16 (some are NaN).
unsafe impl Block for bf16 {
    const DTYPE: DType = DType::BF16;
    const LEN: usize = 1;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    fn decode(&self, out: &mut [f32]) {
        out[0] = Element::to_f32(*self);
    }
}

// SAFETY: all bits zero is +0.0.
unsafe impl Element for bf16 {
    const ZERO: bf16 = bf16::ZERO;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const bf16) -> V {
        // SAFETY: the caller's contract is the same.
        unsafe { V::load_bf16(p) }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}

fn encode(_kernels: &Kernels, x: &[f32]) -> Option<bf16> {
    let half = bf16::from_f32(*x.first()?);
    half.is_finite().then_some(half)
}
