//! `OutputFile`: a file that is there whole or not at all. It is written under another name beside its place and renamed at the end; an error,
//! a panic or Ctrl-C on the way removes it.
//!
//! Not here: what is written.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::interrupt;
use crate::report::Failure;

/// A file while it is written.
#[derive(Debug)]
pub struct OutputFile {
    /// Where it will be.
    path: PathBuf,
    /// Where it is. Empty once it is renamed.
    temporary: PathBuf,
    file: File,
}

impl OutputFile {
    /// Begins a file.
    ///
    /// # Errors
    /// If its folder is not there or cannot be written (exit 2), or has no room (exit 3).
    pub fn create(path: &Path) -> Result<OutputFile, Failure> {
        OutputFile::create_with(path, &mut File::options())
    }

    /// Begins a file that only its owner may read and write, where the system has such a thing.
    ///
    /// # Errors
    /// Those of [`OutputFile::create`].
    pub fn create_private(path: &Path) -> Result<OutputFile, Failure> {
        let mut options = File::options();
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        OutputFile::create_with(path, &mut options)
    }

    fn create_with(path: &Path, options: &mut fs::OpenOptions) -> Result<OutputFile, Failure> {
        let name = path.file_name().filter(|_| !path.is_dir());
        let Some(name) = name else {
            let what = if path.is_dir() { "a directory" } else { "no file name" };
            return Err(Failure::input(format!("{}: expected the path of a file to write, found {what}", path.display())));
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let temporary = path.with_file_name(hidden);
        interrupt::remove_at_exit(Some(temporary.clone()));
        let file = options.write(true).create_new(true).open(&temporary).map_err(|error| {
            interrupt::remove_at_exit(None);
            Failure::write(path.display(), &error)
        })?;
        // Who finds the file later sees whether it is still being written. Where there are no locks, nobody takes it for left behind.
        let _ = file.try_lock();
        Ok(OutputFile { path: path.to_owned(), temporary, file })
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// If the disk is full (exit 3), or the file cannot be written (exit 4).
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| self.failure(&error))
    }

    /// Puts the file in its place, with all that was written on the disk.
    ///
    /// # Errors
    /// Those of [`OutputFile::write`].
    pub fn finish(mut self) -> Result<(), Failure> {
        let done = self.file.sync_all().and_then(|()| fs::rename(&self.temporary, &self.path));
        done.map_err(|error| self.failure(&error))?;
        self.temporary.clear();
        interrupt::remove_at_exit(None);
        Ok(())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::write(self.path.display(), error)
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.temporary.as_os_str().is_empty() {
            // What cannot be removed cannot be helped; the error that led here is told.
            let _ = fs::remove_file(&self.temporary);
            interrupt::remove_at_exit(None);
        }
    }
}

/// Whether two paths lead to the same file. What is not there is no file.
///
/// # Errors
/// If one cannot be looked at.
pub fn is_same_file(a: &Path, b: &Path) -> io::Result<bool> {
    let resolved = |path: &Path| match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let (Some(a), Some(b)) = (resolved(a)?, resolved(b)?) else { return Ok(false) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (a, b) = (fs::metadata(a)?, fs::metadata(b)?);
        // A hard link is the same file, too.
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
    #[cfg(not(unix))]
    Ok(a == b)
}
