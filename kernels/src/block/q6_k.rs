//! `Q6K`: 256 weights of 6 bits, each 16 with a scale of 8 bits (ggml type 14, Q6_K): w = d · s · (q - 32). Not here: arithmetic on it
//! (`generic/`).

use super::parts::{SUPER_BLOCK, eight, less, scale, splat, store};
use super::quantized::{self, Quantized};
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
        quantized::decode(self, out);
    }
}

impl Quantized for Q6K {
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        // Of each 128 weights, the first 64 have their low bits in the low halves of 64 bytes, the others in the high halves.
        for group in 0..8 {
            let (low, low_shift) = (group / 4 * 8 + group % 2 * 4, group % 4 / 2 * 4);
            let (high, high_shift) = (group / 4 * 4, group % 4 * 2);
            for i in 0..4 {
                let low = (eight(&self.ql, low + i) >> low_shift) & splat(15);
                let high = (eight(&self.qh, high + i) >> high_shift) & splat(3);
                store(less(low | (high << 4), 32), group * 4 + i, out);
            }
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        let d = scale(self.d);
        for j in 0..16 {
            scales[j] = d * f32::from(self.scales[j]);
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
