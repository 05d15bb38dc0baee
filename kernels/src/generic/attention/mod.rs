//! Attention of the queries of one KV head over one chunk of its positions, with the online softmax (Milakov and Gimelshein, 2018; Dao et
//! al., 2022, algorithm 1).
//!
//! Not here: pages, heads and threads (the engine's), and where keys and values lie in a page (`kv.rs`). The queries of all heads that
//! share a KV head come together, so that its keys and values are read once. What is asked for and what comes of it is in `chunk.rs`, how numbers
//! are stored and multiplied in `multiply.rs`; each line below is a file, `scores.rs`, `softmax.rs` and `values.rs`, and chunks are added up in
//! `merge.rs`.
//!
//! ```text
//! q = query · head_dim^-0.5 · log2(e)                                once for all chunks, rounded to the type that is multiplied
//! scores = q · kᵀ                                                    lanes are positions; along head_dim in ascending order
//! for each row:   m = max scores;  p = 2^(scores - m);  l = Σ p
//! o = p · v                                                          lanes are columns; positions in ascending order
//! ```
//!
//! A chunk's (m, l, o) depend on nothing outside the chunk and on no other row, and chunks are merged in the order of their positions. So
//! a row's result has the same bits with any rows beside it, and whichever thread works on which chunk. What a row does not see is not
//! touched on its behalf: a NaN there does not reach it.
//!
//! **Memory.** A step of generation waits for it. Its few rows read the keys as streams, as many as a tile has vectors and each a part of the page,
//! side by side, and the values as one stream for each vector of columns; the second-level cache is asked for each stream's lines a quarter
//! of a part ahead, and towards its end for the stream that is read next: keys, values, and the next page's keys are one pipeline.

mod chunk;
mod merge;
mod multiply;
mod scores;
mod softmax;
mod values;

pub use chunk::{Chunk, Rows, Sums};
pub(crate) use merge::merge;
pub(crate) use multiply::{Multiply, Stored, Widen, pack};

use crate::kv::{GROUP, KV_PAGE_LEN, KvLayout};
use crate::vector::MAX_LANES;

/// The most rows that read keys and values as streams: memory is what they wait for.
const FEW_ROWS: usize = 16;

/// A call's operands, as [`attend`]'s parts see them.
struct Work<'a, M: Multiply> {
    rows: Rows,
    n_rows: usize,
    layout: KvLayout,
    chunk: &'a Chunk<'a>,
    // (n_rows, head_dim)
    q: *const M::Operand,
    /// Scores, and then the weights' operands in the first part of each row. (n_rows, KV_PAGE_LEN)
    scores: *mut f32,
}

/// The sums of one chunk. `R` rows by `N` vectors of positions, or of columns, are accumulated in registers.
///
/// q: (rows, head_dim) of [`pack`]; scores: (rows, KV_PAGE_LEN), scratch; out: written, not added to
///
/// # Safety
/// - `chunk.page` has `layout.bytes()`, aligned for `M::Stored`; `layout` is of `M`'s type.
/// - The shapes are as stated, and the rows are those of `out`.
/// - The CPU has the features that `M` needs.
#[inline(always)]
pub(crate) unsafe fn attend<M: Multiply, const R: usize, const N: usize>(
    layout: KvLayout,
    chunk: &Chunk<'_>,
    rows: Rows,
    q: &[f32],
    scores: &mut [f32],
    out: &mut Sums<'_>,
) {
    const { assert!(KV_PAGE_LEN.is_multiple_of(N * MAX_LANES) && (M::STEP == 1 || M::STEP == 2) && R <= 6) };
    let n_rows = out.max.len();
    let work: Work<'_, M> = Work { rows, n_rows, layout, chunk, q: q.as_ptr().cast(), scores: scores.as_mut_ptr() };
    out.acc.fill(0.0);
    // SAFETY: the caller's contract.
    unsafe {
        work.scores::<R, N>();
        for row in 0..n_rows {
            (out.max[row], out.sum[row]) = work.softmax(row);
        }
        work.values::<R, N>(out.acc);
    }
}

impl<M: Multiply> Work<'_, M> {
    /// The half-open range of the chunk's positions that a row sees.
    #[inline(always)]
    fn visible(&self, row: usize) -> (usize, usize) {
        self.rows.visible(row, self.chunk.start)
    }

    /// Whether rows are so few that memory is what takes the time.
    #[inline(always)]
    fn is_few(&self) -> bool {
        self.n_rows <= FEW_ROWS
    }

    /// A page's keys.
    #[inline(always)]
    fn keys(&self, page: &[u8]) -> *const M::Stored {
        page.as_ptr().cast()
    }

    /// The values of a column and those that follow in its vector; for columns that there are not, an address that may only be asked for.
    #[inline(always)]
    fn values_of_columns(&self, column: usize) -> *const M::Stored {
        let values = self.chunk.page.as_ptr().wrapping_add(self.layout.values_start()).cast::<M::Stored>();
        values.wrapping_add(column / GROUP * GROUP * KV_PAGE_LEN + column % GROUP * M::STEP)
    }

    /// The scales of the page's keys or values, where there are any.
    ///
    /// # Safety
    /// `M::SCALED`.
    #[inline(always)]
    unsafe fn scales(&self, of_values: bool) -> *const f32 {
        // SAFETY: the scales lie at the end of the page's head, which is aligned to a cache line as far as they are concerned.
        unsafe {
            let scales = self.chunk.page.as_ptr().add(self.layout.scales_start()).cast::<f32>();
            scales.add(if of_values { KV_PAGE_LEN } else { 0 })
        }
    }

    /// Stream `n` of `N` of the keys that are read next, an address that may only be asked for.
    #[inline(always)]
    fn next_keys<const N: usize>(&self, n: usize) -> *const M::Stored {
        self.keys(self.chunk.next).wrapping_add(n * (KV_PAGE_LEN / N) * self.layout.head_dim())
    }

    /// Operands from one row of weights to the next.
    const STRIDE: usize = KV_PAGE_LEN * size_of::<f32>() / size_of::<M::Operand>();

    /// A row's weights.
    ///
    /// # Safety
    /// The row exists.
    #[inline(always)]
    unsafe fn weights(&self, row: usize) -> *const M::Operand {
        // SAFETY: the caller's contract.
        unsafe { self.scores.cast_const().cast::<M::Operand>().add(row * Self::STRIDE) }
    }
}
