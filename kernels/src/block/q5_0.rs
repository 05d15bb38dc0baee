//! `Q5_0`: 32 weights of 5 bits with one scale (ggml type 6): w = d · (q - 16). Not here: arithmetic on it (`generic/`).

use super::parts::scale;
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
        let (d, fifth) = (scale(self.d), u32::from_le_bytes(self.qh));
        let (low, high) = out.split_at_mut(16);
        for (j, q) in self.qs.into_iter().enumerate() {
            let fifth = fifth >> j;
            low[j] = d * (f32::from((q & 0x0f) | ((fifth << 4) & 0x10) as u8) - 16.0);
            high[j] = d * (f32::from((q >> 4) | ((fifth >> 12) & 0x10) as u8) - 16.0);
        }
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
