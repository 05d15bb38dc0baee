//! Opening and reading files that someone else wrote: regular files only, sizes checked before memory is asked for.
//!
//! Not here: the memory map (`mmap.rs`) and the formats.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::SystemTime;

use crate::error::LoadError;

/// The longest JSON file with settings (`config.json` and its like) that is read. The largest in use have a few hundred KB; a
/// parsed file may take thirty times its size.
pub(crate) const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// What tells a file from others, and from itself after a change, as it was when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Bytes.
    pub length: u64,
    /// Nanoseconds from 1970 to the last change, where the system tells.
    pub modified: Option<u128>,
    /// The file's number in its file system, where it has one.
    pub inode: Option<u64>,
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> FileIdentity {
        let since_1970 = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
        #[cfg(unix)]
        let inode = Some(std::os::unix::fs::MetadataExt::ino(metadata));
        #[cfg(not(unix))]
        let inode = None;
        let modified = metadata.modified().ok().and_then(since_1970).map(|time| time.as_nanos());
        FileIdentity { length: metadata.len(), modified, inode }
    }
}

/// Opens a regular file for reading. Anything else is refused before it is opened: opening a FIFO waits for a writer, and a
/// device may do anything.
///
/// # Errors
/// If it is not there, is no regular file, or cannot be opened.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), LoadError> {
    let refuse_special = |metadata: &Metadata| {
        if metadata.is_file() { Ok(()) } else { Err(LoadError::file(path, "a regular file", kind_of(metadata))) }
    };
    refuse_special(&std::fs::metadata(path).map_err(|error| LoadError::os(path, "find the file", error))?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // Should the path have become a FIFO since: do not wait for its writer.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| LoadError::os(path, "open the file", error))?;
    let metadata = file.metadata().map_err(|error| LoadError::os(path, "read the file's size", error))?;
    refuse_special(&metadata)?;
    Ok((file, metadata))
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// Those of [`open_regular`], and if the file is longer, cannot be read, or memory is short.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, LoadError> {
    let (file, metadata) = open_regular(path)?;
    let too_long = |length: u64| LoadError::file(path, format_args!("at most {limit} bytes"), format_args!("{length} bytes"));
    if metadata.len() > limit {
        return Err(too_long(metadata.len()));
    }
    let bytes = read_exactly(path, file, metadata.len())?;
    Ok(bytes)
}

/// Reads the next `length` bytes of `file` into memory of their own.
///
/// # Errors
/// If the file ends before, cannot be read, or memory is short.
pub(crate) fn read_exactly(path: &Path, file: impl Read, length: u64) -> Result<Vec<u8>, LoadError> {
    let wanted = usize::try_from(length).map_err(|_| LoadError::memory(path, length))?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(wanted).map_err(|_| LoadError::memory(path, length))?;
    file.take(length).read_to_end(&mut bytes).map_err(|error| LoadError::os(path, "read the file", error))?;
    match bytes.len() {
        read if read == wanted => Ok(bytes),
        read => Err(LoadError::changed(path, format_args!("{read} bytes instead of {wanted}"))),
    }
}

/// Reads the next bytes of `file` into the whole of `bytes`.
///
/// # Errors
/// If the file ends before, or cannot be read.
pub(crate) fn fill_exactly(path: &Path, mut file: impl Read, bytes: &mut [u8]) -> Result<(), LoadError> {
    let mut done = 0;
    while done < bytes.len() {
        match file.read(&mut bytes[done..]) {
            Ok(0) => return Err(LoadError::changed(path, format_args!("{done} bytes instead of {}", bytes.len()))),
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::os(path, "read the file", error)),
        }
    }
    Ok(())
}

/// Whether a directory entry of this name exists, whatever it is. A file that exists and cannot be read is an error later on,
/// never taken for absent.
pub(crate) fn exists(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

fn kind_of(metadata: &Metadata) -> &'static str {
    if metadata.is_dir() {
        return "a directory";
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    "something else"
}
