//! What a storage format is to the kernels: a block of elements with a scalar decode and encode, and the checked cast from a file's bytes.
//!
//! Not here: the registry of formats (`dtype.rs`) and fast kernels (`generic/`, `arch/`). Each format is a file of its own.

mod bf16;
mod f16;
mod f32;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod parts;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod quantized;
mod search;

pub use iq4_nl::Iq4Nl;
pub use iq4_xs::Iq4Xs;
#[cfg(target_arch = "x86_64")]
pub(crate) use mxfp4::DOUBLED;
pub use mxfp4::Mxfp4;
#[cfg(target_arch = "x86_64")]
pub(crate) use parts::NON_LINEAR;
pub use q2_k::Q2K;
pub use q3_k::Q3K;
pub use q4_0::Q4_0;
pub use q4_1::Q4_1;
pub use q4_k::Q4K;
pub use q5_0::Q5_0;
pub use q5_1::Q5_1;
pub use q5_k::Q5K;
pub use q6_k::Q6K;
pub use q8_0::Q8_0;
pub(crate) use quantized::{MAX_GROUPS, Quantized};

/// The longest block of any format: the size of buffers for one.
pub(crate) const MAX_BLOCK_LEN: usize = parts::SUPER_BLOCK;

use crate::dispatch::Kernels;
use crate::dtype::DType;
use crate::vector::Vector;

/// Makes a block of weights, the same with the kernels of any rung. x: (`LEN`,)
pub type Encoder<B> = fn(kernels: &Kernels, x: &[f32]) -> Option<B>;

/// One block of a storage format, laid out in memory as it lies in the file.
///
/// # Safety
/// Every bit pattern of `size_of::<Self>()` bytes must be a valid value: blocks are made by casting untrusted bytes.
pub unsafe trait Block: Copy + Send + Sync + 'static {
    /// The format's entry in the registry.
    const DTYPE: DType;

    /// Elements in a block.
    const LEN: usize;

    /// Makes a block of `LEN` weights that stands for them as well as it can; `None` for formats that this program does not write.
    ///
    /// The function returns none if a weight is NaN or infinite, or larger than the format can say.
    const ENCODE: Option<Encoder<Self>> = None;

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
