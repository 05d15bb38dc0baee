//! `Checkpoint`: a model's files behind one lookup by name.
//!
//! Not here: one file with its tensors (`tensor_file.rs`), the syntax of the files (`safetensors.rs`, `shards.rs`, `metadata.rs`,
//! `tokenizer.rs`), and what a tensor is for: this crate knows tensors, never layers.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::chat_template::ChatTemplates;
use crate::error::LoadError;
use crate::file::{FileIdentity, exists};
use crate::gguf::{self, GgufValue, Vocabulary};
use crate::location::Location;
use crate::metadata::Metadata;
use crate::shards;
use crate::tensor::{Tensor, Tensors};
use crate::tensor_file::{OpenOptions, TensorFile, open_safetensors, safetensors_in_memory};
use crate::tokenizer::Tokenizer;
use crate::weight_file::WeightFile;

/// The single weight file of a folder in Hugging Face layout.
const SINGLE_FILE: &str = "model.safetensors";
/// The list of weight files where there are several.
const INDEX_FILE: &str = "model.safetensors.index.json";
/// How the model's makers would generate; it may be missing.
const GENERATION_CONFIG: &str = "generation_config.json";

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
            if !self.files.iter().any(|file| Arc::ptr_eq(file, tensor.weight_file())) {
                self.files.push(Arc::clone(tensor.weight_file()));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Fault;
    use crate::testing::{Dir, safetensors};

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
