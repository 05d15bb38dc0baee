//! `Mxfp4`: 32 floats of 4 bits (E2M1) with one power of two (E8M0), the OCP Microscaling format (ggml type 39): w = 2^(e - 127) ·
//! value(q). Not here: arithmetic on it (`generic/`).

use super::Block;
use super::parts::{Pairs, pairs, store_values};
use super::quantized::{self, Quantized};
use crate::dtype::DType;

/// The values of the codes, twice: 1 sign, 2 exponent, 1 fraction bits.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The same by twos.
static PAIRS: Pairs = pairs(&DOUBLED);

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
        quantized::decode(self, out);
    }
}

impl Quantized for Mxfp4 {
    const GROUP: usize = 32;
    const HAS_MINIMA: bool = false;

    #[inline(always)]
    fn write_codes(&self, out: &mut [i8]) {
        store_values(&self.qs, &PAIRS, 0, out);
    }

    #[inline(always)]
    fn write_scales(&self, scales: &mut [f32], _minima: &mut [f32]) {
        // Half the power of two, since the codes are doubled. The two smallest exponents give subnormal numbers.
        scales[0] = match self.e {
            e @ 0..2 => f32::from_bits(0x0020_0000 << e),
            e => f32::from_bits((u32::from(e) - 1) << 23),
        };
    }
}
