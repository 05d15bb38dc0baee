//! `f16`: a block of one IEEE 754 half-precision number (1 sign, 5 exponent, 10 fraction bits), little-endian. Not here: arithmetic on it
//! (`generic/`).

use half::f16;

use super::{Block, Element, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;
use crate::vector::Vector;

const _: () = assert!(size_of::<f16>() == 2);

// SAFETY: every bit pattern is a valid f16 (some are NaN).
unsafe impl Block for f16 {
    const DTYPE: DType = DType::F16;
    const LEN: usize = 1;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    fn decode(&self, out: &mut [f32]) {
        out[0] = Element::to_f32(*self);
    }
}

// SAFETY: all bits zero is +0.0.
unsafe impl Element for f16 {
    const ZERO: f16 = f16::ZERO;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const f16) -> V {
        // SAFETY: the caller's contract is the same.
        unsafe { V::load_f16(p) }
    }

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16::to_f32(self)
    }
}

fn encode(_kernels: &Kernels, x: &[f32]) -> Option<f16> {
    let half = f16::from_f32(*x.first()?);
    half.is_finite().then_some(half)
}
