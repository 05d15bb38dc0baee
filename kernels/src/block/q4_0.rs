//! `Q4_0`: 32 weights of 4 bits with one scale (ggml type 2): w = d · (q - 8). Not here: arithmetic on it (`generic/`).

use super::parts::scale;
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
        let d = scale(self.d);
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = d * (f32::from(q & 0x0f) - 8.0);
            *high = d * (f32::from(q >> 4) - 8.0);
        }
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
