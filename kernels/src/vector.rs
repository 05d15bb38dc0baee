//! `Vector`: the few lane operations that the algorithms in `generic/` are written in.
//!
//! Not here: implementations (`arch/`), and anything an algorithm does not use. Lanes are always f32; narrower storage is widened by
//! the load, exactly.

use half::{bf16, f16};

/// A register (or a few) of f32 lanes.
///
/// # Safety
/// Every method may only be called where the CPU has the features of the implementing ISA; pointers must be readable (or writable) for
/// `LANES` elements, at any alignment. Implementations are `#[inline(always)]`, so that they take on the features of the kernel that
/// they are inlined into.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub unsafe trait Vector: Copy {
    /// Number of f32 lanes, at most [`MAX_LANES`].
    const LANES: usize;
    /// Vectors that [`Vector::fold`] takes, at most [`MAX_FOLD`].
    const FOLD: usize = 1;
    /// Whether widening a load of f16 or bf16 takes many instructions, so that it pays to do it once and keep the result.
    const WIDENS_SLOWLY: bool = false;

    /// How many bytes ahead of each stream of weights that are widened the second-level cache is asked for more. Measured, see `ARCHITECTURE.md`.
    const AHEAD: usize = 1024;
    /// Whether a loop that may ask for lines ahead has a twin that does not: with few registers, the compiler keeps sums in memory in the first.
    const ASKS_APART: bool = false;

    /// All lanes `x`.
    unsafe fn splat(x: f32) -> Self;
    /// Loads `LANES` f32.
    unsafe fn load(p: *const f32) -> Self;
    /// Loads `LANES` f16, widened.
    unsafe fn load_f16(p: *const f16) -> Self;
    /// Loads `LANES` bf16, widened.
    unsafe fn load_bf16(p: *const bf16) -> Self;
    /// Loads the first of each of `LANES` pairs of bf16, widened.
    unsafe fn load_bf16_even(p: *const bf16) -> Self;
    /// Loads the second of each of `LANES` pairs of bf16, widened.
    unsafe fn load_bf16_odd(p: *const bf16) -> Self;
    /// Loads `LANES` i8, as numbers.
    unsafe fn load_i8(p: *const i8) -> Self;
    /// Stores `LANES` f32.
    unsafe fn store(self, p: *mut f32);
    /// `self + b`
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`
    unsafe fn sub(self, b: Self) -> Self;
    /// `self * b`
    unsafe fn mul(self, b: Self) -> Self;
    /// `self / b`
    unsafe fn div(self, b: Self) -> Self;
    /// `self * a + b`; rounded once where the ISA has fused multiply-add.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// The larger of each lane; where either is NaN, `b`.
    unsafe fn max(self, b: Self) -> Self;
    /// The smaller of each lane; where either is NaN, `b`.
    unsafe fn min(self, b: Self) -> Self;
    /// Each lane rounded to the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `self · 2ⁿ`, where each lane of n must be an integer in -126..=127.
    unsafe fn scale_exp2(self, n: Self) -> Self;
    /// The lanes in `from..to`, and those of `other` elsewhere.
    unsafe fn keep(self, from: usize, to: usize, other: Self) -> Self;
    /// The sum of all lanes, always by the same tree: halves are added until one lane is left.
    unsafe fn reduce_add(self) -> f32;
    /// The largest lane.
    unsafe fn reduce_max(self) -> f32;

    /// Asks for the line at `p` to be brought into the second-level cache. Any address will do; nothing is read.
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        let _ = p;
    }

    /// The first steps of `reduce_add` of the first `FOLD` vectors, side by side in one vector.
    #[inline(always)]
    unsafe fn fold(rows: [Self; MAX_FOLD]) -> Self {
        rows[0]
    }

    /// The other steps, for the first `LANES / FOLD` folded vectors: each row's sum, in their order. The trees are those of `reduce_add`, and so
    /// are the bits.
    #[inline(always)]
    unsafe fn sum_folded(folded: &[Self; MAX_LANES]) -> Self {
        let mut sums = [0.0; MAX_LANES];
        for (sum, row) in sums[..Self::LANES].iter_mut().zip(folded) {
            // SAFETY: the trait's contract.
            *sum = unsafe { row.reduce_add() };
        }
        // SAFETY: the array holds at least LANES elements; the features are the caller's.
        unsafe { Self::load(sums.as_ptr()) }
    }
}

/// The widest vector of any ISA, in f32 lanes: the size of the buffers that pad tails.
pub const MAX_LANES: usize = 16;

/// The most vectors that any ISA folds into one.
pub const MAX_FOLD: usize = 4;
