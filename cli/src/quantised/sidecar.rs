//! `Sidecar`: the GGUF file in the cache folder in which `--quant` keeps the quantised matrices of one checkpoint, to be mapped at the next start.
//!
//! It holds nothing else of the model, rows in the order of the original's (multiplied by Hadamard matrices where the choice says so: the file
//! does not), and a key: a hash of what the original's files were, of the choice, and of what the encoders make of a sample. A file with another
//! key was made of other weights or by another version, and is replaced. The key does not read all weights, which would take longer than
//! mapping the file saves: of each of the original's files it counts path, length, time of change, number in the file system, all names, types
//! and shapes, and the first bytes. Not here: encoding, and what happens where the file cannot be kept (`mod.rs`).

use std::collections::BTreeSet;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use infer_kernels::{DType, Kernels};
use infer_loaders::{
    Checkpoint, GGUF_ALIGNMENT, GgufHeader, GgufValue, LoadError, OpenOptions, Tensor, TensorType, open_gguf_tensors,
};

use super::{Part, Quant};
use crate::fingerprint;
use crate::output_file::OutputFile;
use crate::report::Failure;

/// The variable that names the folder of caches (the XDG Base Directory Specification), and the folder in a home without it.
const CACHE_VARIABLE: &str = "XDG_CACHE_HOME";
const CACHE_FOLDER: &str = ".cache";
/// The folder for this program in it, and for these files in that.
const OWN_FOLDER: [&str; 2] = ["infer", "quantised"];

/// What the file says that it is. No architecture that other programs know: it is no whole model.
const ARCHITECTURE: &str = "infer-quantised-matrices";
const KEY: &str = "infer.quantised.key";
const ORIGINAL: &str = "infer.quantised.original";

/// The number of the way in which the file is laid out and the key is made.
const VERSION: u32 = 1;

/// Bytes of each file's weights that the key counts.
const SAMPLE_BYTES: usize = 4096;
/// Weights that the encoders are tried on for the key.
const SAMPLE_WEIGHTS: usize = 2048;
/// The longest part of the file's name that tells a person whose it is.
const MAX_STEM: usize = 64;
/// A file that another start is writing is younger than this, or locked.
const LEFTOVER_AGE: Duration = Duration::from_secs(60);

/// The file for one checkpoint and choice of formats, there or not.
pub(super) struct Sidecar {
    path: PathBuf,
    key: String,
    original: String,
}

/// The file while it is written.
pub(super) struct NewSidecar {
    file: OutputFile,
    /// Bytes of each tensor, the next one first.
    lengths: std::vec::IntoIter<usize>,
    /// Bytes of the tensor at hand that are still to come.
    rest: usize,
    /// Bytes that follow them up to where the next begins.
    padding: usize,
}

impl Sidecar {
    /// Where the file is for `checkpoint`, and what must be in it.
    ///
    /// # Errors
    /// If no folder for it is known.
    pub(super) fn new(checkpoint: &Checkpoint, quant: Quant, parts: &[Part<'_>]) -> Result<Sidecar, Failure> {
        let folder = cache_folder().ok_or_else(|| {
            Failure::input(format!("cache: expected a folder in {CACHE_VARIABLE} or HOME that begins at the root, found neither"))
        })?;
        let canonical = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let original = canonical(checkpoint.path());
        let place = fingerprint::of_bytes(format!("{} {:?}", quant.name, original.as_os_str()).as_bytes());
        let name = format!("{}-{}-{place:016x}.gguf", stem(checkpoint.path()), quant.name);
        let key = key(checkpoint, quant, parts, &canonical);
        Ok(Sidecar { path: folder.join(name), key: format!("{key:016x}"), original: original.display().to_string() })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The matrices in the place of those of the original; none if the file is not there, or was made of other weights or by another
    /// version.
    ///
    /// # Errors
    /// If it is damaged, no such file, or cannot be mapped.
    pub(super) fn read(&self, parts: &[Part<'_>], mmap: bool) -> Result<Option<Vec<Tensor>>, LoadError> {
        if fs::symlink_metadata(&self.path).is_err() {
            return Ok(None);
        }
        let (texts, file) = open_gguf_tensors(&self.path, &OpenOptions { mmap })?;
        match texts.get(KEY) {
            Some(key) if *key == self.key => {}
            Some(_) => return Ok(None),
            None => return Err(file.missing_key(KEY)),
        }
        if let Some(other) = file.tensors().find(|tensor| !parts.iter().any(|part| part.tensor.name() == tensor.name())) {
            return Err(other.error("no such tensor", "it"));
        }
        let tensor = |part: &Part<'_>| {
            let tensor = file.tensor(part.tensor.name()).ok_or_else(|| file.missing_tensor(part.tensor.name()))?;
            if tensor.dtype() != TensorType::Weights(part.dtype) {
                return Err(tensor.error(part.dtype, tensor.dtype()));
            }
            if tensor.shape() != part.tensor.shape() {
                let expected = format!("shape {:?}", part.tensor.shape());
                return Err(tensor.error(expected, format_args!("{:?}", tensor.shape())));
            }
            Ok(tensor.clone().with_hadamard(part.hadamard))
        };
        parts.iter().map(tensor).collect::<Result<_, _>>().map(Some)
    }

    /// Begins a new file; the one that is there, if any, stays until that is whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn create(&self, parts: &[Part<'_>]) -> Result<NewSidecar, Failure> {
        if let Some(folder) = self.path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true);
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.create(folder).map_err(|error| Failure::write(self.path.display(), &error))?;
            self.remove_leftovers(folder);
        }
        let mut header = GgufHeader::default();
        header.key("general.architecture", GgufValue::Text(ARCHITECTURE.to_owned()));
        header.key(KEY, GgufValue::Text(self.key.clone()));
        header.key(ORIGINAL, GgufValue::Text(self.original.clone()));
        for part in parts {
            let too_large =
                || Failure::input(format!("{}: '{}': expected a size that a file can have", self.original, part.name));
            header.tensor(&part.name, part.tensor.shape(), part.dtype).ok_or_else(too_large)?;
        }
        let mut file = OutputFile::create_private(&self.path)?;
        file.write(&header.to_bytes())?;
        let lengths = parts.iter().map(|part| part.n_bytes).collect::<Vec<_>>().into_iter();
        Ok(NewSidecar { file, lengths, rest: 0, padding: 0 })
    }

    /// Removes what starts that were killed left of this file.
    fn remove_leftovers(&self, folder: &Path) {
        let begin = format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy());
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_part = name.to_str().is_some_and(|name| name.starts_with(&begin) && name.ends_with(".part"));
            let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
            if is_part
                && age().is_some_and(|age| age > LEFTOVER_AGE)
                && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok())
            {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// The failure where the file that was just written is another one.
    pub(super) fn replaced(&self) -> Failure {
        Failure::input(format!("{}: expected the file that was just written, found another", self.path.display()))
    }
}

impl NewSidecar {
    /// Writes the next bytes of the tensors, of which none ends within.
    ///
    /// # Errors
    /// Those of [`OutputFile::write`].
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.rest == 0 {
            self.file.write(&vec![0; self.padding])?;
            self.rest = self.lengths.next().unwrap_or(bytes.len());
            self.padding = padding(self.rest);
        }
        self.rest = self.rest.saturating_sub(bytes.len());
        self.file.write(bytes)
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// Those of [`OutputFile::finish`].
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.file.write(&vec![0; self.padding])?;
        self.file.finish()
    }
}

/// Zeros between a tensor of this many bytes and the next.
fn padding(n_bytes: usize) -> usize {
    n_bytes.next_multiple_of(GGUF_ALIGNMENT as usize) - n_bytes
}

/// Where these files are kept; none if the environment does not say. A path that does not begin at the root counts for nothing, as the
/// specification has it.
fn cache_folder() -> Option<PathBuf> {
    let folder = |variable: &str| env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder(CACHE_VARIABLE).or_else(|| Some(folder("HOME")?.join(CACHE_FOLDER)))?;
    Some(OWN_FOLDER.iter().fold(cache, |path, name| path.join(name)))
}

/// The name of the model in the file's, of letters that file systems take.
fn stem(path: &Path) -> String {
    let stem = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let stem: String = stem.chars().take(MAX_STEM).map(plain).collect();
    if stem.is_empty() { "model".to_owned() } else { stem }
}

/// The hash of what must be the same for a file to serve.
fn key(checkpoint: &Checkpoint, quant: Quant, parts: &[Part<'_>], canonical: &dyn Fn(&Path) -> PathBuf) -> u64 {
    let mut facts = format!("{VERSION} {} {}\n", quant.name, parts.len());
    let mut add = |fact: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(facts, "{fact}");
    };
    let mut is_on_disk = true;
    for (path, identity) in checkpoint.file_identities() {
        is_on_disk &= identity.is_some();
        add(format_args!("{:?} {identity:?}", canonical(path).as_os_str()));
        if let Some(first) = checkpoint.tensors().find(|tensor| tensor.file() == path) {
            let sample = first.bytes().get(..SAMPLE_BYTES).unwrap_or(first.bytes());
            add(format_args!("{:016x}", fingerprint::of_bytes(sample)));
        }
    }
    for tensor in checkpoint.tensors() {
        add(format_args!("{:?} {} {:?}", tensor.name(), tensor.dtype(), tensor.shape()));
    }
    for part in parts {
        add(format_args!("{} {} {}", part.name, part.dtype, part.hadamard));
    }
    for dtype in parts.iter().map(|part| part.dtype).collect::<BTreeSet<_>>() {
        add(format_args!("{dtype} {:016x}", of_encoder(dtype)));
    }
    if !is_on_disk {
        // A model that is part of the program is small, and has no time of change.
        add(format_args!("{:016x}", fingerprint::of_model("", checkpoint, 1)));
    }
    fingerprint::of_bytes(facts.as_bytes())
}

/// A hash of what the encoder of a format makes of a sample: it changes when the encoder does.
fn of_encoder(dtype: DType) -> u64 {
    let mut state = 0_u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    let sample: Vec<f32> = (0..SAMPLE_WEIGHTS).map(|_| uniform() + uniform() + uniform()).collect();
    let mut encoded = vec![0; dtype.row_bytes(SAMPLE_WEIGHTS).unwrap_or_default()];
    Kernels::detect().encode(dtype, &sample, &mut encoded);
    fingerprint::of_bytes(&encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_plain_letters() {
        assert_eq!(stem(Path::new("/models/Llama 3.2/é\n.gguf")), "--");
        assert_eq!(stem(Path::new("SmolLM2-135M.gguf")), "SmolLM2-135M");
        assert_eq!(stem(Path::new("/")), "model");
        assert_eq!(stem(Path::new(&"x".repeat(300))).len(), MAX_STEM);
    }

    #[test]
    fn encoders_have_hashes_of_their_own() {
        let hashes: BTreeSet<u64> = [DType::Q8_0, DType::Q4K, DType::Q6K, DType::Q5_0].into_iter().map(of_encoder).collect();
        assert_eq!(hashes.len(), 4);
    }
}
