//! `f32`: a block of one IEEE 754 single-precision number, little-endian. Not here: arithmetic on it (`generic/`).

use super::{Block, Element, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;
use crate::vector::Vector;

const _: () = assert!(size_of::<f32>() == 4);

// SAFETY: every bit pattern is an f32 (some are NaN).
unsafe impl Block for f32 {
    const DTYPE: DType = DType::F32;
    const LEN: usize = 1;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    fn decode(&self, out: &mut [f32]) {
        out[0] = *self;
    }
}

// SAFETY: all bits zero is +0.0.
unsafe impl Element for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const f32) -> V {
        // SAFETY: the caller's contract is the same.
        unsafe { V::load(p) }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
}

fn encode(_kernels: &Kernels, x: &[f32]) -> Option<f32> {
    x.first().copied().filter(|x| x.is_finite())
}
