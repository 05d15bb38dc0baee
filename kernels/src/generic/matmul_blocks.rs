//! The matrix product `out = x · wᵀ` for weights in blocks that no vector load widens: rows are decoded to f32, then multiplied as such.
//!
//! This is how a format runs on every rung as soon as it has a scalar decode. The decoded rows go through the very loops of f32 weights,
//! so an output has the bits that f32 weights of the same values would give it, for one row of activations and for many. Not here:
//! products of the packed numbers themselves, which a rung may put in its table instead.
//!
//! ```text
//! for each panel of weight rows, as many as the scratch holds (of one row of activations: for each weight row):
//!     decode the panel into scratch
//!     out[panel] = x · scratchᵀ
//! ```

use crate::block::{Block, cast};
use crate::generic::matmul::{Widen, each_row, packed_len, panel_rows, rows_of_panel};
use crate::vector::Vector;
use crate::view::MatMut;

/// Weight rows in blocks, and how they are decoded.
pub(crate) struct Packed<'a> {
    /// Row-major, each row `row_bytes` long.
    pub bytes: &'a [u8],
    pub row_bytes: usize,
    /// Decodes whole blocks of the format. A pointer, so that the product is compiled once for an ISA and not once for a format.
    pub decode: unsafe fn(&[u8], &mut [f32]),
}

/// Decodes whole blocks. out: as many elements as `bytes` holds
#[inline(always)]
pub(crate) fn decode_blocks<B: Block>(bytes: &[u8], out: &mut [f32]) {
    let blocks = cast::<B>(bytes).expect("checked by dispatch");
    for (block, out) in blocks.iter().zip(out.chunks_exact_mut(B::LEN)) {
        block.decode(out);
    }
}

/// `out = x · wᵀ` with tiles of `MR` weight rows by `NR` activation rows.
///
/// w: (n, k); x: (m, k) row-major; out: (m, n); scratch: at least (k,)
///
/// # Safety
/// - `w` is n rows and `x.len() == m * k` where `out` is (m, n) and k > 0; a row decodes to k elements.
/// - `scratch.len() >= k`.
/// - The CPU has the features that `V` and `w.decode` need.
#[inline(always)]
pub(crate) unsafe fn matmul_blocks<V: Vector, const MR: usize, const NR: usize>(
    w: Packed<'_>,
    x: &[f32],
    k: usize,
    mut out: MatMut<'_>,
    scratch: &mut [f32],
) {
    let (m, n) = (out.rows(), out.cols());
    debug_assert!(w.bytes.len() == n * w.row_bytes && x.len() == m * k && k > 0 && scratch.len() >= k);
    let tile_len = packed_len::<Widen<V, f32>, NR>(k);
    let is_packed = m > 1 && scratch.len() >= tile_len + k;
    let (packed, panel) = scratch.split_at_mut(if is_packed { tile_len } else { 0 });
    let rows = if is_packed { panel_rows::<V>(m, MR).min(panel.len() / k) } else { 1 };
    let mut start = 0;
    while start < n {
        let range = start..n.min(start + rows);
        let panel = &mut panel[..range.len() * k];
        // SAFETY: the panel holds the range's rows of k elements; the rest is the caller's.
        unsafe {
            (w.decode)(&w.bytes[start * w.row_bytes..range.end * w.row_bytes], panel);
            if is_packed {
                rows_of_panel::<Widen<V, f32>, MR, NR>(panel.as_ptr(), x, k, range, &mut out, packed);
            } else {
                each_row::<Widen<V, f32>>(panel.as_ptr(), x, k, range, &mut out);
            }
        }
        start += rows;
    }
}
