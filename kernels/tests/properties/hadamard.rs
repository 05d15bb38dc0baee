//! The fast Hadamard transform of blocks, against the matrix.

use infer_kernels::testing::Seeded;
use infer_kernels::{Kernels, MAX_HADAMARD, is_hadamard_order};

use crate::{UNIT, assert_close, assert_intact, awkward};

/// A row times the matrix, by its definition.
fn product(x: &[f32]) -> Vec<f64> {
    let sign = |i: usize, j: usize| if (i & j).count_ones().is_multiple_of(2) { 1.0 } else { -1.0 };
    let root = (x.len() as f64).sqrt();
    (0..x.len()).map(|j| x.iter().enumerate().map(|(i, &x)| sign(i, j) * f64::from(x)).sum::<f64>() / root).collect()
}

fn orders() -> impl Iterator<Item = usize> {
    (0..=MAX_HADAMARD + 1).chain([1 << 9, 1 << 20]).filter(|&order| is_hadamard_order(order))
}

#[test]
fn blocks_are_multiplied_by_the_matrix_to_the_same_bits_on_every_rung() {
    assert_eq!(orders().collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 64, 128, 256]);
    let mut seeded = Seeded(6);
    for order in orders() {
        for (n_blocks, misalignment) in [(0, 0), (1, 0), (1, 1), (2, 3), (5, 2)] {
            let x = awkward(n_blocks * order, misalignment, &mut seeded);
            let mut first: Option<Vec<u32>> = None;
            for kernels in Kernels::available() {
                let mut got = x.clone();
                kernels.hadamard(got.get_mut(), order);
                assert_intact(&got, "hadamard");
                for (block, from) in got.get().chunks(order).zip(x.get().chunks(order)) {
                    // Each element goes through as many sums as the order has bits, and two products by a rounded factor.
                    let size: f64 = from.iter().map(|&x| f64::from(x).abs()).sum::<f64>() / (order as f64).sqrt();
                    let bound = (f64::from(order.ilog2()) + 3.0) * UNIT * size;
                    for (&got, want) in block.iter().zip(product(from)) {
                        assert_close(got, want as f32, bound + UNIT * want.abs(), &|| {
                            format!("{} of order {order}", kernels.isa())
                        });
                    }
                }
                let bits: Vec<u32> = got.get().iter().map(|x| x.to_bits()).collect();
                assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{} of order {order}", kernels.isa());
            }
        }
    }
}

#[test]
fn twice_is_not_at_all_and_products_stay() {
    let (n, mut seeded) = (512, Seeded(7));
    let x: Vec<f32> = (0..n).map(|_| seeded.uniform()).collect();
    let y: Vec<f32> = (0..n).map(|_| seeded.uniform()).collect();
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    for kernels in Kernels::available() {
        for order in orders() {
            let (mut hx, mut hy) = (x.clone(), y.clone());
            kernels.hadamard(&mut hx, order);
            kernels.hadamard(&mut hy, order);
            assert!((dot(&hx, &hy) - dot(&x, &y)).abs() < 1e-4, "{} of order {order}", kernels.isa());
            assert_eq!(hx == x, order == 1);
            kernels.hadamard(&mut hx, order);
            assert!(hx.iter().zip(&x).all(|(a, b)| (a - b).abs() < 2e-6), "{} of order {order}", kernels.isa());
        }
    }
}

#[test]
#[should_panic(expected = "hadamard of order 3 of 6")]
fn other_orders_are_refused() {
    Kernels::detect().hadamard(&mut [0.0; 6], 3);
}

#[test]
#[should_panic(expected = "hadamard of order 4 of 6")]
fn other_lengths_are_refused() {
    Kernels::detect().hadamard(&mut [0.0; 6], 4);
}
