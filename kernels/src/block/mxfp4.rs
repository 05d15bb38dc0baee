//! `Mxfp4`: 32 floats of 4 bits (E2M1) with one power of two (E8M0), the OCP Microscaling format (ggml type 39): w = 2^(e - 127) ·
//! value(q). Not here: arithmetic on it (`generic/`).

use super::Block;
use crate::dtype::DType;

/// The values of the codes, twice: 1 sign, 2 exponent, 1 fraction bits.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 17 bytes: the exponent; then weights 0..16 in the low halves of 16 bytes and 16..32 in the high halves.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Mxfp4 {
    e: u8,
    qs: [u8; 16],
}

const _: () = assert!(size_of::<Mxfp4>() == 17 && align_of::<Mxfp4>() == 1);

impl Mxfp4 {
    /// The codes as they lie.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn codes(&self) -> &[u8; 16] {
        &self.qs
    }
}

// SAFETY: plain bytes, of which every pattern is valid.
unsafe impl Block for Mxfp4 {
    const DTYPE: DType = DType::Mxfp4;
    const LEN: usize = 32;

    #[inline(always)]
    fn decode(&self, out: &mut [f32]) {
        // Half the power of two, since the values below are doubled. The two smallest exponents give subnormal numbers.
        let half = match self.e {
            e @ 0..2 => f32::from_bits(0x0020_0000 << e),
            e => f32::from_bits((u32::from(e) - 1) << 23),
        };
        let (low, high) = out.split_at_mut(16);
        for ((low, high), q) in low.iter_mut().zip(high).zip(self.qs) {
            *low = half * f32::from(DOUBLED[usize::from(q & 0x0f)]);
            *high = half * f32::from(DOUBLED[usize::from(q >> 4)]);
        }
    }
}
