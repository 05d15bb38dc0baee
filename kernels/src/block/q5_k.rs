//! `Q5K`: 256 weights of 5 bits, each 32 with a scale and a minimum of 6 bits (ggml type 13, Q5_K): w = d · s · q - dmin · m. Not here:
//! arithmetic on it (`generic/`).

use super::parts::{SUPER_BLOCK, eight, packed, scales_in_two_levels, splat, store};
use super::quantized::{self, Quantized};
use super::search::{self, stored};
use super::{Block, Encoder};
use crate::dispatch::Kernels;
use crate::dtype::DType;

/// 176 bytes: the scale of the scales and that of the minima; 8 scales and minima; the fifth bits, where bit p of byte i is that of
/// weight 32p + i; 128 bytes of the low four, laid out as in Q4_K.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Q5K {
    d: [u8; 2],
    dmin: [u8; 2],
    scales: [u8; 12],
    qh: [u8; 32],
    qs: [u8; 128],
}

const _: () = assert!(size_of::<Q5K>() == 176 && align_of::<Q5K>() == 1);

impl Q5K {
    /// The bits of the two scales, f16s, the packed scales and minima, and the codes' low halves as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn parts(&self) -> ([[u8; 2]; 2], &[u8; 12], &[u8; 128]) {
        ([self.d, self.dmin], &self.scales, &self.qs)
    }

    /// The codes' fifth bits as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn fifths(&self) -> &[u8; 32] {
        &self.qh
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Q5K {
    const DTYPE: DType = DType::Q5K;
    const LEN: usize = SUPER_BLOCK;
    const ENCODE: Option<Encoder<Self>> = Some(encode);

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        quantized::decode(self, out);
    }
}

impl Quantized for Q5K {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = true;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        for group in 0..8 {
            let (from, shift) = (group / 2 * 4, group % 2 * 4);
            for i in 0..4 {
                let low = (eight(&self.qs, from + i) >> shift) & splat(15);
                let fifth = (eight(&self.qh, i) >> group) & splat(1);
                store(low | (fifth << 4), group * 4 + i, out);
            }
        }
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]) {
        scales_in_two_levels(self.d, self.dmin, &self.scales, scales, minima);
    }
}

fn encode(kernels: &Kernels, x: &[f32]) -> Option<Q5K> {
    let fitted = search::shifted(kernels, x.try_into().ok()?, 31.0, false)?;
    let scales = packed(&fitted.scales, &fitted.minima);
    let mut block = Q5K { d: stored(fitted.d), dmin: stored(fitted.dmin), scales, qh: [0; 32], qs: [0; 128] };
    for (j, code) in fitted.codes.iter().enumerate() {
        let q = *code as u8;
        block.qs[j / 64 * 32 + j % 32] |= (q & 0x0f) << (j / 32 % 2 * 4);
        block.qh[j % 32] |= (q >> 4) << (j / 32);
    }
    Some(block)
}
