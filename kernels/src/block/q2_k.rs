//! `Q2K`: 256 weights of 2 bits, each 16 with a scale and a minimum of 4 bits (ggml type 10, Q2_K): w = d · s · q - dmin · m. Not here:
//! arithmetic on it (`generic/`).

use super::Block;
use super::parts::{SUPER_BLOCK, scale};
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
        let (d, dmin) = (scale(self.d), scale(self.dmin));
        for (j, (out, packed)) in out.chunks_exact_mut(16).zip(self.scales).enumerate() {
            let (dl, ml) = (d * f32::from(packed & 0x0f), dmin * f32::from(packed >> 4));
            let (bytes, shift) = (&self.qs[j / 8 * 32 + j % 2 * 16..], j / 2 % 4 * 2);
            for (out, q) in out.iter_mut().zip(bytes) {
                *out = dl * f32::from((q >> shift) & 3) - ml;
            }
        }
    }
}
