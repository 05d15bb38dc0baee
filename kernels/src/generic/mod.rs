//! The algorithms, each written once over [`Vector`](crate::vector::Vector) and instantiated by every vector ISA in `arch/`.
//!
//! Not here: intrinsics, detection, checks of shapes (`dispatch.rs` makes them before it calls). Everything is `#[inline(always)]` down
//! to the intrinsic, so that it takes on the features of the entry point in `arch/`.

pub(crate) mod attempt;
pub(crate) mod attention;
pub(crate) mod decode;
pub(crate) mod elementwise;
pub(crate) mod exp;
pub(crate) mod hadamard;
pub(crate) mod int8;
pub(crate) mod matmul;
pub(crate) mod matmul_blocks;
pub(crate) mod matmul_few;
pub(crate) mod matmul_tile;
pub(crate) mod probe;
pub(crate) mod rmsnorm;
pub(crate) mod rope;

use crate::block::Element;
use crate::vector::{MAX_LANES, Vector};

/// The first `n` elements at `p` as a vector, the other lanes zero: how every tail is read.
///
/// # Safety
/// - `n < V::LANES` elements at `p` are readable.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn load_tail<V: Vector, E: Element>(p: *const E, n: usize) -> V {
    debug_assert!(n < V::LANES && V::LANES <= MAX_LANES);
    let mut padded = [E::ZERO; MAX_LANES];
    // SAFETY: `n` elements are readable (the caller's) and fit the buffer (n < LANES <= MAX_LANES); the buffer holds LANES elements.
    unsafe {
        core::ptr::copy_nonoverlapping(p, padded.as_mut_ptr(), n);
        E::load(padded.as_ptr())
    }
}

/// Writes the first `n` lanes of `x` to `p`.
///
/// # Safety
/// - `n < V::LANES` elements at `p` are writable.
/// - The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn store_tail<V: Vector>(x: V, p: *mut f32, n: usize) {
    debug_assert!(n < V::LANES && V::LANES <= MAX_LANES);
    let mut lanes = [0.0f32; MAX_LANES];
    // SAFETY: the buffer holds LANES elements, of which `n` fit the destination (the caller's).
    unsafe {
        x.store(lanes.as_mut_ptr());
        core::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n);
    }
}
