//! Outputs: weights times values. Lanes are columns, and a sum runs over the positions in ascending order.
//!
//! Not here: scores (`scores.rs`) and weights (`softmax.rs`).

use super::{Multiply, Work};
use crate::kv::{GROUP, KV_PAGE_LEN};
use crate::vector::Vector;

/// Positions whose values are asked for ahead of those that are read.
const AHEAD: usize = KV_PAGE_LEN / 4;

impl<M: Multiply> Work<'_, M> {
    /// Adds all rows' weighted values. acc: (n_rows, width)
    ///
    /// # Safety
    /// As [`attend`](super::attend); the rows' weights were written.
    #[inline(always)]
    pub(super) unsafe fn values<const R: usize, const N: usize>(&self, acc: &mut [f32]) {
        let mut row = 0;
        while row < self.n_rows {
            // SAFETY: the rows named exist.
            unsafe {
                row += match R.min(self.n_rows - row) {
                    1 => self.values_of::<1, N>(row, acc),
                    2 => self.values_of::<2, N>(row, acc),
                    3 => self.values_of::<3, N>(row, acc),
                    4 => self.values_of::<4, N>(row, acc),
                    5 => self.values_of::<5, N>(row, acc),
                    _ => self.values_of::<R, N>(row, acc),
                };
            }
        }
    }

    /// Adds the weighted values of `R` rows: what all of them see together, and each row's beginning and end by itself. Returns `R`.
    ///
    /// # Safety
    /// As [`Work::values`]; `R` rows from `row` on exist.
    #[inline(always)]
    unsafe fn values_of<const R: usize, const N: usize>(&self, row: usize, acc: &mut [f32]) -> usize {
        // A later row begins and ends no earlier.
        let (start, end) = (self.visible(row + R - 1).0, self.visible(row).1);
        let (start, end) = (start.next_multiple_of(M::STEP), end - end % M::STEP);
        // SAFETY: what a row sees lies in the page; the rows exist.
        unsafe {
            if start >= end {
                for r in row..row + R {
                    self.columns_of_one::<N>(r, self.visible(r), acc);
                }
                return R;
            }
            for r in row..row + R {
                self.columns_of_one::<N>(r, (self.visible(r).0, start), acc);
            }
            self.columns::<R, N>(row, (start, end), acc);
            for r in row..row + R {
                self.columns_of_one::<N>(r, (end, self.visible(r).1), acc);
            }
        }
        R
    }

    /// Adds the weighted values of one row at positions that may begin or end within a step.
    ///
    /// # Safety
    /// As [`Work::values`]; the row and the positions exist.
    #[inline(always)]
    unsafe fn columns_of_one<const N: usize>(&self, row: usize, (mut start, end): (usize, usize), acc: &mut [f32]) {
        if start >= end {
            return;
        }
        // SAFETY: the caller's contract.
        unsafe {
            if !start.is_multiple_of(M::STEP) {
                self.one_of_pair(row, start, acc);
                start += 1;
            }
            let whole = end - end % M::STEP;
            if start < whole {
                self.columns::<1, N>(row, (start, whole), acc);
            }
            if start.max(whole) < end {
                self.one_of_pair(row, whole, acc);
            }
        }
    }

    /// Adds a row's weighted values at one position, whose neighbour in the step it does not see.
    ///
    /// # Safety
    /// As [`Work::values`]; the row and the position exist.
    #[inline(always)]
    unsafe fn one_of_pair(&self, row: usize, position: usize, acc: &mut [f32]) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let step = position - position % M::STEP;
        // SAFETY: there are values of `width` columns, a multiple of LANES, at each position; the row's weights and sums exist.
        unsafe {
            let p = self.weights(row).add(step);
            let acc = acc.as_mut_ptr().add(row * width);
            let mut c = 0;
            while c < width {
                let old = M::V::load(acc.add(c));
                let v = self.values_of_columns(c).add(step * GROUP);
                M::mul_add_one(old, v, p, position - step).store(acc.add(c));
                c += lanes;
            }
        }
    }

    /// Adds the weighted values of `R` rows at whole steps, which all of them see.
    ///
    /// # Safety
    /// As [`Work::values`]; the rows and the positions exist.
    #[inline(always)]
    unsafe fn columns<const R: usize, const N: usize>(&self, row: usize, range: (usize, usize), acc: &mut [f32]) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let mut c = 0;
        // SAFETY: every tile of columns ends at or before `width`, a multiple of LANES.
        unsafe {
            while c + N * lanes <= width {
                self.tile::<R, N>(row, range, c, acc);
                c += N * lanes;
            }
            while c < width {
                self.tile::<R, 1>(row, range, c, acc);
                c += lanes;
            }
        }
    }

    /// [`Work::columns`] for `N` vectors of columns from `column` on, held in registers over all positions.
    ///
    /// # Safety
    /// As [`Work::columns`]; the columns exist.
    #[inline(always)]
    unsafe fn tile<const R: usize, const N: usize>(
        &self,
        row: usize,
        (start, end): (usize, usize),
        column: usize,
        acc: &mut [f32],
    ) {
        let (width, lanes) = (self.layout.width(), M::V::LANES);
        let prefetches = self.is_few() && row == 0;
        // SAFETY: the values of a page are (width / GROUP, KV_PAGE_LEN / STEP, GROUP, STEP) elements; the rows' weights and sums exist, `STRIDE`
        // operands and `width` elements apart.
        unsafe {
            let (p, out) = (self.weights(row), acc.as_mut_ptr().add(row * width + column));
            let mut v = [self.values_of_columns(column); N];
            // What is asked for at each position: the same streams further on and, from `turn` on, the beginnings of the next.
            let turn = self.visible(self.n_rows - 1).1.saturating_sub(AHEAD);
            let (mut ahead, mut after) = (v, v);
            let mut sums = [[M::V::splat(0.0); N]; R];
            for n in 0..N {
                v[n] = self.values_of_columns(column + n * lanes);
                ahead[n] = v[n].wrapping_add(AHEAD * GROUP);
                let next = column + (N + n) * lanes;
                let next = if next < width { self.values_of_columns(next) } else { self.next_keys::<N>(n) };
                after[n] = next.wrapping_sub(turn * GROUP);
                for r in 0..R {
                    sums[r][n] = M::V::load(out.add(r * width + n * lanes));
                }
            }
            let mut i = start;
            if M::V::ASKS_APART && !prefetches {
                while i < end {
                    Self::add_step(&v, p, i, &mut sums);
                    i += M::STEP;
                }
            }
            while i < end {
                Self::add_step(&v, p, i, &mut sums);
                if prefetches {
                    let from = if i < turn { &ahead } else { &after };
                    for n in 0..N {
                        M::V::prefetch(from[n].wrapping_add(i * GROUP).cast());
                    }
                }
                i += M::STEP;
            }
            for r in 0..R {
                for n in 0..N {
                    sums[r][n].store(out.add(r * width + n * lanes));
                }
            }
        }
    }

    /// One step of [`Work::tile`].
    ///
    /// # Safety
    /// As there: values at `v` and weights at `p` have a step at position `i`.
    #[inline(always)]
    unsafe fn add_step<const R: usize, const N: usize>(
        v: &[*const M::Stored; N],
        p: *const M::Operand,
        i: usize,
        sums: &mut [[M::V; N]; R],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            for part in 0..M::PARTS {
                let mut x = [M::load(v[0].add(i * GROUP), part); N];
                for n in 1..N {
                    x[n] = M::load(v[n].add(i * GROUP), part);
                }
                for r in 0..R {
                    let factor = M::factor(p.add(r * Self::STRIDE + i), part);
                    for n in 0..N {
                        sums[r][n] = M::mul_add(sums[r][n], x[n], factor);
                    }
                }
            }
        }
    }
}
