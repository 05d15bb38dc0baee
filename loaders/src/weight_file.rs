//! `WeightFile`: the bytes of one file, mapped, read or part of the program, and whether the file has changed since.
//!
//! Not here: what the bytes mean (`tensor_file.rs`).

use std::fs::{File, Metadata};
use std::io::{Seek, SeekFrom};
use std::path::PathBuf;
use std::time::SystemTime;

use crate::buffer::{Aligned, Buffer};
use crate::error::LoadError;
use crate::extent::Extent;
use crate::file::FileIdentity;

/// One file, whatever is in it.
#[derive(Debug)]
pub(crate) struct WeightFile {
    pub(crate) path: PathBuf,
    pub(crate) buffer: Buffer,
    /// What to compare with later; `None` where the bytes are our own.
    pub(crate) opened: Option<Opened>,
    /// Which file it is; `None` where it is none.
    pub(crate) identity: Option<FileIdentity>,
}

/// A file that is open, and what it was when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    file: File,
    length: u64,
    modified: Option<SystemTime>,
}

impl Opened {
    /// `metadata` is that of `file`.
    pub(crate) fn new(file: File, metadata: &Metadata) -> Opened {
        Opened { file, length: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl WeightFile {
    /// Copies a tensor to aligned memory. Of a mapped file it reads the file, not the map: the pages of the map would stay
    /// resident beside the copy.
    pub(crate) fn copy(&self, extent: Extent) -> Result<Aligned, LoadError> {
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

    /// Compares a mapped file with what it was when it was opened.
    pub(crate) fn verify_unchanged(&self) -> Result<(), LoadError> {
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
