//! Every kernel of every rung that this CPU has, against the scalar oracle: all tail lengths, misalignments, awkward numbers, guarded
//! buffers, and bounds that are derived and not guessed.
//!
//! Not here: speed (`benches/kernels.rs`), and whole models (`tests/` of the workspace).

#[path = "properties/attention.rs"]
mod attention;
#[path = "properties/convert.rs"]
mod convert;
#[path = "properties/elementwise.rs"]
mod elementwise;
#[path = "properties/encode.rs"]
mod encode;
#[path = "properties/hadamard.rs"]
mod hadamard;
#[path = "properties/int8.rs"]
mod int8;
#[path = "properties/matmul.rs"]
mod matmul;
#[path = "properties/probe.rs"]
mod probe;

use infer_kernels::testing::{Guarded, Seeded};

/// Half an ulp of 1: the relative error of one rounding to f32.
const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// The smallest step between f32 numbers: the absolute error of one rounding near zero is half of it.
const TINY: f64 = 1.401_298_464_324_817e-45;

/// A guarded buffer of awkward numbers.
fn awkward(len: usize, misalignment: usize, seeded: &mut Seeded) -> Guarded<f32> {
    Guarded::new(len, misalignment, f32::NAN, || seeded.awkward())
}

/// Panics unless nothing around a buffer was written.
fn assert_intact(buffer: &Guarded<f32>, what: &str) {
    assert!(buffer.is_intact(|x| x.is_nan()), "{what} wrote outside of its output");
}

/// Panics unless `got` lies within `bound` of `want`, or both are not finite.
fn assert_close(got: f32, want: f32, bound: f64, what: &dyn Fn() -> String) {
    let close = if want.is_finite() { (f64::from(got) - f64::from(want)).abs() <= bound } else { !got.is_finite() };
    assert!(close, "{}: {got} and not {want}, off by {:e}, bound {bound:e}", what(), f64::from(got) - f64::from(want));
}
