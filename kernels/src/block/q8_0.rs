//! `Q8_0`: 32 weights of 8 bits with one scale (ggml type 8): w = d · q. Not here: arithmetic on it (`generic/`).

use super::parts::scale;
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 34 bytes: the scale, then the signed weights in order.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q8_0 {
    d: [u8; 2],
    qs: [i8; 32],
}

const _: () = assert!(size_of::<Q8_0>() == 34 && align_of::<Q8_0>() == 1);

impl Q8_0 {
    /// The bits of the scale, an f16, and the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[i8; 32]) {
        (u16::from_le_bytes(self.d), &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q8_0 {
    const DTYPE: DType = DType::Q8_0;
    const LEN: usize = 32;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q8_0 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        out.copy_from_slice(&self.qs);
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        scales[0] = scale(self.d);
    }
}

/// Codes are -127 to 127, as in every file in use: -128 has no negative.
fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q8_0> {
    let (d, codes) = search::block::<32>(kernels, x.try_into().ok()?, (-127.0, 127.0))?;
    let mut block = Q8_0 { d: stored(d), qs: [0; 32] };
    for (q, code) in block.qs.iter_mut().zip(codes) {
        *q = code as i8;
    }
    Some(block)
}
