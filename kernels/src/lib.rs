//! The arithmetic of a Llama-style decoder: pure compute on slices.
//!
//! The crate's invariants are absences. A kernel never allocates, spawns, reads a file, or returns an error: a wrong shape is a bug and
//! panics. It never looks at the CPU either: the caller chooses a [`Kernels`] once and passes it down.
//!
//! **Determinism.** With the same ISA, every output's sum has an order that the shapes fix: the same for one row and for many, on any
//! thread. See `kernels/ARCHITECTURE.md` for the naming grammar, the error bounds, and how to add a format or an ISA.

#![allow(clippy::needless_range_loop, reason = "indices are written as in the formulas, several arrays at a time")]

mod arch;
mod attention;
mod block;
mod convert;
mod dispatch;
mod dtype;
mod generic;
mod kv;
pub mod testing;
mod vector;
mod view;

pub use attention::Attention;
pub use block::{
    Block, Element, Encoder, Iq4Nl, Iq4Xs, Mxfp4, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, as_bytes, cast,
};
pub use convert::{decode, round_to_bf16};
pub use dispatch::{Activations, Bf16Rows, Isa, Kernels, UnknownIsa};
pub use dtype::{DType, DTypeVisitor};
pub use generic::attention::{Chunk, Rows, Sums};
pub use generic::hadamard::{MAX_HADAMARD, is_hadamard_order};
pub use generic::int8::{INT8_BLOCK, Int8Rounding, Int8Rows, Int8RowsMut};
pub use generic::matmul::MATMUL_SCRATCH;
pub use generic::probe::{Arithmetic, READ_WAYS, ReadWay};
pub use half::{bf16, f16};
pub use kv::{KV_PAGE_LEN, KvDType, KvLayout};
pub use vector::Vector;
pub use view::MatMut;
