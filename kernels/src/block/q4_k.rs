//! `Q4K`: 256 weights of 4 bits, each 32 with a scale and a minimum of 6 bits (ggml type 12, Q4_K): w = d · s · q - dmin · m. Not here:
//! arithmetic on it (`generic/`).

use super::parts::{SUPER_BLOCK, eight, packed, scales_in_two_levels, splat, store};
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 144 bytes: the scale of the scales and that of the minima; 8 scales and minima; 128 bytes of codes, 32 for each 64 weights: the
/// first 32 in the low halves, the others in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q4K {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Q4K>() == 144 && align_of::<Q4K>() == 1);

impl Q4K {
    /// The bits of the two scales, f16s, the packed scales and minima, and the codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> ([[u8; 2]; 2], &[u8; 12], &[u8; 128]) {
        ([self.d, self.dmin], &self.scales, &self.qs)
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q4K {
    const DTYPE: DType = DType::Q4K;
    const LEN: usize = SUPER_BLOCK;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q4K {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        for group in 0..8 {
            let (from, shift) = (group / 2 * 4, group % 2 * 4);
            for i in 0..4 {
                store((eight(&self.qs, from + i) >> shift) & splat(15), group * 4 + i, out);
            }
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]) {
        scales_in_two_levels(self.d, self.dmin, &self.scales, scales, minima);
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q4K> {
    let fitted = search::shifted(kernels, x.try_into().ok()?, 15.0, true)?;
    let scales = packed(&fitted.scales, &fitted.minima);
    let mut block = Q4K { d: stored(fitted.d), dmin: stored(fitted.dmin), scales, qs: [0; 128] };
    for (j, code) in fitted.codes.iter().enumerate() {
        block.qs[j / 64 * 32 + j % 32] |= (*code as u8) << (j / 32 % 2 * 4);
    }
    Some(block)
}
