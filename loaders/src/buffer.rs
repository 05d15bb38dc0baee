//! `Buffer`: where a file's bytes are: in a memory map, in memory of our own, or in the program itself.
//!
//! Not here: `unsafe` (the map is in `mmap.rs`; alignment is had by starting later in a longer vector) and any format.

use std::io::Read;
use std::path::Path;

use crate::error::LoadError;
use crate::file::append_exactly;
use crate::mmap::Mapping;

/// The alignment of memory of our own: a cache line, and more than any element or vector register needs.
const ALIGNMENT: usize = 64;

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

/// Bytes in memory of our own whose first one is aligned to 64.
#[derive(Debug)]
pub(crate) struct Aligned {
    /// Never grows once filled, so the bytes do not move.
    memory: Vec<u8>,
    start: usize,
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
        let shortage = || LoadError::memory(path, u64::try_from(length).unwrap_or(u64::MAX));
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(length.checked_add(ALIGNMENT).ok_or_else(shortage)?).map_err(|_| shortage())?;
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        // `align_offset` may answer "impossible" by its contract, not for bytes in practice.
        if start >= ALIGNMENT {
            return Err(shortage());
        }
        memory.resize(start, 0);
        append_exactly(path, source, length as u64, &mut memory)?;
        Ok(Aligned { memory, start })
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
        Ok(Aligned { memory, start })
    }

    /// Joins `pieces`, of `length` bytes together, in aligned memory; `path` is the file that they are from.
    ///
    /// # Errors
    /// If memory is short.
    pub(crate) fn join<'b>(path: &Path, pieces: impl Iterator<Item = &'b [u8]>, length: usize) -> Result<Aligned, LoadError> {
        let mut aligned = Aligned::read(path, std::io::empty(), 0)?;
        let spare = length.checked_add(ALIGNMENT).and_then(|total| aligned.memory.try_reserve_exact(total).ok());
        spare.ok_or_else(|| LoadError::memory(path, length as u64))?;
        // The memory may have moved.
        aligned.memory.clear();
        aligned.start = Some(aligned.memory.as_ptr().align_offset(ALIGNMENT)).filter(|&start| start < ALIGNMENT).unwrap_or(0);
        aligned.memory.resize(aligned.start, 0);
        pieces.for_each(|piece| aligned.memory.extend_from_slice(piece));
        Ok(aligned)
    }

    /// The bytes, aligned to 64.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(self.start..).unwrap_or_default()
    }
}
