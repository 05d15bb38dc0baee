//! Scores: queries times keys. Lanes are positions, and a sum runs along head_dim in ascending order.
//!
//! Not here: weights (`softmax.rs`) and values (`values.rs`).

use super::{Multiply, Work};
use crate::kv::{GROUP, KV_PAGE_LEN};
use crate::vector::Vector;

impl<M: Multiply> Work<'_, M> {
    /// Scores of all rows.
    ///
    /// # Safety
    /// As [`attend`](super::attend).
    #[inline(always)]
    pub(super) unsafe fn scores<const R: usize, const N: usize>(&self) {
        // A later row sees no less of the end, an earlier one no less of the beginning.
        let (start, end) = (self.visible(0).0, self.visible(self.n_rows - 1).1);
        let (part, lanes) = (KV_PAGE_LEN / N, M::V::LANES);
        // Streams side by side, where some row sees something of each.
        let (apart, positions) =
            if self.is_few() && start < part && KV_PAGE_LEN - part < end { (part, part) } else { (lanes, KV_PAGE_LEN) };
        let tile = if apart == part { lanes } else { N * lanes };
        let mut position = 0;
        while position < positions {
            let mut row = 0;
            while row < self.n_rows {
                // SAFETY: the rows named exist; tiles divide a page, and its parts.
                unsafe {
                    row += match R.min(self.n_rows - row) {
                        1 => self.scores_of::<1, N>(position, apart, row),
                        2 => self.scores_of::<2, N>(position, apart, row),
                        3 => self.scores_of::<3, N>(position, apart, row),
                        4 => self.scores_of::<4, N>(position, apart, row),
                        5 => self.scores_of::<5, N>(position, apart, row),
                        _ => self.scores_of::<R, N>(position, apart, row),
                    };
                }
            }
            position += tile;
        }
    }

    /// Scores of `R` rows against `N` vectors of positions, `apart` from each other, if any row sees some of them. Returns `R`.
    ///
    /// # Safety
    /// As [`attend`](super::attend); `R` rows from `row` on, and the positions, exist.
    #[inline(always)]
    unsafe fn scores_of<const R: usize, const N: usize>(&self, position: usize, apart: usize, row: usize) -> usize {
        let (d, lanes) = (self.layout.head_dim(), M::V::LANES);
        let (start, end) = (self.visible(row).0, self.visible(row + R - 1).1);
        if start >= position + (N - 1) * apart + lanes || end <= position {
            return R;
        }
        let prefetches = self.is_few() && row == 0;
        // SAFETY: the keys of a page are (KV_PAGE_LEN / GROUP, d, GROUP) elements, of which vector n of the tile takes each step's part;
        // queries and scores of the rows exist.
        unsafe {
            let (mut k, mut ahead) = ([self.keys(self.chunk.page); N], [core::ptr::null(); N]);
            // What is asked for: the next groups of the streams, or the beginnings of the values' streams.
            let step = if apart > lanes { GROUP } else { (N * lanes).max(GROUP) };
            let is_last = apart > lanes && position / GROUP + 1 == apart / GROUP;
            for n in 0..N {
                let at = position + n * apart;
                k[n] = k[n].add(at / GROUP * GROUP * d + at % GROUP * M::STEP);
                ahead[n] = if is_last { self.values_of_columns(n * lanes) } else { k[n].wrapping_add(step * d) };
            }
            let q = self.q.add(row * d);
            let mut acc = [[M::V::splat(0.0); N]; R];
            let mut i = 0;
            while i < d {
                for part in 0..M::PARTS {
                    let mut x = [M::load(k[0].add(i * GROUP), part); N];
                    for n in 1..N {
                        x[n] = M::load(k[n].add(i * GROUP), part);
                    }
                    for r in 0..R {
                        let factor = M::factor(q.add(r * d + i), part);
                        for n in 0..N {
                            acc[r][n] = M::mul_add(acc[r][n], x[n], factor);
                        }
                    }
                }
                if prefetches {
                    for n in 0..N {
                        M::V::prefetch(ahead[n].wrapping_add(i * GROUP).cast());
                    }
                }
                i += M::STEP;
            }
            for r in 0..R {
                for n in 0..N {
                    let at = position + n * apart;
                    let mut score = acc[r][n];
                    if M::SCALED {
                        score = score.mul(M::V::load(self.scales(false).add(at)));
                    }
                    score.store(self.scores.add((row + r) * KV_PAGE_LEN + at));
                }
            }
        }
        R
    }
}
