//! `TensorFile`: one weight file and the tensors in it.
//!
//! Not here: the syntax of headers (`safetensors.rs`, `gguf/`), and models of several files (`checkpoint.rs`).

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::buffer::{Aligned, Buffer};
use crate::error::LoadError;
use crate::file::{FileIdentity, open_regular, read_exactly};
use crate::mmap::Mapping;
use crate::safetensors::{self, Entry, PREFIX_BYTES};
use crate::tensor::{Tensor, Tensors};
use crate::weight_file::{Opened, WeightFile};

/// How to open weight files.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Map the files, so that tensors are read in place. `false` reads them into memory: slower to open and the memory is taken at
    /// once, but nothing that happens to the files afterwards matters.
    pub mmap: bool,
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions { mmap: true }
    }
}

/// One safetensors file by itself, such as a file of reference logits.
#[derive(Debug)]
pub struct TensorFile {
    pub(crate) file: Arc<WeightFile>,
    pub(crate) tensors: Tensors,
}

/// Opens one safetensors file, without any settings beside it.
///
/// # Errors
/// Those of [`open`] that concern the file.
pub fn open_safetensors(path: &Path, options: &OpenOptions) -> Result<TensorFile, LoadError> {
    let (mut file, metadata) = open_regular(path)?;
    let length = metadata.len();
    if length < PREFIX_BYTES as u64 {
        return Err(safetensors::too_short(path, length));
    }
    let mut prefix = [0; PREFIX_BYTES];
    file.read_exact(&mut prefix).map_err(|error| LoadError::os(path, "read the file", error))?;
    let header_bytes = safetensors::header_bytes(path, prefix, length)?;
    // An owned copy, also of a mapped file: see the contract in `mmap.rs`.
    let header = read_exactly(path, &file, header_bytes)?;
    let data_begin = PREFIX_BYTES as u64 + header_bytes;
    let data_bytes = usize::try_from(length - data_begin).map_err(|_| LoadError::memory(path, length))?;
    let entries = safetensors::parse_header(path, &header, data_bytes)?;
    drop(header);

    TensorFile::load(path, file, &metadata, entries, data_begin, options)
}

/// Reads a safetensors file that is in memory; `path` stands for it in messages. Bytes that are part of the program are used in place.
///
/// # Errors
/// Those of [`open_safetensors`] that concern the content.
pub fn safetensors_in_memory(path: &Path, bytes: Cow<'static, [u8]>) -> Result<TensorFile, LoadError> {
    let length = bytes.len() as u64;
    let prefix = *bytes.first_chunk::<PREFIX_BYTES>().ok_or_else(|| safetensors::too_short(path, length))?;
    // The sum is at most the length.
    let data_begin = PREFIX_BYTES as u64 + safetensors::header_bytes(path, prefix, length)?;
    let split = usize::try_from(data_begin).ok().and_then(|begin| bytes.split_at_checked(begin));
    let (header, data) = split.ok_or_else(|| safetensors::too_short(path, length))?;
    let entries = safetensors::parse_header(path, header.get(PREFIX_BYTES..).unwrap_or_default(), data.len())?;
    TensorFile::in_memory(path, bytes, entries, data_begin)
}

impl TensorFile {
    /// Maps or reads a file whose header was parsed. `file` stands at `data_begin`, where the data section begins.
    pub(crate) fn load(
        path: &Path,
        file: File,
        metadata: &std::fs::Metadata,
        entries: Vec<Entry>,
        data_begin: u64,
        options: &OpenOptions,
    ) -> Result<TensorFile, LoadError> {
        let (path_buf, length, identity) = (path.to_owned(), metadata.len(), Some(FileIdentity::of(metadata)));
        if options.mmap {
            let total = usize::try_from(length).map_err(|_| LoadError::memory(path, length))?;
            let map = Mapping::new(&file, total, path).map_err(|error| map_error(path, length, error))?;
            let opened = Some(Opened::new(file, metadata));
            let file = WeightFile { path: path_buf, buffer: Buffer::Mapped(map), opened, identity };
            TensorFile::new(file, entries, data_begin)
        } else {
            let data_bytes = length.saturating_sub(data_begin);
            let data_bytes = usize::try_from(data_bytes).map_err(|_| LoadError::memory(path, length))?;
            let data = Aligned::read(path, &file, data_bytes)?;
            let file = WeightFile { path: path_buf, buffer: Buffer::Owned(data), opened: None, identity };
            TensorFile::new(file, entries, 0)
        }
    }

    /// The tensors of a file that is in memory, whose header was parsed. Bytes that are part of the program are used in place.
    pub(crate) fn in_memory(
        path: &Path,
        bytes: Cow<'static, [u8]>,
        entries: Vec<Entry>,
        data_begin: u64,
    ) -> Result<TensorFile, LoadError> {
        let begin = usize::try_from(data_begin).ok();
        let data = begin.and_then(|begin| bytes.get(begin..)).unwrap_or_default();
        let (buffer, data_begin) = match &bytes {
            Cow::Borrowed(bytes) => (Buffer::Static(bytes), data_begin),
            Cow::Owned(_) => (Buffer::Owned(Aligned::read(path, data, data.len())?), 0),
        };
        TensorFile::new(WeightFile { path: path.to_owned(), buffer, opened: None, identity: None }, entries, data_begin)
    }

    /// The file with each tensor replaced by what `rewrite` makes of it, or left out.
    pub(crate) fn rewritten(
        self,
        mut rewrite: impl FnMut(Tensor) -> Result<Option<Tensor>, LoadError>,
    ) -> Result<TensorFile, LoadError> {
        let tensors = self.tensors.0.into_iter().filter_map(|tensor| rewrite(tensor).transpose());
        Ok(TensorFile { file: self.file, tensors: Tensors(tensors.collect::<Result<_, _>>()?) })
    }

    /// Makes tensors of checked entries; `data_begin` is where the data section begins in the file's buffer.
    fn new(file: WeightFile, entries: Vec<Entry>, data_begin: u64) -> Result<TensorFile, LoadError> {
        let file = Arc::new(file);
        let mut tensors = Vec::new();
        let shortage = || LoadError::memory(&file.path, entries.len() as u64 * size_of::<Tensor>() as u64);
        tensors.try_reserve_exact(entries.len()).map_err(|_| shortage())?;
        for entry in entries {
            tensors.push(Tensor::new(&file, entry, data_begin)?);
        }
        Ok(TensorFile { file, tensors: Tensors(tensors) })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.0.iter()
    }

    /// The error for a key that is needed and not there.
    pub fn missing_key(&self, key: &str) -> LoadError {
        LoadError::field(&self.file.path, key, "a key of this name", "nothing")
    }

    /// The error for a tensor that is needed and not there.
    pub fn missing_tensor(&self, name: &str) -> LoadError {
        LoadError::tensor(&self.file.path, name, "a tensor of this name", "nothing")
    }
}

fn map_error(path: &Path, length: u64, error: std::io::Error) -> LoadError {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOMEM) {
        return LoadError::memory(path, length);
    }
    let _ = length;
    LoadError::os(path, "map the file", error)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Fault;
    use crate::testing::{Dir, file_of, header_of, safetensors};

    const MAPPED: OpenOptions = OpenOptions { mmap: true };
    const READ: OpenOptions = OpenOptions { mmap: false };

    #[test]
    fn a_sparse_file_with_a_false_header_length_costs_nothing() {
        let dir = Dir::new();
        let path = dir.write("sparse.safetensors", (1_u64 << 40).to_le_bytes());
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 41).unwrap();
        let error = open_safetensors(&path, &MAPPED).unwrap_err();
        assert!(error.to_string().contains("at most 100000000 bytes, found a header length of 1099511627776"), "{error}");
    }

    #[test]
    fn too_large_a_file_is_a_lack_of_resources() {
        let dir = Dir::new();
        let (header, _) = header_of(&[("w", "U8", &[1 << 42])]);
        let path = dir.write("huge.safetensors", file_of(header.as_bytes(), 0));
        let Ok(()) = fs::File::options().write(true).open(&path).unwrap().set_len(8 + header.len() as u64 + (1 << 42)) else {
            return; // The file system has no such long files: nothing to test.
        };
        let error = open_safetensors(&path, &READ).unwrap_err();
        assert_eq!(error.fault(), Fault::Resources, "{error}");
        assert!(open_safetensors(&path, &MAPPED).is_ok_and(|file| file.tensor("w").is_some()));
    }

    #[test]
    fn static_bytes_are_used_in_place() {
        let bytes: &'static [u8] = Box::leak(safetensors(&[("a", "U8", &[3])]).into_boxed_slice());
        let file = safetensors_in_memory(Path::new("built-in"), Cow::Borrowed(bytes)).unwrap();
        assert!(bytes.as_ptr_range().contains(&file.tensor("a").unwrap().bytes().as_ptr()));
    }
}
