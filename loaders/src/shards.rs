//! `model.safetensors.index.json`: which file holds which tensor (formats.md section 3).
//!
//! Not here: the files themselves (`safetensors.rs`). `metadata.total_size` is not checked: writers disagree on what it counts,
//! and every file's own header says exactly how long the file must be.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::checkpoint::{OpenOptions, TensorFile, open_safetensors};
use crate::error::LoadError;
use crate::file::{exists, read_limited};
use crate::safetensors::MAX_HEADER_BYTES;

/// The index, checked as far as it can be without the files.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The distinct file names, in order of appearance.
    files: Vec<String>,
    /// Each tensor's name and the position of its file in `files`, in the order of names.
    tensors: Vec<(Box<str>, usize)>,
}

/// Opens every file that the index lists, once.
///
/// # Errors
/// If the index is malformed or leads out of the folder, or a file is missing, malformed or lacks a tensor it is said to hold.
pub(crate) fn open(folder: &Path, path: &Path, options: &OpenOptions) -> Result<Vec<TensorFile>, LoadError> {
    // The index of a file is no longer than the header of the file it could be.
    let index = parse_index(path, &read_limited(path, MAX_HEADER_BYTES)?)?;
    let mut shards = Vec::new();
    for (position, name) in index.files.iter().enumerate() {
        let shard = folder.join(name);
        if !exists(&shard) {
            let first = index.tensors.iter().find(|(_, file)| *file == position).map_or("", |(tensor, _)| tensor);
            return Err(LoadError::tensor(path, first, format_args!("the file '{name}' in the folder"), "no such file"));
        }
        check_contained(folder, &shard, path)?;
        shards.push(open_safetensors(&shard, options)?);
    }
    for (tensor, position) in &index.tensors {
        if let Some(shard) = shards.get(*position)
            && shard.tensor(tensor).is_none()
        {
            return Err(LoadError::tensor(shard.path(), tensor, "the tensor, as the index says", "nothing"));
        }
    }
    Ok(shards)
}

/// Parses an index.
///
/// # Errors
/// If it is no JSON object with a `weight_map` of strings, names a tensor twice, or a file other than by its bare name.
pub(crate) fn parse_index(path: &Path, json: &[u8]) -> Result<Index, LoadError> {
    let mut parser = IndexParser { path, index: None, failure: None };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed = deserializer.deserialize_map(&mut parser).and_then(|()| deserializer.end());
    if let Some(failure) = parser.failure {
        return Err(failure);
    }
    parsed.map_err(|error| LoadError::file(path, "an index of safetensors files", error))?;
    let Some(mut index) = parser.index else {
        return Err(LoadError::field(path, "weight_map", "an object of file names", "nothing"));
    };
    if index.tensors.is_empty() {
        return Err(LoadError::field(path, "weight_map", "one tensor or more", "none"));
    }
    index.tensors.sort_unstable();
    match index.tensors.iter().zip(index.tensors.iter().skip(1)).find(|((a, _), (b, _))| a == b) {
        Some(((name, _), _)) => Err(LoadError::tensor(path, name, "one file for the tensor", "several entries")),
        None => Ok(index),
    }
}

/// A file name from the index must be bare: a file of the folder, whatever the system's separators.
fn is_bare(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let single = matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == name);
    single && !name.contains(['/', '\\', ':', '\0'])
}

/// The file behind the name must be in the folder, too, unless the folder is a snapshot in the Hugging Face cache, whose files are
/// links to `../../blobs`.
fn check_contained(folder: &Path, shard: &Path, index: &Path) -> Result<(), LoadError> {
    let resolve = |path: &Path| -> Result<PathBuf, LoadError> {
        path.canonicalize().map_err(|error| LoadError::os(path, "resolve the path", error))
    };
    let (home, target) = (resolve(folder)?, resolve(shard)?);
    let blobs = home.parent().and_then(Path::parent).map(|repository| repository.join("blobs"));
    let parent = target.parent();
    if parent == Some(home.as_path()) || (blobs.is_some() && parent == blobs.as_deref()) {
        return Ok(());
    }
    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    Err(LoadError::field(index, "weight_map", format_args!("'{name}' in the folder"), "a link that leads out of it"))
}

struct IndexParser<'p> {
    path: &'p Path,
    index: Option<Index>,
    failure: Option<LoadError>,
}

impl<'de> Visitor<'de> for &mut IndexParser<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key != "weight_map" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.index.is_some() {
                return Err(A::Error::custom("a second `weight_map`"));
            }
            self.index = Some(map.next_value_seed(WeightMap { path: self.path, failure: &mut self.failure })?);
        }
        Ok(())
    }
}

/// The object of `weight_map`. Errors that name a tensor go to `failure`.
struct WeightMap<'p> {
    path: &'p Path,
    failure: &'p mut Option<LoadError>,
}

impl<'de> DeserializeSeed<'de> for WeightMap<'_> {
    type Value = Index;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Index, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for WeightMap<'_> {
    type Value = Index;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of file names as `weight_map`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Index, A::Error> {
        let mut index = Index::default();
        let mut positions: HashMap<String, usize> = HashMap::new();
        while let Some(tensor) = map.next_key::<Box<str>>()? {
            let file = match map.next_value::<String>() {
                Ok(file) => file,
                Err(error) => {
                    let text = error.to_string();
                    *self.failure = Some(LoadError::tensor(self.path, &tensor, "a file name", text));
                    return Err(error);
                }
            };
            let position = match positions.get(&file) {
                Some(&position) => position,
                None if is_bare(&file) => {
                    positions.insert(file.clone(), index.files.len());
                    index.files.push(file);
                    index.files.len() - 1
                }
                None => {
                    let found = format_args!("'{file}'");
                    *self.failure = Some(LoadError::tensor(self.path, &tensor, "the bare name of a file in the folder", found));
                    return Err(A::Error::custom("a wrong file name"));
                }
            };
            index.tensors.push((tensor, position));
        }
        Ok(index)
    }
}
