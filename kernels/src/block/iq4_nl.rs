//! `Iq4Nl`: 32 weights of 4 bits that stand for unevenly spaced values, with one scale (ggml type 20, IQ4_NL): w = d · value(q). Not
//! here: arithmetic on it (`generic/`).

use super::Block;
use super::parts::{NON_LINEAR_PAIRS, scale, store_values};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// 18 bytes, laid out as Q4_0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Iq4Nl {
    d: [u8; 2],
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Iq4Nl>() == 18 && align_of::<Iq4Nl>() == 1);

impl Iq4Nl {
    /// The bits of the scale, an f16, and the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> (u16, &[u8; 16]) {
        (u16::from_le_bytes(self.d), &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Iq4Nl {
    const DTYPE: DType = DType::Iq4Nl;
    const LEN: usize = 32;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Iq4Nl {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        store_values(&self.qs, &NON_LINEAR_PAIRS, 0, out);
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        scales[0] = scale(self.d);
    }
}
