//! Conversions between f32 and storage formats, exact or rounded once: rows of an embedding, activations in bf16.
//!
//! Not here: products, which widen their operands themselves. These loops are plain.

use half::bf16;

use crate::block::{Block, as_bytes, cast};
use crate::dispatch::Kernels;
use crate::dtype::{DType, DTypeVisitor};

/// Decodes blocks of `dtype`. bytes: whole blocks, aligned for the format; out: (n,) where n is the number of elements in `bytes`
pub fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    struct Decode<'a>(&'a [u8], &'a mut [f32]);

    impl DTypeVisitor for Decode<'_> {
        type Output = ();

        fn visit<B: Block>(self) {
            let blocks = cast::<B>(self.0).expect("whole, aligned blocks");
            assert_eq!(self.1.len(), blocks.len() * B::LEN, "elements of {}", B::DTYPE);
            for (block, out) in blocks.iter().zip(self.1.chunks_exact_mut(B::LEN)) {
                block.decode(out);
            }
        }
    }

    dtype.visit(Decode(bytes, out));
}

impl Kernels {
    /// Encodes as blocks of `dtype`, each as near to its weights as the format allows: the same bytes on every rung. x: (n,) whole blocks; out:
    /// as many bytes as these take
    ///
    /// Returns the number of weights that were encoded: all, or those before the first block with a weight that is NaN, infinite or larger
    /// than the format can say. The format must be one that [`DType::can_encode`].
    pub fn encode(&self, dtype: DType, x: &[f32], out: &mut [u8]) -> usize {
        struct Encode<'a>(&'a Kernels, &'a [f32], &'a mut [u8]);

        impl DTypeVisitor for Encode<'_> {
            type Output = usize;

            fn visit<B: Block>(self) -> usize {
                let Encode(kernels, x, out) = self;
                let encode = B::ENCODE.expect("a format that is written");
                assert_eq!(Some(out.len()), B::DTYPE.row_bytes(x.len()), "bytes of {}", B::DTYPE);
                for ((i, x), out) in x.chunks_exact(B::LEN).enumerate().zip(out.chunks_exact_mut(size_of::<B>())) {
                    match encode(kernels, x) {
                        Some(block) => out.copy_from_slice(as_bytes(&[block])),
                        None => return i * B::LEN,
                    }
                }
                x.len()
            }
        }

        dtype.visit(Encode(self, x, out))
    }
}

/// The value of an f16, without branches, so that it is done to eight at once: measured 4 times as fast as `half`'s conversion.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
    // The exponent's bias goes from 15 to 127 by a product with 2¹¹², which is exact for subnormals too.
    let scaled = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    // An exponent of 31 stands for infinity or NaN.
    let special = if magnitude >= 31 << 23 { 0xff << 23 } else { 0 };
    f32::from_bits(scaled | special | sign)
}

/// Rounds to bf16, to nearest, ties to even; a NaN stays a NaN. x, out: (n,)
///
/// A plain loop, of which the compiler makes vectors: each ISA compiles it for itself ([`Kernels::round_to_bf16`]).
#[inline(always)]
pub fn round_to_bf16(x: &[f32], out: &mut [bf16]) {
    assert_eq!(x.len(), out.len(), "round_to_bf16");
    for (x, out) in x.iter().zip(out) {
        *out = bf16_from_f32(*x);
    }
}

/// [`round_to_bf16`] of one number.
#[inline(always)]
pub(crate) fn bf16_from_f32(x: f32) -> bf16 {
    let bits = x.to_bits();
    // A NaN might carry into the exponent or the sign: it gets the quiet bit instead.
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    bf16::from_bits(if x.is_nan() { (bits >> 16) | 0x40 } else { rounded } as u16)
}
