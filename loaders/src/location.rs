//! `Location`: where the files of a model are, and reading the small ones by name.
//!
//! Not here: weight files, which are mapped (`tensor_file.rs`), and what any file means.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use crate::error::LoadError;
use crate::file::{exists, read_limited};

/// Where the files of a model are.
#[derive(Clone, Debug)]
pub enum Location {
    /// On disk: a folder in Hugging Face layout, or one of the files that [`open`](crate::open) takes.
    Path(PathBuf),
    /// In the program.
    BuiltIn(&'static BuiltIn),
}

/// A folder in Hugging Face layout that is part of the program.
#[derive(Debug)]
pub struct BuiltIn {
    /// What stands for its path in messages.
    pub name: &'static str,
    /// Name and content of each file, `config.json` and `model.safetensors` among them. Weights are used in place where their address
    /// allows.
    pub files: &'static [(&'static str, &'static [u8])],
}

impl Location {
    /// The path, or what stands for it.
    pub fn path(&self) -> &Path {
        match self {
            Location::Path(path) => path,
            Location::BuiltIn(built_in) => Path::new(built_in.name),
        }
    }

    /// The folder's file of this name, for messages.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Whether the folder has a file of this name, whatever it is.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Location::Path(path) => exists(&path.join(name)),
            Location::BuiltIn(built_in) => built_in.find(name).is_some(),
        }
    }

    /// Reads the folder's file of this name, of at most `limit` bytes.
    ///
    /// # Errors
    /// If it is not there, is longer, cannot be read, or memory is short.
    pub(crate) fn read(&self, name: &str, limit: u64) -> Result<Cow<'static, [u8]>, LoadError> {
        match self {
            Location::Path(path) => Ok(Cow::Owned(read_limited(&path.join(name), limit)?)),
            Location::BuiltIn(built_in) => built_in.read(name).map(Cow::Borrowed),
        }
    }
}

impl BuiltIn {
    fn find(&self, name: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
    }

    /// The content of a file.
    ///
    /// # Errors
    /// If there is none of this name.
    pub(crate) fn read(&self, name: &str) -> Result<&'static [u8], LoadError> {
        self.find(name).ok_or_else(|| LoadError::file(Path::new(self.name), format_args!("the file {name}"), "no such file"))
    }
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Location {
    fn from(path: &P) -> Location {
        Location::Path(path.as_ref().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MODEL: BuiltIn = BuiltIn { name: "built-in", files: &[("config.json", b"{}")] };

    #[test]
    fn files_of_the_program_are_found_by_name() {
        let location = Location::BuiltIn(&MODEL);
        assert!(location.has("config.json") && !location.has("tokenizer.json"));
        assert!(matches!(location.read("config.json", 1 << 20).unwrap(), Cow::Borrowed(b"{}")));
        let error = location.read("tokenizer.json", 1 << 20).unwrap_err().to_string();
        assert_eq!(error, "built-in: expected the file tokenizer.json, found no such file");
        assert_eq!(location.join("config.json"), Path::new("built-in/config.json"));
    }
}
