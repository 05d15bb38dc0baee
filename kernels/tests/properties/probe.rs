//! The probes: what they count, which rungs have them, and that they take slices of every length.
//!
//! Not here: how fast they are, which is no property of the code.

use infer_kernels::{Arithmetic, DType, Kernels, READ_WAYS};

#[test]
fn multiply_adds_are_counted_by_rounds() {
    for kernels in Kernels::available() {
        for &arithmetic in Arithmetic::ALL {
            let count = |rounds| kernels.probe_multiply_adds(arithmetic, rounds);
            let has_product = match arithmetic {
                Arithmetic::F32 => true,
                Arithmetic::Bf16 => kernels.has_bf16_dot(DType::BF16),
                Arithmetic::Int8 => kernels.has_int8_dot(DType::Q8_0),
            };
            assert_eq!(count(0).is_some(), has_product, "{} {arithmetic:?}", kernels.isa());
            let Some(one) = count(1) else { continue };
            assert!(one > 0 && one.is_multiple_of(8), "whole vectors");
            assert_eq!((count(0), count(1000)), (Some(0), Some(1000 * one)));
        }
    }
}

#[test]
fn every_way_reads_slices_of_every_length() {
    for kernels in Kernels::available() {
        for way in 0..READ_WAYS.len() {
            for len in (0..70).chain([127, 128, 255, 256, 257, 1000, 4096]) {
                kernels.probe_read(way, &vec![1.0; len]);
            }
        }
    }
}
