//! Loops that do nothing but what is to be measured: multiply-adds in registers, and reads of memory in order.
//!
//! They are the roofline that the other kernels are held against, so they must be faster than any of them: a kernel that beats its probe
//! shows a bug in the probe. Not here: clocks and threads (the engine's), and any result that someone would want.
//!
//! ```text
//! multiply-adds:  for each round: acc[i] += a * b for N accumulators, as many as hide the latency of the instruction and fit the registers
//! reads:          for each 256 bytes: of each of S streams, which are equal parts of the memory, sum 256 bytes
//! ```

use core::hint::black_box;
use core::marker::PhantomData;

use crate::vector::Vector;

/// An arithmetic with a peak rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32 multiplied and added.
    F32,
    /// bf16 multiplied, added to f32.
    Bf16,
    /// u8, or what is widened to 16 bits, multiplied by i8, added to i32.
    Int8,
}

impl Arithmetic {
    /// Every arithmetic.
    pub const ALL: &'static [Arithmetic] = &[Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8];

    /// Its name, e.g. `bf16`.
    pub const fn name(self) -> &'static str {
        match self {
            Arithmetic::F32 => "f32",
            Arithmetic::Bf16 => "bf16",
            Arithmetic::Int8 => "int8",
        }
    }
}

/// A way to read memory in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadWay {
    /// Equal parts of the memory that are read side by side.
    pub streams: usize,
    /// How many bytes ahead of the reads the second-level cache is asked for more; 0 leaves that to the hardware.
    pub prefetch: usize,
}

/// Makes the list of ways, and the macro that makes a rung's table of them from one generic function, in the same order.
macro_rules! ways {
    ($(($streams:literal, $prefetch:literal)),*) => {
        /// The ways that are worth trying: which is the fastest depends on the CPU and on the number of threads.
        pub const READ_WAYS: &[ReadWay] = &[$(ReadWay { streams: $streams, prefetch: $prefetch }),*];

        /// A table of [`Read`]s, one for each of [`READ_WAYS`].
        macro_rules! by_read_way {
            ($f:ident) => { [$($f::<$streams, $prefetch>),*] };
        }
        pub(crate) use by_read_way;
    };
}

ways![(1, 0), (1, 4096), (1, 16384), (2, 0), (2, 4096), (2, 16384), (4, 0), (4, 4096), (8, 0)];

/// Reads a slice one way; safe to call where the CPU has the rung's features.
pub(crate) type Read = unsafe fn(&[f32]);

/// A probe of an arithmetic: runs as many rounds as it is told; safe to call where the CPU has the rung's features.
#[derive(Clone, Copy)]
pub(crate) struct MultiplyAdds {
    pub run: unsafe fn(usize),
    pub per_round: u64,
}

/// The probes of a rung.
#[derive(Clone, Copy)]
pub(crate) struct Probes {
    pub read: [Read; READ_WAYS.len()],
    pub f32: MultiplyAdds,
    pub bf16: Option<MultiplyAdds>,
    pub int8: Option<MultiplyAdds>,
}

/// An instruction that multiplies and adds.
///
/// # Safety
/// Every method may only be called where the CPU has the features of the implementing ISA.
#[allow(clippy::missing_safety_doc, reason = "the contract is the same for all methods and stands on the trait")]
pub(crate) unsafe trait Instruction {
    /// What is added to.
    type Acc: Copy;
    /// What is multiplied.
    type Operand: Copy;
    /// Multiplications of one instruction.
    const MACS: usize;

    /// An accumulator of its own for each `i`: equal ones would be computed once.
    unsafe fn acc(i: u8) -> Self::Acc;
    /// Some operand.
    unsafe fn operand() -> Self::Operand;
    /// The instruction.
    unsafe fn mul_add(acc: Self::Acc, a: Self::Operand, b: Self::Operand) -> Self::Acc;
}

/// Multiply-add of f32 lanes.
pub(crate) struct Lanes<V>(PhantomData<V>);

// SAFETY: nothing but the vector's own operations, whose contract is the same.
unsafe impl<V: Vector> Instruction for Lanes<V> {
    type Acc = V;
    type Operand = V;
    const MACS: usize = V::LANES;

    #[inline(always)]
    unsafe fn acc(i: u8) -> V {
        // SAFETY: the trait's contract.
        unsafe { V::splat(f32::from(i)) }
    }

    #[inline(always)]
    unsafe fn operand() -> V {
        // SAFETY: the trait's contract.
        unsafe { V::splat(0.5) }
    }

    #[inline(always)]
    unsafe fn mul_add(acc: V, a: V, b: V) -> V {
        // SAFETY: the trait's contract.
        unsafe { a.mul_add(b, acc) }
    }
}

/// `rounds` rounds of `N` independent multiply-adds.
///
/// # Safety
/// The CPU has the features that `I` needs.
#[inline(always)]
pub(crate) unsafe fn multiply_adds<I: Instruction, const N: usize>(rounds: usize) {
    // SAFETY: the features are the caller's.
    unsafe {
        let (a, b) = (black_box(I::operand()), black_box(I::operand()));
        let mut acc = [I::acc(0); N];
        for i in 0..N {
            acc[i] = I::acc(i as u8);
        }
        for _ in 0..rounds {
            for i in 0..N {
                acc[i] = I::mul_add(acc[i], a, b);
            }
        }
        black_box(acc);
    }
}

/// f32 of one stream between two looks at the next: four cache lines.
const STEP: usize = 64;

/// Reads `data`, all but an end of fewer than `STREAMS` steps, in `STREAMS` streams.
///
/// # Safety
/// The CPU has the features that `V` needs.
#[inline(always)]
pub(crate) unsafe fn read<V: Vector, const STREAMS: usize, const PREFETCH: usize>(data: &[f32]) {
    const { assert!(STEP.is_multiple_of(V::LANES) && STREAMS > 0) };
    let stream = data.len() / STREAMS / STEP * STEP;
    // SAFETY: each load lies in a stream, and STREAMS streams lie in `data`; the features are the caller's.
    unsafe {
        let mut acc = [V::splat(0.0); 4];
        let mut i = 0;
        while i < stream {
            for s in 0..STREAMS {
                let p = data.as_ptr().add(s * stream + i);
                if PREFETCH > 0 {
                    for line in 0..4 {
                        V::prefetch(p.cast::<u8>().wrapping_add(PREFETCH + line * 64));
                    }
                }
                for v in 0..STEP / V::LANES {
                    acc[v % 4] = acc[v % 4].add(V::load(p.add(v * V::LANES)));
                }
            }
            i += STEP;
        }
        black_box(acc);
    }
}
