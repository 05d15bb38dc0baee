//! `Matrix`: a weight matrix that knows its storage format, read in place from the checkpoint.
//!
//! Not here: the product itself (`infer_kernels`) and how it is shared among threads (`forward.rs`).

use std::ops::Range;

use infer_kernels::{DType, Kernels, decode};
use infer_loaders::Tensor;

/// A (n, k) row-major matrix: n outputs, each a dot product over k inputs.
#[derive(Clone)]
pub struct Matrix {
    tensor: Tensor,
    dtype: DType,
    n: usize,
    k: usize,
    row_bytes: usize,
    hadamard: usize,
}

impl Matrix {
    /// A checked (n, k) tensor of format `dtype`. Panics if its bytes are not that many: the loader checks them.
    pub(crate) fn new(tensor: Tensor, dtype: DType, n: usize, k: usize) -> Matrix {
        let row_bytes = dtype.row_bytes(k).expect("the loader checked the tensor's size");
        assert_eq!(tensor.bytes().len(), n * row_bytes, "bytes of {}", tensor.name());
        let hadamard = tensor.hadamard();
        Matrix { tensor, dtype, n, k, row_bytes, hadamard }
    }

    /// Its storage format.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Number of rows, the outputs.
    #[inline]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Elements of a row, the inputs.
    #[inline]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Bytes of one row.
    #[inline]
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The order of the Hadamard matrix by which each row is multiplied, block by block, and by which its inputs have to be: products are then
    /// what they are without ([`Kernels::hadamard`]). 1 where rows are as they were published.
    #[inline]
    pub fn hadamard(&self) -> usize {
        self.hadamard
    }

    /// The bytes of some rows.
    #[inline]
    pub fn rows(&self, rows: Range<usize>) -> &[u8] {
        &self.tensor.bytes()[rows.start * self.row_bytes..rows.end * self.row_bytes]
    }

    /// One row as f32. out: (k,)
    pub fn decode_row(&self, kernels: &Kernels, row: usize, out: &mut [f32]) {
        decode(self.dtype, self.rows(row..row + 1), out);
        kernels.hadamard(out, self.hadamard);
    }
}
