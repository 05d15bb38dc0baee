//! What attention is asked for, the rows of queries and a chunk of keys and values, and what comes of it, the sums of each row.
//!
//! Not here: the arithmetic (`mod.rs`).

use crate::kv::{GROUP, KV_PAGE_LEN};

/// The queries of one KV head's group for some positions of a sequence, one after another; those of a position are side by side.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// The first query's position.
    pub position: usize,
    /// Query heads of the KV head.
    pub group: usize,
    /// Positions that a query sees, up to its own.
    pub window: usize,
}

impl Rows {
    /// The half-open range of a chunk's positions that a row sees; empty where it sees none. `start`: the chunk's first position
    pub fn visible(&self, row: usize, start: usize) -> (usize, usize) {
        let end = self.position + row / self.group + 1;
        let first = end.saturating_sub(self.window);
        let end = end.saturating_sub(start).min(KV_PAGE_LEN);
        (first.saturating_sub(start).min(end), end)
    }
}

/// One chunk of a KV head's positions: what a page holds of them.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    /// The position that it begins at, a multiple of [`KV_PAGE_LEN`].
    pub start: usize,
    /// The head's part of the page. (`KvLayout::bytes`,)
    pub page: &'a [u8],
    /// The part of a page that will be read after it, to be fetched meanwhile; empty where none is.
    pub next: &'a [u8],
}

/// The result of each row over some chunks.
pub struct Sums<'a> {
    /// The largest score, in powers of two. -inf where the row saw nothing. (rows,)
    pub max: &'a mut [f32],
    /// Σ 2^(score - max); 0 where the row saw nothing. (rows,)
    pub sum: &'a mut [f32],
    /// Σ 2^(score - max) · v; divided by `sum` it is the attention's output. (rows, width)
    pub acc: &'a mut [f32],
}

impl<'a> Sums<'a> {
    /// Elements of a buffer for `rows` rows of `width` columns, a multiple of 16.
    pub const fn len(width: usize, rows: usize) -> usize {
        rows.saturating_mul(width).saturating_add(rows.next_multiple_of(GROUP).saturating_mul(2))
    }

    /// A view of a buffer, with what it holds. buffer: (`len`,)
    pub fn new(buffer: &'a mut [f32], width: usize, rows: usize) -> Sums<'a> {
        assert_eq!(buffer.len(), Sums::len(width, rows), "sums of ({rows}, {width})");
        let (acc, rest) = buffer.split_at_mut(rows * width);
        let (max, sum) = rest.split_at_mut(rows.next_multiple_of(GROUP));
        Sums { max: &mut max[..rows], sum: &mut sum[..rows], acc }
    }

    /// A buffer's acc, max and sum.
    pub(crate) fn parts(buffer: &[f32], width: usize, rows: usize) -> (&[f32], &[f32], &[f32]) {
        let (acc, rest) = buffer.split_at(rows * width);
        let (max, sum) = rest.split_at(rows.next_multiple_of(GROUP));
        (acc, &max[..rows], &sum[..rows])
    }

    /// Makes them the sums of no chunk.
    pub fn clear(&mut self) {
        self.max.fill(f32::NEG_INFINITY);
        self.sum.fill(0.0);
        self.acc.fill(0.0);
    }
}
