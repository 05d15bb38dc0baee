//! `Q2K`: 256 weights of 2 bits, each 16 with a scale and a minimum of 4 bits (ggml type 10, Q2_K): w = d · s · q - dmin · m. Not here:
//! arithmetic on it (`generic/`).

use super::Block;
use super::parts::{SUPER_BLOCK, eight, scale, splat, store};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// 84 bytes: 16 scales (low halves) and minima (high halves); 64 bytes of codes, where bits 2p and 2p + 1 of bytes 0..32 are the weights
/// from 32p on, and of bytes 32..64 those from 128 + 32p on; the scale of the scales and that of the minima.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q2K {
    scales: [u8; 16],
    qs: [u8; 64],
    d: [u8; 2],
    dmin: [u8; 2],
}

const _: () = assert!(size_of::<Q2K>() == 84 && align_of::<Q2K>() == 1);

impl Q2K {
    /// The codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn codes(&self) -> &[u8; 64] {
        &self.qs
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q2K {
    const DTYPE: DType = DType::Q2K;
    const LEN: usize = SUPER_BLOCK;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q2K {
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        for group in 0..8 {
            let (from, shift) = (group / 4 * 4, group % 4 * 2);
            for i in 0..4 {
                store((eight(&self.qs, from + i) >> shift) & splat(3), group * 4 + i, out);
            }
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]) {
        let (d, dmin) = (scale(self.d), scale(self.dmin));
        for j in 0..16 {
            (scales[j], minima[j]) = (d * f32::from(self.scales[j] & 0x0f), dmin * f32::from(self.scales[j] >> 4));
        }
    }
}
