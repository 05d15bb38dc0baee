//! How keys and values are stored, and how vectors of them are multiplied by queries and weights.
//!
//! Not here: the product of an ISA that adds pairs (`arch/avx512_bf16.rs`), and what is multiplied in which order (`scores.rs`, `values.rs`).

use core::marker::PhantomData;

use crate::vector::{MAX_LANES, Vector};

/// How keys and values are stored, and how they are multiplied by queries and weights.
///
/// # Safety
/// - `load*` read `LANES · STEP` elements at any alignment, and those of `factor*` `STEP` operands; all need the features of the ISA.
/// - The type's layout in a page is `KvLayout`'s of `STEP` and the size of `Stored`.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Multiply {
    /// The accumulator.
    type V: Vector;
    /// An element of keys and values.
    type Stored: Copy;
    /// What they are multiplied by: an element of a query, or a weight.
    type Operand: Copy;
    /// A load's elements in a register.
    type Reg: Copy;
    /// Operands in a register, in all lanes.
    type Factor: Copy;
    /// Elements along a sum that lie side by side: 1 or 2.
    const STEP: usize;
    /// Multiplications that a step takes: `STEP`, or 1 where an instruction adds the products of a pair.
    const PARTS: usize;
    /// Whether elements are integers with a scale for each position.
    const SCALED: bool;

    unsafe fn load(p: *const Self::Stored, part: usize) -> Self::Reg;
    unsafe fn factor(p: *const Self::Operand, part: usize) -> Self::Factor;
    unsafe fn mul_add(acc: Self::V, x: Self::Reg, factor: Self::Factor) -> Self::V;
    /// Adds the product of element `which` of each pair alone; the operand of the other is zero.
    unsafe fn mul_add_one(acc: Self::V, x: *const Self::Stored, operands: *const Self::Operand, which: usize) -> Self::V;
    /// Rounds `LANES` numbers to operands and writes them; returns the numbers that they stand for.
    unsafe fn store(x: Self::V, p: *mut Self::Operand) -> Self::V;
}

/// A number that [`Widen`] can read.
///
/// # Safety
/// `load` reads `LANES · STEP` elements and needs the features of `V`.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Stored: Copy {
    /// Elements along a sum that lie side by side.
    const STEP: usize;
    /// Whether there are scales.
    const SCALED: bool;
    /// Element `which` of each of `LANES` groups of `STEP`, widened exactly.
    unsafe fn load<V: Vector>(p: *const Self, which: usize) -> V;
}

// SAFETY: reads LANES elements.
unsafe impl Stored for f32 {
    const STEP: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const f32, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load(p) }
    }
}

// SAFETY: reads LANES elements.
unsafe impl Stored for half::f16 {
    const STEP: usize = 1;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const half::f16, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load_f16(p) }
    }
}

// SAFETY: reads LANES pairs.
unsafe impl Stored for half::bf16 {
    const STEP: usize = 2;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const half::bf16, which: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { if which == 0 { V::load_bf16_even(p) } else { V::load_bf16_odd(p) } }
    }
}

// SAFETY: reads LANES elements.
unsafe impl Stored for i8 {
    const STEP: usize = 1;
    const SCALED: bool = true;

    #[inline(always)]
    unsafe fn load<V: Vector>(p: *const i8, _: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::load_i8(p) }
    }
}

/// Elements widened to f32 lanes and multiplied there: every type, on every ISA.
pub(crate) struct Widen<V, S>(PhantomData<(V, S)>);

// SAFETY: `Stored::load` reads LANES · STEP elements; a factor is one operand of a step.
unsafe impl<V: Vector, S: Stored> Multiply for Widen<V, S> {
    type V = V;
    type Stored = S;
    type Operand = f32;
    type Reg = V;
    type Factor = V;
    const STEP: usize = S::STEP;
    const PARTS: usize = S::STEP;
    const SCALED: bool = S::SCALED;

    #[inline(always)]
    unsafe fn load(p: *const S, part: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { S::load(p, part) }
    }

    #[inline(always)]
    unsafe fn factor(p: *const f32, part: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::splat(*p.add(part)) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: V, x: V, factor: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { x.mul_add(factor, acc) }
    }

    #[inline(always)]
    unsafe fn mul_add_one(acc: V, x: *const S, operands: *const f32, which: usize) -> V {
        // SAFETY: the trait's contract.
        unsafe { Self::mul_add(acc, Self::load(x, which), Self::factor(operands, which)) }
    }

    #[inline(always)]
    unsafe fn store(x: V, p: *mut f32) -> V {
        // SAFETY: the trait's contract.
        unsafe { x.store(p) };
        x
    }
}

/// Scales queries and rounds them to operands, in place: the operands take the first part of the memory. q: (rows, head_dim)
///
/// # Safety
/// The CPU has the features that `M` needs.
#[inline(always)]
pub(crate) unsafe fn pack<M: Multiply>(q: &mut [f32], factor: f32) {
    let (n, lanes) = (q.len(), M::V::LANES);
    let (from, to) = (q.as_mut_ptr(), q.as_mut_ptr().cast::<M::Operand>());
    let whole = n - n % lanes;
    // SAFETY: whole vectors end at or before `whole <= n`; an operand is no larger than an f32, so that none is written before the query in
    // its place is read; the tail is padded on the stack, where both arrays hold LANES elements.
    unsafe {
        let factor = M::V::splat(factor);
        let mut i = 0;
        while i < whole {
            M::store(M::V::load(from.add(i)).mul(factor), to.add(i));
            i += lanes;
        }
        if i < n {
            let (mut tail, mut rounded) = ([0.0f32; MAX_LANES], [0.0f32; MAX_LANES]);
            core::ptr::copy_nonoverlapping(from.add(i).cast_const(), tail.as_mut_ptr(), n - i);
            let operands = rounded.as_mut_ptr().cast::<M::Operand>();
            M::store(M::V::load(tail.as_ptr()).mul(factor), operands);
            core::ptr::copy_nonoverlapping(operands.cast_const(), to.add(i), n - i);
        }
    }
}
