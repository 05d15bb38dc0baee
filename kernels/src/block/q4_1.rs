//! `Q4_1`: 32 weights of 4 bits with one scale and one minimum (ggml type 3): w = d · q + m. Not here: arithmetic on it (`generic/`).

use super::Block;
use super::parts::{nibbles, scale, store};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// 20 bytes: scale, minimum; then weights 0..16 in the low halves of 16 bytes and 16..32 in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q4_1 {
    d: [u8; 2],
    m: [u8; 2],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Q4_1>() == 20 && align_of::<Q4_1>() == 1);

impl Q4_1 {
    /// The bits of the scale, an f16, and the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[u8; 16]) {
        (u16::from_le_bytes(self.d), &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q4_1 {
    const DTYPE: DType = DType::Q4_1;
    const LEN: usize = 32;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q4_1 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        let packed = nibbles(&self.qs);
        for i in 0..4 {
            store(packed[i], i, out);
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]) {
        (scales[0], minima[0]) = (scale(self.d), -scale(self.m));
    }
}
