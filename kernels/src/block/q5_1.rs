//! `Q5_1`: 32 weights of 5 bits with one scale and one minimum (ggml type 7): w = d · q + m. Not here: arithmetic on it (`generic/`).

use super::parts::{fifths, nibbles, scale, store};
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 24 bytes: scale, minimum; the fifth bits, that of weight j in bit j; then the low four of weights 0..16 in the low halves of 16 bytes
/// and of 16..32 in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q5_1 {
    d: [u8; 2],
    m: [u8; 2],
    qh: [u8; 4],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Q5_1>() == 24 && align_of::<Q5_1>() == 1);

impl Q5_1 {
    /// The bits of the scale, an f16, the codes' fifth bits and their low halves as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[u8; 4], &[u8; 16]) {
        (u16::from_le_bytes(self.d), &self.qh, &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q5_1 {
    const DTYPE: DType = DType::Q5_1;
    const LEN: usize = 32;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q5_1 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        let low = nibbles(&self.qs);
        for i in 0..4 {
            store(low[i] | fifths(self.qh[i]), i, out);
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]) {
        (scales[0], minima[0]) = (scale(self.d), -scale(self.m));
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q5_1> {
    let (d, m, codes) = search::shifted_block(kernels, x.try_into().ok()?, 31.0)?;
    let (mut block, mut fifth) = (Q5_1 { d: stored(d), m: stored(m), qh: [0; 4], qs: [0; 16] }, 0_u32);
    for (j, code) in codes.iter().enumerate() {
        let q = *code as u8;
        block.qs[j % 16] |= (q & 0x0f) << (j / 16 * 4);
        fifth |= u32::from(q >> 4) << j;
    }
    block.qh = fifth.to_le_bytes();
    Some(block)
}
