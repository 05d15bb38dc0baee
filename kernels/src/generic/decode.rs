//! How blocks of integers are decoded to f32 lanes, with the bits of [`Block::decode`](crate::block::Block::decode).
//!
//! Not here: the codes and scales of each format (`block/`).

use crate::block::{MAX_BLOCK_LEN, MAX_GROUPS, Quantized, cast};
use crate::vector::{MAX_LANES, Vector};

/// Decodes whole blocks. As many codes as the longest block has are unpacked before they are scaled, so that loads of vectors find what bytes
/// were stored. out: as many elements as `bytes` holds
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn decode_blocks<V: Vector, B: Quantized>(bytes: &[u8], out: &mut [f32]) {
    const { assert!(MAX_LANES <= 16 && B::GROUP.is_multiple_of(V::LANES) && MAX_BLOCK_LEN.is_multiple_of(B::LEN)) };
    let blocks = cast::<B>(bytes).expect("checked by dispatch");
    assert_eq!(out.len(), blocks.len() * B::LEN, "decoded blocks");
    let (mut codes, mut scales, mut minima) = ([0; MAX_BLOCK_LEN], [0.0; MAX_GROUPS], [0.0; MAX_GROUPS]);
    for (blocks, out) in blocks.chunks(MAX_BLOCK_LEN / B::LEN).zip(out.chunks_mut(MAX_BLOCK_LEN)) {
        let groups = B::LEN / B::GROUP;
        let room = codes.chunks_exact_mut(B::LEN).zip(scales.chunks_exact_mut(groups)).zip(minima.chunks_exact_mut(groups));
        for (block, ((codes, scales), minima)) in blocks.iter().zip(room) {
            block.write_codes(codes);
            block.write_scales(scales, minima);
        }
        // By reference: arrays by value are copied, by loads of vectors that wait for what was just stored number by number.
        let groups = codes.chunks_exact(B::GROUP).zip(&scales).zip(&minima);
        for (out, ((codes, &scale), &minimum)) in out.chunks_exact_mut(B::GROUP).zip(groups) {
            // SAFETY: a group is a whole number of vectors; the features are the caller's.
            unsafe {
                let (scale, minimum) = (V::splat(scale), V::splat(minimum));
                for i in (0..B::GROUP).step_by(V::LANES) {
                    let scaled = V::load_i8(codes.as_ptr().add(i)).mul(scale);
                    let weight = if B::HAS_MINIMA { scaled.sub(minimum) } else { scaled };
                    weight.store(out.as_mut_ptr().add(i));
                }
            }
        }
    }
}
