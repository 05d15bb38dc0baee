//! `Buffer`: where a file's bytes are: in a memory map, in memory of our own, or in the program itself.
//!
//! Not here: `unsafe` (the map, and memory in huge pages, are in `mmap.rs`) and any format.

use std::io::Read;
use std::path::Path;

use crate::error::LoadError;
use crate::file::fill_exactly;
use crate::mmap::{Anonymous, Mapping};

/// The bytes of a weight file.
#[derive(Debug)]
pub(crate) enum Buffer {
    /// Mapped: pages are read when they are touched.
    Mapped(Mapping),
    /// Read into memory, or copied.
    Owned(Aligned),
    /// Part of the program.
    Static(&'static [u8]),
}

/// The alignment of memory of our own: a cache line, and more than any element or vector register needs.
const ALIGNMENT: usize = 64;

/// Bytes in memory of our own whose first one is aligned to 64.
#[derive(Debug)]
pub(crate) enum Aligned {
    /// In huge pages where the system gives them: fewer address translations (a 135M bf16 model decoded 101 and not 95 tokens/s from them).
    Pages(Anonymous),
    /// Taken over from a vector, which never grows again, so that the bytes do not move.
    Vector { memory: Vec<u8>, start: usize },
}

impl Buffer {
    /// All bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Buffer::Mapped(mapping) => mapping.bytes(),
            Buffer::Owned(aligned) => aligned.bytes(),
            Buffer::Static(bytes) => bytes,
        }
    }
}

impl Aligned {
    /// Reads the next `length` bytes of `source`, the file at `path`, into aligned memory.
    ///
    /// # Errors
    /// If memory is short, or the source ends early or cannot be read.
    pub(crate) fn read(path: &Path, source: impl Read, length: usize) -> Result<Aligned, LoadError> {
        let mut memory = Anonymous::new(length).map_err(|_| LoadError::memory(path, length as u64))?;
        fill_exactly(path, source, memory.bytes_mut())?;
        Ok(Aligned::Pages(memory))
    }

    /// Takes bytes that are in memory already; `path` is the file that they were made from.
    ///
    /// # Errors
    /// If they do not begin at a multiple of the alignment and there is no room to move them.
    pub(crate) fn of(path: &Path, mut memory: Vec<u8>) -> Result<Aligned, LoadError> {
        let length = memory.len();
        memory.try_reserve_exact(ALIGNMENT).map_err(|_| LoadError::memory(path, length as u64))?;
        let start = Some(memory.as_ptr().align_offset(ALIGNMENT)).filter(|&start| start < ALIGNMENT).unwrap_or(0);
        memory.resize(start + length, 0);
        memory.copy_within(..length, start);
        Ok(Aligned::Vector { memory, start })
    }

    /// Joins `pieces`, of `length` bytes together, in aligned memory; `path` is the file that they are from.
    ///
    /// # Errors
    /// If memory is short.
    pub(crate) fn join<'b>(path: &Path, pieces: impl Iterator<Item = &'b [u8]>, length: usize) -> Result<Aligned, LoadError> {
        let mut memory = Anonymous::new(length).map_err(|_| LoadError::memory(path, length as u64))?;
        let mut rest = memory.bytes_mut();
        for piece in pieces {
            let to = rest.split_off_mut(..piece.len()).expect("pieces of `length` bytes together");
            to.copy_from_slice(piece);
        }
        Ok(Aligned::Pages(memory))
    }

    /// The bytes, aligned to 64.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Aligned::Pages(memory) => memory.bytes(),
            Aligned::Vector { memory, start } => memory.get(*start..).unwrap_or_default(),
        }
    }
}
