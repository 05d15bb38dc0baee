//! The search for NaN and infinity in weights (`--check-tensors`).
//!
//! Not here: logits, which the sampler checks at every token whether asked or not.

use infer_kernels::{Block, DTypeVisitor, cast};
use infer_loaders::{Checkpoint, LoadError, TensorType};

/// Decodes every weight; the error names the first tensor (in the order of names) with a number that is not finite, and its index.
pub fn check_tensors(checkpoint: &Checkpoint) -> Result<(), LoadError> {
    for tensor in checkpoint.tensors() {
        let TensorType::Weights(dtype) = tensor.dtype() else { continue };
        if let Some((index, value)) = dtype.visit(FirstNonFinite { bytes: tensor.bytes() }) {
            return Err(tensor.error("finite numbers", format_args!("{value} at index {index}")));
        }
    }
    Ok(())
}

/// Finds the first element that is not finite: its index in row-major order and its value.
struct FirstNonFinite<'a> {
    bytes: &'a [u8],
}

impl DTypeVisitor for FirstNonFinite<'_> {
    type Output = Option<(usize, f32)>;

    fn visit<B: Block>(self) -> Self::Output {
        let mut decoded = vec![0.0; B::LEN];
        for (index, block) in cast::<B>(self.bytes)?.iter().enumerate() {
            block.decode(&mut decoded);
            if let Some(at) = decoded.iter().position(|value| !value.is_finite()) {
                return Some((index * B::LEN + at, decoded[at]));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use infer_kernels::DType;

    use super::*;

    #[test]
    fn finds_the_first_number_that_is_not_finite_in_every_float_format() {
        let find = |dtype: DType, bytes: &[u8]| dtype.visit(FirstNonFinite { bytes });
        // u64 words give every format its alignment: 1.0 is 3f80_0000 (f32), 3c00 (f16), 3f80 (bf16).
        let words = |halves: [u16; 4]| halves.iter().rev().fold(0u64, |word, &half| word << 16 | u64::from(half)).to_le_bytes();
        let aligned = |words: [[u8; 8]; 2]| words.map(u64::from_le_bytes);
        let finite = aligned([words([0, 0x3f80, 0, 0x3f80]), words([0, 0x3f80, 0, 0x3f80])]);
        let as_bytes = |words: &[u64; 2]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(find(DType::F32, &as_bytes(&finite)), None);
        let infinite = aligned([words([0, 0x3f80, 0, 0x3f80]), words([0, 0x3f80, 0, 0xff80])]);
        assert_eq!(find(DType::F32, &as_bytes(&infinite)), Some((3, f32::NEG_INFINITY)));
        let nan = aligned([words([0x3f80, 0x3f80, 0x7fc0, 0x3f80]), words([0; 4])]);
        assert!(matches!(find(DType::BF16, &as_bytes(&nan)), Some((2, value)) if value.is_nan()));
        let infinite = aligned([words([0x3c00; 4]), words([0x3c00, 0x7c00, 0, 0])]);
        assert_eq!(find(DType::F16, &as_bytes(&infinite)), Some((5, f32::INFINITY)));
    }
}
