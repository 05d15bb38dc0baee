//! `Iq4Xs`: 256 weights of 4 bits that stand for unevenly spaced values, each 32 with a scale of 6 bits (ggml type 23, IQ4_XS):
//! w = d · (s - 32) · value(q). Not here: arithmetic on it (`generic/`).

use super::Block;
use super::parts::{NON_LINEAR_PAIRS, SUPER_BLOCK, scale, store_values};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// 136 bytes: the scale of the scales; the upper 2 bits of 8 scales, then their low 4; 128 bytes of codes, 16 for each 32 weights: the
/// first 16 in the low halves, the others in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Iq4Xs {
    d: [u8; 2],
    scales_h: [u8; 2],
    scales_l: [u8; 4],
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Iq4Xs>() == 136 && align_of::<Iq4Xs>() == 1);

impl Iq4Xs {
    /// The codes as they lie, 16 bytes for each 32 weights.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn codes(&self) -> &[[u8; 16]] {
        self.qs.as_chunks().0
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Iq4Xs {
    const DTYPE: DType = DType::Iq4Xs;
    const LEN: usize = SUPER_BLOCK;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Iq4Xs {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        let (qs, _) = self.qs.as_chunks::<16>();
        for (group, packed) in qs.iter().enumerate() {
            store_values(packed, &NON_LINEAR_PAIRS, group * 4, out);
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        let (d, upper) = (scale(self.d), u16::from_le_bytes(self.scales_h));
        for j in 0..8 {
            let low = (self.scales_l[j / 2] >> (j % 2 * 4)) & 0x0f;
            let high = ((upper >> (2 * j)) & 3) as u8;
            scales[j] = d * (f32::from(low | (high << 4)) - 32.0);
        }
    }
}
