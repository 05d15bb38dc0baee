//! `Q4_0`: 32 weights of 4 bits with one scale (ggml type 2): w = d · (q - 8). Not here: arithmetic on it (`generic/`).

use super::parts::{less, nibbles, scale, store};
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 18 bytes: the scale; then weights 0..16 in the low halves of 16 bytes and 16..32 in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q4_0 {
    d: [u8; 2],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Q4_0>() == 18 && align_of::<Q4_0>() == 1);

impl Q4_0 {
    /// The bits of the scale, an f16, and the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[u8; 16]) {
        (u16::from_le_bytes(self.d), &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q4_0 {
    const DTYPE: DType = DType::Q4_0;
    const LEN: usize = 32;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q4_0 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        let packed = nibbles(&self.qs);
        for i in 0..4 {
            store(less(packed[i], 8), i, out);
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        scales[0] = scale(self.d);
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q4_0> {
    let (d, codes) = search::block::<32>(kernels, x.try_into().ok()?, (-8.0, 7.0))?;
    let mut block = Q4_0 { d: stored(d), qs: [0; 16] };
    for (j, q) in block.qs.iter_mut().enumerate() {
        *q = (codes[j] + 8.0) as u8 | ((codes[j + 16] + 8.0) as u8) << 4;
    }
    Some(block)
}
