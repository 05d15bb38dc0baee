//! `DType`, THE registry of the formats that weights are stored in: name, block, bytes, the names that files give it.
//!
//! Not here: how a format is decoded (`block/`), and which kernels run it (`arch/`). No other list or `match` over all formats may
//! exist: per-format tables are made by [`by_dtype!`], which expands in the order of the registry.

use core::fmt;

use crate::block::Block;

/// One entry of `by_dtype!`.
macro_rules! entry {
    (floats, $block:ty, $blocks:ident) => {
        None
    };
    (blocks, $block:ty, $blocks:ident) => {
        Some($blocks::<$block>)
    };
    (floats, $block:ty, $floats:ident, $blocks:ident) => {
        $floats::<$block>
    };
    (blocks, $block:ty, $floats:ident, $blocks:ident) => {
        $blocks::<$block>
    };
}
pub(crate) use entry;

/// Declares the registry: the enum, its facts, and `by_dtype!`. To add a format, add a line at the bottom of this macro's call: whether
/// its blocks are single `floats` or `blocks` that are decoded whole, its name, its id in GGUF files, and its name in safetensors files if
/// it has one.
macro_rules! registry {
    ($($(#[$doc:meta])* $kind:ident $variant:ident($block:ty) = $name:literal, ggml $ggml:literal $(, safetensors $st:literal)?;)*) => {
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
                match name { $($($st => Some(DType::$variant),)?)* _ => None }
            }

            /// The name that safetensors headers give it, if they may have it.
            pub const fn safetensors_name(self) -> Option<&'static str> {
                match self { $(DType::$variant => [$(Some($st),)? None][0],)* }
            }

            /// The format that GGUF files number `id` (`ggml_type` in the GGUF specification).
            pub const fn from_ggml(id: u32) -> Option<DType> {
                match id { $($ggml => Some(DType::$variant),)* _ => None }
            }

            /// The number that GGUF files give it.
            pub const fn ggml_id(self) -> u32 {
                match self { $(DType::$variant => $ggml,)* }
            }

            /// Whether [`Kernels::encode`](crate::Kernels::encode) makes blocks of it.
            pub const fn can_encode(self) -> bool {
                match self { $(DType::$variant => <$block as Block>::ENCODE.is_some(),)* }
            }

            /// Runs `visitor` with the block type of this format: the one way from a run-time format to a compile-time type.
            pub fn visit<V: DTypeVisitor>(self, visitor: V) -> V::Output {
                match self { $(DType::$variant => visitor.visit::<$block>(),)* }
            }
        }

        /// An array with one entry for each format: `by_dtype!(f, g)` is `[f::<f32>, f::<f16>, ..., g::<Q4_0>, ...]`, where `f` takes an
        /// `Element` and `g` any other `Block`; `by_dtype!(None, g)` has `None` for each `Element` and `Some(g)` for the others.
        macro_rules! by_dtype {
            (None, $blocks:ident) => { [$($crate::dtype::entry!($kind, $block, $blocks),)*] };
            ($floats:ident, $blocks:ident) => { [$($crate::dtype::entry!($kind, $block, $floats, $blocks),)*] };
        }
        pub(crate) use by_dtype;
    };
}

registry! {
    /// IEEE 754 single precision.
    floats F32(f32) = "f32", ggml 0, safetensors "F32";
    /// IEEE 754 half precision: 1 sign, 5 exponent, 10 fraction bits.
    floats F16(half::f16) = "f16", ggml 1, safetensors "F16";
    /// bfloat16, the upper half of an f32: 1 sign, 8 exponent, 7 fraction bits.
    floats BF16(half::bf16) = "bf16", ggml 30, safetensors "BF16";
    /// 4 bits and a scale for 32 weights.
    blocks Q4_0(crate::block::Q4_0) = "q4_0", ggml 2;
    /// 4 bits, a scale and a minimum for 32 weights.
    blocks Q4_1(crate::block::Q4_1) = "q4_1", ggml 3;
    /// 5 bits and a scale for 32 weights.
    blocks Q5_0(crate::block::Q5_0) = "q5_0", ggml 6;
    /// 5 bits, a scale and a minimum for 32 weights.
    blocks Q5_1(crate::block::Q5_1) = "q5_1", ggml 7;
    /// 8 bits and a scale for 32 weights.
    blocks Q8_0(crate::block::Q8_0) = "q8_0", ggml 8;
    /// 2 bits; scales and minima in two levels, for 16 and 256 weights.
    blocks Q2K(crate::block::Q2K) = "q2_k", ggml 10;
    /// 3 bits; scales in two levels, for 16 and 256 weights.
    blocks Q3K(crate::block::Q3K) = "q3_k", ggml 11;
    /// 4 bits; scales and minima in two levels, for 32 and 256 weights.
    blocks Q4K(crate::block::Q4K) = "q4_k", ggml 12;
    /// 5 bits; scales and minima in two levels, for 32 and 256 weights.
    blocks Q5K(crate::block::Q5K) = "q5_k", ggml 13;
    /// 6 bits; scales in two levels, for 16 and 256 weights.
    blocks Q6K(crate::block::Q6K) = "q6_k", ggml 14;
    /// 4 bits for unevenly spaced values and a scale for 32 weights.
    blocks Iq4Nl(crate::block::Iq4Nl) = "iq4_nl", ggml 20;
    /// 4 bits for unevenly spaced values; scales in two levels, for 32 and 256 weights.
    blocks Iq4Xs(crate::block::Iq4Xs) = "iq4_xs", ggml 23;
    /// 4-bit floats and a power of two for 32 weights.
    blocks Mxfp4(crate::block::Mxfp4) = "mxfp4", ggml 39;
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
