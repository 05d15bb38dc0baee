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

use crate::generic::matmul::{PANEL_ROWS, Widen, rows_of_panel};
use crate::generic::matmul_few::{FEW_ROWS, FewRows, each_row, few_rows};
use crate::generic::matmul_tile::{group_rows, packed_len};
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
    let (tile_len, few_len) = (packed_len::<Widen<V, f32>>(NR, k), packed_len::<Widen<V, f32>>(m, k));
    let group = group_rows::<V>(MR);
    // Few rows are packed once for all panels, of which each is one group and so in a cache close by; more rows are packed tile by tile.
    let (packed_len, rows) = match scratch.len() {
        len if m > 1 && m <= FEW_ROWS && len >= few_len + group * k => (few_len, group),
        len if m > 1 && len >= tile_len + k => (tile_len, PANEL_ROWS),
        _ => (0, 1),
    };
    let (packed, panel) = scratch.split_at_mut(packed_len);
    let few = if rows == group { Some(FewRows::pack::<Widen<V, f32>>(x, k, NR, packed)) } else { None };
    let rows = rows.min(panel.len() / k);
    let mut start = 0;
    while start < n {
        let rows = rows.min(n - start);
        let panel = &mut panel[..rows * k];
        // SAFETY: the panel holds the rows start.. of k elements; the rest is the caller's.
        unsafe {
            (w.decode)(&w.bytes[start * w.row_bytes..][..rows * w.row_bytes], panel);
            let panel = panel.as_ptr();
            match few {
                Some(x) => few_rows::<Widen<V, f32>, MR, NR>(panel, x, k, start..start + rows, &mut out),
                None if packed_len > 0 => rows_of_panel::<Widen<V, f32>, MR, NR>(panel, start, rows, x, k, &mut out, packed),
                None => each_row::<Widen<V, f32>>(panel, x, k, start..start + rows, &mut out),
            }
        }
        start += rows;
    }
}
