//! `Q3K`: 256 weights of 3 bits, each 16 with a scale of 6 bits (ggml type 11, Q3_K): w = d · (s - 32) · (q - 4). Not here: arithmetic on
//! it (`generic/`).

use super::Block;
use super::parts::{SUPER_BLOCK, eight, less, scale, splat, store};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// 110 bytes: the third bits, where bit p of byte i is that of weight 32p + i; 64 bytes of the low two, laid out as in Q2_K; 16 scales,
/// low 4 bits in the halves of bytes 0..8, upper 2 in the quarters of bytes 8..12; the scale of the scales.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q3K {
    hmask: [u8; 32],
    qs: [u8; 64],
    scales: [u8; 12],
    d: [u8; 2],
}

const _: () = assert!(size_of::<Q3K>() == 110 && align_of::<Q3K>() == 1);

impl Q3K {
    /// The low two bits of the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn codes(&self) -> &[u8; 64] {
        &self.qs
    }

    /// Their third bits as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn thirds(&self) -> &[u8; 32] {
        &self.hmask
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q3K {
    const DTYPE: DType = DType::Q3K;
    const LEN: usize = SUPER_BLOCK;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q3K {
    const GROUP: usize = 16;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        for group in 0..8 {
            let (from, shift) = (group / 4 * 4, group % 4 * 2);
            for i in 0..4 {
                let low = (eight(&self.qs, from + i) >> shift) & splat(3);
                let third = (eight(&self.hmask, i) >> group) & splat(1);
                store(less(low | (third << 2), 4), group * 4 + i, out);
            }
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        let d = scale(self.d);
        for j in 0..16 {
            let low = (self.scales[j % 8] >> (j / 8 * 4)) & 0x0f;
            let high = (self.scales[8 + j % 4] >> (j / 4 * 2)) & 3;
            scales[j] = d * (f32::from(low | (high << 4)) - 32.0);
        }
    }
}
