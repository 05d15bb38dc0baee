//! What a storage format is to the kernels: a block of elements with a scalar decode, and the checked cast from a file's bytes.
//!
//! Not here: the registry of formats (`dtype.rs`) and fast kernels (`generic/`, `arch/`). Each format is a file of its own.

mod bf16;
mod f16;
mod f32;

use crate::dtype::DType;
use crate::vector::Vector;

/// One block of a storage format, laid out in memory as it lies in the file.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes must be a valid value: blocks are made by casting untrusted bytes.
pub unsafe trait Block: Copy + Send + Sync + 'static {
    /// The format's entry in the registry.
    const DTYPE: DType;

    /// Elements in a block.
    const LEN: usize;

    /// Decodes the block. `out`: (`LEN`,)
    fn decode(&self, out: &mut [f32]);
}

/// A block of a single float: what the vector kernels can widen to f32 lane by lane.
///
/// # Safety
/// As for [`Block`]; besides, all bits zero must be the number zero, since tails are padded so.
pub unsafe trait Element: Block {
    /// The value zero.
    const ZERO: Self;

    /// Loads `V::LANES` elements from `p`, widened exactly to f32.
    ///
    /// # Safety
    /// - `V::LANES` elements starting at `p` are readable (any alignment).
    /// - The CPU has the features that `V` needs.
    unsafe fn load<V: Vector>(p: *const Self) -> V;

    /// The element's exact value.
    fn to_f32(self) -> f32;
}

/// The bytes of a file as blocks; `None` if their number is no multiple of a block or they are not aligned for one.
pub fn cast<B: Block>(bytes: &[u8]) -> Option<&[B]> {
    if !bytes.len().is_multiple_of(size_of::<B>()) || !bytes.as_ptr().cast::<B>().is_aligned() {
        return None;
    }
    // SAFETY: the length is a whole number of blocks and the pointer is aligned (checked above), every bit pattern is a valid
    // block (the trait's contract), and the result borrows `bytes`.
    Some(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<B>()) })
}

/// Blocks as the bytes that a file holds: the inverse of [`cast`].
pub fn as_bytes<B: Block>(blocks: &[B]) -> &[u8] {
    // SAFETY: blocks are plain data without padding (their size is the file's size), and any byte is a valid u8.
    unsafe { core::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks)) }
}
