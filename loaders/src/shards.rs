//! `model.safetensors.index.json`: which file holds which tensor (formats.md section 3).
//!
//! Not here: the files themselves (`safetensors.rs`). `metadata.total_size` is not checked: writers disagree on what it counts,
//! and every file's own header says exactly how long the file must be.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use crate::error::LoadError;
use crate::file::{exists, read_limited};
use crate::safetensors::MAX_HEADER_BYTES;
use crate::tensor_file::{OpenOptions, TensorFile, open_safetensors};

/// The most files that an index may name; the largest models have a few hundred.
const MAX_FILES: usize = 10_000;

/// The index of a model in several files, checked as far as it can be without them.
#[derive(Debug, Default)]
pub struct Index {
    /// The distinct file names, in order of appearance.
    files: Vec<String>,
    /// Each tensor's name and the position of its file in `files`, in the order of names.
    tensors: Vec<(Box<str>, usize)>,
}

impl Index {
    /// The bare names of the distinct files, in order of appearance.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// Each tensor's name and its file's, in the order of the former.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors.iter().filter_map(|(tensor, file)| Some((tensor.as_ref(), self.files.get(*file)?.as_str())))
    }
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

/// Parses an index; `path` stands for it in messages.
///
/// # Errors
/// If it is no JSON object with a `weight_map` of strings, names a tensor twice, or a file other than by its bare name.
pub fn parse_index(path: &Path, json: &[u8]) -> Result<Index, LoadError> {
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
                    if index.files.len() == MAX_FILES {
                        *self.failure =
                            Some(LoadError::field(self.path, "weight_map", format_args!("at most {MAX_FILES} files"), "more"));
                        return Err(A::Error::custom("too many files"));
                    }
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::{Dir, safetensors};

    fn parse(json: &str) -> Result<Index, LoadError> {
        parse_index(Path::new("index.json"), json.as_bytes())
    }

    fn check_refused(json: &str, message: &str) {
        let error = parse(json).unwrap_err().to_string();
        assert!(error.starts_with("index.json: ") && error.contains(message), "{json}: {error}");
    }

    #[test]
    fn an_index_lists_each_file_once() {
        let index = parse(r#"{"metadata": {"total_size": 1}, "weight_map": {"b": "y", "a": "x", "c": "y"}}"#).unwrap();
        assert_eq!(index.files(), ["y", "x"]);
        assert_eq!(index.tensors().collect::<Vec<_>>(), [("a", "x"), ("b", "y"), ("c", "y")]);
    }

    #[test]
    fn malformed_indices_are_refused() {
        check_refused("", "expected an index");
        check_refused("[]", "expected an index");
        check_refused("{", "expected an index");
        check_refused(r#"{"weight_map": {"a": "x"}} x"#, "trailing");
        check_refused("{}", "field 'weight_map': expected an object of file names, found nothing");
        check_refused(r#"{"weight_map": {}}"#, "field 'weight_map': expected one tensor or more");
        check_refused(r#"{"weight_map": []}"#, "`weight_map`");
        check_refused(r#"{"weight_map": {"a": "x"}, "weight_map": {"a": "x"}}"#, "second");
        check_refused(r#"{"weight_map": {"a": 7}}"#, "tensor 'a': expected a file name, found invalid type: integer `7`");
        check_refused(r#"{"weight_map": {"a": null}}"#, "tensor 'a'");
        check_refused(r#"{"weight_map": {"a": "x", "a": "x"}}"#, "tensor 'a': expected one file");
        check_refused(r#"{"weight_map": {"a": "x", "a": "y"}}"#, "tensor 'a': expected one file");
        check_refused(&format!(r#"{{"weight_map": {{"a": {}"#, "[".repeat(100_000)), "tensor 'a'");
    }

    #[test]
    fn only_bare_names_are_accepted() {
        let names = ["", ".", "..", "../x", "/etc/passwd", "a/../../x", "a/b", "x/", "./x", r"..\\x", r"C:x", r"a\u0000b"];
        for name in names {
            check_refused(&format!(r#"{{"weight_map": {{"w": "{name}"}}}}"#), "tensor 'w': expected the bare name");
        }
    }

    #[test]
    fn a_million_entries_open_one_file_once() {
        let map: Vec<String> = (0..1_000_000).map(|n| format!(r#""t{n}":"x""#)).collect();
        let index = parse(&format!(r#"{{"weight_map":{{{}}}}}"#, map.join(","))).unwrap();
        assert_eq!((index.files().len(), index.tensors().count()), (1, 1_000_000));
    }

    fn shards_in(dir: &Dir, map: &str) -> Result<Vec<TensorFile>, LoadError> {
        let index = dir.write("model.safetensors.index.json", format!(r#"{{"weight_map": {map}}}"#));
        open(dir.path(), &index, &OpenOptions::default())
    }

    #[test]
    fn missing_shards_and_tensors_are_named() {
        let dir = Dir::new();
        dir.write("s1", safetensors(&[("a", "F32", &[2])]));
        assert_eq!(shards_in(&dir, r#"{"a": "s1"}"#).unwrap().len(), 1);
        let error = shards_in(&dir, r#"{"a": "s1", "b": "s2"}"#).unwrap_err().to_string();
        assert!(error.ends_with("index.json: tensor 'b': expected the file 's2' in the folder, found no such file"), "{error}");
        let error = shards_in(&dir, r#"{"a": "s1", "b": "s1"}"#).unwrap_err().to_string();
        assert!(error.ends_with("s1: tensor 'b': expected the tensor, as the index says, found nothing"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_may_lead_to_the_blobs_of_a_cache_only() {
        use std::os::unix::fs::symlink;
        let dir = Dir::new();
        let snapshot = dir.path().join("models--a--b/snapshots/0123");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir(dir.path().join("models--a--b/blobs")).unwrap();
        dir.write("models--a--b/blobs/beef", safetensors(&[("a", "F32", &[2])]));
        dir.write("outside", safetensors(&[("a", "F32", &[2])]));
        let index = snapshot.join("model.safetensors.index.json");
        fs::write(&index, r#"{"weight_map": {"a": "s1"}}"#).unwrap();
        let shard = snapshot.join("s1");
        let open_shards = || open(&snapshot, &index, &OpenOptions::default());

        symlink("../../blobs/beef", &shard).unwrap();
        assert_eq!(open_shards().unwrap().len(), 1);
        for target in ["../../../outside", "/etc/passwd"] {
            fs::remove_file(&shard).unwrap();
            symlink(target, &shard).unwrap();
            let error = open_shards().unwrap_err().to_string();
            assert!(error.contains("'s1' in the folder, found a link that leads out of it"), "{error}");
        }
        fs::remove_file(&shard).unwrap();
        symlink("s1", &shard).unwrap();
        assert_eq!(open_shards().unwrap_err().fault(), crate::Fault::Input);
    }
}
