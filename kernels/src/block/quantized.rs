//! Formats whose weights are small integers with scales, said in one way for all of them, and how a block of them is decoded.
//!
//! Not here: which bits hold the codes and the scales, which is all that the formats' own files say.

use super::{Block, MAX_BLOCK_LEN};

/// The most groups of a block.
pub(crate) const MAX_GROUPS: usize = MAX_BLOCK_LEN / 16;

/// A block of integers: a weight is `scale · code`, or `scale · code - minimum`, in f32.
pub(crate) trait Quantized: Block {
    /// Weights that share a scale: 32, or 16.
    const GROUP: usize;
    /// Whether there are minima; codes are not negative then, and below 32.
    const HAS_MINIMA: bool;

    /// Writes all codes, in order. out: (`LEN`,)
    fn write_codes(&self, out: &mut [i8]);

    /// Writes the groups' scales and, where there are any, minima, in order. Both: (`LEN / GROUP`,)
    fn write_scales(&self, scales: &mut [f32], minima: &mut [f32]);
}

/// Decodes a block: what [`Block::decode`] is for all these formats. out: (`LEN`,)
#[inline(always)]
pub(super) fn decode<B: Quantized>(block: &B, out: &mut [f32]) {
    let (mut codes, mut scales, mut minima) = ([0; MAX_BLOCK_LEN], [0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    block.write_codes(&mut codes[..B::LEN]);
    block.write_scales(&mut scales[..B::LEN / B::GROUP], &mut minima[..B::LEN / B::GROUP]);
    // Sixteen at a time, a number that loops over arrays become vectors for: a group or half of one.
    let ((codes, _), (out, _)) = (codes[..B::LEN].as_chunks::<16>(), out.as_chunks_mut::<16>());
    for (i, (out, codes)) in out.iter_mut().zip(codes).enumerate() {
        let (scale, minimum) = (scales[i * 16 / B::GROUP], minima[i * 16 / B::GROUP]);
        for j in 0..16 {
            let scaled = scale * f32::from(codes[j]);
            out[j] = if B::HAS_MINIMA { scaled - minimum } else { scaled };
        }
    }
}
