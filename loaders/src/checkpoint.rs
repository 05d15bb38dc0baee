//! `Checkpoint` and `Tensor`: a model's files behind one lookup by name.
//!
//! Not here: the syntax of the files (`safetensors.rs`, `shards.rs`, `metadata.rs`, `tokenizer.rs`), and what a tensor is for: this
//! crate knows tensors, never layers.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use infer_kernels::DType;

use crate::buffer::{Aligned, Buffer};
use crate::chat_template::ChatTemplates;
use crate::error::LoadError;
use crate::extent::Extent;
use crate::file::{FileIdentity, exists, open_regular, read_exactly};
use crate::gguf::{self, GgufValue, Vocabulary};
use crate::location::Location;
use crate::metadata::Metadata;
use crate::mmap::Mapping;
use crate::safetensors::{self, Entry, PREFIX_BYTES, TensorType};
use crate::shards;
use crate::tokenizer::Tokenizer;

/// The single weight file of a folder in Hugging Face layout.
const SINGLE_FILE: &str = "model.safetensors";
/// The list of weight files where there are several.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// How the model's makers would generate; it may be missing.
const GENERATION_CONFIG: &str = "generation_config.json";

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

/// A model: its settings and its tensors.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    /// Where the files beside the weights are.
    folder: Location,
    config: Metadata,
    generation_config: Option<Metadata>,
    files: Vec<Arc<WeightFile>>,
    tensors: Tensors,
    /// What a GGUF file says of its tokenizer; none in a folder, whose tokenizer has files of its own.
    vocabulary: Option<Vocabulary>,
    /// What a GGUF file says of where the model is from: keys and texts.
    about: Vec<(String, String)>,
    is_gguf: bool,
}

/// One safetensors file by itself, such as a file of reference logits.
#[derive(Debug)]
pub struct TensorFile {
    file: Arc<WeightFile>,
    tensors: Tensors,
}

/// A named tensor. Cloning is cheap: clones share the file's bytes.
#[derive(Clone)]
pub struct Tensor(Arc<TensorInner>);

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
struct Tensors(Vec<Tensor>);

#[derive(Debug)]
struct WeightFile {
    path: PathBuf,
    buffer: Buffer,
    /// What to compare with later; `None` where the bytes are our own.
    opened: Option<Opened>,
    /// Which file it is; `None` where it is none.
    identity: Option<FileIdentity>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

/// Opens a model: a folder in Hugging Face layout (`config.json` and `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists), a single `.safetensors` file with `config.json` beside it, a GGUF file (of a split model, the
/// first), or a folder that is part of the program.
///
/// # Errors
/// If a file is missing, malformed, changes meanwhile, cannot be mapped, or does not fit in memory (`mmap: false`).
pub fn open(model: impl Into<Location>, options: &OpenOptions) -> Result<Checkpoint, LoadError> {
    let model = model.into();
    let (folder, shards) = match &model {
        Location::BuiltIn(built_in) => {
            let weights = Cow::Borrowed(built_in.read(SINGLE_FILE)?);
            (model.clone(), vec![safetensors_in_memory(&model.join(SINGLE_FILE), weights)?])
        }
        Location::Path(path) => {
            let metadata = std::fs::metadata(path).map_err(|error| LoadError::os(path, "find the model", error))?;
            if metadata.is_dir() {
                (model.clone(), open_folder(path, options)?)
            } else if gguf::is_gguf(path)? {
                return gguf::open(path, options);
            } else {
                (Location::from(path.parent().unwrap_or(path)), vec![open_safetensors(path, options)?])
            }
        }
    };
    let config = Metadata::of_folder(&folder, "config.json")?;
    let has_defaults = folder.has(GENERATION_CONFIG);
    let generation_config = has_defaults.then(|| Metadata::of_folder(&folder, GENERATION_CONFIG)).transpose()?;
    let files = shards.iter().map(|shard| Arc::clone(&shard.file)).collect();
    let tensors = Tensors::merge(shards)?;
    let path = model.path().to_owned();
    Ok(Checkpoint {
        path,
        folder,
        config,
        generation_config,
        files,
        tensors,
        vocabulary: None,
        about: Vec::new(),
        is_gguf: false,
    })
}

/// Opens the tokenizer of a model that [`open`] takes, without its weights.
///
/// # Errors
/// Those of [`Checkpoint::tokenizer`].
pub fn open_tokenizer(model: impl Into<Location>) -> Result<Tokenizer, LoadError> {
    match model.into() {
        Location::Path(path) if path.is_dir() => Tokenizer::open(&path),
        Location::Path(path) if gguf::is_gguf(&path)? => gguf::open_vocabulary(&path)?.tokenizer(),
        Location::Path(path) => Tokenizer::open(path.parent().unwrap_or(&path)),
        built_in => Tokenizer::open(built_in),
    }
}

/// Opens the chat templates of a model that [`open`] takes, without its weights.
///
/// # Errors
/// Those of [`Checkpoint::chat_templates`].
pub fn open_chat_templates(model: impl Into<Location>) -> Result<ChatTemplates, LoadError> {
    match model.into() {
        Location::Path(path) if path.is_dir() => ChatTemplates::of(&path),
        Location::Path(path) if gguf::is_gguf(&path)? => gguf::open_vocabulary(&path)?.chat_templates(),
        Location::Path(path) => ChatTemplates::of(path.parent().unwrap_or(&path)),
        built_in => ChatTemplates::of(built_in),
    }
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

impl Checkpoint {
    /// The checkpoint of GGUF files; `path` is the first.
    pub(crate) fn of_gguf(
        path: &Path,
        config: Metadata,
        files: Vec<TensorFile>,
        (vocabulary, about): (Option<Vocabulary>, Vec<(String, String)>),
    ) -> Result<Checkpoint, LoadError> {
        let folder = Location::from(path.parent().unwrap_or(path));
        let weight_files = files.iter().map(|file| Arc::clone(&file.file)).collect();
        let (path, tensors) = (path.to_owned(), Tensors::merge(files)?);
        Ok(Checkpoint {
            path,
            folder,
            config,
            generation_config: None,
            files: weight_files,
            tensors,
            vocabulary,
            about,
            is_gguf: true,
        })
    }

    /// The path that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is part of the program.
    pub fn is_built_in(&self) -> bool {
        matches!(self.folder, Location::BuiltIn(_))
    }

    /// `config.json`.
    pub fn config(&self) -> &Metadata {
        &self.config
    }

    /// `generation_config.json`, if the model has one.
    pub fn generation_config(&self) -> Option<&Metadata> {
        self.generation_config.as_ref()
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, in the order of their names.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.0.iter()
    }

    /// Number of tensors.
    pub fn n_tensors(&self) -> usize {
        self.tensors.0.len()
    }

    /// Bytes of all tensors together.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors().map(|tensor| tensor.bytes().len() as u64).sum()
    }

    /// Bytes of the tensors that are in mapped files, which the system may drop and read again.
    pub fn mapped_bytes(&self) -> u64 {
        self.tensors().filter(|tensor| tensor.is_mapped()).map(|tensor| tensor.bytes().len() as u64).sum()
    }

    /// The files that hold the tensors.
    pub fn weight_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The same files, each with what tells it from others; none where it is no file but part of the program.
    pub fn file_identities(&self) -> impl Iterator<Item = (&Path, Option<FileIdentity>)> {
        self.files.iter().map(|file| (file.path.as_path(), file.identity))
    }

    /// The same model with `tensors` in the place of those that have their names. The files of both are its files.
    pub fn with_tensors(mut self, tensors: impl IntoIterator<Item = Tensor>) -> Checkpoint {
        for tensor in tensors {
            if !self.files.iter().any(|file| Arc::ptr_eq(file, &tensor.0.file)) {
                self.files.push(Arc::clone(&tensor.0.file));
            }
            if let Ok(at) = self.tensors.find(tensor.name())
                && let Some(place) = self.tensors.0.get_mut(at)
            {
                *place = tensor;
            }
        }
        self
    }

    /// The same model with every tensor that is in a mapped file copied: what happens to the files afterwards does not matter.
    ///
    /// # Errors
    /// If memory is short.
    pub fn into_memory(mut self) -> Result<Checkpoint, LoadError> {
        for tensor in &mut self.tensors.0 {
            if tensor.is_mapped() {
                *tensor = tensor.with_rows(|row| row)?;
            }
        }
        for file in self.files.iter_mut().filter(|file| matches!(file.buffer, Buffer::Mapped(_))) {
            let (path, identity) = (file.path.clone(), file.identity);
            *file = Arc::new(WeightFile { path, buffer: Buffer::Static(&[]), opened: None, identity });
        }
        Ok(self)
    }

    /// Reads `tokenizer.json` and `tokenizer_config.json`, or makes the tokenizer that a GGUF file describes. This is not done before: a
    /// comparison of logits needs none.
    ///
    /// # Errors
    /// If `tokenizer.json`, or a GGUF file's vocabulary, is missing, or something is malformed.
    pub fn tokenizer(&self) -> Result<Tokenizer, LoadError> {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.tokenizer(),
            None if self.is_gguf => Err(gguf::missing_vocabulary(&self.path)),
            None => Tokenizer::open(self.folder.clone()),
        }
    }

    /// Whether there is a tokenizer, be it a wrong one.
    pub fn has_tokenizer(&self) -> bool {
        if self.is_gguf { self.vocabulary.is_some() } else { self.folder.has("tokenizer.json") }
    }

    /// Reads the chat templates, which few commands need.
    ///
    /// # Errors
    /// If there are none, or one is malformed.
    pub fn chat_templates(&self) -> Result<ChatTemplates, LoadError> {
        match &self.vocabulary {
            Some(vocabulary) => vocabulary.chat_templates(),
            None if self.is_gguf => Err(gguf::missing_vocabulary(&self.path)),
            None => ChatTemplates::of(self.folder.clone()),
        }
    }

    /// The tokenizer and chat template as the keys of a GGUF file, with a token for each of the embedding's `n_rows` rows; none if the model
    /// has no tokenizer. `bos_id` and `eos_id` count where the tokenizer names no such tokens.
    ///
    /// # Errors
    /// If the tokenizer is malformed or of a kind that GGUF files do not have.
    pub fn gguf_vocabulary(
        &self,
        n_rows: usize,
        bos_id: Option<u32>,
        eos_id: Option<u32>,
    ) -> Result<Option<Vec<(&'static str, GgufValue)>>, LoadError> {
        match &self.vocabulary {
            Some(vocabulary) => Ok(Some(vocabulary.keys())),
            None if !self.has_tokenizer() => Ok(None),
            None => Ok(Some(Vocabulary::of_folder(&self.folder, n_rows, bos_id, eos_id)?.keys())),
        }
    }

    /// What the model's file says of where it is from, under which licence, and the like: keys of GGUF that begin with `general.`, and
    /// texts.
    pub fn about(&self) -> &[(String, String)] {
        &self.about
    }

    /// Compares the mapped files with what they were when they were opened.
    ///
    /// # Errors
    /// If the length or the modification time of one differs ([`Fault::Io`](crate::Fault::Io)).
    pub fn verify_unchanged(&self) -> Result<(), LoadError> {
        self.files.iter().try_for_each(|file| file.verify_unchanged())
    }

    /// The error for a tensor that the model needs and no file has.
    pub fn missing_tensor(&self, name: &str) -> LoadError {
        // With one file, name it; with shards, the folder they are in.
        let path = match self.files.as_slice() {
            [file] => file.path.as_path(),
            _ => self.folder.path(),
        };
        LoadError::tensor(path, name, "a tensor of this name", "nothing")
    }
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
            let opened = Opened { file, length, modified: metadata.modified().ok() };
            let file = WeightFile { path: path_buf, buffer: Buffer::Mapped(map), opened: Some(opened), identity };
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

impl Tensors {
    /// All tensors of several files.
    fn merge(files: Vec<TensorFile>) -> Result<Tensors, LoadError> {
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
    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|tensor| tensor.name().cmp(name))
    }

    fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(self.find(name).ok()?)
    }
}

impl Tensor {
    fn new(file: &Arc<WeightFile>, entry: Entry, data_begin: u64) -> Result<Tensor, LoadError> {
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
        Ok(Tensor(Arc::new(TensorInner { name, dtype, shape, file: Arc::clone(file), data })))
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The type of the elements.
    pub fn dtype(&self) -> TensorType {
        self.0.dtype
    }

    /// The dimensions, slowest first; none for a single number.
    pub fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// The file that the tensor is in.
    pub fn file(&self) -> &Path {
        &self.0.file.path
    }

    /// The elements as they lie in the file, little-endian and row-major. For a weight type, the first byte is aligned for it.
    pub fn bytes(&self) -> &[u8] {
        match &self.0.data {
            Data::InPlace(extent) => self.0.file.buffer.bytes().get(extent.range()).unwrap_or_default(),
            Data::Copied(copy) => copy.bytes(),
        }
    }

    fn is_mapped(&self) -> bool {
        matches!((&self.0.data, &self.0.file.buffer), (Data::InPlace(_), Buffer::Mapped(_)))
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
        let TensorInner { name, shape, file, .. } = &*self.0;
        let (name, shape, file) = (name.clone(), shape.clone(), Arc::clone(file));
        let data = Data::Copied(Aligned::of(self.file(), data)?);
        Ok(Tensor(Arc::new(TensorInner { name, dtype: TensorType::Weights(dtype), shape, file, data })))
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
        let TensorInner { name, dtype, shape, file, .. } = &*self.0;
        let (name, shape, file) = (name.clone(), shape.clone(), Arc::clone(file));
        Ok(Tensor(Arc::new(TensorInner { name, dtype: *dtype, shape, file, data: Data::Copied(data) })))
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

impl WeightFile {
    /// Copies a tensor to aligned memory. Of a mapped file it reads the file, not the map: the pages of the map would stay
    /// resident beside the copy.
    fn copy(&self, extent: Extent) -> Result<Aligned, LoadError> {
        match &self.opened {
            Some(Opened { file, .. }) => {
                let mut file = file;
                file.seek(SeekFrom::Start(extent.begin() as u64))
                    .map_err(|error| LoadError::os(&self.path, "read the file", error))?;
                Aligned::read(&self.path, file, extent.len())
            }
            None => {
                let bytes = self.buffer.bytes().get(extent.range()).unwrap_or_default();
                Aligned::read(&self.path, bytes, extent.len())
            }
        }
    }

    fn verify_unchanged(&self) -> Result<(), LoadError> {
        let Some(opened) = &self.opened else {
            return Ok(());
        };
        let now = opened.file.metadata().map_err(|error| LoadError::os(&self.path, "read the file's size", error))?;
        if now.len() != opened.length {
            let found = format_args!("{} bytes instead of {}", now.len(), opened.length);
            return Err(LoadError::changed(&self.path, found));
        }
        if now.modified().ok() != opened.modified {
            return Err(LoadError::changed(&self.path, "a newer modification time"));
        }
        Ok(())
    }
}

/// The weight files of a folder: the single file if there is one, else the shards; that order is Hugging Face's.
fn open_folder(folder: &Path, options: &OpenOptions) -> Result<Vec<TensorFile>, LoadError> {
    let single = folder.join(SINGLE_FILE);
    if exists(&single) {
        return Ok(vec![open_safetensors(&single, options)?]);
    }
    let index = folder.join(INDEX_FILE);
    if exists(&index) {
        return shards::open(folder, &index, options);
    }
    let found = if exists(&folder.join("pytorch_model.bin")) || exists(&folder.join("pytorch_model.bin.index.json")) {
        "pytorch_model.bin only, whose format can run code: convert it to safetensors"
    } else {
        "neither"
    };
    Err(LoadError::file(folder, format_args!("{SINGLE_FILE} or {INDEX_FILE} in the folder"), found))
}

fn map_error(path: &Path, length: u64, error: std::io::Error) -> LoadError {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ENOMEM) {
        return LoadError::memory(path, length);
    }
    let _ = length;
    LoadError::os(path, "map the file", error)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Fault;
    use crate::testing::{Dir, file_of, header_of, safetensors};

    const MAPPED: OpenOptions = OpenOptions { mmap: true };
    const READ: OpenOptions = OpenOptions { mmap: false };

    fn model() -> Dir {
        let dir = Dir::new();
        dir.write("config.json", r#"{"model_type": "llama"}"#);
        dir.write("model.safetensors", safetensors(&[("a", "F32", &[2]), ("b", "BF16", &[3])]));
        dir
    }

    fn message(result: Result<Checkpoint, LoadError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_folder_and_a_file_open_alike() {
        let dir = model();
        for options in [MAPPED, READ] {
            for path in [dir.path().to_owned(), dir.path().join("model.safetensors")] {
                let checkpoint = open(&path, &options).unwrap();
                assert_eq!(checkpoint.config().text("model_type").unwrap(), Some("llama"));
                assert_eq!((checkpoint.n_tensors(), checkpoint.weight_bytes()), (2, 14));
                assert_eq!(checkpoint.tensor("a").unwrap().shape(), [2]);
                assert!(checkpoint.tensor("c").is_none() && checkpoint.generation_config().is_none());
                assert_eq!(checkpoint.weight_files().collect::<Vec<_>>(), [dir.path().join("model.safetensors")]);
                let missing = checkpoint.missing_tensor("c").to_string();
                assert!(
                    missing.ends_with("model.safetensors: tensor 'c': expected a tensor of this name, found nothing"),
                    "{missing}"
                );
            }
        }
    }

    #[test]
    fn the_single_file_comes_before_the_shards() {
        let dir = model();
        dir.write("model.safetensors.index.json", "nonsense");
        assert_eq!(open(dir.path(), &MAPPED).unwrap().n_tensors(), 2);
        dir.write("generation_config.json", r#"{"eos_token_id": [1, 2]}"#);
        let checkpoint = open(dir.path(), &MAPPED).unwrap();
        assert_eq!(checkpoint.generation_config().unwrap().ids("eos_token_id").unwrap(), Some(vec![1, 2]));
    }

    #[test]
    fn shards_are_one_checkpoint() {
        let dir = Dir::new();
        dir.write("config.json", "{}");
        dir.write("s1", safetensors(&[("b", "F32", &[2])]));
        dir.write("s2", safetensors(&[("a", "F32", &[2]), ("c", "F32", &[1])]));
        dir.write("model.safetensors.index.json", r#"{"weight_map": {"a": "s2", "b": "s1", "c": "s2"}}"#);
        let checkpoint = open(dir.path(), &MAPPED).unwrap();
        assert_eq!(checkpoint.tensors().map(Tensor::name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(checkpoint.weight_files().count(), 2);
        assert!(checkpoint.tensor("b").unwrap().file().ends_with("s1"));

        dir.write("s1", safetensors(&[("b", "F32", &[2]), ("c", "F32", &[1])]));
        let message = message(open(dir.path(), &MAPPED));
        assert!(message.contains("tensor 'c': expected the tensor in one file, found it in s"), "{message}");
    }

    #[test]
    fn what_is_no_model_is_refused_by_name() {
        let dir = Dir::new();
        assert!(message(open(&dir.path().join("none"), &MAPPED)).contains("none: expected to find the model, found: "));
        assert!(
            message(open(dir.path(), &MAPPED))
                .contains("expected model.safetensors or model.safetensors.index.json in the folder")
        );
        dir.write("pytorch_model.bin", "");
        assert!(message(open(dir.path(), &MAPPED)).contains("found pytorch_model.bin only"));
        let gguf = dir.write("m.gguf", b"GGUF\x03\0\0\0");
        assert!(message(open(&gguf, &MAPPED)).contains("m.gguf: expected a GGUF header within 8 bytes, found one that goes on"));
        dir.write("model.safetensors", safetensors(&[]));
        assert!(message(open(dir.path(), &MAPPED)).contains("config.json: expected to find the file"));
        dir.write("config.json", vec![b' '; 5 << 20]);
        assert!(message(open(dir.path(), &MAPPED)).contains("config.json: expected at most 4194304 bytes"));
    }

    #[cfg(unix)]
    #[test]
    fn special_files_are_refused_without_waiting() {
        let dir = Dir::new();
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is part of every Unix");
        assert!(made.success());
        for (path, found) in
            [(fifo.as_path(), "a FIFO"), (Path::new("/dev/zero"), "a device"), (Path::new("/dev/null"), "a device")]
        {
            let error = open(path, &MAPPED).unwrap_err();
            assert!(error.to_string().ends_with(&format!("expected a regular file, found {found}")), "{error}");
            assert_eq!(error.fault(), Fault::Input);
        }
        assert!(open_safetensors(dir.path(), &MAPPED).unwrap_err().to_string().ends_with("found a directory"));
        std::os::unix::fs::symlink(&fifo, dir.path().join("model.safetensors")).unwrap();
        dir.write("config.json", "{}");
        assert!(message(open(dir.path(), &READ)).ends_with("found a FIFO"));
    }

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
            let copied = matches!(mapped.tensor("a").unwrap().0.data, Data::Copied(_));
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

    #[test]
    fn static_bytes_are_used_in_place() {
        let bytes: &'static [u8] = Box::leak(safetensors(&[("a", "U8", &[3])]).into_boxed_slice());
        let file = safetensors_in_memory(Path::new("built-in"), Cow::Borrowed(bytes)).unwrap();
        assert!(bytes.as_ptr_range().contains(&file.tensor("a").unwrap().bytes().as_ptr()));
    }

    #[test]
    fn a_file_that_changes_is_noticed_if_it_is_mapped() {
        let dir = model();
        let path = dir.path().join("model.safetensors");
        let (mapped, read) = (open(dir.path(), &MAPPED).unwrap(), open(dir.path(), &READ).unwrap());
        mapped.verify_unchanged().unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap() + std::time::Duration::from_secs(3);
        fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let error = mapped.verify_unchanged().unwrap_err();
        assert_eq!(error.fault(), Fault::Io);
        assert!(error.to_string().contains("changed while in use"), "{error}");
        fs::File::options().append(true).open(&path).unwrap().set_len(1000).unwrap();
        assert!(mapped.verify_unchanged().unwrap_err().to_string().contains("1000 bytes instead of"));
        read.verify_unchanged().unwrap();
        // Another file under the old name is no change: the map keeps the old file.
        let again = open_safetensors(&dir.write("x", safetensors(&[("a", "F32", &[1])])), &MAPPED).unwrap();
        fs::rename(&path, dir.path().join("x")).unwrap();
        again.file.verify_unchanged().unwrap();
    }
}
