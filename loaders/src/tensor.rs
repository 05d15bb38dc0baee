//! `Tensor`: a name, a type, a shape, and bytes that lie in a weight file or were copied from it.
//!
//! Not here: where the bytes come from (`weight_file.rs`, `tensor_file.rs`), and what a tensor is for.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use infer_kernels::{DType, is_hadamard_order};

use crate::buffer::{Aligned, Buffer};
use crate::error::LoadError;
use crate::extent::Extent;
use crate::safetensors::{Entry, TensorType};
use crate::tensor_file::TensorFile;
use crate::weight_file::WeightFile;

/// A named tensor. Cloning is cheap: clones share the file's bytes.
#[derive(Clone)]
pub struct Tensor {
    inner: Arc<TensorInner>,
    /// The order of the Hadamard matrix by which its rows are multiplied, block by block; 1 where they are not.
    hadamard: usize,
}

struct TensorInner {
    name: Box<str>,
    dtype: TensorType,
    shape: Box<[usize]>,
    file: Arc<WeightFile>,
    data: Data,
}

enum Data {
    /// In the file's buffer.
    InPlace(Extent),
    /// The file has it at an address that its type cannot be read from.
    Copied(Aligned),
}

/// Tensors in the order of their names, all distinct.
#[derive(Debug)]
pub(crate) struct Tensors(pub(crate) Vec<Tensor>);

impl Tensors {
    /// All tensors of several files.
    pub(crate) fn merge(files: Vec<TensorFile>) -> Result<Tensors, LoadError> {
        let mut all: Vec<Tensor> = Vec::new();
        for file in files {
            if all.is_empty() {
                all = file.tensors.0;
            } else {
                all.extend(file.tensors.0);
            }
        }
        all.sort_by(|a, b| a.name().cmp(b.name()));
        match all.iter().zip(all.iter().skip(1)).find(|(a, b)| a.name() == b.name()) {
            Some((first, second)) => {
                Err(second.error("the tensor in one file", format_args!("it in {}, too", file_name(first.file()))))
            }
            None => Ok(Tensors(all)),
        }
    }

    /// Where the tensor of this name is, or would be.
    pub(crate) fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|tensor| tensor.name().cmp(name))
    }

    /// The tensor of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(self.find(name).ok()?)
    }
}

impl Tensor {
    /// The tensor that `entry` describes; `data_begin` is where the data section begins in the file's buffer.
    pub(crate) fn new(file: &Arc<WeightFile>, entry: Entry, data_begin: u64) -> Result<Tensor, LoadError> {
        let Entry { name, dtype, shape, extent } = entry;
        let shifted = usize::try_from(data_begin).ok().and_then(|begin| extent.shifted(begin));
        let bytes = shifted.and_then(|extent| Some((extent, file.buffer.bytes().get(extent.range())?)));
        // The extent was checked against the length of this very data section.
        let Some((extent, bytes)) = bytes else {
            return Err(LoadError::tensor(&file.path, &name, "its bytes within the file", "fewer"));
        };
        let data = if dtype.alignment() > 1 && bytes.as_ptr().align_offset(dtype.alignment()) != 0 {
            Data::Copied(file.copy(extent)?)
        } else {
            Data::InPlace(extent)
        };
        Ok(Tensor { inner: Arc::new(TensorInner { name, dtype, shape, file: Arc::clone(file), data }), hadamard: 1 })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The type of the elements.
    pub fn dtype(&self) -> TensorType {
        self.inner.dtype
    }

    /// The dimensions, slowest first; none for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.inner.shape
    }

    /// The file that the tensor is in.
    pub fn file(&self) -> &Path {
        &self.inner.file.path
    }

    /// The elements as they lie in the file, little-endian and row-major. For a weight type, the first byte is aligned for it.
    pub fn bytes(&self) -> &[u8] {
        match &self.inner.data {
            Data::InPlace(extent) => self.inner.file.buffer.bytes().get(extent.range()).unwrap_or_default(),
            Data::Copied(copy) => copy.bytes(),
        }
    }

    /// The file that it is in, or was copied from.
    pub(crate) fn weight_file(&self) -> &Arc<WeightFile> {
        &self.inner.file
    }

    /// Whether it is read from a mapped file.
    pub(crate) fn is_mapped(&self) -> bool {
        matches!((&self.inner.data, &self.inner.file.buffer), (Data::InPlace(_), Buffer::Mapped(_)))
    }

    /// The elements of an `I64` tensor.
    ///
    /// # Errors
    /// If it has another type, or memory is short.
    pub fn to_i64(&self) -> Result<Vec<i64>, LoadError> {
        match self.dtype() {
            TensorType::I64 => self.elements(i64::from_le_bytes),
            other => Err(self.error("dtype I64", other)),
        }
    }

    /// The elements of an `F32` tensor.
    ///
    /// # Errors
    /// If it has another type, or memory is short.
    pub fn to_f32(&self) -> Result<Vec<f32>, LoadError> {
        match self.dtype() {
            TensorType::Weights(DType::F32) => self.elements(f32::from_le_bytes),
            other => Err(self.error("dtype F32", other)),
        }
    }

    /// The order of the Hadamard matrix by which its rows are multiplied, block by block (`infer_kernels::Kernels::hadamard`): no tensor of a
    /// checkpoint as it is published, whose order is 1, but a matrix that this program quantised may be kept so.
    pub fn hadamard(&self) -> usize {
        self.hadamard
    }

    /// The same tensor, whose rows are multiplied so. Panics if there is no such order, or the rows are no whole blocks.
    #[must_use]
    pub fn with_hadamard(self, order: usize) -> Tensor {
        let k = self.shape().last().copied().unwrap_or(1);
        assert!(is_hadamard_order(order) && k.is_multiple_of(order), "hadamard of order {order} of rows of {k}");
        Tensor { hadamard: order, ..self }
    }

    /// The same tensor in another storage format, of which `data` are the blocks.
    ///
    /// # Errors
    /// If these are not as many bytes as its shape takes, or memory is short.
    pub fn recoded(&self, dtype: DType, data: Vec<u8>) -> Result<Tensor, LoadError> {
        let (k, n_rows) = self.shape().split_last().map_or((1, 1), |(&k, rows)| (k, rows.iter().product::<usize>()));
        let expected = dtype.row_bytes(k).and_then(|row| row.checked_mul(n_rows));
        if expected != Some(data.len()) {
            let expected = expected.map_or_else(|| "rows of whole blocks".to_owned(), |n| format!("{n} bytes of {dtype}"));
            return Err(self.error(expected, data.len()));
        }
        let TensorInner { name, shape, file, .. } = &*self.inner;
        let (name, shape, file) = (name.clone(), shape.clone(), Arc::clone(file));
        let data = Data::Copied(Aligned::of(self.file(), data)?);
        let inner = Arc::new(TensorInner { name, dtype: TensorType::Weights(dtype), shape, file, data });
        Ok(Tensor { inner, hadamard: 1 })
    }

    /// The same tensor with other rows: row n is row `source(n)` of this one. Memory of its own holds it.
    ///
    /// # Errors
    /// If memory is short.
    pub(crate) fn with_rows(&self, source: impl Fn(usize) -> usize) -> Result<Tensor, LoadError> {
        let (bytes, n_rows) = (self.bytes(), self.shape().first().copied().unwrap_or(1).max(1));
        let row_bytes = bytes.len() / n_rows;
        let row = |n: usize| bytes.get(n * row_bytes..(n + 1) * row_bytes).unwrap_or_default();
        let data = Aligned::join(self.file(), (0..n_rows).map(|n| row(source(n))), bytes.len())?;
        let TensorInner { name, dtype, shape, file, .. } = &*self.inner;
        let (name, shape, file) = (name.clone(), shape.clone(), Arc::clone(file));
        let inner = Arc::new(TensorInner { name, dtype: *dtype, shape, file, data: Data::Copied(data) });
        Ok(Tensor { inner, hadamard: self.hadamard })
    }

    /// The error that says that this tensor is not what was expected of it.
    pub fn error(&self, expected: impl fmt::Display, found: impl fmt::Display) -> LoadError {
        LoadError::tensor(self.file(), self.name(), expected, found)
    }

    fn elements<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Result<Vec<T>, LoadError> {
        let (elements, _) = self.bytes().as_chunks::<N>();
        let mut decoded = Vec::new();
        let bytes = self.bytes().len() as u64;
        decoded.try_reserve_exact(elements.len()).map_err(|_| LoadError::memory(self.file(), bytes))?;
        decoded.extend(elements.iter().map(|&element| decode(element)));
        Ok(decoded)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor('{}', {}, {:?})", self.name(), self.dtype(), self.shape())
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::fs;

    use super::*;
    use crate::testing::{Dir, file_of, header_of, safetensors};
    use crate::{OpenOptions, open_safetensors, safetensors_in_memory};

    const MAPPED: OpenOptions = OpenOptions { mmap: true };
    const READ: OpenOptions = OpenOptions { mmap: false };

    #[test]
    fn a_misaligned_tensor_is_copied_and_an_aligned_one_is_not() {
        let dir = Dir::new();
        let tensors: [(&str, &str, &[usize]); 3] = [("a", "F32", &[2]), ("b", "BF16", &[2]), ("c", "I64", &[1])];
        let (header, data) = header_of(&tensors);
        for padding in 0..8 {
            let header = header.clone() + &" ".repeat(padding);
            let path = dir.write("odd.safetensors", file_of(header.as_bytes(), data));
            let in_memory = safetensors_in_memory(&path, Cow::Owned(fs::read(&path).unwrap())).unwrap();
            for file in [open_safetensors(&path, &MAPPED).unwrap(), open_safetensors(&path, &READ).unwrap(), in_memory] {
                let expected: Vec<u8> = (0..data as u8).collect();
                let bytes: Vec<u8> =
                    ["a", "b", "c"].iter().flat_map(|name| file.tensor(name).unwrap().bytes()).copied().collect();
                assert_eq!(bytes, expected, "padding {padding}");
                for tensor in file.tensors() {
                    assert_eq!(tensor.bytes().as_ptr().align_offset(tensor.dtype().alignment()), 0);
                }
                assert_eq!(file.tensor("a").unwrap().to_f32().unwrap()[0].to_bits(), 0x0302_0100);
                assert_eq!(file.tensor("c").unwrap().to_i64().unwrap(), [0x1312_1110_0f0e_0d0c]);
            }
            let mapped = open_safetensors(&path, &MAPPED).unwrap();
            let copied = matches!(mapped.tensor("a").unwrap().inner.data, Data::Copied(_));
            assert_eq!(copied, (8 + header.len()) % 4 != 0, "padding {padding}");
        }
    }

    #[test]
    fn conversions_want_their_own_type() {
        let bytes = safetensors(&[("a", "F32", &[1]), ("b", "BF16", &[1])]);
        let file = safetensors_in_memory(Path::new("r.safetensors"), Cow::Owned(bytes)).unwrap();
        let error = file.tensor("a").unwrap().to_i64().unwrap_err().to_string();
        assert_eq!(error, "r.safetensors: tensor 'a': expected dtype I64, found F32");
        assert!(file.tensor("b").unwrap().to_f32().is_err());
    }
}
