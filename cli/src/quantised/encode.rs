//! Encoding a tensor, some rows at a time on all threads, and handing the bytes on in order.
//!
//! Not here: the formats (`infer_kernels`) and the file. Nothing depends on which thread encodes which rows.

use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use infer_kernels::{DType, Kernels, decode};
use infer_loaders::{Tensor, TensorType, gguf_row_of_pairs};

use crate::report::Failure;

/// Weights that one thread takes at a time.
const PART: usize = 1 << 14;
/// Parts for each thread before what they made is written.
const PARTS_PER_THREAD: usize = 64;

/// Where a tensor's weights come from.
pub enum Source<'c> {
    /// A tensor of the checkpoint, (n, k) or (n,).
    Tensor {
        tensor: &'c Tensor,
        dtype: DType,
        n: usize,
        k: usize,
        /// Elements of a head whose rows go from halves to pairs, if any do.
        pairs_of: Option<usize>,
        /// The order of the Hadamard matrix by which rows are multiplied, block by block; 1 for none.
        hadamard: usize,
    },
    /// Numbers, which stay as they are.
    Values(&'c [f32]),
}

impl<'c> Source<'c> {
    /// The weights of a tensor; `pairs_of` are the elements of a head if its rows are to be put in the order of pairs.
    ///
    /// # Errors
    /// If its elements are no weights, or it has more than two dimensions.
    pub fn new(tensor: &'c Tensor, pairs_of: Option<usize>) -> Result<Source<'c>, Failure> {
        let TensorType::Weights(dtype) = tensor.dtype() else {
            return Err(tensor.error("weights", tensor.dtype()).into());
        };
        let (n, k) = match *tensor.shape() {
            [n, k] => (n, k),
            // A bias goes with the rows of its matrix.
            [n] if pairs_of.is_some() => (n, 1),
            [n] => (1, n),
            _ => return Err(tensor.error("one or two dimensions", tensor.shape().len()).into()),
        };
        Ok(Source::Tensor { tensor, dtype, n, k, pairs_of, hadamard: 1 })
    }

    /// The same weights, their rows multiplied by the Hadamard matrix of this order, of which they are whole blocks.
    pub fn with_hadamard(mut self, order: usize) -> Source<'c> {
        if let Source::Tensor { hadamard, .. } = &mut self {
            *hadamard = order;
        }
        self
    }
}

/// Encodes all rows in `to` and calls `take` with the bytes, in order.
///
/// # Errors
/// If a weight is none that the format can say, and those of `take`.
pub fn each_batch<E: From<Failure>>(
    source: &Source<'_>,
    to: DType,
    n_threads: usize,
    take: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (tensor, dtype, n, k, pairs_of, hadamard) = match *source {
        Source::Values(values) => return take(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
        Source::Tensor { tensor, dtype, n, k, pairs_of, hadamard } => (tensor, dtype, n, k, pairs_of, hadamard),
    };
    // Rows of both formats are whole blocks: the loader checked the one, the mix chose the other.
    let row_bytes = |dtype: DType| dtype.row_bytes(k).unwrap_or_default();
    let (from_bytes, to_bytes) = (row_bytes(dtype), row_bytes(to));
    let rows_of_part = (PART / k.max(1)).max(1);
    let rows_of_batch = rows_of_part * PARTS_PER_THREAD * n_threads;
    let kernels = Kernels::detect();
    let mut buffer = vec![0; to_bytes * rows_of_batch.min(n)];
    for begin in (0..n).step_by(rows_of_batch) {
        let n_rows = rows_of_batch.min(n - begin);
        let Some(batch) = buffer.get_mut(..n_rows * to_bytes) else { break };
        let parts = batch.chunks_mut((rows_of_part * to_bytes).max(1)).enumerate();
        let (parts, wrong) = (Mutex::new(parts), Mutex::new(None::<(usize, f32)>));
        let fill = |first: usize, x: &mut [f32]| {
            for (row, x) in (first..).zip(x.chunks_exact_mut(k.max(1))) {
                let row = pairs_of.map_or(row, |head_dim| gguf_row_of_pairs(row, head_dim));
                decode(dtype, tensor.bytes().get(row * from_bytes..(row + 1) * from_bytes).unwrap_or_default(), x);
            }
        };
        let work = || {
            let mut x = vec![0.0; rows_of_part * k];
            while let Some((part, out)) = { lock(&parts).next() } {
                let first = begin + part * rows_of_part;
                let n_rows = out.len() / to_bytes.max(1);
                let Some(x) = x.get_mut(..n_rows * k) else { break };
                fill(first, x);
                kernels.hadamard(x, hadamard);
                let done = kernels.encode(to, x, out);
                if done < x.len() {
                    // What a person is told of are the weights as the file has them.
                    fill(first, x);
                    let span = to.block_len().max(hadamard);
                    let done = done - done % span;
                    let block = x.get(done..(done + span).min(x.len())).unwrap_or_default();
                    let worst = |x: &f32| if x.is_nan() { f32::INFINITY } else { x.abs() };
                    let bad = (done..).zip(block).max_by(|(_, a), (_, b)| worst(a).total_cmp(&worst(b)));
                    if let Some((at, &value)) = bad {
                        // Of several, the first in the file is told, whichever thread is first.
                        let row = first + at / k.max(1);
                        let row = pairs_of.map_or(row, |head_dim| gguf_row_of_pairs(row, head_dim));
                        let index = row * k + at % k.max(1);
                        let mut wrong = lock(&wrong);
                        if wrong.is_none_or(|(other, _)| index < other) {
                            *wrong = Some((index, value));
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            // A thread that cannot be had is missed by nobody: the others take its parts.
            let _started: Vec<_> = (1..n_threads).filter_map(|_| Builder::new().spawn_scoped(scope, work).ok()).collect();
            work();
        });
        if let Some((index, value)) = wrong.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(unfit(tensor, to, index, value).into());
        }
        take(batch_of(&buffer, n_rows * to_bytes))?;
    }
    Ok(())
}

/// The error for a weight that a format cannot hold.
fn unfit(tensor: &Tensor, dtype: DType, index: usize, value: f32) -> Failure {
    let row = tensor.shape().last().copied().unwrap_or(1).max(1);
    let at = if tensor.shape().len() > 1 { format!("[{}, {}]", index / row, index % row) } else { format!("[{index}]") };
    tensor.error(format_args!("numbers that {dtype} can say"), format_args!("{value} at {at}")).into()
}

fn batch_of(buffer: &[u8], n_bytes: usize) -> &[u8] {
    buffer.get(..n_bytes).unwrap_or_default()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
