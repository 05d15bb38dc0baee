//! `MatMut`: a mutable view of a block of columns of a row-major f32 matrix.
//!
//! A matrix product is shared among threads by columns of its output, so a thread's part of an (m, n) matrix is no contiguous
//! slice. Not here: arithmetic, or views of anything but f32.

use core::marker::PhantomData;

/// A (rows, cols) window into a row-major matrix whose rows lie `stride` elements apart.
pub struct MatMut<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a MatMut is an exclusive borrow of its elements, as `&mut [f32]` is, and f32 is Send.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// The whole of `data` as a matrix with rows of `cols` elements. Panics if `data` is no whole number of rows.
    pub fn new(data: &'a mut [f32], cols: usize) -> MatMut<'a> {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} elements are no rows of {cols}", data.len());
        MatMut { ptr: data.as_mut_ptr(), rows: data.len() / cols, cols, stride: cols, borrow: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The same window, borrowed for less long.
    pub fn reborrow(&mut self) -> MatMut<'_> {
        MatMut { ptr: self.ptr, rows: self.rows, cols: self.cols, stride: self.stride, borrow: PhantomData }
    }

    /// The columns before `col` and those from it on.
    pub fn split_at_col(self, col: usize) -> (MatMut<'a>, MatMut<'a>) {
        assert!(col <= self.cols, "column {col} of {}", self.cols);
        // SAFETY: column `col` of the first row is inside the matrix, or one past its end.
        let ptr = unsafe { self.ptr.add(col) };
        (MatMut { cols: col, ..self }, MatMut { ptr, cols: self.cols - col, ..self })
    }

    /// A row of the window. `row < rows`.
    #[inline(always)]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: `ptr` points at `rows` rows of `cols` elements, `stride` apart, all exclusively borrowed by `self`.
        unsafe { core::slice::from_raw_parts_mut(self.ptr.add(row * self.stride), self.cols) }
    }

    /// Writes one element. `row < rows`, `col < cols`.
    #[inline(always)]
    pub fn set(&mut self, row: usize, col: usize, value: f32) {
        debug_assert!(row < self.rows && col < self.cols);
        // The bounds of one element are checked by the row's slice; kernels write whole rows of results, so this is cheap.
        self.row_mut(row)[col] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_disjoint_windows() {
        let mut data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let (mut left, mut right) = MatMut::new(&mut data, 4).split_at_col(1);
        assert_eq!((left.rows(), left.cols(), right.rows(), right.cols()), (3, 1, 3, 3));
        left.set(2, 0, -1.0);
        right.row_mut(1).fill(-2.0);
        assert_eq!(data, [0.0, 1.0, 2.0, 3.0, 4.0, -2.0, -2.0, -2.0, -1.0, 9.0, 10.0, 11.0]);
    }

    #[test]
    fn splitting_at_either_end_gives_an_empty_window() {
        let mut data = vec![0.0; 6];
        let (left, right) = MatMut::new(&mut data, 3).split_at_col(3);
        assert_eq!((left.cols(), right.cols()), (3, 0));
    }
}
