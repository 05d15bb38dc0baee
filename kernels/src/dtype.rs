//! `DType`, THE registry of the formats that weights are stored in: name, block, bytes, the names that files give it.
//!
//! Not here: how a format is decoded (`block/`), and which kernels run it (`arch/`). No other list or `match` over all formats may
//! exist: per-format tables are made by [`by_dtype!`], which expands in the order of the registry.

use core::fmt;

use crate::block::Block;

/// Declares the registry: the enum, its facts, and `by_dtype!`. To add a format, add a line at the bottom of this macro's call.
macro_rules! registry {
    ($($(#[$doc:meta])* $variant:ident($block:ty) = $name:literal, safetensors $st:literal;)*) => {
        /// A storage format of weights.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DType { $($(#[$doc])* $variant,)* }

        impl DType {
            /// Every format, in the registry's order.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// Number of formats: the length of every per-format table.
            pub(crate) const COUNT: usize = DType::ALL.len();

            /// The format's name as this program prints it, e.g. `bf16`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// Elements in a block: 1 for plain floats.
            pub const fn block_len(self) -> usize {
                match self { $(DType::$variant => <$block as Block>::LEN,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(DType::$variant => size_of::<$block>(),)* }
            }

            /// Alignment in bytes that a tensor of this format needs in memory.
            pub const fn alignment(self) -> usize {
                match self { $(DType::$variant => align_of::<$block>(),)* }
            }

            /// The format that a safetensors header calls `name` (formats.md section 3), if it is one that weights may have.
            pub fn from_safetensors(name: &str) -> Option<DType> {
                match name { $($st => Some(DType::$variant),)* _ => None }
            }

            /// Runs `visitor` with the block type of this format: the one way from a run-time format to a compile-time type.
            pub fn visit<V: DTypeVisitor>(self, visitor: V) -> V::Output {
                match self { $(DType::$variant => visitor.visit::<$block>(),)* }
            }
        }

        /// An array with one entry for each format: `by_dtype!(f)` is `[f::<f32>, f::<f16>, ...]`.
        macro_rules! by_dtype {
            ($f:ident) => { [$($f::<$block>,)*] };
        }
        pub(crate) use by_dtype;
    };
}

registry! {
    /// IEEE 754 single precision.
    F32(f32) = "f32", safetensors "F32";
    /// IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits.
    F16(half::f16) = "f16", safetensors "F16";
    /// bfloat16, the upper half of an f32: 1 sign, 8 exponent, 7 fraction bits.
    BF16(half::bf16) = "bf16", safetensors "BF16";
}

/// A computation that is written for every block type. See [`DType::visit`].
pub trait DTypeVisitor {
    /// What the computation returns.
    type Output;
    /// Runs the computation for blocks of type `B`.
    fn visit<B: Block>(self) -> Self::Output;
}

impl DType {
    /// Bytes of a row of `k` elements; `None` if `k` is no multiple of the block or the product overflows.
    pub const fn row_bytes(self, k: usize) -> Option<usize> {
        if !k.is_multiple_of(self.block_len()) {
            return None;
        }
        (k / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
