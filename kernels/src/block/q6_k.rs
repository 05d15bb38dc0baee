//! `Q6K`: 256 weights of 6 bits, each 16 with a scale of 8 bits (ggml type 14, Q6_K): w = d · s · (q - 32). Not here: arithmetic on it
//! (`generic/`).

use super::parts::{SUPER_BLOCK, scale};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 210 bytes: the low four bits, 64 bytes for each 128 weights: the first 64 in the low halves, the others in the high halves; the upper
/// two, 32 bytes for each 128 weights, bits 2p and 2p + 1 for those from 32p on; 16 signed scales; the scale of the scales.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q6K {
    ql: [u8; 128],
    qh: [u8; 64],
    scales: [i8; 16],
    d: [u8; 2],
}

const _: () = assert!(size_of::<Q6K>() == 210 && align_of::<Q6K>() == 1);

impl Q6K {
    /// The codes' low halves and upper bits as they lie, the scales, and the bits of their scale, an f16.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (&[u8; 128], &[u8; 64], &[i8; 16], [u8; 2]) {
        (&self.ql, &self.qh, &self.scales, self.d)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q6K {
    const DTYPE: DType = DType::Q6K;
    const LEN: usize = SUPER_BLOCK;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        let d = scale(self.d);
        for (j, out) in out.chunks_exact_mut(16).enumerate() {
            let dl = d * f32::from(self.scales[j]);
            // Of each 128 weights, groups 0..4 have their low bits in the low halves of 64 bytes and 4..8 in the high halves.
            let (half, group) = (j / 8, j % 8);
            let (low, low_shift) = (&self.ql[half * 64 + group % 4 * 16..], group / 4 * 4);
            let (high, high_shift) = (&self.qh[half * 32 + group % 2 * 16..], group / 2 * 2);
            for ((out, low), high) in out.iter_mut().zip(low).zip(high) {
                *out = dl * (f32::from(((low >> low_shift) & 0x0f) | (((high >> high_shift) & 3) << 4)) - 32.0);
            }
        }
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q6K> {
    let fitted = search::scaled(kernels, x.try_into().ok()?, (-32.0, 31.0))?;
    let mut block = Q6K { ql: [0; 128], qh: [0; 64], scales: fitted.scales, d: stored(fitted.d) };
    for (j, code) in fitted.codes.iter().enumerate() {
        let q = (code + 32.0) as u8;
        // The inverse of decode: weight i of 128 has its low bits in byte i % 64 and its upper in byte i % 32.
        let (half, i) = (j / 128, j % 128);
        block.ql[half * 64 + i % 64] |= (q & 0x0f) << (i / 64 * 4);
        block.qh[half * 32 + i % 32] |= (q >> 4) << (i / 32 * 2);
    }
    Some(block)
}
