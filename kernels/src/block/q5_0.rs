//! `Q5_0`: 32 weights of 5 bits with one scale (ggml type 6): w = d · (q - 16). Not here: arithmetic on it (`generic/`).

use super::parts::{fifths, less, nibbles, scale, store};
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 22 bytes: the scale; the fifth bits, that of weight j in bit j; then the low four of weights 0..16 in the low halves of 16 bytes and
/// of 16..32 in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q5_0 {
    d: [u8; 2],
    qh: [u8; 4],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Q5_0>() == 22 && align_of::<Q5_0>() == 1);

impl Q5_0 {
    /// The bits of the scale, an f16, the codes' fifth bits and their low halves as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[u8; 4], &[u8; 16]) {
        (u16::from_le_bytes(self.d), &self.qh, &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q5_0 {
    const DTYPE: DType = DType::Q5_0;
    const LEN: usize = 32;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q5_0 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        let low = nibbles(&self.qs);
        for i in 0..4 {
            store(less(low[i] | fifths(self.qh[i]), 16), i, out);
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        scales[0] = scale(self.d);
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q5_0> {
    let (d, codes) = search::block::<32>(kernels, x.try_into().ok()?, (-16.0, 15.0))?;
    let (mut block, mut fifth) = (Q5_0 { d: stored(d), qh: [0; 4], qs: [0; 16] }, 0_u32);
    for (j, code) in codes.iter().enumerate() {
        let q = (code + 16.0) as u8;
        block.qs[j % 16] |= (q & 0x0f) << (j / 16 * 4);
        fifth |= u32::from(q >> 4) << j;
    }
    block.qh = fifth.to_le_bytes();
    Some(block)
}
